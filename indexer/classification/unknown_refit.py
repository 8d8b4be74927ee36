"""Fit of the rule that rejects unknown kinds to a catalog, each product judged without itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from indexer.catalog.store import Catalog
from indexer.classification.local_outlier import CatalogNeighbourhood
from indexer.classification.open_set import Rule, rule_logits, typicality, unknown_score
from indexer.core.vectors import unit_rows
from indexer.model.bundle import Bundle

# Products below which nothing is called unknown: of fewer no 5% can be told.
LEAST = 20
NEVER = 1e9
# Products asked at most, and at least where the catalog is large; pairs compared in between.
_ASKED, _FEWEST_ASKED = 2000, 200
_PAIRS = 200_000_000
# Rows compared at a time: with all that are asked they take 100 MB.
_PORTION = 8192


def catalog_neighbourhood(
    bundle: Bundle, rows: np.ndarray, vectors: np.ndarray
) -> CatalogNeighbourhood | None:
    """Measure how near a catalog's products lie to each other, in the block that the rule reads.

    ``rows`` and ``vectors`` as ``refit_unknown``. None where the catalog is too small to tell, and
    for a model whose rule does not say how that counts.
    """
    rule = bundle.decision.unknown_rule
    if rule is None or "local_mix" not in rule:
        return None
    start, stop = rule["columns"]
    return CatalogNeighbourhood.build(rows, vectors, (start, stop))


def refit_unknown(
    catalog: Catalog,
    bundle: Bundle,
    rows: np.ndarray,
    vectors: np.ndarray,
    *,
    around: CatalogNeighbourhood | None = None,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Fit the threshold of the model's rule to a catalog; None for a model without a rule.

    ``rows``: int64 [N, 2], pid and photo_id, by pid; ``vectors`` [N, D]. Products of categories
    that the model knows are asked as new photos would be, without themselves and copies of their
    photo; where too few carry such a category, all are. How near the nearest are hangs on how many
    products there are, so a rule of another catalog alarms too often in a small one. ``around``
    (``catalog_neighbourhood``): the local closeness is read then, and all that it counts by stands
    in what is fitted.
    """
    rule = bundle.decision.unknown_rule
    if rule is None:
        return None
    pids, first = np.unique(rows[:, 0], return_index=True)
    most = int(np.clip(_PAIRS // max(len(rows), 1), _FEWEST_ASKED, _ASKED))
    if around is not None:
        most = _ASKED
    drawn = np.sort(np.random.default_rng(seed).permutation(len(pids))[:most])
    paths = {category.path for category in bundle.decision.categories}
    found = catalog.by_pids(pids[drawn].tolist())
    known = np.array([_has_path(found.get(pid), paths) for pid in pids[drawn].tolist()], bool)
    if known.sum() >= LEAST:
        drawn = drawn[known]
    asked = first[drawn]
    if len(asked) < LEAST:
        return {"threshold": NEVER, "products": len(asked)}
    queries = np.asarray(vectors[asked], np.float32)
    local: dict[str, Any] = {}
    with threadpool_limits(1 if len(rows) < _PORTION else None, "blas"):
        if around is None:
            near = product_closeness(rows, vectors, asked, rule)
        else:
            near = around.judge_own(rows[asked, 1], unit_rows(queries[:, slice(*rule["columns"])]))
            local = local_rule(rule, near)
        logits = rule_logits(queries, _head_logits(bundle, rule, queries), rule)
        typical = typicality(queries, rule)
    threshold = fit_threshold(logits, near, {**rule, **local}, typical)
    return {"threshold": threshold, "products": len(asked), **local}


def local_rule(rule: Rule, near: np.ndarray) -> dict[str, Any]:
    """Fit what takes the place of a model's rule where the local closeness is read.

    ``near`` [Q]: that of a catalog's products, each judged without itself.
    """

    def with_third(values: Sequence[float], third: float) -> list[float]:
        return [float(value) for value in (*values[:2], third, *values[3:])]

    return {
        "columns": [int(place) for place in rule["columns"]],
        "mix": [float(share) for share in rule["local_mix"]],
        "mean": with_third(rule["mean"], near.mean()),
        "spread": with_third(rule["spread"], max(float(near.std()), 1e-6)),
    }


def fit_threshold(
    logits: np.ndarray, near: np.ndarray, rule: Rule, typical: np.ndarray | float
) -> float:
    """Fit the threshold on known products of a catalog.

    ``logits`` [N, C] as ``rule_logits`` returns them, ``near`` and ``typical`` [N]. The
    quantile that the next one exceeds with the rule's share ``taught_alarms`` on average, however
    few there are.
    """
    score = unknown_score(logits, near, rule, typical)
    # Models from before it do not know what their training photos are ahead of others.
    alarms = rule.get("taught_alarms", rule["false_alarms"])
    return float(np.quantile(score, 1 - alarms, method="weibull"))


def product_closeness(
    rows: np.ndarray, vectors: np.ndarray, asked: np.ndarray, rule: Rule
) -> np.ndarray:
    """Compute the mean cosine [Q] of the rows ``asked`` to their k nearest other products.

    As search finds them: a product by its nearest photo, in the rule's block; neither the row's own
    product nor a copy of its photo is found.
    """
    block = slice(*rule["columns"])
    queries = unit_rows(np.asarray(vectors[asked, block], np.float32))
    best = np.full((len(asked), 0), -1.0, np.float32)
    starts = np.flatnonzero(np.r_[True, np.diff(rows[:, 0]) != 0])
    wanted = min(rule["k"], len(starts) - 1)
    for begin, end in _portions(starts, len(rows)):
        cosines = queries @ unit_rows(np.asarray(vectors[begin:end, block], np.float32)).T
        own = rows[asked, 0][:, None] == rows[begin:end, 0][None, :]
        own |= rows[asked, 1][:, None] == rows[begin:end, 1][None, :]
        cosines[own] = -1.0
        inside = starts[(starts >= begin) & (starts < end)] - begin
        best = np.concatenate([best, np.maximum.reduceat(cosines, inside, axis=1)], axis=1)
        k = min(wanted, best.shape[1])
        best = np.partition(best, -k, axis=1)[:, -k:]
    return np.asarray(best.mean(1), np.float64)


def _portions(starts: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Cut rows into portions of whole products, of ``_PORTION`` rows or little more."""
    bounds = [0]
    for start in starts.tolist():
        if start - bounds[-1] >= _PORTION:
            bounds.append(start)
    return list(zip(bounds, [*bounds[1:], count], strict=True))


def _has_path(product: Any, paths: set[tuple[str, ...]]) -> bool:
    return product is not None and product.category in paths


def _head_logits(bundle: Bundle, rule: Rule, queries: np.ndarray) -> np.ndarray:
    """Return the category head's logits where the rule reads them, else nothing."""
    if "weights" in rule:
        return np.zeros((len(queries), 0), np.float32)
    return bundle.numpy_network().logits(queries)["category"]
