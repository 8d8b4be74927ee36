"""Listing review: content, quality, duplicates and policies of its photos."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import orjson
from PIL import Image

from indexer.catalog.records import PhotoRow, Product
from indexer.catalog.store import Catalog
from indexer.core.category_path import format_path
from indexer.core.errors import BadImageError
from indexer.core.native import THREADS
from indexer.imaging.decode import Photo
from indexer.index.live import LiveIndex
from indexer.moderation.checker import DetectorResults
from indexer.reviews.store import Preview
from service.query.classify import classify, shown_attributes, without_names
from service.query.context import RequestContext
from service.query.photo_embedder import EmbeddedQuery, PhotoEmbedder
from service.query.predictions import AttributePrediction
from service.query.query import Query
from service.query.response import Classification, JsonDocument, fields_of
from service.query.tags import TagSuggester, tags_of_look
from service.review.combine import combine
from service.review.duplicate_check import DuplicateCheck
from service.review.policy_check import PolicyCheck
from service.review.quality_check import QualityCheck
from service.review.queue import NAMELESS, ListingName, ReviewQueue
from service.review.result import AI_MADE, PhotoReview, QualityReport, ReviewResult
from service.state.snapshot import Snapshot

_SHOWN = 5  # categories
_PREVIEW = 640  # px, long side
_PAIRS = 2000  # of different products, whose cosines say how alike two products are by chance
_BY_CHANCE = 0.95  # photos of one product are more alike than this share of such pairs


@dataclass(frozen=True)
class _PixelReport:
    """What needs a photo's pixels alone."""

    quality: QualityReport
    detected: DetectorResults | None  # None where the shop has no policies
    preview: Image.Image


@dataclass(frozen=True)
class _EmbeddedPhoto:
    """One photo of a listing: its pixels, its embedding [D], and what is found in its pixels
    meanwhile."""

    photo: Photo
    vector: np.ndarray
    pixels: Future[_PixelReport]


@dataclass(frozen=True)
class _StoredPhoto:
    """A photo of the catalog, read when its turn comes, and its embedding [D] where it has one."""

    row: PhotoRow
    vector: np.ndarray | None


@dataclass(frozen=True)
class _ReviewedPhoto:
    """What is left of a photo once its pixels were looked at."""

    review: PhotoReview
    vector: np.ndarray
    content_hash: str
    preview: Image.Image


class ChanceSimilarity:
    """The cosine that few pairs of different products of an index version reach."""

    def __init__(self, live: LiveIndex) -> None:
        base = live.base
        rows, count = base.rows, len(base.rows)
        self.cosine = 1.0 - 1e-3  # a catalog too small to tell: the same photo only
        if count < 20:
            return
        places = np.random.default_rng(0).integers(0, count, size=(2, _PAIRS))
        left, right = places[:, rows[places[0], 0] != rows[places[1], 0]]
        sides = (np.asarray(base.stored[side], np.float32) for side in (left, right))
        pairs = np.einsum("nd,nd->n", *sides)
        if len(pairs):
            self.cosine = float(np.quantile(pairs, _BY_CHANCE))


