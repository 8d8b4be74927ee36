"""Emblems on cloth: what symbols, keypoints and both find of each way they are worn."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from indexer.core.atomic_files import write_atomic
from indexer.core.proportions import clopper_pearson
from indexer.imaging.decode import Photo, decode_photo
from indexer.moderation.alarm_budget import BUDGET, share_budget
from indexer.moderation.gallery import (
    BannedGallery,
    Example,
    prepare_for_symbols,
    prepare_keypoints,
)
from indexer.moderation.keypoint_matching import (
    LEAST_SCORE,
    KeypointBank,
    detect_photo,
    find_keypoints,
)
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
# The least threshold of each way
_LEAST = (-np.inf, LEAST_SCORE)
STEPS = ("symbol", "detection", "keypoints")
# photos between two savings: a run that is stopped goes on with the same ``--work``
_PORTION = 20
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


@dataclass(frozen=True)
class Scored:
    """Photos' scores float [N, E, 2] by E emblems' symbols and keypoints, and ``spent``.

    ``spent`` float [N, 3]: milliseconds of processor time by ``STEPS``.
    """

    scores: np.ndarray
    spent: np.ndarray


def score_photos(emblems: Sequence[Emblem], photos: Iterable[Photo]) -> Scored:
    """Score photos as the product does."""
    scores, spent = [], []
    for photo in photos:
        times = [time.process_time()]
        prepared = prepare_for_symbols(photo)
        matches = [find_match(one.gallery.symbols, prepared) for one in emblems]
        times.append(time.process_time())
        seen = detect_photo(photo.pixels)
        times.append(time.process_time())
        placed = [find_keypoints(one.bank, seen) for one in emblems]
        times.append(time.process_time())
        symbols = [max(found.score, 0.0) if found else 0.0 for found in matches]
        scores.append([symbols, [found.score if found else 0.0 for found in placed]])
        spent.append(1000 * np.diff(times))
    shaped = np.array(scores, float).reshape(-1, 2, len(emblems)).transpose(0, 2, 1)
    return Scored(shaped, np.array(spent).reshape(-1, len(STEPS)))


def fit_reviews(scores: np.ndarray) -> dict[str, np.ndarray]:
    """Fit three policy files to scores [N, E, 2] of catalog photos, each with one budget.

    By ``FILES``, the score [E, ways] of each emblem from which a person is asked, as
    ``fit_galleries`` sets it.
    """
    found = {}
    for name, columns in FILES.items():
        ways = scores[:, :, list(columns)].reshape(len(scores), -1)
        shared = share_budget(list(ways.T), ways, np.zeros(len(ways), bool), budget=BUDGET)
        reviews = np.array(shared.reviews).reshape(scores.shape[1], len(columns))
        found[name] = np.maximum(reviews, [_LEAST[column] for column in columns])
    return found


def asks(scores: np.ndarray, reviews: np.ndarray, name: str) -> np.ndarray:
    """Which emblems [..., E] a file of ``FILES`` asks about, of scores [..., E, 2]."""
    return np.asarray((scores[..., list(FILES[name])] >= reviews).any(-1))


def measure_emblems(first: int, work: Path) -> BenchRow:
    """Six emblems in one policy file with one false-alarm budget, on train and validation photos.

    Bounds are of train photos of both sets; alarms are those of validation photos, and the emblems
    are pasted on these too. ``first`` is the seed of the first emblem. Marks with hardly a corner
    are a second file. What is scored is kept in ``work``.
    """
    emblems = [Emblem.drawn(first + number) for number in range(len(KINDS))]
    marks = [Emblem.shown(name, draw_plain_mark(name), first) for name in PLAIN_KINDS]
    row, samples = _measure(emblems, WORN, work / f"emblems-{first}")
    plain, plain_samples = _measure(marks, _PLAIN_WORN, work / f"marks-{first}")
    samples += plain_samples
    return {**row, **{f"plain_{name}": value for name, value in plain.items()}, "samples": samples}


def _measure(
    emblems: Sequence[Emblem], ways: Sequence[str], work: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    train, test, kept = (
        knob(f"PROHIBITED_{name}", n) for name, n in (("TRAIN", 400), ("TEST", 400), ("PASTES", 40))
    )
    rng = np.random.default_rng(3)
    files = {name: _files(name, data) for name, data in _SETS.items()}
    known = [file for split in files.values() for file in _some(split["train"], train // 2, rng)]
    plain = [file for split in files.values() for file in _some(split["validation"], test, rng)]
    near = _score(work / "train", emblems, [Shown(file) for file in known])
    seen = _score(work / "validation", emblems, [Shown(file) for file in plain]).scores
    reviews = fit_reviews(near.scores)
    row: BenchRow = {
        "recipe": f"{RECIPE}; one policy file of {len(emblems)} emblems, budget {BUDGET:g}, fitted "
        f"to {len(known)} train photos of both sets; {kept} validation photos of each set for each "
        "way and share, emblems in turn",
        "points": {one.name: one.points() for one in emblems},
        "cost_ms": dict(zip(STEPS, np.median(near.spent, axis=0).tolist(), strict=True)),
    }
    for name, bounds in reviews.items():
        hits = int(asks(seen, bounds, name).any(1).sum())
        row |= _share(f"alarms_{name}", hits, len(seen))
    samples: list[dict[str, Any]] = []
    for way in ways:
        for share in _SHARES:
            photos = list(_pasted(emblems, files, Worn(way, share), kept, rng))
            scored = _score(work / f"{way}-{round(100 * share)}", emblems, photos).scores
            outcomes = []
            for one, scores in zip(photos, scored, strict=True):
                outcomes.append(_judge(emblems, reviews, one, scores))
            samples += [{"way": way, "share": share, **one} for one in outcomes]
            for name in FILES:
                hits = sum(one[name] for one in outcomes)
                row |= _share(f"recall_{name}_{way}_{round(100 * share)}", hits, len(outcomes))
            log(f"{way}, {share:.0%}: {_recalls(outcomes)} of {len(outcomes)}")
    row["by_emblem"] = {one.name: _recalls_of(one.name, samples) for one in emblems}
    return row, samples


@dataclass(frozen=True)
class Worn:
    """How an emblem is worn, and the share of the photo's area that it has."""

    way: str
    share: float


