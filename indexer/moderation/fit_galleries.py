"""Fit of galleries to a catalog: rows from the examples, bounds from the near misses."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from indexer.imaging.decode import Photo
from indexer.imaging.geometry import scaled_size
from indexer.model.few_shot import CATEGORY_SHARES, Background, background, fit_tag
from indexer.model.spec import Block
from indexer.moderation.alarm_budget import (
    AlarmReport,
    count_alarms,
    share_budget,
)
from indexer.moderation.described_kind import FittedWords
from indexer.moderation.gallery import (
    BannedGallery,
    Embed,
    Example,
    FittedGallery,
    PhotoCrops,
    cut_out,
    prepare_for_symbols,
    prepare_keypoints,
    prepare_symbols,
)
from indexer.moderation.keypoint_matching import (
    LEAST_SCORE,
    KeypointBank,
    Keypoints,
    detect_photo,
    find_keypoints,
    find_library,
)
from indexer.moderation.template_matching import PreparedPhoto, TemplateBank, find_match
from indexer.moderation.thresholds import FALSE_ALARMS, Bounds, Rivals, fit_bounds, fit_rivals

# Whether other detectors ask a person about a photo.
Screen = Callable[[Photo], bool]
# policy, match
_Way = tuple[str, str]

# cosine from which a catalog photo is one of the examples itself, not a near miss of them
_COPY = 0.98
# catalog photos that each example is pasted on when held out, and the share it covers
_TRIES = 8
_TRY_SHARE = 0.1


@dataclass(frozen=True)
class CatalogSample:
    """Vectors of the catalog, all or many, with their kinds (-1: not known), and some photos."""

    vectors: np.ndarray  # float32 [M, D]
    groups: np.ndarray  # int [M]
    # each with its place among the vectors; iterated once
    photos: Iterable[tuple[int, Photo]]


@dataclass(frozen=True)
class FittedGalleries:
    """The galleries of a policy file by policy, and what they ask of ordinary photos together.

    ``alarms`` None where the catalog has no photo, or the file neither gallery nor prompts.
    """

    galleries: dict[str, FittedGallery]
    alarms: AlarmReport | None
    words: dict[str, FittedWords] = field(default_factory=dict)


def fit_galleries(
    galleries: Mapping[str, BannedGallery],
    embed: Embed,
    blocks: tuple[Block, ...],
    sample: CatalogSample,
    *,
    general: np.ndarray | None = None,
    budget: float | None = None,
    screen: Screen | None = None,
    words: Mapping[str, FittedWords] | None = None,
) -> FittedGalleries:
    """Fit rows and bounds of each gallery, and bounds of the prompts ``words`` of policies.

    All ways to match of all galleries share ``budget``, a share of ordinary photos
    (``alarm_budget.share_budget``); ``screen`` tells which photos other detectors ask about anyway.
    Without a budget each gallery has one of ``FALSE_ALARMS``, in equal parts for its ways. A way
    that nothing is known about gets no bounds: for want of catalog photos and of examples to hold
    out, or of the library that finds keypoints.

    Near misses are looked for in all of ``sample.vectors`` as a whole, in ``sample.photos`` in
    parts. Held out are the examples: each is scored by a row made of the others; as a symbol it is
    pasted on catalog photos and looked for by the others, as are its keypoints. ``general`` as
    ``few_shot.background`` takes it.
    """
    words = words or {}
    if not galleries and not words:
        return FittedGalleries({}, None)
    behind = background(sample.vectors, sample.groups, blocks, CATEGORY_SHARES, general=general)
    rivals = fit_rivals(sample.vectors, sample.groups, behind)
    rows = {
        name: _with_keypoints(gallery, _row(_vectors(gallery, embed, behind), behind, rivals))
        for name, gallery in galleries.items()
    }
    seen = _near_misses(galleries, rows, embed, sample, screen, _told(words, sample))
    reviews: dict[_Way, float] = {}
    alarms: AlarmReport | None = None
    known = [way for way, scores in seen.near.items() if len(scores) > 1]
    if budget is not None and known:
        near, together = [seen.near[way] for way in known], seen.together(known)
        shared = share_budget(near, together, seen.asked, budget=budget)
        reviews, alarms = dict(zip(known, shared.reviews, strict=True)), shared.alarms
    fitted = {}
    for name, gallery in galleries.items():
        row = rows[name]
        each = FALSE_ALARMS / len(gallery.match) if budget is None else budget
        bounds = {}
        for match in [way for way in gallery.match if (name, way) in seen.near]:
            held_out = _score_held_out(match, gallery, row, seen.grounds, behind)
            found = fit_bounds(
                seen.near[name, match],
                np.array(held_out),
                false_alarms=each,
                review=reviews.get((name, match)),
                least=LEAST_SCORE if match == "keypoints" else -math.inf,
            )
            if found is not None:
                bounds[match] = found
        fitted[name] = replace(row, bounds=bounds)
    asked = {name: _bounded(name, one, reviews) for name, one in words.items()}
    return FittedGalleries(fitted, _count(fitted, seen) if budget is None else alarms, asked)


def _told(words: Mapping[str, FittedWords], sample: CatalogSample) -> dict[_Way, np.ndarray]:
    """What the prompts of each policy make of the catalog's vectors, float [M]."""
    usable = {name: one for name, one in words.items() if len(one.directions)}
    if not len(sample.vectors):
        return {}
    return {
        (name, "prompts"): one.scores(sample.vectors).max(axis=1) for name, one in usable.items()
    }


