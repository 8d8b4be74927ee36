"""Writes over HTTP: found at once, gone at once, safe when something else fails."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from indexer.catalog.store import open_catalog
from indexer.core.errors import CatalensError, DiskFullError, StaleVersionError
from indexer.core.home import Home
from indexer.core.timer import StageTimer
from indexer.imaging.decode import decode_photo, hash_content
from indexer.operations.erasure import erase
from service.app import create_app
from service.engine import Engine
from service.products.writer import Draft, Upsert
from service.settings import Settings
from tests.service.api.routes.test_queries import assert_problem, upload
from tests.service.conftest import photo

NEW = "新品/裙子:1"
PATH = f"/v1/products/{quote(NEW, safe='')}"


def base64_of(data: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(data).decode()}


def first(web: FlaskClient, data: bytes) -> dict[str, Any]:
    """The best result for a photo."""
    best: dict[str, Any] = web.post("/v1/search", data=upload(data, k="1")).get_json()["results"][0]
    return best


def test_browsing_shows_what_was_written_since(own_home: Path) -> None:
    """Over a version of an empty catalog and over a full one: new products stand in the sample,
    deleted ones do not."""
    with Engine(Settings(home=own_home), watch=False) as engine:
        for product in engine.products.sample(limit=24).content.products:
            engine.products.delete(product.product_id)
        erase(Home(own_home))  # the version is rewritten without them
        engine.refresh()
        assert len(engine.ready().live.base.rows) == 0
        for number in range(8):
            engine.products.put(f"new-{number}", Draft(photos=(photo("ring", "red", turn=number),)))
        found = engine.products.sample(limit=24)
        assert [product.product_id for product in found.content.products] == [
            f"new-{number}" for number in range(8)
        ]
        assert found.content.total == 8
        engine.products.delete("new-3")
        engine.products.put("new-5", Draft(photos=(photo("dots", "red"), photo("dots", "blue"))))
        seen = {product.product_id for product in engine.products.sample(limit=24).content.products}
        assert seen == {f"new-{number}" for number in range(8)} - {"new-3"}
        assert len(engine.products.sample(limit=3).content.products) == 3


def test_browsing_mixes_the_version_and_what_is_newer(own: Engine) -> None:
    """A replaced product stands there once, an erased one not at all."""
    own.products.put("cross-red", Draft(photos=(photo("cross", "red", turn=44),)))
    own.products.put("new", Draft(photos=(photo("cross", "red", turn=55),)))
    own.products.delete("ring-blue")
    found = own.products.sample(limit=100)
    names = [product.product_id for product in found.content.products]
    assert (len(names), len(set(names)), found.content.total) == (20, 20, 20)
    assert {"cross-red", "new"} <= set(names)
    assert "ring-blue" not in names


@pytest.fixture
def web(open_web: Callable[..., FlaskClient]) -> FlaskClient:
    return open_web()


def test_a_written_product_is_found_by_the_next_question(web: FlaskClient, own: Engine) -> None:
    """PUT, then search, read, classify and show it; a restarted engine knows it too."""
    shot = photo("ring", "black", turn=30)
    body = {
        "title": "Night <b>ring</b>",
        "category": "Shapes > ring",
        "tags": ["new", {"tag": "night", "source": "curated"}],
        "attributes": {"price": 9.5, "sizes": ["S", "M"]},
        "images": [base64_of(shot)],
    }
    response = web.put(PATH, json=body)
    answer = response.get_json()
    assert (answer["product_id"], answer["outcome"], answer["sequence"]) == (NEW, "added", 21)
    best = first(web, shot)
    assert (best["product_id"], best["score"]) == (NEW, pytest.approx(1, abs=2e-3))
    stored = web.get(PATH).get_json()
    assert (stored["title"], stored["category"]) == ("Night <b>ring</b>", "Shapes > ring")
    assert stored["tags"] == [
        {"tag": "new", "source": "merchant"},
        {"tag": "night", "source": "curated"},
    ]
    assert stored["attributes"] == {"price": 9.5, "sizes": ["S", "M"]}
    assert stored["images"][0]["hash"] == hash_content(shot)
    assert web.get(stored["images"][0]["image_url"]).status_code == 200
    assert web.get(f"{PATH}/similar?k=1").get_json()["results"][0]["category"] == "Shapes > ring"
    with Engine(Settings(home=own.home.path), watch=False) as restarted:
        results = restarted.similar("ring-black", k=20).content.results
        assert NEW in [result.product_id for result in results]


def test_put_is_idempotent_and_replaces(web: FlaskClient) -> None:
    """The same again changes nothing; another photo replaces the old one, which is then found no
    more."""
    old, new = photo("ring", "black", turn=31), photo("dots", "blue", turn=17)
    assert web.put(PATH, json={"images": [base64_of(old)]}).get_json()["outcome"] == "added"
    again = web.put(PATH, json={"images": [base64_of(old)]}).get_json()
    assert (again["outcome"], again["sequence"]) == ("unchanged", 21)
    replaced = web.put(PATH, json={"images": [base64_of(new)]}).get_json()
    assert (replaced["outcome"], replaced["sequence"]) == ("replaced", 22)
    assert first(web, new)["product_id"] == NEW
    assert first(web, old)["product_id"] != NEW
    assert_problem(web.get(f"/v1/images/{hash_content(old)}"), 404, "unknown-photo")


def test_photos_come_as_files_or_hashes(web: FlaskClient) -> None:
    """Multipart files follow the product's own list; a stored photo is named by its hash, and two
    products share it."""
    known = web.get("/v1/products/cross-red").get_json()["images"][0]["hash"]
    shot = photo("ring", "black", turn=32)
    form = {
        "product": json.dumps({"title": "two", "images": [{"hash": known}]}),
        "images": (io.BytesIO(shot), "a.png"),
    }
    assert web.put(PATH, data=form, content_type="multipart/form-data").status_code == 200
    assert [row["hash"] for row in web.get(PATH).get_json()["images"]] == [
        known,
        hash_content(shot),
    ]
    assert web.delete(PATH).get_json()["outcome"] == "deleted"
    assert web.get(f"/v1/images/{known}").status_code == 200, "the other product still has it"
    assert_problem(web.get(f"/v1/images/{hash_content(shot)}"), 404, "unknown-photo")


def test_deleted_is_gone_everywhere(web: FlaskClient, own: Engine) -> None:
    """Not found, not searched, no row, no photo file, no embedding; and again it is 404."""
    target = "/v1/products/cross-red"
    stored = web.get(target).get_json()
    photo_ids = [own.catalog.photo(row["hash"]).photo_id for row in stored["images"]]  # type: ignore[union-attr]
    answer = web.delete(target).get_json()
    assert (answer["outcome"], answer["sequence"]) == ("deleted", 21)
    results = web.post("/v1/search", data=upload(photo("cross", "red"), k="1000")).get_json()[
        "results"
    ]
    assert len(results) == 19
    assert "cross-red" not in [result["product_id"] for result in results]
    assert_problem(web.get(target), 404, "unknown-product")
    assert_problem(web.delete(target), 404, "unknown-product")
    assert_problem(web.get(f"{target}/similar"), 404, "unknown-product")
    left = {path.name for path in own.home.photos.rglob("*") if path.is_file()}
    assert not left & {row["hash"] for row in stored["images"]}
    assert own.ready().store.missing(photo_ids).tolist() == sorted(photo_ids)


def test_patch_changes_fields_and_never_photos(web: FlaskClient) -> None:
    """Named fields change, null removes an attribute, the rest and the photos stay."""
    target = "/v1/products/cross-red"
    before = web.get(target).get_json()
    answer = web.patch(
        target, json={"title": "Crossed", "attributes": {"colour": None, "size": "L"}}
    ).get_json()
    assert (answer["outcome"], answer["sequence"]) == ("patched", 21)
    after = web.get(target).get_json()
    assert (after["title"], after["attributes"]) == ("Crossed", {"size": "L"})
    assert (after["category"], after["tags"], after["images"]) == (
        before["category"],
        before["tags"],
        before["images"],
    )
    assert first(web, photo("cross", "red"))["title"] == "Crossed"
    web.patch(target, json={"tags": ["plus"], "category": None})
    assert web.get(target).get_json()["tags"] == [{"tag": "plus", "source": "merchant"}]
    assert web.get(target).get_json()["category"] is None
    assert_problem(web.patch("/v1/products/nobody", json={"title": "x"}), 404, "unknown-product")
    assert_problem(web.patch(target, json={"images": []}), 422, "invalid-request")
    assert_problem(web.patch(target, json={"attributes": None}), 422, "invalid-request")


def test_a_refused_put_takes_no_original_that_lay_there_before(own: Engine) -> None:
    """A stale PUT removes the photo that it wrote itself, and leaves one that the catalog merely
    does not name."""
    own.products.put("x", Draft(photos=(photo("ring", "red", turn=3),)), external_version=5)
    before, sent = photo("dots", "red", turn=4), photo("dots", "red", turn=5)
    own.photos.add(before, decode_photo(before))
    for data in (before, sent):
        with pytest.raises(StaleVersionError):
            own.products.put("x", Draft(photos=(data,)), external_version=4)
    assert own.photos.has_copy(hash_content(before))
    assert not own.photos.has_copy(hash_content(sent))


def test_a_photo_that_another_service_erases_meanwhile(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vector between the look for it and its reading, its file between the file and the
    product: who sent it with its bytes gets his product, and it is found."""
    shot = photo("ring", "black", turn=34)
    own.products.put("x", Draft(photos=(shot,)))
    content_hash = hash_content(shot)
    store = own.ready().store
    real, applied = type(store).missing, type(own.catalog).apply

    def missing(self: Any, ids: Any) -> Any:
        found = real(self, ids)
        self.delete(ids)
        return found

    erased: list[str] = []

    def apply(self: Any, writes: Any, **given: Any) -> Any:
        if not erased:
            erased.append(content_hash)
            with open_catalog(own.home) as other:
                assert own.photos.collect(other, other.delete("x").orphaned) == [content_hash]
        return applied(self, writes, **given)

    with monkeypatch.context() as racing:
        racing.setattr(type(store), "missing", missing)
        racing.setattr(type(own.catalog), "apply", apply)
        own.products.put("y", Draft(photos=(shot,)))
    assert own.catalog.get("y").photos == (content_hash,)
    assert own.photos.has_copy(content_hash)
    assert not list(own.home.photos.glob(".*"))


