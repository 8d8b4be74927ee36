"""Command ``where``: every place that holds data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from tools.options import home_option, json_option
from tools.output import print_result, print_table, say


@click.command()
@click.option("--product", metavar="ID", help="Only where something of this product stands.")
@home_option
@json_option
def where(product: str | None, home: Path, as_json: bool) -> None:
    """List the places that hold data.

    In the home and outside it, with what each holds and when that ends. With --product, every
    place that holds something of one product; of a deleted one, `catalens index verify --erased ID`
    finds what is left.
    """
    from indexer.catalog.store import open_catalog
    from indexer.core.errors import UnknownProductError
    from indexer.core.home import Home
    from indexer.operations.data_places import find_places
    from indexer.operations.product_places import find_product

    opened = Home(home)
    with open_catalog(opened) as catalog:
        if product is None:
            found: dict[str, Any] = {"places": find_places(opened, catalog)}
        else:
            try:
                found = {"product": product, "places": find_product(opened, catalog, product)}
            except UnknownProductError as error:
                raise UnknownProductError(
                    f"{error}; what is left of a deleted one: catalens index verify --erased "
                    f"{shlex.quote(product)} --home {shlex.quote(str(home))}"
                ) from error
    document = {"home": str(opened.path), **found}
    print_result(document, as_json, _show_places)


def _show_places(found: dict[str, Any]) -> None:
    if "product" in found:
        columns = ("place", "entries", "what", "path")
        print_table(columns, [tuple(map(place.get, columns)) for place in found["places"]])
        return
    for place in found["places"]:
        counted = "" if place["files"] is None else f" ({place['files']:,} files"
        if counted:
            size = "" if place["bytes"] is None else f", {place['bytes']:,} bytes"
            counted += f"{size})"
        say(f"{place['place']}: {place['path']}{counted}")
        say(f"    holds: {place['holds']}")
        say(f"    ends:  {place['ends']}")
