"""Room that a product has for attributes: what a feed says beyond it is left out, and told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from indexer.catalog.limits import LARGEST_ATTRIBUTES, MOST_ATTRIBUTES, check_attribute
from indexer.catalog.records import dump
from indexer.core.errors import BadProductError
from indexer.feeds.notice import Notice
from indexer.feeds.row_values import shortened

# Bytes that a character takes at most where it is stored, and a value without text.
_MOST_BYTES = 6
_PLAIN_BYTES = 32


def within_room(attributes: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[Notice]]:
    """The attributes that one product can hold, and a notice of each that it cannot: those that
    are too long, the longest where all together are, the last where there are too many."""
    held: dict[str, Any] = {}
    odd: list[Notice] = []

    def leave_out(name: str, value: Any, reason: str) -> None:
        told = f"{reason}; the value is left out"
        odd.append(Notice(where, told, "too-long", name[:60], shortened(str(value)[:100])))

    size = 0
    for name, value in attributes.items():
        try:
            check_attribute(name, value)
            if len(held) >= MOST_ATTRIBUTES:
                raise BadProductError(f"a product holds {MOST_ATTRIBUTES:,} attributes at most")
        except BadProductError as error:
            leave_out(name, value, str(error))
            continue
        held[name] = value
        size += _PLAIN_BYTES + _MOST_BYTES * (len(name) + _length(value))
    if size <= LARGEST_ATTRIBUTES:
        return held, odd
    sizes = {name: len(dump([name, _text(value)]).encode()) for name, value in held.items()}
    total = sum(sizes.values())
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        if total <= LARGEST_ATTRIBUTES:
            break
        total -= sizes[name]
        most = f"a product's attributes take {LARGEST_ATTRIBUTES:,} bytes at most"
        leave_out(name, held.pop(name), f"column {name!r}: {most}, and this is the longest")
    return held, odd


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    return sum(map(_length, value)) + 4 * len(value) if isinstance(value, list) else 0


def _text(value: Any) -> Any:
    return value if isinstance(value, str | list) else str(value)
