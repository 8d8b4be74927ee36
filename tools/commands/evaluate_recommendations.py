"""The command that says how good recommendations are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.local_engine import engine
from tools.options import AnyPath, home_option, json_option
from tools.output import answer, progress, say, table


@click.command("evaluate-recommendations")
@click.argument("file", type=AnyPath)
@home_option
@click.option(
    "--limit", type=click.IntRange(1), help="Only so many users, evenly spread over the file's."
)
@json_option
def evaluate_recommendations(file: Path, home: Path, as_json: bool, limit: int | None) -> None:
    """Say how well recommendations predict the last product of each user of FILE, a CSV with user,
    product, maybe time.

    NDCG@10, hit rate@10, coverage and diversity, beside the mean of the history's vectors.
    """
    from tools.recommendation_metrics import evaluate_file

    with engine(home) as opened, progress("users") as callback:
        answer(evaluate_file(opened, file, limit=limit, progress=callback), as_json, _show_figures)


def _show_figures(found: dict[str, Any]) -> None:
    names = list(found["ours"])
    table(
        ("", *names),
        [(who, *(found[who][name] for name in names)) for who in ("ours", "average_embedding")],
    )
    say(
        f"{found['users']} users; {found['unknown_rows']} rows of unknown products, "
        f"{len(found['skipped'])} skipped"
    )
