"""Objects in a busy photo: a box for each, its category, and similar products."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from indexer.imaging.object_proposals import NEAREST, SAMPLE, in_catalog_similarity, select_objects
from indexer.index.live import LiveIndex
from service.query.classify import most_probable_category, shows_unknown_kind
from service.query.context import RequestContext
from service.query.photo_embedder import EmbeddedQuery, EmbeddedRegions, PhotoEmbedder
from service.query.query import FilterField, Query, SearchOptions, SnapshotSelector, Whole
from service.query.response import FoundObject, FoundObjects
from service.query.search import Searcher
from service.state.snapshot import sample_products


class ObjectOptions(SnapshotSelector):
    """Parameters of a search for the objects in a photo."""

    k: Annotated[Whole, Field(ge=1, le=1000)] = Field(
        default=20, description="How many products for each object."
    )
    most: Annotated[Whole, Field(ge=1, le=10)] = Field(
        default=3, description="How many objects at most."
    )
    filter: FilterField = None


class CatalogSimilarity:
    """How similar the products of an index version are to each other, measured on some of them."""

    def __init__(self, live: LiveIndex) -> None:
        pids, vectors = sample_products(live, SAMPLE)
        found = live.search(vectors, NEAREST + 1) if len(vectors) else []
        means = []
        for pid, hits in zip(pids.tolist(), found, strict=True):
            scores = hits.scores[hits.pids != pid][:NEAREST]
            if len(scores):
                means.append([float(scores.mean())])
        self.mean = in_catalog_similarity(np.array(means))


class ObjectFinder:
    """Finds the products that a photo shows; safe to call from many threads."""

    def __init__(self, embedder: PhotoEmbedder, searcher: Searcher) -> None:
        self._embedder = embedder
        self._searcher = searcher

    def find(self, ctx: RequestContext, data: bytes, options: ObjectOptions) -> FoundObjects:
        """Objects, best first, or the reason why there are none.

        A search with an object's box as ``crop`` gives the same results, which are the ``k`` best
        that pass ``filter``. Raises ``BadFilterError``, ``BadImageError``,
        ``DeadlineExceededError``, ``OverloadedError``.
        """
        regions = self._embedder.embed_regions(ctx, data)
        width, height = regions.size
        if not ctx.snapshot.live.product_count:
            return FoundObjects(width, height, [], "no-products")
        with ctx.timer.stage("choose"):
            hits = ctx.snapshot.live.search(regions.vectors, NEAREST)
            similarity = np.array([float(found.scores.mean()) for found in hits])
            usual = ctx.snapshot.derived_from_index(CatalogSimilarity).mean
            chosen = select_objects(regions.boxes, similarity, usual, limit=options.most)
        objects = [
            self._object(ctx, data, regions, found.place, found.score, options) for found in chosen
        ]
        if objects:
            return FoundObjects(width, height, objects, None)
        several = len(regions.boxes) > 1
        return FoundObjects(width, height, [], "nothing-alike" if several else "nothing-stands-out")

    def _object(
        self,
        ctx: RequestContext,
        data: bytes,
        regions: EmbeddedRegions,
        place: int,
        score: float,
        options: ObjectOptions,
    ) -> FoundObject:
        box, vector = regions.boxes[place], regions.vectors[place]
        self._embedder.remember(ctx.snapshot, data, box, vector)
        vectors = vector[np.newaxis]
        query = Query(image=data, crop=box)
        search = SearchOptions(k=options.k, filter=options.filter)
        embedded = EmbeddedQuery(query, {"image": vectors}, frozenset(), self._embedder)
        page = self._searcher.search(ctx, embedded, self._searcher.plan(ctx, query, search))
        strange = shows_unknown_kind(ctx, embedded)
        category = None if strange else most_probable_category(ctx.snapshot, vectors)
        return FoundObject(list(box), round(score, 6), category, page.results)
