"""Command ``similar``: similar products."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from indexer.core.category_path import format_path
from tools.local_engine import by_parent, open_engine, to_query
from tools.options import query_options, ungrouped_option
from tools.output import log, print_result, print_table
from tools.search_options import SearchCommand, given_parameters

_ALWAYS = ("product_id", "score", "title", "category_path")
_WHERE_GIVEN = ("price", "sale_price", "currency", "availability", "group")
_HEADINGS = {"product_id": "product", "category_path": "category", "group": "variants"}
_AMOUNTS = ("price", "sale_price")


@click.command(cls=SearchCommand)
@query_options
@click.option("--text", metavar="WORDS", help="Text query, alone or combined with an image.")
@ungrouped_option
def similar(
    image: Path | None,
    product: str | None,
    text: str | None,
    home: Path,
    as_json: bool,
    ungrouped: bool,
    **options: Any,
) -> None:
    """Find products by photo, product ID or text.

    Variants of one parent are one result.
    """
    query = to_query(image, product, text)
    with open_engine(home) as opened:
        asked = by_parent(opened, given_parameters(options), ungrouped=ungrouped)
        found = opened.search(query, **asked)
    print_result(found, as_json, show_products)


def show_products(found: dict[str, Any]) -> None:
    """Print an answer to ``similar``: the fields that were chosen, or what tells products apart."""
    results = found["results"]
    columns = list(dict.fromkeys(name for row in results for name in row))
    if set(_ALWAYS) <= set(columns) or not results:
        held = {name for row in results for name, value in row.items() if value is not None}
        columns = [*_ALWAYS, *(name for name in _WHERE_GIVEN if name in held)]
    rows = [_cells(row, columns) for row in results]
    print_table([_HEADINGS.get(name, name) for name in columns], rows)
    if found.get("unknown_words"):
        log(f"unknown words: {', '.join(found['unknown_words'])}")
    if found["next_cursor"]:
        log(f"there are more: --cursor {found['next_cursor']}")


def _cells(row: dict[str, Any], columns: list[str]) -> list[Any]:
    """Values as a table has them: a path as text, of a group its size, what has parts as JSON."""
    cells = []
    for name in columns:
        value = row.get(name)
        if isinstance(value, list):
            value = format_path(value)
        elif name in _AMOUNTS and isinstance(value, float):
            value = f"{value:,.2f}"
        elif name == "group" and value is not None:
            value = value["size"]
        cells.append(json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value)
    return cells
