"""Heat maps: which parts of a photo speak for a category, or make two photos similar."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from indexer.classification.ranking import category_logits, rank_categories
from indexer.core.category_path import format_path, parse_path
from indexer.core.errors import BadRequestError, NoCategoriesError
from indexer.imaging.decode import Photo
from indexer.model.decision_layer import Category, Decision
from indexer.model.preprocessing import inner_share, visible_box
from indexer.model.runtime_base import Runtime
from service.inference.admission import DeadlineExceededError
from service.inference.queue import InferenceQueue
from service.query.context import RequestContext
from service.query.photo_embedder import PhotoEmbedder
from service.query.predictions import CategoryPrediction
from service.query.query import Query
from service.query.response import Explanation, HeatMap

if TYPE_CHECKING:
    from indexer.model.gradcam import PairHeat


@dataclass(frozen=True)
class _CategoryMapTask:
    """Grad-CAM of one category; run by the owner of the network."""

    embedder: Runtime
    decision: Decision
    photo: Photo
    wanted: Category | None  # None: the most probable one

    def run(self) -> tuple[Category, float, np.ndarray]:
        """The category, its probability, and the heat [h, w]."""
        from indexer.model.gradcam import category_direction, category_map

        embedder, decision = self.embedder, self.decision
        vectors = embedder.embed([self.photo])
        heads = embedder.logits(vectors) if embedder.spec.heads else {}
        logits = category_logits(heads.get("category"), vectors, decision)[0]
        ranked = rank_categories(logits, decision, top=len(decision.categories))
        shown, probability = next(
            entry for entry in ranked if self.wanted is None or entry[0].id == self.wanted.id
        )
        direction = category_direction(embedder.network, decision, shown)
        inputs = embedder.inputs([self.photo])
        share = inner_share(self.photo.pixels.size, embedder.spec.preprocess)
        heat = category_map(embedder.network, inputs, direction, share=share)
        return shown, probability, heat


@dataclass(frozen=True)
class _PairMapTask:
    """Heat maps of two photos by block; run by the owner of the network."""

    embedder: Runtime
    photos: tuple[Photo, Photo]

    def run(self) -> list[PairHeat]:
        from indexer.model.gradcam import pair_maps

        embedder = self.embedder
        one, other = (
            inner_share(photo.pixels.size, embedder.spec.preprocess) for photo in self.photos
        )
        inputs = (embedder.inputs([photo]) for photo in self.photos)
        return pair_maps(embedder.network, *inputs, shares=(one, other))


class Explainer:
    """Explains categories and similarities over the one inference queue."""

    def __init__(self, queue: InferenceQueue, embedder: PhotoEmbedder) -> None:
        self._queue = queue
        self._embedder = embedder
        self._pairing = threading.Lock()

    def explain_category(
        self, ctx: RequestContext, query: Query, category: str | Sequence[str] | None
    ) -> Explanation:
        """What in a photo speaks for ``category``: a path or an unambiguous label, None for the
        most probable one.

        Raises ``NoCategoriesError``, ``BadRequestError`` for a category the model does not know.
        """
        decision = ctx.snapshot.bundle.decision
        if not decision.categories:
            raise NoCategoriesError(
                f"model {ctx.snapshot.model_version} has no categories to explain"
            )
        wanted = None if category is None else _named(decision, category)
        photo = self._embedder.decode_query(ctx, query)
        embedder = ctx.snapshot.embedder
        task = _CategoryMapTask(embedder, decision, photo, wanted)
        with ctx.timer.stage("explain"):
            shown, probability, heat = self._queue.run_exclusive(
                embedder, task, within_s=ctx.left_s()
            )
        maps = [_heat_map(ctx, "image", query, photo, None, probability, heat)]
        return Explanation(CategoryPrediction.of(shown, probability), maps)

    def explain_pair(self, ctx: RequestContext, query: Query, other: Query) -> Explanation:
        """What in two photos makes them similar, by block of the embedding."""
        # One pair at a time: two that hold a photo and wait for memory would wait for each other.
        if not self._pairing.acquire(timeout=ctx.left_s()):
            raise DeadlineExceededError("no time to decode both photos: try again shortly")
        try:
            first = self._embedder.decode_query(ctx, query)
            second = self._embedder.decode_query(ctx, other)
        finally:
            self._pairing.release()
        embedder = ctx.snapshot.embedder
        task = _PairMapTask(embedder, (first, second))
        with ctx.timer.stage("explain"):
            found = self._queue.run_exclusive(embedder, task, within_s=ctx.left_s())
        maps = []
        for entry in found:
            block, cosine = entry.block, entry.cosine
            maps += [
                _heat_map(ctx, "image", query, first, block, cosine, entry.first),
                _heat_map(ctx, "with", other, second, block, cosine, entry.second),
            ]
        return Explanation(None, maps)


def _heat_map(
    ctx: RequestContext,
    name: Literal["image", "with"],
    query: Query,
    photo: Photo,
    block: str | None,
    score: float,
    heat: np.ndarray,
) -> HeatMap:
    """One map: of which photo, by which block, over which part of the upright photo, or of the
    ``crop`` of it.

    A part that is no square is shown to the network with margins, so its map may reach beyond it.
    """
    size = (photo.width, photo.height)
    left, top, right, bottom = visible_box(size, ctx.snapshot.embedder.spec.preprocess)
    width, height = query.crop[2:] if query.crop else size
    across, down = (photo.width - width) // 2, (photo.height - height) // 2
    box = (left - across, top - down, right - left, bottom - top)
    rows = heat.astype(np.float64).tolist()
    return HeatMap(
        name,
        block,
        round(min(max(score, -1.0), 1.0), 6),
        [round(edge, 1) for edge in box],
        [_rounded(row) for row in rows],
    )


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]


def _named(decision: Decision, name: str | Sequence[str]) -> Category:
    path = (
        tuple(part.strip() for part in parse_path(name)) if isinstance(name, str) else tuple(name)
    )
    found = [category for category in decision.categories if category.path == path]
    if not found and len(path) == 1:
        found = [category for category in decision.categories if category.label == path[0]]
    if len(found) != 1:
        what = "several categories are" if found else "no category is"
        raise BadRequestError(
            f"{what} called {format_path(path)!r}: give the full path of a known one"
        )
    return found[0]
