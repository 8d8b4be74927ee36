"""The command that recommends products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.local_engine import engine
from tools.options import FILTER, given, home_option, json_option
from tools.output import answer, say, table


@click.command()
@click.option(
    "--history",
    required=True,
    metavar="ID,ID,...",
    help="Products viewed, saved or bought, oldest first.",
)
@home_option
@click.option("-k", "--k", type=click.IntRange(1, 1000), help="How many products.")
@FILTER
@click.option(
    "--mode",
    type=click.Choice(["similar", "complete"]),
    help="complete: from categories that are bought together with those of the history.",
)
@json_option
def recommend(history: str, home: Path, as_json: bool, **options: Any) -> None:
    """Recommend products to somebody with this history, each with a reason."""
    from service.query.recommend import Event

    events = [Event(part.strip()) for part in history.split(",") if part.strip()]
    with engine(home) as opened:
        answer(opened.recommending.recommend(events, **given(**options)), as_json, _show)


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
    table(("product", "score", "title", "reason"), rows)
    for product_id in found["unknown_products"]:
        say(f"not known: {product_id}")
