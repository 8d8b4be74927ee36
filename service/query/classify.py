"""Categories of one photo or product, and whether it is of a kind the model knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from indexer.classification.open_set import is_unknown, rule_logits
from indexer.classification.ranking import category_logits, rank_categories
from indexer.core.errors import NoCategoriesError
from indexer.core.timer import StageTimer
from indexer.index.query import search_params
from indexer.model.decision_layer import Category
from service.query.query import Query
from service.query.search_cache import SearchCache
from service.state.snapshots import Snapshot

Vectors = Callable[[Snapshot, Query, StageTimer], tuple[np.ndarray, set[int]]]


class Classifier:
    """Part of the engine. ``vectors`` gives a source's query vectors and pids, ``answer`` frames
    what is answered."""

    def __init__(self, *, vectors: Vectors, answer: Callable[..., dict[str, Any]]) -> None:
        self._vectors, self._answer = vectors, answer

    def classify(
        self,
        snapshot: Snapshot,
        source: Query,
        clock: StageTimer,
        *,
        top: int = 5,
        near: SearchCache | None = None,
    ) -> dict[str, Any]:
        """As ``SearchEngine.classify``."""
        decision = snapshot.bundle.decision
        if not decision.categories:
            raise NoCategoriesError(
                f"model {snapshot.model_version} has no categories: train one on labelled photos, "
                "or make some from a few photos each (catalens class add)"
            )
        vectors, own = self._vectors(snapshot, source, clock)
        with clock.stage("classify"):
            heads = snapshot.embedder.logits(vectors)
            logits = category_logits(heads.get("category"), vectors, decision).mean(axis=0)
            ranked = rank_categories(logits, decision, top=top)
            unknown = is_unknown_kind(
                snapshot, vectors, heads.get("category"), ranked[0][0], own, near or SearchCache()
            )
        categories = [
            {
                "label": category.path[-1],
                "path": list(category.path),
                "probability": round(float(probability), 6),
            }
            for category, probability in ranked
        ]
        return self._answer(snapshot, clock, categories=categories, unknown=unknown)


def is_unknown_kind(
    snapshot: Snapshot,
    vectors: np.ndarray,
    logits: np.ndarray | None,
    best: Category,
    own: set[int],
    near: SearchCache,
) -> bool:
    """By the decision layer's rule, over all of a question's vectors [n, D] (``logits`` [n, C] of
    the category head).

    A category made from a few photos is known to the shop though not to the rule. ``own``: pids the
    question is about, which are no neighbours of their own; ``near``: the request's searches.
    """
    rule = snapshot.bundle.decision.unknown_rule
    if rule is None or logits is None or not best.trained:
        return False
    start, stop = rule["columns"]
    blocks = snapshot.bundle.spec.blocks
    asked = np.zeros_like(vectors)
    asked[:, start:stop] = vectors[:, start:stop]
    length = np.linalg.norm(asked, axis=1)
    nearest = np.zeros(len(vectors))
    if rule["mix"][2] and snapshot.live.product_count:
        # A query of one block alone: its cosine to a stored vector is the block's own cosine times
        # the block's length.
        (block,) = [
            block.name
            for block in blocks
            if snapshot.bundle.spec.block_slice(block.name) == slice(start, stop)
        ]
        params = search_params({block: 1.0})
        hits = [
            near.search(snapshot.live, query, rule["k"], own, params)
            for query in asked / length[:, None]
        ]
        nearest = (
            np.array([float(found.scores.mean()) if len(found) else 0.0 for found in hits]) / length
        )
    read = rule_logits(vectors, logits, rule)
    return all(
        is_unknown(row, float(closest), rule) for row, closest in zip(read, nearest, strict=True)
    )
