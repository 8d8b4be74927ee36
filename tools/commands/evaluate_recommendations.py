"""Command ``evaluate-recommendations``: evaluation of recommendations."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import Any

import click

from tools.local_engine import open_engine
from tools.options import AnyPath, CountRange, home_option, json_option
from tools.output import log, print_result, print_table, progress


@click.command("evaluate-recommendations")
@click.argument("file", type=AnyPath)
@home_option
@click.option(
    "--limit", type=CountRange(1), help="Only so many users, evenly spread over the file's."
)
@json_option
def evaluate_recommendations(file: Path, home: Path, as_json: bool, limit: int | None) -> None:
    """Measure how well recommendations predict.

    The last product of each user of FILE, a CSV with user, product, maybe time, is looked for
    among the first ten: NDCG@10, hit rate@10, coverage and diversity, beside the mean of the
    history's vectors.
    """
    from tools.recommendation_metrics import evaluate_file

    with open_engine(home) as opened, progress("users") as callback:
        print_result(
            evaluate_file(opened, file, limit=limit, progress=callback), as_json, _show_figures
        )


def _show_figures(found: dict[str, Any]) -> None:
    names = list(found["ours"])
    print_table(
        ("", *names),
        [(who, *itemgetter(*names)(found[who])) for who in ("ours", "average_embedding")],
    )
    log(
        f"{found['users']} users; {found['unknown_rows']} rows of unknown products, "
        f"{len(found['skipped'])} skipped"
    )
