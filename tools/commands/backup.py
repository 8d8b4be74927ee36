"""Command ``backup``: a copy of a home that can be restored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.options import AnyPath, CountRange, home_option, json_option
from tools.output import print_result, print_table, say, stages


@click.command()
@click.argument("to", type=AnyPath)
@home_option
@click.option(
    "--keep",
    type=CountRange(1),
    metavar="N",
    help="Delete all backups in TO but the newest N, once this one is whole.",
)
@click.option(
    "--link",
    is_flag=True,
    help="Share photos, models and versions with the home as hard links: no room is taken, and a "
    "damaged disk damages both.",
)
@json_option
def backup(to: Path, home: Path, keep: int | None, link: bool, as_json: bool) -> None:
    """Back up a home, also while it serves.

    Each backup is a folder in TO, named by its time, and holds every write that was acknowledged
    before it. What the newest backup there has already takes no room again.
    """
    from indexer.core.home import Home
    from indexer.operations.backup import back_up

    with stages() as progress:
        found = back_up(Home(home), to, keep=keep, link=link, progress=progress)
    print_result(found, as_json, _show)


def _show(found: dict[str, Any]) -> None:
    hidden = ("left_out", "removed", "not_noted")
    rows = [(name, value) for name, value in found.items() if name not in hidden]
    print_table(("", "found"), rows)
    for name in found["left_out"]:
        say(f"left out, missing or damaged in the home: {name}")
    for name in found["removed"]:
        say(f"deleted: {name}")
    if found["not_noted"]:
        say(f"made, but erasures will not name it: {found['not_noted']}")
