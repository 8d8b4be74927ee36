"""Classes made from a few photos: listed, added and removed while the service runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from indexer.catalog.store import Catalog
from indexer.classification.class_editing import (
    ClassExamples,
    ClassKind,
    add_class,
    class_path,
    list_classes,
    remove_class,
)
from indexer.core.errors import BadRequestError, NoIndexError
from indexer.core.home import Home
from indexer.core.timer import StageTimer
from indexer.imaging.decode import BadImageError, hash_content
from indexer.model.few_shot import MAX_PHOTOS
from service.inference.queue import InferenceQueue
from service.query.query import Query
from service.state.snapshots import Snapshot, SnapshotManager


class ClassManager:
    """Part of the engine. What it changes is the decision layer alone: the next answer knows it,
    nothing is rebuilt."""

    def __init__(
        self,
        home: Home,
        catalog: Catalog,
        serving: SnapshotManager,
        queue: InferenceQueue,
        *,
        embed: Callable[..., np.ndarray],
        answer: Callable[..., dict[str, Any]],
    ) -> None:
        self._home, self._catalog, self._serving, self._queue = home, catalog, serving, queue
        self._embed, self._answer = embed, answer

    def list(self) -> dict[str, Any]:
        """``classes`` [{id, kind, label, path, source, photos}]: trained ones, and those made from
        photos."""
        clock = StageTimer()
        snapshot = self._snapshot()
        return self._answer(snapshot, clock, classes=list_classes(snapshot.bundle.decision))

    def add(
        self, label: str | Sequence[str], photos: Sequence[bytes], *, kind: ClassKind = "category"
    ) -> dict[str, Any]:
        """Make a category (a path) or a tag from 1 to 20 photos: its ``id``, and how many
        ``photos`` were different.

        Raises ``BadRequestError`` (label bad or taken, number of photos), ``BadImageError`` naming
        the photo, ``NoIndexError``, ``BusyError``; then nothing is changed.
        """
        clock = StageTimer()
        snapshot = self._snapshot()
        class_path(label, kind)
        unique = {hash_content(data): data for data in photos}
        if not 1 <= len(unique) <= MAX_PHOTOS:
            raise BadRequestError(
                f"a class is made from 1 to {MAX_PHOTOS} different photos, not {len(unique)}"
            )
        vectors = []
        for place, data in enumerate(unique.values(), 1):
            try:
                vectors.append(self._embed(snapshot, Query(image=data), clock))
            except BadImageError as error:
                raise type(error)(f"photo {place}: {error}") from error
        examples = ClassExamples(np.stack(vectors), tuple(unique), snapshot.bundle.embedding_id)
        with clock.stage("fit"):
            number, _ = add_class(
                self._home,
                self._catalog,
                label,
                examples,
                kind=kind,
                logits=snapshot.embedder.logits,
            )
        return self._changed(clock, id=number, photos=len(unique))

    def remove(
        self, *, number: int | None = None, label: str | None = None, kind: ClassKind = "category"
    ) -> dict[str, Any]:
        """Take a class made from photos away again, by id or label. Raises ``UnknownClassError``,
        ``BadRequestError``."""
        clock = StageTimer()
        if (number is None) == (label is None):
            raise BadRequestError("name one class: by its id or by its label")
        return self._changed(
            clock, id=remove_class(self._home, number=number, label=label, kind=kind)
        )

    def _changed(self, clock: StageTimer, **content: Any) -> dict[str, Any]:
        self._serving.refresh()
        return self._answer(self._serving.current, clock, **content)

    def _snapshot(self) -> Snapshot:
        if self._serving.current is None:
            raise NoIndexError("no index version is active: run catalens index build --activate")
        return self._serving.current
