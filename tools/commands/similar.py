"""Command ``similar``: similar products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from indexer.core.category_path import format_path
from tools.local_engine import open_engine, to_query
from tools.options import query_options
from tools.output import log, print_result, print_table
from tools.search_options import SearchCommand, given_parameters


@click.command(cls=SearchCommand)
@query_options
@click.option("--text", metavar="WORDS", help="Text query, alone or combined with an image.")
def similar(
    image: Path | None,
    product: str | None,
    text: str | None,
    home: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Find products by photo, product ID or text."""
    query = to_query(image, product, text)
    with open_engine(home) as opened:
        found = opened.search(query, **given_parameters(options))
    print_result(found, as_json, show_products)


def show_products(found: dict[str, Any]) -> None:
    """Print an answer to ``similar``."""
    rows = [
        (row["product_id"], row["score"], row.get("title"), format_path(row["category_path"] or ()))
        for row in found["results"]
    ]
    print_table(("product", "score", "title", "category"), rows)
    if found.get("unknown_words"):
        log(f"unknown words: {', '.join(found['unknown_words'])}")
    if found["next_cursor"]:
        log(f"there are more: --cursor {found['next_cursor']}")
