"""Embedding of photos whose bytes were not kept: fetched again, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import structlog

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import PhotoRow, SkippedPhoto
from indexer.catalog.store import Catalog
from indexer.core.progress import OnProgress
from indexer.fetch.fetcher import FetchJob, PhotoFetcher
from indexer.imaging.decode import hash_content
from indexer.index.embedding_store import EmbeddingStore
from indexer.index_build.embed import embed_photos
from indexer.model.runtime_base import Runtime

log = structlog.get_logger(__name__)

# Photos that lie on the disk meanwhile.
_PART = 512
_LOOKED_UP = 1024

# Opens what fetches photos, for photos of the catalog's home.
OpenFetcher = Callable[[], AbstractContextManager[PhotoFetcher]]


@dataclass(frozen=True)
class ForgottenSources:
    """Photos without bytes: their rows, and the shop's address of each that has one."""

    rows: Mapping[int, PhotoRow]
    urls: Mapping[int, str]


def find_forgotten(catalog: Catalog, photos: PhotoStore, photo_ids: np.ndarray) -> ForgottenSources:
    """Those of ``photo_ids`` whose bytes were not kept and are not there."""
    rows: dict[int, PhotoRow] = {}
    for part in _parts(photo_ids, _LOOKED_UP):
        for photo_id, row in catalog.photos_by_id(part).items():
            if row.storage == "forget" and not photos.has_copy(row.content_hash):
                rows[photo_id] = row
    urls: dict[int, str] = {}
    for part in _parts(np.array(sorted(rows), np.int64), _LOOKED_UP):
        holders = catalog.holders(part)
        products = catalog.by_pids({pids[0] for pids in holders.values()}, tags=False)
        for photo_id, pids in holders.items():
            product = products.get(pids[0])
            url = None if product is None else product.sources.get(rows[photo_id].content_hash)
            if url is not None:
                urls[photo_id] = url
    return ForgottenSources(rows, urls)


def embed_forgotten(
    catalog: Catalog,
    photos: PhotoStore,
    store: EmbeddingStore,
    embedder: Runtime,
    forgotten: ForgottenSources,
    fetcher: PhotoFetcher,
    *,
    progress: OnProgress | None = None,
) -> list[SkippedPhoto]:
    """Fetch the photos again, embed them into ``store`` and drop their bytes; returns the others.

    A photo without an address, one that its server no longer gives, and one that is another photo
    now are skipped, each with its reason. ``_PART`` photos lie on the disk at a time.
    """
    log.info("photos are fetched again", photos=len(forgotten.rows))
    skipped: list[SkippedPhoto] = []
    ids = np.array(sorted(forgotten.rows), np.int64)
    done = 0
    for part in _parts(ids, _PART):
        reasons = _fetch(photos, forgotten, part, fetcher)
        for photo_id, reason in reasons.items():
            content_hash = forgotten.rows[photo_id].content_hash
            log.warning(
                "photo skipped", photo_id=photo_id, content_hash=content_hash, reason=reason
            )
            skipped.append(SkippedPhoto(photo_id, content_hash, reason))
        there = [photo_id for photo_id in part if photo_id not in reasons]
        skipped += embed_photos(catalog, photos, store, embedder, np.array(there, np.int64))
        for photo_id in there:
            photos.drop(forgotten.rows[photo_id])
        done += len(part)
        if progress is not None:
            progress(done, len(ids), "fetching")
    return skipped


def _fetch(
    photos: PhotoStore, forgotten: ForgottenSources, part: list[int], fetcher: PhotoFetcher
) -> dict[int, str]:
    """Bring the photos of ``part`` onto the disk; those that could not be had, and why."""
    reasons = {
        photo_id: "its bytes were not kept, and no address of it is known"
        for photo_id in part
        if photo_id not in forgotten.urls
    }
    by_url: dict[str, list[int]] = {}
    for photo_id in part:
        if photo_id in forgotten.urls:
            by_url.setdefault(forgotten.urls[photo_id], []).append(photo_id)
    for result in fetcher.fetch(FetchJob(url, url, fresh=True) for url in by_url):
        for photo_id in by_url[result.job.url]:
            row = forgotten.rows[photo_id]
            if result.data is None:
                reasons[photo_id] = result.reason or "its address gave nothing"
            elif hash_content(result.data) != row.content_hash:
                reasons[photo_id] = "its address gives another photo now: import the feed again"
            else:
                photos.add(result.data, row)
    return reasons


def _parts(photo_ids: np.ndarray, size: int) -> Iterator[list[int]]:
    for start in range(0, len(photo_ids), size):
        yield photo_ids[start : start + size].tolist()
