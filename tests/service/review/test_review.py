"""Promises of the listing assistant: one answer from all its judges, the queue, strange photos,
policies."""

from __future__ import annotations

import base64
import io
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import PhotoRow
from indexer.core.errors import (
    BadImageError,
    BadPolicyError,
    BadRequestError,
    BusyError,
    UnknownProductError,
)
from indexer.core.home import Home
from indexer.duplicates.same_product import ProductRule
from indexer.feeds.importer import import_feed
from indexer.imaging.decode import Photo
from indexer.index_build.pipeline import build_index
from indexer.model.registry import pretrained
from indexer.model.runtime_base import ParallelRuntime
from indexer.model.torch_runtime import TorchRuntime
from indexer.moderation.gallery_store import fit_home
from indexer.operations.erasure import erase
from indexer.quality.findings import FINDINGS
from indexer.reviews.store import open_reviews
from service.app import create_app
from service.engine import Engine, Query
from service.inference.admission import DeadlineExceededError
from service.inference.decoder import PhotoDecoder
from service.products.writer import Draft
from service.query.context import RequestContext
from service.review import duplicate_check, policy_check, review
from service.settings import Settings
from tests.service.conftest import COLOURS, draw, encode, photo
from tools.cli import run

POLICY = """
version: 1
policies:
  rings:
    action: review
    categories: {names: [ring]}
  crosses:
    action: block
    categories: {names: [cross]}
"""


