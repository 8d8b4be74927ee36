"""``evaluate``: a model against held-out photos; every figure of the contract, with 95% intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.dataset import SPLITS, Row
from indexer.decisions.calibration import expected_calibration_error, probabilities
from indexer.decoding import decode_all
from indexer.errors import BadRequest, CatalensError
from indexer.images import Photo
from indexer.model.backbones import build
from indexer.model.bundle import Bundle, load_bundle
from indexer.model.decision import PATH_SEPARATOR
from indexer.model.embedder import Embedder
from indexer.model.network import Network
from indexer.model.runtime import TorchRuntime
from indexer.training.data import category_columns, read_problem, require_rows
from indexer.training.features import Features, Progress, photo_features
from indexer.training.metrics import (
    TagCounts,
    average_precision,
    bootstrap_weights,
    class_counts,
    hit_at_k,
    interval,
    mean_intervals,
    ranked_neighbours,
    tag_map,
)
from indexer.training.reshot import reshoot
from indexer.training.tags import Photos, fit_equal_votes, gallery_rules, votes_of

COLOUR_COLUMNS = ("colour", "color", "base_colour", "base_color")
_MAX_ATTRIBUTE_VALUES = 200  # a text column with more is a name or a description, not an attribute to agree on
_BATCH = 64


def evaluate(
    model: Path,
    data: Path,
    *,
    split: str = "test",
    device: str = "auto",
    cache: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All figures of ``model`` on one split of ``data``; what the data or the model cannot give is None.

    Queries are the photos of ``split``, the gallery is the train photos. Raises ``BadModel``, ``BadData``.
    """
    if split not in SPLITS:
        raise BadRequest(f"unknown split {split!r}: use {', '.join(SPLITS)}")
    bundle = load_bundle(model)
    embedder = Embedder(bundle, device=device)
    problem = read_problem(data, int(bundle.training.get("seed", 0)))
    names = list(dict.fromkeys(["train", "validation", split]))
    wanted = [row for name in names for row in problem.of(name)]
    require_rows(problem.of(split), split, data)
    require_rows(problem.of("train"), "train", data)
    features = photo_features(wanted, embedder, cache=cache, progress=progress)
    split_of = np.array([problem.split[row.product_id] for row in features.rows])
    sets = {name: evaluation_photos(features, embedder, split_of == name) for name in names}
    require_rows(sets[split].rows, f"readable {split}", data)
    queries, gallery = sets[split], sets["train"]

    report: dict[str, Any] = {
        "model_version": bundle.model_version,
        "embedding_id": bundle.embedding_id,
        "split": split,
        "products": len({row.product_id for row in queries.rows}),
        "gallery": len(gallery.rows),
        "notes": problem.notes,
        "skipped": [asdict(entry) for entry in (*problem.dataset.skipped, *features.skipped)],
        "intervals": {},
    }
    _add(report, _classification(bundle, embedder, queries))
    _add(report, _retrieval(queries, gallery, problem.dataset.types))
    searched = list(dict.fromkeys(["train", split]))
    _add(report, _instances(embedder, queries, [sets[name] for name in searched], progress))
    _add(report, _tags(bundle, embedder, features, sets, split, problem.split, device, cache))
    return report


@dataclass(frozen=True)
class _Part:
    values: dict[str, Any]
    intervals: dict[str, list[float]]


def _add(report: dict[str, Any], part: _Part) -> None:
    report.update(part.values)
    report["intervals"].update(part.intervals)


def evaluation_photos(features: Features, runtime: TorchRuntime, chosen: np.ndarray) -> Photos:
    """The ``chosen`` (bool [N]) photos, embedded as search has them: stored as float16."""
    numbers = np.flatnonzero(chosen)
    vectors = runtime.embed_features(features.values[numbers]).astype(np.float16).astype(np.float32)
    return Photos([features.rows[number] for number in numbers], vectors, features.pixels[numbers])


def _weights(rows: list[Row]) -> np.ndarray:
    return bootstrap_weights([row.product_id for row in rows])


