"""Catalog to a published index version: embed what is new, build, measure against the oracle, publish."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import structlog

from indexer import images
from indexer.catalog.photos import PhotoStore
from indexer.catalog.records import PhotoRow
from indexer.catalog.store import Catalog, open_catalog
from indexer.embeddings import EmbeddingStore
from indexer.errors import CatalensError
from indexer.home import Home
from indexer.images import Photo
from indexer.index.tuning import build_tuned, choose_recipe
from indexer.index.version import Versions
from indexer.model.bundle import Bundle

log = structlog.get_logger(__name__)

Progress = Callable[[int, int], None]

_CHUNK = 64  # photos a kill can lose
_DECODERS = 2
_PIXELS_AHEAD = 128_000_000  # decoded or being decoded, about 400 MB
# What a photo is refused for was settled when it was imported; limits of today must not drop it from the index.
_LIMITS = images.ImageLimits(max_bytes=2**40, max_pixels=2**40)


class PhotoEmbedder(Protocol):
    """What is needed of ``indexer.model.embedder.Embedder``."""

    @property
    def shrink_to(self) -> int | None: ...

    def embed(self, photos: Sequence[Photo]) -> np.ndarray: ...


@dataclass(frozen=True)
class SkippedPhoto:
    """A photo that could not be read; its entries are left out, the rest goes on."""

    photo_id: int
    content_hash: str | None  # None: the photo left the catalog meanwhile
    reason: str


@dataclass(frozen=True)
class BuildReport:
    """What a build did, or with ``dry_run`` would do (then ``version`` is None and ``to_embed`` may be above zero)."""

    version: str | None
    activated: bool
    embedding_id: str
    model_version: str
    last_sequence: int
    entries: int  # photos of products, one index row each
    products: int
    embedded: int  # photos embedded by this run
    reused: int  # photos that had their embedding already
    to_embed: int  # photos that still have none
    skipped: list[SkippedPhoto]
    recipe: str
    recall: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # embed, build, publish; dry run: embed_estimated, if known


def embed_photos(
    catalog: Catalog,
    photos: PhotoStore,
    store: EmbeddingStore,
    embedder: PhotoEmbedder,
    photo_ids: np.ndarray,
    *,
    progress: Progress | None = None,
) -> list[SkippedPhoto]:
    """Embed ``photo_ids`` into ``store``, committed every 64 photos; returns those that could not be read.

    Decoding runs in threads beside the network. Ask ``store.missing`` first: nothing is looked up here.
    """
    skipped: list[SkippedPhoto] = []
    ids: list[int] = []
    decoded: list[Photo] = []
    held, total = 0, len(photo_ids)
    arriving = _decoded(catalog, photos, photo_ids.tolist(), embedder.shrink_to)
    for done, (photo_id, result) in enumerate(arriving, start=1):
        if isinstance(result, SkippedPhoto):
            log.warning("photo skipped", photo_id=photo_id, content_hash=result.content_hash, reason=result.reason)
            skipped.append(result)
        else:
            ids.append(photo_id)
            decoded.append(result)
            held += result.pixels.width * result.pixels.height
        if len(ids) >= _CHUNK or held >= _PIXELS_AHEAD or done == total:
            if ids:
                store.put(np.array(ids, dtype=np.int64), embedder.embed(decoded))
            ids, decoded, held = [], [], 0
            if progress is not None:
                progress(done, total)
    return skipped


def _decoded(
    catalog: Catalog, photos: PhotoStore, photo_ids: list[int], shrink_to: int | None
) -> Iterator[tuple[int, Photo | SkippedPhoto]]:
    """Photos in the order asked for, decoded ahead in threads within a bound of memory."""

    def decode(row: PhotoRow) -> Photo | SkippedPhoto:
        try:
            return images.decode(photos.read(row), limits=_LIMITS, shrink_to=shrink_to)
        except (CatalensError, OSError) as error:
            return SkippedPhoto(row.photo_id, row.content_hash, str(error))

    waiting: deque[tuple[int, int, Future[Photo | SkippedPhoto]]] = deque()
    ahead = 0  # pixels of the waiting ones; a reduced decode takes less
    with ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode") as pool:
        try:
            for start in range(0, len(photo_ids), 1024):
                part = photo_ids[start : start + 1024]
                rows = catalog.photos_by_id(part)
                for photo_id in part:
                    row = rows.get(photo_id)
                    if row is None:
                        yield photo_id, SkippedPhoto(photo_id, None, "no longer in the catalog")
                        continue
                    pixels = row.width * row.height
                    while waiting and (len(waiting) >= _CHUNK or ahead + pixels > _PIXELS_AHEAD):
                        first, freed, future = waiting.popleft()
                        ahead -= freed
                        yield first, future.result()
                    waiting.append((photo_id, pixels, pool.submit(decode, row)))
                    ahead += pixels
            while waiting:
                first, _, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, _, future in waiting:
                future.cancel()


def build_index(
    home: Home,
    *,
    bundle: Bundle,
    recall: float = 0.99,
    device: str = "auto",
    activate: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    embedder: PhotoEmbedder | None = None,
) -> BuildReport:
    """Publish an index version of the catalog as it is now, embedded by ``bundle``.

    Only photos without an embedding under ``bundle.embedding_id`` are embedded, in chunks committed one by one: a
    build that was killed goes on where it stopped. Photos that cannot be read are reported and left out. An empty
    catalog gives an empty version, to which products can be added. ``recall`` is the share of the exact ten nearest an
    approximate index must find; ``embedder`` replaces the bundle's own (tests). Raises ``Busy`` while another build
    runs, and what ``Versions.publish`` and ``Versions.activate`` raise.
    """
    started = time.monotonic()
    dim = bundle.spec.dim
    with (
        open_catalog(home) as catalog,
        home.lock("build"),
        closing(EmbeddingStore(home.embeddings, bundle.embedding_id, dim)) as store,
    ):
        sequence, rows = catalog.entries()
        wanted = np.unique(rows[:, 1])
        missing = store.missing(wanted)

        def report(version: str | None, rows: np.ndarray, **found: Any) -> BuildReport:
            common: dict[str, Any] = {
                "embedding_id": bundle.embedding_id,
                "model_version": bundle.model_version,
                "last_sequence": sequence,
                "entries": len(rows),
                "products": len(np.unique(rows[:, 0])),
                "reused": len(wanted) - len(missing),
            }
            return BuildReport(version=version, **common, **found)

        if dry_run:
            rate = store.rate()
            seconds = {} if rate is None else {"embed_estimated": len(missing) / rate}
            return report(
                None, rows, activated=False, embedded=0, to_embed=len(missing), skipped=[],
                recipe=choose_recipe(len(rows)), seconds=seconds,
            )  # fmt: skip

        skipped: list[SkippedPhoto] = []
        if len(missing):
            if embedder is None:
                from indexer.model.embedder import Embedder

                embedder = Embedder(bundle, device=device)
            began = time.monotonic()
            skipped = embed_photos(catalog, PhotoStore(home), store, embedder, missing, progress=progress)
            embedded = len(missing) - len(skipped)
            if embedded >= _CHUNK:
                store.set_rate(embedded / (time.monotonic() - began))
        embedded_at = time.monotonic()
        gone = store.missing(wanted)
        rows = rows[~np.isin(rows[:, 1], gone)]
        vectors = store.get(rows[:, 1])
        tuned = build_tuned(vectors, recall=recall, device=device)
        built_at = time.monotonic()
        versions = Versions(home)
        version = versions.publish(
            index=tuned.index,
            vectors=vectors,
            rows=rows,
            embedding_id=bundle.embedding_id,
            model_version=bundle.model_version,
            last_sequence=sequence,
            recipe=tuned.index.recipe,
            params=tuned.params,
            recall=tuned.recall,
        )
        if activate:
            versions.activate(version)
        done = time.monotonic()
        return report(
            version, rows, activated=activate, embedded=len(missing) - len(skipped), to_embed=0, skipped=skipped,
            recipe=tuned.index.recipe, recall=tuned.recall,
            seconds={
                "embed": embedded_at - started, "build": built_at - embedded_at,
                "publish": done - built_at, "total": done - started,
            },
        )  # fmt: skip
