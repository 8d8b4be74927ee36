"""The command that finds similar products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.local_engine import engine, source
from tools.options import FILTER, JsonObject, about, given
from tools.output import answer, say, table


@click.command()
@about
@click.option(
    "--text", metavar="WORDS", help="What it should be; alone, or beside a photo: --text blue."
)
@click.option(
    "--mix",
    type=JsonObject(),
    metavar="JSON",
    help="""How much each input counts, e.g. '{"image": 2, "text": 1}'.""",
)
@click.option("-k", "--k", type=click.IntRange(1, 1000), help="How many products.")
@click.option("--min-score", type=click.FloatRange(-1, 1), help="Leave out what is less similar.")
@click.option("--exclude", multiple=True, metavar="ID", help="Leave out this product; repeatable.")
@FILTER
@click.option(
    "--weights",
    type=JsonObject(),
    metavar="JSON",
    help="""How much each block of the embedding counts, e.g. '{"a": 1, "c": 2}'.""",
)
@click.option(
    "--collapse",
    type=click.Choice(["none", "same_photo", "near_duplicate"]),
    help="Of products with the same photo, or nearly the same, only the best.",
)
@click.option(
    "--cursor",
    metavar="TEXT",
    help="The next_cursor of the page before; all else as it was asked there.",
)
def similar(
    image: Path | None,
    product: str | None,
    home: Path,
    as_json: bool,
    exclude: tuple[str, ...],
    text: str | None,
    **options: Any,
) -> None:
    """Find the products that look like IMAGE, or that a text tells of."""
    asked = source(image, product, text)
    with engine(home) as opened:
        answer(
            opened.search(asked, **given(exclude=list(exclude) or None, **options)),
            as_json,
            show_products,
        )


def show_products(found: dict[str, Any]) -> None:
    """Print an answer to ``similar``."""
    rows = [
        (row["product_id"], row["score"], row.get("title"), " > ".join(row["category_path"] or ()))
        for row in found["results"]
    ]
    table(("product", "score", "title", "category"), rows)
    if found.get("unknown_words"):
        say(f"unknown words: {', '.join(found['unknown_words'])}")
    if found["next_cursor"]:
        say(f"there are more: --cursor {found['next_cursor']}")
