"""Command ``index erase``: deleted products out of every file that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tools.options import (
    AnyPath,
    OutputPath,
    device_option,
    given,
    home_option,
    json_option,
)
from tools.output import log, print_result, print_table, stages, to_plain
from tools.settings_options import config_option, retention_settings

if TYPE_CHECKING:
    from indexer.catalog.store import Catalog

_MOST_NAMED = 5


@click.command("erase")
@click.argument("products", nargs=-1, metavar="[ID]...")
@home_option
@click.option(
    "--ticket",
    type=OutputPath,
    metavar="FILE",
    help="Write what `verify --erased` can look for; one ID only.",
)
@click.option(
    "--cache",
    is_flag=True,
    help="Also delete what trainings and builds of this user cached of their photos.",
)
@click.option(
    "--pushed",
    type=AnyPath,
    multiple=True,
    metavar="DIR",
    help="Also erase in a folder that versions were pushed to. Repeatable.",
)
@device_option("indexer.operations.erasure:erase")
@config_option
@json_option
def erase(
    products: tuple[str, ...],
    home: Path,
    ticket: Path | None,
    cache: bool,
    pushed: tuple[Path, ...],
    config: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Erase deleted products from every version.

    The products ID are deleted first, if any are given; then every version is rewritten without
    deleted products. A running service does so by itself within the setting erase_within_s. A
    rewrite is a new version that takes the old one's place; photos that another product has stay.
    In folders named by --pushed the rewrites take the place of the versions they are of; who pulled
    one pulls and erases there too. Backups made before still hold what is erased: they are named,
    and end with `catalens backup --keep`. `catalens where` lists every place.
    """
    from indexer.catalog.photo_store import PhotoStore
    from indexer.catalog.store import open_catalog
    from indexer.core.atomic_files import make_folder, write_json
    from indexer.core.errors import BadHomeError, BadRequestError, NotErasedError
    from indexer.core.home import Home
    from indexer.operations.erasure import erase as rewrite
    from indexer.operations.erasure_audit import ticket as make_ticket
    from indexer.operations.made_backups import made_backups
    from indexer.operations.outside_erasure import erase_outside
    from indexer.operations.sync_source import SyncSources
    from indexer.reviews.store import forget_photos

    if ticket is not None and len(products) != 1:
        raise click.UsageError("--ticket is of one product: give one ID")
    settings = retention_settings(home, config)
    opened = Home(settings.home)
    with open_catalog(opened) as catalog:
        _require_known(catalog, products)
        # One that a killed run wrote is as good.
        if ticket is not None and catalog.pid(products[0]) is None and not ticket.is_file():
            raise BadRequestError(
                f"product {products[0]!r} is deleted already: a ticket holds its hashes and "
                "vectors, so it is written by the command that deletes it. Erase without --ticket; "
                "catalens index verify --erased ID finds what is left without one"
            )
        for product_id in dict.fromkeys(products):
            if catalog.pid(product_id) is None:
                log(f"product {product_id!r} is deleted already: its erasure goes on")
                continue
            if ticket is not None:
                make_folder(ticket.parent)
                # It holds what the erasure takes away.
                write_json(ticket, make_ticket(opened, catalog, product_id), private=True)
            orphaned = catalog.delete(product_id).orphaned
            forget_photos(opened, PhotoStore(opened).collect(catalog, orphaned))
    with stages() as callback:
        terms = settings.retention_terms
        done = rewrite(opened, progress=callback, terms=terms, again=products, **given(**options))
    outside = erase_outside(opened, cache=cache, pushed=pushed)
    try:
        backups = made_backups(opened)
    except BadHomeError as error:
        backups = []
        outside.failed["backups.json"] = str(error)
    document = {
        "products": len(set(products)),
        **to_plain(done),
        "outside": to_plain(outside),
        "backups": [to_plain(made) for made in backups],
        "feeds": SyncSources(opened).makers(),
        "returns": SyncSources(opened).returns(),
    }
    print_result(document, as_json, _show_erased)
    failed = {**done.failed, **outside.failed}
    if failed:
        name, reason = next(iter(failed.items()))
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise NotErasedError(f"not erased everywhere: {name}: {reason}{more}")


def _require_known(catalog: Catalog, products: tuple[str, ...]) -> None:
    """Raise ``UnknownProductError`` for ids of no product, present or deleted lately."""
    from indexer.catalog.deletions import TOMBSTONE_DAYS, Deletions
    from indexer.core.errors import UnknownProductError

    deletions = Deletions(catalog.database)
    unknown = [
        repr(product_id)
        for product_id in dict.fromkeys(products)
        if catalog.pid(product_id) is None and not deletions.was_deleted(product_id)
    ]
    if unknown:
        more = f" (and {len(unknown) - _MOST_NAMED} more)" if len(unknown) > _MOST_NAMED else ""
        raise UnknownProductError(
            f"there is no product {', '.join(unknown[:_MOST_NAMED])}{more}: nothing was deleted; "
            f"give ids that are there, or were deleted in the last {TOMBSTONE_DAYS} days"
        )


def _show_erased(found: dict[str, Any]) -> None:
    from indexer.operations.erasure import describe_strays

    for old, new in found["rewritten"].items():
        click.echo(f"{old} is now {new}")
    for name, reason in found["failed"].items():
        log(f"not rewritten: {name}: {reason}")
    if found["held"]:
        log(f"held: {found['held']}")
    if found["left"]:
        log(found["left"])
    if found["strays"]:
        log(describe_strays(found["strays"]))
    rest = {
        name: found[name]
        for name in ("removed", "rows", "vectors", "photos", "classes", "texts", "set_aside")
        if found[name]
    }
    outside = found["outside"]
    if outside["cached"] is not None:
        rest["cached"] = outside["cached"]
    print_table(("", "erased"), [*rest.items(), ("seconds", found["seconds"])])
    for folder, seen in outside["pushed"].items():
        for old, new in seen["replaced"].items():
            click.echo(f"{folder}: {new} lies there instead of {old}")
        for old in seen["removed"]:
            click.echo(f"{folder}: {old} is gone; push another one")
        for model in seen["models"]:
            click.echo(f"{folder}: model {model} is gone, which no version there names")
    for name, reason in outside["failed"].items():
        log(f"not erased: {name}: {reason}")
    for folder in outside["not_named"]:
        log(f"versions were pushed to {folder}: erase there with --pushed {folder}")
    for made in found["backups"] if rest or found["products"] else ():
        log(f"what was erased may still be in the backup {made['path']}")
    for said in found["returns"] if rest or found["products"] else ():
        log(said)
