"""Galleries of kinds left out of training, and their rivals on frozen features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.core.vectors import unit_rows
from indexer.imaging.decode import Photo, decode_photo
from indexer.model.spec import Block
from indexer.model.torch_runtime import TorchRuntime
from indexer.moderation.fit_galleries import CatalogSample, fit_galleries
from indexer.moderation.gallery import BannedGallery, Example, FittedGallery
from indexer.training.problem import TrainingProblem, read_problem
from tools.bench.data.fold_split import read_folds
from tools.bench.harness.framework import BenchRow, knob, real_data
from tools.bench.parts.taught_kinds import PhotoVectors, all_photos, fit_classes
from tools.doctor import installed
from tools.output import log

_SHOTS, _EPOCHS, _OUT = 5, 15, 2
# share of the photos of other kinds that reach the score at which recall is read
_ALARMS = 0.005
# name of a rival -> what it is
RIVALS = {
    "frozen": "cosine to the mean of the examples' frozen features; sees no catalog",
    "frozen_centred": "the same, features less the catalog's mean",
    "frozen_discriminant": "the product's own rule on frozen features, with the same catalog",
}
NAMES = ("gallery", *RIVALS)
_FIGURES = ("average_precision", "recall")


@dataclass(frozen=True)
class Draw:
    """One gallery of a kind that training never saw, and what is asked."""

    kind: str
    number: int
    # places of the examples; of the catalog; of the photos asked
    drawn: np.ndarray
    catalog: np.ndarray
    asked: np.ndarray
    # bool [asked]: of the kind
    truth: np.ndarray


@dataclass(frozen=True)
class UntaughtKinds:
    """A model trained without the kinds ``out``, and all P photos by it and by frozen features."""

    out: list[str]
    names: list[str]
    photos: PhotoVectors
    blocks: tuple[Block, ...]
    general: np.ndarray | None
    vectors: np.ndarray  # float32 [P, D]
    frozen: np.ndarray  # float32 [P, F], unit

    def draws(self, count: int) -> Iterator[Draw]:
        """Draw ``count`` galleries of each kind left out, of its train photos."""
        catalog = self.photos.of("train", [name for name in self.names if name not in self.out])
        asked = self.photos.of("test", self.names)
        for name in self.out:
            truth = self.photos.label[asked] == name
            for number in range(count):
                rng = np.random.default_rng([number, self.names.index(name)])
                drawn = rng.choice(self.photos.of("train", [name]), _SHOTS, replace=False)
                yield Draw(name, number, drawn, catalog, asked, truth)

    def fit(self, draw: Draw, vectors: np.ndarray, *, frozen: bool) -> FittedGallery:
        """Fit the draw's gallery by its vectors [P, D], as the product does."""
        shown = tuple(self._example(int(place)) for place in draw.drawn)
        place_of = {
            one.photo.content_hash: place for one, place in zip(shown, draw.drawn, strict=True)
        }

        def embed(given: Sequence[Photo]) -> np.ndarray:
            return vectors[[place_of[one.content_hash] for one in given]]

        _, groups = np.unique(self.photos.label[draw.catalog], return_inverse=True)
        return fit_galleries(
            {draw.kind: BannedGallery(examples=shown, match=("whole",))},
            embed,
            (Block("g", vectors.shape[1], 1.0),) if frozen else self.blocks,
            CatalogSample(vectors[draw.catalog], groups, ()),
            general=None if frozen else self.general,
        ).galleries[draw.kind]

    def judge(self, draw: Draw) -> dict[str, Any]:
        """Figures of one draw, of the product and of each rival."""
        fitted = self.fit(draw, self.vectors, frozen=False)
        scores = fitted.scores(self.vectors[draw.asked])
        bounds = fitted.bounds["whole"]
        blocked = scores >= (np.inf if bounds.block is None else bounds.block)
        reviewed = scores >= bounds.review
        ranked = {"gallery": scores, **self._rivals(draw)}
        return {
            "class": draw.kind,
            "draw": draw.number,
            "asked": len(draw.asked),
            "of_class": int(draw.truth.sum()),
            **{name: _figures(draw.truth, found) for name, found in ranked.items()},
            "reviewed_of_class": float(reviewed[draw.truth].mean()),
            "reviewed_of_known": float(reviewed[~draw.truth].mean()),
            "blocked_right": int((blocked & draw.truth).sum()),
            "blocked_wrong": int((blocked & ~draw.truth).sum()),
        }

    def _rivals(self, draw: Draw) -> dict[str, np.ndarray]:
        """Score the photos asked by each rival."""
        centred = unit_rows(self.frozen - self.frozen[draw.catalog].mean(0))
        return {
            "frozen": self.frozen[draw.asked] @ self.frozen[draw.drawn].mean(0),
            "frozen_centred": centred[draw.asked] @ centred[draw.drawn].mean(0),
            "frozen_discriminant": self.fit(draw, self.frozen, frozen=True).scores(
                self.frozen[draw.asked]
            ),
        }

    def _example(self, place: int) -> Example:
        file = self.photos.features.rows[place].image
        return Example(file.name, decode_photo(file.read_bytes()))


