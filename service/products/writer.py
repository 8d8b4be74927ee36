"""Writer: photos decoded and embedded, one catalog commit, the served index updated."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from indexer.catalog.deletions import Deletions
from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.product_checks import check_product
from indexer.catalog.product_fields import NO_FIELDS, ProductFields
from indexer.catalog.records import (
    Delete,
    NewPhoto,
    Patch,
    ProductInput,
    Put,
    Tag,
    Write,
    Written,
)
from indexer.catalog.store import Catalog
from indexer.catalog.upload_notes import noted_uploads
from indexer.core.category_path import CategoryPath
from indexer.core.errors import (
    BadProductError,
    CatalensError,
    UnknownPhotoError,
    UnknownProductError,
)
from indexer.core.home import Home
from indexer.core.timer import StageTimer
from indexer.imaging.decode import BadImageError, Photo, hash_content
from indexer.reviews.erased_previews import forget_erased
from indexer.reviews.store import forget_photos
from service.inference.decoder import PhotoDecoder
from service.inference.queue import InferenceQueue
from service.state.snapshot import Snapshot
from service.state.snapshots import SnapshotManager

_PORTION = 8  # photos held decoded at once, fewer where they are large


@dataclass(frozen=True)
class Draft:
    """A product as sent. ``tags`` are (tag, source); ``photos`` bytes, or the hash of a stored one;
    the first leads. ``sources``: the shop's own address of each of the first photos, None without
    one."""

    title: str | None = None
    category: CategoryPath | None = None
    tags: tuple[tuple[str, str], ...] = ()
    attributes: Mapping[str, Any] | None = None
    photos: tuple[bytes | str, ...] = ()
    fields: ProductFields = NO_FIELDS
    sources: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Upsert:
    """A product to add or to replace, as sent."""

    product_id: str
    draft: Draft
    external_version: int | None = None
    # As ``records.Patch``.
    expected_sequence: int | None = None


WriteRequest = Upsert | Patch | Delete


@dataclass
class _UploadedPhotos:
    """The photos that came as bytes with one call, by content hash."""

    data: dict[str, bytes] = field(default_factory=dict)
    facts: dict[str, NewPhoto] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)  # known before or embedded now
    fresh: set[str] = field(default_factory=set)  # embedded now
    bad: dict[str, CatalensError] = field(default_factory=dict)
    stored: set[str] = field(
        default_factory=set
    )  # hashes, sent or named, that the catalog had before
    made: set[str] = field(default_factory=set)  # whose files were written for this call


class Writer:
    """Takes one commit at a time, and makes what it changed searchable before it returns."""

    def __init__(
        self,
        home: Home,
        catalog: Catalog,
        photos: PhotoStore,
        snapshots: SnapshotManager,
        queue: InferenceQueue,
        decoder: PhotoDecoder,
        log: Any,
    ) -> None:
        self._home = home
        self._catalog = catalog
        self._photos = photos
        self._snapshots = snapshots
        self._queue = queue
        self._decoder = decoder
        self._log = log
        self._writing = threading.Lock()
        # Photos whose files are to be removed: of deleted products, and made here for writes that
        # were refused; and removed ones that reviews may still show. All need ``_writing``.
        self._unused: set[str] = set()
        self._refused: set[str] = set()
        self._reviewed: set[str] = set()

    def write_one(self, request: WriteRequest, timer: StageTimer) -> Written:
        """As ``write`` for a single request, whose failure is raised."""
        (done,) = self.write([request], timer)
        if isinstance(done, CatalensError):
            raise done
        return done

    def write(
        self, requests: Sequence[WriteRequest], timer: StageTimer
    ) -> list[Written | CatalensError]:
        """All in one transaction and in their order; a bad one becomes its error and changes
        nothing.

        Photos are decoded and embedded before the commit. Raises what concerns them all
        (``OverloadedError``, ``BusyError``, ``StorageError``), and then nothing was changed.
        """
        snapshot = self._snapshots.current
        drafts, uploads = self._read(requests, snapshot, timer)
        hashes = set(uploads.stored)
        planned: list[Write | CatalensError] = []
        for number, request in enumerate(requests):
            planned.append(
                _write(request, drafts[number], uploads, hashes)
                if isinstance(request, Upsert)
                else request
            )
        sound = [write for write in planned if not isinstance(write, CatalensError)]
        with timer.stage("write"), self._writing:
            results = self._put_down(sound, snapshot, uploads)
            # Another service of the home erased a photo between its file and its product: its bytes
            # are at hand.
            if lost := _lost(sound, results):
                try:
                    again = self._put_down([sound[place] for place in lost], snapshot, uploads)
                except CatalensError as error:
                    # The others stand.
                    again = [error] * len(lost)
                for place, result in zip(lost, again, strict=True):
                    results[place] = result
        found = iter(results)
        return [write if isinstance(write, CatalensError) else next(found) for write in planned]

    # -- photos

    def _read(
        self, requests: Sequence[WriteRequest], snapshot: Snapshot | None, timer: StageTimer
    ) -> tuple[dict[int, list[str]], _UploadedPhotos]:
        """The hashes of each upsert's photos by its place, and every photo sent, looked up or
        decoded and embedded."""
        uploads = _UploadedPhotos()
        hashes: dict[int, list[str]] = {}
        for number, request in enumerate(requests):
            if isinstance(request, Upsert):
                hashes[number] = []
                for photo in request.draft.photos:
                    content_hash = photo if isinstance(photo, str) else hash_content(photo)
                    hashes[number].append(content_hash)
                    if not isinstance(photo, str):
                        uploads.data[content_hash] = photo
        if not hashes:
            return hashes, uploads
        rows = self._catalog.photos_by_hash({h for found in hashes.values() for h in found})
        uploads.stored = set(rows)
        sent = {h: row for h, row in rows.items() if h in uploads.data and row.storage == "copy"}
        known = self._known_vectors(
            snapshot, {row.photo_id: h for h, row in sent.items() if self._photos.has_copy(h)}
        )
        fresh = [h for h in uploads.data if h not in known]
        uploads.vectors, uploads.facts = known, {h: sent[h] for h in known}
        while fresh:
            done = self._embed(
                fresh[:_PORTION], uploads, snapshot, timer, patient=len(requests) > 1
            )
            fresh = fresh[done:]
        return hashes, uploads

    @staticmethod
    def _known_vectors(
        snapshot: Snapshot | None, hash_of: Mapping[int, str]
    ) -> dict[str, np.ndarray]:
        if snapshot is None or not hash_of:
            return {}
        ids, vectors = snapshot.store.find(np.fromiter(hash_of, dtype=np.int64))
        return dict(zip((hash_of[int(i)] for i in ids), vectors.astype(np.float32), strict=True))

    def _embed(
        self,
        hashes: Sequence[str],
        uploads: _UploadedPhotos,
        snapshot: Snapshot | None,
        timer: StageTimer,
        *,
        patient: bool,
    ) -> int:
        """Embed the first of ``hashes``, as many as there is room for; returns how many."""
        shrink_to = snapshot.embedder.shrink_to if snapshot else None
        photos: dict[str, Photo] = {}
        done = 0
        with timer.stage("decode"):
            for content_hash in hashes:
                if photos and not self._decoder.roomy:
                    break
                done += 1
                data = uploads.data[content_hash]
                try:
                    photo = self._decoder.decode(data, shrink_to=shrink_to)
                except BadImageError as error:
                    # Without its frames, which hold what was decoded.
                    uploads.bad[content_hash] = error.with_traceback(None)
                    continue
                uploads.facts[content_hash] = NewPhoto(
                    content_hash, photo.format, len(data), photo.width, photo.height, "copy", None
                )
                if snapshot is not None:
                    photos[content_hash] = photo
                del photo
        if snapshot is not None and photos:
            with timer.stage("embed"):
                vectors = self._queue.embed(
                    snapshot.embedder, list(photos.values()), patient=patient
                )
            uploads.vectors.update(zip(photos, vectors, strict=True))
            uploads.fresh.update(photos)
        return done

    # -- the commit

    def _put_down(
        self, writes: Sequence[Write], snapshot: Snapshot | None, uploads: _UploadedPhotos
    ) -> list[Written | CatalensError]:
        """Commit, with the photos' files; needs ``_writing``."""
        uploads.made = self._missing_files(writes)
        with noted_uploads(self._home, self._catalog, uploads.made) as pending:
            try:
                results = self._commit(writes, uploads)
                self._after(writes, results, snapshot, uploads)
            finally:
                # All others have a product now, or are gone.
                kept = {one for one in self._refused if self._photos.has_copy(one)}
                pending.intersection_update(kept)
        return results

    def _missing_files(self, writes: Sequence[Write]) -> set[str]:
        """The photos of ``writes`` whose files are to be written."""
        return {found for found in _hashes(writes) if not self._photos.has_copy(found)}

    def _commit(
        self, writes: Sequence[Write], uploads: _UploadedPhotos
    ) -> list[Written | CatalensError]:
        try:
            for content_hash in _hashes(writes):
                self._photos.add(uploads.data[content_hash], uploads.facts[content_hash])
            return self._catalog.apply(writes) if writes else []
        except BaseException:
            # Whatever it is: a file that no product has is found by no later erasure of a product.
            self._collect((), uploads.made)
            raise

    def _after(
        self,
        writes: Sequence[Write],
        results: Sequence[Written | CatalensError],
        snapshot: Snapshot | None,
        uploads: _UploadedPhotos,
    ) -> None:
        """Make committed writes searchable and clear what nothing uses any more. Never fails: the
        writes are safe."""
        written = [found for found in results if isinstance(found, Written)]
        mended: set[int] = (
            set()
        )  # unchanged for the catalog, but its photo's file or vector was lost and sent again
        refused: set[str] = set()
        for write, result in zip(writes, results, strict=True):
            if isinstance(write, Put) and isinstance(result, Written):
                mended.update(
                    result.pid for photo in write.photos if photo.content_hash in uploads.fresh
                )
            elif isinstance(write, Put):
                refused |= uploads.made.intersection(photo.content_hash for photo in write.photos)
        try:
            if snapshot is not None and uploads.vectors:
                self._keep_vectors(snapshot, uploads.vectors)
            self._snapshots.apply(
                {found.pid for found in written if found.photos_changed} | mended, written
            )
            if any(found.warnings for found in written):
                # Other products were changed too.
                self._snapshots.follow()
        except Exception as error:
            self._log.error(
                "written, but not searchable yet", pids=[w.pid for w in written], exc_info=error
            )
        if any(isinstance(found, UnknownProductError) for found in results):
            self._forget_erased(writes, results)
        self._collect(
            [content_hash for found in written for content_hash in found.orphaned], refused
        )
        gone = [photo_id for found in written for photo_id in found.orphaned_ids]
        if gone and (serving := self._snapshots.current) is not None:
            try:
                serving.store.delete(np.array(gone, dtype=np.int64))
            except Exception as error:
                self._log.error(
                    "vectors of erased photos are still on disk", photo_ids=gone, exc_info=error
                )

    def _keep_vectors(self, snapshot: Snapshot, vectors: Mapping[str, np.ndarray]) -> None:
        ids = {row.photo_id: h for h, row in self._catalog.photos_by_hash(vectors).items()}
        missing = snapshot.store.missing(np.fromiter(ids, dtype=np.int64, count=len(ids)))
        if len(missing):
            snapshot.store.put(
                missing, np.stack([vectors[ids[int(photo_id)]] for photo_id in missing])
            )

    def _forget_erased(
        self, writes: Sequence[Write], results: Sequence[Written | CatalensError]
    ) -> None:
        """Of products that are erased again, take away what reviews still keep. Never fails."""
        asked = [
            write.product_id
            for write, found in zip(writes, results, strict=True)
            if isinstance(write, Delete) and isinstance(found, UnknownProductError)
        ]
        deletions = Deletions(self._catalog.database)
        try:
            if any(deletions.was_deleted(product_id) for product_id in asked):
                forget_erased(self._home, self._catalog)
        except Exception as error:
            self._log.error("reviews may still show erased products", exc_info=error)

    def _collect(self, orphaned: Iterable[str], refused: Iterable[str]) -> None:
        """Remove the files of those photos that no product uses. Never fails: the next write tries
        again."""
        self._unused.update(orphaned)
        self._refused.update(refused)
        try:
            gone = self._photos.collect(self._catalog, self._unused, own=self._refused)
            self._unused.clear()
            self._refused.clear()
            self._reviewed.update(gone)
            forget_photos(self._home, self._reviewed)
            self._reviewed.clear()
        except Exception as error:
            hashes = [*self._unused, *self._refused, *self._reviewed]
            self._log.error(
                "photos that no product uses are still on disk", hashes=hashes, exc_info=error
            )


