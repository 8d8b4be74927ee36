"""Command ``tags``: tag suggestions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.local_engine import open_engine, to_query
from tools.options import query_options
from tools.output import log, print_result, print_table


@click.command()
@query_options
def tags(image: Path | None, product: str | None, home: Path, as_json: bool) -> None:
    """Suggest tags for IMAGE."""
    query = to_query(image, product)
    with open_engine(home) as opened:
        print_result(opened.tags(query), as_json, show_tags)


def show_tags(found: dict[str, Any]) -> None:
    """Print an answer to ``tags``."""
    rows = []
    for row in found["tags"]:
        neighbours = [neighbour["product_id"] for neighbour in row["neighbours"][:5]]
        rows.append((row["tag"], row["confidence"], neighbours))
    print_table(("tag", "confidence", "as on"), rows)
    if found.get("unknown"):
        log("this may be none of the known kinds: tags of colour and pattern alone")
