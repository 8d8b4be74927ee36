"""Codes of a single-valued field: one number for each value, for all products of a live index."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from indexer.catalog.filters import Element, FieldKind, FilterableProduct
from indexer.index.facts_log import FactsLog
from indexer.index.filter_columns import FilterColumn, FilterColumns, facet_elements
from indexer.index.live import LiveIndex

# Kinds of which a product has one value at most; of a category it is the whole path.
SINGLE: tuple[FieldKind, ...] = ("string", "number", "bool", "datetime", "category")


@dataclass(frozen=True)
class BaseCodes:
    """Codes of the products of a version, in order of pid. A product without a value has the
    code -1 - pid, which is its own alone."""

    column: FilterColumn
    pids: np.ndarray  # int64 [P], ascending
    codes: np.ndarray  # int64 [P]
    # Of a number field, by code; None of a text field, whose column has them.
    numbers: np.ndarray | None

    @classmethod
    def of(cls, column: FilterColumn, pids: np.ndarray) -> BaseCodes:
        """Number the values of a column."""
        codes = -1 - pids
        numbers = None
        if column.numbers is not None:
            numbers, found = np.unique(column.numbers, return_inverse=True)
            codes[column.places] = found
        elif column.starts is not None:
            # Of the paths of a category the longest is sorted last, and the last one written stays.
            lengths = np.diff(column.starts)
            codes[column.places] = np.repeat(np.arange(len(lengths)), lengths)
        return cls(column, pids, codes, numbers)

    @cached_property
    def values(self) -> int:
        """How many values there are: their codes are 0 to one less."""
        if self.numbers is not None:
            return len(self.numbers)
        return 0 if self.column.starts is None else len(self.column.starts) - 1

    @cached_property
    def order(self) -> np.ndarray:
        """Places of the products with a value, by code: int64 [M]."""
        order = np.argsort(self.codes, kind="stable")
        return order[np.searchsorted(self.codes[order], 0) :]

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each code's products start in ``order``: int64 [values + 1]."""
        counts = np.bincount(self.codes[self.order], minlength=self.values)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @cached_property
    def size_met(self) -> float:
        """Mean number of products that share a product's value, itself among them."""
        counts = np.diff(self.starts).astype(np.float64)
        alone = len(self.codes) - counts.sum()
        return float((np.square(counts).sum() + alone) / max(len(self.codes), 1))

    def code(self, value: Element) -> int | None:
        """Look up the code of a value."""
        if self.numbers is not None:
            place = int(np.searchsorted(self.numbers, float(value)))
            return place if place < self.values and self.numbers[place] == value else None
        found = self.column.positions([value]) if self.values else ()
        return found[0] if found else None

    def values_of(self, codes: np.ndarray) -> list[Element]:
        """Look up the values of codes."""
        if self.numbers is not None:
            return list(self.numbers[codes].tolist())
        return list(self.column.keys.take(codes).to_pylist())


