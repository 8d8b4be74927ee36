"""Filters, weights, mixes, pages, collapse and facets over HTTP: values, and every way to ask
wrongly."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from flask.testing import FlaskClient

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.index.version import Versions
from indexer.index_build.pipeline import build_index
from indexer.model.registry import resolve
from service.app import create_app
from service.engine import Engine, Query
from service.query.cursors import CursorSigner
from service.settings import Settings
from tests.service.api.routes.test_queries import assert_problem, upload
from tests.service.conftest import COLOURS, KINDS, draw, encode, photo, product_id
from tests.service.products.test_writer import base64_of

RED = {"must": [{"field": "colour", "eq": "red"}]}


def search(web: FlaskClient, **body: Any) -> dict[str, Any]:
    answer = web.post("/v1/search", json=body)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_json()  # type: ignore[no-any-return]


def ids(answer: dict[str, Any]) -> list[str]:
    return [result["product_id"] for result in answer["results"]]


def of(kinds: tuple[str, ...] = KINDS, colours: tuple[str, ...] = tuple(COLOURS)) -> set[str]:
    return {product_id(kind, colour) for kind in kinds for colour in colours}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (RED, of(colours=("red",))),
        ({"must": [{"field": "category", "eq": "Shapes > ring"}]}, of(kinds=("ring",))),
        ({"must": [{"field": "category", "eq": "ring"}]}, of(kinds=("ring",))),
        ({"must": [{"field": "category", "eq": "Shapes"}]}, of()),
        (
            {"must": [{"field": "tags", "in": ["dots", "red"]}]},
            of(kinds=("dots",)) | of(colours=("red",)),
        ),
        (
            {"must_not": [{"field": "tags", "eq": "dots"}, {"field": "colour", "eq": "tan"}]},
            of(kinds=("ring", "stripes", "cross"), colours=("red", "green", "blue", "black")),
        ),
        (
            {"should": [RED, {"must": [{"field": "product_id", "eq": "a/similar"}]}]},
            of(colours=("red",)),
        ),
        ({"must": [{"field": "colour", "exists": False}]}, set()),
        ({}, of()),
    ],
)
def test_a_filter_lets_through_what_it_says(
    web: FlaskClient, raw: dict[str, Any], expected: set[str]
) -> None:
    """All matching products and no other, by JSON, by form and as query text; ranked as without the
    filter."""
    wanted = expected - {"cross-red"}
    body = search(web, product_id="cross-red", filter=raw, k=1000)
    assert set(ids(body)) == wanted
    whole = ids(search(web, product_id="cross-red", k=1000))
    assert ids(body) == [found for found in whole if found in wanted]
    fields = {"product_id": "cross-red", "filter": json.dumps(raw), "k": "1000"}
    form = web.post("/v1/search", data=fields, content_type="multipart/form-data")
    assert form.get_json()["results"] == body["results"]
    query = urlencode({"filter": json.dumps(raw), "k": 1000})
    assert (
        web.get(f"/v1/products/cross-red/similar?{query}").get_json()["results"] == body["results"]
    )


def test_a_filter_never_shortens_the_list(web: FlaskClient) -> None:
    """min(k, matches) results at each k, however few match."""
    for k in (1, 3, 4, 5, 1000):
        found = web.post(
            "/v1/search", data=upload(photo("dots", "tan"), k=str(k), filter=json.dumps(RED))
        ).get_json()
        assert len(found["results"]) == min(k, 4)
        assert len(set(ids(found))) == min(k, 4)
        assert set(ids(found)) <= of(colours=("red",))


@pytest.fixture
def own_web(open_web: Callable[..., FlaskClient]) -> FlaskClient:
    return open_web()


def test_filters_see_each_write_at_once(own_web: FlaskClient) -> None:
    """A patched price, a changed category, a new and an erased product: the next answer and its
    facets know them."""
    cheap = {"must": [{"field": "price", "lt": 10}]}
    assert_problem(
        own_web.post("/v1/search", json={"product_id": "cross-red", "filter": cheap}),
        422,
        "bad-filter",
    )
    own_web.patch("/v1/products/ring-blue", json={"attributes": {"price": 5}})
    own_web.patch("/v1/products/ring-tan", json={"attributes": {"price": 50}})
    assert ids(search(own_web, product_id="cross-red", filter=cheap)) == ["ring-blue"]
    own_web.patch(
        "/v1/products/ring-tan", json={"attributes": {"price": 9.5}, "category": "New > ring"}
    )
    assert set(ids(search(own_web, product_id="cross-red", filter=cheap))) == {
        "ring-blue",
        "ring-tan",
    }
    own_web.patch("/v1/products/ring-blue", json={"attributes": {"price": None}})
    body = {"images": [base64_of(photo("dots", "red", turn=33))], "attributes": {"price": 1}}
    own_web.put("/v1/products/fresh", json=body)
    assert set(ids(search(own_web, product_id="cross-red", filter=cheap))) == {"fresh", "ring-tan"}
    facets = {facet["field"]: facet for facet in own_web.get("/v1/facets").get_json()["facets"]}
    assert facets["price"] == {"field": "price", "type": "number", "count": 2, "min": 1, "max": 9.5}
    assert {entry["value"]: entry["count"] for entry in facets["category"]["values"]} == {
        "Shapes": 19,
        "Shapes > cross": 5,
        "Shapes > dots": 5,
        "Shapes > stripes": 5,
        "Shapes > ring": 4,
        "New": 1,
        "New > ring": 1,
    }
    own_web.delete("/v1/products/fresh")
    assert ids(search(own_web, product_id="cross-red", filter=cheap)) == ["ring-tan"]


def test_what_another_process_changed_is_not_shown_against_the_filter(own: Engine) -> None:
    """A product that stopped matching a moment ago, unseen by the index yet, gives its place to the
    next one."""
    before = own.similar("cross-red", filter=RED, k=2).content.results
    with open_catalog(own.home) as other:
        other.patch(before[0].product_id, {"attributes": {"colour": "pink"}})
    after = own.similar("cross-red", filter=RED, k=2).content.results
    assert after[0].product_id == before[1].product_id
    assert len(after) == 2
    assert {result.attributes["colour"] for result in after} == {"red"}


def test_a_version_without_columns_is_filtered_from_the_catalog(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version built before there were columns gives the same answers, and so does one with an
    outdated type."""
    home = Home(own_home)
    with monkeypatch.context() as patched:
        patched.setattr("indexer.index_build.publish.FilterColumns.build", lambda *_: None)
        build_index(home, bundle=resolve(home, None), activate=True)
    with Engine(Settings(home=own_home), watch=False) as engine:
        assert engine.ready().live.base.columns_file is None
        found = engine.similar("cross-red", filter=RED, k=100).content.results
        assert {result.product_id for result in found} == of(colours=("red",)) - {"cross-red"}
        with open_catalog(home) as other:
            other.set_types({"colour": "list"})
        engine.refresh()
        found = engine.similar("cross-red", filter=RED, k=100).content.results
        assert {result.product_id for result in found} == of(colours=("red",)) - {"cross-red"}


