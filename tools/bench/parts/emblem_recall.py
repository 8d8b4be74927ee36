"""Emblems on cloth: what symbols, keypoints and both find of each way they are worn."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from indexer.core.proportions import clopper_pearson
from indexer.imaging.decode import Photo, decode_photo
from indexer.moderation.alarm_budget import BUDGET, share_budget
from indexer.moderation.gallery import (
    BannedGallery,
    Example,
    prepare_for_symbols,
    prepare_keypoints,
)
from indexer.moderation.keypoint_matching import KeypointBank, detect_photo, find_keypoints
from indexer.moderation.template_matching import find_match
from indexer.training.problem import read_problem
from tools.bench.data.logos import KINDS, PLAIN_KINDS, draw_logo, draw_plain_mark, examples
from tools.bench.data.worn_emblems import RECIPE, WORN, worn
from tools.bench.harness.framework import BenchRow, knob, real_data
from tools.output import log

_SHARES = (0.10, 0.25)
_SETS = {"fashion": "fashion/products.csv", "clothing": "clothing"}
# A policy file's ways to match, as columns of the scores
FILES: Mapping[str, tuple[int, ...]] = {"symbol": (0,), "keypoints": (1,), "both": (0, 1)}
# of marks with hardly a corner: enough to tell whether they are found at all
_PLAIN_WORN = ("upright", "turned")


@dataclass(frozen=True)
class Emblem:
    """A drawn emblem and the gallery that a shop would make of it."""

    name: str
    logo: Image.Image
    gallery: BannedGallery

    @classmethod
    def drawn(cls, seed: int) -> Emblem:
        """Draw an emblem and five photos of it."""
        return cls.shown(KINDS[seed % len(KINDS)], draw_logo(seed), seed)

    @classmethod
    def shown(cls, name: str, logo: Image.Image, seed: int) -> Emblem:
        """The emblem ``logo`` with five photos of it."""
        photos = [decode_photo(data) for data in examples(logo, seed)]
        shown = tuple(Example(f"{number}.jpg", photo) for number, photo in enumerate(photos))
        return cls(name, logo, BannedGallery(examples=shown, match=("symbol", "keypoints")))

    @cached_property
    def bank(self) -> KeypointBank:
        """The keypoints of the gallery's photos."""
        return prepare_keypoints(self.gallery.examples)

    def points(self) -> list[int]:
        """How many points each of the photos has."""
        return [len(example.frames) for example in self.bank.examples]


@dataclass
class Costs:
    """Milliseconds of processor time a photo by step."""

    steps: dict[str, list[float]]

    def describe(self) -> dict[str, float]:
        """Medians."""
        return {name: median(found) for name, found in self.steps.items() if found}


def score_photo(emblems: Sequence[Emblem], photo: Photo, costs: Costs | None = None) -> np.ndarray:
    """Score float [E, 2] of a photo by each emblem's symbols and keypoints, as the product does."""
    started = time.process_time()
    prepared = prepare_for_symbols(photo)
    matches = [find_match(one.gallery.symbols, prepared) for one in emblems]
    symbols = [max(found.score, 0.0) if found else 0.0 for found in matches]
    halfway = time.process_time()
    seen = detect_photo(photo.pixels)
    detected = time.process_time()
    placed = [find_keypoints(one.bank, seen) for one in emblems]
    points = [found.score if found else 0.0 for found in placed]
    if costs is not None:
        ended = time.process_time()
        parts = (halfway - started, detected - halfway, ended - detected)
        for name, spent in zip(("symbol", "detection", "keypoints"), parts, strict=True):
            costs.steps.setdefault(name, []).append(1000 * spent)
    return np.array([symbols, points]).T


def fit_reviews(scores: np.ndarray) -> dict[str, np.ndarray]:
    """Fit three policy files to scores [N, E, 2] of catalog photos, each with one budget.

    By ``FILES``, the score [E, ways] of each emblem from which a person is asked, as
    ``fit_galleries`` sets it.
    """
    found = {}
    for name, columns in FILES.items():
        ways = scores[:, :, list(columns)].reshape(len(scores), -1)
        shared = share_budget(list(ways.T), ways, np.zeros(len(ways), bool), budget=BUDGET)
        found[name] = np.array(shared.reviews).reshape(scores.shape[1], len(columns))
    return found


def asks(scores: np.ndarray, reviews: np.ndarray, name: str) -> np.ndarray:
    """Which emblems [..., E] a file of ``FILES`` asks about, of scores [..., E, 2]."""
    return np.asarray((scores[..., list(FILES[name])] >= reviews).any(-1))


