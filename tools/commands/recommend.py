"""Command ``recommend``: personal recommendations."""

from __future__ import annotations

import json
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

_SHOWN = ("product_id", "score", "title", "reason")
_HEADINGS = {"product_id": "product"}


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
@click.option("--locale", metavar="LANGUAGE", help="Language of titles and categories, e.g. de.")
@click.option("--market", metavar="NAME", help="Market of prices, e.g. CH.")
@click.option(
    "--fields", metavar="NAMES", help="Only these fields of each result, parted by commas."
)
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
    results = found["results"]
    columns = list(dict.fromkeys(name for row in results for name in row))
    if set(_SHOWN) <= set(columns) or not results:
        columns = list(_SHOWN)
    rows = [_cells(row, columns) for row in results]
    print_table([_HEADINGS.get(name, name) for name in columns], rows)
    for product_id in found["unknown_products"]:
        log(f"not known: {product_id}")


def _cells(row: dict[str, Any], columns: list[str]) -> list[Any]:
    """Values as a table has them: of a reason its words, what has parts as JSON."""
    cells = []
    for name in columns:
        value = row.get(name)
        if name == "reason" and value is not None:
            value = value["text"]["en"]
        nested = isinstance(value, dict | list)
        cells.append(json.dumps(value, ensure_ascii=False) if nested else value)
    return cells
