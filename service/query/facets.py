"""Facets: how many products, or groups of products, have which value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from indexer.catalog.attributes import datetime_text
from indexer.catalog.filters import Element, FilterableProduct
from indexer.core.errors import BadFilterError
from indexer.index.filter_columns import FilterColumn, facet_elements, shown
from indexer.index.product_codes import ProductCodes
from service.query.context import RequestContext
from service.query.filters import FilterParser
from service.query.groups import GroupReader
from service.query.query import OutOfStock, RawFilter
from service.query.response import Facet, FacetKind, Facets, FacetValue
from service.query.stock import StockFilter

# Different values of one field that are counted: what has more names products, and is no choice.
_MOST_VALUES = 200_000
# Changed products between two looks at the deadline.
_PORTION = 1000
# Cells of keys by groups for each pair, up to which pairs are marked in a table.
_CELLS = 50


class FacetCounter:
    """Counts facets; changes neither index nor catalog."""

    def __init__(self, filters: FilterParser, stock: StockFilter, groups: GroupReader) -> None:
        self._filters = filters
        self._stock = stock
        self._groups = groups

    def count(
        self,
        ctx: RequestContext,
        *,
        filter: RawFilter | None = None,
        fields: Sequence[str] = (),
        limit: int = 20,
        group_by: str | None = None,
        out_of_stock: OutOfStock | None = None,
    ) -> Facets:
        """Counts of the searchable products that pass ``filter``; ``fields``: of these alone.

        Of numbers and datetimes min and max are given, of all else the ``limit`` commonest values
        with their counts; unasked, a field of more than ``_MOST_VALUES`` is left out. ``group_by``:
        groups that have such a product are counted, not products.
        What is out of stock counts unless results hide it. Raises ``BadFilterError`` naming a
        field that is unknown or has too many values, ``DeadlineExceededError``.
        """
        ctx.note_pending()
        read = self._filters.fields(ctx.snapshot)
        if not read.complete:
            ctx.note_gap("columns")
        hidden = self._stock.handling(read, out_of_stock, "show") == "hide"
        where = self._stock.bind(read, filter, stock="in" if hidden else "any")
        where = where or self._filters.bind(read, {})
        known = {
            column.field: column
            for column in where.columns.facets()
            if column.kind in ("category", "tags") or column.field in read.types
        }
        # A type may be newer than the version: then only products that changed since have such a
        # value.
        for name, kind in read.types.items():
            known.setdefault(name, FilterColumn(name, cast(FacetKind, kind), np.empty(0, np.int32)))
        for name in fields:
            if name not in known:
                raise BadFilterError(
                    f"fields: no field {name!r} to count; there are: {', '.join(list(known)[:20])}"
                )
        codes = self._groups.codes(read, group_by) if group_by is not None else None
        with ctx.timer.stage("count"):
            counted = _Counted.of(*ctx.snapshot.live.count_matching(where), codes)
            names = dict.fromkeys(fields or self._filters.counted_unasked(known))
            found = []
            for name in names:
                ctx.check()
                column = known[name]
                if len(column.keys or ()) <= _MOST_VALUES:
                    found.append(_facet(ctx, column, counted, limit))
                elif name in fields:
                    raise BadFilterError(
                        f"fields: {name!r} has {len(column.keys):,} different values, and those of "
                        f"a field are counted up to {_MOST_VALUES:,}: leave it out, or search with "
                        "a filter on it"
                    )
            return Facets(counted.total(), found)


@dataclass(frozen=True)
class _Counted:
    """The products that are counted: those of the version by a mask, those written since by their
    facts. Each counts for itself, or by its code: a product of no group has one below 0, which is
    its own."""

    mask: np.ndarray  # bool [P]
    every: bool  # whether the mask holds all
    codes: np.ndarray | None  # int64 [P]; None: each product for itself
    changed: Sequence[FilterableProduct]
    changed_codes: np.ndarray  # int64, of ``changed``

    @classmethod
    def of(
        cls, mask: np.ndarray, changed: Sequence[FilterableProduct], groups: ProductCodes | None
    ) -> _Counted:
        """By groups, or each product for itself."""
        pids = np.array([facts.pid for facts in changed], np.int64)
        every = bool(mask.all())
        if groups is None:
            return cls(mask, every, None, changed, -1 - pids)
        return cls(mask, every, groups.base.codes, changed, groups.of(pids))

    def total(self) -> int:
        """How many are counted."""
        if self.codes is None:
            return int(np.count_nonzero(self.mask)) + len(self.changed)
        return _distinct(self.codes[self.mask], self.changed_codes)

    def held(self, column: FilterColumn) -> np.ndarray | None:
        """Which of a column's places count, bool [M]; None: all of them."""
        return None if self.every else self.mask[column.places]

    def having(
        self, column: FilterColumn, held: np.ndarray | None, newer: Sequence[Sequence[Element]]
    ) -> int:
        """How many of them have a field; ``newer``: the elements of ``changed``."""
        if self.codes is None:
            return column.count_products(held) + sum(map(bool, newer))
        present = np.zeros(len(self.mask), dtype=bool)
        present[column.places] = True
        new = np.array([bool(elements) for elements in newer], bool)
        return _distinct(self.codes[present & self.mask], self.changed_codes[new])

    def by_value(
        self,
        column: FilterColumn,
        held: np.ndarray | None,
        newer: Sequence[tuple[Element, ...]],
    ) -> tuple[np.ndarray, Counter[Element]]:
        """How many of them have each key of a text column, int64 [V], and what the changed products
        add to that; ``held`` and ``newer`` as in ``having``."""
        if self.codes is None:
            return column.counts(held), Counter(e for found in newer for e in dict.fromkeys(found))
        alone = self.mask & (self.codes < 0)
        counts = column.counts(alone[column.places])
        pairs, width = self._pairs(column, self.codes)
        if len(pairs):
            ends = np.searchsorted(pairs, np.arange(1, len(counts) + 1) * width)
            counts = counts + np.diff(ends, prepend=0)
        added: Counter[Element] = Counter()
        seen: set[tuple[Element, int]] = set()
        for found, code in zip(newer, self.changed_codes.tolist(), strict=True):
            for element in found:
                if (element, code) in seen:
                    continue
                seen.add((element, code))
                keys = column.positions([element]) if code >= 0 and len(pairs) else ()
                if not any(_holds(pairs, key * width + code) for key in keys):
                    added[element] += 1
        return counts, added

    def _pairs(self, column: FilterColumn, every: np.ndarray) -> tuple[np.ndarray, int]:
        """Each key with each group of several products that holds it, as key * width + code, int64
        ascending; and the width."""
        width = 1 + max(int(every.max(initial=-1)), int(self.changed_codes.max(initial=-1)), 0)
        if column.starts is None:
            return np.empty(0, np.int64), width
        keys = np.repeat(np.arange(len(column.starts) - 1), np.diff(column.starts))
        codes = every[column.places]
        kept = self.mask[column.places] & (codes >= 0)
        pairs = keys[kept] * width + codes[kept]
        cells = width * (len(column.starts) - 1)
        if cells > _CELLS * len(pairs):
            return np.unique(pairs), width
        # Quicker than sorting where few cells are empty.
        there = np.zeros(cells, dtype=bool)
        there[pairs] = True
        return np.flatnonzero(there), width


