"""Sync of a home with its sources: each fetched if it changed, compared, guarded, imported."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from indexer.catalog.store import open_catalog
from indexer.core.atomic_files import write_json
from indexer.core.errors import BadDataError, BadRequestError, CatalensError, FeedHeldError
from indexer.core.home import Home
from indexer.core.progress import OnStage, no_progress
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import ImportReport
from indexer.feeds.join import written_names
from indexer.fetch.feed_client import FeedClient, FetchedFeed
from indexer.fetch.settings import FetchSettings
from indexer.operations.feed_import import run_import
from indexer.operations.sync_source import SyncRun, SyncSource, SyncSources

# Notices that a run remembers.
_SHOWN = 20
_MOST_REASON = 500


def add_source(home: Home, source: SyncSource) -> None:
    """Keep a feed in step from now on, and give it what it owns.

    Raises ``BadRequestError`` for a feed that owns fields without saying which, or fields that
    another source owns already; ``BadDataError`` for a path where nothing is.
    """
    if source.join is not None and source.only is None:
        raise BadRequestError(
            "--join needs --only: which fields the feed owns, such as price,sale_price,availability"
        )
    if not source.is_url and not Path(source.feed).exists():
        raise BadDataError(f"{source.feed} does not exist")
    sources = SyncSources(home)
    with open_catalog(home) as catalog:
        owners = catalog.owners()
        wanted = written_names(frozenset(source.only)) if source.only is not None else frozenset()
        # What was asked for is named before what it brings along.
        asked = sorted(wanted, key=lambda name: (name not in (source.only or ()), name))
        taken = {name: owners[name] for name in asked if name in owners}
        foreign = {name: owner for name, owner in taken.items() if owner != source.name}
        if foreign:
            name, owner = next(iter(foreign.items()))
            raise BadRequestError(
                f"{name!r} belongs to the feed {owner!r} already: take it out of --only, or remove "
                f"that feed (catalens sync remove {owner})"
            )
        sources.add(source)
        given_up = {
            name: None
            for name, owner in owners.items()
            if owner == source.name and name not in wanted
        }
        catalog.set_owners({**given_up, **dict.fromkeys(wanted, source.name)})


def remove_source(home: Home, name: str) -> None:
    """Keep a feed in step no longer; what it owned belongs to nobody. Products stay."""
    SyncSources(home).remove(name)
    with open_catalog(home) as catalog:
        owned = [field for field, owner in catalog.owners().items() if owner == name]
        catalog.set_owners(dict.fromkeys(owned))


def run_source(
    home: Home,
    name: str,
    *,
    accept: bool = False,
    fetching: FetchSettings | None = None,
    progress: OnStage = no_progress,
) -> SyncRun:
    """Bring the home to what one source says now; the run is remembered whatever comes of it.

    A feed that was not changed since its last run is not read. One that shrank too much is held
    until ``accept``. Raises ``UnknownSourceError``, and ``BusyError`` while it runs already.
    """
    sources = SyncSources(home)
    source = sources.get(name)
    with home.lock(f"sync-{name}"):
        run = _run(home, sources, source, accept, fetching or FetchSettings(), progress)
        sources.add_run(name, run)
        return run


def _run(
    home: Home,
    sources: SyncSources,
    source: SyncSource,
    accept: bool,
    fetching: FetchSettings,
    progress: OnStage,
) -> SyncRun:
    started = time.time()
    try:
        path, fetched = _feed(sources, source, fetching, force=accept)
        if path is None:
            return SyncRun(started, time.time(), "unchanged", "the feed did not change")
        report = run_import(
            home,
            path,
            _options(source, accept),
            fetching=fetching if source.fetch else None,
            progress=progress,
        )
        if fetched is not None:
            _remember(sources, source, fetched)
        return _made(started, report)
    except FeedHeldError as error:
        return SyncRun(started, time.time(), "held", str(error)[:_MOST_REASON])
    except CatalensError as error:
        return SyncRun(started, time.time(), "failed", str(error)[:_MOST_REASON])


def _feed(
    sources: SyncSources, source: SyncSource, fetching: FetchSettings, *, force: bool
) -> tuple[Path | None, FetchedFeed | None]:
    """The feed's file, fetched where it is an address; None where it did not change."""
    if not source.is_url:
        return Path(source.feed), None
    target = sources.copy_of(source)
    known: dict[str, str] = {}
    if not force and target.exists():
        with suppress(OSError, ValueError):
            known = json.loads(sources.state_of(source.name).read_text(encoding="utf-8"))
    client = FeedClient(fetching)
    try:
        fetched = client.fetch(
            source.feed,
            target,
            etag=known.get("etag"),
            last_modified=known.get("last_modified"),
        )
    finally:
        client.close()
    return (target if fetched.changed else None), fetched


def _remember(sources: SyncSources, source: SyncSource, fetched: FetchedFeed) -> None:
    """Keep the answer's tags, now that what it held is imported."""
    state = {"etag": fetched.etag, "last_modified": fetched.last_modified}
    write_json(sources.state_of(source.name), state)


def _options(source: SyncSource, accept: bool) -> ImportOptions:
    only = None if source.only is None else written_names(frozenset(source.only))
    return ImportOptions(
        profile=source.profile,
        encoding=source.encoding,
        delimiter=source.delimiter,
        photos_root=None if source.photos_root is None else Path(source.photos_root),
        photos=source.photos,
        fetch=source.fetch,
        sync=source.deletes,
        accept=accept,
        source=source.name,
        only=only,
        join=source.join,
    )


def _made(started: float, report: ImportReport) -> SyncRun:
    """What an import did, as a run; one that did nothing at all failed."""
    warnings = [
        f"{kind.lines[0].where}: {kind.lines[0].reason} ({kind.count})"
        for kind in [*report.skipped.kinds(), *report.warnings.kinds()]
    ]
    failed = sum(
        kind.count for kind in report.skipped.kinds() if kind.code in ("photo-failed", "bad-photo")
    )
    failure = report.failure
    return SyncRun(
        started,
        time.time(),
        "done" if failure is None else "failed",
        None if failure is None else failure[:_MOST_REASON],
        counts=report.counts,
        photos_failed=failed,
        warnings=[text[:_MOST_REASON] for text in warnings[:_SHOWN]],
    )


def run_due(home: Home, *, fetching: FetchSettings | None = None) -> list[tuple[str, SyncRun]]:
    """Run every source whose time has come, one after another."""
    sources = SyncSources(home)
    found = []
    for source in sources.all():
        if sources.next_due(source) <= time.time():
            found.append((source.name, run_source(home, source.name, fetching=fetching)))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one source in a process of low priority, for the service: ``HOME NAME SETTINGS``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("home")
    parser.add_argument("name")
    parser.add_argument("settings")
    given = parser.parse_args(arguments)
    with suppress(OSError, AttributeError):
        os.nice(10)
    settings = json.loads(given.settings)
    for name in ("private", "hosts"):
        settings[name] = frozenset(settings[name])
    run = run_source(Home(given.home), given.name, fetching=FetchSettings(**settings))
    print(json.dumps({"outcome": run.outcome, "reason": run.reason, "counts": run.counts}))


if __name__ == "__main__":
    main()
