"""Rows within an object: a product in JSON whose variants are a list of objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from indexer.feeds.profile import NestedRule
from indexer.feeds.table import Record

_MOST_LEVELS = 8


class NestedRows:
    """Objects taken apart as ``rule`` says. Names within names are joined by a point
    (``image.src``); of a list of objects each name holds a list."""

    def __init__(self, rule: NestedRule) -> None:
        self._rows = rule.rows
        self._prefix = rule.prefix
        self._numbered = frozenset(rule.numbered)

    def split(self, record: Record) -> list[Record]:
        """A row for each object of the list, with all that stands beside the list."""
        shared: dict[str, Any] = {}
        rows: list[Any] = []
        for name, value in record.values.items():
            if name == self._rows and isinstance(value, list):
                rows = value
            else:
                self._flatten(name, value, shared, 0)
        found = []
        for number, row in enumerate(rows, 1):
            if isinstance(row, dict):
                values = dict(shared)
                self._flatten(self._prefix, row, values, 0)
                found.append(Record(f"{record.where} {self._prefix} {number}", values))
        return found or [Record(record.where, shared)]

    def _flatten(self, name: str, value: Any, into: dict[str, Any], level: int) -> None:
        if level >= _MOST_LEVELS:
            return
        if isinstance(value, Mapping):
            for key, part in value.items():
                self._flatten(f"{name}.{key}", part, into, level + 1)
        elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
            for number, part in enumerate(value, 1):
                if name in self._numbered:
                    self._flatten(f"{name}.{number}", part, into, level + 1)
                else:
                    self._gather(name, part, into, level)
        else:
            into[name] = value

    def _gather(self, name: str, part: Any, into: dict[str, Any], level: int) -> None:
        own: dict[str, Any] = {}
        self._flatten(name, part, own, level + 1)
        for key, value in own.items():
            held = into.setdefault(key, [])
            if isinstance(held, list):
                held += value if isinstance(value, list) else [value]