def _holds(pairs: np.ndarray, pair: int) -> bool:
    place = int(np.searchsorted(pairs, pair))
    return place < len(pairs) and int(pairs[place]) == pair


def _distinct(codes: np.ndarray, changed: np.ndarray) -> int:
    """How many groups there are; products of no group are one each."""
    every = np.concatenate([codes[codes >= 0], changed[changed >= 0]])
    alone = np.count_nonzero(codes < 0) + np.count_nonzero(changed < 0)
    return int(alone) + int(np.count_nonzero(np.bincount(every)))


def _facet(ctx: RequestContext, column: FilterColumn, counted: _Counted, limit: int) -> Facet:
    """One field over the counted products."""
    newer: list[tuple[Element, ...]] = []
    for start in range(0, len(counted.changed), _PORTION):
        ctx.check()
        portion = counted.changed[start : start + _PORTION]
        newer += [facet_elements(facts, column) for facts in portion]
    held = counted.held(column)
    count = counted.having(column, held, newer)
    kind = cast(FacetKind, column.kind)  # product ids have no column
    if kind in ("number", "datetime"):
        low, high = _range(column, held, newer)
        ends = (_number(low, kind), _number(high, kind))
        return Facet(column.field, kind, count, min=ends[0], max=ends[1])
    counts, added = counted.by_value(column, held, newer)
    values = _commonest(column, counts, added, limit)
    rows = [FacetValue(shown(value, kind), number) for value, number in values]
    return Facet(column.field, kind, count, values=rows)


def _range(
    column: FilterColumn, held: np.ndarray | None, newer: Sequence[Sequence[Any]]
) -> tuple[float | None, float | None]:
    """The least and the greatest number of the held products and the newer ones."""
    numbers = [float(element) for elements in newer for element in elements]
    if column.numbers is not None and len(column.numbers):
        low, high = 0, len(column.numbers) - 1
        if held is not None:
            low, high = int(held.argmax()), high - int(held[::-1].argmax())
        if held is None or held[low]:
            numbers += [float(column.numbers[low]), float(column.numbers[high])]
    return (min(numbers), max(numbers)) if numbers else (None, None)


def _commonest(
    column: FilterColumn, counts: np.ndarray, added: Mapping[Any, int], limit: int
) -> list[tuple[Any, int]]:
    """The ``limit`` commonest values by ``counts`` of the column's keys and what is ``added``."""
    values: Counter[Any] = Counter()
    for place in np.argsort(-counts, kind="stable")[: limit + len(added)].tolist():
        if counts[place]:
            values[column.keys[place].as_py()] = int(counts[place])
    for element in set(added) - set(values) if len(counts) else ():
        values[element] = sum(int(counts[place]) for place in column.positions([element]))
    values.update(added)
    ranked = sorted(values.items(), key=lambda entry: (-entry[1], entry[0]))[:limit]
    return [(value, number) for value, number in ranked if number]


def _number(value: float | None, kind: str) -> float | str | None:
    if value is None or kind == "number":
        return value
    return datetime_text(value)