def _bounded(name: str, words: FittedWords, reviews: Mapping[_Way, float]) -> FittedWords:
    """Prompts with the score from which a person is asked; nothing that was held out says what
    could be blocked."""
    review = reviews.get((name, "prompts"))
    return words if review is None else replace(words, bounds=Bounds(review, None))


def _count(fitted: Mapping[str, FittedGallery], seen: _NearMisses) -> AlarmReport | None:
    """What galleries with budgets of their own ask about together."""
    ways = [way for way in seen.near if way[0] in fitted and way[1] in fitted[way[0]].bounds]
    if not ways or not len(seen.asked):
        return None
    bars = [fitted[name].bounds[match].review for name, match in ways]
    return count_alarms(bars, seen.together(ways), seen.asked)


def _vectors(gallery: BannedGallery, embed: Embed, behind: Background) -> np.ndarray:
    if not {"whole", "crops"} & set(gallery.match):
        return np.zeros((0, len(behind.scale)), np.float32)
    return embed([example.photo for example in gallery.examples])


def _with_keypoints(gallery: BannedGallery, row: FittedGallery) -> FittedGallery:
    """The gallery with its examples' points, if it is matched by them and they can be found."""
    if "keypoints" not in gallery.match or find_library()[1] is not None:
        return row
    return replace(row, keypoints=prepare_keypoints(gallery.examples))


def _row(examples: np.ndarray, behind: Background, rivals: Rivals) -> FittedGallery:
    if not len(examples):
        return FittedGallery(np.zeros(len(behind.scale), np.float32), 0.0, rivals, examples, {})
    row = fit_tag(examples, behind, examples[:0])
    return FittedGallery(row.weight, row.bias, rivals, examples, {})


