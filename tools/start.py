"""First hour of a shop: from its export to a running page, the first products before the rest."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.core.atomic_files import read_sealed_json
from indexer.core.errors import CatalensError, NothingImportedError
from indexer.core.file_owner import open_owned
from tools.output import log, stages

if TYPE_CHECKING:
    from indexer.catalog.store import Catalog
    from indexer.core.home import Home
    from indexer.feeds.import_options import ImportOptions
    from indexer.feeds.import_report import ImportReport
    from indexer.fetch.settings import FetchSettings
    from indexer.model.bundle import Bundle

# Products that a first page is made of.
FIRST = 500
# Labels enough to train: so many kinds, of so many products each.
LEAST_KINDS = 2
LEAST_OF_KIND = 5
_FOLDER = "start"


@dataclass
class StartState:
    """What was done and decided, kept in the home so that a start goes on where it was."""

    feed: str
    # Of the feed's content, where it is one file.
    digest: str | None = None
    profile: str = ""
    # The model version that serves, and in words why that one.
    model: str = ""
    decisions: list[str] = field(default_factory=list)
    first_done: bool = False
    rest_done: bool = False
    first_search_s: float | None = None


@dataclass(frozen=True)
class StartPlan:
    """A feed that is about to be taken in."""

    home: Home
    data: Path
    options: ImportOptions
    fetching: FetchSettings
    state: StartState

    @property
    def folder(self) -> Path:
        return self.home.path / _FOLDER

    def save(self) -> None:
        from indexer.core.atomic_files import write_sealed_json

        self.home.make_folder(self.folder)
        # The address may hold a token.
        write_sealed_json(self.folder / "state.json", asdict(self.state), private=True)

    def decide(self, text: str) -> None:
        """Print a decision, and remember it."""
        log(f"- {text}")
        self.state.decisions.append(text)
        self.save()


def plan_start(
    feed: str, home: Path, options: ImportOptions, fetching: FetchSettings, *, rest: bool = False
) -> StartPlan:
    """Open the home, fetch the feed where it is an address, and look at it.

    ``rest``: the same feed as the start that goes on, which fetched it. A feed that changed since
    all of it was taken in has its rest taken in again.

    Raises ``BadDataError`` for a feed that cannot be read, ``BadHomeError``, ``UrlRefusedError``.
    """
    from indexer.core.atomic_files import sha256_file
    from indexer.core.home import Home

    if "://" not in feed and not Path(feed).exists():
        from indexer.core.errors import BadDataError

        raise BadDataError(f"{feed} does not exist")
    opened = Home.create(home)
    state = _stored_state(opened, feed)
    data = _fetched(opened, feed, fetching, again=not rest) if "://" in feed else Path(feed)
    digest = sha256_file(data) if data.is_file() else None
    if state.rest_done and digest != state.digest:
        log("the feed changed since it was taken in: what is new in it follows")
        state.rest_done = False
    state.digest = digest
    plan = StartPlan(opened, data, options, fetching, state)
    plan.save()
    return plan


def take_first(plan: StartPlan) -> None:
    """Everything up to the first search: some products of all categories, model, index."""
    began = time.monotonic()
    state = plan.state
    if state.first_done:
        log("the first products are searchable already: an earlier start got so far")
        return
    report = _import(plan, first=FIRST)
    if not state.profile:
        state.profile = report.profile
        plan.decide(f"profile {report.profile}: {report.why}")
    _say_notices(report)
    if report.failure is not None:
        raise NothingImportedError(report.failure)
    plan.decide(
        f"first {report.added + report.replaced + report.unchanged:,} products, spread over all "
        "categories"
    )
    bundle = _model(plan)
    _index(plan, bundle)
    state.first_done = True
    state.first_search_s = round(time.monotonic() - began, 1)
    plan.save()
    log(f"first search possible after {state.first_search_s:.0f} s")


def take_rest(plan: StartPlan) -> ImportReport | None:
    """Import what the first products left, and index the whole; None where that was done."""
    if plan.state.rest_done:
        return None
    report = _import(plan)
    _say_notices(report)
    from indexer.model.registry import resolve

    _index(plan, resolve(plan.home, plan.state.model))
    plan.state.rest_done = True
    plan.save()
    counts = report.counts
    log(
        f"all done: {counts['added']:,} products added, {counts['unchanged']:,} there already, "
        f"{counts['skipped']:,} photos or rows left out"
    )
    return report


def start_rest(plan: StartPlan, arguments: list[str]) -> subprocess.Popen[bytes]:
    """Run ``take_rest`` in a process of its own, by this program's own command line; its output
    goes to the home's folder ``start``. It ends with this process, however that ends."""
    # It may name rows of the feed.
    handle = open_owned(plan.folder / "rest.log", os.O_WRONLY | os.O_APPEND, 0o600)
    with os.fdopen(handle, "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tools.cli", "start", *arguments, "--rest"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )


def follow_page() -> None:
    """Make this process one beside the page: behind it, with its memory limited as a worker's, and
    ended when its standard input ends, which the page's process holds open."""
    from indexer.core.process_limits import limit_worker, release_freed_memory

    if hasattr(os, "nice"):
        os.nice(10)
    limit_worker()
    release_freed_memory()

    def wait() -> None:
        # Not by sys.stdin, whose lock this thread would hold when the process ends.
        while os.read(0, 1):
            pass
        log("the page that this belongs to has ended; start it again to go on")
        os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()


# -- parts


