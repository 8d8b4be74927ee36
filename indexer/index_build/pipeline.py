"""Catalog to a published index version: embed what is new, build, measure against the oracle, fit
tags, publish."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import structlog

from indexer.catalog.filters import facts_of
from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import PhotoRow, SkippedPhoto
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import BadRequestError, CatalensError
from indexer.core.home import Home
from indexer.core.progress import OnProgress, OnStage
from indexer.core.timer import StageTimer
from indexer.core.vectors import evenly_spaced
from indexer.imaging.decode import ImageLimits
from indexer.index.columns import Columns
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.recapture_queries import reshot_vectors
from indexer.index.recipes import FLAT_BELOW
from indexer.index.tuning import Tuned, build_tuned, check_recall, choose_recipe
from indexer.index.version import Versions
from indexer.index_build.cost_estimate import CostRates, Estimate, Peak, estimate, try_build
from indexer.model.bulk_embedding import embed_all
from indexer.model.bundle import Bundle
from indexer.model.runtime_base import Runtime
from indexer.tagging.refit import refit_tags
from indexer.text.fit_text_tower import fit_tower
from indexer.text.keyword_index import Keywords

log = structlog.get_logger(__name__)


_CHUNK = 64  # photos a kill can lose
_TRIED, _WARM_UP = 80, 16  # photos of a dry run that has no rate yet; the first ones do not count
# What a photo is refused for was settled when it was imported; limits of today must not drop it
# from the index.
_LIMITS = ImageLimits(max_bytes=2**40, max_pixels=2**40)


@dataclass(frozen=True)
class BuildReport:
    """What a build did, or with ``dry_run`` would do (then ``version`` is None and ``to_embed`` may
    be above zero)."""

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
    estimated: Estimate | None = None  # as it was before the work began
    seconds: dict[str, float] = field(
        default_factory=dict
    )  # embed, build, tags, publish, total; empty of a dry run
    memory_bytes: int | None = None  # of the whole process at its peak
    disk_bytes: int | None = None  # of the version


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

    Reading, decoding and the network overlap (``bulk.embed_all``); ``progress`` hears which takes
    most of it. Ask ``store.missing`` first: nothing is looked up here.
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
    vectors: list[np.ndarray] = []
    timer = StageTimer()

    def flush() -> None:
        nonlocal done
        if ids:
            store.put(np.array(ids), np.stack(vectors))
        done += len(ids)
        ids.clear()
        vectors.clear()

    for row, found in embed_all(rows(), photos.read, embedder, limits=_LIMITS, timer=timer):
        if isinstance(found, CatalensError):
            skip(row.photo_id, row.content_hash, str(found))
        else:
            ids.append(row.photo_id)
            vectors.append(found)
        if len(ids) == _CHUNK:
            flush()
            if progress is not None:
                progress(done + len(skipped), len(photo_ids), timer.bottleneck())
    flush()
    if progress is not None:
        progress(len(photo_ids), len(photo_ids), timer.bottleneck())
    return skipped


def build_index(
    home: Home,
    *,
    bundle: Bundle,
    recall: float = 0.99,
    device: str = "auto",
    memory: int | None = None,
    reshots: bool = True,
    activate: bool = False,
    dry_run: bool = False,
    progress: OnStage | None = None,
    embedder: Runtime | None = None,
) -> BuildReport:
    """Publish an index version of the catalog as it is now, embedded by ``bundle``.

    Only photos without an embedding under ``bundle.embedding_id`` are embedded, in chunks committed
    one by one: a build that was killed goes on where it stopped. Photos that cannot be read are
    reported and left out. An empty catalog gives an empty version, to which products can be added.
    ``recall`` is the share of the exact ten nearest an approximate index must find; ``memory`` the
    bytes that the build may hold; ``embedder`` replaces the bundle's own (tests). ``reshots``: the
    recall must hold for a few photos shot again too, for which the network runs; without, it runs
    for what has no embedding only. ``progress(stage, done, total)`` hears of the stages embed,
    build, tags and publish.

    ``dry_run`` publishes nothing and embeds nothing, but may try a few photos and a small index to
    know how long it would take. Raises ``BusyError`` while another build runs, ``BadRequestError``
    for a budget that cannot hold the vectors, and what ``Versions.publish`` and
    ``Versions.activate`` raise.
    """
    check_recall(recall)
    hear = progress or (lambda stage, done, total, note="": None)
    timer = StageTimer()
    peak = Peak()
    base = peak.start()
    dim = bundle.spec.dim
    with (
        open_catalog(home) as catalog,
        home.lock("build"),
        closing(EmbeddingStore(home.embeddings, bundle.embedding_id, dim)) as store,
    ):
        source = {"catalog": catalog.change_log.identify()} if not dry_run else {}
        sequence, rows = catalog.entries()
        wanted = np.unique(rows[:, 1])
        missing = store.missing(wanted)
        least = base + 2 * dim * len(rows)
        if memory is not None and memory < least:
            raise BadRequestError(
                f"a budget of {memory:,} bytes is too small: the process holds {base:,} and the "
                "vectors of "
                f"{len(rows):,} photos take {2 * dim * len(rows):,}; give at least {least:,}"
            )
        block_dims = [block.dim for block in bundle.spec.blocks]
        planned = choose_recipe(len(rows), dim, block_dims=block_dims, device=device, memory=memory)
        rates = CostRates.of(home)

        def estimated() -> Estimate:
            return estimate(
                rates,
                recipe=planned,
                entries=len(rows),
                dim=dim,
                to_embed=len(missing),
                photos_per_s=store.rate(),
                base_bytes=base,
            )

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

        first = estimated()
        if dry_run and first.basis == "unknown":
            if len(missing) and store.rate() is None:
                _try_embedding(home, catalog, store, embedder or _embedder(bundle, device), missing)
            if rates.near(planned, len(rows), dim) is None:
                try_build(rates, recipe=planned, entries=len(rows), dim=dim, recall=recall)
            base = peak.bytes()
            first = replace(estimated(), basis="trial")
        if dry_run:
            return report(
                None,
                rows,
                activated=False,
                embedded=0,
                to_embed=len(missing),
                skipped=[],
                recipe=planned,
                estimated=first,
            )

        skipped: list[SkippedPhoto] = []
        if len(missing):
            embedder = embedder or _embedder(bundle, device)
            began = time.monotonic()
            skipped = embed_photos(
                catalog, PhotoStore(home), store, embedder, missing, progress=partial(hear, "embed")
            )  # fmt: skip
            embedded = len(missing) - len(skipped)
            if embedded >= _CHUNK:
                store.set_rate(embedded / (time.monotonic() - began))
        timer.lap("embed")
        gone = store.missing(wanted)
        rows = rows[~np.isin(rows[:, 1], gone)]
        before = peak.start()
        vectors = store.get(rows[:, 1])
        asked = None
        if reshots and len(rows) >= FLAT_BELOW:  # below, every answer is exact
            embedder = embedder or _embedder(bundle, device)
            asked = reshot_vectors(catalog, PhotoStore(home), embedder, rows[:, 1])
        version, tuned = publish_rows(
            home,
            catalog,
            bundle,
            rows,
            vectors,
            last_sequence=sequence,
            recall=recall,
            device=device,
            memory=memory,
            source=source,
            asked=asked,
            hear=hear,
            timer=timer,
        )
        with closing(Keywords(home, catalog)) as keywords:
            keywords.follow()  # so that the first question by text does not wait for it
        if activate:
            Versions(home).activate(version)
        timer.lap("publish")
        disk = sum(entry["size"] for entry in Versions(home).manifest(version).files.values())
        stages = timer.seconds()
        measured = {name: stages[name] for name in ("build", "tags", "publish")}
        held = max(peak.bytes() - before, 0)
        rates.note(
            planned,
            {
                "entries": len(rows),
                "dim": dim,
                **measured,
                "memory_bytes": held,
                "disk_bytes": disk,
            },
        )
        return report(
            version,
            rows,
            activated=activate,
            embedded=len(missing) - len(skipped),
            to_embed=0,
            skipped=skipped,
            recipe=tuned.index.recipe,
            recall=tuned.recall,
            estimated=first,
            seconds={**timer.seconds(), "total": timer.elapsed()},
            memory_bytes=peak.bytes(),
            disk_bytes=disk,
        )


def publish_rows(
    home: Home,
    catalog: Catalog,
    bundle: Bundle | None,
    rows: np.ndarray,
    vectors: np.ndarray,
    *,
    last_sequence: int,
    recall: float,
    source: dict[str, Any],
    model_version: str | None = None,
    embedding_id: str | None = None,
    recipe: str | None = None,
    device: str = "cpu",
    memory: int | None = None,
    asked: np.ndarray | None = None,
    hear: OnStage = lambda stage, done, total, note="": None,
    timer: StageTimer | None = None,
) -> tuple[str, Tuned]:
    """Build an index of ``vectors`` float16 [N, D] for ``rows`` int64 [N, 2] (pid, photo_id) and
    publish it.

    Everything that a version holds beside them is made here, from the catalog as it is now, so a
    build and a rewrite make the same. ``asked``: queries as ``build_tuned`` takes them. Without a
    ``bundle`` (its model is gone) the names are given, tags are left to the model and text to
    keywords.
    """
    timer = timer or StageTimer()
    blocks = bundle.spec.blocks if bundle is not None else ()
    hear("build", 0, len(rows))
    tuned = build_tuned(
        vectors,
        recall=recall,
        recipe=recipe,
        device=device,
        memory=memory,
        asked=asked,
        blocks=blocks,
    )
    hear("build", len(rows), len(rows))
    timer.lap("build")
    hear("tags", 0, 1)
    tag_rule = refit_tags(catalog, bundle, rows, vectors) if bundle is not None else None
    tower = fit_tower(catalog, blocks, rows, vectors) if bundle is not None else None
    hear("tags", 1, 1)
    timer.lap("tags")
    hear("publish", 0, 1)
    # Read now, not with the rows: a product that changed since `last_sequence` is judged by the log
    # anyway.
    columns = Columns.build(
        map(facts_of, catalog.iterate()), np.unique(rows[:, 0]), catalog.types()
    )
    stamp = catalog.change_log.stamp(last_sequence)
    version = Versions(home).publish(
        index=tuned.index,
        vectors=vectors,
        rows=rows,
        embedding_id=bundle.embedding_id if bundle else embedding_id or "",
        model_version=bundle.model_version if bundle else model_version or "",
        last_sequence=last_sequence,
        recipe=tuned.index.recipe,
        params=tuned.params,
        recall=tuned.recall,
        tag_rule=tag_rule,
        columns=columns,
        tower=tower,
        source={"stamp": stamp, "erased_through": last_sequence, **source},
    )
    hear("publish", 1, 1)
    return version, tuned


def _embedder(bundle: Bundle, device: str) -> Runtime:
    from indexer.model.open_runtime import open_embedder

    embedder = open_embedder(bundle, device=device)
    embedder.configure_threads()
    return embedder


def _try_embedding(
    home: Home,
    catalog: Catalog,
    store: EmbeddingStore,
    embedder: Runtime,
    missing: np.ndarray,
) -> None:
    """Measure the rate on a few photos; a first batch, which pays for warming up, does not count.
    Stores no vector."""
    photos = PhotoStore(home)

    def embed(rows: Sequence[PhotoRow]) -> int:
        return sum(1 for _ in embed_all(rows, photos.read, embedder, limits=_LIMITS))

    picked = missing[evenly_spaced(len(missing), _TRIED)]
    rows = list(catalog.photos_by_id(picked.tolist()).values())
    embed(rows[:_WARM_UP])
    began = time.monotonic()
    count = embed(rows[_WARM_UP:] or rows)
    if count:
        store.set_rate(count / (time.monotonic() - began))
