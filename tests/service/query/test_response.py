"""``explain`` in a response: the signals of a result, block by block."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from indexer.model.spec import Block
from service.engine import Engine, Query
from service.query.context import RequestContext
from service.query.predictions import CategoryPrediction
from service.query.query import SearchOptions
from service.query.response import FoundObject, fields_of
from tests.service.api.routes.test_queries import assert_problem, upload
from tests.service.conftest import photo
from tests.service.products.test_writer import base64_of
from tests.service.query.test_search import search


def test_an_optional_field_is_left_out_at_every_depth() -> None:
    """Of an object's category as of a photo's: what photos judge has no ``stands_on``, not null."""
    mug = CategoryPrediction("mug", ["mug"], 0.5)
    words = replace(mug, stands_on="text")
    inner = [fields_of(FoundObject([0, 0, 9, 9], 0.5, one, []))["category"] for one in (mug, words)]
    assert inner == [
        {"label": "mug", "path": ["mug"], "probability": 0.5},
        {"label": "mug", "path": ["mug"], "probability": 0.5, "stands_on": "text"},
    ]


def test_explain_adds_each_block_s_cosine(web: FlaskClient) -> None:
    """By body, form and query, for photo, product, text and several; scores, order and pages are as
    without it."""
    shot = photo("ring", "blue", turn=4)
    for body in (
        {"image": base64_of(shot)},
        {"product_id": "cross-red"},
        {"image": base64_of(shot), "product_id": "cross-red"},
        {"image": base64_of(shot), "weights": {"g": 1}},
    ):
        plain, told = (search(web, **body, k=5, **more) for more in ({}, {"explain": True}))
        assert told["next_cursor"] == plain["next_cursor"]
        for one, other in zip(told["results"], plain["results"], strict=True):
            assert one == {**other, "signals": one["signals"]}
            assert one["signals"] == {**other["signals"], "g": one["signals"]["g"]}
            assert len(body) > 1 or one["signals"]["g"] == pytest.approx(one["score"], abs=2e-3)
    form = web.post("/v1/search", data=upload(shot, explain="true", k="5")).get_json()["results"]
    assert [set(one["signals"]) for one in form] == [{"image", "g"}] * 5
    similar = web.get("/v1/products/cross-red/similar?explain=true&k=3").get_json()
    assert [set(one["signals"]) for one in similar["results"]] == [{"product_id", "g"}] * 3
    words = search(web, text="red ring", explain=True, k=3)
    assert {"keywords"} <= set(words["results"][0]["signals"]) <= {"keywords", "text", "g"}
    second = search(
        web,
        product_id="cross-red",
        k=5,
        cursor=search(web, product_id="cross-red", k=5)["next_cursor"],
        explain=True,
    )
    assert len(second["results"]) == 5
    assert (
        "explain"
        in assert_problem(
            web.get("/v1/products/cross-red/similar?explain=7"), 422, "invalid-request"
        )["detail"]
    )


def test_blocks_explain_the_score_between_them(shop: Engine) -> None:
    """The cosine with an input is the mean of its blocks' cosines, weighted as the model weighs
    them."""
    now = shop.ready()
    query = Query(image=photo("ring", "blue", turn=4))
    embedded = shop.embedder.embed(RequestContext.begin(now, 10.0), query)
    vector = embedded.vectors
    width = vector.shape[1] // 3
    share = float((vector[0, :width] ** 2).sum())
    blocks = (Block("c", width, share), Block("g", vector.shape[1] - width, 1 - share))
    split = replace(now, bundle=replace(now.bundle, spec=replace(now.bundle.spec, blocks=blocks)))
    ctx = RequestContext.begin(split, 10.0)
    plan = shop.searcher.plan(ctx, query, SearchOptions(k=20, explain=True))
    found = shop.searcher.search(ctx, embedded, plan)
    for result in found.results:
        pid = shop.catalog.pid(result.product_id)
        best = max(now.live.vectors_of(pid)[1], key=lambda stored: float(vector[0] @ stored))  # type: ignore[arg-type]
        expected = float(vector[0, :width] @ best[:width]) / share
        assert result.signals["c"] == pytest.approx(min(max(expected, -1), 1), abs=1e-3)
        if abs(result.signals["c"]) < 1 and abs(result.signals["g"]) < 1:
            mean = share * result.signals["c"] + (1 - share) * result.signals["g"]
            assert result.signals["image"] == result.score == pytest.approx(mean, abs=1e-3)