def _stored_state(home: Home, feed: str) -> StartState:
    try:
        stored = read_sealed_json(home.path / _FOLDER / "state.json")
        state = StartState(**stored)
    except (OSError, ValueError, TypeError):
        return StartState(feed)
    return state if state.feed == feed else StartState(feed)


def _fetched(home: Home, address: str, fetching: FetchSettings, *, again: bool) -> Path:
    from urllib.parse import urlsplit

    from indexer.fetch.feed_client import FeedClient
    from indexer.operations.sync_source import SyncSource, SyncSources

    folder = home.path / _FOLDER
    home.make_folder(folder)
    name = SyncSources(home).copy_of(SyncSource(_FOLDER, address, 1.0)).name
    target = folder / name
    if target.exists() and not again:
        return target
    log(f"fetching the feed from {urlsplit(address).hostname}")
    with closing(FeedClient(fetching)) as client:
        client.fetch(address, target)
    return target


def _import(plan: StartPlan, *, first: int | None = None) -> ImportReport:
    from indexer.core.process_limits import limited_memory
    from indexer.operations.feed_import import run_import

    options = replace(plan.options, only_first=first, fetch=True)
    with limited_memory(), stages() as callback:
        return run_import(plan.home, plan.data, options, fetching=plan.fetching, progress=callback)


def _say_notices(report: ImportReport) -> None:
    for word, notices in (("left out", report.skipped), ("note", report.warnings)):
        for kind in notices.kinds()[:10]:
            line = kind.lines[0]
            more = f" (and {kind.count - 1} more like it)" if kind.count > 1 else ""
            log(f"{word}: {line.where}: {line.reason}{more}")


def _model(plan: StartPlan) -> Bundle:
    """The model that will serve: trained where labels suffice, exported where that is quicker."""
    from indexer.model.registry import by_version, register_model, resolve
    from indexer.operations.automatic_export import choose_exported

    if plan.state.model:
        return by_version(plan.home, plan.state.model)
    trained = _train(plan)
    bundle = resolve(plan.home, None) if trained is None else register_model(plan.home, trained)
    with stages() as callback:
        choice = choose_exported(plan.home, bundle, progress=callback)
    if choice.reason is not None:
        plan.decide(f"model {choice.bundle.model_version}: {choice.reason}")
    plan.state.model = choice.bundle.model_version
    plan.save()
    return choice.bundle


def _train(plan: StartPlan) -> Path | None:
    """A model trained on the first products, or None where their labels do not suffice."""
    from indexer.catalog.store import open_catalog
    from indexer.feeds.export.catalog_rows import CatalogRows
    from indexer.feeds.export.feed_writer import write_feed
    from indexer.feeds.export.proposal import ExportOptions
    from indexer.operations.free_text import TRAINING_FEED
    from indexer.training.metrics import clopper_pearson
    from indexer.training.train import train

    if plan.options.photos == "forget":
        plan.decide("no training: photos are not kept; the shipped network finds similar products")
        return None
    with open_catalog(plan.home) as catalog:
        kinds = _kinds(catalog)
        enough = [kind for kind, count in kinds.items() if count >= LEAST_OF_KIND]
        if len(enough) < LEAST_KINDS:
            plan.decide(
                f"no training: {len(enough)} categories have {LEAST_OF_KIND} products or more, "
                f"{LEAST_KINDS} are needed; the shipped network finds similar products, and tags "
                "come from neighbours"
            )
            return None
        rows = CatalogRows(
            plan.home, catalog, lambda _: None, ExportOptions(), with_addresses=False
        )
        manifest = plan.home.path / TRAINING_FEED
        write_feed(manifest, rows.native_columns(), rows.native_rows(), private=True)
        count = len(catalog)
    model = plan.folder / "model"
    try:
        plan.decide(f"training on {count:,} products in {len(kinds):,} categories")
        with stages() as callback:
            report = train(manifest, model, progress=callback)
    except CatalensError as error:
        plan.decide(f"no training: {error}; the shipped network finds similar products")
        return None
    finally:
        # It holds what products say, and nobody reads it again.
        manifest.unlink(missing_ok=True)
    accuracy = report.validation.get("accuracy")
    if accuracy is not None:
        photos = report.photos["validation"]
        low, high = clopper_pearson(accuracy * photos, photos)
        plan.decide(
            f"the model names the category of {accuracy:.0%} of {photos:,} photos that it did not "
            f"learn from (of many photos it may be {low:.0%} to {high:.0%})"
        )
    return model


def _kinds(catalog: Catalog) -> Counter[str]:
    """Category -> its products."""
    found: Counter[str] = Counter()
    for product in catalog.iterate():
        if product.category:
            found["\0".join(product.category)] += 1
    return found


def _index(plan: StartPlan, bundle: Bundle) -> None:
    from indexer.index_build.pipeline import build_index

    with stages() as callback:
        report = build_index(plan.home, bundle, activate=True, progress=callback)
    log(f"index {report.version}: {report.products:,} products, {report.entries:,} photos")


def summary(plan: StartPlan) -> dict[str, Any]:
    """What a start did, with a product to ask about and whether the model knows categories."""
    from indexer.catalog.store import open_catalog
    from indexer.model.registry import by_version

    with open_catalog(plan.home) as catalog:
        product = next(catalog.iterate(), None)
    return {
        "home": str(plan.home.path),
        **asdict(plan.state),
        "product_id": None if product is None else product.product_id,
        "categories": len(by_version(plan.home, plan.state.model).decision.categories),
    }
