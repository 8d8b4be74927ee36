"""Command ``facets``: counts of products by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.local_engine import open_engine
from tools.options import filter_option, given, home_option, json_option
from tools.output import log, print_result, print_table


@click.command()
@home_option
@filter_option
@click.option(
    "--field", "fields", multiple=True, metavar="NAME", help="Only this field; repeatable."
)
@click.option("--limit", type=click.IntRange(1, 1000), help="How many values of each field.")
@click.option("--group-by", metavar="FIELD", help="Count groups, such as those of one parent.")
@json_option
def facets(home: Path, as_json: bool, fields: tuple[str, ...], **options: Any) -> None:
    """Count products by category, tag, attribute.

    These are the fields that a filter can ask for.
    """
    with open_engine(home) as opened:
        print_result(
            opened.facets(**given(fields=list(fields) or None, **options)), as_json, show_facets
        )


def show_facets(found: dict[str, Any]) -> None:
    """Print an answer to ``facets``."""
    rows = []
    for facet in found["facets"]:
        values = [f"{entry['value']} ({entry['count']})" for entry in facet.get("values", ())]
        span = f"{facet['min']} to {facet['max']}" if facet.get("min") is not None else ""
        rows.append((facet["field"], facet["type"], facet["count"], span or values))
    print_table(("field", "type", "products", "values"), rows)
    log(f"{found['total']} products")
