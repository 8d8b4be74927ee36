"""Groups in searches and facets, against a model of them in plain Python."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.catalog.records import Product
from indexer.core.errors import BadFilterError
from indexer.core.timer import StageTimer
from indexer.index.base import rescore
from indexer.model.spec import Block
from service.engine import Engine
from service.query.context import RequestContext
from service.query.cursors import CursorSigner
from service.query.facets import FacetCounter
from service.query.filters import FilterParser
from service.query.groups import GroupReader
from service.query.photo_embedder import EmbeddedQuery
from service.query.query import Query, SearchOptions
from service.query.response import SearchResult
from service.query.search import Searcher
from service.query.search_cache import SearchCache
from service.query.stock import StockFilter
from tests.indexer.index.test_live_filters import DIM, QUERIES, VECTORS, Shop
from tests.service.api.routes.test_queries import assert_problem
from tests.service.query.test_search import search

TYPES = {
    "parent": "string",
    "price": "number",
    "currency": "string",
    "availability": "string",
    "colour": "string",
    "sizes": "list",
}
OUT = {"field": "availability", "eq": "out_of_stock"}


class Window(Shop):
    """A shop whose products are searched as the service does it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, types=TYPES)
        self.made: dict[type, Any] = {}
        filters = FilterParser(self.catalog, log=SimpleNamespace(warning=print))
        stock = StockFilter(filters, [OUT, {"field": "stock", "lte": 0}])
        groups = GroupReader(filters, stock)
        texts: Any = None
        cursors = CursorSigner(self.catalog, 100_000)
        self.searcher = Searcher(self.catalog, stock, groups, texts, cursors)
        self.facets = FacetCounter(filters, stock, groups)

    def derived(self, kind: type[Any]) -> Any:
        if kind not in self.made:
            self.made[kind] = kind(self.live)
        return self.made[kind]

    def context(self) -> RequestContext:
        snapshot: Any = SimpleNamespace(
            live=self.live,
            index_version="v000001",
            pending=(),
            bundle=SimpleNamespace(spec=SimpleNamespace(blocks=(Block("g", DIM, 1.0),))),
            derived_from_index=self.derived,
        )
        return RequestContext(snapshot, StageTimer(), SearchCache(), 10.0)

    def page(self, query: np.ndarray, product: str | None = None, **options: Any) -> Any:
        ctx = self.context()
        asked = Query(image=query.tobytes(), product_id=product)
        own = self.catalog.pid(product) if product is not None else None
        found = EmbeddedQuery(
            asked, {"image": query[None]}, frozenset() if own is None else frozenset({own})
        )
        plan = self.searcher.plan(ctx, asked, SearchOptions(**options))
        return self.searcher.search(ctx, found, plan)

    def all_pages(self, query: np.ndarray, k: int, **options: Any) -> list[SearchResult]:
        """Results of all pages; each but the last one is full."""
        results: list[SearchResult] = []
        cursor = None
        while True:
            page = self.page(query, k=k, cursor=cursor, **options)
            results += page.results
            assert len(page.results) == k or page.next_cursor is None
            cursor = page.next_cursor
            if cursor is None:
                return results


@dataclass(frozen=True)
class Match:
    """A product that matches, as the model sees it."""

    product: Product
    late: bool
    score: float
    photo_id: int

    @property
    def rank(self) -> tuple[bool, float, int]:
        return (self.late, -self.score, self.product.pid)


def is_out(product: Product) -> bool:
    return product.attributes.get("availability") == "out_of_stock"


def matches(shop: Window, query: np.ndarray, options: dict[str, Any]) -> list[Match]:
    """All products that match, best first."""
    where = shop.filter(options.get("filter") or {})
    handling = options.get("out_of_stock")
    found = []
    for product in shop.catalog.iterate():
        stored = shop.vectors(list(product.photo_ids))
        scores = rescore(query.astype(np.float32), stored).tolist()
        score, photo = min(
            (-min(score, 1.0), photo)
            for score, photo in zip(scores, product.photo_ids, strict=True)
        )
        hidden = handling == "hide" and is_out(product)
        if where.matches(product) and not hidden and -score >= options.get("min_score", -1):
            late = handling == "last" and is_out(product)
            found.append(Match(product, late, -score, photo))
    return sorted(found, key=lambda match: match.rank)


