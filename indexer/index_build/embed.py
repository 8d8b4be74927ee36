"""Embedding stage of an index build: catalog photos to stored vectors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import structlog

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import PhotoRow, SkippedPhoto
from indexer.catalog.store import Catalog
from indexer.core.errors import CatalensError
from indexer.core.progress import OnProgress
from indexer.core.timer import StageTimer
from indexer.core.vectors import evenly_spaced
from indexer.imaging.decode import STORED_PHOTO_LIMITS
from indexer.index.embedding_store import EmbeddingStore
from indexer.model.bulk_embedding import embed_all
from indexer.model.runtime_base import Runtime

log = structlog.get_logger(__name__)

# photos that a kill can lose
CHUNK = 64
# photos that a rate is measured with; the first ones, which pay for warming up, do not count
_MEASURED = 80
_WARM_UP = 16
# What a photo is refused for was settled when it was imported; limits of today must not drop it
# from the index.


def embed_photos(
    catalog: Catalog,
    photos: PhotoStore,
    store: EmbeddingStore,
    embedder: Runtime,
    photo_ids: np.ndarray,
    *,
    progress: OnProgress | None = None,
) -> list[SkippedPhoto]:
    """Embed ``photo_ids`` into ``store``, committed every 64 photos; returns those that could not
    be read.

    Reading, decoding and the network overlap (``bulk_embedding.embed_all``); the note of
    ``progress`` names the slowest of them. Ask ``store.missing`` first: nothing is looked up here.
    """
    skipped: list[SkippedPhoto] = []
    done = 0
    timer = StageTimer()
    ids: list[int] = []
    vectors: list[np.ndarray] = []

    def skip(photo_id: int, content_hash: str | None, reason: str) -> None:
        log.warning("photo skipped", photo_id=photo_id, content_hash=content_hash, reason=reason)
        skipped.append(SkippedPhoto(photo_id, content_hash, reason))

    def rows() -> Iterator[PhotoRow]:
        for start in range(0, len(photo_ids), 1024):
            part = photo_ids[start : start + 1024].tolist()
            found = catalog.photos_by_id(part)
            for photo_id in part:
                if photo_id in found:
                    yield found[photo_id]
                else:  # deleted since the caller looked
                    skip(photo_id, None, "no longer in the catalog")

    def flush() -> None:
        nonlocal done
        if ids:
            store.put(np.array(ids), np.stack(vectors))
        done += len(ids)
        ids.clear()
        vectors.clear()

    for row, found in embed_all(
        rows(), photos.read, embedder, limits=STORED_PHOTO_LIMITS, timer=timer
    ):
        if isinstance(found, CatalensError):
            skip(row.photo_id, row.content_hash, str(found))
        else:
            ids.append(row.photo_id)
            vectors.append(found)
        if len(ids) == CHUNK:
            flush()
            if progress is not None:
                progress(done + len(skipped), len(photo_ids), timer.bottleneck())
    flush()
    if progress is not None:
        progress(len(photo_ids), len(photo_ids), timer.bottleneck())
    return skipped


def measure_rate(
    catalog: Catalog,
    photos: PhotoStore,
    store: EmbeddingStore,
    embedder: Runtime,
    photo_ids: np.ndarray,
) -> None:
    """Note the photos/s of a few of ``photo_ids`` in ``store``, which gets no vector of them."""

    def embed(rows: Sequence[PhotoRow]) -> int:
        return sum(1 for _ in embed_all(rows, photos.read, embedder, limits=STORED_PHOTO_LIMITS))

    picked = photo_ids[evenly_spaced(len(photo_ids), _MEASURED)]
    rows = list(catalog.photos_by_id(picked.tolist()).values())
    embed(rows[:_WARM_UP])
    began = time.monotonic()
    count = embed(rows[_WARM_UP:] or rows)
    if count:
        store.set_rate(count / (time.monotonic() - began))
