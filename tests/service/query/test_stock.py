"""Filters by stock."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from indexer.catalog.filters import MAX_CONDITIONS, MAX_DEPTH
from indexer.core.errors import BadFilterError
from service.query.filters import FilterParser
from service.query.stock import StockFilter
from tests.service.query.test_groups import OUT, TYPES, Window


def _in_stock(window: Window, stock: StockFilter, filters: FilterParser, pid: int) -> bool:
    bound = stock.bind(filters.fields(window.context().snapshot), None)
    assert bound is not None
    return bool(bound.holds(window.catalog.facts([pid])[pid]))


def test_what_is_kept_of_the_stock_filter_follows_ids_and_types(tmp_path: Path) -> None:
    """A condition on ids means the product that has the id now, and one on an attribute that the
    catalog got since counts from then on."""
    window = Window(tmp_path)
    fields = {"category": None, "tags": (), "attributes": {}}
    window.put(1, [1], fields)
    window.publish()
    filters = FilterParser(window.catalog, log=SimpleNamespace(warning=print))
    by_id = StockFilter(filters, [{"field": "product_id", "eq": "1"}])
    by_attribute = StockFilter(filters, [OUT, {"field": "sold", "eq": True}])
    first = window.catalog.pid("1")
    assert first is not None
    assert not _in_stock(window, by_id, filters, first)
    assert _in_stock(window, by_attribute, filters, first)
    window.delete(1)
    window.put(1, [1], fields)
    again = window.catalog.pid("1")
    assert again is not None
    assert again != first
    assert not _in_stock(window, by_id, filters, again)
    window.catalog.set_types({**TYPES, "sold": "bool"})
    window.patch(1, {"sold": True})
    assert not _in_stock(window, by_attribute, filters, again)


def test_the_own_conditions_count_for_nothing(tmp_path: Path) -> None:
    """A request has all 256 conditions and 8 levels to itself, and no fault names a condition that
    it did not send."""
    window = Window(tmp_path)
    window.put(1, [1], {"category": None, "tags": ("a",), "attributes": {"stock": 0}})
    window.publish()
    filters = FilterParser(window.catalog, log=SimpleNamespace(warning=print))
    stock = StockFilter(filters, [{"field": "stock", "lte": 0}])
    fields = filters.fields(window.context().snapshot)
    facts = window.catalog.facts([pid := window.catalog.pid("1") or 0])[pid]
    tagged = {"field": "tags", "eq": "a"}
    nested: dict[str, object] = {"must": [tagged]}
    for _ in range(MAX_DEPTH - 1):
        nested = {"must": [nested]}
    for sent in ({"should": [tagged] * MAX_CONDITIONS}, nested):
        for state, holds in (("in", False), ("out", True), ("any", True)):
            bound = stock.bind(fields, sent, stock=state)  # type: ignore[arg-type]
            assert bound is not None
            assert bool(bound.holds(facts)) is holds
    with pytest.raises(BadFilterError, match=r"^filter\.should\[256\]: a filter has at most 256"):
        stock.bind(fields, {"should": [tagged] * (MAX_CONDITIONS + 1)})