def group_key(product: Product, field: str) -> Any:
    own = product.attributes.get(field) if field != "category" else product.category
    return ("value", own) if own is not None else ("alone", product.pid)


def expected_cards(shop: Window, query: np.ndarray, options: dict[str, Any]) -> list[Any]:
    """What the cards show, by the definition of groups."""
    field, size = options["group_by"], options["group_size"]
    groups: dict[Any, list[Match]] = defaultdict(list)
    for match in matches(shop, query, options):
        groups[group_key(match.product, field)].append(match)
    cards = []
    shown_photos: set[int] = set()
    for members in groups.values():
        leader = members[0]
        if options.get("collapse") == "same_photo" and leader.photo_id in shown_photos:
            continue
        shown_photos.add(leader.photo_id)
        attributes = [match.product.attributes for match in members]
        currency = leader.product.attributes.get("currency")
        prices = [
            own["price"] for own in attributes if "price" in own and own.get("currency") == currency
        ]
        cards.append(
            {
                "product": leader.product.product_id,
                "size": len(members),
                "price": (min(prices), max(prices)) if prices else (None, None),
                "in_stock": any(not is_out(match.product) for match in members),
                "members": [match.product.product_id for match in members[1:size]],
            }
        )
    return cards


def shown_cards(results: Sequence[SearchResult]) -> list[Any]:
    cards = []
    for result in results:
        group = result.group
        assert group is not None
        cards.append(
            {
                "product": result.product_id,
                "size": group.size,
                "price": (group.price_min, group.price_max),
                "in_stock": group.in_stock,
                "members": [member.product_id for member in group.members],
            }
        )
    return cards


def expected_facets(shop: Window, options: dict[str, Any]) -> Any:
    """Distinct groups, in all and for each colour and parent."""
    field = options["group_by"]
    everything: set[Any] = set()
    by_value: dict[str, dict[str, set[Any]]] = {"colour": {}, "parent": {}}
    for match in matches(shop, QUERIES[0], {**options, "min_score": -1}):
        group = group_key(match.product, field)
        everything.add(group)
        for name, values in by_value.items():
            if (value := match.product.attributes.get(name)) is not None:
                values.setdefault(value, set()).add(group)
    return len(everything), {
        name: {value: len(found) for value, found in values.items()}
        for name, values in by_value.items()
    }


attributes = st.fixed_dictionaries(
    {},
    optional={
        "parent": st.sampled_from(["shirt", "shoe", "hat"]),
        "price": st.sampled_from([5, 10, 12.5]),
        "currency": st.sampled_from(["EUR", "USD"]),
        "availability": st.sampled_from(["in_stock", "out_of_stock"]),
        "colour": st.sampled_from(["red", "blue"]),
    },
)
fields = st.fixed_dictionaries(
    {
        "category": st.sampled_from([None, ("A",), ("A", "B")]),
        "tags": st.just([]),
        "attributes": attributes,
    }
)
numbers = st.integers(1, 12)
photos = st.lists(st.integers(0, len(VECTORS) - 1), min_size=1, max_size=2, unique=True)
puts = st.tuples(st.just("put"), numbers, photos, fields)
patches = st.tuples(
    st.just("patch"),
    numbers,
    st.sampled_from(
        [
            {"parent": "shirt"},
            {"parent": "new"},
            {"parent": None},
            {"availability": "out_of_stock"},
            {"availability": "in_stock", "price": 7},
        ]
    ),
)
deletes = st.tuples(st.just("delete"), numbers)
questions = st.fixed_dictionaries(
    {
        "group_by": st.sampled_from(["parent", "colour", "price", "category"]),
        "group_size": st.integers(1, 4),
        "out_of_stock": st.sampled_from(["show", "last", "hide"]),
    },
    optional={
        "filter": st.sampled_from(
            [
                {"must": [{"field": "price", "gte": 7}]},
                {"must_not": [{"field": "colour", "eq": "red"}]},
            ]
        ),
        "min_score": st.sampled_from([-0.1, 0.2]),
        "collapse": st.just("same_photo"),
    },
)


