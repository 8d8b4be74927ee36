"""Command ``similar``: similar products."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from indexer.core.category_path import format_path
from tools.local_engine import open_engine, to_query
from tools.options import query_options
from tools.output import log, print_result, print_table
from tools.search_options import SearchCommand, given_parameters

_ALWAYS = ("product_id", "score", "title", "category_path")
_WHERE_GIVEN = ("price", "currency", "availability")
_HEADINGS = {"product_id": "product", "category_path": "category"}


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
    """Values as a table has them: a path as text, what has parts as JSON."""
    cells = []
    for name in columns:
        value = row.get(name)
        if isinstance(value, list):
            value = format_path(value)
        cells.append(json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value)
    return cells
