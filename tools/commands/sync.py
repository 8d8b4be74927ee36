"""Command ``sync``: feeds that are kept in step."""

from __future__ import annotations

import shlex
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tools.feed_options import feed_options
from tools.fetch_options import fetch_options, given_settings
from tools.options import PlaceText, given, home_option, json_option
from tools.output import log, print_result, print_table, stages
from tools.settings_options import config_option, settings_of

if TYPE_CHECKING:
    from indexer.core.home import Home
    from indexer.operations.sync_source import SyncSource
    from service.settings import Settings

_SHOWN = 5


@click.group()
def sync() -> None:
    """Keep the catalog in step with feeds.

    `catalens serve` runs them when they are due; `catalens sync run` does so from cron.
    """


@sync.command("add")
@click.argument("name")
@click.argument("feed", type=PlaceText)
@home_option
@click.option("--every", required=True, metavar="PERIOD", help="How often, such as 15m, 1h or 1d.")
@click.option(
    "--join",
    metavar="COLUMN",
    help="By what rows find their product: sku, gtin, id, or a column of FEED.",
)
@click.option(
    "--only",
    metavar="COLUMNS",
    help="The feed owns these fields and attributes, and writes nothing else: "
    "price,sale_price,availability,stock.",
)
@feed_options
@click.option("--fetch", is_flag=True, help="Fetch photos that the feed names by address.")
@click.option("--deletes", is_flag=True, help="Delete products that the feed lacks.")
@json_option
def add(
    name: str,
    feed: str,
    home: Path,
    every: str,
    only: str | None,
    photos_root: Path | None,
    taxonomy_file: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Keep a feed in step.

    FEED is a file or an address; NAME is what it is called here."""
    from indexer.core.home import Home
    from indexer.operations.sync import add_source
    from indexer.operations.sync_source import SyncSource, parse_period

    path = feed if "://" in feed else str(Path(feed).absolute())
    names = None
    if only is not None:
        names = tuple(part.strip() for part in only.split(",") if part.strip())
    source = SyncSource(
        name=name,
        feed=path,
        every_s=parse_period(every),
        only=names,
        photos_root=None if photos_root is None else str(photos_root.absolute()),
        taxonomy_file=None if taxonomy_file is None else str(taxonomy_file.absolute()),
        created=time.time(),
        **given(**options),
    )
    add_source(Home.create(home), source)
    print_result(_document(Home(home), source), as_json, partial(_show_added, home))


@sync.command("run")
@click.argument("name", required=False)
@home_option
@click.option("--accept", is_flag=True, help="Take a held feed as it is.")
@config_option
@fetch_options
@json_option
def run(
    name: str | None,
    home: Path,
    accept: bool,
    config: Path | None,
    as_json: bool,
    fetch_private: tuple[str, ...],
    fetch_hosts: tuple[str, ...],
    fetch_connections: int | None,
) -> None:
    """Run the feed NAME now, or all that are due.

    Exits 1 where one was held or failed.
    """
    from indexer.core.errors import FeedHeldError
    from indexer.core.home import Home
    from indexer.core.process_limits import limited_memory
    from indexer.operations.sync import run_due, run_source
    from service.query.photo_urls import FETCH_SETTINGS, fetch_settings

    options = given_settings(fetch_private, fetch_hosts, fetch_connections)
    settings = settings_of(home, config, (*FETCH_SETTINGS, "alerts"), options)
    opened = Home(settings.home)
    fetching = fetch_settings(settings)
    with limited_memory(), stages() as callback:
        if name is not None:
            made = run_source(opened, name, accept=accept, fetching=fetching, progress=callback)
            runs = [(name, made)]
        else:
            runs = run_due(opened, fetching=fetching)
    _tell(opened, settings)
    document = {"runs": [{"name": found, **vars(made)} for found, made in runs]}
    print_result(document, as_json, _show_runs)
    wrong = [(found, made) for found, made in runs if made.outcome in ("held", "failed")]
    if wrong:
        found, made = wrong[0]
        raise FeedHeldError(f"{found} {made.outcome}: {made.reason}")


def _tell(home: Home, settings: Settings) -> None:
    """Alerts, where no service runs that would tell them."""
    from service.alerts.probes import open_monitor
    from tools.local_engine import WarningLog

    if not settings.alerts.is_empty:
        open_monitor(home, settings.alerts, log=WarningLog()).check()


@sync.command("list")
@home_option
@json_option
def list_(home: Path, as_json: bool) -> None:
    """List the feeds with their last runs."""
    from indexer.core.home import Home
    from indexer.operations.sync_source import SyncSources

    opened = Home(home)
    sources = SyncSources(opened)
    found = [_document(opened, source) for source in sources.all()]
    for error in sources.damaged():
        log(f"note: {error}")
    print_result({"feeds": found}, as_json, _show_feeds)


@sync.command("remove")
@click.argument("name")
@home_option
@json_option
def remove(name: str, home: Path, as_json: bool) -> None:
    """Keep a feed in step no longer.

    Its products stay."""
    from indexer.core.home import Home
    from indexer.operations.sync import remove_source

    remove_source(Home(home), name)
    print_result({"removed": name}, as_json, lambda _: log(f"{name} is kept in step no longer"))


def _document(home: Home, source: SyncSource) -> dict[str, Any]:
    from indexer.operations.sync_source import SyncSources

    sources = SyncSources(home)
    runs = sources.runs(source.name)
    return {
        **vars(source),
        "next": sources.next_due(source),
        "silent": sources.silent_since(source) is not None,
        "runs": [vars(run) for run in runs[:_SHOWN]],
    }


def _show_added(home: Path, found: dict[str, Any]) -> None:
    from indexer.operations.verification import mend_command

    owns = f", owns {', '.join(found['only'])}" if found["only"] else ""
    run = mend_command(f"sync run {shlex.quote(found['name'])}", home)
    log(f"{found['name']} is kept in step{owns}; run it now: {run}")


def _show_feeds(found: dict[str, Any]) -> None:
    rows = []
    for feed in found["feeds"]:
        last = feed["runs"][0] if feed["runs"] else None
        rows.append(
            (
                feed["name"],
                feed["feed"],
                f"{feed['every_s'] / 60:g} min",
                ", ".join(feed["only"] or ["products"]),
                last["outcome"] if last else "never run",
                (last["reason"] if last else "") or ("silent" if feed["silent"] else ""),
            )
        )
    print_table(("name", "feed", "every", "owns", "last run", ""), rows)


def _show_runs(found: dict[str, Any]) -> None:
    rows = []
    for run in found["runs"]:
        counts = run["counts"]
        numbers = [counts.get(name, 0) for name in ("added", "replaced", "unchanged", "deleted")]
        rows.append((run["name"], run["outcome"], *numbers, run["reason"] or ""))
        for text in run["warnings"][:_SHOWN]:
            log(f"note: {text}")
    print_table(("feed", "outcome", "added", "replaced", "unchanged", "deleted", ""), rows)
