"""``products:batch`` over HTTP: an order kept, one commit, one status per item, and found by the
next question."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import Written
from indexer.catalog.upload_notes import collect_uploads
from indexer.core.errors import BadProductError
from indexer.imaging.decode import hash_content
from service.app import create_app
from service.engine import Engine
from service.inference.queue import InferenceQueue
from service.products.writer import Draft
from tests.indexer.core.test_nesting import nested
from tests.service.api.routes.test_queries import assert_problem, upload
from tests.service.conftest import photo
from tests.service.products.test_writer import base64_of, first


@pytest.fixture
def web(open_web: Callable[..., FlaskClient]) -> FlaskClient:
    return open_web()


def send(web: FlaskClient, *items: Any) -> list[dict[str, Any]]:
    """The results of one batch, which is always answered as a whole."""
    response = web.post("/v1/products:batch", json={"items": items})
    assert response.status_code == 200, response.get_json()
    results: list[dict[str, Any]] = response.get_json()["results"]
    assert [row["index"] for row in results] == list(range(len(items)))
    return results


def outcomes(results: Sequence[dict[str, Any]]) -> list[Any]:
    """Of each item its outcome, or its problem's status and code."""
    return [row.get("outcome") or (row["status"], row["problem"]["code"]) for row in results]


def put(product_id: str, data: bytes, **fields: Any) -> dict[str, Any]:
    return {"op": "put", "product_id": product_id, "images": [base64_of(data)], **fields}


def files(own: Engine) -> set[str]:
    return {path.name for path in own.home.photos.rglob("*") if path.is_file()}


def test_an_item_that_is_no_text_never_fails_the_rest(own: Engine) -> None:
    """Half of a surrogate pair as an id, a field, an op, a title or a value: 422 for it, the others
    are committed."""
    web = create_app(
        own, own.settings
    ).test_client()  # no check of the answer: its schema cannot hold such an id
    results = send(
        web,
        {"op": "delete", "product_id": "cross-red"},
        {"op": "put", "product_id": "\ud800"},
        {"op": "put", "product_id": "x", "\ud800": 1},
        {"op": "\ud800", "product_id": "x"},
        {"op": "put", "product_id": "x", "title": "\ud800"},
        {"op": "patch", "product_id": "ring-blue", "attributes": {"price": "\ud800"}},
        {"op": "delete", "product_id": "dots-blue"},
    )
    assert [row["status"] for row in results] == [200, 422, 422, 422, 422, 422, 200]
    assert [row["product_id"] for row in results[:3]] == ["cross-red", "\ud800", "x"]
    assert own.catalog.last_sequence() == 22


def test_a_batch_is_done_in_order_and_found_at_once(web: FlaskClient, own: Engine) -> None:
    """Put, patch and delete, one product several times; sequences count up item by item, the next
    answers know it."""
    shot, other = photo("ring", "black", turn=30), photo("dots", "blue", turn=17)
    results = send(
        web,
        put("new/1", shot, title="first"),
        {"op": "patch", "product_id": "new/1", "title": "second", "attributes": {"price": 5}},
        {"op": "delete", "product_id": "cross-red"},
        put("new/2", other),
        {"op": "put", "product_id": "new/3", "images": [{"hash": hash_content(shot)}]},
        {"op": "delete", "product_id": "new/2"},
        put("new/2", other, title="again"),
        {"op": "patch", "product_id": "new/1", "attributes": {"price": 6, "stock": 1}},
        {"op": "patch", "product_id": "new/1", "attributes": {"price": 6}},
    )
    expected = [
        "added",
        "patched",
        "deleted",
        "added",
        "added",
        "deleted",
        "added",
        "patched",
        "unchanged",
    ]
    assert outcomes(results) == expected
    assert [row["sequence"] for row in results] == [21, 22, 23, 24, 25, 26, 27, 28, 28]
    assert [row["status"] for row in results] == [200] * 9
    assert own.ready().live.sequence == own.catalog.last_sequence() == 28
    stored = web.get("/v1/products/new%2F1").get_json()
    assert (stored["title"], stored["attributes"]) == ("second", {"price": 6, "stock": 1})
    found = web.post("/v1/search", data=upload(shot, k="2")).get_json()["results"]
    assert {row["product_id"] for row in found} == {"new/1", "new/3"}
    assert first(web, other)["title"] == "again"
    every = web.post("/v1/search", data=upload(shot, k="1000")).get_json()["results"]
    assert len(every) == 22
    assert "cross-red" not in {row["product_id"] for row in every}