class ListingReviewer:
    """Reviews listings; safe to call from many threads."""

    def __init__(
        self,
        catalog: Catalog,
        embedder: PhotoEmbedder,
        tag_suggester: TagSuggester,
        queue: ReviewQueue,
        *,
        quality: QualityCheck,
        policies: PolicyCheck,
        duplicates: DuplicateCheck,
    ) -> None:
        self._catalog = catalog
        self._embedder = embedder
        self._tag_suggester = tag_suggester
        self._queue = queue
        self.quality = quality
        self.policies = policies
        self.duplicates = duplicates
        self._helpers = ThreadPoolExecutor(THREADS, thread_name_prefix="pixels")

    def close(self) -> None:
        """Stop the threads."""
        self._helpers.shutdown()
        self.policies.close()
        self.duplicates.close()

    def review(
        self,
        ctx: RequestContext,
        photos: Sequence[bytes],
        *,
        product_id: str | None,
        profile: str | None,
        queue: bool = True,
        name: ListingName = NAMELESS,
    ) -> ReviewResult:
        """Whether a listing is fit to publish; it is queued where a person must look.

        ``product_id``: a stored product, no duplicate of itself or its variants, whose photos are
        taken where none are given. Raises ``BadImageError`` naming the photo,
        ``UnknownProductError``, also where it was erased before its review could be queued.
        """
        pid: int | None = None
        wanted: Sequence[bytes | _StoredPhoto] = photos
        if product_id is not None:
            product = self._catalog.get(product_id)
            pid = product.pid
            wanted = photos or self._photos_of(ctx, product)
        self_pids = frozenset[int]() if pid is None else frozenset({pid})
        duplicates_complete = self.duplicates.is_complete()
        seen = self._review_photos(ctx, wanted, self_pids, profile)
        result = combine(
            [photo.review for photo in seen],
            _by_product(ctx.snapshot, [photo.vector for photo in seen]),
            policy_version=self.policies.version,
            duplicates_complete=duplicates_complete,
        )
        if not queue or result.verdict not in ("review", "block"):
            return result
        with ctx.timer.stage("queue"):
            body, previews = _queued_form(ctx, result, seen)
            name_in_queue = self._queue.submit(
                body, previews, product_id=product_id, pid=pid, name=name
            )
            return replace(result, review_id=name_in_queue)

    def _review_photos(
        self,
        ctx: RequestContext,
        photos: Sequence[bytes | _StoredPhoto],
        self_pids: frozenset[int],
        profile: str | None,
    ) -> list[_ReviewedPhoto]:
        """One after another; while the pixels of one are looked at the next is decoded, where
        there is room for both."""
        done: list[_ReviewedPhoto] = []
        held: list[_EmbeddedPhoto] = []
        for place, given in enumerate(photos):
            ctx.check_pace(place, len(photos))
            if held and not self._embedder.roomy:
                done.append(self._review_photo(ctx, held.pop(), self_pids))
            try:
                held.append(self._embed(ctx, given, profile))
            except BadImageError as error:
                raise type(error)(f"photo {place}: {error}") from error
            if len(held) > 1:
                done.append(self._review_photo(ctx, held.pop(0), self_pids))
        done.extend(self._review_photo(ctx, photo, self_pids) for photo in held)
        return done

    def _photos_of(self, ctx: RequestContext, product: Product) -> list[_StoredPhoto]:
        """A stored product's photos, whose stored embeddings are not computed again."""
        rows = self._catalog.photos_by_id(product.photo_ids)
        held = [photo_id for photo_id in product.photo_ids if photo_id in rows]
        vectors, there = ctx.snapshot.live.vectors_at([product.pid] * len(held), held)
        found = zip(held, vectors, there.tolist(), strict=True)
        return [_StoredPhoto(rows[one], vector if known else None) for one, vector, known in found]

    def _embed(
        self, ctx: RequestContext, given: bytes | _StoredPhoto, profile: str | None
    ) -> _EmbeddedPhoto:
        """What needs the pixels alone is done on another core, beside the network and the
        searches. Raises ``UnknownPhotoError``."""
        if isinstance(given, bytes):
            upload = self._embedder.decode_upload(ctx, given)
        else:
            upload = self._embedder.decode_stored(ctx, given.row, given.vector)
        pixels = self._helpers.submit(self._examine, ctx.snapshot, upload.photo, profile)
        return _EmbeddedPhoto(upload.photo, self._embedder.embed_decoded(ctx, upload), pixels)

    def _examine(self, snapshot: Snapshot, photo: Photo, profile: str | None) -> _PixelReport:
        # In this order: quality wants the interpreter, which waits for the network now; detectors
        # do without it.
        quality = self.quality.examine(photo, profile)
        return _PixelReport(quality, self.policies.detect(photo, snapshot), _preview(photo))

    def _review_photo(
        self, request: RequestContext, seen: _EmbeddedPhoto, self_pids: frozenset[int]
    ) -> _ReviewedPhoto:
        ctx = request.for_photo()
        vectors = seen.vector[np.newaxis]
        # Of the photo no more than its embedding: its bytes need not stay for it.
        embedded = EmbeddedQuery(Query(), {"image": vectors}, frozenset())
        named = Classification([], False, shown_attributes(ctx.snapshot, vectors))
        known = len(ctx.snapshot.bundle.decision.categories)
        if known:
            # All of them: a banned category above many small ones is their sum. And of an unknown
            # kind too: policies weigh what the seller is not told.
            named = classify(ctx, embedded, top=known, withhold=False)
        tags = self._tag_suggester.suggest(ctx, embedded, exclude=self_pids, withhold=False).tags
        with ctx.timer.stage("duplicates"):
            repeated = self.duplicates.find(ctx, seen.photo, seen.vector, exclude=self_pids)
        with ctx.timer.stage("pixels"):
            pixels = seen.pixels.result()
        with ctx.timer.stage("prohibited"):
            prohibited = self.policies.check(
                ctx,
                seen.photo,
                seen.vector,
                categories=[
                    (format_path(entry.path), entry.probability) for entry in named.categories
                ],
                tags=[(entry.tag, entry.confidence) for entry in tags],
                detected=pixels.detected,
            )
        if named.nearest_kinds is not None:
            named, tags = without_names(named), tags_of_look(ctx.snapshot, tags)
        review = PhotoReview(
            seen.photo.width,
            seen.photo.height,
            named.categories[:_SHOWN],
            named.unknown if known else None,
            named.attributes + _told(seen.photo),
            tags,
            pixels.quality,
            prohibited,
            repeated.claimed,
            named.nearest_kinds,
            repeated.possible or None,
        )
        return _ReviewedPhoto(review, seen.vector, seen.photo.content_hash, pixels.preview)