def _classification(bundle: Bundle, embedder: Embedder, queries: Photos) -> _Part:
    """Over the query photos that have a category; one the model does not know counts as wrong."""
    figures = ("accuracy", "top5_accuracy", "macro_precision", "macro_recall", "macro_f1", "ece")
    keys = (*figures, "accuracy_by_level", "per_class")
    chosen = [number for number, row in enumerate(queries.rows) if row.category]
    if not bundle.spec.head("category") or not chosen:
        return _Part({"n": len(chosen), **dict.fromkeys(keys)}, {})
    rows = [queries.rows[number] for number in chosen]
    known = bundle.decision.categories
    actual = category_columns(rows, known)
    logits = embedder.logits(queries.vectors[chosen])["category"]
    chance = probabilities(logits, bundle.decision.temperature)
    order = np.argsort(-chance, axis=1, kind="stable")
    predicted, right = order[:, 0], order[:, 0] == actual
    top5 = (order[:, :5] == actual[:, None]).any(1)

    paths = [category.path for category in known]
    unknown = sorted({row.category for row in rows if row.category} - set(paths))
    numbers = {path: number for number, path in enumerate([*paths, *unknown])}
    truth = np.array([numbers[row.category] for row in rows if row.category])
    counts = class_counts(truth, predicted, len(numbers))
    weights = _weights(rows)
    resampled = class_counts(truth, predicted, len(numbers), weights)
    levels = _levels(rows, [paths[column] for column in predicted])
    per_class = {
        PATH_SEPARATOR.join(path): {
            "n": int(counts.actual[number]),
            "precision": float(counts.precision()[number]),
            "recall": float(counts.recall()[number]),
            "f1": float(counts.f1()[number]),
        }
        for path, number in numbers.items()
        if counts.actual[number] or counts.predicted[number]
    }
    macro = {
        "macro_precision": lambda found: found.macro(found.precision()),
        "macro_recall": lambda found: found.macro(found.recall()),
        "macro_f1": lambda found: found.macro(found.f1()),
    }
    values = {
        "n": len(rows),
        "accuracy": float(right.mean()),
        "top5_accuracy": float(top5.mean()),
        **{name: float(measure(counts)) for name, measure in macro.items()},
        "accuracy_by_level": None if levels is None else [float(level.mean()) for level in levels],
        "ece": expected_calibration_error(chance.max(1), right.astype(float)),
        "per_class": per_class,
    }
    intervals = mean_intervals(weights, {"accuracy": right, "top5_accuracy": top5})
    intervals |= {name: interval(measure(resampled)) for name, measure in macro.items()}
    return _Part(values, intervals)


def _levels(rows: list[Row], predicted: list[tuple[str, ...]]) -> list[np.ndarray] | None:
    """Per level of the category paths, top first: is the prediction right down to it? None where there is one level."""
    actual = [row.category or () for row in rows]
    depth = max(len(path) for path in actual)
    if depth == 1:
        return None
    return [
        np.array([guess[: level + 1] == path[: level + 1] for guess, path in zip(predicted, actual, strict=True)])
        for level in range(depth)
    ]


def _retrieval(queries: Photos, gallery: Photos, types: dict[str, Any]) -> _Part:
    """Same-category search and the agreement of attributes among the ten nearest."""
    attributes = _attributes(queries, gallery, types)
    columns = {name: (values(queries), values(gallery)) for name, values in attributes.items()}
    labels = np.array([row.category for row in gallery.rows] + [None], dtype=object)[:-1]
    hits: dict[str, list[float]] = {"hit_rate_at_1": [], "hit_rate_at_10": [], "map": []}
    labelled: list[int] = []
    agreement: dict[str, list[float]] = {name: [] for name in columns}
    nearest: dict[str, list[float]] = {name: [] for name in columns}
    for number, order, _ in ranked_neighbours(queries.vectors, gallery.vectors, gallery_rules(queries, gallery)):
        category = queries.rows[number].category
        if len(order) == 0:
            continue
        if category is not None:
            relevant = np.fromiter((labels[entry] == category for entry in order), bool, len(order))
            labelled.append(number)
            hits["hit_rate_at_1"].append(hit_at_k(relevant, 1))
            hits["hit_rate_at_10"].append(hit_at_k(relevant, 10))
            hits["map"].append(average_precision(relevant))
        for name, (mine, theirs) in columns.items():
            if mine[number] is not None:
                same = [theirs[entry] == mine[number] for entry in order[:10]]
                agreement[name].append(float(np.mean(same)))
                nearest[name].append(float(same[0]))
    values: dict[str, Any] = {name: float(np.mean(found)) if found else None for name, found in hits.items()}
    agreed = {name: float(np.mean(found)) for name, found in agreement.items() if found}
    values["attribute_agreement_at_10"] = agreed or None
    values["attributes"] = {
        name: {"head": None, "nn1": float(np.mean(found))}
        for name, found in nearest.items()
        if found and name not in ("category", "category+colour")
    }
    if not labelled:
        return _Part(values, {})
    weights = _weights([queries.rows[number] for number in labelled])
    return _Part(values, mean_intervals(weights, {name: np.array(found) for name, found in hits.items()}))


