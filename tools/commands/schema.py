"""Command ``schema``: names, types and owners of attributes and fields."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from tools.options import home_option, json_option
from tools.output import print_result, print_table


@click.command()
@home_option
@json_option
def schema(home: Path, as_json: bool) -> None:
    """List attributes, fields, types and owners."""
    from indexer.catalog.store import open_catalog
    from indexer.core.home import Home
    from service.inference.deadline import Deadline
    from service.products.schema import read_schema

    with open_catalog(Home(home)) as catalog:
        found = read_schema(catalog, Deadline(math.inf))
    print_result(found, as_json, _print_schema)


def _print_schema(found: dict[str, Any]) -> None:
    rows = [
        (name, kind, what, found["owners"].get(name, ""))
        for what, part in (("attribute", "attributes"), ("field", "fields"))
        for name, kind in found[part].items()
    ]
    owned = any(owner for *_, owner in rows)
    columns = ("name", "type", "kind", "owner")
    print_table(columns[: 3 + owned], [row[: 3 + owned] for row in rows])