# -- pages


def pages(web: FlaskClient, sizes: tuple[int, ...], **body: Any) -> list[str]:
    """The products of one page after the other until there is none; the last size goes on."""
    found: list[str] = []
    cursor, number = None, 0
    while number == 0 or cursor is not None:
        k = sizes[min(number, len(sizes) - 1)]
        answer = search(web, k=k, **body, **({"cursor": cursor} if cursor else {}))
        assert len(answer["results"]) == k or answer["next_cursor"] is None
        assert answer["results"]
        found, cursor, number = found + ids(answer), answer["next_cursor"], number + 1
    return found


@pytest.mark.parametrize("sizes", [(1,), (7,), (3, 1, 8), (19,), (20,), (1000,)])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"filter": {"must_not": [{"field": "colour", "eq": "tan"}]}},
        {"collapse": "near_duplicate"},
        {"min_score": 0.3, "exclude": ["a/similar"]},
    ],
)
def test_pages_are_the_list_cut_in_pieces(
    web: FlaskClient, sizes: tuple[int, ...], more: dict[str, Any]
) -> None:
    """Whatever their size, pages together are the long list: nothing twice, nothing left out, then
    no cursor."""
    whole = ids(search(web, product_id="cross-red", k=1000, **more))
    assert pages(web, sizes, product_id="cross-red", **more) == whole
    assert len(set(whole)) == len(whole) > 5


