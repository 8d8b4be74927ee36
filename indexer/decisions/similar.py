"""Queries that weigh the blocks of the embedding as somebody asks: "like this, but blue" is another query vector."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from indexer.decisions.tagging import view_queries
from indexer.errors import BadRequest
from indexer.index.base import MIXED, SearchParams
from indexer.model.spec import Block


def search_params(weights: Mapping[str, float]) -> SearchParams:
    """How to search with queries that ``reweigh`` made."""
    heavy = [name for name, weight in weights.items() if weight > 0]
    return SearchParams(widen=heavy[0] if len(heavy) == 1 else MIXED)


def check_weights(blocks: Sequence[Block], weights: Mapping[str, float]) -> dict[str, float]:
    """The weights of all ``blocks``, summing to 1; a block that is not named weighs nothing.

    Raises ``BadRequest`` that names the weight: an unknown block, negative, not a finite number, all of them zero.
    """
    names = [block.name for block in blocks]
    for name, weight in weights.items():
        if name not in names:
            raise BadRequest(f"weights: the embedding has no block {name!r}; it has: {', '.join(names)}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise BadRequest(f"weights: {name} must be a finite number, not {weight!r}")
        if weight < 0:
            raise BadRequest(f"weights: {name} must not be negative, it is {weight:g}")
    total = float(sum(weights.values()))
    if total == 0 or math.isinf(total):
        reason = "at least one block must weigh more than zero" if total == 0 else "their sum is too large"
        raise BadRequest(f"weights: {reason}")
    return {name: float(weights.get(name, 0.0)) / total for name in names}


def reweigh(
    vectors: np.ndarray, blocks: Sequence[Block], weights: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [N, D] -> (unit queries float32 [N, D], lengths float32 [N]) that weigh ``blocks`` by ``weights``.

    With e = [sqrt(w_j) u_j] the query is [q_j u_j / sqrt(w_j)], so no index is built anew: its product with an
    embedding is the mean of the blocks' cosines, weighted by q. An index takes unit queries; its score times the length
    is that mean. Search with ``search_params``: such queries lie off the data. Raises ``BadRequest``
    (``check_weights``; also for a block that weighs nothing in the embedding itself, so that nothing of it is stored).
    """
    wanted = check_weights(blocks, weights)
    for block in blocks:
        if block.weight <= 0 and wanted[block.name] > 0:
            raise BadRequest(f"weights: block {block.name} weighs nothing in this embedding and cannot be asked for")
    queries = view_queries(np.asarray(vectors, dtype=np.float32), blocks, wanted)
    lengths = np.linalg.norm(queries, axis=1)
    if not lengths.all():
        raise BadRequest("weights: an embedding holds nothing in the blocks that are asked for")
    return queries / lengths[:, None], lengths
