"""Choice of index recipes by size, dimension, blocks, device and memory budget."""

from __future__ import annotations

from collections.abc import Sequence

from indexer.core.errors import BadRequestError
from indexer.index.base import EXACT
from indexer.index.registry import engine_of, engines


def candidates(
    entries: int,
    dim: int,
    *,
    block_dims: Sequence[int] = (),
    device: str = "cpu",
    memory: int | None = None,
) -> list[str]:
    """Recipes worth trying for ``entries`` vectors of ``dim``, the best first; an exact scan, which
    is always right, the last.

    ``block_dims`` are the lengths of the embedding's blocks: no part of a product quantiser
    straddles two of them. ``device`` "cuda" asks for recipes that have a GPU form. ``memory`` in
    bytes is what the opened index may keep resident; recipes above it are left out. Raises
    ``BadRequestError`` where nothing but a scan of the stored file is left and that does not fit
    either.
    """
    if memory is not None and memory <= 0:
        raise BadRequestError(f"the memory budget must be above 0 bytes, not {memory}")
    possible: list[str] = []
    for engine in engines():
        possible += engine.candidates(entries, dim, block_dims=block_dims, device=device)
    if memory is None:
        return _exact_last(possible)
    compressed = [engine_of(recipe).compressed_recipe(recipe) for recipe in possible]
    possible += [recipe for recipe in compressed if recipe is not None]
    needed = {recipe: resident_bytes(recipe, entries, dim) for recipe in possible}
    fitting = [recipe for recipe in possible if needed[recipe] <= memory]
    if not fitting:
        least = min(possible, key=lambda recipe: needed[recipe])
        raise BadRequestError(
            f"{entries} vectors of {dim} need {needed[least] / 2**20:.0f} MiB ({least}), "
            f"the budget is {memory / 2**20:.0f} MiB"
        )
    return _exact_last(fitting)


def _exact_last(recipes: Sequence[str]) -> list[str]:
    others = [recipe for recipe in recipes if recipe != EXACT]
    return [*others, EXACT] if EXACT in recipes else others


def choose_recipe(
    entries: int,
    dim: int = 512,
    *,
    block_dims: Sequence[int] = (),
    device: str = "cpu",
    memory: int | None = None,
) -> str:
    """The first of ``candidates``: what a build tries first."""
    return candidates(entries, dim, block_dims=block_dims, device=device, memory=memory)[0]


def resident_bytes(recipe: str, entries: int, dim: int) -> int:
    """About what an opened index of this recipe keeps resident."""
    return engine_of(recipe).resident_bytes(recipe, entries, dim)
