"""Commands that bring products into the catalog and say what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.console import answer, progress, say, table
from tools.options import AnyPath, FromSignature, given, home_option, json_option

IMPORT = "indexer.catalog.imports:import_dataset"


def _types(_: click.Context, __: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str] | None:
    """``("size=number", ...)`` as a mapping; several may stand in one option, parted by commas."""
    found = {}
    for pair in (part for text in pairs for part in text.split(",") if part.strip()):
        name, equals, kind = pair.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{pair!r} is not NAME=TYPE")
        found[name.strip()] = kind.strip()
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
@click.option("--sync", is_flag=True, help="Delete the products that DATA lacks; refused above 10% of the catalog.")
@click.option("--allow-deletes", type=click.IntRange(0), metavar="N", help="Let --sync delete up to N products.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@click.option(
    "--types",
    multiple=True,
    metavar="NAME=TYPE,...",
    callback=_types,
    help="Fix attribute types: string, number, bool, datetime, list.",
)
@json_option
def import_(data: Path, home: Path, as_json: bool, types: dict[str, str] | None, **options: Any) -> None:
    """Add or replace the products of DATA.

    The home is made where there is none. Rows that cannot be used are skipped, each with its reason.
    """
    from indexer.catalog.dataset import read_dataset
    from indexer.catalog.imports import import_dataset
    from indexer.home import Home

    dataset = read_dataset(data, types=types)
    with progress("import") as callback:
        report = import_dataset(Home.create(home), dataset, progress=callback, **given(**options))
    answer(report, as_json, lambda document: _show_import(document, home))


def _show_import(report: dict[str, Any], home: Path) -> None:
    counts = {name: value for name, value in report.items() if isinstance(value, int)}
    skipped = report.get("skipped", [])
    table(("products", "count"), [*counts.items(), ("rows skipped", len(skipped))], title=f"Imported into {home}")
    for row in skipped[:20]:
        say(f"skipped {row['where']}: {row['reason']}")
    if len(skipped) > 20:
        say(f"... and {len(skipped) - 20} more; --json lists all")


@click.command()
@home_option
@json_option
def schema(home: Path, as_json: bool) -> None:
    """List the attributes of the catalog and their types."""
    from indexer.catalog.store import open_catalog
    from indexer.home import Home

    types = open_catalog(Home(home)).types()
    answer({"attributes": types}, as_json, lambda found: table(("attribute", "type"), found["attributes"].items()))
