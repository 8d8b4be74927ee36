"""Filters as requests send them, and facets: how many products have which value."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np

from indexer.catalog.filters import BUILT_IN, Filter, FilterableProduct, facts_of, parse_filter
from indexer.catalog.store import Catalog
from indexer.core.errors import BadFilterError
from indexer.index.filter_columns import (
    BoundFilter,
    FilterColumn,
    FilterColumns,
    facet_elements,
    shown,
)
from indexer.index.live import LiveIndex
from service.query.context import RequestContext
from service.query.response import Facet, FacetKind, Facets, FacetValue
from service.state.snapshot import Snapshot


class CatalogColumns:
    """Columns of a live index's products, read from the catalog where the version has none that
    fit."""

    def __init__(self, live: LiveIndex) -> None:
        self._live = live
        self._reading = threading.Lock()
        self._columns: FilterColumns | None = None

    def fitting(self, catalog: Catalog, types: Mapping[str, str], log: Any) -> FilterColumns:
        """The columns by the present types of the attributes."""
        live = self._live
        if live.columns is not None and live.columns.fits(types):
            return live.columns
        with self._reading:
            if self._columns is None or not self._columns.fits(types):
                log.warning(
                    "filters are read from the catalog: this index version has no columns that "
                    "fit; build it anew",
                    index_version=live.base.manifest.version,
                )
                # What is written meanwhile is judged by the log, not by the columns.
                facts = map(facts_of, catalog.iterate())
                self._columns = FilterColumns.build(facts, live.products, types)
            return self._columns


class FilterParser:
    """Reads filters and counts facets; changes neither index nor catalog."""

    def __init__(self, catalog: Catalog, *, log: Any) -> None:
        self._catalog = catalog
        self._log = log

    def parse(self, raw: object) -> Filter:
        """A filter as sent. Raises ``BadFilterError``."""
        return parse_filter(raw, self._catalog.types(), pid_of=self._catalog.pid)

    def has_field(self, name: str) -> bool:
        """Whether conditions on this field can be read: it is built in, or the catalog has it."""
        return name in BUILT_IN or name in self._catalog.types()

    def report_dropped(self, setting: str, field: str, error: BadFilterError) -> None:
        """Log that a condition of a setting does not fit the catalog and is ignored."""
        self._log.warning(
            f"a condition of {setting} is ignored: it does not fit the attribute's type",
            field=field,
            reason=str(error),
        )

    def bind(self, snapshot: Snapshot, raw: object) -> BoundFilter:
        """A filter as sent, with the columns of ``snapshot`` that it is answered from. Raises
        ``BadFilterError``."""
        return BoundFilter.of(self.parse(raw), self.columns(snapshot))

    def columns(self, snapshot: Snapshot) -> FilterColumns:
        """What filters and facets of a snapshot are answered from."""
        types = self._catalog.types()
        return snapshot.derived_from_index(CatalogColumns).fitting(self._catalog, types, self._log)

    def facets(
        self,
        ctx: RequestContext,
        *,
        filter: object = None,
        fields: Sequence[str] = (),
        limit: int = 20,
    ) -> Facets:
        """Counts of the searchable products that pass ``filter``; ``fields``: of these alone.

        Of numbers and datetimes min and max are given, of all else the ``limit`` commonest values
        with their counts. Raises ``BadFilterError`` naming an unknown field.
        """
        where = self.bind(ctx.snapshot, {} if filter is None else filter)
        known = {column.field: column for column in where.columns.facets()}
        # A type may be newer than the version: then only products that changed since have such a
        # value.
        for name, kind in self._catalog.types().items():
            known.setdefault(name, FilterColumn(name, kind, np.empty(0, np.int32)))
        for name in fields:
            if name not in known:
                raise BadFilterError(
                    f"fields: no field {name!r} to count; there are: {', '.join(list(known)[:20])}"
                )
        with ctx.timer.stage("count"):
            mask, changed = ctx.snapshot.live.count_matching(where)
            found = [
                _facet(known[name], mask, changed, limit) for name in dict.fromkeys(fields or known)
            ]
        return Facets(int(np.count_nonzero(mask)) + len(changed), found)


def _facet(
    column: FilterColumn, mask: np.ndarray, changed: Sequence[FilterableProduct], limit: int
) -> Facet:
    """One field over the masked products of the base and those that changed since."""
    newer = [elements for facts in changed if (elements := facet_elements(facts, column))]
    present = np.zeros(len(mask), dtype=bool)
    present[column.places] = True
    count = int(np.count_nonzero(present & mask)) + len(newer)
    kind = cast(FacetKind, column.kind)  # product ids have no column
    if kind in ("number", "datetime"):
        low, high = _range(column, mask, newer)
        ends = (_number(low, kind), _number(high, kind))
        return Facet(column.field, kind, count, min=ends[0], max=ends[1])
    added = Counter(element for elements in newer for element in elements)
    values = _commonest(column, mask, added, limit)
    rows = [FacetValue(shown(value, kind), number) for value, number in values]
    return Facet(column.field, kind, count, values=rows)


def _range(
    column: FilterColumn, mask: np.ndarray, newer: Sequence[Sequence[Any]]
) -> tuple[float | None, float | None]:
    """The least and the greatest number of the masked products and the newer ones."""
    numbers = [float(element) for elements in newer for element in elements]
    if column.numbers is not None:
        held = column.numbers[mask[column.places]]
        numbers += [float(held[0]), float(held[-1])] if len(held) else []
    return (min(numbers), max(numbers)) if numbers else (None, None)


def _commonest(
    column: FilterColumn, mask: np.ndarray, added: Counter[Any], limit: int
) -> list[tuple[Any, int]]:
    """The ``limit`` commonest values of the masked products and of those ``added``, with counts."""
    counts = column.counts(mask)
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
    return datetime.fromtimestamp(value, UTC).isoformat()