def measure_galleries(work: Path, *, folds: bool) -> BenchRow:
    """Leave each clothing kind out of training once; a gallery of 5 of its photos.

    Asked are the test photos, or, with ``folds``, train and validation photos that trained nothing.
    """
    draws = knob("PROHIBITED_DRAWS", 5)
    samples: list[dict[str, Any]] = []
    problems = _fold_problems() if folds else [read_problem(real_data("clothing"), 0)]
    for number, problem in enumerate(problems):
        for untaught in left_out(work / f"{'fold' if folds else 'test'}-{number}", problem):
            samples.extend(
                {"fold": number, **untaught.judge(draw)} for draw in untaught.draws(draws)
            )
            log(f"without {', '.join(untaught.out)}: {_progress(samples)}")
    asked = (
        f"the photos of {len(problems)} of five folds of all train and validation photos"
        if folds
        else "all test photos"
    )
    return {
        "recipe": f"each clothing class left out of training once ({_OUT} at a time, recipe "
        f"linear, {_EPOCHS} epochs); a gallery of {_SHOTS} of its train photos, {draws} draws; "
        f"asked: {asked}; recall at the score that .5% of those of other classes reach",
        "rivals": RIVALS,
        "peer_version": installed("timm"),
        **summarize(samples),
        "samples": samples,
    }


def summarize(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the classes; differences to the fair rival, paired by class."""
    kinds = sorted({one["class"] for one in samples})
    row: dict[str, Any] = {}
    for what in _FIGURES:
        by_class = {kind: _means(samples, kind, what) for kind in kinds}
        for name in NAMES:
            row[f"{name}_{what}"] = float(np.mean([one[name] for one in by_class.values()]))
        gain = np.array([one["gallery"] - one["frozen_discriminant"] for one in by_class.values()])
        row[f"gain_{what}"] = float(gain.mean())
        # draws of one class are not independent, classes are
        spread = float(gain.std(ddof=1)) if len(gain) > 1 else float("nan")
        row[f"gain_{what}_standard_error"] = spread / len(gain) ** 0.5
        row[f"by_class_{what}"] = by_class
    ours = row["gallery_average_precision"]
    row["ratio"] = ours / row["frozen_discriminant_average_precision"]
    row["ratio_to_frozen"] = ours / row["frozen_average_precision"]
    for name in ("reviewed_of_class", "reviewed_of_known"):
        row[name] = float(np.mean([one[name] for one in samples]))
    return {**row, **block_figures(samples)}


def block_figures(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of all that was blocked, the share that should be; None where nothing was."""
    right = sum(one["blocked_right"] for one in samples)
    wrong = sum(one["blocked_wrong"] for one in samples)
    return {
        "blocked_right": right,
        "blocked_wrong": wrong,
        **({"block_precision": right / (right + wrong)} if right + wrong else {}),
    }


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean, over the positives, of the precision at their rank (ties in the order given)."""
    ranked = truth[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())


def recall_at_alarms(truth: np.ndarray, scores: np.ndarray) -> float:
    """Share of the true ones above the score that .5% of the others reach."""
    return float((scores[truth] > np.quantile(scores[~truth], 1 - _ALARMS)).mean())


def left_out(work: Path, problem: TrainingProblem) -> Iterator[UntaughtKinds]:
    """Train a model without each two kinds of clothing."""
    names = sorted({row.category[-1] for row in problem.rows if row.category})
    order = [names[place] for place in np.random.default_rng(0).permutation(len(names))]
    for start in range(0, len(order), _OUT):
        out = order[start : start + _OUT]
        known = [name for name in names if name not in out]
        bundle = fit_classes(work / f"without-{'-'.join(out)}", problem, known, epochs=_EPOCHS)
        runtime = TorchRuntime(bundle.network())
        photos = all_photos(problem, bundle)
        values = photos.features.values
        frozen = values[:, : bundle.spec.feature_dim].astype(np.float32)
        vectors = runtime.embed_features(values)
        general = bundle.general_spread()
        yield UntaughtKinds(
            out, names, photos, bundle.spec.blocks, general, vectors, unit_rows(frozen)
        )


def _fold_problems() -> list[TrainingProblem]:
    """The data of each fold that is asked for, test photos left out."""
    data = real_data("clothing")
    problem, folds = read_problem(data, 0), read_folds(data)
    found = []
    for number in range(knob("PROHIBITED_FOLDS", 2)):
        products = [row.product_id for row in folds.rows]
        split = dict(zip(products, folds.split(number).tolist(), strict=True))
        found.append(replace(problem, rows=folds.rows, split=split))
    return found


def _figures(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    return {
        "average_precision": average_precision(truth, scores),
        "recall": recall_at_alarms(truth, scores),
    }


def _means(samples: Sequence[dict[str, Any]], kind: str | None, what: str) -> dict[str, float]:
    """Mean of one figure over the draws of a kind, or of all, by rival."""
    of_kind = [one for one in samples if kind in (None, one["class"])]
    found = {}
    for name in NAMES:
        found[name] = float(np.mean([one[name][what] for one in of_kind]))
    return found


def _progress(samples: Sequence[dict[str, Any]]) -> str:
    precision, recall = (_means(samples, None, what) for what in _FIGURES)
    return ", ".join(f"{name} {precision[name]:.3f} {recall[name]:.3f}" for name in NAMES)
