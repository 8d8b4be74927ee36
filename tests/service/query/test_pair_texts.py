"""Texts asked in block t of an image and text pair; the pair is random but for three words."""

from __future__ import annotations

import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from indexer.core.errors import BadModelError, BadRequestError, WeightsUnavailableError
from indexer.core.timer import StageTimer
from indexer.index.hybrid_ranking import KeywordShare
from indexer.index.query_weighting import vector_query
from indexer.model.joint_encoder import JointEncoder
from indexer.model.spec import Block
from indexer.text.keyword_index import KeywordHits
from indexer.text.open_words import joint_query
from service.app import create_app
from service.engine import Engine
from service.inference.admission import DeadlineExceededError
from service.logging import make_log
from service.query.context import RequestContext
from service.query.pair_texts import OpenText, PairEncoders
from service.query.query import Query
from service.query.search_cache import SearchCache
from service.query.text import OPEN_WEIGHTS, TextQuery, mix_text
from service.settings import Settings
from tests.conftest import build_once
from tests.service.pair_home import EACH, make_pair_home, thing

pytest.importorskip("open_clip")
pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    home = tmp_path_factory.mktemp("pair") / "home"
    shutil.copytree(build_once(tmp_path_factory, "pair", make_pair_home) / "home", home)
    with Engine(Settings(home=home), watch=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def web(engine: Engine) -> FlaskClient:
    return create_app(engine, engine.settings, check_answers=True).test_client()


def search(web: FlaskClient, **body: Any) -> dict[str, Any]:
    answer = web.post("/v1/search", json=body)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_json()  # type: ignore[no-any-return]


def ids(answer: dict[str, Any]) -> list[str]:
    return [row["product_id"] for row in answer["results"]]


def encoder_of(engine: Engine) -> JointEncoder:
    assert engine.snapshot is not None
    return JointEncoder(engine.snapshot.bundle)


@pytest.mark.parametrize("word", ["red", "blue", "green", "红色"])
def test_words_that_no_product_holds_find_photos(web: FlaskClient, word: str) -> None:
    """The pair alone is asked, in the one index; Chinese too, here by the glossary."""
    answer = search(web, text=word, k=EACH)
    colour = {"红色": "red"}.get(word, word)
    assert {row[0] for row in ids(answer)} == {colour[0]}
    assert answer["text_signals"] == ["text_t"]
    assert answer["unknown_words"] == []
    assert all(row["signals"] == {"text_t": row["score"]} for row in answer["results"])


def test_a_score_is_the_cosine_of_the_joint_space(web: FlaskClient, engine: Engine) -> None:
    """Filters, ``min_score`` and pages hold for it, and ``explain`` names block t."""
    assert engine.snapshot is not None
    spec, live = engine.snapshot.bundle.spec, engine.snapshot.live
    block = spec.block("t")
    assert block is not None
    told = encoder_of(engine).encode(["red"])[0]
    stored = live.base.index.vectors(np.arange(len(live.base.rows)))[:, spec.block_slice("t")]
    wanted = np.sort(stored @ told / block.weight**0.5)[::-1]
    answer = search(web, text="red", k=3 * EACH, explain=True)
    np.testing.assert_allclose([row["score"] for row in answer["results"]], wanted, atol=2e-3)
    first = answer["results"][0]
    assert first["signals"] == {"text_t": first["score"], "t": pytest.approx(first["score"])}
    few = search(web, text="red", k=50, min_score=first["score"] - 1e-4)
    assert ids(few)[0] == first["product_id"]
    page = search(web, text="red", k=3)
    rest = search(web, text="red", k=3, cursor=page["next_cursor"])
    assert ids(page) + ids(rest) == ids(search(web, text="red", k=6))


def test_a_pair_is_mixed_with_the_catalogs_own_words(web: FlaskClient, engine: Engine) -> None:
    """Keywords and the learnt tower keep halves of what the pair leaves; without a choice the two
    softmaxes say how much that is."""
    share = encoder_of(engine).scale * 0.05
    share /= 1 + share
    answer = search(web, text="item red", k=3 * EACH)
    assert answer["text_signals"] == ["keywords", "text", "text_t"]
    parts = {"keywords": (1 - share) / 2, "text": (1 - share) / 2, "text_t": share / 2}
    for row in answer["results"]:
        told = sum(parts[name] * value for name, value in row["signals"].items())
        assert row["score"] == pytest.approx(told / sum(parts.values()), abs=1e-3)
    told_best = sorted(answer["results"], key=lambda row: -row["signals"]["text_t"])[:EACH]
    assert {row["product_id"][0] for row in told_best} == {"r"}


def test_words_of_neither_are_unknown_and_long_texts_are_cut(web: FlaskClient) -> None:
    """A tokenizer with a list of words knows no others; of a long text the answer says so."""
    answer = search(web, text="zebra red")
    assert (answer["unknown_words"], ids(answer)[0][0]) == (["zebra"], "r")
    answer = search(web, text="zebra")
    assert (answer["unknown_words"], answer["text_signals"]) == (["zebra"], [])
    assert answer["results"] == []
    assert "text_cut" not in search(web, text="a photo of red thing")
    assert search(web, text="a photo of red thing a photo of thing")["text_cut"] is True


def test_weights_without_the_block_ask_no_pair(web: FlaskClient) -> None:
    """Weights say which blocks count; a photo beside a text is mixed as ever."""
    answer = search(web, text="red", weights={"g": 1})
    assert (answer["text_signals"], answer["results"]) == ([], [])
    answer = search(web, text="red", weights={"t": 1}, k=EACH)
    assert {row[0] for row in ids(answer)} == {"r"}
    bad = web.post("/v1/search", json={"text": "red", "weights": {"t": 1, "z": 1}})
    assert (bad.status_code, bad.get_json()["code"]) == (422, "bad-request")
    photo = io.BytesIO()
    thing("blue").save(photo, "PNG")
    for mix, first in (({"image": 9, "text": 1}, "b"), ({"image": 0.01, "text": 9}, "r")):
        form = {"image": (io.BytesIO(photo.getvalue()), "x.png"), "text": "red"}
        given = {**form, "k": "1", "mix": json.dumps(mix)}
        answer = web.post("/v1/search", data=given, content_type="multipart/form-data").get_json()
        assert set(answer["results"][0]["signals"]) == {"image", "text_t"}
        assert ids(answer)[0][0] == first


@pytest.mark.parametrize(
    ("share", "signals"), [(0.0, ["keywords", "text"]), (1.0, ["text_t"]), (0.5, None)]
)
def test_the_setting_says_how_much_a_pair_counts(
    engine: Engine, share: float, signals: list[str] | None
) -> None:
    """0 asks it nothing, so that its memory is never taken; 1 asks it alone."""
    settings = Settings(home=engine.home.path, text_pair_share=share)
    with Engine(settings, watch=False) as other:
        found = other.search(Query(text="item red")).content
        assert found.text_signals == (signals or ["keywords", "text", "text_t"])
        row = found.results[0]
        if share == 0.5:
            assert row.score == pytest.approx(
                sum(row.signals[name] for name in ("keywords", "text", "text_t")) / 3,
                abs=1e-3,
            )


@pytest.mark.parametrize("error", [WeightsUnavailableError, BadModelError])
def test_a_tower_that_cannot_be_used_leaves_keywords_and_is_logged_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Without the package, or with damaged files: the answer says that it is not complete."""

    def refuse(bundle: Any) -> None:
        raise error("a text tower needs the package open_clip")

    monkeypatch.setattr("indexer.model.joint_encoder.JointEncoder", refuse)
    lines: list[str] = []
    log = SimpleNamespace(error=lambda text, **fields: lines.append(fields["reason"]))
    with Engine(Settings(home=engine.home.path), watch=False) as other:
        monkeypatch.setattr(other._pairs, "_log", log)
        for _ in range(2):
            answer = other.search(Query(text="item red"))
            assert answer.complete is False
            assert answer.content.text_signals == ["keywords", "text"]
            assert answer.content.unknown_words == ["red"]
    assert lines == ["a text tower needs the package open_clip"]


def test_reviews_ask_policies_in_words_of_the_same_tower(engine: Engine, tmp_path: Path) -> None:
    """Fitted through the model's own tower; words that it does not know are for a person."""
    file = tmp_path / "policy.yaml"
    sections = "  known:\n    prompts: [red]\n  strange:\n    prompts: [zebra]\n"
    file.write_text(f"version: 2\npolicies:\n{sections}")
    photo = io.BytesIO()
    thing("blue").save(photo, "PNG")
    with Engine(Settings(home=engine.home.path, policy_file=file), watch=False) as other:
        other.prepare_reviews()
        known, strange = other.review([photo.getvalue()], queue=False).content.prohibited
    assert (known.decision, known.evidence[0]["text"]) == ("allow", "red")
    assert strange.decision == "review"
    assert "does not know zebra" in strange.evidence[0]["reason"]


def context(engine: Engine, deadline_s: float, **changes: Any) -> RequestContext:
    snapshot: Any = engine.snapshot
    if changes:
        blocks = tuple(Block(one.name, one.dim, changes["weight"]) for one in spec_blocks(engine))
        spec = SimpleNamespace(
            block=lambda name: next(one for one in blocks if one.name == name), blocks=blocks
        )
        bundle = SimpleNamespace(spec=spec, embedding_id="other")
        snapshot = SimpleNamespace(bundle=bundle, live=snapshot.live)
    return RequestContext(snapshot, StageTimer(), SearchCache(None), deadline_s)


def spec_blocks(engine: Engine) -> tuple[Block, ...]:
    assert engine.snapshot is not None
    return engine.snapshot.bundle.spec.blocks


def test_a_tower_in_the_making_is_waited_for_until_the_deadline(engine: Engine) -> None:
    """No request waits longer than it has; a block without weight is a gap and loads nothing."""
    pairs = PairEncoders(make_log())
    with pairs._making, pytest.raises(DeadlineExceededError):
        pairs.asked(context(engine, 0.05))
    made: list[JointEncoder] = []
    threads = [
        threading.Thread(target=lambda: made.append(pairs.asked(context(engine, 60))))  # type: ignore[arg-type]
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(made) == 3
    assert len({id(one) for one in made}) == 1
    weightless = context(engine, 60, weight=0.0)
    assert pairs.asked(weightless) is None
    assert weightless._gaps == {"text_t"}


BLOCKS = (Block("a", 2, 0.4), Block("c", 2, 0.2), Block("g", 2, 0.2), Block("t", 2, 0.2))


def vector(*angles: float) -> np.ndarray:
    parts = [np.array([np.cos(angle), np.sin(angle)]) for angle in angles]
    scaled = [block.weight**0.5 * part for block, part in zip(BLOCKS, parts, strict=True)]
    return np.concatenate(scaled).astype(np.float32)


def test_a_colour_that_is_replaced_leaves_the_pair_alone() -> None:
    """Beside a photo the words but the colour are asked in block t, by weights of their own."""
    photo, blue, rest = vector(0, 0, 0, 0)[None], vector(1, 2, 1, 1), vector(0.5, 0.5, 0.5, 0.5)
    said = OpenText(np.array([0.6, 0.8], np.float32), 0.5, cut=False)
    words = KeywordShare(KeywordHits(np.array([1]), np.array([1.0]), ()), 1.0)
    parsed = TextQuery([], blue, rest, blue, words, open=said)
    mixed = mix_text(parsed, {"image": photo}, {"image": 0.5, "text": 0.5}, BLOCKS, {})
    assert mixed.recoloured
    assert mixed.keywords is not None
    assert mixed.keywords.share == pytest.approx(0.5 / 3)
    assert mixed.shares == pytest.approx({"image": 0.5, "text": 0.5 / 3, "text_t": 0.5 / 3})
    np.testing.assert_allclose(
        mixed.inputs["text_t"][0], [0] * 6 + [0.6 * 0.2**0.5, 0.8 * 0.2**0.5]
    )
    asked = vector_query(
        mixed.inputs, BLOCKS, mix=mixed.shares, weights={"a": 0.9, "c": 0.1}, own=OPEN_WEIGHTS
    )
    shown = vector(0.3, 0.3, 0.3, 0.3)
    signals = asked.signals(shown)
    cosine = 0.6 * np.cos(0.3) + 0.8 * np.sin(0.3)
    assert signals["text_t"] == pytest.approx(cosine, abs=1e-5)
    total = sum(asked.mix[name] * signals[name] for name in asked.inputs)
    assert asked.lengths[0] * (asked.queries[0] @ shown) == pytest.approx(total, abs=1e-5)
    assert asked.params is not None
    assert asked.params.widen == "mixed"


def test_a_text_alone_in_its_block_widens_that_block() -> None:
    """So that the recall that was tuned for the block holds."""
    given = joint_query(BLOCKS, np.array([[0.6, 0.8]], np.float32))
    asked = vector_query({"text_t": given}, BLOCKS, own=OPEN_WEIGHTS)
    assert asked.params is not None
    assert asked.params.widen == "t"
    shown = vector(0.3, 0.3, 0.3, 0.3)
    score = float(asked.lengths[0] * (asked.queries[0] @ shown))
    assert score == pytest.approx(0.6 * np.cos(0.3) + 0.8 * np.sin(0.3), abs=1e-5)
    with pytest.raises(BadRequestError, match="no block 'z'"):
        vector_query({"text_t": given}, BLOCKS, weights={"z": 1.0}, own=OPEN_WEIGHTS)
