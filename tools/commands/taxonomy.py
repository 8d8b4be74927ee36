"""Command ``taxonomy``: category renames, merges and moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.options import AnyPath, home_option, json_option
from tools.output import log, print_result, print_table


@click.group("taxonomy")
def taxonomy() -> None:
    """Rename, merge and move categories."""


@taxonomy.command("apply")
@click.argument("file", metavar="MAP.csv", type=AnyPath)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@home_option
@json_option
def apply(file: Path, dry_run: bool, home: Path, as_json: bool) -> None:
    """Apply MAP.csv to model and products.

    Its columns are from,to: full paths, written as they stand there, spaces included, levels parted
    by " > ". What lies below a path moves with it. Nothing is trained or embedded again.
    """
    from indexer.catalog.store import open_catalog
    from indexer.classification.taxonomy import apply_taxonomy, known_paths, read_map
    from indexer.core.home import Home

    opened = Home(home)
    with open_catalog(opened) as catalog:
        moves = read_map(file, known_paths(opened, catalog))
        print_result(
            apply_taxonomy(opened, catalog, moves, dry_run=dry_run), as_json, _show_taxonomy
        )


def _show_taxonomy(found: dict[str, Any]) -> None:
    rows = [(row["id"], row["before"], row["after"], row["into"]) for row in found["categories"]]
    print_table(("id", "from", "to", "merged into"), rows)
    log(f"{found['products']} products {'would change' if found['dry_run'] else 'changed'}")
    for path in found["unknown"]:
        log(f"unknown: {path!r} (no category of the model or of a product)")