@pytest.fixture
def strict(own_home: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    """An engine with a policy that bans crosses and has rings looked at."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    with Engine(
        Settings(home=own_home, policy_file=tmp_path / "policy.yaml"), watch=False
    ) as engine:
        engine.prepare_reviews()
        yield engine


def big(kind: str, colour: str, *, turn: float = 0.0) -> bytes:
    return encode(draw(kind, COLOURS[colour], turn=turn, size=800))


def test_a_review_answers_everything_about_a_photo_at_once(own: Engine) -> None:
    """Category and tags are those of the questions by themselves; every finding is there with
    advice."""
    own.prepare_reviews()
    data = photo("ring", "red", turn=30)
    found = own.review([data])
    assert found.content.category == own.classify(Query(image=data)).content.categories[0]
    assert found.content.tags == own.tags(Query(image=data)).content.tags
    assert [entry.code for entry in found.content.quality.findings] == list(FINDINGS.names())
    assert all(
        entry.advice["en"] and entry.advice["zh"] for entry in found.content.quality.findings
    )
    assert (found.content.prohibited, found.content.policy_version, found.content.review_id) == (
        [],
        None,
        None,
    )
    assert found.content.duplicates_complete is True
    assert (found.content.same_product, found.content.products) == (None, [[0]])


@pytest.mark.parametrize("crowded", [False, True])
def test_a_review_or_a_crowd_embeds_in_its_own_thread_where_the_network_allows_it(
    own: Engine, monkeypatch: pytest.MonkeyPatch, crowded: bool
) -> None:
    """Its answer is the same, the queue to the network's owner sees none of it, and later questions
    know the photo."""
    data, again = photo("ring", "red", turn=30), photo("ring", "red", turn=30) + b" "
    expected = own.classify(Query(image=data)).content.categories
    embedder = own.ready().embedder
    threads: list[int] = []

    class ParallelTorchRuntime(TorchRuntime, ParallelRuntime):
        workers = 2

        def to_pixels(self, photo: Photo) -> np.ndarray:
            return np.asarray(photo.pixels)[np.newaxis]

        def extract_photo_features(self, pixels: np.ndarray) -> np.ndarray:
            threads.append(threading.get_ident())
            shown = Photo(Image.fromarray(pixels[0]), "PNG", 0, 0, "")
            return np.asarray(self.extract_features([shown])[0])

    monkeypatch.setattr(embedder, "__class__", ParallelTorchRuntime)
    passes = own.queue.batches()
    if crowded:
        with own.admission.turn():  # somebody else's question
            found = own.classify(Query(image=again))
    else:
        found = own.review([again])
    assert threads == [threading.get_ident()]
    assert found.content.categories == expected
    assert own.classify(Query(image=again)).content.categories == expected
    assert own.queue.batches() == passes
    own.classify(Query(image=again + b" "))
    assert len(threads) == 1, "alone, a question leaves its photo to the owner, who has all cores"


def test_a_photo_of_the_catalog_is_named_as_a_duplicate_and_its_own_product_never(
    own: Engine,
) -> None:
    own.prepare_reviews()
    found = own.review([photo("ring", "blue")])
    best = found.content.duplicates[0]
    assert (best.product_id, best.kind) == ("ring-blue", "same_photo")
    assert "duplicate:same_photo" in found.content.reasons
    again = own.review([], product_id="ring-blue")
    assert "ring-blue" not in [entry["product_id"] for entry in again.content.duplicates]
    assert len(again.content.photos) == 2, "a stored product is judged by all of its photos"
    with pytest.raises(UnknownProductError):
        own.review([], product_id="nothing")


def test_stored_photos_are_read_one_by_one_within_what_they_may_take(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A review by product id holds no more of their bytes than one at a time, its deadline asked
    between; where no room comes free that is said before anything is read."""
    own.prepare_reviews()
    budget = own.photos._reading
    events: list[str] = []
    read, decode = PhotoStore.read, PhotoDecoder.decode

    def seen_read(self: PhotoStore, row: PhotoRow) -> bytes:
        events.append("read" if budget.taken >= row.bytes else "compare")
        return read(self, row)

    def seen_decode(self: PhotoDecoder, data: bytes, **options: Any) -> Photo:
        events.append("decode")
        return decode(self, data, **options)

    monkeypatch.setattr(PhotoStore, "read", seen_read)
    monkeypatch.setattr(PhotoDecoder, "decode", seen_decode)
    found = own.review([], product_id="ring-blue", queue=False).content
    assert len(found.photos) == 2
    assert events[:4] == ["read", "decode", "read", "decode"]
    assert budget.taken == 0
    events.clear()
    monkeypatch.setattr(RequestContext, "left_s", lambda self: 0.05)
    with budget.hold(budget.total):
        with pytest.raises(DeadlineExceededError, match="no time to read photo"):
            own.review([], product_id="ring-blue", queue=False)
        with pytest.raises(DeadlineExceededError, match="no time to read photo"):
            own.explain_category(Query(product_id="ring-blue"), None)
    assert events == []


@pytest.mark.parametrize("claimed", [True, False])
def test_what_may_be_the_same_product_is_no_reason_for_a_verdict(
    own: Engine, monkeypatch: pytest.MonkeyPatch, claimed: bool
) -> None:
    """By a threshold that may be claimed a duplicate, else a possible one, on so many photos."""
    rule = ProductRule(0.2, "", precision=0.95, photos=40, least_precision=0.8, is_claimed=claimed)
    monkeypatch.setattr(duplicate_check, "load_rule", lambda home, embedding_id: rule)
    own.prepare_reviews()
    found = own.review([photo("ring", "blue", turn=25), photo("ring", "blue")]).content
    possible = [entry for entry in found.possible_duplicates or [] if entry.kind == "same_product"]
    named = [entry for entry in found.duplicates if entry.kind == "same_product"]
    assert bool(named) is claimed
    assert bool(possible) is not claimed
    assert ("duplicate:same_product" in found.reasons) is claimed
    for entry in named + possible:
        assert (entry.evidence["measured_on"], entry.evidence["least_precision"]) == (40, 0.8)
    assert "ring-blue" not in [entry.product_id for entry in possible], "it is a duplicate already"


def test_variants_are_no_duplicates_of_each_other(own: Engine) -> None:
    """A stored variant is not refused for a photo that it shares with another size, and a new
    listing with that photo is told of one of them."""
    own.prepare_reviews()
    shared = photo("ring", "blue")
    for name in ("ring-s", "ring-m"):
        own.products.put(name, Draft(attributes={"parent": "ring"}, photos=(shared,)))
    named = [found.product_id for found in own.review([shared]).content.duplicates]
    assert len({"ring-s", "ring-m"} & set(named)) == 1
    own.products.delete("ring-blue")
    for name in ("ring-s", "ring-m"):
        variant = own.review([], product_id=name, queue=False).content
        assert not {"ring-s", "ring-m"} & {found.product_id for found in variant.duplicates}
    own.products.patch("ring-m", {"attributes": {"parent": None}})
    (other,) = own.review([], product_id="ring-s", queue=False).content.duplicates[:1]
    assert (other.product_id, other.kind) == ("ring-m", "same_photo")


def test_stored_photos_are_not_embedded_again(own: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stored product's photo a review says what it says of the same bytes, and does without
    the network."""
    (uploaded,) = own.review([photo("ring", "blue")], product_id="ring-blue").content.photos
    own.embedder.clear()
    embedder = type(own.ready().embedder)
    for name in ("embed", "extract_photo_features"):
        monkeypatch.setattr(
            embedder, name, lambda *given: pytest.fail("the network was asked"), raising=False
        )
    stored, other = own.review([], product_id="ring-blue").content.photos
    chances = [
        {row.label: row.probability for row in seen.categories} for seen in (uploaded, stored)
    ]
    assert chances[1] == pytest.approx(chances[0], abs=1e-3)
    assert stored.quality == uploaded.quality
    assert other.categories


def test_policies_decide_and_ask_for_a_person(strict: Engine) -> None:
    """Banned: blocked. Doubtful: to a person. Both are queued with their photo; anything else is
    not."""
    blocked = strict.review([photo("cross", "red", turn=5)])
    asked = strict.review([photo("ring", "red", turn=5)])
    plain = strict.review([photo("dots", "red", turn=5)])
    decisions = [
        {entry.policy: entry.decision for entry in found.content.prohibited}
        for found in (blocked, asked)
    ]
    assert decisions[0]["crosses"] == "block"
    assert decisions[1] == {"rings": "review", "crosses": "allow"}
    assert (blocked.content.verdict, asked.content.verdict) == ("block", "review")
    assert plain.content.verdict in ("publish", "improve")
    assert plain.content.review_id is None
    queue = strict.reviews.list("open", limit=10, after=None).content.reviews
    assert [entry.review_id for entry in queue] == [
        blocked.content.review_id,
        asked.content.review_id,
    ]
    kept = Image.open(io.BytesIO(strict.reviews.preview(asked.content.review_id, 0)))
    assert (kept.format, kept.size) == ("JPEG", (160, 160))
    assert queue[1].review["policy_version"] == asked.content.policy_version


def test_several_photos_are_one_listing_and_different_products_are_said(strict: Engine) -> None:
    """The strictest policy answer counts, with the photo it is about; a ring and stripes are two
    products."""
    found = strict.review([photo("ring", "tan", turn=8), photo("cross", "tan", turn=8)])
    assert found.content.verdict == "block"
    evidence = {entry.policy: entry.evidence for entry in found.content.prohibited}
    assert {piece["photo"] for piece in evidence["crosses"]} == {0, 1}
    assert (found.content.same_product, found.content.products) == (False, [[0], [1]])
    for finding in found.content.quality.findings:
        of_photo = [
            entry
            for entry in found.content.photos[finding.evidence["photo"]].quality.findings
            if entry.code == finding.code
        ]
        assert finding.score == of_photo[0].score, "the worst one says which photo it is of"
        assert finding.score == max(
            entry.score
            for part in found.content.photos
            for entry in part.quality.findings
            if entry.code == finding.code
        )
    assert "photos:different-products" in found.content.reasons
    same = strict.review([photo("ring", "tan"), photo("ring", "tan", turn=12)])
    assert (same.content.same_product, same.content.products) == (True, [[0, 1]])


def test_a_stricter_profile_and_floors_change_levels_not_scores(own_home: Path) -> None:
    data = photo("ring", "red")
    floors = {"low-resolution": {"note": 0.0, "warning": 0.0, "fail": 0.0}}
    with Engine(Settings(home=own_home, quality_floors=floors), watch=False) as engine:
        lenient, strict = (
            {
                entry.code: entry
                for entry in engine.review([data], profile=name).content.quality.findings
            }
            for name in ("marketplace", None)
        )
        with pytest.raises(BadRequestError, match="no quality profile 'gallery'"):
            engine.review([data], profile="gallery")
    assert strict["low-resolution"].level == "fail"
    assert strict["low-resolution"].score == lenient["low-resolution"].score


STRANGE = {
    "one pixel": Image.new("RGB", (1, 1), "red"),
    "all white": Image.new("RGB", (300, 300), "white"),
    "all transparent": Image.new("RGBA", (200, 200), (0, 0, 0, 0)),
    "a line": Image.new("RGB", (2000, 4), "blue"),
    "noise": Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    ),
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_photos_are_answered(shop: Engine, name: str) -> None:
    """Every finding has a score in [0, 1]; a picture of nothing says so."""
    found = shop.review([encode(STRANGE[name])], queue=False)
    findings = {entry.code: entry for entry in found.content.quality.findings}
    assert all(0 <= entry.score <= 1 for entry in findings.values())
    json.dumps(found.to_json(), allow_nan=False)
    if name.startswith("all"):
        assert findings["no-product"].score > 0.5
        assert found.content.verdict == "improve"


def test_a_photo_that_cannot_be_read_is_named(shop: Engine) -> None:
    with pytest.raises(BadImageError, match="photo 1: "):
        shop.review([photo("ring", "red"), b"no photo"])


def test_a_bad_policy_file_stops_the_start(own_home: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY.replace("names", "naems"))
    with pytest.raises(BadPolicyError, match="naems"):
        Engine(Settings(home=own_home, policy_file=tmp_path / "policy.yaml"), watch=False)


@pytest.mark.parametrize("again", [False, True])
def test_a_product_that_is_erased_while_it_is_reviewed_is_not_queued(
    strict: Engine, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """404, and nothing of its photos stays, also where another product has its id by now."""
    combined = review.combine

    def combine(*args: Any, **more: Any) -> Any:
        if not erased:
            erased.append(strict.catalog.pid("ring-blue"))
            strict.products.delete("ring-blue")
            erase(strict.home)
        if again and strict.catalog.pid("ring-blue") is None:
            strict.products.put("ring-blue", Draft(photos=(big("dots", "red"),)))
        return combined(*args, **more)

    erased: list[int | None] = []
    monkeypatch.setattr(review, "combine", combine)
    web = create_app(strict, strict.settings, check_answers=True).test_client()
    refused = web.post("/v1/review", json={"product_id": "ring-blue"})
    assert (refused.status_code, refused.get_json(force=True)["code"]) == (404, "unknown-product")
    assert "erased while it was reviewed" in refused.get_json(force=True)["detail"]
    assert erased[0] is not None
    with open_reviews(strict.home) as reviews, reviews.database.read() as sql:
        for table in ("reviews", "previews", "log"):
            assert sql.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert web.post("/v1/review", json={"product_id": "ring-tan"}).get_json()["review_id"]


def test_reviews_over_http(strict: Engine) -> None:
    """Multipart with several photos, JSON with a product, the shapes of the contract, and what is
    refused."""
    web = create_app(strict, strict.settings, check_answers=True).test_client()
    files = [
        (io.BytesIO(big("ring", "red")), "a.png"),
        (io.BytesIO(big("ring", "red", turn=9)), "b.png"),
    ]
    found = web.post("/v1/review", data={"images": files, "profile": "marketplace"}).get_json()
    assert (found["verdict"], len(found["photos"]), found["quality"]["profile"]) == (
        "review",
        2,
        "marketplace",
    )
    assert found["request_id"]
    one = web.post("/v1/review", data={"image": (io.BytesIO(photo("dots", "red")), "a.png")})
    assert one.status_code == 200
    assert (
        web.post("/v1/review", json={"product_id": "ring-blue"}).get_json()["verdict"] == "review"
    )
    assert web.post("/v1/review", json={}).status_code == 422
    assert web.post("/v1/review", json={"product_id": "x" * 10}).status_code == 404
    broken = web.post("/v1/review", data={"image": (io.BytesIO(b"?"), "a.png")})
    assert (broken.status_code, broken.get_json()["code"]) == (422, "bad-image")
    many = [(io.BytesIO(b"?"), "a.png") for _ in range(17)]
    assert "at most 16" in web.post("/v1/review", data={"images": many}).get_json()["detail"]


def test_a_review_s_form_takes_every_parameter(strict: Engine) -> None:
    """``min_sequence`` is a number in a form too; a field given twice, or unknown, is named."""
    web = create_app(strict, strict.settings, check_answers=True).test_client()

    def ask(**fields: object) -> tuple[int, str]:
        response = web.post(
            "/v1/review", data={"image": (io.BytesIO(photo("dots", "red")), "a.png"), **fields}
        )
        return response.status_code, response.get_json(force=True).get("detail", "")

    assert ask(min_sequence="5", version="v000001", profile="studio") == (200, "")
    assert ask(min_sequence="many") == (422, "min_sequence: not JSON text")
    assert ask(profile=["studio", "marketplace"]) == (
        422,
        "profile: given 2 times (send a list as JSON text)",
    )
    assert ask(colour="red") == (422, "colour: unknown field")


def test_a_stored_photo_that_is_gone_is_named_without_its_file(strict: Engine) -> None:
    """404 with the photo's hash; where the service keeps its files is nobody's business."""
    web = create_app(strict, strict.settings, check_answers=True).test_client()
    shot = web.get("/v1/products/ring-blue").get_json()["images"][0]["hash"]
    (file,) = strict.home.photos.rglob(shot)
    for change in (lambda: file.write_bytes(b"changed"), file.unlink):
        change()
        response = web.post("/v1/review", json={"product_id": "ring-blue"})
        problem = response.get_json(force=True)
        assert (response.status_code, problem["code"]) == (404, "unknown-photo")
        assert problem["detail"] == f"the file of photo {shot} is gone or was changed"


def test_a_banned_gallery_asks_for_a_person_until_it_is_fitted_then_finds_its_examples(
    own_home: Path, tmp_path: Path
) -> None:
    """A photo of the gallery itself is found by name; a photo of another kind is allowed once
    galleries are fitted."""
    (tmp_path / "banned").mkdir()
    for number, turn in enumerate((0, 5, -5, 10, -10)):
        (tmp_path / "banned" / f"{number}.png").write_bytes(photo("cross", "green", turn=turn))
    (tmp_path / "policy.yaml").write_text(
        "version: 1\npolicies:\n  crosses:\n    gallery: {photos: banned, match: [whole]}\n"
    )
    with Engine(
        Settings(home=own_home, policy_file=tmp_path / "policy.yaml"), watch=False
    ) as engine:
        engine.prepare_reviews()
        found = engine.review([photo("cross", "green", turn=5)]).content.prohibited[0]
        other = engine.review([photo("dots", "red", turn=5)]).content.prohibited[0]
    assert found.decision in ("review", "block")
    assert found.evidence[0]["example"] == "banned/1.png"
    assert other.decision == "allow"
    assert found.score > other.score


def test_the_check_of_a_policy_says_on_how_many_photos_its_budget_stands(
    own_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A catalog of some 40 photos shows no budget of .5%: said with what would be needed."""
    (tmp_path / "banned.png").write_bytes(photo("cross", "green"))
    file = tmp_path / "policy.yaml"
    file.write_text(
        "version: 2\npolicies:\n  crosses:\n    gallery: {photos: [banned.png], match: [whole]}\n"
    )
    command = ["policy", "check", str(file), "--home", str(own_home), "--json"]
    assert run(command) == 0
    before = json.loads(capsys.readouterr().out)
    assert (before["fitted"], before["alarms"], before["false_alarms"]) == (False, None, 0.005)
    with Engine(Settings(home=own_home, policy_file=file), watch=False) as engine:
        engine.prepare_reviews()
        photos = len(engine.catalog.entries()[1])
    assert run(command) == 0
    found = json.loads(capsys.readouterr().out)["alarms"]
    assert (found["photos"], found["asked"], found["shown"]) == (photos, 0, False)
    assert found["interval"][1] == pytest.approx(1 - 0.025 ** (1 / photos))
    assert run(command[:-1]) == 0
    assert "cannot be shown by" in capsys.readouterr().err


def test_a_ban_asks_for_a_person_where_nothing_tells_categories_or_tags(tmp_path: Path) -> None:
    """No model of categories, no tagged product: review with the reason. Tagged since: the tags are
    judged."""
    (tmp_path / "data").mkdir()
    for kind in ("ring", "dots", "stripes"):
        (tmp_path / "data" / f"{kind}.png").write_bytes(photo(kind, "red"))
    home = Home.create(tmp_path / "home")
    import_feed(home, tmp_path / "data")
    build_index(home, bundle=pretrained(home), activate=True)
    file = tmp_path / "policy.yaml"
    file.write_text(
        "version: 1\npolicies:\n  kinds:\n    categories: [ring]\n  words:\n    tags: [replica]\n"
    )
    with Engine(Settings(home=home.path, policy_file=file), watch=False) as engine:

        def asked() -> dict[str, tuple[str, list[str | None]]]:
            found = engine.review([photo("ring", "red", turn=5)]).content.prohibited
            return {
                one.policy: (one.decision, [piece.get("reason") for piece in one.evidence])
                for one in found
            }

        unknown = "categories need a model that predicts categories, and there is none here"
        untold = "tags need a model or an index that suggests tags, and there is none here"
        assert asked() == {"kinds": ("review", [unknown]), "words": ("review", [untold])}
        web = create_app(engine, engine.settings).test_client()
        web.put(
            "/v1/products/new",
            json={"images": [{"base64": base64.b64encode(photo("cross", "tan")).decode()}]},
        )
        assert asked()["words"] == ("review", [untold])
        web.patch("/v1/products/new", json={"tags": ["plain"]})
        assert asked() == {"kinds": ("review", [unknown]), "words": ("allow", [])}


def test_galleries_are_looked_at_again_when_the_catalog_has_grown_by_a_quarter(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 products: at 25, not at 24, and behind the review; meanwhile what was fitted goes on
    judging."""
    (tmp_path / "banned.png").write_bytes(photo("cross", "green"))
    file = tmp_path / "policy.yaml"
    file.write_text(
        "version: 1\npolicies:\n  crosses:\n    gallery: {photos: [banned.png], match: [whole]}\n"
    )
    fits: list[int] = []
    with Engine(Settings(home=own_home, policy_file=file), watch=False) as engine:

        def counting(*given: Any, **named: Any) -> Any:
            fits.append(engine.ready().live.product_count)
            return fit_home(*given, **named)

        monkeypatch.setattr("service.review.policy_check.fit_home", counting)
        engine.prepare_reviews()
        web = create_app(engine, engine.settings).test_client()
        for number in range(6):
            web.put(
                f"/v1/products/new{number}",
                json={
                    "images": [
                        {"base64": base64.b64encode(photo("dots", "tan", turn=number)).decode()}
                    ]
                },
            )
            (found,) = engine.review([photo("dots", "red", turn=5)]).content.prohibited
            assert "score" in found.evidence[0]
            engine.policies.close()
    assert fits == [20, 25]


def test_galleries_that_could_not_be_fitted_are_fitted_later(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that was away, a locked file: the policy answers review meanwhile, and not until the
    catalog has grown."""
    monkeypatch.setattr(policy_check, "_AGAIN_S", 0.01)
    (tmp_path / "banned.png").write_bytes(photo("cross", "green"))
    file = tmp_path / "policy.yaml"
    file.write_text(
        "version: 1\npolicies:\n  crosses:\n    gallery: {photos: [banned.png], match: [whole]}\n"
    )
    failures = [BusyError("somebody writes"), OSError("the share is away")]

    def failing(*given: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop(0)
        return fit_home(*given, **named)

    monkeypatch.setattr(policy_check, "fit_home", failing)
    with Engine(Settings(home=own_home, policy_file=file), watch=False) as engine:
        found = []
        for _ in range(4):
            (entry,) = engine.review([photo("dots", "red", turn=5)]).content.prohibited
            found.append(entry.decision)
            engine.policies.close()
    assert failures == []
    assert (found[0], found[-1]) == ("review", "allow")
