"""A map of the catalog: products as points in the plane, alike ones near each other."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer.catalog.store import Catalog
from indexer.core.timer import StageTimer
from service.query.response import image_url
from service.state.snapshots import Snapshot

MOST = 2000  # products on one map
_KEPT = 2  # maps, by index version


@dataclass(frozen=True)
class Projection:
    """Products of one index version in the plane. ``explained``: the share of their variance that
    it shows."""

    pids: np.ndarray  # int64 [n]
    points: np.ndarray  # float32 [n, 2] in [-1, 1]
    explained: float


class CatalogMap:
    """Part of the engine. A version is projected once; what was deleted since is left out of each
    answer."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        snapshot: Callable[[], Snapshot],
        answer: Callable[..., dict[str, Any]],
    ) -> None:
        self._catalog, self._snapshot, self._answer = catalog, snapshot, answer
        self._kept: OrderedDict[str, Projection] = OrderedDict()
        self._working = threading.Lock()

    def map(self, *, limit: int = MOST) -> dict[str, Any]:
        """``points`` of at most ``limit`` products spread over the index version, ``total``,
        ``explained``."""
        clock = StageTimer()
        snapshot = self._snapshot()
        with clock.stage("project"):
            found = self._projection(snapshot)
        places = _spread(len(found.pids), limit)
        with clock.stage("describe"):
            products = self._catalog.by_pids(found.pids[places].tolist())
            points = [
                {
                    "product_id": product.product_id,
                    "title": product.title,
                    "category_path": list(product.category) if product.category else None,
                    "x": round(float(x), 4),
                    "y": round(float(y), 4),
                    "image_url": image_url(product.photos[0]),
                }
                for pid, (x, y) in zip(
                    found.pids[places].tolist(), found.points[places], strict=True
                )
                if (product := products.get(pid)) is not None and product.photos
            ]
        return self._answer(
            snapshot,
            clock,
            points=points,
            total=snapshot.live.product_count,
            explained=round(found.explained, 4),
        )

    def _projection(self, snapshot: Snapshot) -> Projection:
        with self._working:  # one at a time: the second one asking finds it done
            known = self._kept.get(snapshot.index_version)
            if known is None:
                base = snapshot.live.base
                pids, first = np.unique(np.asarray(base.rows[:, 0]), return_index=True)
                places = _spread(len(pids), MOST)
                vectors = np.asarray(base.stored[first[places]], dtype=np.float32)
                known = Projection(pids[places], *project(vectors))
                self._kept[snapshot.index_version] = known
            self._kept.move_to_end(snapshot.index_version)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return known


def project(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """The first two principal components of ``vectors`` [n, D], float32 [n, 2], and their share of
    the variance.

    Each axis is scaled to [-1, 1] about its middle; its sign is such that the farthest point lies
    on the positive side, so that one set of vectors always gives one map. Fewer than two products
    lie in the middle.
    """
    centred = (
        vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
        if len(vectors)
        else vectors
    )
    points = np.zeros((len(vectors), 2), np.float64)
    if len(vectors) < 2:
        return points.astype(np.float32), 1.0
    variances, axes = np.linalg.eigh(centred.T @ centred)
    shown = axes[:, ::-1][:, :2]
    points[:, : shown.shape[1]] = centred @ shown
    total = float(np.maximum(variances, 0).sum())
    explained = float(np.maximum(variances[::-1][:2], 0).sum() / total) if total > 1e-12 else 1.0
    for axis in points.T:
        low, high = axis.min(), axis.max()
        if -low > high:
            axis *= -1
            low, high = -high, -low
        axis -= (low + high) / 2
        axis /= max((high - low) / 2, 1e-9)
    return points.astype(np.float32), explained


def _spread(count: int, most: int) -> np.ndarray:
    """At most ``most`` of ``count`` places, at even distances."""
    return np.unique(
        np.linspace(0, max(count - 1, 0), num=min(most, count)).round().astype(np.int64)
    )
