"""Commands that recommend products, learn what goes together from orders, and say how good
recommendations are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.commands.ask import FILTER, engine
from tools.options import AnyPath, FromSignature, given, home_option, json_option
from tools.output import answer, progress, say, table

ORDERS = "indexer.recommendation.orders:import_orders"


@click.command()
@click.option(
    "--history",
    required=True,
    metavar="ID,ID,...",
    help="Products viewed, saved or bought, oldest first.",
)
@home_option
@click.option("-k", "--k", type=click.IntRange(1, 1000), help="How many products.")
@FILTER
@click.option(
    "--mode",
    type=click.Choice(["similar", "complete"]),
    help="complete: from categories that are bought together with those of the history.",
)
@json_option
def recommend(history: str, home: Path, as_json: bool, **options: Any) -> None:
    """Recommend products to somebody with this history, each with a reason."""
    from service.query.recommend import Event

    events = [Event(part.strip()) for part in history.split(",") if part.strip()]
    with engine(home) as opened:
        answer(opened.recommending.recommend(events, **given(**options)), as_json, _show)


def _show(found: dict[str, Any]) -> None:
    rows = [
        (
            row["product_id"],
            row["score"],
            row["title"],
            row["reason"] and row["reason"]["text"]["en"],
        )
        for row in found["results"]
    ]
    table(("product", "score", "title", "reason"), rows)
    for product_id in found["unknown_products"]:
        say(f"not known: {product_id}")


@click.group("orders")
def orders() -> None:
    """Learn from orders which categories are bought together."""


@orders.command("import")
@click.argument("file", type=AnyPath)
@home_option
@click.option(
    "--min-support",
    type=click.IntRange(1),
    cls=FromSignature,
    source=ORDERS,
    help="Orders that must hold two categories before they are taken to go together.",
)
@json_option
def import_(file: Path, home: Path, as_json: bool, **options: Any) -> None:
    """Add the orders of FILE, a CSV with order_id, product_id and maybe time; rows with unknown
    products are reported.

    Importing a file again changes nothing.
    """
    from indexer.catalog.store import open_catalog
    from indexer.core.home import Home
    from indexer.recommendation.orders import import_orders

    with open_catalog(Home(home)) as catalog:
        answer(import_orders(catalog, file, **given(**options)), as_json, _show_orders)


def _show_orders(report: dict[str, Any]) -> None:
    names = ("rows", "added", "known", "unknown_rows", "orders", "pairs")
    table(
        ("orders", "count"),
        [*((name, report[name]) for name in names), ("skipped", len(report["skipped"]))],
    )
    for row in report["skipped"][:20]:
        say(f"skipped {row['where']}: {row['reason']}")
    if report["unknown_products"]:
        say(f"not in the catalog: {', '.join(report['unknown_products'][:20])}")


@click.command("evaluate-recommendations")
@click.argument("file", type=AnyPath)
@home_option
@click.option(
    "--limit", type=click.IntRange(1), help="Only so many users, evenly spread over the file's."
)
@json_option
def evaluate(file: Path, home: Path, as_json: bool, limit: int | None) -> None:
    """Say how well recommendations predict the last product of each user of FILE, a CSV with user,
    product, maybe time.

    NDCG@10, hit rate@10, coverage and diversity, beside the mean of the history's vectors.
    """
    from tools.recommendation_metrics import evaluate_file

    with engine(home) as opened, progress("users") as callback:
        answer(evaluate_file(opened, file, limit=limit, progress=callback), as_json, _show_figures)


def _show_figures(found: dict[str, Any]) -> None:
    names = list(found["ours"])
    table(
        ("", *names),
        [(who, *(found[who][name] for name in names)) for who in ("ours", "average_embedding")],
    )
    say(
        f"{found['users']} users; {found['unknown_rows']} rows of unknown products, "
        f"{len(found['skipped'])} skipped"
    )
