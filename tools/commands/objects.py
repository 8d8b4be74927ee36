"""Command ``objects``: products in a busy photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from indexer.core.category_path import format_path
from tools.local_engine import open_engine
from tools.options import AnyPath, filter_option, given, home_option, json_option
from tools.output import log, print_result, print_table


@click.command()
@click.argument("image", type=AnyPath)
@home_option
@click.option("-k", "--k", type=click.IntRange(1, 1000), help="How many products for each object.")
@click.option("--most", type=click.IntRange(1, 10), help="How many objects at most.")
@filter_option
@json_option
def objects(image: Path, home: Path, as_json: bool, **options: Any) -> None:
    """Find the products in a busy photo.

    Each with its box, its category and the catalog's similar products.
    """
    data = image.read_bytes()
    with open_engine(home) as opened:
        print_result(opened.find_objects(data, **given(**options)), as_json, show_objects)


def show_objects(found: dict[str, Any]) -> None:
    """Print an answer to ``objects``."""
    rows = []
    for number, thing in enumerate(found["objects"], start=1):
        kind = format_path(thing["category"]["path"]) if thing["category"] else ""
        near = [row["product_id"] for row in thing["results"][:5]]
        rows.append((number, ",".join(map(str, thing["box"])), thing["score"], kind, near))
    print_table(("object", "box x,y,w,h", "score", "category", "similar products"), rows)
    if found["reason"]:
        log(f"no objects: {found['reason']}")
