"""Registry of named implementations, filled by the modules of one package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
# the place of an item that names none: after all packaged ones
LAST = 1_000


class Registry(Generic[ItemT]):
    """Items of one kind by name, each registered by the module that defines it.

    ``package`` is imported with all its modules when the registry is first read, so a new file in
    it is all that a new item needs. ``name`` and ``place`` read an item's name and its rank: items
    are given in the order of their places, then of their names.
    """

    def __init__(
        self, package: str, *, name: Callable[[ItemT], str], place: Callable[[ItemT], int]
    ) -> None:
        self._package = package
        self._name = name
        self._place = place
        # by name, in order
        self._items: dict[str, ItemT] = {}
        self._discovered = False

    def register(self, item: ItemT) -> ItemT:
        """Add an item and return it. Raises ``ValueError`` for a name that is taken."""
        name = self._name(item)
        if name in self._items:
            raise ValueError(f"{name!r} is registered twice in {self._package}")
        items = [*self._items.values(), item]
        items.sort(key=lambda one: (self._place(one), self._name(one)))
        self._items = {self._name(one): one for one in items}
        return item

    @contextmanager
    def registered(self, item: ItemT) -> Iterator[ItemT]:
        """Keep an item registered for as long as the block runs."""
        self._discover()
        self.register(item)
        try:
            yield item
        finally:
            self._items = {name: one for name, one in self._items.items() if one is not item}

    def names(self) -> tuple[str, ...]:
        """The names of all items, in order."""
        self._discover()
        return tuple(self._items)

    def __iter__(self) -> Iterator[ItemT]:
        self._discover()
        return iter(self._items.values())

    def __getitem__(self, name: str) -> ItemT:
        self._discover()
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._items

    def __len__(self) -> int:
        self._discover()
        return len(self._items)

    def _discover(self) -> None:
        """Import the package's modules; two threads may do so at once, imports have a lock."""
        if self._discovered:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        self._discovered = True
