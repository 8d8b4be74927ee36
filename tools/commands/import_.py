"""Command ``import``: import of products."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from tools.options import AnyPath, FromSignature, given, home_option, json_option
from tools.output import log, print_result, print_table, progress

IMPORT = "indexer.feeds.importer:import_dataset"


SHOWN = 20  # left-out rows that a person is shown


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
@click.option(
    "--photos",
    type=click.Choice(["copy", "reference"]),
    cls=FromSignature,
    source=IMPORT,
    help="Copy the photos into the home, or refer to them where they are.",
)
@click.option(
    "--sync",
    is_flag=True,
    help="Delete the products that DATA lacks; refused above 10% of the catalog.",
)
@click.option(
    "--allow-deletes",
    type=click.IntRange(0),
    metavar="N",
    help="Let --sync delete up to N products.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@click.option(
    "--types",
    multiple=True,
    metavar="NAME=TYPE,...",
    callback=_types,
    help="Fix attribute types: string, number, bool, datetime, list.",
)
@json_option
def import_(
    data: Path, home: Path, as_json: bool, types: dict[str, str] | None, **options: Any
) -> None:
    """Add or replace the products of DATA.

    The home is made where there is none. Rows that cannot be used are skipped, each with its
    reason.
    """
    from indexer.core.home import Home
    from indexer.feeds.importer import import_dataset, read_feed
    from indexer.reviews.store import forget_photos

    dataset = read_feed(home, data, types=types)
    with ExitStack() as stack:
        if (
            options["dry_run"] and not home.exists()
        ):  # a dry run leaves nothing behind, not even an empty home
            opened = Home.create(stack.enter_context(TemporaryDirectory()))
        else:
            opened = Home.create(home)
        callback = stack.enter_context(progress("import"))
        report = import_dataset(
            opened,
            dataset,
            progress=callback,
            on_removed=partial(forget_photos, opened),
            **given(**options),
        )
    print_result(report, as_json, lambda document: _show_import(document, home))


def _show_import(report: dict[str, Any], home: Path) -> None:
    counts = [(name, report[name]) for name in ("added", "replaced", "unchanged", "deleted")]
    title = f"Would be imported into {home}" if report["dry_run"] else f"Imported into {home}"
    print_table(
        ("products", "count"), [*counts, ("rows skipped", len(report["skipped"]))], title=title
    )
    for kind in ("skipped", "warnings"):
        for row in report[kind][:SHOWN]:
            log(f"{'skipped' if kind == 'skipped' else 'note:'} {row['where']}: {row['reason']}")
        if len(report[kind]) > SHOWN:
            log(f"... and {len(report[kind]) - SHOWN} more; --json lists all")
