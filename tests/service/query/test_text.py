"""Text over HTTP and on the command line: what it finds, how it is fused, what is refused, what an
old version does."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from indexer.core.errors import BadRequestError, BadSettingsError
from indexer.core.home import Home
from indexer.index.hybrid_ranking import KeywordShare
from indexer.index.version import Versions
from indexer.index.version_files import TEXT
from indexer.index_build.pipeline import build_index
from indexer.model.registry import resolve
from indexer.model.spec import Block
from indexer.text.keyword_index import KeywordHits
from service.engine import Engine, Query
from service.query.text import TextQuery, mix_text
from service.settings import Settings
from tests.service.conftest import COLOURS, KINDS, draw, encode, photo, product_id
from tools.cli import cli

Web = FlaskClient


def search(web: Web, **body: Any) -> dict[str, Any]:
    answer = web.post("/v1/search", json=body)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_json()  # type: ignore[no-any-return]


def ids(answer: dict[str, Any]) -> list[str]:
    return [result["product_id"] for result in answer["results"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red ring", {product_id("ring", "red")}),
        ("RINGS", {product_id("ring", colour) for colour in COLOURS}),
        ("红色", {product_id(kind, "red") for kind in KINDS}),
        ("“black” <b>dots</b> OR NOT *", {product_id("dots", "black")}),
        ("🎉 green 🎉 cross", {product_id("cross", "green")}),
    ],
)
def test_text_finds_what_it_tells_of(web: Web, text: str, expected: set[str]) -> None:
    """Case, plural, markup, query signs and emojis do no harm; Chinese goes
    through the glossary."""
    assert set(ids(search(web, text=text, k=len(expected)))) == expected


def test_the_score_is_half_keywords_and_half_the_tower(web: Web) -> None:
    """Where a product holds a word; both stand in ``signals``; the order is that of the fused
    score."""
    results = search(web, text="red ring", k=20)["results"]
    assert results[0]["signals"]["keywords"] == 1.0
    assert any(result["signals"]["keywords"] == 0 for result in results)
    for result in results:
        signals = result["signals"]
        assert result["score"] == pytest.approx(
            (signals["text"] + signals["keywords"]) / 2, abs=1e-4
        )
    scores = [result["score"] for result in results]
    assert scores == sorted(scores, reverse=True)


def test_every_product_matches_a_text_and_filters_k_and_pages_hold(web: Web) -> None:
    """Always min(k, matches): all 20 products are ranked, of red ones 4; pages neither repeat nor
    skip."""
    whole = ids(search(web, text="red ring", k=50))
    assert len(whole) == len(set(whole)) == 20
    red = {"must": [{"field": "colour", "eq": "red"}]}
    some = ids(search(web, text="dots", k=50, filter=red, exclude=["dots-red"]))
    assert set(some) == {product_id(kind, "red") for kind in KINDS} - {"dots-red"}
    paged: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = search(web, text="red ring", k=3, **cursor)
        paged += ids(page)
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert paged == whole
    few = search(web, text="red ring", k=50, min_score=0.4)
    assert 0 < len(few["results"]) < 20
    assert all(result["score"] >= 0.4 for result in few["results"])
    other = web.post("/v1/search", json={"text": "red cross", "k": 3, **cursor})
    assert other.status_code == 422
    assert "another question" in other.get_json()["detail"]


def test_unknown_words_are_reported_and_the_rest_is_used(web: Web) -> None:
    """As they were written; where nothing is known at all nothing is found; without a text there is
    no such field."""
    answer = search(web, text="red zébra ring 斑马", k=1)
    assert (ids(answer), answer["unknown_words"]) == (
        [product_id("ring", "red")],
        ["zebra", "斑马"],
    )
    answer = search(web, text="zebra")
    assert (answer["results"], answer["unknown_words"], answer["next_cursor"]) == (
        [],
        ["zebra"],
        None,
    )
    answer = search(web, text="zebra", product_id="cross-red", k=3)
    assert ids(answer) == ids(search(web, product_id="cross-red", k=3))
    assert answer["unknown_words"] == ["zebra"]
    assert "unknown_words" not in search(web, product_id="cross-red")


def test_a_photo_and_a_text_are_mixed_by_weight(web: Web) -> None:
    """Multipart and JSON; the score is the mean of the signals by ``mix``, of the text half its
    keywords'."""
    for image, text in ((1, 1), (3, 1)):
        form = {"text": "ring", "k": "20", "mix": json.dumps({"image": image, "text": text})}
        form["image"] = (io.BytesIO(photo("cross", "red")), "x.png")  # type: ignore[assignment]
        answer = web.post("/v1/search", data=form, content_type="multipart/form-data").get_json()
        for result in answer["results"]:
            signals, share = result["signals"], text / (image + text)
            of_text = (signals["text"] + signals["keywords"]) / 2
            assert result["score"] == pytest.approx(
                (1 - share) * signals["image"] + share * of_text, abs=1e-4
            )
    alone = search(web, product_id="cross-red", text="ring", mix={"product_id": 1}, k=5)
    assert ids(alone) == ids(search(web, product_id="cross-red", k=5))


