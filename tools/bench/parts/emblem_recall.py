"""Emblems on cloth: what the search for symbols finds of each way they are worn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from indexer.core.proportions import clopper_pearson
from indexer.imaging.decode import Photo, decode_photo
from indexer.model.spec import Block
from indexer.moderation.alarm_budget import BUDGET
from indexer.moderation.fit_galleries import CatalogSample, fit_galleries
from indexer.moderation.gallery import BannedGallery, Example, prepare_for_symbols
from indexer.moderation.template_matching import PreparedPhoto, find_match
from indexer.training.problem import read_problem
from tools.bench.data.logos import KINDS, draw_logo, examples
from tools.bench.data.worn_emblems import RECIPE, WORN, worn
from tools.bench.harness.framework import BenchRow, knob, real_data
from tools.output import log

_SHARES = (0.10, 0.25)
_SETS = {"fashion": "fashion/products.csv", "clothing": "clothing"}
_ONE_BLOCK = (Block("g", 1, 1.0),)


@dataclass(frozen=True)
class Emblem:
    """A drawn emblem and the gallery that a shop would make of it."""

    name: str
    logo: Image.Image
    gallery: BannedGallery

    @classmethod
    def drawn(cls, seed: int) -> Emblem:
        """Draw an emblem and five photos of it."""
        logo = draw_logo(seed)
        photos = [decode_photo(data) for data in examples(logo, seed)]
        shown = tuple(Example(f"{number}.jpg", photo) for number, photo in enumerate(photos))
        name = KINDS[seed % len(KINDS)]
        return cls(name, logo, BannedGallery(examples=shown, match=("symbol",)))

    def score(self, seen: PreparedPhoto) -> float:
        """How well the best place of a photo matches."""
        found = find_match(self.gallery.symbols, seen)
        return max(found.score, 0.0) if found else 0.0


def fit_reviews(emblems: Sequence[Emblem], catalog: Sequence[Photo]) -> dict[str, float]:
    """Fit one policy file of all emblems: the score of each from which a person is asked."""
    sample = CatalogSample(np.zeros((0, 1), np.float32), np.zeros(0, np.int64), enumerate(catalog))
    galleries = {one.name: one.gallery for one in emblems}
    fitted = fit_galleries(galleries, _no_network, _ONE_BLOCK, sample, budget=BUDGET)
    return {name: one.bounds["symbol"].review for name, one in fitted.galleries.items()}


def measure_emblems(first: int) -> BenchRow:
    """Six emblems in one policy file with one false-alarm budget, on train and validation photos.

    Bounds are of train photos of both sets; alarms are those of validation photos, and the emblems
    are pasted on these too. ``first`` is the seed of the first emblem.
    """
    train, test, kept = (
        knob(f"PROHIBITED_{name}", n) for name, n in (("TRAIN", 400), ("TEST", 400), ("PASTES", 40))
    )
    rng = np.random.default_rng(3)
    files = {name: _files(name, data) for name, data in _SETS.items()}
    emblems = [Emblem.drawn(first + number) for number in range(len(KINDS))]
    known = [file for split in files.values() for file in _some(split["train"], train // 2, rng)]
    reviews = fit_reviews(emblems, [_open(file) for file in known])
    row: BenchRow = {
        "recipe": f"{RECIPE}; one policy file of {len(emblems)} emblems, budget {BUDGET:g}, fitted "
        f"to {len(known)} train photos of both sets; {kept} validation photos of each set for each "
        "way and share, emblems in turn",
        "reviews": reviews,
    }
    for name, split in files.items():
        seen = [prepare_for_symbols(_open(file)) for file in _some(split["validation"], test, rng)]
        row |= _share(f"alarms_{name}", _alarms(emblems, reviews, seen), len(seen))
    samples = []
    for way in WORN:
        for share in _SHARES:
            outcomes = []
            for name, split in files.items():
                for number, file in enumerate(_some(split["validation"], kept, rng)):
                    emblem = emblems[number % len(emblems)]
                    data = worn(
                        _open(file).pixels, emblem.logo, way, share, int(rng.integers(2**31))
                    )
                    best = emblem.score(prepare_for_symbols(decode_photo(data)))
                    found = best >= reviews[emblem.name]
                    outcomes.append(found)
                    samples.append(_sample(way, share, name, emblem.name, best, found=found))
            row |= _share(f"recall_{way}_{round(100 * share)}", sum(outcomes), len(outcomes))
            log(f"{way}, {share:.0%} of the area: {sum(outcomes)} of {len(outcomes)} found")
    return {**row, "samples": samples}


def _alarms(
    emblems: Sequence[Emblem], reviews: dict[str, float], seen: Sequence[PreparedPhoto]
) -> int:
    """How many ordinary photos any emblem would be asked about."""
    asked = np.zeros(len(seen), bool)
    for one in emblems:
        asked |= np.array([one.score(photo) >= reviews[one.name] for photo in seen])
    return int(asked.sum())


def _sample(
    way: str, share: float, data: str, emblem: str, best: float, *, found: bool
) -> dict[str, Any]:
    where = {"way": way, "share": share, "set": data, "emblem": emblem}
    return {**where, "score": round(best, 4), "found": found}


def _share(name: str, hits: int, size: int) -> dict[str, Any]:
    """A share and its interval."""
    return {name: hits / size, f"{name}_interval": clopper_pearson(hits, size)}


def _no_network(photos: Sequence[Photo]) -> np.ndarray:
    raise AssertionError("symbols need no vectors")


def _files(name: str, data: str) -> dict[str, list[Path]]:
    """Photos of a set's train and validation products."""
    problem = read_problem(real_data(name) / data.partition("/")[2], 0)
    train = [row.image for row in problem.of("train")]
    return {"train": train, "validation": [row.image for row in problem.of("validation")]}


def _some(files: Sequence[Path], most: int, rng: np.random.Generator) -> list[Path]:
    return [files[place] for place in rng.permutation(len(files))[:most]]


def _open(file: Path) -> Photo:
    return decode_photo(file.read_bytes())
