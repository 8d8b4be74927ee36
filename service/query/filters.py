"""Filters as requests send them, with the columns that they are answered from."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from indexer.catalog.filters import Filter, facts_of, parse_filter
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


@dataclass(frozen=True)
class KnownFields:
    """What the products of a snapshot can be asked for, as read once for a request."""

    snapshot: Snapshot
    # Of attributes and fields that some product has.
    types: Mapping[str, str]
    # What conditions are answered from.
    columns: FilterColumns


class FilterParser:
    """Reads filters; changes neither index nor catalog."""

    def __init__(self, catalog: Catalog, *, log: Any) -> None:
        self._catalog = catalog
        self._log = log

    def parse(self, raw: object, types: Mapping[str, str] | None = None) -> Filter:
        """A filter as sent; ``types`` as they were read. Raises ``BadFilterError``."""
        known = self.types() if types is None else types
        return parse_filter(raw, known, pid_of=self._catalog.pid)

    def types(self) -> Mapping[str, str]:
        """The types of the attributes and fields that some product has."""
        return self._catalog.filter_types()

    def counted_unasked(self, known: Iterable[str]) -> list[str]:
        """Those of the ``known`` fields that facets count where none is named: not the addresses
        and codes, of which each product has its own."""
        own = self._catalog.types()
        return [name for name in known if name in own or name not in SINGULAR_FIELDS]

    def report_dropped(self, setting: str, field: str, error: BadFilterError) -> None:
        """Log that a condition of a setting does not fit the catalog and is ignored."""
        self._log.warning(
            f"a condition of {setting} is ignored: it does not fit the attribute's type",
            field=field,
            reason=str(error),
        )

    def bind(self, fields: KnownFields, raw: object) -> BoundFilter:
        """A filter as sent, with the columns that it is answered from. Raises
        ``BadFilterError``."""
        return BoundFilter.of(self.parse(raw, fields.types), fields.columns)

    def fields(self, snapshot: Snapshot) -> KnownFields:
        """What filters and facets of a snapshot are answered from."""
        types = self.types()
        found = snapshot.derived_from_index(CatalogColumns)
        return KnownFields(snapshot, types, found.fitting(self._catalog, types, self._log))