def test_a_write_is_found_by_its_words_at_once(open_web: Callable[..., Web], own: Engine) -> None:
    """Put, patched and deleted; a title with markup comes back as it was written."""
    client, title = open_web(), "<script>alert(1)</script> 红色连衣裙 zebra"
    form = {
        "product": json.dumps({"title": title}),
        "images": (io.BytesIO(encode(draw("ring", (9, 9, 9)))), "x.png"),
    }
    assert (
        client.put("/v1/products/new", data=form, content_type="multipart/form-data").status_code
        == 200
    )
    for text in ("zebra", "衣裙", "script"):
        answer = search(client, text=text, k=1)
        assert (ids(answer), answer["results"][0]["title"]) == (["new"], title)
    client.patch("/v1/products/new", json={"title": "giraffe"})
    assert (ids(search(client, text="giraffe", k=1)), search(client, text="zebra")["results"]) == (
        ["new"],
        [],
    )
    client.delete("/v1/products/new")
    assert search(client, text="giraffe")["results"] == []


def test_a_version_without_a_tower_answers_by_keywords(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As versions from before have none: only products that hold a word match, scored by keywords
    alone."""
    home = Home(own_home)
    assert TEXT in Versions(home).manifest(home.active().index_version).files  # type: ignore[union-attr]
    monkeypatch.setattr("indexer.index_build.publish.fit_tower", lambda *_: None)
    build_index(home, bundle=resolve(home, None), activate=True)
    with Engine(Settings(home=own_home), watch=False) as engine:
        assert engine.snapshot is not None
        assert engine.snapshot.live.base.tower is None
        answer = engine.search(Query(text="rings zebra"))
        assert {row.product_id for row in answer.content.results} == {
            product_id("ring", colour) for colour in COLOURS
        }
        assert all(row.signals == {"keywords": row.score} for row in answer.content.results)
        assert answer.content.unknown_words == ["zebra"]
        red = {"must": [{"field": "colour", "eq": "red"}]}
        (only,) = engine.search(Query(text="ring"), filter=red).content.results
        assert only.product_id == product_id("ring", "red")


def test_text_that_cannot_be_asked_is_refused(shop: Engine) -> None:
    """Below HTTP too; 2,000 characters are read, and of them 64 words."""
    for text, reason in (
        ("🎉🎉", "no letter and no digit"),
        ("a" * 10_000, "10,000 characters, at most 2,000"),
    ):
        with pytest.raises(BadRequestError, match=reason):
            shop.search(Query(text=text))
    many = " ".join(f"w{number}" for number in range(300))
    assert len(shop.search(Query(text=many)).content.unknown_words) == 64


BLOCKS = (Block("a", 2, 0.5), Block("c", 2, 0.2), Block("g", 2, 0.3))


def vector(*angles: float) -> np.ndarray:
    parts = [np.array([np.cos(angle), np.sin(angle)]) for angle in angles]
    return np.concatenate(
        [np.sqrt(b.weight) * p for b, p in zip(BLOCKS, parts, strict=True)]
    ).astype(np.float32)


def test_a_colour_word_beside_a_photo_replaces_its_colour_and_other_words_are_mixed() -> None:
    """ "blue" alone is no input of its own; "blue dress" leaves "dress" as one, in blue as well;
    alone it is whole."""

    class Dresses:
        """Knows what a dress looks like in the text's colour."""

        def encode(self, text: str) -> np.ndarray | None:
            return dress if text == "dress" else None

    photo, blue, dress = vector(0, 0, 0)[None], vector(1, 1.5, 0), vector(2, 3, 1)
    hits = KeywordHits(np.array([4]), np.ones(1, np.float32), ())
    words = KeywordShare(hits, 1.0)
    half = {"image": 0.5, "text": 0.5}
    mixed = mix_text(TextQuery([], blue, None, blue, words), {"image": photo}, half, BLOCKS, {})
    assert mixed.recoloured
    assert set(mixed.inputs) == {"image"}
    assert mixed.keywords is not None
    assert mixed.keywords.share == 0.25
    np.testing.assert_allclose(mixed.inputs["image"][0, 2:4], blue[2:4], atol=1e-6)
    np.testing.assert_allclose(mixed.inputs["image"][0, :2], photo[0, :2], atol=1e-6)
    parsed = TextQuery([], blue, None, blue, None, Dresses())  # type: ignore[arg-type]
    mixed = mix_text(parsed, {"image": photo}, half, BLOCKS, {"image": "dress"})
    turned = 0.6 * photo[0, :2] + 0.4 * dress[:2]
    expected = np.sqrt(0.5) * turned / np.linalg.norm(turned)
    np.testing.assert_allclose(mixed.inputs["image"][0, :2], expected, atol=1e-6)
    mixed = mix_text(TextQuery([], blue, dress, blue, None), {"image": photo}, half, BLOCKS, {})
    assert mixed.shares == {"image": 0.5, "text": 0.5}
    text = mixed.inputs["text"][0]
    np.testing.assert_allclose(text[[0, 1, 4, 5]], dress[[0, 1, 4, 5]], atol=1e-6)
    np.testing.assert_allclose(text[2:4], blue[2:4], atol=1e-6)
    mixed = mix_text(TextQuery([], blue, None, blue, None), {}, {"text": 1.0}, BLOCKS, {})
    assert not mixed.recoloured
    assert np.array_equal(mixed.inputs["text"][0], blue)


class Oracle:
    """A text encoder from outside: every text means the first column."""

    def encode(self, text: str) -> np.ndarray:
        return np.eye(self.dim, dtype=np.float32)[0]

    def __init__(self, bundle: Any) -> None:
        self.dim = bundle.spec.dim

    def knows(self, word: str) -> bool:
        return True

    def colour(self, text: str) -> None:
        return None


def test_another_text_encoder_can_be_plugged_in(own_home: Path) -> None:
    """By a setting; its vectors are what the index is asked for, and it says what is known."""
    settings = Settings(home=own_home, text_encoder="tests.service.query.test_text:Oracle")
    with Engine(settings, watch=False) as engine:
        answer = engine.search(Query(text="zebra"), k=20)
        assert answer.content.unknown_words == []
        assert len(answer.content.results) == 20
        live = engine.snapshot.live  # type: ignore[union-attr]
        first = max(
            float(row[0]) for row in live.base.index.vectors(np.arange(len(live.base.rows)))
        )
        assert answer.content.results[0].score == pytest.approx(first, abs=1e-5)
    for name in ("nowhere:thing", "service.query.text:absent"):
        with pytest.raises(BadSettingsError, match="text_encoder"):
            Engine(Settings(home=own_home, text_encoder=name), watch=False)


def test_the_command_line_asks_by_text_and_edits_the_glossary(
    own_home: Path, tmp_path: Path
) -> None:
    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(cli, [*arguments, "--home", str(own_home), "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    (first,) = run("similar", "--text", "red ring", "-k", "1")["results"]
    assert first["product_id"] == product_id("ring", "red")
    file = tmp_path / "own.csv"
    file.write_text("term,words\n圆环,ring\n", encoding="utf-8")
    assert run("glossary", "import", str(file)) == {"imported": 1}
    assert {"term": "圆环", "words": "ring"} in run("glossary", "list")["terms"]
    (first,) = run("similar", "--text", "黑色圆环", "-k", "1")["results"]
    assert first["product_id"] == product_id("ring", "black")