def _queued_form(
    ctx: RequestContext, result: ReviewResult, photos: Sequence[_ReviewedPhoto]
) -> tuple[JsonDocument, list[Preview]]:
    """What the queue keeps of a review."""
    body = orjson.loads(orjson.dumps(fields_of(result)))
    del body["review_id"]
    body["model_version"] = ctx.snapshot.model_version
    body["index_version"] = ctx.snapshot.index_version
    return body, [Preview(seen.content_hash, _to_jpeg(seen.preview)) for seen in photos]


def _by_product(snapshot: Snapshot, vectors: Sequence[np.ndarray]) -> list[list[int]]:
    """The photos, by number, that show one product each: joined where more alike than different
    products are."""
    if len(vectors) < 2:
        return [[place] for place in range(len(vectors))]
    cosines = np.stack(vectors) @ np.stack(vectors).T
    alike = cosines >= snapshot.derived_from_index(ChanceSimilarity).cosine
    groups: list[set[int]] = []
    for place in range(len(vectors)):
        near = set(np.flatnonzero(alike[place]).tolist()) | {place}
        joined = [group for group in groups if group & near]
        groups = [group for group in groups if not group & near] + [near.union(*joined)]
    return sorted(sorted(group) for group in groups)


def _told(photo: Photo) -> list[AttributePrediction]:
    """What the file says of its own making, as an attribute: IPTC's term for the source."""
    mark = photo.ai_mark
    return [] if mark is None else [AttributePrediction(AI_MADE, mark.source, 1.0)]


def _preview(photo: Photo) -> Image.Image:
    """The photo as people see it in the queue; a copy, so that nobody holds the photo for it."""
    if max(photo.pixels.size) <= _PREVIEW:
        return photo.pixels.copy()
    size = photo.pixels.width, photo.pixels.height
    scale = _PREVIEW / max(size)
    small = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
    return photo.pixels.resize(small, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _to_jpeg(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return stream.getvalue()
