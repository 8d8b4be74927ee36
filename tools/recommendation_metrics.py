"""Leave-last-out metrics of recommendations: NDCG, hit rate, coverage, diversity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from indexer.core.errors import BadDataError, CatalensError
from indexer.core.progress import OnProgress
from indexer.core.vectors import evenly_spaced
from indexer.index.live import LiveIndex
from indexer.recommendation.orders import read_table, seconds_of
from service.engine import Engine
from service.query.recommend import Event

K = 10


def average_embedding(live: LiveIndex, pids: Sequence[int], k: int = K) -> list[int]:
    """The peer: the pids nearest to the mean of the history's vectors, from the same index, what
    was seen left out."""
    mean = np.mean([live.vectors_of(pid)[1].mean(axis=0) for pid in pids], axis=0)
    query = np.asarray(mean / np.linalg.norm(mean), np.float32)
    return [int(pid) for pid in live.search(query[None], k, exclude=pids)[0].pids]


def gains(lists: Sequence[Sequence[Any]], held_out: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """NDCG@10 and hit@10 of each list float64 [n]; with one right product at rank r NDCG is 1 /
    log2(r + 1)."""
    tens = [list(found)[:K] for found in lists]
    ranks = np.array(
        [
            found.index(right) + 1 if right in found else 0
            for found, right in zip(tens, held_out, strict=True)
        ]
    )
    return np.where(ranks > 0, 1 / np.log2(np.maximum(ranks, 1) + 1), 0.0), (ranks > 0).astype(
        np.float64
    )


def spread(live: LiveIndex, lists: Sequence[Sequence[int]]) -> tuple[float, float]:
    """(coverage, diversity) of lists of pids: the share of the catalog's products that stands in
    any of them, and the mean over lists of the mean of 1 - cosine over the pairs of a list."""
    shown = {pid for found in lists for pid in found}
    apart = []
    for found in lists:
        if len(found) > 1:
            vectors = np.stack([live.vectors_of(pid)[1][0] for pid in found])
            pairs = np.triu_indices(len(found), 1)
            apart.append(float(np.mean(1 - (vectors @ vectors.T)[pairs])))
    return len(shown) / max(live.product_count, 1), float(np.mean(apart)) if apart else 0.0


def figures(
    live: LiveIndex, lists: Sequence[Sequence[int]], held_out: Sequence[int]
) -> dict[str, float]:
    """``ndcg_at_10``, ``hit_at_10``, ``coverage`` and ``diversity`` of lists of pids."""
    ndcg, hits = gains(lists, held_out)
    coverage, diversity = spread(live, lists)
    return {
        "ndcg_at_10": float(ndcg.mean()),
        "hit_at_10": float(hits.mean()),
        "coverage": coverage,
        "diversity": diversity,
    }


def evaluate_file(
    engine: Engine, path: Path, *, limit: int | None = None, progress: OnProgress | None = None
) -> dict[str, Any]:
    """Leave-last-out over a CSV (user, product, maybe time; without times the file's order counts).

    Rows with unknown products are counted and left out, so are users with fewer than two known
    products. A product that the user had before is never recommended, so of each user it counts at
    its last time only. Raises ``BadDataError``.
    """
    pids = {name: pid for pid, name in _ids(engine).items()}
    users: dict[str, dict[int, float]] = {}
    unknown, skipped = 0, []
    for order, (where, user, product, text) in enumerate(read_table(path, ("user", "product"))):
        try:
            when = float(order) if text is None else seconds_of(text)
            if not user:
                raise ValueError("user is empty")
        except ValueError as error:
            skipped.append({"where": where, "reason": str(error)})
            continue
        pid = pids.get(product)
        if pid is None:
            unknown += 1
        else:
            own = users.setdefault(user, {})
            own[pid] = max(when, own.get(pid, -math.inf))
    timed = [
        sorted(seen.items(), key=lambda entry: entry[1]) for seen in users.values() if len(seen) > 1
    ]
    if not timed:
        raise BadDataError(f"{path}: no user has two products of this catalog")
    if limit is not None and len(timed) > limit:
        timed = [timed[place] for place in evenly_spaced(len(timed), limit)]
    names, live = {pid: name for name, pid in pids.items()}, engine.ready().live
    ours, mean, held_out = [], [], []
    for number, seen in enumerate(timed):
        history = [Event(names[pid], time=when) for pid, when in seen[:-1][-1000:]]
        try:
            found = engine.recommend(history, k=K).content.results
            ours.append([pids[row.product_id] for row in found])
        except CatalensError as error:
            skipped.append({"where": f"user {number + 1}", "reason": str(error)})
            continue
        mean.append(average_embedding(live, [pid for pid, _ in seen[:-1]]))
        held_out.append(seen[-1][0])
        if progress is not None:
            progress(number + 1, len(timed))
    return {
        "users": len(ours),
        "ours": figures(live, ours, held_out),
        "average_embedding": figures(live, mean, held_out),
        "unknown_rows": unknown,
        "skipped": skipped,
    }


def _ids(engine: Engine) -> dict[int, str]:
    """pid -> product id of everything that can be found now."""
    from indexer.catalog.store import open_catalog

    with open_catalog(engine.home) as catalog:
        return {product.pid: product.product_id for product in catalog.iterate()}
