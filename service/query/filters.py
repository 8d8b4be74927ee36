"""Filters as requests send them, with the columns that they are answered from."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from indexer.catalog.filters import Filter, all_of, facts_of, named_products, parse_filter
from indexer.catalog.product_fields import SINGULAR_FIELDS
from indexer.catalog.store import Catalog
from indexer.core.errors import BadFilterError
from indexer.index.filter_columns import BoundFilter, ColumnsBuilder, FilterColumns
from indexer.index.live import LiveIndex
from service.state.snapshot import Snapshot

# Products that a request reads itself, a second's work; those that one step reads.
_MOST_READ = 20_000
_PORTION = 2000


class CatalogColumns:
    """Columns of a live index's products, read from the catalog where the version has none that
    fit."""

    def __init__(self, live: LiveIndex) -> None:
        self._live = live
        self._reading = threading.Lock()
        self._columns: FilterColumns | None = None
        # What is read beside the answers, and the last product that was.
        self._builder: ColumnsBuilder | None = None
        self._after = 0

    def is_large(self) -> bool:
        """Whether reading the products takes longer than a request may."""
        return len(self._live.products) > _MOST_READ

    def present(self) -> FilterColumns | None:
        """The newest columns there are."""
        return self._columns or self._live.columns

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

    def read_some(self, catalog: Catalog, types: Mapping[str, str]) -> bool:
        """Read the next products for columns by these types; whether they are there."""
        present = self.present()
        if present is not None and present.fits(types):
            return True
        if self._builder is None or self._builder.types != types:
            self._builder, self._after = ColumnsBuilder(self._live.products, types), 0
        part = list(islice(catalog.iterate(self._after), _PORTION))
        self._builder.add(map(facts_of, part))
        if part:
            self._after = part[-1].pid
            return False
        self._columns, self._builder = self._builder.finish(), None
        return True


@dataclass(frozen=True)
class KnownFields:
    """What the products of a snapshot can be asked for, as read once for a request."""

    snapshot: Snapshot
    # Of attributes and fields that some product has.
    types: Mapping[str, str]
    # What conditions are answered from.
    columns: FilterColumns
    # Whether they have the present types: after a change of one they follow.
    complete: bool = True


class FilterParser:
    """Reads filters; changes neither index nor catalog.

    ``followed``: ``follow_some`` is called beside the requests, so that none of them reads a large
    catalog: until that is done the types are those of before.
    """

    def __init__(self, catalog: Catalog, *, log: Any, followed: bool = False) -> None:
        self._catalog = catalog
        self._log = log
        self._followed = followed
        # Of snapshots that were asked and whose columns do not fit.
        self._behind: weakref.WeakSet[CatalogColumns] = weakref.WeakSet()
        self._noting = threading.Lock()  # a set that grows while it is walked raises

    def parse(self, raw: object, types: Mapping[str, str] | None = None) -> Filter:
        """A filter as sent; ``types`` as they were read. Raises ``BadFilterError``."""
        known = self.types() if types is None else types
        looked_up = set(asked := named_products(raw))
        pids = self._catalog.pids(asked)

        def pid_of(product_id: str) -> int | None:
            found = pids.get(product_id)
            return found if product_id in looked_up else self._catalog.pid(product_id)

        return parse_filter(raw, known, pid_of=pid_of)

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

    def bind(self, fields: KnownFields, *every: object) -> BoundFilter:
        """Filters as sent that all are to pass, with the columns that they are answered from. Each
        has the bounds of a filter of its own. Raises ``BadFilterError``."""
        parsed = tuple(self.parse(raw, fields.types) for raw in every)
        return BoundFilter.of(all_of(parsed), fields.columns)

    def fields(self, snapshot: Snapshot) -> KnownFields:
        """What filters and facets of a snapshot are answered from."""
        types = self.types()
        found = snapshot.derived_from_index(CatalogColumns)
        present = found.present()
        if self._followed and present is not None and found.is_large():
            misfits = present.misfits(types)
            if misfits:
                with self._noting:
                    self._behind.add(found)
                return KnownFields(snapshot, {**types, **misfits}, present, complete=False)
            return KnownFields(snapshot, types, present)
        return KnownFields(snapshot, types, found.fitting(self._catalog, types, self._log))

    def follow_some(self) -> bool:
        """Read the next products for columns whose types have changed; whether none are behind."""
        with self._noting:
            behind = list(self._behind)
        done = True
        for columns in behind:
            if columns.read_some(self._catalog, self.types()):
                with self._noting:
                    self._behind.discard(columns)
            else:
                done = False
        return done
