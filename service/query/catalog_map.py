"""Map of the catalog: products as points in the plane, similar ones near each other."""

from __future__ import annotations

import numpy as np

from indexer.catalog.store import Catalog
from indexer.core.vectors import evenly_spaced
from indexer.index.live import LiveIndex
from service.query.context import RequestContext
from service.query.own_address import image_url
from service.query.response import MapPoint, MapPoints
from service.state.snapshot import sample_products

MOST = 2000  # products on one map


class Projection:
    """Products of one index version in the plane."""

    def __init__(self, live: LiveIndex) -> None:
        self.pids, vectors = sample_products(live, MOST, nearest=True)  # int64 [n]
        # float32 [n, 2] in [-1, 1], and the share of the variance that they show
        self.points, self.explained = project(vectors)


def map_points(ctx: RequestContext, catalog: Catalog, *, limit: int = MOST) -> MapPoints:
    """At most ``limit`` products spread over the index version; what was deleted since is left
    out."""
    with ctx.timer.stage("project"):
        found = ctx.snapshot.derived_from_index(Projection)
    places = evenly_spaced(len(found.pids), limit, nearest=True)
    with ctx.timer.stage("describe"):
        pids = found.pids[places].tolist()
        products = catalog.by_pids(pids)
        points = []
        for pid, (x, y) in zip(pids, found.points[places].tolist(), strict=True):
            product = products.get(pid)
            if product is not None and product.photos:
                points.append(
                    MapPoint(
                        product.product_id,
                        product.title,
                        list(product.category) if product.category else None,
                        round(x, 4),
                        round(y, 4),
                        image_url(product.photos[0]),
                    )
                )
    return MapPoints(points, ctx.snapshot.live.product_count, round(found.explained, 4))


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