def test_a_bad_item_never_fails_the_rest(web: FlaskClient, own: Engine) -> None:
    """Each failure has the status and code of the single call, names its field, and leaves nothing
    behind."""
    before = files(own)
    shot, unused = photo("ring", "black", turn=31), photo("ring", "tan", turn=41)
    web.patch("/v1/products/cross-tan", json={"title": "v5", "external_version": 5})
    results = send(
        web,
        put("bad-photo", b"no image"),
        put("", shot),
        put("good", shot),
        put("bad-attribute", unused, attributes={"colour": 5}),
        {"op": "put", "product_id": "no-photo"},
        {"op": "put", "product_id": "no-such-photo", "images": [{"hash": "0" * 64}]},
        {"op": "put", "product_id": "url", "images": [{"url": "http://localhost/x"}]},
        {"op": "patch", "product_id": "nobody", "title": "x"},
        {"op": "patch", "product_id": "cross-red", "attributes": None},
        {"op": "patch", "product_id": "cross-red", "images": []},
        {"op": "patch", "product_id": "cross-tan", "title": "v4", "external_version": 4},
        {"op": "delete", "product_id": "nobody"},
        {"op": "delete", "product_id": "cross-tan", "external_version": 4},
        {"op": "upsert", "product_id": "x"},
        "nonsense",
        {"op": "patch", "product_id": "cross-red", "title": "good too"},
    )
    invalid = (422, "invalid-request")
    assert outcomes(results) == [
        (422, "bad-image"),
        invalid,
        "added",
        (422, "bad-product"),
        (422, "bad-product"),
        (422, "bad-product"),
        (422, "bad-request"),
        (404, "unknown-product"),
        invalid,
        invalid,
        (409, "stale-version"),
        (404, "unknown-product"),
        (409, "stale-version"),
        invalid,
        invalid,
        "patched",
    ]
    assert results[0]["problem"]["detail"].startswith("image 0: ")
    assert results[9]["problem"]["errors"] == [{"field": "images", "message": "unknown field"}]
    assert results[13]["problem"]["errors"][0]["field"] == "op"
    assert [row["product_id"] for row in results[12:15]] == ["cross-tan", "x", None]
    assert len({row["problem"]["request_id"] for row in results if "problem" in row}) == 1
    assert first(web, shot)["product_id"] == "good"
    assert web.get("/v1/products/cross-red").get_json()["title"] == "good too"
    assert files(own) == before | {hash_content(shot)}, "photos of refused items are cleared"


@pytest.mark.parametrize("levels", [100, 300, 500, 800])
def test_an_item_that_is_nested_deep_never_fails_the_rest(
    web: FlaskClient, own: Engine, levels: int
) -> None:
    """However deep: 422 that names the attribute, here and by itself, and no photo stays of it."""
    before = files(own)
    deep = {"attributes": {"x": nested(levels)}}
    results = send(
        web,
        put("deep", photo("ring", "black", turn=31), **deep),
        {"op": "patch", "product_id": "cross-red", **deep},
        {"op": "patch", "product_id": "cross-tan", "title": "written"},
    )
    assert outcomes(results) == [(422, "invalid-request")] * 2 + ["patched"]
    body = {"images": [base64_of(photo("ring", "black", turn=32))], **deep}
    form, multipart = {"product": json.dumps(deep)}, "multipart/form-data"
    alone = [
        web.put("/v1/products/deep", json=body),
        web.put("/v1/products/deep", data=form, content_type=multipart),
        web.patch("/v1/products/cross-red", json=deep),
    ]
    problems = [row["problem"] for row in results[:2]]
    problems += [assert_problem(answer, 422, "invalid-request") for answer in alone]
    for problem in problems:
        (fault,) = problem["errors"]
        assert fault["field"].startswith("attributes.x")
        assert fault["message"] == "nested deeper than 64 levels"
    assert files(own) == before