@dataclass(frozen=True)
class ProductCodes:
    """Codes of all products as of one state of a live index."""

    base: BaseCodes
    # Products written since the version, ascending, and their codes.
    pids: np.ndarray  # int64 [C]
    codes: np.ndarray  # int64 [C]
    # Values that no product of the version has: their codes follow the version's.
    newer: Mapping[Element, int]
    log: FactsLog
    logged: int

    @classmethod
    def start(cls, base: BaseCodes, log: FactsLog) -> ProductCodes:
        """The codes before the first write."""
        nothing = np.empty(0, np.int64)
        return cls(base, nothing, nothing, {}, log, 0)

    @property
    def kind(self) -> FieldKind:
        return self.base.column.kind

    @property
    def groups(self) -> int:
        """No fewer than there are values and products without one."""
        alone = len(self.base.codes) - len(self.base.order)
        return self.base.values + alone + len(self.newer) + len(self.pids)

    def follow(self, log: FactsLog, logged: int) -> ProductCodes:
        """The codes after the first ``logged`` entries of ``log``."""
        known = self if log is self.log else ProductCodes.start(self.base, log)
        if logged <= known.logged:
            return known
        newer = dict(known.newer)
        written = known.log.between(known.logged, logged)
        pids = np.fromiter(written, np.int64, len(written))
        codes = np.fromiter(
            (self._code(pid, facts, newer) for pid, facts in written.items()), np.int64, len(pids)
        )
        kept = ~np.isin(known.pids, pids)
        pids = np.concatenate([known.pids[kept], pids])
        codes = np.concatenate([known.codes[kept], codes])
        order = np.argsort(pids)
        return replace(known, pids=pids[order], codes=codes[order], newer=newer, logged=logged)

    def _code(self, pid: int, facts: FilterableProduct | None, newer: dict[Element, int]) -> int:
        """The code of a product written since the version; ``newer`` learns its value."""
        found = facet_elements(facts, self.base.column) if facts is not None else ()
        if not found:
            return -1 - pid
        value = found[-1]
        code = self.base.code(value)
        return newer.setdefault(value, self.base.values + len(newer)) if code is None else code

    def of(self, pids: np.ndarray) -> np.ndarray:
        """The codes of these products, int64 [n]."""
        base = self.base
        out = -1 - np.asarray(pids, np.int64)
        for known, codes in ((base.pids, base.codes), (self.pids, self.codes)):
            if len(known):
                places = np.minimum(np.searchsorted(known, pids), len(known) - 1)
                out = np.where(known[places] == pids, codes[places], out)
        return out

    def values_of(self, codes: np.ndarray) -> list[Element | None]:
        """The values of codes; None of a product without one."""
        out: list[Element | None] = [None] * len(codes)
        stored = np.flatnonzero((codes >= 0) & (codes < self.base.values))
        values = self.base.values_of(codes[stored]) if len(stored) else []
        for at, value in zip(stored.tolist(), values, strict=True):
            out[at] = value
        newer = {code: value for value, code in self.newer.items()} if self.newer else {}
        for at in np.flatnonzero(codes >= self.base.values).tolist():
            out[at] = newer[int(codes[at])]
        return out

    def numbers(self, codes: np.ndarray) -> np.ndarray:
        """The values of codes of a number field, float64 [n]; NaN where there is none."""
        held = self.base.numbers
        out = np.full(len(codes), np.nan)
        stored = (codes >= 0) & (codes < self.base.values)
        if held is not None:
            out[stored] = held[codes[stored]]
        if self.newer:
            newer = np.array(list(self.newer), np.float64)
            later = codes >= self.base.values
            out[later] = newer[codes[later] - self.base.values]
        return out

    def members(self, codes: np.ndarray) -> np.ndarray:
        """All products with these codes, stored or not, int64 ascending."""
        base = self.base
        asked = np.unique(codes)
        stored = asked[(asked >= 0) & (asked < base.values)]
        starts = base.starts[stored]
        counts = base.starts[stored + 1] - starts
        places = np.repeat(starts - np.cumsum(counts) + counts, counts)
        pids = base.pids[base.order[places + np.arange(len(places))]]
        alone = -1 - asked[asked < 0]
        if len(self.pids):
            pids = pids[~np.isin(pids, self.pids)]
            alone = np.union1d(alone, self.pids[np.isin(self.codes, asked)])
        return np.sort(pids) if not len(alone) else np.union1d(pids, alone)


class CodedFields:
    """Codes of the fields of one live index, each made once and then kept up with writes."""

    def __init__(self, live: LiveIndex) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._codes: dict[tuple[str, FieldKind], tuple[FilterColumns, ProductCodes]] = {}

    def codes(self, columns: FilterColumns, field: str, kind: FieldKind) -> ProductCodes:
        """The codes of a field as of now; ``kind``: one of ``SINGLE``."""
        with self._lock:
            log, logged = self._live.written()
            known, codes = self._codes.get((field, kind), (None, None))
            if known is not columns or codes is None:
                column = columns.of_field(field, kind) or FilterColumn(
                    field, kind, np.empty(0, np.int32)
                )
                codes = ProductCodes.start(BaseCodes.of(column, columns.pids), log)
            codes = codes.follow(log, logged)
            self._codes[field, kind] = (columns, codes)
            return codes
