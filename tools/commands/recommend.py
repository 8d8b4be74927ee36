"""Command ``recommend``: personal recommendations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.local_engine import by_parent, open_engine
from tools.options import (
    filter_option,
    given,
    group_options,
    home_option,
    json_option,
    ungrouped_option,
)
from tools.output import log, print_result, print_table


@click.command()
@click.option(
    "--history",
    required=True,
    metavar="ID,ID,...",
    help="Products viewed, saved or bought, oldest first.",
)
@home_option
@click.option("-k", "--k", type=click.IntRange(1, 1000), help="How many products.")
@filter_option
@click.option(
    "--mode",
    type=click.Choice(["similar", "complete"]),
    help="complete: from categories that are bought together with those of the history.",
)
@group_options
@ungrouped_option
@json_option
def recommend(history: str, home: Path, as_json: bool, ungrouped: bool, **options: Any) -> None:
    """Recommend products to fit a history.

    Each comes with a reason. Variants of one parent are one result.
    """
    from service.query.recommend import Event

    events = [Event(part.strip()) for part in history.split(",") if part.strip()]
    with open_engine(home) as opened:
        asked = by_parent(opened, given(**options), ungrouped=ungrouped)
        print_result(opened.recommend(events, **asked), as_json, _show)


def _show(found: dict[str, Any]) -> None:
    rows = [
        (
            row["product_id"],
            row["score"],
            row["title"],
            row["reason"] and row["reason"]["text"]["en"],
        )
        for row in found["results"]
    ]
    print_table(("product", "score", "title", "reason"), rows)
    for product_id in found["unknown_products"]:
        log(f"not known: {product_id}")
