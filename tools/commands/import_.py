"""Command ``import``: import of products."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from tools.feed_options import feed_options
from tools.fetch_options import fetch_options, fetch_settings_of
from tools.import_page import show_dry_run, show_import
from tools.options import AnyPath, CountRange, PlaceText, given, home_option, json_option
from tools.output import log, print_result, stages


def _types(_: click.Context, __: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str] | None:
    """``("size=number", ...)`` as a mapping; several may stand in one option, parted by commas."""
    from indexer.catalog.attributes import checked_types
    from indexer.core.errors import BadDataError

    found = {}
    for pair in (part for text in pairs for part in text.split(",") if part.strip()):
        name, equals, kind = pair.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{pair!r} is not NAME=TYPE")
        found[name.strip()] = kind.strip()
    try:
        checked_types(found)
    except BadDataError as error:
        raise click.BadParameter(str(error)) from error
    return found or None


@click.command("import")
@click.argument("data", type=AnyPath)
@home_option
@feed_options
@click.option(
    "--model",
    type=PlaceText,
    metavar="M",
    help="What embeds photos that are not kept; as for index build.",
)
@click.option("--fetch", is_flag=True, help="Fetch photos that the feed names by address.")
@fetch_options
@click.option(
    "--sync",
    is_flag=True,
    help="Delete the products that DATA lacks; refused above 10% of the catalog.",
)
@click.option(
    "--allow-deletes",
    type=CountRange(0),
    metavar="N",
    help="Let --sync delete up to N products.",
)
@click.option(
    "--accept", is_flag=True, help="Take a feed that lost much since its last import as it is."
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only say what would happen: what columns become, three products, what looks wrong.",
)
@click.option(
    "--types",
    multiple=True,
    metavar="NAME=TYPE,...",
    callback=_types,
    help="Fix attribute types: string, number, bool, datetime, list.",
)
@json_option
def import_(
    data: Path,
    home: Path,
    model: str | None,
    as_json: bool,
    fetch_private: tuple[str, ...],
    fetch_hosts: tuple[str, ...],
    fetch_connections: int | None,
    **options: Any,
) -> None:
    """Add or replace the products of DATA.

    DATA is a shop's own export, a manifest, or a folder of photos. The home is made where there is
    none. What cannot be used is left out, each with its reason; exits 1 where nothing could be.
    """
    from indexer.core.errors import NothingImportedError
    from indexer.core.home import Home
    from indexer.core.process_limits import limited_memory
    from indexer.feeds.import_options import ImportOptions
    from indexer.operations.feed_import import run_import

    fetching = fetch_settings_of(fetch_private, fetch_hosts, fetch_connections)
    chosen = ImportOptions(**given(**options))
    with ExitStack() as stack:
        # A dry run leaves nothing behind, not even an empty home.
        if chosen.dry_run and not home.exists():
            opened = Home.create(stack.enter_context(TemporaryDirectory()))
        else:
            fresh = not home.exists()
            opened = Home.create(home)
            if fresh:
                # A name that was mistyped would otherwise pass for a shop without products.
                log(f"there was no home at {opened.path}: a new one was made")
        # As the service's imports: a feed of strangers takes no more than that.
        stack.enter_context(limited_memory())
        report = run_import(
            opened,
            data,
            chosen,
            fetching=fetching if chosen.fetch else None,
            model=model,
            progress=stack.enter_context(stages()),
            note=log,
        )
    show = show_dry_run if report.dry_run else show_import
    print_result(report, as_json, lambda document: show(document, home))
    if report.failure is not None:
        raise NothingImportedError(report.failure)
