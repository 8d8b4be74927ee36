"""Catalog to a published index version: embed what is new, build, measure against the oracle, fit tags, publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import structlog

from indexer import images
from indexer.catalog.photos import PhotoStore
from indexer.catalog.records import PhotoRow
from indexer.catalog.store import Catalog, open_catalog
from indexer.decoding import decode_all
from indexer.embeddings import EmbeddingStore
from indexer.home import Home
from indexer.images import Photo
from indexer.index.recipes import FLAT_BELOW
from indexer.index.tuning import build_tuned, check_recall, choose_recipe
from indexer.index.version import Versions
from indexer.model.bundle import Bundle
from indexer.reshots import reshot_vectors
from indexer.tag_refit import refit_tags

log = structlog.get_logger(__name__)

Progress = Callable[[int, int], None]

_CHUNK = 64  # photos a kill can lose
_BATCH = 16  # photos given to the network at once, while the next ones are decoded; divides _CHUNK
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
    done = 0

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

    ids: list[int] = []
    waiting: list[Photo] = []
    vectors: list[np.ndarray] = []
    decoded = decode_all(rows(), photos.read, limits=_LIMITS, shrink_to=embedder.shrink_to)
    for row, photo in decoded:
        if isinstance(photo, Photo):
            ids.append(row.photo_id)
            waiting.append(photo)
        else:
            skip(row.photo_id, row.content_hash, str(photo))
        if len(waiting) == _BATCH:
            vectors.append(embedder.embed(waiting))
            waiting = []
        if len(ids) == _CHUNK:
            store.put(np.array(ids), np.concatenate(vectors))
            done += len(ids)
            ids, vectors = [], []
            if progress is not None:
                progress(done + len(skipped), len(photo_ids))
    if waiting:
        vectors.append(embedder.embed(waiting))
    if ids:
        store.put(np.array(ids), np.concatenate(vectors))
    if progress is not None:
        progress(len(photo_ids), len(photo_ids))
    return skipped


def _embedder(bundle: Bundle, device: str) -> PhotoEmbedder:
    from indexer.model.embedder import Embedder

    return Embedder(bundle, device=device)


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
    check_recall(recall)
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
                embedder = _embedder(bundle, device)
            began = time.monotonic()
            skipped = embed_photos(catalog, PhotoStore(home), store, embedder, missing, progress=progress)
            embedded = len(missing) - len(skipped)
            if embedded >= _CHUNK:
                store.set_rate(embedded / (time.monotonic() - began))
        embedded_at = time.monotonic()
        gone = store.missing(wanted)
        rows = rows[~np.isin(rows[:, 1], gone)]
        vectors = store.get(rows[:, 1])
        asked = None
        if len(rows) >= FLAT_BELOW:  # below, every answer is exact
            if embedder is None:
                embedder = _embedder(bundle, device)
            asked = reshot_vectors(catalog, PhotoStore(home), embedder, rows[:, 1])
        tuned = build_tuned(vectors, recall=recall, device=device, asked=asked, blocks=bundle.spec.blocks)
        tag_rule = refit_tags(catalog, bundle, rows, vectors)
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
            tag_rule=tag_rule,
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
