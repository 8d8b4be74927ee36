"""Columns follow a changed type beside the requests, however large the catalog is."""

from __future__ import annotations

from typing import Any

import pytest

from indexer.catalog.store import Catalog
from indexer.core.errors import BadFilterError
from service.engine import Engine
from service.query import filters
from service.settings import Settings


def test_a_changed_type_of_a_large_catalog_is_read_in_portions(
    own_home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request reads the products: until that is done beside them conditions are of the type of
    before, answers are not complete; then the new type holds."""
    monkeypatch.setattr(filters, "_MOST_READ", 10)
    monkeypatch.setattr(filters, "_PORTION", 8)
    # Polled by hand.
    with Engine(Settings(home=own_home, poll_s=60)) as engine:
        engine.products.patch("cross-red", {"attributes": {"size": 38}})
        for number in range(3):
            colour = ("green", "black", "tan")[number]
            engine.products.patch(f"stripes-{colour}", {"attributes": {"size": 40 + number}})
        engine.versions.activate(build(engine))
        raw = {"must": [{"field": "size", "gte": 41}]}
        assert engine.facets(filter=raw).content.total == 2
        engine.catalog.set_types({"size": "string"})
        engine.snapshots.follow()
        iterate, read = Catalog.iterate, []

        def watched(self: Catalog, after: int = 0) -> Any:
            for product in iterate(self, after):
                read.append(product.pid)
                yield product

        monkeypatch.setattr(Catalog, "iterate", watched)
        before = engine.facets(filter=raw).to_json()
        assert before["complete"] is False
        assert engine.similar("cross-red", k=3).to_json()["complete"] is False
        assert read == []
        assert not engine._filters.follow_some()
        assert len(read) <= 10
        while not engine._filters.follow_some():
            pass
        after = engine.facets(filter={"must": [{"field": "size", "eq": "41"}]}).to_json()
        assert (after["total"], "complete" in after) == (1, False)
        with pytest.raises(BadFilterError):
            engine.facets(filter=raw)


def build(engine: Engine) -> str:
    from indexer.index_build.pipeline import build_index
    from indexer.model.registry import resolve

    version = build_index(engine.home, bundle=resolve(engine.home, None)).version
    assert version is not None
    return version