def test_pages_of_a_photo_go_on_after_a_restart(own_home: Path) -> None:
    """The cursor needs nothing that the server remembers; a photo is asked about anew with each
    page."""
    shot = photo("ring", "blue", turn=3)
    with Engine(Settings(home=own_home), watch=False) as engine:
        whole = [
            result.product_id for result in engine.search(Query(image=shot), k=20).content.results
        ]
        first = engine.search(Query(image=shot), k=6)
    with Engine(Settings(home=own_home), watch=False) as engine:
        rest = engine.search(Query(image=shot), k=20, cursor=first.content.next_cursor)
    assert [
        result.product_id for result in [*first.content.results, *rest.content.results]
    ] == whole
    assert rest.content.next_cursor is None


def test_pages_stay_in_order_while_products_come_and_go(own_web: FlaskClient) -> None:
    """Between two pages products are erased (the last one shown, too) and one is added: the others
    stand as before."""
    whole = ids(search(own_web, product_id="cross-red", k=1000))
    first = search(own_web, product_id="cross-red", k=6)
    for gone in (whole[2], whole[5]):
        own_web.delete(f"/v1/products/{quote(gone, safe='')}")
    own_web.put(
        "/v1/products/copy", json={"images": [base64_of(photo("cross", "red"))]}
    )  # belongs on the first page
    rest, cursor = [], first["next_cursor"]
    while cursor:
        page = search(own_web, product_id="cross-red", k=4, cursor=cursor)
        rest, cursor = rest + ids(page), page["next_cursor"]
    assert rest == whole[6:]


def test_a_cursor_of_another_question_is_refused(web: FlaskClient) -> None:
    """With another product, filter, weight, limit or collapse it is 422; another k is fine."""
    cursor = search(web, product_id="cross-red", k=3)["next_cursor"]
    for change in (
        {"product_id": "ring-blue"},
        {"filter": RED},
        {"weights": {"g": 1}},
        {"min_score": 0.1},
        {"collapse": "same_photo"},
        {"exclude": ["ring-blue"]},
    ):
        body = {"product_id": "cross-red", "cursor": cursor, **change}
        assert (
            "another question"
            in assert_problem(web.post("/v1/search", json=body), 422, "bad-request")["detail"]
        )
    assert len(search(web, product_id="cross-red", k=5, cursor=cursor)["results"]) == 5


@pytest.mark.parametrize(
    "text", ["", "x", "AAAA", "WzFd", "bnVsbA", "é", "W" * 1024, "WyJ2MSIsMSwidGV4dCIsMSwxLCJhIl0"]
)
def test_a_made_up_cursor_is_refused(web: FlaskClient, text: str) -> None:
    body = assert_problem(
        web.post("/v1/search", json={"product_id": "cross-red", "cursor": text}), 422, "bad-request"
    )
    assert "cursor" in body["detail"]


def test_pages_go_on_with_the_version_that_began_them(own: Engine, own_web: FlaskClient) -> None:
    """A newer version in between changes nothing; once the first page's is gone the next one is
    410, and says which."""
    whole = search(own_web, product_id="cross-red", k=6)["results"]
    cursor = search(own_web, product_id="cross-red", k=3)["next_cursor"]
    assert CursorSigner(own.catalog, 1000).read(cursor).version == "v000001"
    build_index(own.home, bundle=resolve(own.home, None), activate=True)
    own.refresh()
    page = search(own_web, product_id="cross-red", k=3, cursor=cursor)
    assert (page["index_version"], page["results"]) == ("v000001", whole[3:])
    told = own_web.post(
        "/v1/describe", json={"product_id": "cross-red", "k": 3, "cursor": cursor}
    ).get_json()
    assert (told["index_version"], told["results"]) == ("v000001", whole[3:])
    assert search(own_web, product_id="cross-red", k=3)["index_version"] == "v000002"
    body = {"product_id": "cross-red", "cursor": cursor, "version": "v000002"}
    assert (
        "v000001"
        in assert_problem(own_web.post("/v1/search", json=body), 422, "bad-request")["detail"]
    )
    build_index(own.home, bundle=resolve(own.home, None), activate=True)
    Versions(own.home).gc()
    own.refresh()
    response = own_web.post("/v1/search", json={"product_id": "cross-red", "cursor": cursor})
    assert "v000001" in assert_problem(response, 410, "cursor-gone")["detail"]
    query = urlencode({"k": 3, "cursor": cursor})
    assert_problem(own_web.get(f"/v1/products/cross-red/similar?{query}"), 410, "cursor-gone")
    assert_problem(
        own_web.post("/v1/describe", json={"product_id": "cross-red", "cursor": cursor}),
        410,
        "cursor-gone",
    )


