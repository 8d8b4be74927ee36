"""Tags of held-out products by the votes of training products: the confidences to fit and to evaluate on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from indexer.catalog.dataset import Row
from indexer.decisions.tagging import head_chances, vote_tags
from indexer.model.decision import TagParams
from indexer.training.metrics import Gallery, TagCounts, best_threshold, ranked_neighbours
from indexer.training.targets import Target

_GRID = [(k, temperature) for k in (10, 20, 40) for temperature in (0.03, 0.05, 0.1)]
_HEADS = (0.0, 0.3, 0.5, 0.7)  # the heads' share of a confidence
_SAME = 0.9  # F1 at which a tag and a head's value are the same thing
_MOST = 60  # neighbours kept per product, above the largest k of the grid


@dataclass(frozen=True)
class Photos:
    """Photos as retrieval sees them; all of one length N."""

    rows: Sequence[Row]
    vectors: np.ndarray  # float32 [N, D], unit
    pixels: np.ndarray  # [N], equal for exact copies


@dataclass(frozen=True)
class Votes:
    """Held-out products [P] and all tags [T]."""

    products: list[str]
    tags: list[str]
    actual: np.ndarray  # bool [P, T]
    hits: list[list[tuple[int, float]]]  # per product: (gallery product number, score), best first
    gallery_tags: Mapping[int, Sequence[str]]
    chances: list[dict[str, float]]  # per product: tag -> what a head says; empty without heads

    def confidence(self, params: TagParams) -> np.ndarray:
        """Confidences [P, T] in [0, 1], by the very function that serves."""
        column = {tag: number for number, tag in enumerate(self.tags)}
        out = np.zeros((len(self.products), len(self.tags)))
        for row, hits, chances in zip(out, self.hits, self.chances, strict=True):
            for suggestion in vote_tags(hits, self.gallery_tags, params, chances=chances, threshold=0.0):
                row[column[suggestion.tag]] = suggestion.confidence
        return out


def gallery_rules(queries: Photos, gallery: Photos) -> Gallery:
    """A query's own product and exact copies of its photo are not to be found."""
    number: dict[str, int] = {}
    for row in (*gallery.rows, *queries.rows):
        number.setdefault(row.product_id, len(number))
    return Gallery(
        query_group=np.array([number[row.product_id] for row in queries.rows], np.int64),
        gallery_group=np.array([number[row.product_id] for row in gallery.rows], np.int64),
        query_pixels=queries.pixels,
        gallery_pixels=gallery.pixels,
    )


def tags_by_head(rows: Sequence[Row], targets: Sequence[Target]) -> dict[str, tuple[str, int]]:
    """Which tags a head can tell: tag -> (head name, class), where the two mark the same training photos (F1 >= 0.9).

    ``targets`` have one column per row.
    """
    tags = sorted({tag for row in rows for tag in row.tags})
    column = {tag: number for number, tag in enumerate(tags)}
    tagged = np.zeros((len(rows), len(tags)), np.float32)
    for number, row in enumerate(rows):
        tagged[number, [column[tag] for tag in row.tags]] = 1
    best = np.zeros(len(tags))
    found: dict[str, tuple[str, int]] = {}
    for target in targets:
        values = np.eye(len(target.values), dtype=np.float32)[target.columns.clip(0)] * (target.columns >= 0)[:, None]
        both = values.T @ tagged
        f1 = 2 * both / np.maximum(values.sum(0)[:, None] + tagged.sum(0)[None], 1)
        for number, tag in enumerate(tags):
            place = int(f1[:, number].argmax())
            if f1[place, number] >= _SAME and f1[place, number] > best[number]:
                best[number], found[tag] = f1[place, number], (target.name, place)
    return found


def votes_of(
    queries: Photos,
    gallery: Photos,
    *,
    logits: Mapping[str, np.ndarray] | None = None,
    tag_heads: Mapping[str, tuple[str, int]] | None = None,
) -> Votes | None:
    """Neighbours of every query product that has tags; None where either side has none.

    ``logits`` (head name -> [N, C] of the query photos) and ``tag_heads`` add what the heads say of a product's photos
    on the average.
    """
    rules = gallery_rules(queries, gallery)
    gallery_tags = {
        int(group): row.tags for group, row in zip(rules.gallery_group, gallery.rows, strict=True) if row.tags
    }
    tagged = {row.product_id: row.tags for row in queries.rows if row.tags}
    if not gallery_tags or not tagged:
        return None
    best: dict[str, dict[int, float]] = {product: {} for product in tagged}
    for number, order, scores in ranked_neighbours(queries.vectors, gallery.vectors, rules):
        found = best.get(queries.rows[number].product_id)
        if found is None:
            continue
        fresh = 0
        for entry, score in zip(rules.gallery_group[order], scores, strict=True):
            group = int(entry)
            if group not in found:
                fresh += 1
            found[group] = max(found.get(group, -1.0), float(score))
            if fresh >= _MOST:
                break
    products = sorted(tagged)
    every = {tag for held in (*tagged.values(), *gallery_tags.values()) for tag in held}
    tags = sorted(every | set(tag_heads or {}))
    actual = np.zeros((len(products), len(tags)), bool)
    column = {tag: position for position, tag in enumerate(tags)}
    for position, product in enumerate(products):
        actual[position, [column[tag] for tag in tagged[product]]] = True
    place: dict[str, list[int]] = {}
    for number, row in enumerate(queries.rows):
        place.setdefault(row.product_id, []).append(number)
    chances = [
        head_chances({name: values[place[product]].mean(0) for name, values in (logits or {}).items()}, tag_heads or {})
        for product in products
    ]
    hits = [sorted(best[product].items(), key=lambda hit: (-hit[1], hit[0]))[:_MOST] for product in products]
    return Votes(products, tags, actual, hits, gallery_tags, chances)


def fit_tags(votes: Votes | None) -> tuple[TagParams, float | None]:
    """k, temperature, heads' share and threshold of best micro-F1 on validation products; defaults without tags."""
    chosen, best = TagParams(), -1.0
    if votes is None:
        return chosen, None

    def tried(params: TagParams) -> tuple[TagParams, float]:
        confidence = votes.confidence(params)
        threshold = best_threshold(votes.actual, confidence)
        if threshold is None:
            return params, -1.0
        return replace(params, threshold=threshold), float(TagCounts(votes.actual, confidence >= threshold).micro()[2])

    for k, temperature in _GRID:
        params, f1 = tried(TagParams(k, temperature, 0.0))
        if f1 > best:
            chosen, best = params, f1
    if any(votes.chances):
        for share in _HEADS[1:]:
            params, f1 = tried(replace(chosen, heads=share))
            if f1 > best:
                chosen, best = params, f1
    return chosen, best if best >= 0 else None


def fit_equal_votes(votes: Votes, k: int = 10) -> TagParams:
    """The plain baseline: k nearest products, equal votes, one threshold fixed on validation."""
    params = TagParams(k=k, temperature=1e6, threshold=0.0)
    threshold = best_threshold(votes.actual, votes.confidence(params))
    return replace(params, threshold=0.5 if threshold is None else threshold)
