"""Keypoints of emblems: found turned, slanted and cut, by bounded work; named where they cannot."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from indexer.model.spec import Block
from indexer.moderation.checker import Checker
from indexer.moderation.fit_galleries import CatalogSample, fit_galleries
from indexer.moderation.gallery import Example, cut_out, galleries_of, prepare_keypoints
from indexer.moderation.keypoint_matching import (
    DESCRIPTOR,
    LEAST_POINTS,
    MOST_EXAMPLE_POINTS,
    MOST_PHOTO_POINTS,
    KeypointBank,
    Keypoints,
    detect_example,
    detect_photo,
    find_keypoints,
    find_library,
)
from indexer.moderation.policy import load_policies
from tests.indexer.moderation import drawn

BLOCKS = (Block("g", 8, 1.0),)


def bank_of(image: Image.Image) -> KeypointBank:
    return KeypointBank((detect_example(*cut_out(image)),))


@pytest.fixture(scope="module")
def crest() -> KeypointBank:
    pytest.importorskip("cv2")
    return bank_of(drawn.crest_example(1))


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that lacks cv2."""
    monkeypatch.setitem(sys.modules, "cv2", None)
    find_library.cache_clear()
    yield
    find_library.cache_clear()


def test_an_emblem_seen_from_the_side_is_placed(crest: KeypointBank) -> None:
    """Turned by 40 degrees and a third narrower: the corners of its outline lie where the drawing's
    do, which differ from it by the 2 degrees of the example."""
    at, part = (90, 120), drawn.leaning(drawn.crest(190))
    photo = detect_photo(drawn.with_crest(5, at, part))
    found = find_keypoints(crest, photo)
    assert found is not None
    assert found.points >= 8
    scale = photo.size[0] / 400
    centre = np.mean(found.corners, axis=0) / scale
    assert centre == pytest.approx((at[0] + part.width / 2, at[1] + part.height / 2), abs=6)
    (left, top), (right, other) = found.corners[:2]
    # The upper edge, turned by 40 degrees against the clock less the example's 2, then narrowed.
    wanted = np.degrees(np.arctan2(-np.sin(np.radians(42)), 0.66 * np.cos(np.radians(42))))
    assert np.degrees(np.arctan2(other - top, right - left)) == pytest.approx(wanted, abs=8)


def test_less_than_half_hidden_it_scores_above_every_product(crest: KeypointBank) -> None:
    """Forty hundredths of it cut off by the frame; ten products score less than half as much."""
    part = drawn.leaning(drawn.crest(190))
    photo = detect_photo(drawn.with_crest(6, (400 - round(0.6 * part.width), 100), part))
    found = find_keypoints(crest, photo)
    assert found is not None
    others = [detect_photo(drawn.with_crest(seed, (500, 0), part)) for seed in range(10)]
    scores = [match.score if (match := find_keypoints(crest, one)) else 0.0 for one in others]
    assert found.score > 2 * max(scores)


def test_a_mirrored_emblem_is_another_picture(crest: KeypointBank) -> None:
    """As to the search for symbols."""
    part = drawn.crest(170)
    plain = find_keypoints(crest, detect_photo(drawn.with_crest(5, (90, 120), part)))
    turned_over = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored = find_keypoints(crest, detect_photo(drawn.with_crest(5, (90, 120), turned_over)))
    assert plain is not None
    assert mirrored is None or mirrored.score < plain.score / 4


def test_the_same_picture_gives_the_same_match(crest: KeypointBank) -> None:
    """To the last bit: nothing is drawn at random."""
    image = drawn.with_crest(7, (60, 80), drawn.leaning(drawn.crest(150)))
    one, other = (find_keypoints(crest, detect_photo(image)) for _ in range(2))
    assert one is not None
    assert one == other


def test_work_is_bounded_whatever_is_drawn(crest: KeypointBank) -> None:
    """Noise has thousands of points, and no more than the stated number is kept; a photo whose
    every point is the same point of the example is answered."""
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3)).astype(np.uint8)
    speckled = Image.fromarray(noise).resize((320, 320), Image.Resampling.BICUBIC)
    photo = detect_photo(speckled)
    assert len(photo.frames) == len(photo.raw) == MOST_PHOTO_POINTS
    corner = np.asarray(speckled, np.float32)[:200, :200]
    example = detect_example(corner, np.ones((200, 200), np.float32))
    assert len(example.frames) == MOST_EXAMPLE_POINTS
    (one,) = crest.examples
    same = Keypoints((320, 320), np.tile(one.frames[:1], (600, 1)), np.tile(one.raw[:1], (600, 1)))
    assert find_keypoints(crest, same) is None, "one point counts once"


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (300, 2), (40, 40)])
def test_tiny_and_plain_photos_hold_no_point(crest: KeypointBank, size: tuple[int, int]) -> None:
    photo = detect_photo(Image.new("RGB", size, "red"))
    assert photo.frames.shape == (0, 4)
    assert photo.raw.shape == (0, DESCRIPTOR)
    assert find_keypoints(crest, photo) is None
    assert find_keypoints(KeypointBank((replace(photo, size=(9, 9)),)), photo) is None