# -- collapse


@pytest.fixture
def doubled(own_web: FlaskClient) -> FlaskClient:
    """The shop, with three more products that have a photo of `cross-red`, and two with nearly the
    same one."""
    for number in range(3):
        own_web.put(
            f"/v1/products/same-{number}", json={"images": [base64_of(photo("cross", "red"))]}
        )
    for number in range(2):
        image = draw("cross", COLOURS["red"])
        image.putpixel((number, 0), (250, 250, 250))
        own_web.put(f"/v1/products/near-{number}", json={"images": [base64_of(encode(image))]})
    return own_web


def test_equal_and_nearly_equal_photos_collapse(doubled: FlaskClient) -> None:
    """Of products that show one photo the first stays; the list is filled up again to k, and pages
    agree."""
    shot = base64_of(photo("cross", "red"))
    same, near = {"same-0", "same-1", "same-2"}, {"near-0", "near-1"}
    plain = ids(search(doubled, image=shot, k=25))
    assert plain[:4] == ["cross-red", "same-0", "same-1", "same-2"]
    assert len(plain) == 25
    once = ids(search(doubled, image=shot, k=25, collapse="same_photo"))
    assert once == [found for found in plain if found not in same]
    apart = ids(search(doubled, image=shot, k=25, collapse="near_duplicate"))
    assert apart[0] == "cross-red"
    assert not (same | near) & set(apart)
    for k in (1, 2, 10):
        assert ids(search(doubled, image=shot, k=k, collapse="same_photo")) == once[:k]
        assert ids(search(doubled, image=shot, k=k, collapse="near_duplicate")) == apart[:k]
    assert pages(doubled, (2,), image=shot, collapse="same_photo") == once
    assert pages(doubled, (3,), image=shot, collapse="near_duplicate") == apart


# -- weights and mixes


