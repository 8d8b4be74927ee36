"""Figures of search: same-category retrieval, agreement of attributes, and finding a re-shot
photo's original."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from indexer.catalog.attributes import COLOUR_COLUMNS, MAX_VALUES
from indexer.catalog.dataset import DatasetRow
from indexer.core.errors import CatalensError
from indexer.evaluation.classification_metrics import product_weights
from indexer.evaluation.results import FigureGroup, Nearest
from indexer.imaging.decode import Photo
from indexer.imaging.parallel import decode_all
from indexer.imaging.recapture import recapture
from indexer.model.runtime_base import Runtime
from indexer.training.feature_cache import OnCached
from indexer.training.metrics import average_precision, hit_at_k, mean_intervals, ranked_neighbours
from indexer.training.tag_samples import TaggedPhotos, gallery_rules

JOINT = "category+colour"
_NEAREST = 10
_BATCH = 64


def retrieval_figures(
    queries: TaggedPhotos, gallery: TaggedPhotos, types: Mapping[str, Any]
) -> tuple[FigureGroup, Nearest]:
    """Same-category search, the agreement of attributes among the ten nearest, and the ten nearest
    themselves."""
    attributes = _attributes(queries, gallery, types)
    columns = {name: (values(queries), values(gallery)) for name, values in attributes.items()}
    number_of: dict[Any, int] = {}
    labels = np.array(
        [number_of.setdefault(row.category, len(number_of)) for row in gallery.rows], np.int64
    )
    hits: dict[str, list[float]] = {"hit_rate_at_1": [], "hit_rate_at_10": [], "map": []}
    labelled: list[int] = []
    asked: dict[str, list[int]] = {name: [] for name in columns}  # queries that have the attribute
    agreement: dict[str, list[float]] = {name: [] for name in columns}
    first: dict[str, list[float]] = {name: [] for name in columns}
    nearest = Nearest(
        np.full((len(queries.rows), _NEAREST), -1, np.int64),
        np.zeros((len(queries.rows), _NEAREST), np.float32),
    )
    for number, order, scores in ranked_neighbours(
        queries.vectors, gallery.vectors, gallery_rules(queries, gallery)
    ):
        top = order[:_NEAREST]
        nearest.numbers[number, : len(top)] = top
        nearest.scores[number, : len(top)] = scores[:_NEAREST]
        category = queries.rows[number].category
        if len(order) == 0:
            continue
        if category is not None:
            relevant = labels[order] == number_of.get(category, -1)
            labelled.append(number)
            hits["hit_rate_at_1"].append(hit_at_k(relevant, 1))
            hits["hit_rate_at_10"].append(hit_at_k(relevant, 10))
            hits["map"].append(average_precision(relevant))
        for name, (mine, theirs) in columns.items():
            if mine[number] is not None:
                same = [theirs[entry] == mine[number] for entry in top]
                asked[name].append(number)
                agreement[name].append(float(np.mean(same)))
                first[name].append(float(same[0]))
    values: dict[str, Any] = {
        name: float(np.mean(found)) if found else None for name, found in hits.items()
    }
    agreed = {name: float(np.mean(found)) for name, found in agreement.items() if found}
    values["attribute_agreement_at_10"] = agreed or None
    values["attributes"] = {
        name: {"head": None, "nn1": float(np.mean(found))}
        for name, found in first.items()
        if found and name not in ("category", JOINT)
    }
    intervals: dict[str, list[float]] = {}
    if labelled:
        weights = product_weights([queries.rows[number] for number in labelled])
        intervals |= mean_intervals(
            weights, {name: np.array(found) for name, found in hits.items()}
        )
    for name, numbers in asked.items():
        if numbers:
            measured = {f"attribute_agreement_at_10.{name}": np.array(agreement[name])}
            if name in values["attributes"]:
                measured[f"attributes.{name}.nn1"] = np.array(first[name])
            intervals |= mean_intervals(
                product_weights([queries.rows[number] for number in numbers]), measured
            )
    return FigureGroup(values, intervals), nearest


def _attributes(
    queries: TaggedPhotos, gallery: TaggedPhotos, types: Mapping[str, Any]
) -> dict[str, Callable[[TaggedPhotos], list[Any]]]:
    """Name -> the column of its values: text and bool attributes with few values, the category,
    both with colour."""

    def column(name: str) -> Callable[[TaggedPhotos], list[Any]]:
        return lambda photos: [row.attributes.get(name) for row in photos.rows]

    def category(photos: TaggedPhotos) -> list[Any]:
        return [row.category for row in photos.rows]

    found: dict[str, Callable[[TaggedPhotos], list[Any]]] = {}
    for name, kind in types.items():
        if kind not in ("string", "bool"):
            continue
        present = {*column(name)(queries), *column(name)(gallery)} - {None}
        if 2 <= len(present) <= MAX_VALUES:
            found[name] = column(name)
    if any(row.category for row in queries.rows):
        colour = next((name for name in COLOUR_COLUMNS if name in found), None)
        found["category"] = category
        if colour is not None:
            paint = column(colour)

            def both(photos: TaggedPhotos) -> list[Any]:
                pairs = zip(category(photos), paint(photos), strict=True)
                return [
                    None if kind is None or shade is None else (kind, shade)
                    for kind, shade in pairs
                ]

            found[JOINT] = both
    return found


def instance_figures(
    embedder: Runtime,
    queries: TaggedPhotos,
    searched: list[TaggedPhotos],
    progress: OnCached | None,
) -> FigureGroup:
    """Does a re-shot photo find its original (or an exact copy of it) among train
    and test photos?"""
    vectors = np.concatenate([photos.vectors for photos in searched])
    pixels = np.concatenate([photos.pixels for photos in searched])
    right: list[float] = []
    rows: list[DatasetRow] = []
    batch: list[tuple[int, Photo]] = []

    def flush() -> None:
        shots = embedder.embed([recapture(photo) for _, photo in batch])
        best = np.argmax(shots @ vectors.T, axis=1)
        numbers = [number for number, _ in batch]
        right.extend((pixels[best] == queries.pixels[numbers]).astype(float).tolist())
        rows.extend(queries.rows[number] for number in numbers)
        batch.clear()
        if progress:
            progress("re-shot photos", len(right), len(queries.rows))

    originals = decode_all(
        range(len(queries.rows)), lambda number: queries.rows[number].image.read_bytes()
    )
    for number, photo in originals:
        if isinstance(photo, CatalensError):
            continue
        batch.append((number, photo))
        if len(batch) == _BATCH:
            flush()
    if batch:
        flush()
    if not right:
        return FigureGroup({"instance_hit_rate_at_1": None})
    intervals = mean_intervals(product_weights(rows), {"instance_hit_rate_at_1": np.array(right)})
    return FigureGroup({"instance_hit_rate_at_1": float(np.mean(right))}, intervals)