def _attributes(queries: Photos, gallery: Photos, types: dict[str, Any]) -> dict[str, Callable[[Photos], list[Any]]]:
    """Name -> the column of its values: text and bool attributes with few values, the category, both with colour."""

    def column(name: str) -> Callable[[Photos], list[Any]]:
        return lambda photos: [row.attributes.get(name) for row in photos.rows]

    def category(photos: Photos) -> list[Any]:
        return [row.category for row in photos.rows]

    found: dict[str, Callable[[Photos], list[Any]]] = {}
    for name, kind in types.items():
        if kind not in ("string", "bool"):
            continue
        present = {*column(name)(queries), *column(name)(gallery)} - {None}
        if 2 <= len(present) <= _MAX_ATTRIBUTE_VALUES:
            found[name] = column(name)
    if any(row.category for row in queries.rows):
        colour = next((name for name in COLOUR_COLUMNS if name in found), None)
        found["category"] = category
        if colour is not None:
            paint = column(colour)

            def both(photos: Photos) -> list[Any]:
                pairs = zip(category(photos), paint(photos), strict=True)
                return [None if kind is None or shade is None else (kind, shade) for kind, shade in pairs]

            found["category+colour"] = both
    return found


def _instances(embedder: Embedder, queries: Photos, searched: list[Photos], progress: Progress | None) -> _Part:
    """Does a re-shot photo find its original (or an exact copy of it) among train and test photos?"""
    vectors = np.concatenate([photos.vectors for photos in searched])
    pixels = np.concatenate([photos.pixels for photos in searched])
    right: list[float] = []
    rows: list[Row] = []
    batch: list[tuple[int, Photo]] = []

    def flush() -> None:
        shots = embedder.embed([reshoot(photo) for _, photo in batch])
        best = np.argmax(shots @ vectors.T, axis=1)
        numbers = [number for number, _ in batch]
        right.extend((pixels[best] == queries.pixels[numbers]).astype(float).tolist())
        rows.extend(queries.rows[number] for number in numbers)
        batch.clear()
        if progress:
            progress("re-shot photos", len(right), len(queries.rows))

    originals = decode_all(range(len(queries.rows)), lambda number: queries.rows[number].image.read_bytes())
    for number, photo in originals:
        if isinstance(photo, CatalensError):
            continue
        batch.append((number, photo))
        if len(batch) == _BATCH:
            flush()
    if batch:
        flush()
    if not right:
        return _Part({"instance_hit_rate_at_1": None}, {})
    intervals = mean_intervals(_weights(rows), {"instance_hit_rate_at_1": np.array(right)})
    return _Part({"instance_hit_rate_at_1": float(np.mean(right))}, intervals)


def _tags(
    bundle: Bundle,
    embedder: Embedder,
    features: Features,
    sets: dict[str, Photos],
    split: str,
    split_of: dict[str, str],
    device: str,
    cache: Path | None,
) -> _Part:
    """The model's own votes beside the plain baseline: frozen features, k = 10, equal votes, one threshold."""
    votes = votes_of(sets[split], sets["train"])
    if votes is None:
        return _Part({"tags": None}, {})
    params = bundle.decision.tags
    confidence = votes.confidence(params)
    counts = TagCounts(votes.actual, confidence >= params.threshold)
    precision, recall, f1 = (float(value) for value in counts.micro())
    values = {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "macro_f1": float(counts.macro_f1()),
        "map": tag_map(votes.actual, confidence),
        "votes_only_f1": f1,  # the linear recipe has no tag heads: votes are all there is
        "heads_only_f1": None,
        "baseline_f1": _baseline(bundle, features, split, split_of, device, cache),
    }
    weights = bootstrap_weights(votes.products)
    micro = counts.micro(weights)
    intervals = {
        "tags.precision": interval(micro[0]),
        "tags.recall": interval(micro[1]),
        "tags.f1": interval(micro[2]),
        "tags.macro_f1": interval(counts.macro_f1(weights)),
    }
    return _Part({"tags": values}, intervals)


def _baseline(
    bundle: Bundle, features: Features, split: str, split_of: dict[str, str], device: str, cache: Path | None
) -> float | None:
    """Micro-F1 of equal votes among the ten nearest by the frozen backbone's own features."""
    frozen = features
    if bundle.training.get("recipe") not in ("linear", "pretrained"):
        network = Network(bundle.spec, build(bundle.spec.backbone))
        frozen = photo_features(features.rows, TorchRuntime(network, device=device), cache=cache)
    values = frozen.values.astype(np.float32)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)

    def photos(name: str) -> Photos:
        chosen = [number for number, row in enumerate(frozen.rows) if split_of[row.product_id] == name]
        return Photos([frozen.rows[number] for number in chosen], values[chosen], frozen.pixels[chosen])

    held = votes_of(photos("validation"), photos("train"))
    tested = votes_of(photos(split), photos("train"))
    if held is None or tested is None:
        return None
    params = fit_equal_votes(held)
    return float(TagCounts(tested.actual, tested.confidence(params) >= params.threshold).micro()[2])
