"""Classes made from a few photos or from words: listed, added, removed while the service runs."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from indexer.catalog.deletions import Deletions
from indexer.catalog.store import Catalog
from indexer.classification.class_editing import (
    AddedClass,
    ClassExamples,
    ClassKind,
    ClassWords,
    add_class,
    class_path,
    list_classes,
    remove_class,
)
from indexer.core.errors import BadRequestError
from indexer.core.home import Home
from indexer.core.timer import StageTimer
from indexer.imaging.decode import BadImageError, hash_content
from indexer.model.few_shot import MAX_PHOTOS
from indexer.text.zero_shot import describe_kind, prompts_for
from service.inference.deadline import Deadline
from service.query.context import RequestContext
from service.query.pair_texts import PairEncoders
from service.query.photo_embedder import PhotoEmbedder
from service.query.response import OPTIONAL, Envelope
from service.state.snapshots import SnapshotManager


@dataclass(frozen=True)
class ClassSummary:
    """A category or tag; ``photos``: how many one was made from that was not trained, ``prompts``:
    the words that describe it where it is from no photo."""

    id: int
    kind: Literal["category", "tag"]
    label: str
    path: builtins.list[str]
    source: Literal["trained", "few-shot", "text"]
    photos: int | None
    prompts: builtins.list[str] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class ClassList:
    """The categories of the active model, and what was made from photos."""

    classes: builtins.list[ClassSummary]


@dataclass(frozen=True)
class ClassChange:
    """The class that was added or removed."""

    id: int
    photos: int | None = field(default=None, metadata=OPTIONAL)
    prompts: builtins.list[str] | None = field(default=None, metadata=OPTIONAL)
    suggested: Annotated[
        float | None,
        Field(
            description="Of a class from words: the share of the catalog's photos, of those not "
            "known to be of it, that it is suggested for."
        ),
    ] = field(default=None, metadata=OPTIONAL)


class ClassManager:
    """Edits the decision layer alone: the next answer knows it, nothing is rebuilt."""

    def __init__(
        self,
        home: Home,
        catalog: Catalog,
        snapshots: SnapshotManager,
        embedder: PhotoEmbedder,
        pairs: PairEncoders,
        *,
        deadline_s: float,
    ) -> None:
        self._home = home
        self._catalog = catalog
        self._snapshots = snapshots
        self._embedder = embedder
        self._pairs = pairs
        self._deadline_s = deadline_s

    def list(self) -> Envelope[ClassList]:
        """Trained classes, and those made from photos. Raises ``NoIndexError``,
        ``DeadlineExceededError``."""
        deadline = Deadline(self._deadline_s)
        snapshot = self._snapshots.require()
        rows = []
        for row in list_classes(snapshot.bundle.decision):
            deadline.check()
            rows.append(ClassSummary(**row))
        return Envelope.around(ClassList(rows), snapshot, deadline.timer)

    def add(
        self, label: str | Sequence[str], photos: Sequence[bytes], *, kind: ClassKind = "category"
    ) -> Envelope[ClassChange]:
        """Make a category (a path) or a tag from 1 to 20 photos: its ``id``, and how many
        ``photos`` were different.

        Raises ``BadRequestError`` (label bad or taken, number of photos, a photo that is erased
        meanwhile), ``BadImageError`` naming the photo, ``NoIndexError``, ``BusyError``; then
        nothing is changed.
        """
        ctx = RequestContext.begin(self._snapshots.require(), self._deadline_s)
        class_path(label, kind)
        unique = {hash_content(data): data for data in photos}
        erased = Deletions(self._catalog.database).erased_among(unique)
        if not 1 <= len(unique) <= MAX_PHOTOS:
            raise BadRequestError(
                f"a class is made from 1 to {MAX_PHOTOS} different photos, not {len(unique)}"
            )
        vectors = []
        for place, (content_hash, data) in enumerate(unique.items(), 1):
            try:
                vectors.append(self._embedder.embed_upload(ctx, data, content_hash=content_hash))
            except BadImageError as error:
                raise type(error)(f"photo {place}: {error}") from error
        embedding_id = ctx.snapshot.bundle.embedding_id
        examples = ClassExamples(np.stack(vectors), tuple(unique), embedding_id, erased)
        made = self._add(ctx, label, examples, kind)
        return self._changed(ClassChange(made.id, len(unique)), ctx.timer)

    def add_described(
        self,
        label: str | Sequence[str],
        prompts: Sequence[str] = (),
        *,
        kind: ClassKind = "category",
    ) -> Envelope[ClassChange]:
        """Make a category or a tag from words, by the text tower of an image and text pair: its
        ``id``, the ``prompts`` (without any its name), how much of the catalog it is suggested for.

        Raises ``BadRequestError`` (label bad or taken, prompts that are empty, too long or not
        understood, a small catalog), ``NoTextTowerError``, ``NoIndexError``, ``BusyError``; then
        nothing is changed.
        """
        ctx = RequestContext.begin(self._snapshots.require(), self._deadline_s)
        path, bundle = class_path(label, kind), ctx.snapshot.bundle
        encoder = self._pairs.require(bundle, "a class is made from words", ctx)
        described = describe_kind(encoder, bundle.spec.blocks, prompts_for(path[-1], prompts))
        ctx.check()
        made = self._add(ctx, label, ClassWords(described, bundle.embedding_id), kind)
        change = ClassChange(made.id, 0, list(described.prompts), made.suggested)
        return self._changed(change, ctx.timer)

    def _add(
        self,
        ctx: RequestContext,
        label: str | Sequence[str],
        examples: ClassExamples | ClassWords,
        kind: ClassKind,
    ) -> AddedClass:
        with ctx.timer.stage("fit"):
            return add_class(
                self._home,
                self._catalog,
                label,
                examples,
                kind=kind,
                logits=ctx.snapshot.embedder.logits,
            )

    def remove(
        self, *, number: int | None = None, label: str | None = None, kind: ClassKind = "category"
    ) -> Envelope[ClassChange]:
        """Take a class made from photos away again, by id or label. Raises ``UnknownClassError``,
        ``BadRequestError``."""
        timer = StageTimer()
        if (number is None) == (label is None):
            raise BadRequestError("name one class: by its id or by its label")
        removed = remove_class(self._home, self._catalog, number=number, label=label, kind=kind)
        return self._changed(ClassChange(removed), timer)

    def _changed(self, change: ClassChange, timer: StageTimer) -> Envelope[ClassChange]:
        self._snapshots.follow()
        return Envelope.around(change, self._snapshots.current, timer)
