"""Commands that build, check and switch index versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.console import answer, progress, say, table
from tools.options import FromSignature, device_option, given, home_option, json_option

BUILD = "indexer.build:build_index"


@click.group("index")
def index() -> None:
    """Build, check and switch index versions."""


@index.command("build")
@home_option
@click.option("--model", metavar="M", help="A model folder (registered on the way) or a registered version.")
@click.option(
    "--recall",
    type=click.FloatRange(0, 1, min_open=True),
    cls=FromSignature,
    source=BUILD,
    help="Share of the exact neighbours that an approximate index must find.",
)
@device_option(BUILD)
@click.option("--dry-run", is_flag=True, help="Only say what would be embedded.")
@click.option("--activate", is_flag=True, help="Serve the new version as soon as it is published.")
@json_option
def build(home: Path, model: str | None, as_json: bool, **options: Any) -> None:
    """Embed what is new in the catalog and publish an index version."""
    from indexer.build import build_index
    from indexer.home import Home
    from indexer.model.registry import resolve

    opened = Home(home)
    with progress("embed") as callback:
        report = build_index(opened, bundle=resolve(opened, model), progress=callback, **given(**options))
    answer(report, as_json, _show_report)


def _show_report(report: dict[str, Any]) -> None:
    skipped = report.get("skipped") or []
    single = {name: value for name, value in report.items() if not isinstance(value, (list, dict))}
    table(("", "value"), single.items(), title=f"Index version {report.get('version') or '(dry run)'}")
    for entry in skipped[:20]:
        say(f"skipped {entry}")


@index.command("list")
@home_option
@json_option
def list_(home: Path, as_json: bool) -> None:
    """List the published versions."""
    from indexer.home import Home
    from indexer.index.version import Versions

    opened = Home(home)
    active = opened.active()
    versions = [
        {**_document(manifest), "active": active is not None and active.index_version == manifest.version}
        for manifest in Versions(opened).list()
    ]
    answer({"versions": versions}, as_json, _show_versions)


def _document(manifest: Any) -> dict[str, Any]:
    from tools.console import plain

    document: dict[str, Any] = plain(manifest)
    return document


def _show_versions(found: dict[str, Any]) -> None:
    columns = ("version", "active", "products", "entries", "recipe", "model_version", "created")
    rows = [[{**row, **row.get("counts", {})}.get(name) for name in columns] for row in found["versions"]]
    table(columns, rows)


@index.command("verify")
@click.argument("version", required=False)
@home_option
@json_option
def verify(version: str | None, home: Path, as_json: bool) -> None:
    """Check every file of VERSION (default: of all versions) against its checksum."""
    from indexer.errors import DamagedIndex, NewerFormat
    from indexer.home import Home
    from indexer.index.version import Versions

    versions = Versions(Home(home))
    names = [version] if version else versions.names()
    damaged = []
    for name in names:
        try:
            versions.verify(name)
        except (DamagedIndex, NewerFormat) as error:
            damaged.append(str(error))
    if damaged:
        raise DamagedIndex("; ".join(damaged))
    answer({"verified": names}, as_json, lambda found: click.echo(f"intact: {', '.join(names) or 'no versions'}"))


@index.command("activate")
@click.argument("version")
@home_option
@json_option
def activate(version: str, home: Path, as_json: bool) -> None:
    """Serve VERSION, its model and its decision layer from now on."""
    from indexer.home import Home
    from indexer.index.version import Versions

    opened = Home(home)
    Versions(opened).activate(version)
    answer(opened.active(), as_json, _show_active)


@index.command("rollback")
@home_option
@json_option
def rollback(home: Path, as_json: bool) -> None:
    """Serve the version before the active one again."""
    from indexer.home import Home
    from indexer.index.version import Versions

    opened = Home(home)
    Versions(opened).rollback()
    answer(opened.active(), as_json, _show_active)


@index.command("gc")
@home_option
@json_option
def gc(home: Path, as_json: bool) -> None:
    """Delete the versions that are neither active nor kept for rollback."""
    from indexer.home import Home
    from indexer.index.version import Versions

    removed = Versions(Home(home)).gc()
    answer({"removed": removed}, as_json, lambda found: click.echo(f"removed: {', '.join(removed) or 'nothing'}"))


def _show_active(active: dict[str, Any]) -> None:
    click.echo(f"active: index {active['index_version']}, model {active['model_version']}")
