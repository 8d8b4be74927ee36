"""Families of products: the variants of one parent, of which none repeats another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from indexer.catalog.store import Catalog

# The field that names the product which others are variants of.
PARENT = "parent"


class Families:
    """The parents of some products; a product without one is a family of its own."""

    def __init__(self, parents: Mapping[int, str]) -> None:
        self._parents = parents

    @classmethod
    def read(cls, catalog: Catalog, pids: Iterable[int]) -> Families:
        """From the catalog; nothing is read where no product has a parent."""
        if PARENT not in catalog.used_fields() and PARENT not in catalog.types():
            return cls({})
        found = catalog.facts(list(pids))
        parents = {pid: facts.attributes.get(PARENT) for pid, facts in found.items()}
        return cls({pid: str(parent) for pid, parent in parents.items() if parent is not None})

    def of(self, pid: int) -> int | str:
        """What a product shares with its siblings alone."""
        return self._parents.get(pid, pid)

    def several(self, pids: Iterable[int]) -> bool:
        """Whether these are more than the variants of one product."""
        return len({self.of(pid) for pid in pids}) > 1

    def one_each(self, pids: Iterable[int]) -> list[int]:
        """The first of each family."""
        first: dict[int | str, int] = {}
        for pid in pids:
            first.setdefault(self.of(pid), pid)
        return list(first.values())
