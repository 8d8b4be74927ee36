"""Command ``index``: index versions: build, verify, switch, erase, transfer."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Any

import click

from tools.erase_command import erase
from tools.fetch_options import fetch_options, fetch_settings_of
from tools.options import (
    AnyPath,
    FromSignature,
    NumberRange,
    OutputPath,
    PlaceText,
    device_option,
    given,
    home_option,
    json_option,
)
from tools.output import log, print_result, print_table, say, stages
from tools.settings_options import config_option, retention_settings

BUILD = "indexer.index_build.pipeline:BuildOptions"


@click.group("index")
def index() -> None:
    """Build, check and switch index versions."""


index.add_command(erase)


@index.command("build")
@home_option
@click.option(
    "--model",
    type=PlaceText,
    metavar="M",
    help="A model folder (registered on the way) or a registered version.",
)
@click.option(
    "--recall",
    type=NumberRange(0, 1, min_open=True),
    cls=FromSignature,
    source=BUILD,
    help="Share of the exact neighbours that an approximate index must find.",
)
@device_option(BUILD)
@click.option("--memory", metavar="SIZE", help="What the build may hold, such as 2GB or 500MB.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only say what would be done, how long it takes and what it needs.",
)
@click.option("--activate", is_flag=True, help="Serve the new version as soon as it is published.")
@click.option(
    "--export/--no-export",
    "may_export",
    default=True,
    show_default=True,
    help="Before the first index of a model on a processor, export it: several times as fast.",
)
@fetch_options
@json_option
def build(
    home: Path,
    model: str | None,
    memory: str | None,
    activate: bool,
    may_export: bool,
    fetch_private: tuple[str, ...],
    fetch_hosts: tuple[str, ...],
    fetch_connections: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Embed new photos and publish a version.

    An interrupted build goes on where it stopped. Progress, with rate and time left, goes to
    stderr. A model that is exported on the way is used only where its vectors are near enough to
    the model's own. Photos that were imported with --photos forget are fetched again where the
    model has no vector of them.
    """
    from indexer.core.home import Home
    from indexer.index_build.cost_estimate import parse_size
    from indexer.index_build.pipeline import BuildOptions, build_index
    from indexer.model.registry import resolve
    from indexer.operations.automatic_export import choose_exported
    from indexer.operations.home_fetcher import home_fetcher

    fetching = fetch_settings_of(fetch_private, fetch_hosts, fetch_connections)
    opened = Home(home)
    budget = None if memory is None else parse_size(memory)
    chosen = BuildOptions(**given(memory=budget, **options))
    with stages() as callback:
        bundle = resolve(opened, model)
        if may_export and not chosen.dry_run:
            choice = choose_exported(opened, bundle, device=chosen.device, progress=callback)
            bundle = choice.bundle
            if choice.reason is not None:
                log(f"model {bundle.model_version}: {choice.reason}")
        report = build_index(
            opened,
            bundle,
            chosen,
            activate=activate,
            progress=callback,
            open_fetcher=partial(home_fetcher, opened, fetching),
        )
    print_result(report, as_json, _show_report)


def _show_report(report: dict[str, Any]) -> None:
    skipped = report.get("skipped") or []
    single = {name: value for name, value in report.items() if not isinstance(value, (list, dict))}
    print_table(
        ("", "value"), single.items(), title=f"Index version {report.get('version') or '(dry run)'}"
    )
    expected, took = report["estimated"], report["seconds"]
    rows = [(stage, value, took.get(stage)) for stage, value in expected["seconds"].items()]
    print_table(("seconds", "estimated", "took"), rows)
    rows = [
        (name, expected[name] / 1e6, (report[name] or 0) / 1e6 or None)
        for name in ("memory_bytes", "disk_bytes")
    ]
    print_table(("megabytes", "estimated", "took"), rows)
    for entry in skipped[:20]:
        log(f"skipped {entry}")


@index.command("list")
@home_option
@json_option
def list_(home: Path, as_json: bool) -> None:
    """List the published versions."""
    from indexer.core.home import Home
    from indexer.index.version import Versions

    opened = Home(home)
    active = opened.active()
    versions = [
        {
            **_document(manifest),
            "active": active is not None and active.index_version == manifest.version,
        }
        for manifest in Versions(opened).list()
    ]
    print_result({"versions": versions}, as_json, _show_versions)


