"""Filters as requests send them, with the columns that they are answered from."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from indexer.catalog.filters import BUILT_IN, Filter, facts_of, parse_filter
from indexer.catalog.product_fields import SINGULAR_FIELDS
from indexer.catalog.store import Catalog
from indexer.core.errors import BadFilterError
from indexer.index.filter_columns import BoundFilter, FilterColumns
from indexer.index.live import LiveIndex
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
    """Reads filters; changes neither index nor catalog."""

    def __init__(self, catalog: Catalog, *, log: Any) -> None:
        self._catalog = catalog
        self._log = log

    def parse(self, raw: object) -> Filter:
        """A filter as sent. Raises ``BadFilterError``."""
        return parse_filter(raw, self.types(), pid_of=self._catalog.pid)

    def types(self) -> Mapping[str, str]:
        """The types of the attributes and fields that some product has."""
        return self._catalog.filter_types()

    def counted_unasked(self, known: Iterable[str]) -> list[str]:
        """Those of the ``known`` fields that facets count where none is named: not the addresses
        and codes, of which each product has its own."""
        own = self._catalog.types()
        return [name for name in known if name in own or name not in SINGULAR_FIELDS]

    def has_field(self, name: str) -> bool:
        """Whether conditions on this field can be read: it is built in, or the catalog has it."""
        return name in BUILT_IN or name in self.types()

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
        types = self.types()
        return snapshot.derived_from_index(CatalogColumns).fitting(self._catalog, types, self._log)
