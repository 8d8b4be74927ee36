"""Import of a feed with all that it may need: fetched photos, forgotten photos, reviews told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from indexer.core.actor import doing
from indexer.core.home import Home
from indexer.core.progress import OnStage, no_progress
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import ImportReport
from indexer.feeds.importer import import_feed
from indexer.feeds.notice import Notice
from indexer.fetch.settings import FetchSettings
from indexer.operations.home_fetcher import home_fetcher
from indexer.reviews.store import forget_photos


def _keep_quiet(_: str) -> None:
    """Take a note that nobody reads."""


def run_import(
    home: Home,
    data: Path,
    options: ImportOptions,
    *,
    fetching: FetchSettings | None = None,
    model: str | None = None,
    progress: OnStage = no_progress,
    note: Callable[[str], object] = _keep_quiet,
) -> ImportReport:
    """Import ``data`` into ``home`` as ``options`` say.

    ``fetching``: how photos by address are fetched; None: they are not. ``model``: what embeds
    photos that are to be forgotten; None: the active one, or what an index build would take. One
    that has no vector is a warning. ``note`` gets what was fetched and forgotten, in words. Raises
    as ``import_feed``.
    """
    with ExitStack() as stack:
        stack.enter_context(doing("import", data.name))
        fetcher = None
        keeper = None
        if fetching is not None and not options.dry_run:
            fetcher = stack.enter_context(home_fetcher(home, fetching))
        if options.photos == "forget" and not options.dry_run:
            # Slow to load, and needed for this alone.
            from indexer.operations.forget_photos import forgetting

            keeper = stack.enter_context(forgetting(home, model))
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
            note(fetcher.progress().words())
    # Only now all are settled.
    if keeper is not None:
        made = keeper.report
        because = f" ({made.reason})" if made.reason else ""
        note(f"photos forgotten: {made.forgotten}; embedded by model {made.model_version}{because}")
        report.warnings.extend(
            Notice(str(skipped.content_hash), f"has no vector: {skipped.reason}", "no-vector")
            for skipped in made.skipped
        )
    return report
