"""Command ``export``: proposals back to the shop, in its own format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tools.options import AnyPath, NumberRange, OutputPath, home_option, json_option
from tools.output import log, print_result, print_table, progress

if TYPE_CHECKING:
    from indexer.feeds.export.proposal import ExportOptions
    from indexer.feeds.table import Table
    from service.engine import Engine
    from tools.proposals import Proposals

_FROM_CATALOG = ("csv", "jsonl", "google")


@click.command()
@home_option
@click.option(
    "--out", type=OutputPath, required=True, help="The file to write: .csv, .tsv or .jsonl."
)
@click.option(
    "--profile",
    default="csv",
    show_default=True,
    metavar="NAME",
    help="csv or jsonl (all that Catalens knows, with proposals beside it), or google. With --feed "
    "the profile is found by its columns, unless a shop's is named here.",
)
@click.option(
    "--feed",
    type=AnyPath,
    help="The shop's own export: its rows are copied through, with proposals where cells are "
    "blank.",
)
@click.option("--encoding", metavar="NAME", help="Of FEED, where it is not what its bytes say.")
@click.option("--delimiter", metavar="CHARACTER", help="Of FEED.")
@click.option(
    "--only",
    metavar="NAMES",
    help="Only these: category, tags, color, attributes, alt_text, findings, duplicates, or names "
    "of attributes.",
)
@click.option("--changes", is_flag=True, help="Only products of which something changes.")
@click.option("--replace", is_flag=True, help="Also replace what the shop says itself.")
@click.option(
    "--confidence",
    type=NumberRange(0, 1),
    default=0.8,
    show_default=True,
    help="Leave out what is less sure.",
)
@click.option(
    "--language",
    type=click.Choice(["en", "de", "zh"]),
    default="en",
    show_default=True,
    help="Of the alt text, where the format has one column for it.",
)
@json_option
def export(
    home: Path,
    out: Path,
    profile: str,
    feed: Path | None,
    encoding: str | None,
    delimiter: str | None,
    only: str | None,
    confidence: float,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write proposals for the shop, in its format.

    Proposed are categories, tags, colours, attributes and alternative texts.

    GTIN, price and stock are never proposed. With --feed, all else is copied through as it stands
    (encoding, delimiter, quotes), and OUT.undo has the rows as they were.
    """
    from indexer.core.actor import current_actor
    from indexer.core.errors import BadRequestError
    from indexer.feeds.export.proposal import ExportOptions, read_only
    from indexer.feeds.reader import open_table
    from tools.exports import note_export
    from tools.local_engine import open_engine
    from tools.proposals import make_proposals

    if feed is None and profile not in _FROM_CATALOG:
        raise BadRequestError(
            f"--profile {profile} needs the shop's own file: add --feed FILE, the export that was "
            "imported"
        )
    with open_engine(home) as engine:
        options = ExportOptions(only=read_only(only, engine.catalog.types()), **flags)
        with progress("propose") as callback:
            proposals = make_proposals(engine, options, confidence=confidence, progress=callback)
        for reason in proposals.skipped[:5]:
            log(f"skipped {reason}")
        if feed is not None:
            table = open_table(feed, encoding=encoding, delimiter=delimiter)
            report = _fill(table, profile, out, proposals, options)
        else:
            report = _write(engine, profile, out, proposals, options)
        note_export(engine.catalog, f"{report['rows']} rows to {out.name}, profile {profile}")
    document = {"out": str(out), "profile": profile, "by": current_actor(), **report}
    print_result(document, as_json, _show)


def _fill(
    table: Table, profile: str, out: Path, proposals: Proposals, options: ExportOptions
) -> dict[str, Any]:
    """The shop's own rows with proposals in them, and the rows as they were."""
    from indexer.feeds.detection import detect
    from indexer.feeds.export.feed_filler import FeedFiller
    from indexer.feeds.export.filled_feed import write_filled
    from indexer.feeds.profile import load_profile
    from tools.proposals import undo_file

    # The default, csv, names no shop's format.
    automatic = profile in ("auto", "csv", "jsonl")
    chosen = detect(table).profile if automatic else load_profile(profile)
    filler = FeedFiller(table, chosen, proposals.find, options)
    undo = undo_file(out)
    written = write_filled(filler, out, undo)
    for notice in filler.notices:
        log(f"note: {notice.where}: {notice.reason}")
    return {
        "rows": written.rows,
        "changed_cells": written.changed,
        "undo": str(undo),
        "undo_rows": written.undo_rows,
    }


def _write(
    engine: Engine, profile: str, out: Path, proposals: Proposals, options: ExportOptions
) -> dict[str, Any]:
    """Rows from the catalog, without the shop's own file."""
    from indexer.feeds.export.catalog_rows import CatalogRows
    from indexer.feeds.export.feed_writer import write_feed
    from indexer.feeds.table import MOST_COLUMNS

    rows = CatalogRows(engine.home, engine.catalog, proposals.find, options)
    if profile == "google":
        count = write_feed(out, rows.google_columns(), rows.google_rows())
    else:
        # Native values are read as they are, cells as text.
        is_text = out.suffix.lower() != ".jsonl"
        native = rows.native_rows(text=is_text)
        columns = rows.native_columns()
        count = write_feed(out, columns, native, spreadsheet=is_text)
        if is_text and len(columns) > MOST_COLUMNS:
            log(
                f"note: the file has {len(columns):,} columns, an import takes {MOST_COLUMNS:,} "
                "at most: use --profile jsonl"
            )
    for product_id in rows.lost[:5]:
        log(f"note: product {product_id!a}: an import of this file would read it otherwise")
    if len(rows.lost) > 5:
        log(f"note: so it would {len(rows.lost) - 5:,} more")
    lost = {"read_otherwise": rows.lost} if profile != "google" else {}
    return {"rows": count, "changed_cells": {}, "undo": None, "undo_rows": 0, **lost}


def _show(found: dict[str, Any]) -> None:
    rows = [("rows", found["rows"])]
    rows += [(f"changed: {column}", count) for column, count in found["changed_cells"].items()]
    print_table(("", "count"), rows, title=f"Written to {found['out']}")
    if found["undo"]:
        log(f"to undo: {found['undo']} has the {found['undo_rows']} changed rows as they were")
