"""Classification of a photo or product, with open-set rejection."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np

from indexer.catalog.attributes import describes_look
from indexer.classification.attribute_prediction import predict_attributes
from indexer.classification.local_outlier import local_closeness
from indexer.classification.open_set import is_unknown, rule_logits, typicality
from indexer.classification.ranking import category_logits, rank_categories
from indexer.core.errors import NoCategoriesError
from indexer.core.vectors import unit_rows
from indexer.index.query_weighting import search_params
from indexer.model.decision_layer import Category
from service.query.context import RequestContext
from service.query.photo_embedder import EmbeddedQuery
from service.query.predictions import AttributePrediction, CategoryPrediction, NearestKind
from service.query.response import Classification
from service.state.snapshot import Snapshot

_NEAREST = 3  # kinds named beside "unknown"


def require_categories(snapshot: Snapshot) -> None:
    """Raise ``NoCategoriesError`` for a model without any."""
    if not snapshot.bundle.decision.categories:
        raise NoCategoriesError(
            f"model {snapshot.model_version} has no categories: train one on labelled photos, "
            "or make some from a few photos each (catalens class add)"
        )


def classify(
    ctx: RequestContext, embedded: EmbeddedQuery, *, top: int = 5, withhold: bool = True
) -> Classification:
    """The ``top`` categories of an embedded query; of an unknown kind the nearest kinds instead,
    and of attributes those of colour and pattern.

    Categories are given beside ``unknown`` all the same without ``withhold``, and by index versions
    whose build fitted no rule for unknown kinds. Raises ``NoCategoriesError``.
    """
    require_categories(ctx.snapshot)
    vectors = embedded.vectors
    with ctx.timer.stage("classify"):
        _, ranked = _rank(ctx.snapshot, vectors, top)
    unknown = _is_unknown(ctx, embedded)
    found = Classification(
        _predictions(ctx.snapshot, ranked),
        unknown,
        shown_attributes(ctx.snapshot, vectors),
        [NearestKind.of(category) for category, _ in ranked[:_NEAREST]],
    )
    if not unknown or not _names_nothing(ctx.snapshot):
        return replace(found, nearest_kinds=None)
    return without_names(found) if withhold else found


def without_names(found: Classification) -> Classification:
    """What is left to say of a kind that the model does not know."""
    look = [entry for entry in found.attributes if describes_look(entry.name)]
    return replace(found, categories=[], attributes=look)


def shows_unknown_kind(ctx: RequestContext, embedded: EmbeddedQuery) -> bool:
    """Whether ``classify`` names no category of an embedded query."""
    if not ctx.snapshot.bundle.decision.categories or not _names_nothing(ctx.snapshot):
        return False
    return _is_unknown(ctx, embedded)


def _is_unknown(ctx: RequestContext, embedded: EmbeddedQuery) -> bool:
    """Whether a query shows no kind that the model knows; a part of a known product shows one."""
    vectors = embedded.vectors
    with ctx.timer.stage("classify"):
        logits, ((best, _),) = _rank(ctx.snapshot, vectors, 1)
        if not is_unknown_kind(ctx, vectors, logits, best, embedded.self_pids):
            return False
    whole = embedded.embed_whole(ctx) if _names_nothing(ctx.snapshot) else None
    return whole is None or _is_unknown(ctx, whole)


def _names_nothing(snapshot: Snapshot) -> bool:
    """Whether no category is named of an unknown kind: versions whose build fitted no rule give
    one all the same."""
    return snapshot.live.base.unknown is not None


def shown_attributes(snapshot: Snapshot, vectors: np.ndarray) -> list[AttributePrediction]:
    """What embeddings [n, D] of one product show of the attributes the model knows, surest
    first."""
    bundle = snapshot.bundle
    if not bundle.decision.attributes:
        return []
    found = predict_attributes(snapshot.embedder.logits(vectors), bundle.decision, bundle.spec)
    return [AttributePrediction.of(entry) for entry in found]


def most_probable_category(snapshot: Snapshot, vectors: np.ndarray) -> CategoryPrediction | None:
    """The first category of embeddings [n, D] of one product; None where the model knows none."""
    if not snapshot.bundle.decision.categories:
        return None
    _, ((category, probability),) = _rank(snapshot, vectors, 1)
    return CategoryPrediction.of(category, probability, snapshot.bundle.decision)


def most_probable_label(snapshot: Snapshot, vectors: np.ndarray) -> str | None:
    """The label of the first category of embeddings [n, D]; None where the model knows none."""
    found = most_probable_category(snapshot, vectors)
    return None if found is None else found.label


def _predictions(
    snapshot: Snapshot, ranked: Sequence[tuple[Category, float]]
) -> list[CategoryPrediction]:
    decision = snapshot.bundle.decision
    return [CategoryPrediction.of(category, share, decision) for category, share in ranked]


def _rank(
    snapshot: Snapshot, vectors: np.ndarray, top: int
) -> tuple[np.ndarray | None, Sequence[tuple[Category, float]]]:
    """The category head's logits [n, C], and the first categories over all of the vectors."""
    decision = snapshot.bundle.decision
    logits = snapshot.embedder.logits(vectors).get("category")
    mean = category_logits(logits, vectors, decision).mean(axis=0)
    return logits, rank_categories(mean, decision, top=top)


def is_unknown_kind(
    ctx: RequestContext,
    vectors: np.ndarray,
    logits: np.ndarray | None,
    best: Category,
    self_pids: AbstractSet[int],
) -> bool:
    """By the decision layer's rule, over all of a query's vectors [n, D] (``logits`` [n, C] of the
    category head).

    A category made from a few photos is known to the shop though not to the rule.
    """
    rule = ctx.snapshot.unknown_rule
    if rule is None or logits is None or not best.trained:
        return False
    nearest = np.zeros(len(vectors))
    around = ctx.snapshot.neighbourhood
    if around is not None:
        block = unit_rows(vectors[:, slice(*rule["columns"])])
        nearest = local_closeness(block, around, self_pids)
    elif rule["mix"][2] and ctx.snapshot.live.product_count:
        nearest = _mean_block_cosines(ctx, vectors, rule["columns"], rule["k"], self_pids)
    signals = zip(
        rule_logits(vectors, logits, rule), nearest, typicality(vectors, rule), strict=True
    )
    return all(
        is_unknown(row, float(closest), rule, float(typical)) for row, closest, typical in signals
    )


def _mean_block_cosines(
    ctx: RequestContext,
    vectors: np.ndarray,
    span: tuple[int, int],
    k: int,
    self_pids: AbstractSet[int],
) -> np.ndarray:
    """The mean cosine [n] of the block that is ``span`` of the embedding to its ``k`` nearest.

    The query is that block alone: its cosine to a stored vector is the block's own cosine times
    the block's length.
    """
    start, stop = span
    spec = ctx.snapshot.bundle.spec
    queries = np.zeros_like(vectors)
    queries[:, start:stop] = vectors[:, start:stop]
    lengths = np.linalg.norm(queries, axis=1)
    (block,) = [
        block.name for block in spec.blocks if spec.block_slice(block.name) == slice(start, stop)
    ]
    params = search_params({block: 1.0})
    means = []
    for query in queries / lengths[:, None]:
        found = ctx.searches.search(ctx.snapshot.live, query, k, self_pids, params)
        means.append(float(found.scores.mean()) if len(found) else 0.0)
    return np.array(means) / lengths
