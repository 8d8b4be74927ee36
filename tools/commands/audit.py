"""The command that looks over the whole catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.local_engine import engine
from tools.options import AnyPath, given, home_option, json_option
from tools.output import answer, say, table


@click.command()
@click.option(
    "--out",
    type=AnyPath,
    default=Path("catalens-audit"),
    show_default=True,
    help="Folder to write to.",
)
@click.option(
    "--profile", metavar="NAME", help="How strict quality is judged: studio or marketplace."
)
@click.option("--policy", type=AnyPath, help="YAML file of what is prohibited.")
@home_option
@json_option
def audit(out: Path, profile: str | None, policy: Path | None, home: Path, as_json: bool) -> None:
    """Look over the whole catalog: wrong categories and tags, poor photos, duplicates, prohibited
    content."""
    from tools import audit as auditing
    from tools.output import stages

    with engine(home, **given(policy_file=policy)) as opened, stages() as hear:
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
    answer(found, as_json, show_audit)


def show_audit(found: dict[str, Any]) -> None:
    """Print what an audit found."""
    say(
        f"{found['products']} products looked at, {found['resumed']} of them as an earlier run "
        "found them"
    )
    table(("found", "how often"), list(found["counts"].items()))
    say(f"page: {found['page']}\ntable: {found['csv']}")
