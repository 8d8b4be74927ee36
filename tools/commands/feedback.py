"""Command ``feedback``: export of people's feedback."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tools.options import OutputPath, home_option, json_option
from tools.output import log, print_result


@click.group()
def feedback() -> None:
    """Export what people accepted and rejected."""


@feedback.command("export")
@click.option("--out", type=OutputPath, required=True, help="The CSV file to write.")
@home_option
@json_option
def export(out: Path, home: Path, as_json: bool) -> None:
    """Write feedback as a training manifest.

    It holds the products that people gave feedback on.
    """
    from indexer.catalog.store import open_catalog
    from indexer.core.home import Home
    from indexer.reviews.feedback_export import export_feedback
    from tools.exports import note_export

    report = export_feedback(Home(home), out)
    with open_catalog(Home(home)) as catalog:
        note_export(catalog, f"feedback: {report.rows} rows to {out.name}")
    print_result(asdict(report), as_json, lambda done: show_export(done, out))


def show_export(done: dict[str, Any], out: Path) -> None:
    """Print what an export wrote."""
    log(
        f"{done['rows']} photos of {done['products']} products written to {out}, from "
        f"{done['feedback']} entries"
    )
    for reason, count in done["skipped"].items():
        log(f"left out {count}: {reason}")