def write(shop: Window, step: Any) -> None:
    getattr(shop, step[0])(*step[1:])


@patch("indexer.index.facts_log._SEGMENT", 3)  # so that a few writes are judged by columns
@settings(max_examples=25, deadline=None)
@given(
    first=st.lists(puts, max_size=12),
    later=st.lists(st.one_of(puts, patches, deletes), max_size=8),
    asked=st.lists(questions, min_size=1, max_size=3),
    k=st.integers(1, 4),
)
def test_pages_are_full_and_right(
    first: list[Any], later: list[Any], asked: list[dict[str, Any]], k: int
) -> None:
    """Each page has min(k, what is left) groups, each led by its best match, with the size, prices,
    stock and members that a plain count gives; facets count groups. Also over writes, filters,
    scores, collapse and stock."""
    with tempfile.TemporaryDirectory() as folder:
        shop = Window(Path(folder))
        for step in first:
            write(shop, step)
        shop.publish()
        for step in [None, *later]:
            if step is not None:
                write(shop, step)
            for options in asked if step is None or step is later[-1] else ():
                query = QUERIES[k % len(QUERIES)].astype(np.float32)
                found = shown_cards(shop.all_pages(query, k, **options))
                assert found == expected_cards(shop, query, options)
                counted = shop.facets.count(
                    shop.context(),
                    fields=["colour", "parent"],
                    **{
                        name: value
                        for name, value in options.items()
                        if name in ("group_by", "filter", "out_of_stock")
                    },
                )
                total, values = expected_facets(shop, options)
                assert counted.total == total
                assert {
                    facet.field: {str(row.value): row.count for row in facet.values or ()}
                    for facet in counted.facets
                } == values
        shop.catalog.close()


@pytest.fixture
def shop(tmp_path: Path) -> Any:
    """Three sizes of a shirt with one photo, two of a shoe, and a hat without a parent."""
    shop = Window(tmp_path)
    for number, (photo, parent, stock) in enumerate(
        [
            (0, "shirt", "out_of_stock"),
            (0, "shirt", "in_stock"),
            (0, "shirt", "in_stock"),
            (1, "shoe", "out_of_stock"),
            (1, "shoe", "out_of_stock"),
            (2, None, "in_stock"),
        ]
    ):
        own = {"parent": parent, "availability": stock, "price": 10 + number, "sizes": [number]}
        own = {name: value for name, value in own.items() if value is not None}
        shop.put(number, [photo], {"category": None, "tags": [], "attributes": own})
    shop.publish()
    yield shop
    shop.catalog.close()


def query_like(photo: int) -> np.ndarray:
    return np.asarray(VECTORS[photo], np.float32)


def test_variants_of_the_asked_product_are_no_answer(shop: Window) -> None:
    """Similar products of a variant are products of other parents, with groups and without."""
    for options in ({}, {"group_by": "parent"}):
        page = shop.page(query_like(0), product="1", **options)
        found = {result.product_id for result in page.results}
        assert not found & {"0", "1", "2"}
        assert "5" in found
    assert {result.product_id for result in shop.page(query_like(2), product="5").results} == set(
        "01234"
    )


def test_deleting_a_variant_leaves_its_group_right(shop: Window) -> None:
    """The others of an erased variant make the group, with their size, prices and stock."""
    before = shop.page(query_like(0), group_by="parent", group_size=3).results[0]
    assert (before.product_id, before.group.size) == ("0", 3)
    shop.delete(0)
    after = shop.page(query_like(0), group_by="parent", group_size=3).results[0]
    assert after.product_id == "1"
    assert (after.group.size, after.group.price_min, after.group.price_max) == (2, 11.0, 12.0)
    assert [member.product_id for member in after.group.members] == ["2"]
    for number in (1, 2):
        shop.delete(number)
    assert shop.facets.count(shop.context(), group_by="parent").total == 2


