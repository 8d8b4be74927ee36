"""Classes made from a few photos: listed, added and removed while the service runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from indexer.catalog.store import Catalog
from indexer.classification import class_editing as classes
from indexer.classification.class_editing import Kind
from indexer.core.errors import BadRequest, NoIndex
from indexer.core.home import Home
from indexer.imaging import decode as images
from indexer.model.few_shot import MAX_PHOTOS
from service.inference.queue import InferenceQueue
from service.query.query import Source
from service.query.response import Clock
from service.state.snapshots import Serving, Snapshot


class Classes:
    """Part of the engine. What it changes is the decision layer alone: the next answer knows it, nothing is rebuilt."""

    def __init__(
        self,
        home: Home,
        catalog: Catalog,
        serving: Serving,
        queue: InferenceQueue,
        *,
        embed: Callable[..., np.ndarray],
        answer: Callable[..., dict[str, Any]],
    ) -> None:
        self._home, self._catalog, self._serving, self._queue = home, catalog, serving, queue
        self._embed, self._answer = embed, answer

    def list(self) -> dict[str, Any]:
        """``classes`` [{id, kind, label, path, source, photos}]: trained ones, and those made from photos."""
        clock = Clock()
        snapshot = self._snapshot()
        return self._answer(snapshot, clock, classes=classes.listing(snapshot.bundle.decision))

    def add(self, label: str | Sequence[str], photos: Sequence[bytes], *, kind: Kind = "category") -> dict[str, Any]:
        """Make a category (a path) or a tag from 1 to 20 photos: its ``id``, and how many ``photos`` were different.

        Raises ``BadRequest`` (label bad or taken, number of photos), ``BadImage`` naming the photo, ``NoIndex``,
        ``Busy``; then nothing is changed.
        """
        clock = Clock()
        snapshot = self._snapshot()
        classes.class_path(label, kind)
        unique = {images.content_hash(data): data for data in photos}
        if not 1 <= len(unique) <= MAX_PHOTOS:
            raise BadRequest(f"a class is made from 1 to {MAX_PHOTOS} different photos, not {len(unique)}")
        vectors = []
        for place, data in enumerate(unique.values(), 1):
            try:
                vectors.append(self._embed(snapshot, Source(image=data), clock))
            except images.BadImage as error:
                raise type(error)(f"photo {place}: {error}") from error
        examples = classes.Examples(np.stack(vectors), tuple(unique), snapshot.bundle.embedding_id)
        with clock.stage("fit"):
            number, _ = classes.add_class(
                self._home,
                self._catalog,
                label,
                examples,
                kind=kind,
                logits=snapshot.embedder.logits,
            )
        return self._changed(clock, id=number, photos=len(unique))

    def remove(self, *, number: int | None = None, label: str | None = None, kind: Kind = "category") -> dict[str, Any]:
        """Take a class made from photos away again, by id or label. Raises ``UnknownClass``, ``BadRequest``."""
        clock = Clock()
        if (number is None) == (label is None):
            raise BadRequest("name one class: by its id or by its label")
        return self._changed(clock, id=classes.remove_class(self._home, number=number, label=label, kind=kind))

    def _changed(self, clock: Clock, **content: Any) -> dict[str, Any]:
        self._serving.refresh()
        return self._answer(self._serving.current, clock, **content)

    def _snapshot(self) -> Snapshot:
        if self._serving.current is None:
            raise NoIndex("no index version is active: run catalens index build --activate")
        return self._serving.current
