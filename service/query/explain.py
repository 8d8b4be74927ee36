"""Heat maps over the one inference queue: why a category, and why two photos are similar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.classification.ranking import category_logits, rank_categories
from indexer.core.category_path import format_path, parse_path
from indexer.core.errors import BadRequestError, NoCategoriesError
from indexer.core.timer import StageTimer
from indexer.imaging.decode import Photo
from indexer.model.decision_layer import Category, Decision
from indexer.model.preprocessing import visible_box
from service.inference.queue import InferenceQueue
from service.state.snapshots import Snapshot

if TYPE_CHECKING:
    from service.query.query import Query

DecodePhoto = Callable[[Snapshot, "Query", StageTimer], Photo]


class Explainer:
    """Answers ``explain``; one per engine."""

    def __init__(
        self,
        queue: InferenceQueue,
        *,
        snapshot: Callable[[int | None, str | None], Snapshot],
        photo: DecodePhoto,
        answer: Callable[..., dict[str, Any]],
    ) -> None:
        self._queue, self._snapshot, self._photo, self._answer = queue, snapshot, photo, answer

    def category(
        self,
        source: Query,
        category: str | Sequence[str] | None = None,
        *,
        min_sequence: int | None = None,
        version: str | None = None,
    ) -> dict[str, Any]:
        """What in a photo speaks for ``category`` (a path or an unambiguous label; None: the most
        probable one).

        Raises ``NoCategoriesError``, ``BadRequestError`` for a category the model does not know.
        """
        from indexer.model.gradcam import category_direction, category_map

        clock = StageTimer()
        snapshot = self._snapshot(min_sequence, version)
        decision = snapshot.bundle.decision
        if not decision.categories:
            raise NoCategoriesError(f"model {snapshot.model_version} has no categories to explain")
        wanted = None if category is None else _named(decision, category)
        photo = self._photo(snapshot, source, clock)
        embedder = snapshot.embedder

        def work() -> tuple[Category, float, np.ndarray]:
            vectors = embedder.embed([photo])
            heads = embedder.logits(vectors) if embedder.spec.heads else {}
            logits = category_logits(heads.get("category"), vectors, decision)[0]
            ranked = rank_categories(logits, decision, top=len(decision.categories))
            shown, chance = next(
                entry for entry in ranked if wanted is None or entry[0].id == wanted.id
            )
            direction = category_direction(embedder.network, decision, shown)
            return (
                shown,
                chance,
                category_map(embedder.network, embedder.inputs([photo]), direction),
            )

        with clock.stage("explain"):
            shown, chance, heat = self._queue.work(embedder, work)
        maps = [_shown("image", source, None, chance, heat, photo, snapshot)]
        found = {"label": shown.label, "path": list(shown.path), "probability": round(chance, 6)}
        return self._answer(snapshot, clock, category=found, maps=maps)

    def pair(
        self,
        source: Query,
        other: Query,
        *,
        min_sequence: int | None = None,
        version: str | None = None,
    ) -> dict[str, Any]:
        """What in two photos makes them similar, per block of the embedding."""
        from indexer.model.gradcam import pair_maps

        clock = StageTimer()
        snapshot = self._snapshot(min_sequence, version)
        photos = [self._photo(snapshot, asked, clock) for asked in (source, other)]
        embedder = snapshot.embedder

        def work() -> list[Any]:
            return pair_maps(embedder.network, *(embedder.inputs([photo]) for photo in photos))

        with clock.stage("explain"):
            found = self._queue.work(embedder, work)
        maps = [
            _shown(name, asked, entry.block, entry.cosine, heat, photo, snapshot)
            for entry in found
            for name, asked, heat, photo in (
                ("image", source, entry.first, photos[0]),
                ("with", other, entry.second, photos[1]),
            )
        ]
        return self._answer(snapshot, clock, category=None, maps=maps)


def _shown(
    name: str,
    asked: Query,
    block: str | None,
    score: float,
    heat: np.ndarray,
    photo: Photo,
    snapshot: Snapshot,
) -> dict[str, Any]:
    """One map: of which photo, by which block, over which part of the upright photo, or of the
    ``crop`` of it.

    A part that is no square is shown to the network with margins, so its map may reach beyond it.
    """
    left, top, right, bottom = visible_box(
        (photo.width, photo.height), snapshot.embedder.spec.preprocess
    )
    width, height = asked.crop[2:] if asked.crop else (photo.width, photo.height)
    across, down = (photo.width - width) // 2, (photo.height - height) // 2
    return {
        "photo": name,
        "block": block,
        "score": round(min(max(score, -1.0), 1.0), 6),
        "box": [
            round(left - across, 1),
            round(top - down, 1),
            round(right - left, 1),
            round(bottom - top, 1),
        ],
        "heat": [[round(float(value), 4) for value in row] for row in heat],
    }


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
