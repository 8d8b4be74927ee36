"""Registry of index engines, by the beginning of their recipes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from indexer.core.errors import BadRequestError
from indexer.index.base import IndexBackend
from indexer.index.faiss_index import FaissIndex

# The first one is asked for recipes first. A new engine is its module and a name here.
_ENGINES: list[type[IndexBackend]] = [FaissIndex]


def engines() -> list[type[IndexBackend]]:
    """All engines, in the order in which they are asked for recipes."""
    return list(_ENGINES)


@contextmanager
def registered(engine: type[IndexBackend]) -> Iterator[type[IndexBackend]]:
    """Keep an engine registered for as long as the block runs.

    Raises ``ValueError`` for a prefix that another one has.
    """
    for known in _ENGINES:
        if taken := {*known.prefixes} & {*engine.prefixes}:
            raise ValueError(f"{known.__name__} makes recipes with {sorted(taken)[0]!r} already")
    _ENGINES.append(engine)
    try:
        yield engine
    finally:
        _ENGINES.remove(engine)


def engine_of(recipe: str) -> type[IndexBackend]:
    """The engine that makes ``recipe``: the one with the longest prefix of it.

    Raises ``BadRequestError`` for a recipe of none.
    """
    found = {
        prefix: engine
        for engine in _ENGINES
        for prefix in engine.prefixes
        if recipe.upper().startswith(prefix)
    }
    if not found:
        known = ", ".join(prefix for engine in _ENGINES for prefix in engine.prefixes)
        raise BadRequestError(
            f"unknown index recipe {recipe!r}: give one that starts with one of {known}"
        )
    return found[max(found, key=len)]
