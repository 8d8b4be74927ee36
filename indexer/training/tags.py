"""Tags of held-out products by the votes of training products: the confidences to fit and to evaluate on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from indexer.catalog.dataset import Row
from indexer.decisions.tagging import vote_tags
from indexer.model.decision import TagParams
from indexer.training.metrics import Gallery, TagCounts, best_threshold, ranked_neighbours

_GRID = [(k, temperature) for k in (10, 20, 40) for temperature in (0.03, 0.05, 0.1)]
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

    def confidence(self, params: TagParams) -> np.ndarray:
        """Vote shares [P, T] in [0, 1], by the very function that serves."""
        column = {tag: number for number, tag in enumerate(self.tags)}
        out = np.zeros((len(self.products), len(self.tags)))
        for row, hits in zip(out, self.hits, strict=True):
            for suggestion in vote_tags(hits, self.gallery_tags, params, threshold=0.0):
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


def votes_of(queries: Photos, gallery: Photos) -> Votes | None:
    """Neighbours of every query product that has tags; None where either side has none."""
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
    tags = sorted({tag for held in (*tagged.values(), *gallery_tags.values()) for tag in held})
    actual = np.zeros((len(products), len(tags)), bool)
    column = {tag: position for position, tag in enumerate(tags)}
    for position, product in enumerate(products):
        actual[position, [column[tag] for tag in tagged[product]]] = True
    hits = [sorted(best[product].items(), key=lambda hit: (-hit[1], hit[0]))[:_MOST] for product in products]
    return Votes(products, tags, actual, hits, gallery_tags)


def fit_tags(votes: Votes | None) -> tuple[TagParams, float | None]:
    """k, temperature and threshold of best micro-F1 on validation products; the defaults and None without tags."""
    chosen, best = TagParams(), None
    for k, temperature in _GRID if votes else []:
        assert votes is not None
        confidence = votes.confidence(TagParams(k, temperature, 0.0))
        threshold = best_threshold(votes.actual, confidence)
        if threshold is None:
            continue
        f1 = float(TagCounts(votes.actual, confidence >= threshold).micro()[2])
        if best is None or f1 > best:
            chosen, best = TagParams(k, temperature, threshold), f1
    return chosen, best


def fit_equal_votes(votes: Votes, k: int = 10) -> TagParams:
    """The plain baseline: k nearest products, equal votes, one threshold fixed on validation."""
    params = TagParams(k=k, temperature=1e6, threshold=0.0)
    threshold = best_threshold(votes.actual, votes.confidence(params))
    return replace(params, threshold=0.5 if threshold is None else threshold)