def test_weights_and_mix_say_what_the_score_is_made_of(web: FlaskClient) -> None:
    """The score is the mean of the inputs' cosines by ``mix``; weights over the only block change
    nothing."""
    shot = base64_of(photo("ring", "blue"))
    for mix, shares in (({}, (0.5, 0.5)), ({"mix": {"image": 3, "product_id": 1}}, (0.75, 0.25))):
        for result in search(web, image=shot, product_id="cross-red", k=20, **mix)["results"]:
            signals = result["signals"]
            mean = shares[0] * signals["image"] + shares[1] * signals["product_id"]
            assert result["score"] == pytest.approx(mean, abs=2e-5)
    only_image = search(
        web, image=shot, product_id="cross-red", mix={"image": 1, "product_id": 0}, k=20
    )
    plain = search(web, image=shot, exclude=["cross-red"], k=20)
    assert ids(only_image) == ids(plain)
    weighted = search(web, image=shot, exclude=["cross-red"], weights={"g": 0.2}, k=20)
    assert ids(weighted) == ids(plain)
    for one, other in zip(weighted["results"], plain["results"], strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=2e-5)
        assert one["signals"] == {
            "image": pytest.approx(one["score"], abs=2e-5),
            "g": pytest.approx(one["score"], abs=2e-3),
        }


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (
            {"filter": {"must": [{"field": "prise", "eq": 1}]}},
            "bad-filter",
            "filter.must[0]: no field 'prise'",
        ),
        (
            {"filter": {"must": [{"field": "colour", "eq": 1}]}},
            "bad-filter",
            "(colour).eq: expected string, got 1",
        ),
        (
            {"filter": {"must": [{"field": "colour", "gt": "a"}]}},
            "bad-filter",
            "the field is a string",
        ),
        ({"filter": []}, "invalid-request", "filter"),
        ({"filter": "red"}, "invalid-request", "filter"),
        ({"weights": {"g": -1}}, "invalid-request", "weights.g"),
        (
            {"weights": {"g": 0}},
            "bad-request",
            "weights: at least one block must weigh more than zero",
        ),
        ({"weights": {}}, "bad-request", "weights: at least one block must weigh more than zero"),
        (
            {"weights": {"z": 1}},
            "bad-request",
            "weights: the embedding has no block 'z'; it has: g",
        ),
        ({"weights": {"g": "1"}}, "invalid-request", "weights.g"),
        ({"weights": {"g": True}}, "invalid-request", "weights.g"),
        ({"weights": 1}, "invalid-request", "weights"),
        (
            {"mix": {"image": 1}},
            "bad-request",
            "mix: the question has no input 'image'; it has: product_id",
        ),
        ({"mix": {"text": 1}}, "bad-request", "mix: the question has no input 'text'"),
        (
            {"mix": {"product_id": 0}},
            "bad-request",
            "mix: at least one input must count more than zero",
        ),
        ({"collapse": "all"}, "invalid-request", "collapse"),
        ({"collapse": None}, "invalid-request", "collapse"),
        ({"cursor": 5}, "invalid-request", "cursor"),
        ({"text": ""}, "invalid-request", "text"),
        ({"text": 7}, "invalid-request", "text"),
        ({"text": "🎉"}, "bad-request", "text holds nothing that can be looked for"),
        ({"text": "red " * 2500}, "invalid-request", "text"),
    ],
)
def test_a_bad_search_names_what_is_wrong(
    web: FlaskClient, body: dict[str, Any], code: str, words: str
) -> None:
    """As JSON and, where the value is an object, as the query text of /similar too."""
    response = web.post("/v1/search", json={"product_id": "cross-red", **body})
    assert words in assert_problem(response, 422, code)["detail"]
    if all(isinstance(value, dict) for value in body.values()):
        query = urlencode({name: json.dumps(value) for name, value in body.items()})
        assert (
            words
            in assert_problem(web.get(f"/v1/products/cross-red/similar?{query}"), 422, code)[
                "detail"
            ]
        )


@pytest.mark.parametrize(
    "query", ["filter=%7B", "filter=NaN", "filter=1", "weights=%7B%22g%22%3ANaN%7D", "nope=1"]
)
def test_query_text_that_is_no_json_is_refused(web: FlaskClient, query: str) -> None:
    assert_problem(web.get(f"/v1/products/cross-red/similar?{query}"), 422, "invalid-request")
    if "weights" not in query:
        assert_problem(web.get(f"/v1/facets?{query}"), 422, "invalid-request")


def test_a_filter_nested_without_end_is_refused(web: FlaskClient) -> None:
    """Two hundred levels are refused in words; a hundred thousand are no JSON for anybody."""
    for depth, status in ((200, 422), (100_000, 400)):
        text = '{"must":[' * depth + "]}" * depth
        data = f'{{"product_id": "cross-red", "filter": {text}}}'
        response = web.post("/v1/search", data=data, content_type="application/json")
        assert response.status_code == status, response.get_data(as_text=True)


# -- facets


def test_facets_count_values_under_a_filter(web: FlaskClient) -> None:
    """Every field with its commonest values; a filter counts its matches alone; fields and limit
    cut the answer."""
    whole = web.get("/v1/facets").get_json()
    assert whole["total"] == 20
    found = {facet["field"]: facet for facet in whole["facets"]}
    assert list(found) == ["category", "tags", "colour"]
    assert found["colour"] == {
        "field": "colour", "type": "string", "count": 20,
        "values": [{"value": name, "count": 4} for name in sorted(COLOURS)],
    }  # fmt: skip
    kinds = [{"value": f"Shapes > {kind}", "count": 5} for kind in sorted(KINDS)]
    assert found["category"]["values"] == [{"value": "Shapes", "count": 20}, *kinds]
    query = urlencode({"filter": json.dumps(RED), "fields": "tags", "limit": 2})
    reds = web.get(f"/v1/facets?{query}").get_json()
    assert reds["total"] == 4
    assert reds["facets"] == [
        {"field": "tags", "type": "tags", "count": 4,
         "values": [{"value": "red", "count": 4}, {"value": "cross", "count": 1}]}
    ]  # fmt: skip