def _document(manifest: Any) -> dict[str, Any]:
    from tools.output import to_plain

    document: dict[str, Any] = to_plain(manifest)
    return document


def _show_versions(found: dict[str, Any]) -> None:
    columns = ("version", "active", "products", "entries", "recipe", "model_version", "created")
    rows = []
    for row in found["versions"]:
        flat = {**row, **row.get("counts", {})}
        rows.append([flat.get(name) for name in columns])
    print_table(columns, rows)


@index.command("verify")
@click.argument("version", required=False)
@home_option
@click.option(
    "--erased",
    metavar="ID",
    help="Search the whole home for what may be left of this deleted product.",
)
@click.option(
    "--ticket",
    type=AnyPath,
    metavar="FILE",
    help="With --erased: what DELETE or `index erase` gave for it.",
)
@click.option(
    "--photo",
    "photos",
    type=AnyPath,
    multiple=True,
    metavar="FILE",
    help="With --erased: a photo it had.",
)
@json_option
def verify(
    version: str | None,
    home: Path,
    erased: str | None,
    ticket: Path | None,
    photos: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Check versions, or an erasure, byte by byte.

    Every file of VERSION (default: of all versions) is checked against its checksum; `catalens
    verify` checks the whole home. With --erased
    ID every byte of the home is searched for a deleted product's id and, given its ticket or
    photos, for its content hashes and vectors, by its ticket free text for what it said; exit 1
    where something is found.
    """
    from indexer.core.errors import DamagedIndexError, NewerFormatError
    from indexer.core.home import Home
    from indexer.index.version import Versions

    if erased is not None:
        if version is not None:
            raise click.UsageError("--erased searches the whole home: leave VERSION out")
        _verify_erased(Home(home), erased, ticket, photos, as_json)
        return
    if ticket or photos:
        raise click.UsageError("--ticket and --photo go with --erased ID")
    versions = Versions(Home(home))
    names = [version] if version else versions.names()
    damaged = []
    for name in names:
        try:
            versions.verify(name)
        except (DamagedIndexError, NewerFormatError) as error:
            damaged.append(str(error))
    if damaged:
        raise DamagedIndexError("; ".join(damaged))
    print_result(
        {"verified": names},
        as_json,
        lambda found: say(
            f"intact: {', '.join(names) or 'no versions'} (index versions alone; the whole home: "
            f"catalens verify --home {home})"
        ),
    )


def _verify_erased(
    home: Any, product_id: str, ticket: Path | None, photos: tuple[Path, ...], as_json: bool
) -> None:
    from indexer.catalog.store import open_catalog
    from indexer.core.errors import NotErasedError
    from indexer.operations.erasure_audit import find_traces, read_ticket

    with open_catalog(home) as catalog:
        known = None if ticket is None else read_ticket(ticket, product_id)
        traces = find_traces(home, catalog, product_id, ticket=known, photos=photos)
    print_result(traces, as_json, _show_traces)
    if traces.found:
        first = ", ".join(f"{entry['where']} ({entry['what']})" for entry in traces.found[:3])
        more = f" and {len(traces.found) - 3} more" if len(traces.found) > 3 else ""
        raise NotErasedError(
            f"product {product_id!r} is not erased: {first}{more}; run catalens index erase "
            f"{shlex.quote(product_id)}"
        )


def _show_traces(found: dict[str, Any]) -> None:
    if found["found"]:
        print_table(
            ("where", "what"),
            [(entry["where"], entry["what"]) for entry in found["found"]],
            title="Found",
        )
    searched = found["searched"]
    kinds = ", ".join(searched["for"]) or "rows and files that no product has"
    say(f"searched {searched['files']:,} files, {searched['bytes']:,} bytes, for: {kinds}")
    for name, lines in (
        ("shared, so kept", found["shared"]),
        ("note", found["notes"]),
        ("outside", found["outside"]),
    ):
        for line in lines:
            say(f"{name}: {line}")


@index.command("activate")
@click.argument("version")
@home_option
@json_option
def activate(version: str, home: Path, as_json: bool) -> None:
    """Serve VERSION from now on.

    Its model and its decision layer are switched with it.
    """
    from indexer.core.home import Home
    from indexer.index.version import Versions

    opened = Home(home)
    Versions(opened).activate(version)
    print_result(opened.active(), as_json, _show_active)


@index.command("rollback")
@home_option
@json_option
def rollback(home: Path, as_json: bool) -> None:
    """Serve the previous version again."""
    from indexer.core.home import Home
    from indexer.index.version import Versions

    opened = Home(home)
    Versions(opened).rollback()
    print_result(opened.active(), as_json, _show_active)


@index.command("gc")
@home_option
@config_option
@click.option(
    "--accept-clock",
    is_flag=True,
    help="The clock is right, though it is far from what the home has seen.",
)
@json_option
def gc(home: Path, config: Path | None, accept_clock: bool, as_json: bool) -> None:
    """Delete the versions that are not needed.

    Those that are neither active nor kept for rollback, and what only they needed. The change log
    is compacted below the oldest version left; embeddings and decision layers that no version needs
    are deleted, and so is what killed processes left half-written. What came to its end by the
    settings review_photos_days, open_review_photos_days, review_texts_days, job_days and undo_days
    goes too, where neither --config nor the environment gives them as the home's last service had
    them; nothing where the clock is more than 7 days ahead of what the home has seen, or an
    hour behind: by --accept-clock it is taken as right.
    """
    from indexer.core.home import Home
    from indexer.core.home_clock import accept_time
    from indexer.operations.garbage_collection import tidy

    settings = retention_settings(home, config)
    opened = Home(settings.home)
    if accept_clock:
        accept_time(opened)
    print_result(tidy(opened, settings.retention_terms), as_json, _show_tidied)


def _show_tidied(found: dict[str, Any]) -> None:
    say(f"removed: {', '.join(found['removed']) or 'nothing'}")
    if found["held"]:
        log(f"held: {found['held']}")
    rest = {
        name: value for name, value in found.items() if name not in ("removed", "held") and value
    }
    if rest:
        print_table(("also", ""), rest.items())


@index.command("push")
@click.argument("folder", type=OutputPath, metavar="DIR")
@click.argument("version", required=False)
@home_option
@json_option
def push(folder: Path, version: str | None, home: Path, as_json: bool) -> None:
    """Copy a version and its model to DIR.

    VERSION (default: the active one) can be pulled from there by another machine. Only what DIR
    lacks is copied, and all of it is verified on both sides; an interrupted push goes on.
    """
    from indexer.core.home import Home
    from indexer.index.pushed import note_pushed
    from indexer.index.transfer import push as move

    with stages() as callback:
        moved = move(Home(home), folder, version, progress=callback)
    reason = note_pushed(Home(home), folder)
    print_result(moved, as_json, _show_moved)
    if reason:
        log(f"pushed, but an erasure will not ask for that folder: {reason}")


@index.command("pull")
@click.argument("folder", type=AnyPath, metavar="DIR")
@click.argument("version", required=False)
@home_option
@json_option
def pull(folder: Path, version: str | None, home: Path, as_json: bool) -> None:
    """Copy a version and its model from DIR.

    VERSION (default: the newest) comes into the home; nothing is activated. The home must hold the
    catalog that the version was built from, or a copy of it. A number that is taken is not used
    again: the version then gets the home's next one.
    """
    from indexer.core.home import Home
    from indexer.index.transfer import pull as move

    with stages() as callback:
        moved = move(folder, Home(home), version, progress=callback)
    print_result(moved, as_json, _show_moved)


def _show_moved(moved: dict[str, Any]) -> None:
    as_what = (
        "" if moved["version"] == moved["source_version"] else f" (there {moved['source_version']})"
    )
    there = (
        "was there already" if moved["already_there"] else f"copied {moved['copied_bytes']:,} bytes"
    )
    say(f"{moved['version']}{as_what}, model {moved['model_version']}: {there}")


def _show_active(active: dict[str, Any]) -> None:
    say(f"active: index {active['index_version']}, model {active['model_version']}")