def test_a_change_of_stock_is_seen_at_once(shop: Window) -> None:
    """What a write says of stock holds in the next answer, without a photo being touched."""
    query = query_like(1)
    assert [r.product_id for r in shop.page(query, out_of_stock="hide").results[:1]] != ["3"]
    shop.patch(4, {"availability": "in_stock"})
    (first, *_) = shop.page(query, group_by="parent", out_of_stock="hide").results
    assert (first.product_id, first.group.size, first.group.in_stock) == ("4", 1, True)
    (first, *_) = shop.page(query, group_by="parent", out_of_stock="last").results
    assert (first.product_id, first.group.size) == ("4", 2)
    shop.patch(4, {"availability": "out_of_stock"})
    last = shop.page(query, group_by="parent", out_of_stock="last").results[-1]
    assert (last.product_id, last.group.in_stock) == ("3", False)


def test_fields_that_cannot_group_are_named(shop: Window) -> None:
    """A list, tags, ids and what nobody has are refused, each in words that say what to do."""
    for field in ("sizes", "tags", "product_id"):
        with pytest.raises(BadFilterError, match=f"group_by: {field} may have several values"):
            shop.page(query_like(0), group_by=field)
    with pytest.raises(BadFilterError, match="no field 'shade' to group by; there are: parent"):
        shop.page(query_like(0), group_by="shade")
    with pytest.raises(BadFilterError, match="no field 'number' to group by"):
        shop.facets.count(shop.context(), group_by="number")


def test_a_large_group_hides_no_other(tmp_path: Path) -> None:
    """A hundred variants nearer than all else take one place: each page is full behind them."""
    shop = Window(tmp_path)
    for number in range(100):
        own = {"parent": "shirt"}
        shop.put(number, [0], {"category": None, "tags": [], "attributes": own})
    for number in range(100, 110):
        shop.put(number, [1 + number % 11], {"category": None, "tags": [], "attributes": {}})
    shop.publish()
    results = shop.all_pages(query_like(0), 2, group_by="parent", group_size=2)
    assert [result.group.size for result in results if result.group] == [100] + [1] * 10
    assert [len(result.group.members) for result in results[:2] if result.group] == [1, 0]
    shop.catalog.close()


def test_groups_over_http(own: Engine, open_web: Callable[..., Any]) -> None:
    """Search, similar and facets take ``group_by``; without it nothing is grouped; a field that
    cannot group, or too many members, is 422."""
    web = open_web()
    for name in ("ring-blue", "ring-black", "cross-red"):
        own.products.patch(name, {"attributes": {"parent": "p", "price": float(len(name))}})
    plain = search(web, product_id="ring-tan", k=50)
    assert len(plain["results"]) == 19
    assert all("group" not in row for row in plain["results"])
    body = {"k": 50, "group_by": "parent", "group_size": 2}
    found = search(web, product_id="ring-tan", **body)
    assert len(found["results"]) == 17
    (group,) = [row["group"] for row in found["results"] if row["group"]["value"] == "p"]
    assert (group["size"], group["price_min"], group["price_max"]) == (3, 9.0, 10.0)
    assert len(group["members"]) == 1
    assert "group" not in group["members"][0]
    similar = web.get(f"/v1/products/ring-tan/similar?{urlencode(body)}").get_json()
    assert similar["results"] == found["results"]
    assert len(search(web, product_id="ring-blue", k=50)["results"]) == 17
    facets = web.get("/v1/facets?group_by=parent&fields=colour").get_json()
    assert facets["total"] == 18
    assert sum(row["count"] for row in facets["facets"][0]["values"]) == 20
    assert_problem(
        web.post("/v1/search", json={"text": "red", "group_by": "tags"}), 422, "bad-filter"
    )
    assert_problem(web.get("/v1/facets?group_by=nothing"), 422, "bad-filter")
    many = web.get("/v1/products/ring-tan/similar?group_by=parent&group_size=21")
    assert_problem(many, 422, "invalid-request")
