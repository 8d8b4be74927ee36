"""Sync of a home with its sources: each fetched if it changed, compared, guarded, imported."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from indexer.catalog.store import open_catalog
from indexer.core.actor import acting, current_actor, doing
from indexer.core.disk_failures import disk_failure
from indexer.core.errors import (
    BadDataError,
    BadRequestError,
    BusyError,
    CatalensError,
    FeedHeldError,
)
from indexer.core.home import Home
from indexer.core.parent_process import end_with_parent
from indexer.core.process_limits import limit_import, release_freed_memory
from indexer.core.progress import OnStage, no_progress
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import ImportReport
from indexer.feeds.join import written_names
from indexer.fetch.settings import FetchSettings
from indexer.operations.feed_import import run_import
from indexer.operations.sync_copy import FeedCopy
from indexer.operations.sync_source import SyncRun, SyncSource, SyncSources

# Notices that a run remembers.
_SHOWN = 20
_MOST_REASON = 500
# Of notices about a photo that could not be had.
_PHOTO_CODES = ("photo-failed", "bad-photo", "photo-missing")
_NO_MEMORY = "the feed takes more memory than a sync may: part it, or raise the setting job_memory"
# Exit status of a run that another process is in the way of: to be tried again soon.
BUSY = 75
_WAIT_S = 10.0


def add_source(home: Home, source: SyncSource) -> None:
    """Keep a feed in step from now on, and give it what it owns.

    Raises ``BadRequestError`` for a feed that owns fields without saying which, or fields that
    another source owns already, or an address with a password; ``BadDataError`` for a path where
    nothing is; ``BusyError`` while it runs.
    """
    if source.join is not None and source.only is None:
        raise BadRequestError(
            "--join needs --only: which fields the feed owns, such as price,sale_price,availability"
        )
    if source.is_url and "@" in urlsplit(source.feed).netloc:
        raise BadRequestError(
            "the address names a user or a password, which would be stored and shown: give one "
            "without"
        )
    if not source.is_url and not Path(source.feed).exists():
        raise BadDataError(f"{source.feed} does not exist")
    sources = SyncSources(home)
    sources.check_name(source.name)
    with (
        home.lock("sync", wait_s=_WAIT_S),
        home.lock(f"sync-{source.name}"),
        open_catalog(home) as catalog,
    ):
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
        given_up = {
            name: None
            for name, owner in owners.items()
            if owner == source.name and name not in wanted
        }
        # Before the feed: a kill in between leaves fields that ``remove`` frees, and never a feed
        # that runs without what it owns.
        catalog.set_owners({**given_up, **dict.fromkeys(wanted, source.name)})
        sources.add(source)


def remove_source(home: Home, name: str) -> None:
    """Keep a feed in step no longer; what it owned belongs to nobody. Products stay.

    Raises ``UnknownSourceError``, and ``BusyError`` while it runs.
    """
    sources = SyncSources(home)
    sources.check_name(name)
    with (
        home.lock("sync", wait_s=_WAIT_S),
        home.lock(f"sync-{name}"),
        open_catalog(home) as catalog,
    ):
        owned = [field for field, owner in catalog.owners().items() if owner == name]
        # What a killed ``add`` or ``remove`` left is freed, though there is no such feed.
        if sources.has(name) or not owned:
            sources.remove(name)
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

    A feed that was not changed since its last run is not read, unless rows of it were left out or
    the catalog changed meanwhile. One that shrank too much is held until ``accept``. Raises
    ``UnknownSourceError``, and ``BusyError`` while it runs already or the home takes another
    import: that is no run.
    """
    sources = SyncSources(home)
    source = sources.get(name)
    with home.lock(f"sync-{name}"):
        started = time.time()
        try:
            run = _run(home, sources, source, accept, fetching or FetchSettings(), progress)
        except BusyError:
            raise
        except Exception as error:
            failure = disk_failure(error, home.path)
            reason = str(failure or f"an error of this program: {error!r}")[:_MOST_REASON]
            sources.add_run(name, SyncRun(started, time.time(), "failed", reason))
            raise
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
        copy = FeedCopy(home, sources, source) if source.is_url else None
        fetched = None if copy is None else copy.fetch(fetching, whole=accept)
        is_same = fetched is not None and not fetched.changed
        if copy is not None and is_same and copy.is_settled(fetching):
            return SyncRun(started, time.time(), "unchanged", "the feed did not change")
        with acting(current_actor() or f"feed {source.name}"), doing("sync", source.name):
            report = run_import(
                home,
                Path(source.feed) if copy is None else copy.path,
                _options(source, accept),
                fetching=fetching if source.fetch else None,
                progress=progress,
            )
        if copy is not None and fetched is not None and report.failure is None:
            copy.remember(fetched, report)
        return _made(started, report)
    except BusyError:
        raise
    except FeedHeldError as error:
        return SyncRun(started, time.time(), "held", str(error)[:_MOST_REASON])
    except CatalensError as error:
        return SyncRun(started, time.time(), "failed", str(error)[:_MOST_REASON])


