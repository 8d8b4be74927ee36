"""Retrieval metrics: same category, agreement of attributes, recaptured instances."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.attributes import COLOUR_COLUMNS, MAX_VALUES
from indexer.core.progress import OnStage, no_progress
from indexer.evaluation.classification_metrics import by_product
from indexer.evaluation.results import FigureGroup, Nearest
from indexer.model.runtime_base import Runtime
from indexer.training.colour_column import first_value
from indexer.training.feature_cache import photo_features
from indexer.training.metrics import average_precision, hit_at_k, ranked_neighbours
from indexer.training.tag_samples import TaggedPhotos, gallery_rules

JOINT = "category+colour"
_NEAREST = 10
_BATCH = 64


def retrieval_figures(
    queries: TaggedPhotos,
    gallery: TaggedPhotos,
    types: Mapping[str, Any],
    *,
    colour: str | None = None,
) -> tuple[FigureGroup, Nearest]:
    """Same-category search, the agreement of attributes among the ten nearest, and the ten nearest
    themselves.

    ``colour``: the attribute that the model takes for the colour; without one, a colour's name.
    """
    attributes = {
        name: _Agreement(values(queries), values(gallery))
        for name, values in _attributes(queries, gallery, types, colour).items()
    }
    same = _SameCategory(queries, gallery)
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
        if len(order) == 0:
            continue
        same.add(number, order)
        for agreement in attributes.values():
            agreement.add(number, top)
    return _sum_up(queries, same, attributes), nearest


class _SameCategory:
    """Same-category figures, query by query."""

    def __init__(self, queries: TaggedPhotos, gallery: TaggedPhotos) -> None:
        self._queries = queries
        self._number_of: dict[Any, int] = {}
        labels = [
            self._number_of.setdefault(row.category, len(self._number_of)) for row in gallery.rows
        ]
        self._labels = np.array(labels, np.int64)
        # numbers of the queries that have a category
        self.asked: list[int] = []
        self.found: dict[str, list[float]] = {"hit_rate_at_1": [], "hit_rate_at_10": [], "map": []}

    def add(self, number: int, order: np.ndarray) -> None:
        """Count the query ``number``; ``order``: gallery numbers, best first."""
        category = self._queries.rows[number].category
        if category is None:
            return
        relevant = self._labels[order] == self._number_of.get(category, -1)
        self.asked.append(number)
        self.found["hit_rate_at_1"].append(hit_at_k(relevant, 1))
        self.found["hit_rate_at_10"].append(hit_at_k(relevant, 10))
        self.found["map"].append(average_precision(relevant))


class _Agreement:
    """Agreement of one attribute among the ten nearest, query by query."""

    def __init__(self, asked: list[Any], gallery: list[Any]) -> None:
        self._asked_values = asked
        self._gallery_values = gallery
        # numbers of the queries that have the attribute
        self.asked: list[int] = []
        self.shares: list[float] = []
        self.first: list[float] = []

    def add(self, number: int, top: np.ndarray) -> None:
        """Count the query ``number``; ``top``: the nearest gallery numbers, at least one."""
        value = self._asked_values[number]
        if value is None:
            return
        same = [self._gallery_values[entry] == value for entry in top]
        self.asked.append(number)
        self.shares.append(float(np.mean(same)))
        self.first.append(float(same[0]))


def _sum_up(
    queries: TaggedPhotos, same: _SameCategory, attributes: Mapping[str, _Agreement]
) -> FigureGroup:
    values: dict[str, Any] = {
        name: float(np.mean(found)) if found else None for name, found in same.found.items()
    }
    measured = {name: found for name, found in attributes.items() if found.asked}
    agreed = {name: float(np.mean(found.shares)) for name, found in measured.items()}
    values["attribute_agreement_at_10"] = agreed or None
    values["attributes"] = {
        name: {"head": None, "nn1": float(np.mean(found.first))}
        for name, found in measured.items()
        if name not in ("category", JOINT)
    }
    intervals: dict[str, list[float]] = {}
    if same.asked:
        hits = {name: np.array(found) for name, found in same.found.items()}
        intervals |= by_product([queries.rows[number] for number in same.asked]).means(hits)
    for name, found in measured.items():
        shares = {f"attribute_agreement_at_10.{name}": np.array(found.shares)}
        if name in values["attributes"]:
            shares[f"attributes.{name}.nn1"] = np.array(found.first)
        intervals |= by_product([queries.rows[number] for number in found.asked]).means(shares)
    return FigureGroup(values, intervals)


def _attributes(
    queries: TaggedPhotos, gallery: TaggedPhotos, types: Mapping[str, Any], colour: str | None
) -> dict[str, Callable[[TaggedPhotos], list[Any]]]:
    """Name -> the column of its values: text and bool attributes with few values, the category,
    both with colour."""

    def column(name: str) -> Callable[[TaggedPhotos], list[Any]]:
        if types[name] == "list":
            return lambda photos: [first_value(row.attributes.get(name)) for row in photos.rows]
        return lambda photos: [row.attributes.get(name) for row in photos.rows]

    def category(photos: TaggedPhotos) -> list[Any]:
        return [row.category for row in photos.rows]

    found: dict[str, Callable[[TaggedPhotos], list[Any]]] = {}
    for name, kind in types.items():
        if kind not in ("string", "bool") and name != colour:
            continue
        present = {*column(name)(queries), *column(name)(gallery)} - {None}
        if 2 <= len(present) <= MAX_VALUES:
            found[name] = column(name)
    if any(row.category for row in queries.rows):
        named = (colour, *COLOUR_COLUMNS)
        colour = next((name for name in named if name is not None and name in found), None)
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
    *,
    cache: Path | None = None,
    progress: OnStage = no_progress,
) -> FigureGroup:
    """Share of simulated recaptures whose nearest of ``searched`` is their original or an exact
    copy of it."""
    taken = photo_features(queries.rows, embedder, cache=cache, recaptured=True, progress=progress)
    if not taken.rows:
        return FigureGroup({"instance_hit_rate_at_1": None})
    vectors = np.concatenate([photos.vectors for photos in searched])
    pixels = np.concatenate([photos.pixels for photos in searched])
    original = {id(row): own for row, own in zip(queries.rows, queries.pixels, strict=True)}
    right: list[float] = []
    for start in range(0, len(taken.rows), _BATCH):
        asked = embedder.embed_features(taken.values[start : start + _BATCH].astype(np.float32))
        best = np.argmax(asked @ vectors.T, axis=1)
        own = [original[id(row)] for row in taken.rows[start : start + _BATCH]]
        right.extend((pixels[best] == own).astype(float).tolist())
    intervals = by_product(taken.rows).means({"instance_hit_rate_at_1": np.array(right)})
    return FigureGroup({"instance_hit_rate_at_1": float(np.mean(right))}, intervals)
