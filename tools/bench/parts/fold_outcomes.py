"""Outcomes of held-out photos one by one, and the paired difference of two models' outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from indexer.catalog.attributes import COLOUR_COLUMNS
from indexer.classification.ranking import category_logits
from indexer.core.category_path import format_path
from indexer.evaluation.classification_metrics import classify
from indexer.evaluation.evaluate import evaluation_photos
from indexer.evaluation.retrieval_metrics import JOINT
from indexer.feeds.dataset import DatasetRow
from indexer.model.bundle import Bundle
from indexer.model.runtime_base import Runtime
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.colour_column import first_value
from indexer.training.feature_cache import Features, photo_features, recapture_features
from indexer.training.metrics import average_precision, bootstrap, class_counts, ranked_neighbours
from indexer.training.problem import read_problem
from indexer.training.tag_samples import TaggedPhotos, gallery_rules
from tools.bench.data.fold_split import photo_keys

RESAMPLES = 2000
_NEAREST = 10
# measures that are right or wrong
RIGHT = ("accuracy", "hit_rate_at_1")
_LEAST = 1e-12  # of a probability

# measure -> a value for each photo, None where it says nothing about that photo
PhotoValues = dict[str, list[float | None]]


@dataclass(frozen=True)
class Outcomes:
    """What one variant made of every held-out photo, with each seed; lists are of N photos."""

    photos: list[str]
    groups: list[str]  # what is resampled together
    truth: list[str]
    predicted: dict[str, list[str]]  # seed -> category
    values: dict[str, PhotoValues] = field(default_factory=dict)  # seed -> measures

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Outcomes:
        return cls(**{name: document[name] for name in cls.__dataclass_fields__})

    def of(self, places: Sequence[int], seeds: Sequence[str]) -> Outcomes:
        """Select photos and seeds."""

        def some(values: Sequence[Any]) -> list[Any]:
            return [values[place] for place in places]

        def columns(seed: str) -> PhotoValues:
            return {name: some(column) for name, column in self.values[seed].items()}

        return Outcomes(
            some(self.photos),
            some(self.groups),
            some(self.truth),
            {seed: some(self.predicted[seed]) for seed in seeds},
            {seed: columns(seed) for seed in seeds},
        )


def merged(parts: Sequence[Outcomes]) -> Outcomes:
    """Put folds and seeds together: one row for each photo."""
    groups: dict[str, str] = {}
    truth: dict[str, str] = {}
    predicted: dict[str, dict[str, str]] = {}
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for part in parts:
        groups |= dict(zip(part.photos, part.groups, strict=True))
        truth |= dict(zip(part.photos, part.truth, strict=True))
        for seed, names in part.predicted.items():
            predicted.setdefault(seed, {}).update(zip(part.photos, names, strict=True))
            for name, column in part.values[seed].items():
                by_photo = found.setdefault(seed, {}).setdefault(name, {})
                by_photo.update(zip(part.photos, column, strict=True))
    photos = sorted(truth)
    values: dict[str, PhotoValues] = {seed: {} for seed in predicted}
    for seed, measures in found.items():
        for name, by_photo in measures.items():
            values[seed][name] = [by_photo.get(photo) for photo in photos]
    return Outcomes(
        photos,
        [groups[photo] for photo in photos],
        [truth[photo] for photo in photos],
        {seed: list(map(names.__getitem__, photos)) for seed, names in predicted.items()},
        values,
    )


def outcomes_of(
    bundle: Bundle,
    manifest: Path,
    groups: Mapping[str, str],
    *,
    seed: int,
    cache: Path | None = None,
    recaptures: int = 0,
) -> Outcomes:
    """Judge a model on the test photos of ``manifest``; its gallery is the train photos.

    ``groups``: photo key -> what is resampled together. ``recaptures``: that many held-out photos
    at most are taken again and looked for among all.
    """
    problem = read_problem(manifest, 0)
    runtime = TorchRuntime(bundle.network())
    rows = problem.of("train") + problem.of("test")
    features = photo_features(rows, runtime, cache=cache)
    held_out = np.array([problem.split[row.product_id] == "test" for row in features.rows])
    queries = evaluation_photos(features, runtime, held_out)
    gallery = evaluation_photos(features, runtime, ~held_out)
    logits = runtime.logits(queries.vectors)
    values, predicted = _classified(bundle, logits, queries)
    learnt = bundle.training.get("colour_attribute")
    values |= _retrieved(queries, gallery, tuple(bundle.decision.attributes), learnt)
    if recaptures:
        values["recapture"] = _retaken(
            runtime, features, queries, gallery, held_out, recaptures, cache
        )
    keys = photo_keys(queries.rows)
    truth = [format_path(row.category) if row.category else "" for row in queries.rows]
    return Outcomes(
        keys, [groups[key] for key in keys], truth, {str(seed): predicted}, {str(seed): values}
    )


def figures(outcomes: Outcomes) -> dict[str, Any]:
    """Each measure's mean over photos and seeds, its 95% interval and its value by seed."""
    drawn = bootstrap(outcomes.groups, resamples=RESAMPLES)
    found: dict[str, Any] = {}
    for name, by_seed in _columns(outcomes).items():
        mean, low, high = _interval(_over_seeds(by_seed), drawn.weights)
        found[name] = {
            "value": mean,
            "interval": [low, high],
            "seeds": [float(np.nanmean(column)) for column in by_seed],
        }
    macro = _macro_f1(outcomes, drawn.weights)
    found["macro_f1"] = {
        "value": float(macro[0].mean()),
        "interval": _percentiles(macro[1].mean(0)),
        "seeds": macro[0].tolist(),
    }
    return found


