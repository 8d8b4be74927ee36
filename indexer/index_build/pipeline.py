"""Index build: plan, embed, index, fit and publish a version of the catalog."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import SkippedPhoto
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import BadRequestError
from indexer.core.home import Home
from indexer.core.memory_budget import photo_memory
from indexer.core.native import THREADS
from indexer.core.process_limits import expect_memory
from indexer.core.progress import OnStage, no_progress
from indexer.core.timer import StageTimer
from indexer.core.vectors import evenly_spaced
from indexer.index.base import FLAT_BELOW
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.recapture_queries import recapture_vectors
from indexer.index.recipes import choose_recipe
from indexer.index.tuning import check_recall
from indexer.index.version import Versions
from indexer.index_build.cost_estimate import (
    CostRates,
    Estimate,
    Peak,
    estimate,
    is_loaded,
    library_bytes,
    try_build,
)
from indexer.index_build.embed import CHUNK, embed_photos, measure_rate
from indexer.index_build.feature_reuse import embed_cached
from indexer.index_build.forgotten_photos import OpenFetcher, embed_forgotten, find_forgotten
from indexer.index_build.publish import IndexOptions, VersionContent, publish_version
from indexer.model.bundle import Bundle
from indexer.model.open_runtime import expected_engine
from indexer.model.runtime_base import Runtime
from indexer.text.keyword_index import Keywords

# photos whose sizes are looked at, to say what decoding takes
_PHOTOS_LOOKED_AT = 200


@dataclass(frozen=True)
class BuildOptions:
    """How ``build_index`` works."""

    # share of the exact ten nearest that an approximate index must find
    recall: float = 0.99
    device: str = "auto"
    # bytes that the build may hold
    memory: int | None = None
    # the recall must hold for a few recaptured photos too, for which the network runs; without, it
    # runs for what has no embedding only
    recaptures: bool = True
    # publish and embed nothing, but say how long it would take
    dry_run: bool = False
    # what the version's manifest says of who made it; empty: a person
    made_by: str = ""


@dataclass(frozen=True)
class BuildReport:
    """What a build did, or with ``dry_run`` would do: then ``version`` is None and ``to_embed`` may
    be above zero."""

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
    # embed, build, tags, publish, total; empty of a dry run
    seconds: dict[str, float] = field(default_factory=dict)
    memory_bytes: int | None = None  # of the whole process at its peak
    disk_bytes: int | None = None  # of the version


@dataclass
class BuildContext:
    """What the stages of one build share."""

    home: Home
    catalog: Catalog
    store: EmbeddingStore
    bundle: Bundle
    options: BuildOptions
    progress: OnStage
    timer: StageTimer
    peak: Peak
    # that the process held before the build, and once the network was open
    base_bytes: int
    # the bundle's own unless given
    embedder: Runtime | None = None
    # given ones are a test's: nothing is cached of them
    given: bool = False
    # for photos whose bytes were not kept
    open_fetcher: OpenFetcher | None = None

    @property
    def dim(self) -> int:
        return self.bundle.spec.dim

    @property
    def photos(self) -> PhotoStore:
        return PhotoStore(self.home)

    def open_embedder(self) -> Runtime:
        """The network, opened when first asked for."""
        from indexer.model.open_runtime import open_embedder

        if self.embedder is None:
            self.embedder = open_embedder(self.bundle, device=self.options.device)
            self.embedder.configure_threads()
        return self.embedder


@dataclass(frozen=True)
class BuildPlan:
    """What a build is going to do, from the catalog and the stored embeddings."""

    sequence: int
    rows: np.ndarray  # int64 [N, 2]: pid, photo_id
    photo_ids: np.ndarray  # int64, each once
    missing: np.ndarray  # int64, those without an embedding
    recipe: str
    source: dict[str, Any]
    rates: CostRates
    # bytes that the network took when it was opened, with its libraries
    opened: int | None = None


def build_index(
    home: Home,
    bundle: Bundle,
    options: BuildOptions | None = None,
    *,
    activate: bool = False,
    progress: OnStage = no_progress,
    embedder: Runtime | None = None,
    open_fetcher: OpenFetcher | None = None,
) -> BuildReport:
    """Publish an index version of the catalog as it is now, embedded by ``bundle``.

    Only photos without an embedding under ``bundle.embedding_id`` are embedded, in chunks committed
    one by one: a build that was killed goes on where it stopped. Photos that cannot be read are
    reported and left out. An empty catalog gives an empty version, to which products can be added.
    Photos whose bytes were not kept are fetched again from their addresses by what ``open_fetcher``
    opens. ``embedder`` replaces the bundle's own (tests). ``progress`` reports the stages embed,
    build, tags and publish. A dry run may try a few photos and a small index.

    Raises ``BusyError`` while another build runs, ``BadRequestError`` for a budget that cannot hold
    the vectors, and what ``Versions.publish`` and ``Versions.activate`` raise.
    """
    options = options or BuildOptions()
    check_recall(options.recall)
    timer = StageTimer()
    peak = Peak()
    base_bytes = peak.start()
    with (
        open_catalog(home) as catalog,
        home.lock("build"),
        closing(
            EmbeddingStore(home.embeddings, bundle.embedding_id, bundle.spec.dim, catalog=catalog)
        ) as store,
    ):
        given = (embedder, embedder is not None, open_fetcher)
        context = BuildContext(
            home, catalog, store, bundle, options, progress, timer, peak, base_bytes, *given
        )
        plan = _plan(context)
        if options.dry_run:
            return _dry_run(context, plan, _estimate(context, plan))
        plan = _open_network(context, plan)
        expected = _estimate(context, plan)
        expect_memory("the index build", expected.memory_bytes)
        return _build(context, plan, expected, activate=activate)


def _build(
    context: BuildContext, plan: BuildPlan, expected: Estimate, *, activate: bool
) -> BuildReport:
    """Embed, index, fit and publish what was planned."""
    skipped = _embed(context, plan)
    context.timer.lap("embed")
    embedding = context.peak.bytes()
    if context.embedder is not None and not context.given and len(plan.missing):
        plan.rates.record_network(
            context.embedder.engine, plan.opened, max(embedding - context.base_bytes, 0)
        )
    before = context.peak.start() + library_bytes(plan.recipe)
    content = _content(context, plan)
    version, tuned = publish_version(
        context.home,
        context.catalog,
        context.bundle,
        content,
        _index_options(context, content),
        progress=context.progress,
        timer=context.timer,
    )
    _finish(context, version, activate=activate)
    context.timer.lap("publish")
    disk_bytes = _record_rates(context, plan, content, version, before)
    return _report(
        context,
        plan,
        content.rows,
        version=version,
        activated=activate,
        embedded=len(plan.missing) - len(skipped),
        to_embed=0,
        skipped=skipped,
        recipe=tuned.index.recipe,
        recall=tuned.recall,
        estimated=expected,
        seconds={**context.timer.seconds(), "total": context.timer.elapsed()},
        memory_bytes=max(embedding, context.peak.bytes()),
        disk_bytes=disk_bytes,
    )


def _plan(context: BuildContext) -> BuildPlan:
    """Read the catalog and choose a recipe. Raises ``BadRequestError`` for too small a budget."""
    options = context.options
    source = {} if options.dry_run else {"catalog": context.catalog.change_log.identify()}
    if options.made_by:
        source["made_by"] = options.made_by
    sequence, rows = context.catalog.entries()
    photo_ids = np.unique(rows[:, 1])
    vector_bytes = 2 * context.dim * len(rows)
    least = context.base_bytes + vector_bytes
    if options.memory is not None and options.memory < least:
        raise BadRequestError(
            f"a budget of {options.memory:,} bytes is too small: the process holds "
            f"{context.base_bytes:,} and the vectors of {len(rows):,} photos take "
            f"{vector_bytes:,}; give at least {least:,}"
        )
    recipe = choose_recipe(
        len(rows),
        context.dim,
        block_dims=[block.dim for block in context.bundle.spec.blocks],
        device=options.device,
        memory=options.memory,
    )
    missing = context.store.missing(photo_ids)
    return BuildPlan(
        sequence, rows, photo_ids, missing, recipe, source, CostRates.load(context.home)
    )


def _needs_network(context: BuildContext, plan: BuildPlan) -> bool:
    recaptures = context.options.recaptures and len(plan.rows) >= FLAT_BELOW
    return recaptures or len(plan.missing) > 0


def _open_network(context: BuildContext, plan: BuildPlan) -> BuildPlan:
    """Open the network where it is needed, so that what it takes is known before the work."""
    if context.given or not _needs_network(context, plan):
        return plan
    loaded = is_loaded(expected_engine(context.bundle, context.options.device))
    context.open_embedder()
    before, context.base_bytes = context.base_bytes, context.peak.start()
    return plan if loaded else replace(plan, opened=max(context.base_bytes - before, 0))


def _estimate(context: BuildContext, plan: BuildPlan) -> Estimate:
    base_bytes, working_bytes = context.base_bytes, 0
    library = library_bytes(plan.recipe)
    if not context.given and _needs_network(context, plan):
        engine = expected_engine(context.bundle, context.options.device)
        working_bytes = plan.rates.working_bytes(engine, _photo_bytes(context, plan))
        if context.embedder is None:
            base_bytes += plan.rates.opened_bytes(engine)
            # which brings the library along
            library = 0 if engine == "torch" else library
    return estimate(
        plan.rates,
        recipe=plan.recipe,
        entries=len(plan.rows),
        dim=context.dim,
        to_embed=len(plan.missing),
        photos_per_s=context.store.rate(),
        base_bytes=base_bytes + library,
        working_bytes=working_bytes,
    )


def _photo_bytes(context: BuildContext, plan: BuildPlan) -> int:
    """About what the photos take that are decoded at once, by the largest of a sample."""
    picked = plan.missing[evenly_spaced(len(plan.missing), _PHOTOS_LOOKED_AT)]
    rows = context.catalog.photos_by_id(picked.tolist()).values()
    largest = max((row.width * row.height for row in rows), default=0)
    return min((THREADS + 1) * 3 * largest, photo_memory() // 2)


def _dry_run(context: BuildContext, plan: BuildPlan, expected: Estimate) -> BuildReport:
    """What a build would do; where nothing is known of its cost, a few photos and a small index are
    tried."""
    if expected.basis == "unknown":
        if len(plan.missing) and context.store.rate() is None:
            measure_rate(
                context.catalog,
                context.photos,
                context.store,
                context.open_embedder(),
                plan.missing,
            )
        if plan.rates.comparable(plan.recipe, len(plan.rows), context.dim) is None:
            try_build(
                plan.rates,
                recipe=plan.recipe,
                entries=len(plan.rows),
                dim=context.dim,
                recall=context.options.recall,
            )
        context.base_bytes = context.peak.start()
        expected = replace(_estimate(context, plan), basis="trial")
    return _report(
        context,
        plan,
        plan.rows,
        version=None,
        activated=False,
        embedded=0,
        to_embed=len(plan.missing),
        skipped=[],
        recipe=plan.recipe,
        estimated=expected,
    )


def _embed(context: BuildContext, plan: BuildPlan) -> list[SkippedPhoto]:
    """Embed what has no vector yet; returns what could not be read."""
    if not len(plan.missing):
        return []
    missing = plan.missing
    if not context.given:
        missing = embed_cached(context.catalog, context.store, context.open_embedder(), missing)
    embedder = context.open_embedder()
    again = _embed_forgotten(context, missing) if context.open_fetcher is not None else []
    missing = context.store.missing(missing)
    missing = np.setdiff1d(missing, np.array([entry.photo_id for entry in again], np.int64))
    began = time.monotonic()
    skipped = embed_photos(
        context.catalog,
        context.photos,
        context.store,
        embedder,
        missing,
        progress=partial(context.progress, "embed"),
    )
    embedded = len(missing) - len(skipped)
    if embedded >= CHUNK:
        context.store.set_rate(embedded / (time.monotonic() - began))
    return [*again, *skipped]


def _embed_forgotten(context: BuildContext, missing: np.ndarray) -> list[SkippedPhoto]:
    """Fetch and embed those of ``missing`` whose bytes were not kept; returns what failed."""
    assert context.open_fetcher is not None
    forgotten = find_forgotten(context.catalog, context.photos, missing)
    if not forgotten.rows:
        return []
    with context.open_fetcher() as fetcher:
        return embed_forgotten(
            context.catalog,
            context.photos,
            context.store,
            context.open_embedder(),
            forgotten,
            fetcher,
            progress=partial(context.progress, "fetch"),
        )


def _content(context: BuildContext, plan: BuildPlan) -> VersionContent:
    """The planned rows that have a vector now."""
    there, vectors = context.store.find(plan.photo_ids)
    rows = plan.rows[np.isin(plan.rows[:, 1], there)]
    place = np.searchsorted(there, rows[:, 1])
    return VersionContent(
        rows,
        # All of them are large: copied only where the order is another.
        vectors if np.array_equal(place, np.arange(len(there))) else vectors[place],
        last_sequence=plan.sequence,
        embedding_id=context.bundle.embedding_id,
        model_version=context.bundle.model_version,
        source=plan.source,
    )


def _index_options(context: BuildContext, content: VersionContent) -> IndexOptions:
    options = context.options
    queries = None
    # below, every answer is exact
    if options.recaptures and len(content.rows) >= FLAT_BELOW:
        queries = recapture_vectors(
            context.catalog, context.photos, context.open_embedder(), content.rows[:, 1]
        )
    return IndexOptions(
        options.recall, device=options.device, memory=options.memory, queries=queries
    )


def _finish(context: BuildContext, version: str, *, activate: bool) -> None:
    # so that the first question by text does not wait for it
    with closing(Keywords(context.home, context.catalog)) as keywords:
        keywords.follow()
    if activate:
        Versions(context.home).activate(version)


def _record_rates(
    context: BuildContext, plan: BuildPlan, content: VersionContent, version: str, before: int
) -> int:
    """Remember what the build took, for the next estimate; returns the version's bytes on disk."""
    manifest = Versions(context.home).manifest(version)
    disk_bytes = sum(entry["size"] for entry in manifest.files.values())
    seconds = context.timer.seconds()
    measured = {name: seconds[name] for name in ("build", "tags", "publish")}
    plan.rates.record(
        plan.recipe,
        {
            "entries": len(content.rows),
            "dim": context.dim,
            **measured,
            "memory_bytes": max(context.peak.bytes() - before, 0),
            "disk_bytes": disk_bytes,
        },
    )
    return disk_bytes


def _report(context: BuildContext, plan: BuildPlan, rows: np.ndarray, **found: Any) -> BuildReport:
    return BuildReport(
        embedding_id=context.bundle.embedding_id,
        model_version=context.bundle.model_version,
        last_sequence=plan.sequence,
        entries=len(rows),
        products=len(np.unique(rows[:, 0])),
        reused=len(plan.photo_ids) - len(plan.missing),
        **found,
    )
