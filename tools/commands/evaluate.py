"""Command ``evaluate``: evaluation of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.options import AnyPath, FromSignature, cache_option, device_option, given, json_option
from tools.output import format_cell, log, print_result, print_table, stages

EVALUATE = "indexer.evaluation.evaluate:evaluate"


# The figures people ask for first; the rest of an evaluation is in its JSON document and report.
HEADLINES = (
    "n",
    "accuracy",
    "top5_accuracy",
    "macro_f1",
    "ece",
    "hit_rate_at_1",
    "hit_rate_at_10",
    "map",
    "instance_hit_rate_at_1",
)


@click.command()
@click.argument("model", type=AnyPath)
@click.argument("data", type=AnyPath)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    cls=FromSignature,
    source=EVALUATE,
    help="The split whose photos are the queries; all: every photo, whatever its split.",
)
@click.option(
    "--report", type=AnyPath, help="Write report.html, with photos, and evaluation.json here."
)
@cache_option
@device_option(EVALUATE)
@json_option
def evaluate(model: Path, data: Path, report: Path | None, as_json: bool, **options: Any) -> None:
    """Measure MODEL on DATA.

    Classification, retrieval and tags, each proportion with its 95% interval.
    """
    from indexer.evaluation.evaluate import measure
    from indexer.evaluation.report import write_report

    with stages() as callback:
        found = measure(model, data, progress=callback, **given(**options))
    for note in found.figures["notes"]:
        log(note)
    if report is not None:
        names = {
            "model": model.resolve().name,
            "data": (data if data.is_dir() else data.parent).resolve().name,
        }
        log(f"report: {write_report(found, report, **names)}")
    print_result(found.figures, as_json, _show_figures)


def _show_figures(figures: dict[str, Any]) -> None:
    intervals = figures.get("intervals") or {}

    def row(name: str, value: Any) -> tuple[str, str, str]:
        low_high = intervals.get(name)
        return (
            name,
            format_cell(value),
            f"{low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else "",
        )

    rows = [row(name, figures.get(name)) for name in HEADLINES]
    rows += [row(f"tags.{name}", value) for name, value in (figures.get("tags") or {}).items()]
    for name, both in (figures.get("attributes") or {}).items():
        rows += [row(f"{name}, {way}", value) for way, value in both.items()]
    print_table(("figure", "value", "95% interval"), rows)
