"""Command ``undo``: what was done lately, and taking it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.options import home_option, json_option
from tools.output import log, print_result, print_table, progress
from tools.settings_options import config_option, retention_settings, settings_of

_LIST = "list"


@click.command("undo")
@click.argument("action", metavar="list|ACTION")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--writes", is_flag=True, help="With list: single writes too.")
@click.option("--dry-run", is_flag=True, help="Only say what would come back.")
@home_option
@config_option
@json_option
def undo(
    action: str,
    limit: int,
    writes: bool,
    dry_run: bool,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Undo an import, an edit or an activation.

    ``undo list`` names what was done last, by whom, and until when it can be undone (setting
    undo_days). A value comes back where it is
    still as ACTION left it: what somebody changed since stays, and so do products that were erased.
    A running service follows by itself.
    """
    from indexer.catalog.store import open_catalog
    from indexer.core.home import Home
    from indexer.operations.undo import list_actions
    from indexer.operations.undo import undo as take_back

    if action == _LIST:
        settings = retention_settings(home, config)
    else:
        settings = settings_of(home, config, ())
    opened = Home(settings.home)
    with open_catalog(opened) as catalog:
        if action == _LIST:
            found = list_actions(
                opened, catalog, limit=limit, writes=writes, days=settings.undo_days
            )
            print_result({"actions": found}, as_json, _show_actions)
        else:
            with progress("undo") as callback:
                result = take_back(opened, catalog, action, dry_run=dry_run, progress=callback)
            print_result(result, as_json, _show_result)


def _show_actions(found: dict[str, Any]) -> None:
    rows = [
        (
            row["name"],
            row["at"][:19].replace("T", " "),
            row["kind"],
            row["by"],
            row["note"],
            row["added"],
            row["changed"],
            row["erased"],
            row["state"],
        )
        for row in found["actions"]
    ]
    columns = ("action", "at", "kind", "by", "about", "added", "changed", "erased", "state")
    print_table(columns, rows)


def _show_result(found: dict[str, Any]) -> None:
    would = "would be " if found["dry_run"] else ""
    log(
        f"{found['restored']} products {would}as before, {found['removed']} added ones "
        f"{would}erased; {found['erased']} that it had erased stay so"
    )
    for skip in found["skipped"]:
        log(f"stays: {skip['product_id']} {skip['part']} ({skip['reason']})")
    rest = found["skipped_count"] - len(found["skipped"])
    if rest:
        log(f"... and {rest} more")
