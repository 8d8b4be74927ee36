"""Command ``audit``: audit of a whole catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.local_engine import open_engine
from tools.options import (
    OutputPath,
    given,
    home_option,
    json_option,
    policy_option,
    profile_option,
)
from tools.output import log, print_result, print_table


@click.command()
@click.option(
    "--out",
    type=OutputPath,
    default=Path("catalens-audit"),
    show_default=True,
    help="Folder to write to.",
)
@profile_option
@policy_option
@home_option
@json_option
def audit(out: Path, profile: str | None, policy: Path | None, home: Path, as_json: bool) -> None:
    """Review the whole catalog.

    Wrong categories and tags, poor photos, duplicates, prohibited content.
    """
    from tools import audit as auditing
    from tools.output import stages

    with open_engine(home, **given(policy_file=policy)) as opened, stages() as hear:
        opened.prepare_reviews()
        report = auditing.audit(opened, progress=hear, profile=profile)
        page, rows = auditing.write_page(report, opened.home, out)
    found = {
        "products": report.products,
        "resumed": report.resumed,
        "counts": report.counts(),
        "page": str(page),
        "csv": str(rows),
    }
    print_result(found, as_json, show_audit)


def show_audit(found: dict[str, Any]) -> None:
    """Print what an audit found."""
    log(
        f"{found['products']} products looked at, {found['resumed']} of them as an earlier run "
        "found them"
    )
    print_table(("found", "how often"), list(found["counts"].items()))
    log(f"page: {found['page']}\ntable: {found['csv']}")