def _lost(writes: Sequence[Write], results: Sequence[Written | CatalensError]) -> list[int]:
    """Places of the writes that lost a photo which came with them; of a product that is written
    more than once none, since its writes have an order."""
    times = Counter(write.product_id for write in writes)
    return [
        place
        for place, (write, result) in enumerate(zip(writes, results, strict=True))
        if isinstance(write, Put) and write.photos and isinstance(result, UnknownPhotoError)
        if times[write.product_id] == 1
    ]


def _hashes(writes: Sequence[Write]) -> Iterable[str]:
    """The photos that came with ``writes``."""
    puts = (write for write in writes if isinstance(write, Put))
    return dict.fromkeys(photo.content_hash for write in puts for photo in write.photos)


def _write(
    request: Upsert, hashes: Sequence[str], uploads: _UploadedPhotos, known: set[str]
) -> Put | CatalensError:
    """What the catalog is told. ``known``: hashes that may be named; those that this request sends
    are added."""
    draft = request.draft
    for position, (photo, content_hash) in enumerate(zip(draft.photos, hashes, strict=True)):
        if isinstance(photo, str) and photo not in known:
            return BadProductError(f"image {position}: no stored photo has hash {photo}")
        if content_hash in uploads.bad and not isinstance(photo, str):
            error = uploads.bad[content_hash]
            return type(error)(f"image {position}: {error}")
    sources: dict[str, str] = {}
    for content_hash, source in zip(hashes, draft.sources, strict=False):
        if source is not None:
            sources.setdefault(content_hash, source)
    product = ProductInput(
        product_id=request.product_id,
        title=draft.title,
        category=draft.category,
        tags=tuple(Tag(tag, source) for tag, source in draft.tags),
        attributes=dict(draft.attributes or {}),
        photos=tuple(dict.fromkeys(hashes)),
        fields=draft.fields,
        sources=sources,
    )
    try:
        check_product(product)
    except CatalensError as error:
        return error
    sent = [h for photo, h in zip(draft.photos, hashes, strict=True) if not isinstance(photo, str)]
    known.update(sent)
    return Put(
        product,
        [uploads.facts[h] for h in dict.fromkeys(sent)],
        request.external_version,
        # A photo that is sent again without its address, or named by its hash, keeps it.
        keep=frozenset({"sources"}),
        expected_sequence=request.expected_sequence,
    )
