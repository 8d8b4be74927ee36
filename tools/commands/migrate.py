"""Command ``migrate``: migration of an old home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.options import home_option, json_option
from tools.output import print_result, print_table, say


@click.command()
@home_option
@json_option
def migrate(home: Path, as_json: bool) -> None:
    """Bring a home to today's format.

    The databases' logs are folded in. What an older Catalens stored stays readable; what a newer
    one stored is refused by name.
    """
    from indexer.core.home import Home
    from indexer.operations.migrate import migrate as job

    print_result(job(Home(home)), as_json, _show)


def _show(found: dict[str, Any]) -> None:
    print_table(
        ("", "found"),
        [(name, value) for name, value in found.items() if name not in ("migrated", "damaged")],
    )
    for line in found["damaged"]:
        say(f"damaged: {line}")
    for line in found["migrated"] or ["nothing to migrate"]:
        say(line)