def test_a_plain_ring_is_not_found(crest: KeypointBank) -> None:
    """A mark without corners has few points, all alike: what symbols are for."""
    image = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(image).ellipse((40, 40, 260, 260), outline="black", width=30)
    bank = bank_of(image)
    assert len(bank.examples[0].frames) < len(crest.examples[0].frames) / 4
    photo = drawn.product(3).resize((400, 480))
    photo.paste(image.resize((150, 150)), (100, 100))
    found = find_keypoints(bank, detect_photo(photo))
    assert found is None or found.points < 2 * LEAST_POINTS


def products(count: int) -> list[Image.Image]:
    return [drawn.product(seed).resize((400, 480)) for seed in range(count)]


def checker(file: Path, catalog: Sequence[Image.Image], budget: float | None = 0.005) -> Checker:
    """A checker of the file's galleries, fitted to a catalog."""
    policies = load_policies(file)
    photos = list(map(drawn.photo, catalog))
    sample = CatalogSample(np.zeros((0, 8), np.float32), np.zeros(0, int), enumerate(photos))
    fitted = fit_galleries(
        galleries_of(policies), lambda _: np.zeros((0, 8)), BLOCKS, sample, budget=budget
    )
    return Checker(policies, fitted.galleries)


def test_a_policy_finds_what_symbols_do_not(tmp_path: Path) -> None:
    """The leaning crest: one way asks a person and names example, place, outline and number of
    points; products are allowed, and say that nothing agreed or how little."""
    pytest.importorskip("cv2")
    made = checker(drawn.write_crests(tmp_path, "symbol, keypoints", 2), products(6))
    part = drawn.leaning(drawn.crest(190))
    image = drawn.with_crest(99, (90, 120), part)
    (result,) = made.check(drawn.photo(image), None, None, None, None)
    symbol, points = result.evidence
    assert symbol["score"] < 0.4, "a correlation"
    assert result.decision == points["verdict"] == "review"
    assert points["match"] == "keypoints"
    assert points["example"] in ["banned/0.png", "banned/1.png"]
    assert points["score"] > points["review"] == 0.5
    assert points["points"] >= 8
    x, y, width, height = points["box"]
    assert len(points["corners"]) == 4
    assert abs(x + width / 2 - 90 - part.width / 2) < 8
    assert abs(y + height / 2 - 120 - part.height / 2) < 8
    for seed in range(200, 203):
        plain = drawn.photo(drawn.product(seed).resize((400, 480)))
        (result,) = made.check(plain, None, None, None, None)
        assert result.evidence[1]["verdict"] == "allow"
        assert result.evidence[1]["points"] < points["points"] / 2


@pytest.mark.parametrize("budget", [0.005, None])
def test_where_nothing_agrees_nothing_is_asked(tmp_path: Path, budget: float | None) -> None:
    """A catalog of plain photos says nothing of how points agree by chance: photos without any that
    agree are allowed all the same, and the emblem is found."""
    pytest.importorskip("cv2")
    plain = [Image.new("RGB", (60, 80), (200, 200, 190))] * 3
    made = checker(drawn.write_crests(tmp_path, "keypoints", 2), plain, budget)
    for image in (plain[0], Image.new("RGB", (400, 400), "white")):
        (result,) = made.check(drawn.photo(image), None, None, None, None)
        assert result.decision == "allow"
        assert result.evidence[0]["points"] == 0
        assert result.evidence[0]["score"] < 0.4
    image = drawn.with_crest(99, (90, 120), drawn.leaning(drawn.crest(190)))
    (result,) = made.check(drawn.photo(image), None, None, None, None)
    assert result.decision == "review"


def test_without_the_package_a_person_is_asked(tmp_path: Path, without_library: None) -> None:
    """Never allowed: the reason names the extra; the other way of the gallery works on."""
    made = checker(drawn.write_crests(tmp_path, "symbol, keypoints", 2), products(6))
    (result,) = made.check(drawn.photo(drawn.product(300)), None, None, None, None)
    symbol, points = result.evidence
    assert 0 < symbol["score"] < 1
    assert points["verdict"] == "review"
    assert points["reason"].startswith("keypoints need the package cv2 (")
    assert points["reason"].endswith("pip install 'catalens[emblems]'")


def test_galleries_without_it_load_no_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of before means what it meant, and costs what it did."""
    monkeypatch.setattr(
        "indexer.moderation.detectors.gallery.find_library", lambda: pytest.fail("asked for")
    )
    gallery = "gallery: {photos: banned}"
    before = load_policies(drawn.write(tmp_path, f"  flags:\n    {gallery}\n", photos=1))
    assert galleries_of(before)["flags"].match == ("whole", "symbol")
    made = checker(drawn.write_crests(tmp_path, "symbol", 1), products(3))
    (result,) = made.check(drawn.photo(drawn.product(1)), None, None, None, None)
    assert [piece["match"] for piece in result.evidence] == ["symbol"]


def test_points_of_the_ground_are_left_out() -> None:
    """An example's ground is not the emblem: all points lie on the cut-out, or a few px around."""
    pytest.importorskip("cv2")
    example = drawn.photo(drawn.crest_example(0))
    (points,) = prepare_keypoints([Example("0.png", example)]).examples
    width, height = points.size
    assert max(points.size) == 200
    reach = np.hypot(points.frames[:, 0] - width / 2, points.frames[:, 1] - height / 2)
    assert reach.max() < max(points.size) / 2 + 6
