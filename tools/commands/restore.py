"""Command ``restore``: a home from a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.options import AnyPath, home_option, json_option
from tools.output import print_result, print_table, say, stages


@click.command()
@click.argument("source", metavar="FROM", type=AnyPath)
@home_option
@click.option(
    "--partial",
    is_flag=True,
    help="Restore the rest where files are damaged or missing in the backup, and name them.",
)
@json_option
def restore(source: Path, home: Path, partial: bool, as_json: bool) -> None:
    """Make a new home from a backup.

    FROM is one backup, or a folder of them, of which the newest is taken. Every
    file is checked. The home must not be there yet, or be an empty
    folder, or a link to one.
    """
    from indexer.operations.restore import restore as job

    with stages() as progress:
        found = job(source, home, partial=partial, progress=progress)
    print_result(found, as_json, _show)


def _show(found: dict[str, Any]) -> None:
    hidden = ("left_out", "not_noted")
    print_table(("", "found"), [(k, value) for k, value in found.items() if k not in hidden])
    for name in found["left_out"]:
        say(f"left out, missing or damaged in the backup: {name}")
    if found["not_noted"]:
        say(f"restored, but erasures will not name these backups: {found['not_noted']}")