def test_a_second_try_that_fails_hides_no_write_of_the_first(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a batch, the product that lost its photo says why; the other was written and says so."""
    shot = photo("ring", "black", turn=34)
    own.products.put("x", Draft(photos=(shot,)))
    applied = type(own.catalog).apply
    tries: list[int] = []

    def apply(self: Any, writes: Any, **given: Any) -> Any:
        if self is not own.catalog:
            return applied(self, writes, **given)
        tries.append(len(writes))
        if len(tries) > 1:
            raise DiskFullError("no space left")
        with open_catalog(own.home) as other:
            own.photos.collect(other, other.delete("x").orphaned)
        return applied(self, writes, **given)

    with monkeypatch.context() as racing:
        racing.setattr(type(own.catalog), "apply", apply)
        fine = photo("dots", "red", turn=35)
        requests = [Upsert("y", Draft(photos=(shot,))), Upsert("z", Draft(photos=(fine,)))]
        lost, stands = own.products._writer.write(requests, StageTimer())
    assert tries == [2, 1]
    assert isinstance(lost, DiskFullError)
    assert not isinstance(stands, CatalensError)
    assert own.catalog.get("z").photos == (hash_content(fine),)
    assert "y" not in own.catalog.product_ids()


def test_an_older_version_is_refused(web: FlaskClient) -> None:
    """``external_version`` orders writes that arrive out of order."""
    target = "/v1/products/cross-red"
    assert web.patch(target, json={"title": "v5", "external_version": 5}).status_code == 200
    assert_problem(
        web.patch(target, json={"title": "v4", "external_version": 4}), 409, "stale-version"
    )
    assert_problem(web.delete(f"{target}?external_version=3"), 409, "stale-version")
    assert web.get(target).get_json()["title"] == "v5"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "bad-product"),
        ({"images": [{"base64": ""}]}, 422, "bad-image"),
        ({"images": [{"hash": "0" * 64}]}, 422, "bad-product"),
        ({"images": [{"hash": "../x"}]}, 422, "invalid-request"),
        ({"images": [{"url": "http://localhost/x"}]}, 422, "bad-request"),
        ({"images": [{}]}, 422, "invalid-request"),
        (
            {"images": [base64_of(photo("ring", "red", turn=77))], "attributes": {"colour": 5}},
            422,
            "bad-product",
        ),
        ({"images": [base64_of(photo("ring", "red"))], "prise": 5}, 422, "invalid-request"),
        (
            {"images": [base64_of(photo("ring", "red"))], "category": ["a", ""]},
            422,
            "invalid-request",
        ),
    ],
)
def test_a_bad_write_changes_nothing(
    web: FlaskClient, own: Engine, body: dict[str, Any], status: int, code: str
) -> None:
    """Neither the catalog nor the photo files: what was stored for a write that was then refused is
    cleared."""

    def state() -> tuple[int, list[Path]]:
        return own.catalog.last_sequence(), sorted(
            path for path in own.home.photos.rglob("*") if path.is_file()
        )

    before = state()
    assert_problem(web.put(PATH, json=body), status, code)
    assert state() == before


@pytest.mark.parametrize("bad", ["..", ".", "x" * 257, "a\nb"])
def test_ids_that_cannot_be(web: FlaskClient, bad: str) -> None:
    body = {"images": [base64_of(photo("ring", "red"))]}
    response = web.put(f"/v1/products/{quote(bad, safe='').replace('.', '%2E')}", json=body)
    assert response.status_code == 422


def test_a_write_survives_an_index_that_fails(
    web: FlaskClient, own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is what counts: acknowledged though the index failed, and searchable after the
    next look."""
    shot = photo("ring", "black", turn=33)
    with monkeypatch.context() as broken:
        broken.setattr("service.state.snapshots.SnapshotManager.apply", lambda *_: 1 / 0)
        assert web.put(PATH, json={"images": [base64_of(shot)]}).status_code == 200
    assert first(web, shot)["product_id"] != NEW
    own.refresh()
    assert first(web, shot)["product_id"] == NEW


def test_a_catalog_without_an_index_takes_writes(tmp_path: Path) -> None:
    """An empty home is not ready and answers no question, but keeps what it is told."""
    from indexer.core.home import Home

    Home.create(tmp_path / "home")
    with Engine(Settings(home=tmp_path / "home"), watch=False) as engine:
        web = create_app(engine, engine.settings, check_answers=True).test_client()
        response = web.get("/readyz")
        assert_problem(response, 503, "no-index")
        assert response.headers["Retry-After"]
        assert web.get("/livez").get_json()["status"] == "alive"
        assert_problem(web.post("/v1/search", data=upload(photo("ring", "red"))), 503, "no-index")
        assert (
            web.put(PATH, json={"images": [base64_of(photo("ring", "red"))]}).get_json()[
                "index_version"
            ]
            is None
        )
        assert web.get(PATH).get_json()["product_id"] == NEW
