"""Promises about the way of a request: embedded first, framed once, never back into the engine."""

from __future__ import annotations

import dataclasses
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, cast

import pytest

import service
from indexer.catalog.store import open_catalog
from indexer.core.timer import StageTimer
from indexer.index.live import LiveIndex
from service.engine import Engine, Query
from service.inference.admission import DeadlineExceededError
from service.query.catalog_map import Projection
from service.query.context import RequestContext, TagDepths
from service.query.filters import CatalogColumns, FilterParser
from service.query.interest_ranking import RecommendOptions, ValueShares
from service.query.objects import CatalogSimilarity
from service.query.photo_embedder import PhotoEmbedder
from service.query.query import SearchOptions
from service.query.recommend import Event
from service.query.response import Envelope
from service.query.search_cache import SearchCache
from service.review.review import ChanceSimilarity
from service.state.derived import DerivedValues
from service.state.snapshot import Snapshot
from tests.service.conftest import photo

ENGINE = str(Path(service.__file__).parent / "engine.py")
ROOMS = tuple(
    str(Path(service.__file__).parent / room)
    for room in ("query", "review", "products", "state", "inference")
)


@contextmanager
def climbs() -> Iterator[list[str]]:
    """Calls of the engine's functions that come out of the rooms below it, by any thread."""
    found: list[str] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        back = frame.f_back
        if event != "call" or frame.f_code.co_filename != ENGINE or back is None:
            return
        # A generator of the engine that goes on is called by contextlib, not by a room.
        if back.f_code.co_filename.startswith(ROOMS):
            found.append(f"{back.f_code.co_filename}: {frame.f_code.co_name}")

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


ASKS: dict[str, Callable[[Engine], Any]] = {
    "classify": lambda engine: engine.classify(Query(image=photo("ring", "red", turn=3))),
    "search": lambda engine: engine.search(Query(image=photo("ring", "red", turn=4)), k=3),
    "describe": lambda engine: engine.describe(Query(image=photo("ring", "red", turn=5)), k=3),
    "review": lambda engine: engine.review([photo("ring", "red", turn=6)], queue=False),
    "objects": lambda engine: engine.find_objects(photo("ring", "red", turn=7)),
    "sample": lambda engine: engine.products.sample(3),
}


@pytest.mark.parametrize("name", ASKS)
def test_nothing_climbs_back_into_the_engine(shop: Engine, name: str) -> None:
    """No room below the engine calls a function of it, not even through a callable."""
    with climbs() as found:
        ASKS[name](shop)
    assert found == []