def test_a_bad_facet_request_names_what_is_wrong(web: FlaskClient) -> None:
    body = assert_problem(web.get("/v1/facets?fields=colour&fields=size"), 422, "bad-filter")
    assert "no field 'size'" in body["detail"]
    filter_text = quote(json.dumps({"must": [{"field": "size", "eq": 1}]}))
    assert_problem(web.get(f"/v1/facets?filter={filter_text}"), 422, "bad-filter")
    assert_problem(web.get("/v1/facets?limit=0"), 422, "invalid-request")
    assert_problem(web.get("/v1/facets?text=x"), 422, "invalid-request")


def test_an_emptied_shop_answers_with_nothing(own_web: FlaskClient) -> None:
    """All products erased: no results, no cursor, no values, and no failure; the next product is
    found again."""
    for name in of():
        own_web.delete(f"/v1/products/{quote(name, safe='')}")
    shot = photo("ring", "red")
    for more in ({}, {"filter": RED}, {"collapse": "near_duplicate"}):
        answer = search(own_web, image=base64_of(shot), **more)
        assert (answer["results"], answer["next_cursor"]) == ([], None)
    facets = own_web.get("/v1/facets").get_json()
    assert facets["total"] == 0
    assert all(facet["count"] == 0 and not facet["values"] for facet in facets["facets"])
    own_web.put(
        "/v1/products/again", json={"images": [base64_of(shot)], "attributes": {"colour": "red"}}
    )
    assert ids(search(own_web, image=base64_of(shot), filter=RED)) == ["again"]


def test_an_empty_catalog_knows_no_attribute(own_home: Path, tmp_path: Path) -> None:
    """Before the first product there is no attribute to filter by, which is said; everything else
    answers nothing."""
    home = Home.create(tmp_path / "empty")
    bundle = resolve(Home(own_home), None)
    build_index(home, bundle=bundle)
    shutil.copytree(bundle.path, home.models / bundle.model_version)
    build_index(home, bundle=resolve(home, None), activate=True)
    with Engine(Settings(home=home.path), watch=False) as engine:
        web = create_app(engine, engine.settings, check_answers=True).test_client()
        shot = photo("ring", "red")
        assert web.post("/v1/search", data=upload(shot)).get_json()["results"] == []
        body = assert_problem(
            web.post("/v1/search", data=upload(shot, filter=json.dumps(RED))), 422, "bad-filter"
        )
        assert "no field 'colour'" in body["detail"]
        assert web.get("/v1/facets").get_json()["total"] == 0


def test_form_texts_stand_as_they_are(web: FlaskClient) -> None:
    """collapse and cursor are plain texts in a form; a filter is JSON text, and a form names what
    is none."""
    form = {
        "image": (io.BytesIO(photo("dots", "red")), "p.png"),
        "k": "4",
        "collapse": "same_photo",
    }
    first = web.post("/v1/search", data=form).get_json()
    again = {
        "image": (io.BytesIO(photo("dots", "red")), "p.png"),
        "k": "4",
        "collapse": "same_photo",
    }
    second = web.post("/v1/search", data={**again, "cursor": first["next_cursor"]}).get_json()
    assert not set(ids(first)) & set(ids(second))
    body = assert_problem(
        web.post("/v1/search", data=upload(photo("dots", "red"), filter="red")),
        422,
        "invalid-request",
    )
    assert "filter: not JSON text" in body["detail"]
    asked = web.get("/v1/products/ring-blue/similar?filter=red&weights=two")
    wrong = assert_problem(asked, 422, "invalid-request")["errors"]
    assert [fault["field"] for fault in wrong] == ["filter", "weights"]
