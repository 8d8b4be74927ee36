"""Commands that ask the active index and model: what is this, what looks like it, how should it be
tagged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tools.options import AnyPath, JsonObject, given, home_option, json_option
from tools.output import answer, say, table

if TYPE_CHECKING:
    from service.engine import Engine, Query


def about(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what a question is about: a photo's file or a stored product,
    in a home."""
    for option in (
        json_option,
        home_option,
        click.option(
            "--product", metavar="ID", help="Ask about this stored product instead of a photo."
        ),
        click.argument("image", type=AnyPath, required=False),
    ):
        command = option(command)
    return command


class Warnings:
    """The engine's log for one question: what is in order is not said, the rest is a line on
    stderr."""

    def info(self, event: str, **_: Any) -> None:
        """Nothing."""

    def warning(self, event: str, *, error: object = "", **_: Any) -> None:
        """One line."""
        say(f"catalens: {event}{f': {error}' if error else ''}")

    error = warning


def engine(home: Path, **settings: Any) -> Engine:
    """The service's engine on ``home`` with ``settings``, without the service; close it with
    ``with``."""
    from indexer.core.native import configure_serving_threads
    from service.engine import Engine
    from service.settings import Settings

    configure_serving_threads()
    return Engine(Settings.make(home=home, **settings), watch=False, log=Warnings())


def source(image: Path | None, product: str | None, text: str | None = None) -> Query:
    """What the question is about. Raises ``UsageError`` unless it is one photo or product, or a
    text, ``OSError``."""
    from service.engine import Query

    if (image is not None and product is not None) or (
        image is None and product is None and text is None
    ):
        raise click.UsageError("give a photo, or --product ID")
    return Query(image=image.read_bytes() if image else None, product_id=product, text=text)


@click.command()
@about
def classify(image: Path | None, product: str | None, home: Path, as_json: bool) -> None:
    """Say what kind of product IMAGE shows."""
    asked = source(image, product)
    with engine(home) as opened:
        answer(opened.classify(asked), as_json, show_categories)


def show_categories(found: dict[str, Any]) -> None:
    """Print an answer to ``classify``."""
    table(
        ("category", "probability"),
        [(" > ".join(row["path"]), row["probability"]) for row in found["categories"]],
    )
    if found.get("unknown"):
        say("this may be none of the known kinds")


FILTER = click.option(
    "--filter",
    type=JsonObject(),
    metavar="JSON",
    help="""Only products that pass, e.g. '{"must": [{"field": "price", "lt": 20}]}'.""",
)


@click.command()
@about
@click.option(
    "--text", metavar="WORDS", help="What it should be; alone, or beside a photo: --text blue."
)
@click.option(
    "--mix",
    type=JsonObject(),
    metavar="JSON",
    help="""How much each input counts, e.g. '{"image": 2, "text": 1}'.""",
)
@click.option("-k", "--k", type=click.IntRange(1, 1000), help="How many products.")
@click.option("--min-score", type=click.FloatRange(-1, 1), help="Leave out what is less similar.")
@click.option("--exclude", multiple=True, metavar="ID", help="Leave out this product; repeatable.")
@FILTER
@click.option(
    "--weights",
    type=JsonObject(),
    metavar="JSON",
    help="""How much each block of the embedding counts, e.g. '{"a": 1, "c": 2}'.""",
)
@click.option(
    "--collapse",
    type=click.Choice(["none", "same_photo", "near_duplicate"]),
    help="Of products with the same photo, or nearly the same, only the best.",
)
@click.option(
    "--cursor",
    metavar="TEXT",
    help="The next_cursor of the page before; all else as it was asked there.",
)
def similar(
    image: Path | None,
    product: str | None,
    home: Path,
    as_json: bool,
    exclude: tuple[str, ...],
    text: str | None,
    **options: Any,
) -> None:
    """Find the products that look like IMAGE, or that a text tells of."""
    asked = source(image, product, text)
    with engine(home) as opened:
        answer(
            opened.search(asked, **given(exclude=list(exclude) or None, **options)),
            as_json,
            show_products,
        )


def show_products(found: dict[str, Any]) -> None:
    """Print an answer to ``similar``."""
    rows = [
        (row["product_id"], row["score"], row.get("title"), " > ".join(row["category_path"] or ()))
        for row in found["results"]
    ]
    table(("product", "score", "title", "category"), rows)
    if found.get("unknown_words"):
        say(f"unknown words: {', '.join(found['unknown_words'])}")
    if found["next_cursor"]:
        say(f"there are more: --cursor {found['next_cursor']}")


@click.command()
@click.argument("image", type=AnyPath)
@home_option
@click.option("-k", "--k", type=click.IntRange(1, 1000), help="How many products for each object.")
@click.option("--most", type=click.IntRange(1, 10), help="How many objects at most.")
@FILTER
@json_option
def objects(image: Path, home: Path, as_json: bool, **options: Any) -> None:
    """Find the products in a busy photo, and what looks like each."""
    data = image.read_bytes()
    with engine(home) as opened:
        answer(opened.objects.find(data, **given(**options)), as_json, show_objects)


def show_objects(found: dict[str, Any]) -> None:
    """Print an answer to ``objects``."""
    rows = []
    for number, thing in enumerate(found["objects"], start=1):
        kind = " > ".join(thing["category"]["path"]) if thing["category"] else ""
        near = [row["product_id"] for row in thing["results"][:5]]
        rows.append((number, ",".join(map(str, thing["box"])), thing["score"], kind, near))
    table(("object", "box x,y,w,h", "score", "category", "similar products"), rows)
    if found["reason"]:
        say(f"no objects: {found['reason']}")


@click.command()
@home_option
@FILTER
@click.option(
    "--field", "fields", multiple=True, metavar="NAME", help="Only this field; repeatable."
)
@click.option("--limit", type=click.IntRange(1, 1000), help="How many values of each field.")
@json_option
def facets(home: Path, as_json: bool, fields: tuple[str, ...], **options: Any) -> None:
    """Count products by category, tag and attribute: what a filter can ask for."""
    with engine(home) as opened:
        answer(opened.facets(**given(fields=list(fields) or None, **options)), as_json, show_facets)


def show_facets(found: dict[str, Any]) -> None:
    """Print an answer to ``facets``."""
    rows = []
    for facet in found["facets"]:
        values = [f"{entry['value']} ({entry['count']})" for entry in facet.get("values", ())]
        span = f"{facet['min']} to {facet['max']}" if facet.get("min") is not None else ""
        rows.append((facet["field"], facet["type"], facet["count"], span or values))
    table(("field", "type", "products", "values"), rows)
    say(f"{found['total']} products")


@click.command()
@about
def tags(image: Path | None, product: str | None, home: Path, as_json: bool) -> None:
    """Suggest tags for IMAGE."""
    asked = source(image, product)
    with engine(home) as opened:
        answer(opened.tags(asked), as_json, show_tags)


def show_tags(found: dict[str, Any]) -> None:
    """Print an answer to ``tags``."""
    rows = [
        (row["tag"], row["confidence"], [near["product_id"] for near in row["neighbours"][:5]])
        for row in found["tags"]
    ]
    table(("tag", "confidence", "as on"), rows)