def measure_emblems(first: int) -> BenchRow:
    """Six emblems in one policy file with one false-alarm budget, on train and validation photos.

    Bounds are of train photos of both sets; alarms are those of validation photos, and the emblems
    are pasted on these too. ``first`` is the seed of the first emblem. Marks with hardly a corner
    are a second file.
    """
    emblems = [Emblem.drawn(first + number) for number in range(len(KINDS))]
    marks = [Emblem.shown(name, draw_plain_mark(name), first) for name in PLAIN_KINDS]
    row, samples = _measure(emblems, WORN)
    plain, plain_samples = _measure(marks, _PLAIN_WORN)
    samples += plain_samples
    return {**row, **{f"plain_{name}": value for name, value in plain.items()}, "samples": samples}


def _measure(
    emblems: Sequence[Emblem], ways: Sequence[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    train, test, kept = (
        knob(f"PROHIBITED_{name}", n) for name, n in (("TRAIN", 400), ("TEST", 400), ("PASTES", 40))
    )
    rng = np.random.default_rng(3)
    files = {name: _files(name, data) for name, data in _SETS.items()}
    known = [file for split in files.values() for file in _some(split["train"], train // 2, rng)]
    costs = Costs({})
    near = np.stack([score_photo(emblems, _open(file), costs) for file in known])
    reviews = fit_reviews(near)
    row: BenchRow = {
        "recipe": f"{RECIPE}; one policy file of {len(emblems)} emblems, budget {BUDGET:g}, fitted "
        f"to {len(known)} train photos of both sets; {kept} validation photos of each set for each "
        "way and share, emblems in turn",
        "points": {one.name: one.points() for one in emblems},
        "cost_ms": costs.describe(),
    }
    plain = [file for split in files.values() for file in _some(split["validation"], test, rng)]
    seen = np.stack([score_photo(emblems, _open(file)) for file in plain])
    for name, bounds in reviews.items():
        hits = int(asks(seen, bounds, name).any(1).sum())
        row |= _share(f"alarms_{name}", hits, len(seen))
    samples: list[dict[str, Any]] = []
    for way in ways:
        for share in _SHARES:
            pasted = list(_pasted(emblems, files, way, share, kept, rng))
            outcomes = [_judge(emblems, reviews, *one) for one in pasted]
            samples += [{"way": way, "share": share, **one} for one in outcomes]
            for name in FILES:
                hits = sum(one[name] for one in outcomes)
                row |= _share(f"recall_{name}_{way}_{round(100 * share)}", hits, len(outcomes))
            log(f"{way}, {share:.0%}: {_recalls(outcomes)} of {len(outcomes)}")
    row["by_emblem"] = {one.name: _recalls_of(one.name, samples) for one in emblems}
    return row, samples


def _pasted(
    emblems: Sequence[Emblem],
    files: dict[str, dict[str, list[Path]]],
    way: str,
    share: float,
    kept: int,
    rng: np.random.Generator,
) -> Iterator[tuple[int, Photo]]:
    """Which emblem, and a photo that bears it."""
    for split in files.values():
        for number, file in enumerate(_some(split["validation"], kept, rng)):
            place = number % len(emblems)
            seed = int(rng.integers(2**31))
            data = worn(_open(file).pixels, emblems[place].logo, way, share, seed)
            yield place, decode_photo(data)


def _judge(
    emblems: Sequence[Emblem], reviews: dict[str, np.ndarray], place: int, photo: Photo
) -> dict[str, Any]:
    """Scores of the emblem that the photo bears, and which file asks about it."""
    scores = score_photo([emblems[place]], photo)
    found = {name: bool(asks(scores, bounds[place], name)[0]) for name, bounds in reviews.items()}
    symbol, points = (round(float(value), 4) for value in scores[0])
    return {"emblem": emblems[place].name, "scores": [symbol, points], **found}


def _recalls(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {name: sum(map(itemgetter(name), outcomes)) for name in FILES}


def _recalls_of(emblem: str, samples: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How often each file asked about one emblem, of how many photos."""
    own = [one for one in samples if one["emblem"] == emblem]
    return {**_recalls(own), "of": len(own)}


def _share(name: str, hits: int, size: int) -> dict[str, Any]:
    """A share and its interval."""
    return {name: hits / size, f"{name}_interval": clopper_pearson(hits, size)}


def _files(name: str, data: str) -> dict[str, list[Path]]:
    """Photos of a set's train and validation products."""
    problem = read_problem(real_data(name) / data.partition("/")[2], 0)
    train = [row.image for row in problem.of("train")]
    return {"train": train, "validation": [row.image for row in problem.of("validation")]}


def _some(files: Sequence[Path], most: int, rng: np.random.Generator) -> list[Path]:
    return [files[place] for place in rng.permutation(len(files))[:most]]


def _open(file: Path) -> Photo:
    return decode_photo(file.read_bytes())