@dataclass(frozen=True)
class Shown:
    """A photo as it is, or with one of the emblems, drawn from ``seed``."""

    file: Path
    emblem: int = 0
    worn: Worn | None = None
    seed: int = 0

    def open(self, emblems: Sequence[Emblem]) -> Photo:
        """Decode it, with its emblem."""
        photo = _open(self.file)
        if self.worn is None:
            return photo
        logo = emblems[self.emblem].logo
        return decode_photo(worn(photo.pixels, logo, self.worn.way, self.worn.share, self.seed))


def _score(label: Path, emblems: Sequence[Emblem], photos: Sequence[Shown]) -> Scored:
    """Score photos in portions that are kept in files named after ``label``.

    One that bears an emblem is scored by this one alone: float [N, 1, 2].
    """
    parts = []
    for start in range(0, len(photos), _PORTION):
        some = photos[start : start + _PORTION]
        file = label.with_name(f"{label.name}-{len(photos)}-{start}.npz")
        if file.exists():
            with np.load(file, allow_pickle=False) as stored:
                parts.append(Scored(stored["scores"], stored["spent"]))
            continue
        bare = all(one.worn is None for one in some)
        each = [
            score_photos(emblems if bare else [emblems[one.emblem]], [one.open(emblems)])
            for one in some
        ]
        part = _joined(each)
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        np.savez(stream, scores=part.scores, spent=part.spent)
        write_atomic(file, stream.getvalue())
        parts.append(part)
    return _joined(parts)


def _joined(parts: Sequence[Scored]) -> Scored:
    scores = np.concatenate([part.scores for part in parts])
    return Scored(scores, np.concatenate([part.spent for part in parts]))


def _pasted(
    emblems: Sequence[Emblem],
    files: dict[str, dict[str, list[Path]]],
    how: Worn,
    kept: int,
    rng: np.random.Generator,
) -> Iterator[Shown]:
    """Validation photos of each set that bear the emblems in turn."""
    for split in files.values():
        for number, file in enumerate(_some(split["validation"], kept, rng)):
            yield Shown(file, number % len(emblems), how, int(rng.integers(2**31)))


def _judge(
    emblems: Sequence[Emblem], reviews: dict[str, np.ndarray], shown: Shown, scores: np.ndarray
) -> dict[str, Any]:
    """Scores [1, 2] of the emblem that the photo bears, and which file asks about it."""
    place = shown.emblem
    found = {name: bool(asks(scores, reviews[name][place], name)[0]) for name in FILES}
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
