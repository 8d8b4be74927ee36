"""Whether a question's photo shows a kind of product the model was never taught."""

from __future__ import annotations

import numpy as np

from indexer.decisions.similar import search_params
from indexer.decisions.unknown import is_unknown, rule_logits
from indexer.model.decision import Category
from service.near import Near
from service.serving import Snapshot


def is_stranger(
    snapshot: Snapshot, vectors: np.ndarray, logits: np.ndarray | None, best: Category, own: set[int], near: Near
) -> bool:
    """By the decision layer's rule, over all of a question's vectors [n, D] (``logits`` [n, C] of the category head).

    A category made from a few photos is known to the shop though not to the rule. ``own``: pids the question is about,
    which are no neighbours of their own; ``near``: the request's searches.
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
        # A query of one block alone: its cosine to a stored vector is the block's own cosine times the block's length.
        (block,) = [block.name for block in blocks if snapshot.bundle.spec.columns(block.name) == (start, stop)]
        params = search_params({block: 1.0})
        hits = [near.search(snapshot.live, query, rule["k"], own, params) for query in asked / length[:, None]]
        nearest = np.array([float(found.scores.mean()) if len(found) else 0.0 for found in hits]) / length
    read = rule_logits(vectors, logits, rule)
    return all(is_unknown(row, float(closest), rule) for row, closest in zip(read, nearest, strict=True))
