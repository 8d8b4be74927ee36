"""Bounded, thread-safe caches that drop the least recently used entries."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Concatenate, Generic, ParamSpec, TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")
More = ParamSpec("More")
TextFunction = Callable[Concatenate[str, More], ValueT]

# Characters of a text that is remembered: cells that come again are short.
_LONGEST = 1_000


def cache_texts(
    most: int, *, longest: int = _LONGEST
) -> Callable[[TextFunction[More, ValueT]], TextFunction[More, ValueT]]:
    """Remember ``most`` results of a function of a text; those of texts of more than ``longest``
    characters are worked out each time, since a number of entries bounds no bytes."""

    def decorate(function: TextFunction[More, ValueT]) -> TextFunction[More, ValueT]:
        remembered = lru_cache(maxsize=most)(function)

        @wraps(function)
        def call(text: str, /, *args: More.args, **options: More.kwargs) -> ValueT:
            if len(text) > longest:
                return function(text, *args, **options)
            return remembered(text, *args, **options)  # type: ignore[arg-type]

        return call

    return decorate


class LRUCache(Generic[KeyT, ValueT]):
    """At most ``max_items`` entries, and at most ``max_weight`` of ``weigh(value)`` together.

    The newest entry always stays, whatever it weighs. Own code, not ``cachetools``: that has one
    limit, no lock, and does not return what it drops.
    """

    def __init__(
        self,
        max_items: int,
        *,
        max_weight: float = float("inf"),
        weigh: Callable[[ValueT], float] | None = None,
    ) -> None:
        self._max_items = max(max_items, 1)
        self._max_weight = max_weight
        self._weigh = weigh
        self._weight = 0.0
        self._entries: OrderedDict[KeyT, ValueT] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: KeyT) -> ValueT | None:
        """The value of ``key``, now the most recently used one; None where it is not held."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key]

    def put(self, key: KeyT, value: ValueT) -> list[tuple[KeyT, ValueT]]:
        """Hold ``value`` as the most recently used one; returns the entries dropped for it."""
        with self._lock:
            self._remove(key)
            self._entries[key] = value
            self._weight += self._weigh(value) if self._weigh else 0.0
            dropped = []
            while len(self._entries) > 1 and (
                len(self._entries) > self._max_items or self._weight > self._max_weight
            ):
                oldest = next(iter(self._entries))
                dropped.append((oldest, self._entries[oldest]))
                self._remove(oldest)
            return dropped

    def pop(self, key: KeyT) -> ValueT | None:
        """Drop ``key`` and return its value; None where it is not held."""
        with self._lock:
            return self._remove(key)

    def items(self) -> list[tuple[KeyT, ValueT]]:
        """All entries as of now, the least recently used first."""
        with self._lock:
            return list(self._entries.items())

    def clear(self) -> None:
        """Drop all entries."""
        with self._lock:
            self._entries.clear()
            self._weight = 0.0

    def _remove(self, key: KeyT) -> ValueT | None:
        if key not in self._entries:
            return None
        value = self._entries.pop(key)
        self._weight -= self._weigh(value) if self._weigh else 0.0
        return value
