"""Photo embedder: uploads and stored products to embeddings, recent ones cached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import PhotoRow, Written
from indexer.catalog.store import Catalog
from indexer.core.errors import (
    BadRequestError,
    CatalensError,
    NoIndexError,
    NoMemoryError,
    UnknownPhotoError,
    UnknownProductError,
)
from indexer.core.lru import LRUCache
from indexer.imaging.decode import Photo, hash_content
from indexer.imaging.object_proposals import propose_regions
from indexer.model.preprocessing import frame_part
from indexer.model.runtime_base import ParallelRuntime
from indexer.model.spec import Preprocess
from service.inference.admission import AdmissionGate, DeadlineExceededError
from service.inference.decoder import PhotoDecoder
from service.inference.queue import InferenceQueue
from service.query.context import RequestContext
from service.query.query import Crop, Query
from service.state.snapshot import Snapshot

# Embeddings of recent uploads: the page asks three questions about one photo.
_REMEMBERED = 256

_EmbeddingKey = tuple[str, str, Crop | None]  # embedding id, content hash, crop


@dataclass(frozen=True)
class EmbeddedQuery:
    """A query with the embeddings of what it is about."""

    query: Query
    inputs: dict[str, np.ndarray]  # "product_id" and "image" -> float32 [n, D], unit
    self_pids: frozenset[int]  # the products it is about, which are no results of their own
    photos: PhotoEmbedder | None = None  # that embeds the photo around a part

    @cached_property
    def vectors(self) -> np.ndarray:
        """Query vectors float32 [n, D], of several inputs their mean direction.

        Raises ``BadRequestError`` where there is no input, or where two cancel each other out.
        """
        if not self.inputs:
            raise BadRequestError("no query: provide `image` or `product_id`")
        if len(self.inputs) == 1:
            return next(iter(self.inputs.values()))
        mean = np.sum([_unit(given.mean(axis=0)) for given in self.inputs.values()], axis=0)
        return _unit(mean.astype(np.float32))[np.newaxis]

    def embed_whole(self, ctx: RequestContext) -> EmbeddedQuery | None:
        """All of the photo of which a part is asked about; None where nothing is a part. Raises as
        ``PhotoEmbedder.embed_upload``."""
        query = replace(self.query, crop=None, product_id=None)
        if self.photos is None or self.query.crop is None or query.image is None:
            return None
        vector = self.photos.embed_upload(ctx, query.image, content_hash=query.image_hash)
        return EmbeddedQuery(query, {"image": vector[np.newaxis]}, self.self_pids)


@dataclass(frozen=True)
class DecodedUpload:
    """An upload's pixels, and its embedding [D] where it was embedded a moment ago."""

    key: _EmbeddingKey
    photo: Photo
    vector: np.ndarray | None


@dataclass(frozen=True)
class EmbeddedRegions:
    """The boxes of a photo that may show products, the last one all of it, and their embeddings."""

    size: tuple[int, int]  # width and height of the upright photo, px
    boxes: list[Crop]
    vectors: np.ndarray  # float32 [N, D]