def difference(first: Outcomes, second: Outcomes) -> dict[str, Any]:
    """Compare ``second`` with ``first`` photo by photo, over the photos and seeds that both have.

    By measure the difference of means with its 95% interval (paired bootstrap by product); where a
    photo is right or wrong, how many are right with one alone in most of the seeds, and the p-value
    of McNemar's exact test.
    """
    first, second = _common(first, second)
    if not first.photos or not first.predicted:
        return {}
    drawn = bootstrap(first.groups, resamples=RESAMPLES)
    before = _columns(first)
    found: dict[str, Any] = {}
    for name, by_seed in _columns(second).items():
        if name not in before:
            continue
        gained = _over_seeds(by_seed) - _over_seeds(before[name])
        mean, low, high = _interval(gained, drawn.weights)
        found[name] = {"difference": mean, "interval": [low, high]}
        if name in RIGHT or name.endswith(("_head", "_nn1")):
            found[name] |= mcnemar(_over_seeds(before[name]) > 0.5, _over_seeds(by_seed) > 0.5)
    ours, theirs = _macro_f1(second, drawn.weights), _macro_f1(first, drawn.weights)
    found["macro_f1"] = {
        "difference": float(ours[0].mean() - theirs[0].mean()),
        "interval": _percentiles(ours[1].mean(0) - theirs[1].mean(0)),
    }
    return {"photos": len(first.photos), "seeds": sorted(first.predicted), **found}


def mcnemar(before: np.ndarray, after: np.ndarray) -> dict[str, float | int]:
    """McNemar's exact test of two models' right photos, bool [N] both.

    >>> mcnemar(np.array([True, False, False]), np.array([True, True, True]))
    {'gained': 2, 'lost': 0, 'p': 0.5}
    """
    gained = int((after & ~before).sum())
    lost = int((before & ~after).sum())
    p = 1.0 if gained + lost == 0 else float(binomtest(gained, gained + lost).pvalue)
    return {"gained": gained, "lost": lost, "p": p}


def _common(first: Outcomes, second: Outcomes) -> tuple[Outcomes, Outcomes]:
    """Reduce both to the photos and seeds that both have."""
    place = {photo: number for number, photo in enumerate(second.photos)}
    mine = [number for number, photo in enumerate(first.photos) if photo in place]
    seeds = [seed for seed in first.predicted if seed in second.predicted]
    others = [place[first.photos[number]] for number in mine]
    return first.of(mine, seeds), second.of(others, seeds)


def _columns(outcomes: Outcomes) -> dict[str, np.ndarray]:
    """Measure -> float [seeds, N], NaN where it says nothing; those that every seed has."""
    tables = list(outcomes.values.values())
    shared = set(tables[0]).intersection(*tables)
    found = {}
    for name in filter(shared.__contains__, tables[0]):
        found[name] = np.array([table[name] for table in tables], float)
    return found


def _over_seeds(values: np.ndarray) -> np.ndarray:
    """Means over the seeds [N] of values [seeds, N]; NaN where none says anything."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(0)
    return np.divide(total, known.sum(0), out=np.full(len(total), np.nan), where=known.any(0))


def _interval(values: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """Mean of values [N] without NaN, and its bounds by resampling [B, N]."""
    known = np.isfinite(values)
    chosen = weights[:, known]
    means = chosen @ values[known] / np.maximum(chosen.sum(1), _LEAST)
    low, high = _percentiles(means)
    return float(values[known].mean()), low, high


def _percentiles(drawn: np.ndarray) -> list[float]:
    return [float(bound) for bound in np.percentile(drawn, (2.5, 97.5))]


def _macro_f1(outcomes: Outcomes, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Macro-F1 of each seed [S], and of its resamples [S, B]."""
    used = np.array([bool(truth) for truth in outcomes.truth])
    names = sorted(set(outcomes.truth).union(*outcomes.predicted.values()))
    number = {name: place for place, name in enumerate(names)}
    truth = np.array([number[name] for name in outcomes.truth])[used]
    plain = []
    drawn = []
    for found in outcomes.predicted.values():
        predicted = np.array([number[name] for name in found])[used]
        counts = class_counts(truth, predicted, len(names))
        plain.append(float(counts.macro(counts.f1())))
        resampled = class_counts(truth, predicted, len(names), weights[:, used])
        drawn.append(resampled.macro(resampled.f1()))
    return np.array(plain), np.stack(drawn)