@pytest.mark.parametrize("name", ASKS)
def test_a_request_is_framed_once(shop: Engine, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One envelope a request, however many parts its answer has."""
    made: list[object] = []
    around = Envelope.around

    def counted(*given: Any) -> Any:
        made.append(given[0])
        return around(*given)

    monkeypatch.setattr(Envelope, "around", staticmethod(counted))
    ASKS[name](shop)
    assert len(made) == 1


def test_a_photo_is_embedded_once_for_all_parts(
    shop: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``describe`` embeds first and passes the arrays down."""
    asked: list[Query] = []
    embed = PhotoEmbedder.embed

    def counted(self: PhotoEmbedder, ctx: RequestContext, query: Query) -> Any:
        asked.append(query)
        return embed(self, ctx, query)

    monkeypatch.setattr(PhotoEmbedder, "embed", counted)
    ASKS["describe"](shop)
    assert len(asked) == 1


def test_a_filter_leaves_the_snapshot_as_it_was(own: Engine) -> None:
    """Parsing changes nothing; a version without fitting columns is answered from columns of the
    catalog, which the index itself never gets."""
    base = dataclasses.replace(own.ready().live.base, columns_file=None)
    bare = dataclasses.replace(own.ready(), live=LiveIndex(base))
    lines: list[str] = []
    log = SimpleNamespace(warning=lambda event, **_: lines.append(event))
    filters = FilterParser(own.catalog, log=log)
    filters.parse({"must": [{"field": "colour", "eq": "red"}]})
    assert lines == []
    where = filters.bind(filters.fields(bare), {"must": [{"field": "colour", "eq": "red"}]})
    assert bare.live.columns is None
    assert len(lines) == 1
    vectors = bare.live.vectors_of(int(bare.live.pids()[0]))[1][:1]
    (found,) = bare.live.search(vectors, 20, where=where)
    with open_catalog(own.home) as catalog:
        products = catalog.by_pids(found.pids.tolist())
    assert {product.attributes["colour"] for product in products.values()} == {"red"}
    assert len(found) == 4
    assert bare.live.columns is None
    filters.bind(filters.fields(bare), {"must": [{"field": "colour", "eq": "tan"}]})
    assert len(lines) == 1, "the columns are read once"


OF_INDEX = (Projection, CatalogSimilarity, ChanceSimilarity, CatalogColumns, ValueShares)


def test_what_is_derived_dies_with_its_snapshot(own: Engine) -> None:
    """Nothing else holds the columns, projection, depths and similarities of a snapshot."""
    snapshot = dataclasses.replace(own.ready(), live=LiveIndex(own.ready().live.base))
    depths = weakref.ref(snapshot.derived(TagDepths))
    derived = [
        weakref.ref(snapshot.derived_from_index(kind))  # type: ignore[type-var]
        for kind in OF_INDEX
    ]
    assert depths() is snapshot.derived(TagDepths)
    other = dataclasses.replace(snapshot)
    assert other.derived(TagDepths) is not snapshot.derived(TagDepths)
    for value, kind in zip(derived, OF_INDEX, strict=True):
        assert value() is other.derived_from_index(kind)  # type: ignore[type-var]
    del snapshot
    gc.collect()
    assert depths() is None
    assert None not in [value() for value in derived]
    del other
    gc.collect()
    assert [value() for value in derived] == [None] * len(OF_INDEX)


def test_a_class_edit_keeps_what_the_index_alone_decides(own: Engine) -> None:
    """The columns, projection and similarities are those of before; the tag depths, which the
    decision layer decides, and those of another index are made anew."""
    before = own.ready()
    derived = [before.derived_from_index(kind) for kind in OF_INDEX]  # type: ignore[type-var]
    own.classes.add("Rings", [photo("ring", "tan", turn=3)])
    after = own.ready()
    assert after.model_version != before.model_version
    assert after.derived(TagDepths) is not before.derived(TagDepths)
    other = dataclasses.replace(after, live=LiveIndex(after.live.base))
    for value, kind in zip(derived, OF_INDEX, strict=True):
        assert after.derived_from_index(kind) is value  # type: ignore[type-var]
        assert other.derived_from_index(kind) is not value  # type: ignore[type-var]


class Slow:
    """Counts how often it is made."""

    made = 0

    def __init__(self, snapshot: Snapshot) -> None:
        Slow.made += 1


def test_threads_that_ask_at_once_make_a_value_once() -> None:
    values = DerivedValues()
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(values.get(Slow, cast(Any, None))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Slow.made == 1
    assert len({id(value) for value in found}) == 1


def test_the_time_left_is_never_below_zero(shop: Engine) -> None:
    ctx = RequestContext(shop.ready(), StageTimer(), SearchCache(), 0.0)
    assert ctx.left_s() == 0.0


@pytest.mark.parametrize("collapse", ["none", "near_duplicate"])
def test_a_search_ends_at_its_deadline(shop: Engine, collapse: str) -> None:
    """However long its loops would be: the deadline is asked for in each of them."""
    snapshot = shop.snapshots.require()
    options = SearchOptions(k=3, collapse=collapse)
    query = Query(product_id="cross-red")
    ctx = RequestContext.begin(snapshot, 60.0)
    embedded = shop.embedder.embed(ctx, query)
    plan = shop.searcher.plan(ctx, query, options)
    assert len(shop.searcher.search(ctx, embedded, plan).results) == 3
    late = RequestContext.begin(snapshot, 0.0)
    with pytest.raises(DeadlineExceededError, match="deadline_s"):
        shop.searcher.search(late, embedded, plan)
    with pytest.raises(DeadlineExceededError, match="deadline_s"):
        shop.tag_suggester.suggest(late, embedded)


def test_a_deadline_ends_the_search_for_near_duplicates(shop: Engine) -> None:
    """It comes when the products are found and compared with each other: a hundred thousand alike
    ones took many seconds."""
    ctx = RequestContext.begin(shop.snapshots.require(), 60.0)
    embedded = shop.embedder.embed(ctx, Query(product_id="cross-red"))
    options = SearchOptions(k=3, collapse="near_duplicate")
    plan = shop.searcher.plan(ctx, Query(product_id="cross-red"), options)
    asked = iter([0.0])
    ctx.timer.elapsed = lambda: next(asked, 61.0)  # type: ignore[method-assign]
    with pytest.raises(DeadlineExceededError, match="deadline_s"):
        shop.searcher.search(ctx, embedded, plan)


def test_a_recommendation_ends_at_its_deadline(shop: Engine) -> None:
    late = RequestContext.begin(shop.snapshots.require(), 0.0)
    options = RecommendOptions(k=3)
    with pytest.raises(DeadlineExceededError, match="deadline_s"):
        shop._recommender.recommend(late, [Event("cross-red")], options)


def test_a_request_that_cannot_be_done_in_time_is_given_up_early(shop: Engine) -> None:
    """The work of the first photos is not thrown away at the last one."""
    timer = StageTimer()
    ctx = RequestContext.begin(shop.snapshots.require(), 1.0, timer=timer)
    ctx.check_pace(0, 16)
    timer.elapsed = lambda: 0.5  # type: ignore[method-assign]
    ctx.check_pace(8, 16)
    with pytest.raises(DeadlineExceededError, match="2 of 16 photos"):
        ctx.check_pace(2, 16)
