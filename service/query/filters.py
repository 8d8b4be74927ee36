"""Filters as requests send them, and facets: how many products have which value."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from indexer.catalog.filters import Filter, FilterableProduct, facts_of, parse_filter
from indexer.catalog.store import Catalog
from indexer.core.errors import BadFilterError
from indexer.core.timer import StageTimer
from indexer.index.filter_columns import FilterColumn, FilterColumns, facet_elements, shown
from service.state.snapshots import Snapshot


class FilterParser:
    """Part of the engine. ``answer`` frames what is answered."""

    def __init__(
        self, catalog: Catalog, *, answer: Callable[..., dict[str, Any]], log: Any
    ) -> None:
        self._catalog, self._answer, self._log = catalog, answer, log
        self._preparing = threading.Lock()

    def read(self, snapshot: Snapshot, raw: object) -> Filter:
        """A filter as sent, ready to be asked of ``snapshot``. Raises ``BadFilterError``."""
        types = self._catalog.types()
        found = parse_filter(raw, types, pid_of=self._catalog.pid)
        live = snapshot.live
        if live.columns is None or not live.columns.fits(types):
            with self._preparing:
                if live.columns is None or not live.columns.fits(types):
                    self._log.warning(
                        "filters are read from the catalog: this index version has no columns that "
                        "fit; build it anew",
                        index_version=snapshot.index_version,
                    )
                    # What is written meanwhile is judged by the log, not by the columns.
                    live.columns = FilterColumns.build(
                        map(facts_of, self._catalog.iterate()), live.products, types
                    )
        return found

    def facets(
        self,
        snapshot: Snapshot,
        clock: StageTimer,
        *,
        filter: object = None,
        fields: Sequence[str] = (),
        limit: int = 20,
    ) -> dict[str, Any]:
        """``total`` and ``facets`` of the searchable products that pass ``filter``; ``fields``: of
        these alone.

        Of numbers and datetimes min and max are given, of all else the ``limit`` commonest values
        with their counts. Raises ``BadFilterError`` naming an unknown field.
        """
        where = self.read(snapshot, {} if filter is None else filter)
        columns = snapshot.live.columns
        assert columns is not None
        known = {column.field: column for column in columns.facets()}
        # A type may be newer than the version: then only products that changed since have such a
        # value.
        for name, kind in self._catalog.types().items():
            known.setdefault(name, FilterColumn(name, kind, np.empty(0, np.int32)))
        for name in fields:
            if name not in known:
                raise BadFilterError(
                    f"fields: no field {name!r} to count; there are: {', '.join(list(known)[:20])}"
                )
        with clock.stage("count"):
            mask, changed = snapshot.live.count_matching(where)
            found = [
                _facet(known[name], mask, changed, limit) for name in dict.fromkeys(fields or known)
            ]
        return self._answer(
            snapshot, clock, total=int(np.count_nonzero(mask)) + len(changed), facets=found
        )


def _facet(
    column: FilterColumn, mask: np.ndarray, changed: Sequence[FilterableProduct], limit: int
) -> dict[str, Any]:
    """One field over the masked products of the base and those that changed since."""
    newer = [elements for facts in changed if (elements := facet_elements(facts, column))]
    present = np.zeros(len(mask), dtype=bool)
    present[column.places] = True
    count = int(np.count_nonzero(present & mask)) + len(newer)
    facet: dict[str, Any] = {"field": column.field, "type": column.kind, "count": count}
    if column.kind in ("number", "datetime"):
        numbers = [float(element) for elements in newer for element in elements]
        if column.numbers is not None:
            held = column.numbers[mask[column.places]]
            numbers += [float(held[0]), float(held[-1])] if len(held) else []
        low, high = (min(numbers), max(numbers)) if numbers else (None, None)
        return {**facet, "min": _number(low, column.kind), "max": _number(high, column.kind)}
    counts = column.counts(mask)
    added = Counter(element for elements in newer for element in elements)
    tally = {
        int(place): int(counts[place])
        for place in np.argsort(-counts, kind="stable")[: limit + len(added)]
    }
    values = Counter(
        {column.keys[place].as_py(): number for place, number in tally.items() if number}
    )
    for element in set(added) - set(values) if len(counts) else ():
        values[element] = sum(int(counts[place]) for place in column.positions([element]))
    values.update(added)
    ranked = sorted(values.items(), key=lambda entry: (-entry[1], entry[0]))[:limit]
    shown_values = [
        {"value": shown(value, column.kind), "count": number} for value, number in ranked if number
    ]
    return {**facet, "values": shown_values}


def _number(value: float | None, kind: str) -> float | str | None:
    if value is None or kind == "number":
        return value
    return datetime.fromtimestamp(value, UTC).isoformat()
