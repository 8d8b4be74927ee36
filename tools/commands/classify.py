"""Command ``classify``: category of a photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from indexer.core.category_path import format_path
from tools.local_engine import open_engine, to_query
from tools.options import query_options
from tools.output import log, print_result, print_table


@click.command()
@query_options
def classify(image: Path | None, product: str | None, home: Path, as_json: bool) -> None:
    """Predict the category of IMAGE."""
    query = to_query(image, product)
    with open_engine(home) as opened:
        print_result(opened.classify(query), as_json, show_categories)


def show_categories(found: dict[str, Any]) -> None:
    """Print an answer to ``classify``."""
    print_table(
        ("category", "probability"),
        [(format_path(row["path"]), row["probability"]) for row in found["categories"]],
    )
    if found.get("attributes"):
        rows = [(row["name"], row["value"], row["probability"]) for row in found["attributes"]]
        print_table(("attribute", "value", "probability"), rows)
    if found.get("unknown"):
        kinds = ", ".join(format_path(kind["path"]) for kind in found.get("nearest_kinds") or [])
        log("this may be none of the known kinds" + (f"; the nearest: {kinds}" if kinds else ""))
