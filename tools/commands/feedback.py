"""Commands for what people said."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tools.options import AnyPath, home_option, json_option
from tools.output import answer, say


@click.group()
def feedback() -> None:
    """What people accepted, rejected and decided."""


@feedback.command("export")
@click.option("--out", type=AnyPath, required=True, help="The CSV file to write.")
@home_option
@json_option
def export(out: Path, home: Path, as_json: bool) -> None:
    """Write a training manifest of the products that people gave feedback on."""
    from indexer.core.home import Home
    from indexer.reviews.feedback_export import export_feedback

    answer(asdict(export_feedback(Home(home), out)), as_json, lambda done: show_export(done, out))


def show_export(done: dict[str, Any], out: Path) -> None:
    """Print what an export wrote."""
    say(
        f"{done['rows']} photos of {done['products']} products written to {out}, from "
        f"{done['feedback']} entries"
    )
    for reason, count in done["skipped"].items():
        say(f"left out {count}: {reason}")
