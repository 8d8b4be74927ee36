"""Command ``schema``: attribute names and types."""

from __future__ import annotations

from pathlib import Path

import click

from tools.options import home_option, json_option
from tools.output import print_result, print_table


@click.command()
@home_option
@json_option
def schema(home: Path, as_json: bool) -> None:
    """List the attributes and their types."""
    from indexer.catalog.store import open_catalog
    from indexer.core.home import Home

    types = open_catalog(Home(home)).types()
    print_result(
        {"attributes": types},
        as_json,
        lambda found: print_table(("attribute", "type"), found["attributes"].items()),
    )
