"""Command ``orders``: order import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.options import AnyPath, CountRange, FromSignature, given, home_option, json_option
from tools.output import log, print_result, print_table

ORDERS = "indexer.recommendation.orders:import_orders"


@click.group("orders")
def orders() -> None:
    """Learn which categories are bought together."""


@orders.command("import")
@click.argument("file", type=AnyPath)
@home_option
@click.option(
    "--min-support",
    type=CountRange(1),
    cls=FromSignature,
    source=ORDERS,
    help="Orders that must hold two categories before they are taken to go together.",
)
@json_option
def import_(file: Path, home: Path, as_json: bool, **options: Any) -> None:
    """Add the orders of FILE.

    A CSV with order_id, product_id and maybe time; rows with unknown products are reported.
    Importing a file again changes nothing.
    """
    from indexer.catalog.store import open_catalog
    from indexer.core.home import Home
    from indexer.recommendation.orders import import_orders

    with open_catalog(Home(home)) as catalog:
        print_result(import_orders(catalog, file, **given(**options)), as_json, _show_orders)


def _show_orders(report: dict[str, Any]) -> None:
    names = ("rows", "added", "known", "unknown_rows", "orders", "pairs")
    print_table(
        ("orders", "count"),
        [*((name, report[name]) for name in names), ("skipped", len(report["skipped"]))],
    )
    for row in report["skipped"][:20]:
        log(f"skipped {row['where']}: {row['reason']}")
    if report["unknown_products"]:
        log(f"not in the catalog: {', '.join(report['unknown_products'][:20])}")