class PhotoEmbedder:
    """Embeds what queries are about; safe to call from many threads."""

    def __init__(
        self,
        queue: InferenceQueue,
        decoder: PhotoDecoder,
        admission: AdmissionGate,
        catalog: Catalog,
        photos: PhotoStore,
    ) -> None:
        self._queue = queue
        self._decoder = decoder
        self._admission = admission
        self._catalog = catalog
        self._photos = photos
        self._recent: LRUCache[_EmbeddingKey, np.ndarray] = LRUCache(_REMEMBERED)

    @property
    def roomy(self) -> bool:
        """Whether a photo may be decoded beside one that is held."""
        return self._decoder.roomy and self._photos.roomy

    # -- queries

    def embed(self, ctx: RequestContext, query: Query) -> EmbeddedQuery:
        """The embeddings of a query's photo and product, none of a text alone.

        Raises ``UnknownProductError``, ``NoIndexError`` for a product that is not searchable yet,
        and as ``embed_upload``.
        """
        inputs: dict[str, np.ndarray] = {}
        self_pids: frozenset[int] = frozenset()
        if query.product_id is not None:
            pid = self._catalog.pid(query.product_id)
            if pid is None:
                raise UnknownProductError(f"no product {query.product_id!r}")
            try:
                inputs["product_id"] = ctx.snapshot.live.vectors_of(pid)[1]
            except UnknownProductError:
                raise NoIndexError(
                    f"product {query.product_id!r} is stored but not searchable yet"
                ) from None
            self_pids = frozenset({pid})
        if query.image is not None:
            vector = self.embed_upload(ctx, query.image, query.crop, content_hash=query.image_hash)
            inputs["image"] = vector[np.newaxis]
        return EmbeddedQuery(query, inputs, self_pids, self)

    def embed_upload(
        self,
        ctx: RequestContext,
        data: bytes,
        crop: Crop | None = None,
        *,
        content_hash: str | None = None,
    ) -> np.ndarray:
        """The embedding [D] of a photo; one seen a moment ago is not computed again.

        Raises ``DeadlineExceededError`` where the deadline comes first, ``OverloadedError``, and
        what decoding raises.
        """
        key = _key(ctx.snapshot, content_hash or hash_content(data), crop)
        known = self._recent.get(key)
        if known is not None:
            return known
        alone = self._alone(ctx.snapshot)
        with nullcontext() if alone else self._queue.expecting():
            photo = self._decode(ctx, data, crop, key[1])
        return self._embed_new(ctx, key, photo, alone=alone)

    def decode_upload(self, ctx: RequestContext, data: bytes) -> DecodedUpload:
        """The pixels of a photo that is looked at otherwise too, beside its embedding."""
        key = _key(ctx.snapshot, hash_content(data), None)
        known = self._recent.get(key)
        expected = known is None and not isinstance(ctx.snapshot.embedder, ParallelRuntime)
        with self._queue.expecting() if expected else nullcontext():
            return DecodedUpload(key, self._decode(ctx, data, None, key[1]), known)

    def decode_stored(
        self, ctx: RequestContext, row: PhotoRow, vector: np.ndarray | None
    ) -> DecodedUpload:
        """As ``decode_upload``, of a stored photo whose ``vector`` may be stored too: its bytes are
        in memory for as long as they are decoded. Raises ``UnknownPhotoError``,
        ``DeadlineExceededError``."""
        key = _key(ctx.snapshot, row.content_hash, None)
        if vector is not None:
            self._recent.put(key, vector)
        with self._stored(ctx, row) as data:
            found = self.decode_upload(ctx, data)
        return found if vector is None else replace(found, vector=vector)

    def embed_decoded(self, ctx: RequestContext, upload: DecodedUpload) -> np.ndarray:
        """The embedding [D] of a decoded upload. Raises as ``embed_upload``."""
        if upload.vector is not None:
            return upload.vector
        # A pass on all cores would wait, layer by layer, for the one that examines the pixels.
        alone = isinstance(ctx.snapshot.embedder, ParallelRuntime)
        return self._embed_new(ctx, upload.key, upload.photo, alone=alone)

    def embed_regions(self, ctx: RequestContext, data: bytes) -> EmbeddedRegions:
        """The regions of a photo that may show products, embedded as one batch.

        Raises as ``embed_upload``.
        """
        with self._queue.expecting():
            photo = self._decode(ctx, data, None, None)
            with ctx.timer.stage("propose"):
                boxes = propose_regions(photo.pixels)
                preprocess = ctx.snapshot.embedder.spec.preprocess
                parts = [
                    frame_part(photo.pixels.crop((x, y, x + w, y + h)), preprocess)
                    for x, y, w, h in boxes
                ]
        crops = [
            replace(photo, pixels=part, width=part.width, height=part.height) for part in parts
        ]
        vectors = self.embed_photos(ctx, crops)
        size = (photo.width, photo.height)
        return EmbeddedRegions(
            size, [_scaled(box, photo.pixels.size, size) for box in boxes], vectors
        )

    def embed_photos(self, ctx: RequestContext, photos: Sequence[Photo]) -> np.ndarray:
        """The embeddings [N, D] of decoded photos, in one batch. Raises ``DeadlineExceededError``,
        ``OverloadedError``."""
        with ctx.timer.stage("embed"):
            return self._queue.embed(ctx.snapshot.embedder, photos, within_s=ctx.left_s())

    def decode_query(self, ctx: RequestContext, query: Query) -> Photo:
        """The photo of a query, or the part of it that the network is shown; of a stored product
        its first."""
        if query.image is not None:
            return self._decode(ctx, query.image, query.crop, None)
        product = self._catalog.get(query.product_id or "")
        row = self._catalog.photo(product.photos[0])
        if row is None:
            return self._decode(ctx, b"", query.crop, None)
        with self._stored(ctx, row) as data:
            return self._decode(ctx, data, query.crop, None)

    # -- the cache

    def remember(
        self, snapshot: Snapshot, data: bytes, crop: Crop | None, vector: np.ndarray
    ) -> None:
        """Store the embedding of a photo, or of a part of it, for the queries that follow."""
        self._recent.put(_key(snapshot, hash_content(data), crop), vector)

    def forget(self, written: Iterable[Written]) -> None:
        """Drop the embeddings of photos that no product has any more."""
        hashes = {content_hash for found in written for content_hash in found.orphaned}
        if hashes:
            for key, _ in self._recent.items():
                if key[1] in hashes:
                    self._recent.pop(key)

    def clear(self) -> None:
        """Drop all remembered embeddings."""
        self._recent.clear()

    @property
    def remembered(self) -> int:
        """How many embeddings of recent uploads are held."""
        return len(self._recent)

    # -- inside

    @contextmanager
    def _stored(self, ctx: RequestContext, row: PhotoRow) -> Iterator[bytes]:
        """Inside, the bytes of a stored photo are in memory. Raises ``UnknownPhotoError`` that
        names no file of this machine, ``DeadlineExceededError``."""
        with ExitStack() as stack:
            try:
                data = stack.enter_context(self._photos.opened(row, within_s=ctx.left_s()))
            except NoMemoryError as error:
                raise DeadlineExceededError(
                    f"no time to read photo {row.content_hash} before the deadline: {error}"
                ) from error
            except CatalensError as error:
                raise UnknownPhotoError(
                    f"the file of photo {row.content_hash} is gone or was changed"
                ) from error
            yield data

    def _alone(self, snapshot: Snapshot) -> bool:
        """Whether this thread embeds by itself: where a pass on all cores would wait, layer by
        layer, for one that another request is busy on."""
        return isinstance(snapshot.embedder, ParallelRuntime) and self._admission.crowded

    def _decode(
        self, ctx: RequestContext, data: bytes, crop: Crop | None, content_hash: str | None
    ) -> Photo:
        with ctx.timer.stage("decode"):
            # A crop is taken from all the pixels: half of a shrunk photo may be too small.
            photo = self._decoder.decode(
                data,
                shrink_to=None if crop else ctx.snapshot.embedder.shrink_to,
                content_hash=content_hash,
                within_s=ctx.left_s(),
            )
            if crop is None:
                return photo
            return _cropped(photo, crop, ctx.snapshot.embedder.spec.preprocess)

    def _embed_new(
        self, ctx: RequestContext, key: _EmbeddingKey, photo: Photo, *, alone: bool
    ) -> np.ndarray:
        vector = self._embed_alone(ctx, photo) if alone else self.embed_photos(ctx, [photo])[0]
        self._recent.put(key, vector)
        return vector

    def _embed_alone(self, ctx: RequestContext, photo: Photo) -> np.ndarray:
        """The embedding [D] by this thread alone (``ParallelRuntime``). Raises
        ``DeadlineExceededError``."""
        with ctx.timer.stage("embed"):
            if not ctx.left_s():
                raise DeadlineExceededError(
                    "no time to embed the photo before its deadline: try again shortly"
                )
            embedder = ctx.snapshot.embedder
            assert isinstance(embedder, ParallelRuntime)
            features = embedder.extract_photo_features(embedder.to_pixels(photo))
            vector: np.ndarray = embedder.embed_features(features[np.newaxis])[0]
            return vector


def _key(snapshot: Snapshot, content_hash: str, crop: Crop | None) -> _EmbeddingKey:
    return (snapshot.bundle.embedding_id, content_hash, crop)


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    if length < 1e-6:
        raise BadRequestError(
            "the image and the product point in opposite directions: ask for one of them"
        )
    return vector / length


def _scaled(box: Crop, of: tuple[int, int], to: tuple[int, int]) -> Crop:
    """A box in a picture of size ``of`` (width, height) as one in px of size ``to``."""
    x, y, width, height = box
    left, right = (round(edge * to[0] / of[0]) for edge in (x, x + width))
    top, bottom = (round(edge * to[1] / of[1]) for edge in (y, y + height))
    return left, top, max(1, right - left), max(1, bottom - top)


def _cropped(photo: Photo, crop: Crop, preprocess: Preprocess) -> Photo:
    """The part of a whole photo as the network is shown all of it (``frame_part``)."""
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
    part = frame_part(photo.pixels.crop((x, y, x + width, y + height)), preprocess)
    return replace(photo, pixels=part, width=part.width, height=part.height)
