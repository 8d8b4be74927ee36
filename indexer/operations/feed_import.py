"""Import of a feed with all that it may need: fetched photos, forgotten photos, reviews told."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from indexer.core.home import Home
from indexer.core.progress import OnStage, no_progress
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import ImportReport
from indexer.feeds.importer import import_feed
from indexer.fetch.settings import FetchSettings
from indexer.operations.home_fetcher import home_fetcher
from indexer.reviews.store import forget_photos


def run_import(
    home: Home,
    data: Path,
    options: ImportOptions,
    *,
    fetching: FetchSettings | None = None,
    progress: OnStage = no_progress,
) -> ImportReport:
    """Import ``data`` into ``home`` as ``options`` say.

    ``fetching``: how photos by address are fetched; None: they are not. Photos that are to be
    forgotten are embedded by the active model, or the one that an index build would take. Raises as
    ``import_feed``.
    """
    with ExitStack() as stack:
        fetcher = None
        keeper = None
        if fetching is not None and not options.dry_run:
            fetcher = stack.enter_context(home_fetcher(home, fetching))
        if options.photos == "forget" and not options.dry_run:
            # Slow to load, and needed for this alone.
            from indexer.operations.forget_photos import forgetting

            keeper = stack.enter_context(forgetting(home))
        report = import_feed(
            home,
            data,
            options,
            fetcher=fetcher,
            photo_keeper=keeper,
            progress=progress,
            on_removed=partial(forget_photos, home),
        )
        if fetcher is not None:
            report.photo_requests = fetcher.progress().requests
        return report
