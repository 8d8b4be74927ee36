"""Uploaded photos to what is known of them: decoded, embedded within the request's deadline,
remembered for a while."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import PhotoRow, Written
from indexer.catalog.store import Catalog
from indexer.core.errors import BadRequestError, CatalensError, UnknownPhotoError
from indexer.core.timer import StageTimer
from indexer.imaging.decode import ImageLimits, Photo, decode_photo, hash_content
from indexer.imaging.object_proposals import pad_to_square, propose_regions
from indexer.model.runtime_base import ParallelRuntime
from service.inference.admission import DeadlineExceededError
from service.inference.queue import InferenceQueue
from service.query.query import Query
from service.state.snapshots import Snapshot

_REMEMBERED = (
    256  # embeddings of recently uploaded photos; the page asks three questions about one photo
)

Crop = tuple[int, int, int, int]
_EmbeddingKey = tuple[str, str, Crop | None]


class PhotoEmbedder:
    """Part of the engine; safe to call from many threads."""

    def __init__(
        self,
        queue: InferenceQueue,
        catalog: Catalog,
        photos: PhotoStore,
        *,
        limits: ImageLimits,
        deadline_s: float,
        crowded: Callable[[], bool],
    ) -> None:
        """``crowded``: whether other questions are being worked on too."""
        self._queue, self._catalog, self._photos, self._limits = queue, catalog, photos, limits
        self._deadline_s, self._crowded = deadline_s, crowded
        # A decoded photo may take 200 MB, so as many at once as can work, not as many as there are
        # requests.
        self.decoding = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))
        self._recent: OrderedDict[_EmbeddingKey, np.ndarray] = OrderedDict()
        self._recent_lock = threading.Lock()

    def vector(self, snapshot: Snapshot, source: Query, clock: StageTimer) -> np.ndarray:
        """The embedding [D] of a question's photo; a photo seen a moment ago is not computed again.

        Raises ``DeadlineExceededError`` where the deadline comes first, ``OverloadedError``, and
        what decoding raises.
        """
        assert source.image is not None
        key = (snapshot.bundle.embedding_id, source.image_hash, source.crop)
        known = self._known(key)
        return (
            known
            if known is not None
            else self._new(snapshot, key, source.image, source.crop, clock)
        )

    def look(
        self, snapshot: Snapshot, data: bytes, clock: StageTimer, *, opened: Callable[[Photo], None]
    ) -> np.ndarray:
        """The embedding [D] of a photo that is looked at otherwise too. Raises as ``vector``.

        ``opened`` gets the photo, decoded as the network takes it, before the network does, and may
        have other threads work on it. Questions about the same bytes that follow find the embedding
        here.
        """
        key = (snapshot.bundle.embedding_id, hash_content(data), None)
        known = self._known(key)
        if known is None:
            return self._new(snapshot, key, data, None, clock, opened)
        opened(self._decode(snapshot, data, None, clock, hashed=key[1]))
        return known

    def parts(
        self, snapshot: Snapshot, data: bytes, clock: StageTimer
    ) -> tuple[tuple[int, int], list[Crop], np.ndarray]:
        """Size (width, height) of a photo, the boxes in it that may show products, and their
        embeddings [N, D].

        Boxes are in px of the upright photo, the last one is all of it. All go through the network
        as one batch. Raises as ``vector``.
        """
        with self._queue.coming():
            photo = self._decode(snapshot, data, None, clock)
            with clock.stage("propose"):
                boxes = propose_regions(photo.pixels)
                seen = [
                    pad_to_square(photo.pixels.crop((x, y, x + w, y + h))) for x, y, w, h in boxes
                ]
        crops = [replace(photo, pixels=part, width=part.width, height=part.height) for part in seen]
        vectors = self.embed(snapshot, crops, clock)
        size = photo.width, photo.height
        return size, [_scaled(box, photo.pixels.size, size) for box in boxes], vectors

    def remember(
        self, snapshot: Snapshot, data: bytes, crop: Crop | None, vector: np.ndarray
    ) -> None:
        """Questions about this photo, or this part of it, that follow find its embedding here."""
        self._keep((snapshot.bundle.embedding_id, hash_content(data), crop), vector)

    def _known(self, key: _EmbeddingKey) -> np.ndarray | None:
        with self._recent_lock:
            return self._recent.get(key)

    def _new(
        self,
        snapshot: Snapshot,
        key: _EmbeddingKey,
        data: bytes,
        crop: Crop | None,
        clock: StageTimer,
        opened: Callable[[Photo], None] | None = None,
    ) -> np.ndarray:
        # A pass on all cores would wait, layer by layer, for one that somebody else is busy on.
        beside = isinstance(snapshot.embedder, ParallelRuntime) and (
            opened is not None or self._crowded()
        )
        with nullcontext() if beside else self._queue.coming():
            photo = self._decode(snapshot, data, crop, clock, hashed=key[1])
            if opened is not None:
                opened(photo)
        vector = (
            self._beside(snapshot, photo, clock)
            if beside
            else self.embed(snapshot, [photo], clock)[0]
        )
        self._keep(key, vector)
        return vector

    def _keep(self, key: _EmbeddingKey, vector: np.ndarray) -> None:
        with self._recent_lock:
            self._recent[key] = vector
            while len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)

    def embed(self, snapshot: Snapshot, photos: Sequence[Photo], clock: StageTimer) -> np.ndarray:
        """The embeddings [N, D] of decoded photos, or parts of them. Raises
        ``DeadlineExceededError``, ``OverloadedError``."""
        with clock.stage("embed"):
            left_s = self._deadline_s - clock.elapsed()
            return self._queue.embed(snapshot.embedder, photos, within_s=left_s)

    def _beside(self, snapshot: Snapshot, photo: Photo, clock: StageTimer) -> np.ndarray:
        """The embedding [D] by this thread alone (``ParallelRuntime``). Raises
        ``DeadlineExceededError``."""
        with clock.stage("embed"):
            if clock.elapsed() >= self._deadline_s:
                raise DeadlineExceededError(
                    "no time to embed the photo before its deadline: try again shortly"
                )
            embedder = snapshot.embedder
            assert isinstance(embedder, ParallelRuntime)
            features = embedder.extract_photo_features(embedder.to_pixels(photo))
            vector: np.ndarray = embedder.embed_features(features[np.newaxis])[0]
            return vector

    def photo(self, snapshot: Snapshot, source: Query, clock: StageTimer) -> Photo:
        """The photo a question is about, or the part of it that the network is shown; of a stored
        product its first."""
        if source.image is not None:
            return self._decode(snapshot, source.image, source.crop, clock)
        product = self._catalog.get(source.product_id or "")
        row = self._catalog.photo(product.photos[0])
        return self._decode(snapshot, self.stored(row) if row else b"", source.crop, clock)

    def stored(self, row: PhotoRow) -> bytes:
        """The bytes of a stored photo. Raises ``UnknownPhotoError`` that names no file of this
        machine."""
        try:
            return self._photos.read(row)
        except CatalensError as error:
            raise UnknownPhotoError(
                f"the file of photo {row.content_hash} is gone or was changed"
            ) from error

    def forget(self, written: Iterable[Written]) -> None:
        """No embedding of a photo that no product has any more is remembered."""
        hashes = {content_hash for found in written for content_hash in found.orphaned}
        with self._recent_lock:
            for key in [key for key in self._recent if key[1] in hashes]:
                del self._recent[key]

    def _decode(
        self,
        snapshot: Snapshot,
        data: bytes,
        crop: Crop | None,
        clock: StageTimer,
        *,
        hashed: str | None = None,
    ) -> Photo:
        with clock.stage("decode"), self._turn(clock):
            # A crop is taken from all the pixels there are: half of a shrunk photo may be too
            # small.
            shrink_to = None if crop else snapshot.embedder.shrink_to
            photo = decode_photo(data, limits=self._limits, shrink_to=shrink_to, hashed=hashed)
            return photo if crop is None else _cropped(photo, crop)

    @contextmanager
    def _turn(self, clock: StageTimer) -> Iterator[None]:
        """One of the places for decoding; ``DeadlineExceededError`` where none is free before the
        deadline."""
        if not self.decoding.acquire(timeout=max(self._deadline_s - clock.elapsed(), 0.0)):
            raise DeadlineExceededError(
                "no time to decode the photo before its deadline: try again shortly"
            )
        try:
            yield
        finally:
            self.decoding.release()


def _scaled(box: Crop, of: tuple[int, int], to: tuple[int, int]) -> Crop:
    """A box in a picture of size ``of`` (width, height) as one in px of size ``to``."""
    x, y, width, height = box
    left, right = (round(edge * to[0] / of[0]) for edge in (x, x + width))
    top, bottom = (round(edge * to[1] / of[1]) for edge in (y, y + height))
    return left, top, max(1, right - left), max(1, bottom - top)


def _cropped(photo: Photo, crop: Crop) -> Photo:
    """The part of a whole photo in the middle of a square (``objects.squared``)."""
    x, y, width, height = crop
    if (
        x < 0
        or y < 0
        or width < 1
        or height < 1
        or x + width > photo.width
        or y + height > photo.height
    ):
        raise BadRequestError(
            f"crop {list(crop)} does not lie inside the photo of {photo.width} x {photo.height} px"
        )
    part = pad_to_square(photo.pixels.crop((x, y, x + width, y + height)))
    return replace(photo, pixels=part, width=part.width, height=part.height)