def _copies(catalog: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Which of the catalog's vectors are copies of an example, bool [M]."""
    if not len(catalog) or not len(examples):
        return np.zeros(len(catalog), bool)
    return np.asarray((catalog @ examples.T).max(axis=1) >= _COPY)


def _score_held_out(
    match: str,
    gallery: BannedGallery,
    row: FittedGallery,
    grounds: Sequence[Photo],
    behind: Background,
) -> list[float]:
    if match == "symbol":
        return _score_pasted(gallery.examples, grounds)
    if match == "keypoints":
        return _score_pasted_points(gallery.examples, row.keypoints, grounds)
    return _score_left_out(row, behind)


def _score_left_out(row: FittedGallery, behind: Background) -> list[float]:
    """Score each example by a row made of the others; a single one has no score."""
    places = np.arange(len(row.examples))
    if len(places) < 2:
        return []
    rests = [_row(row.examples[places != place], behind, row.rivals) for place in places]
    pairs = zip(places, rests, strict=True)
    return [float(rest.scores(row.examples[[place]])[0]) for place, rest in pairs]


@dataclass(frozen=True)
class _NearMisses:
    """Scores of the catalog's photos by way to match, and some of the photos."""

    # each of as many photos as it could be asked about, copies of the examples left out
    near: dict[_Way, np.ndarray]
    # each of the same N photos, -inf of a copy
    joint: dict[_Way, np.ndarray]
    # bool [N]
    asked: np.ndarray
    grounds: list[Photo]

    def together(self, ways: Sequence[_Way]) -> np.ndarray:
        """Scores float [N, W] of some ways."""
        if not ways:
            return np.zeros((len(self.asked), 0))
        return np.stack([self.joint[way] for way in ways], axis=1)


def _near_misses(
    galleries: Mapping[str, BannedGallery],
    rows: Mapping[str, FittedGallery],
    embed: Embed,
    sample: CatalogSample,
    screen: Screen | None,
    told: Mapping[_Way, np.ndarray],
) -> _NearMisses:
    symbols = {name: one.symbols for name, one in galleries.items() if "symbol" in one.match}
    cropped = [name for name, one in galleries.items() if "crops" in one.match]
    scores: defaultdict[_Way, list[float]] = defaultdict(list)
    places: list[int] = []
    asked: list[bool] = []
    grounds: list[Photo] = []
    pointed = {name: one.keypoints for name, one in rows.items() if one.keypoints is not None}
    in_parts = bool(symbols or cropped or pointed or screen)
    for place, photo in sample.photos if in_parts else ():
        if len(grounds) < _TRIES:
            grounds.append(photo)
        places.append(place)
        asked.append(screen is not None and screen(photo))
        if symbols:
            seen = prepare_for_symbols(photo)
        for name, prepared in symbols.items():
            scores[name, "symbol"].append(_score(prepared, seen))
        if pointed:
            points = detect_photo(photo.pixels)
        for name, bank in pointed.items():
            scores[name, "keypoints"].append(_score_points(bank, points))
        if cropped:
            crops, _ = PhotoCrops(photo, embed).embedded
            for name in cropped:
                scores[name, "crops"].append(float(rows[name].scores(crops).max()))
    chosen = np.array(places, np.int64) if in_parts else np.arange(len(sample.vectors))
    near: dict[_Way, np.ndarray] = {}
    joint: dict[_Way, np.ndarray] = {}
    for name, gallery in galleries.items():
        for match in gallery.match:
            way = (name, match)
            if match == "whole":
                whole = rows[name].scores(sample.vectors)
                own = ~_copies(sample.vectors, rows[name].examples)
                near[way] = whole[own]
                joint[way] = np.where(own, whole, -np.inf)[chosen]
            elif match != "keypoints" or name in pointed:
                near[way] = joint[way] = np.array(scores[way])
    near |= told
    joint |= {way: found[chosen] for way, found in told.items()}
    return _NearMisses(near, joint, np.array(asked if in_parts else [False] * len(chosen)), grounds)


def _score(symbols: TemplateBank, seen: PreparedPhoto) -> float:
    found = find_match(symbols, seen)
    return max(found.score, 0.0) if found else 0.0


def _score_pasted(examples: Sequence[Example], grounds: Sequence[Photo]) -> list[float]:
    """Score each example, pasted on catalog photos, by the other examples."""
    scores = []
    for place, example in enumerate(examples):
        rest = [*examples[:place], *examples[place + 1 :]]
        others = prepare_symbols(rest)
        for number, ground in enumerate(grounds if rest else ()):
            pasted = _paste(ground, example, number)
            scores.append(_score(others, prepare_for_symbols(pasted)))
    return scores


def _score_points(bank: KeypointBank, seen: Keypoints) -> float:
    found = find_keypoints(bank, seen)
    return found.score if found else 0.0


def _score_pasted_points(
    examples: Sequence[Example], bank: KeypointBank | None, grounds: Sequence[Photo]
) -> list[float]:
    """Score each example, pasted on catalog photos, by the points of the others."""
    scores: list[float] = []
    if bank is None:
        return scores
    for place, example in enumerate(examples):
        rest = KeypointBank(bank.examples[:place] + bank.examples[place + 1 :])
        for number, ground in enumerate(grounds if rest.examples else ()):
            pasted = _paste(ground, example, number)
            scores.append(_score_points(rest, detect_photo(pasted.pixels)))
    return scores


def _paste(ground: Photo, example: Example, number: int) -> Photo:
    """Paste an example's cut-out on a photo, at one of nine places by ``number``."""
    pixels, mask = cut_out(example.photo.pixels)
    whole = ground.pixels.copy()
    scale = (_TRY_SHARE * whole.width * whole.height / mask.size) ** 0.5
    size = scaled_size((mask.shape[1], mask.shape[0]), scale)
    part = Image.fromarray(pixels.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    shape = Image.fromarray((mask * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    across, down = max(0, whole.width - size[0]), max(0, whole.height - size[1])
    whole.paste(part, (across * (number % 3) // 2, down * (number // 3 % 3) // 2), shape)
    return Photo(whole, ground.format, whole.width, whole.height, ground.content_hash)
