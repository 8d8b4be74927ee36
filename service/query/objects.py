"""The products in a busy photo: a box for each, what it is, and what in the catalog
looks like it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from indexer.classification.ranking import category_logits, rank_categories
from indexer.core.errors import BadRequestError
from indexer.core.timer import StageTimer
from indexer.imaging.object_proposals import NEAREST, SAMPLE, in_catalog_similarity, select_objects
from service.query.photo_embedder import PhotoEmbedder
from service.query.query import Query, RawFilter, SearchOptions
from service.query.search import Searcher
from service.state.snapshots import Snapshot

LARGEST = 10  # objects in one answer
_KEPT = 4  # index versions of which it is remembered what is usual


class ObjectFinder:
    """Part of the engine; safe to call from many threads. ``turn`` is a place at work, ``answer``
    frames answers."""

    def __init__(
        self,
        seeing: PhotoEmbedder,
        searching: Searcher,
        *,
        snapshot: Callable[[int | None, str | None], Snapshot],
        turn: Callable[[], AbstractContextManager[StageTimer]],
        answer: Callable[..., dict[str, Any]],
    ) -> None:
        self._seeing, self._searching = seeing, searching
        self._snapshot, self._turn, self._answer = snapshot, turn, answer
        self._usual: OrderedDict[str, float] = OrderedDict()
        self._measuring = threading.Lock()

    def find(
        self,
        data: bytes,
        *,
        k: int = 20,
        most: int = 3,
        filter: RawFilter | None = None,
        min_sequence: int | None = None,
        version: str | None = None,
    ) -> dict[str, Any]:
        """``objects`` [{box, score, category, results}], best first, all from one snapshot;
        ``reason`` where none.

        ``box`` [x, y, width, height] in px of the upright photo, as ``crop`` takes it: a search
        with it gives the same ``results``, which are the ``k`` best that pass ``filter``.
        ``score``: mean cosine to the nearest products. Raises ``BadRequestError``,
        ``BadFilterError``, ``BadImageError``, ``DeadlineExceededError``, ``OverloadedError``.
        """
        if not 1 <= most <= LARGEST:
            raise BadRequestError(f"most must be from 1 to {LARGEST}, not {most}")
        snapshot = self._snapshot(min_sequence, version)
        with self._turn() as clock:
            size, boxes, vectors = self._seeing.parts(snapshot, data, clock)
            framed = {"width": size[0], "height": size[1]}
            if not snapshot.live.product_count:
                return self._answer(snapshot, clock, objects=[], reason="no-products", **framed)
            with clock.stage("choose"):
                hits = snapshot.live.search(vectors, NEAREST)
                closeness = np.array([float(found.scores.mean()) for found in hits])
                chosen = select_objects(boxes, closeness, self._usual_of(snapshot), limit=most)
            objects = []
            for found in chosen:
                box, vector = boxes[found.place], vectors[found.place]
                self._seeing.remember(snapshot, data, box, vector)
                asked = Query(image=data, crop=box)
                listed = self._searching.search(
                    snapshot, asked, SearchOptions(k=k, filter=filter), clock
                )
                objects.append(
                    {
                        "box": list(box),
                        "score": round(found.score, 6),
                        "category": _category(snapshot, vector),
                        "results": listed["results"],
                    }
                )
            reason = (
                None if objects else "nothing-alike" if len(boxes) > 1 else "nothing-stands-out"
            )
            return self._answer(snapshot, clock, objects=objects, reason=reason, **framed)

    def _usual_of(self, snapshot: Snapshot) -> float:
        """How alike the products of an index version are to each other, measured once on some of
        them."""
        name = f"{snapshot.index_version} {snapshot.bundle.embedding_id}"
        with self._measuring:  # one at a time: the second one asking finds it done
            known = self._usual.get(name)
            if known is None:
                base = snapshot.live.base
                pids, first = np.unique(np.asarray(base.rows[:, 0]), return_index=True)
                places = np.unique(
                    np.linspace(0, max(len(pids) - 1, 0), min(SAMPLE, len(pids))).astype(np.int64)
                )
                vectors = np.asarray(base.stored[first[places]], np.float32)
                known = self._usual[name] = _measured(snapshot, pids[places], vectors)
            self._usual.move_to_end(name)
            while len(self._usual) > _KEPT:
                self._usual.popitem(last=False)
            return known


def _measured(snapshot: Snapshot, pids: np.ndarray, vectors: np.ndarray) -> float:
    found = snapshot.live.search(vectors, NEAREST + 1) if len(vectors) else []
    others = [
        hits.scores[hits.pids != pid][:NEAREST]
        for pid, hits in zip(pids.tolist(), found, strict=True)
    ]
    return in_catalog_similarity(
        np.array([[float(scores.mean())] for scores in others if len(scores)])
    )


def _category(snapshot: Snapshot, vector: np.ndarray) -> dict[str, Any] | None:
    """The most probable category of an embedding [D]; None where the model knows none."""
    decision = snapshot.bundle.decision
    if not decision.categories:
        return None
    rows = vector[np.newaxis]
    logits = category_logits(snapshot.embedder.logits(rows).get("category"), rows, decision)[0]
    ((category, chance),) = rank_categories(logits, decision, top=1)
    return {
        "label": category.path[-1],
        "path": list(category.path),
        "probability": round(chance, 6),
    }