def _classified(
    bundle: Bundle, logits: dict[str, np.ndarray], queries: TaggedPhotos
) -> tuple[PhotoValues, list[str]]:
    """Right or wrong by each head, -log of the true category's probability, the category found."""
    count = len(queries.rows)
    values: PhotoValues = {"accuracy": [None] * count, "nll": [None] * count}
    predicted = [""] * count
    found = None
    if bundle.decision.categories:
        scores = category_logits(logits.get("category"), queries.vectors, bundle.decision)
        found = classify(bundle, scores, queries)
    if found is not None:
        for place, number in enumerate(found.numbers.tolist()):
            label = int(found.predicted[place])
            predicted[number] = format_path(found.names[label])
            values["accuracy"][number] = float(label == found.truth[place])
            if found.known[place]:
                chance = float(found.probabilities[place, found.truth[place]])
                values["nll"][number] = round(-float(np.log(max(chance, _LEAST))), 5)
    for name, names in bundle.decision.attributes.items():
        given = [first_value(row.attributes.get(name)) for row in queries.rows]
        best = logits[name].argmax(1)
        values[f"{name}_head"] = [
            None if value is None else float(names[label] == value)
            for value, label in zip(given, best.tolist(), strict=True)
        ]
    return values, predicted


def _retrieved(
    queries: TaggedPhotos, gallery: TaggedPhotos, attributes: Sequence[str], learnt: str | None
) -> PhotoValues:
    """Same kind first, average precision, attributes of the nearest, agreement of the ten nearest.

    A photo of its own product and an exact copy are not to be found. ``learnt``: the attribute that
    the model takes for the colour; without one, a colour's name.
    """
    colour = next((name for name in (learnt, *COLOUR_COLUMNS) if name in attributes), None)
    readers = {name: _attribute_values(queries, gallery, name) for name in attributes}
    readers["category"] = _joint_values(queries, gallery, None)
    if colour is not None:
        readers[JOINT] = _joint_values(queries, gallery, colour)
    values: PhotoValues = {"hit_rate_at_1": [], "map": []}
    values |= {f"{name}_nn1": [] for name in attributes}
    values |= {f"{name}@10": [] for name in ("category", JOINT) if name in readers}
    rules = gallery_rules(queries, gallery)
    for number, order, _ in ranked_neighbours(queries.vectors, gallery.vectors, rules):
        same = {
            name: None if asked[number] is None else there[order] == asked[number]
            for name, (asked, there) in readers.items()
        }
        kind = same["category"]
        values["hit_rate_at_1"].append(None if kind is None else float(kind[0]))
        values["map"].append(None if kind is None else round(average_precision(kind), 5))
        for name in attributes:
            relevant = same[name]
            values[f"{name}_nn1"].append(None if relevant is None else float(relevant[0]))
        for name in ("category", JOINT):
            if name in readers:
                near = same[name]
                share = None if near is None else float(near[:_NEAREST].mean())
                values[f"{name}@10"].append(share)
    return values


def _attribute_values(
    queries: TaggedPhotos, gallery: TaggedPhotos, name: str
) -> tuple[list[Any], np.ndarray]:
    asked = [first_value(row.attributes.get(name)) for row in queries.rows]
    return asked, np.array([first_value(row.attributes.get(name)) for row in gallery.rows], object)


def _joint_values(
    queries: TaggedPhotos, gallery: TaggedPhotos, colour: str | None
) -> tuple[list[Any], np.ndarray]:
    """Category, with ``colour`` and that column, as one text; None where one is missing."""

    def text(row: DatasetRow) -> str | None:
        if row.category is None:
            return None
        if colour is None:
            return format_path(row.category)
        shade = first_value(row.attributes.get(colour))
        return None if shade is None else f"{format_path(row.category)}\n{shade}"

    found = np.array([text(row) for row in gallery.rows], object)
    return [text(row) for row in queries.rows], found


def _retaken(
    runtime: Runtime,
    features: Features,
    queries: TaggedPhotos,
    gallery: TaggedPhotos,
    held_out: np.ndarray,
    limit: int,
    cache: Path | None,
) -> list[float | None]:
    """Whether a simulated recapture's nearest of all photos is its photo, of a draw of photos."""
    taken = recapture_features(features, runtime, [(held_out, limit)], cache=cache)
    asked = runtime.embed_features(taken.values)
    pixels = np.concatenate([queries.pixels, gallery.pixels])
    vectors = np.concatenate([queries.vectors, gallery.vectors])
    number = np.cumsum(held_out) - 1
    found: list[float | None] = [None] * len(queries.rows)
    best = (asked @ vectors.T).argmax(1)
    for place, nearest in zip(number[taken.places].tolist(), best.tolist(), strict=True):
        found[place] = float(pixels[nearest] == queries.pixels[place])
    return found