@pytest.mark.parametrize(
    "failure", [BadProductError("no"), RecursionError(), MemoryError(), KeyboardInterrupt()]
)
def test_a_write_that_fails_for_any_reason_leaves_no_photo(
    own: Engine, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """A bug, no memory or the end of the process: no later erasure of a product would find it."""
    before = files(own)

    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(own.catalog, "apply", fail)
    with pytest.raises(type(failure)):
        own.products.put("new", Draft(photos=(photo("ring", "black", turn=33),)))
    assert files(own) == before


def test_a_photo_that_cannot_be_cleared_is_noted_for_a_later_run(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start knows nothing of it else."""
    before = files(own)
    shot = photo("ring", "black", turn=33)

    def fail(*_: Any, **__: Any) -> None:
        raise RecursionError

    with monkeypatch.context() as broken:
        broken.setattr(own.catalog, "apply", fail)
        broken.setattr(PhotoStore, "collect", fail)
        with pytest.raises(RecursionError):
            own.products.put("new", Draft(photos=(shot,)))
    (note,) = own.home.photos.glob(".uploads.*")
    assert files(own) == before | {hash_content(shot), note.name}
    os.utime(note, (1, 1))
    assert collect_uploads(own.home, own.catalog) == [hash_content(shot)]
    assert files(own) == before


def test_a_batch_is_one_commit(
    web: FlaskClient, own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All items reach the catalog in one transaction, not one by one."""
    calls: list[int] = []
    apply = own.catalog.apply

    def counted(writes: Sequence[Any]) -> Any:
        calls.append(len(writes))
        return apply(writes)

    monkeypatch.setattr(own.catalog, "apply", counted)
    send(
        web,
        *(
            {"op": "patch", "product_id": "cross-red", "attributes": {"stock": n}}
            for n in range(50)
        ),
    )
    assert calls == [50]


def test_photos_go_to_the_network_in_small_portions(
    web: FlaskClient, own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New photos are embedded a few at a time before the commit, each once; known ones
    not at all."""
    portions: list[int] = []
    embed = InferenceQueue.embed

    def counted(
        self: InferenceQueue, embedder: Any, photos: Sequence[Any], **options: Any
    ) -> np.ndarray:
        assert own.catalog.last_sequence() == 20
        portions.append(len(photos))
        return embed(self, embedder, photos, **options)

    monkeypatch.setattr(InferenceQueue, "embed", counted)
    shots = [photo("ring", "black", turn=20 + turn) for turn in range(10)]
    known = photo("cross", "red")
    results = send(web, *(put(f"n{i}", shot) for i, shot in enumerate([*shots, shots[0], known])))
    assert outcomes(results) == ["added"] * 12
    assert portions == [8, 2]
    monkeypatch.undo()
    for number, shot in enumerate(shots[1:], start=1):
        assert first(web, shot)["product_id"] == f"n{number}"


def test_an_unchanged_put_costs_no_vector_and_no_delta(web: FlaskClient, own: Engine) -> None:
    """A feed that sends everything again, photos and all, leaves index and log as they were."""
    stored = web.get("/v1/products/cross-red").get_json()
    shots = [photo("cross", "red"), photo("cross", "red", turn=12)]
    body = {name: stored[name] for name in ("title", "category", "tags", "attributes")}
    again = {
        "op": "put",
        "product_id": "cross-red",
        **body,
        "images": [base64_of(shot) for shot in shots],
    }
    assert outcomes(send(web, again, again)) == ["unchanged"] * 2
    assert (own.ready().live.delta_size, own.ready().live.sequence) == (0, 20)


def test_patches_touch_no_vector(web: FlaskClient, own: Engine) -> None:
    """Changed prices move the sequence and are read at once; the delta stays empty, here and after
    a restart."""
    send(
        web,
        *({"op": "patch", "product_id": "cross-red", "attributes": {"price": n}} for n in range(5)),
    )
    web.patch("/v1/products/cross-tan", json={"attributes": {"price": 9}})
    assert (own.ready().live.delta_size, own.ready().live.sequence) == (0, 26)
    assert first(web, photo("cross", "red"))["attributes"]["price"] == 4
    own.snapshots.start()
    assert (own.ready().live.delta_size, own.ready().live.sequence) == (0, 26)


def test_a_photo_that_moves_to_another_product_in_one_batch_stays_searchable(
    web: FlaskClient, own: Engine
) -> None:
    """Deleted with its only product and put again: the photo has a new number, and its vector
    follows."""
    shot = photo("cross", "red")
    held = own.catalog.get("cross-red").photo_ids
    assert outcomes(send(web, {"op": "delete", "product_id": "cross-red"}, put("heir", shot))) == [
        "deleted",
        "added",
    ]
    assert first(web, shot)["product_id"] == "heir"
    store = own.ready().store
    assert store.missing(np.array(held)).tolist() == sorted(held)
    assert len(store.missing(np.array(own.catalog.get("heir").photo_ids))) == 0


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "bad-json"),
        (b"{}", "application/json", 422, "invalid-request"),
        (b'{"items": {}}', "application/json", 422, "invalid-request"),
        (b'{"items": [], "more": 1}', "application/json", 422, "invalid-request"),
        (json.dumps({"items": [{}] * 11}).encode(), "application/json", 422, "bad-request"),
        (b'{"items": ["' + b"x" * 5000 + b'"]}', "application/json", 413, "body-too-large"),
        (b'{"items": []}', "text/plain", 415, "unsupported-media-type"),
    ],
)
def test_a_batch_that_cannot_be_read(
    open_web: Callable[..., FlaskClient], body: bytes, kind: str, status: int, code: str
) -> None:
    """Too many items, too many bytes or no batch at all: refused as a whole, before anything is
    written."""
    web = open_web(max_batch_items=10, max_body_bytes=4000)
    response = web.post(
        "/v1/products:batch",
        input_stream=io.BytesIO(body),
        content_length=len(body),
        content_type=kind,
    )
    assert_problem(response, status, code)


def test_an_empty_batch_is_nothing(web: FlaskClient, own: Engine) -> None:
    assert send(web) == []
    assert own.catalog.last_sequence() == 20


def test_the_document_describes_the_batch(web: FlaskClient) -> None:
    """OpenAPI names the three kinds of items and the answer's rows."""
    document = web.get("/openapi.json").get_json()
    operation = document["paths"]["/v1/products:batch"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition(
        "/"
    )[2]
    kinds = document["components"]["schemas"][schema]["properties"]["items"]["items"][
        "discriminator"
    ]["mapping"]
    assert set(kinds) == {"put", "patch", "delete"}
    assert all(
        ref.rpartition("/")[2] in document["components"]["schemas"] for ref in kinds.values()
    )
    assert "problem" in document["components"]["schemas"]["BatchResult"]["properties"]
    assert {"413", "507"} <= set(operation["responses"])


def test_what_a_write_says_names_its_photos(own: Engine) -> None:
    """``Written`` tells apart what concerns the index, so that nothing else is laid over it."""
    from indexer.catalog.records import Delete, Patch

    done = [
        found
        for found in own.catalog.apply([Patch("cross-red", {"title": "x"}), Delete("cross-red")])
        if isinstance(found, Written)
    ]
    assert [(w.outcome, w.photos_changed, len(w.orphaned), len(w.orphaned_ids)) for w in done] == [
        ("patched", False, 0, 0),
        ("deleted", True, 2, 2),
    ]
    assert sorted(Path(h).name for h in done[1].orphaned) == list(done[1].orphaned)