def _options(source: SyncSource, accept: bool) -> ImportOptions:
    only = None if source.only is None else written_names(frozenset(source.only))
    return ImportOptions(
        profile=source.profile,
        encoding=source.encoding,
        delimiter=source.delimiter,
        currency=source.currency,
        taxonomy_file=_path(source.taxonomy_file),
        photos_root=_path(source.photos_root),
        photos=source.photos,
        fetch=source.fetch,
        sync=source.deletes,
        # Whoever accepts a held feed was told how much it deletes.
        allow_deletes=sys.maxsize if accept else None,
        accept=accept,
        accepted_by=f"catalens sync run {source.name} --accept",
        source=source.name,
        only=only,
        join=source.join,
    )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _made(started: float, report: ImportReport) -> SyncRun:
    """What an import did, as a run; one that did nothing at all failed."""
    warnings = [
        f"{kind.lines[0].where}: {kind.lines[0].reason} ({kind.count})"
        for kind in [*report.skipped.kinds(), *report.warnings.kinds()]
    ]
    failed = sum(kind.count for kind in report.skipped.kinds() if kind.code in _PHOTO_CODES)
    failure = report.failure
    return SyncRun(
        started,
        time.time(),
        "done" if failure is None else "failed",
        None if failure is None else failure[:_MOST_REASON],
        counts=report.counts,
        photos_asked=report.photo_requests,
        photos_failed=failed,
        warnings=[text[:_MOST_REASON] for text in warnings[:_SHOWN]],
    )


def run_due(home: Home, *, fetching: FetchSettings | None = None) -> list[tuple[str, SyncRun]]:
    """Run every source whose time has come, one after another, but those that run already.

    Raises ``BadHomeError`` at the end where one cannot be read.
    """
    sources = SyncSources(home)
    found = []
    for source in sources.all():
        if sources.next_due(source) <= time.time():
            with suppress(BusyError):
                found.append((source.name, run_source(home, source.name, fetching=fetching)))
    for error in sources.damaged():
        raise error
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one source in a process of low priority, for the service: ``HOME NAME SETTINGS``.

    Exits with ``BUSY`` where another process is in the way, with 1 where it cannot be run.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("home")
    parser.add_argument("name")
    parser.add_argument("settings")
    given = parser.parse_args(arguments)
    with suppress(OSError, AttributeError):
        os.nice(10)
    end_with_parent()
    limit_import()
    release_freed_memory()
    settings = json.loads(given.settings)
    for name in ("private", "hosts"):
        settings[name] = frozenset(settings[name])
    try:
        run = run_source(Home(given.home), given.name, fetching=FetchSettings(**settings))
    except CatalensError as error:
        print(error, file=sys.stderr)
        sys.exit(BUSY if isinstance(error, BusyError) else 1)
    except MemoryError:
        print(_NO_MEMORY, file=sys.stderr)
        sys.exit(1)
    print(json.dumps({"outcome": run.outcome, "reason": run.reason, "counts": run.counts}))


if __name__ == "__main__":
    main()
