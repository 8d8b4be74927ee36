"""Command ``class``: classes made from photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from indexer.core.category_path import format_path
from tools.local_engine import open_engine
from tools.options import AnyPath, home_option, json_option
from tools.output import print_result, print_table, say


@click.group("class")
def class_() -> None:
    """Make categories and tags from a few photos."""


@class_.command("add")
@click.argument("label")
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True, type=AnyPath)
@click.option("--tag", is_flag=True, help="Make a tag instead of a category.")
@home_option
@json_option
def add(label: str, photos: tuple[Path, ...], tag: bool, home: Path, as_json: bool) -> None:
    """Make the category LABEL from 1 to 20 photos.

    LABEL is "Name" or "A > B > Name"; it is known at once.
    """
    data = [photo.read_bytes() for photo in photos]
    with open_engine(home) as opened:
        print_result(
            opened.classes.add(label, data, kind="tag" if tag else "category"),
            as_json,
            _show_changed,
        )


@class_.command("list")
@home_option
@json_option
def list_(home: Path, as_json: bool) -> None:
    """List categories, and classes from photos."""
    from indexer.classification.class_editing import list_classes
    from indexer.core.home import Home
    from indexer.index.active_model import active_model

    _, bundle = active_model(Home(home))
    print_result(
        {"model_version": bundle.model_version, "classes": list_classes(bundle.decision)},
        as_json,
        _show_classes,
    )


@class_.command("remove")
@click.argument("label", required=False)
@click.option("--id", "number", type=click.IntRange(0), help="Name it by its id instead.")
@click.option("--tag", is_flag=True, help="LABEL is a tag.")
@home_option
@json_option
def remove(label: str | None, number: int | None, tag: bool, home: Path, as_json: bool) -> None:
    """Remove the class LABEL made from photos."""
    from indexer.catalog.store import open_catalog
    from indexer.classification.class_editing import remove_class
    from indexer.core.home import Home
    from indexer.index.active_model import active_model

    if (label is None) == (number is None):
        raise click.UsageError("give a label, or --id")
    opened = Home(home)
    with open_catalog(opened) as catalog:
        removed = remove_class(
            opened, catalog, number=number, label=label, kind="tag" if tag else "category"
        )
    found = {"id": removed, "model_version": active_model(opened)[1].model_version}
    print_result(found, as_json, _show_changed)


def _show_changed(found: dict[str, Any]) -> None:
    say(f"class {found['id']}; the decision layer is now model {found['model_version']}")


def _show_classes(found: dict[str, Any]) -> None:
    rows = [
        (row["id"], row["kind"], format_path(row["path"]), row["source"], row["photos"])
        for row in found["classes"]
    ]
    print_table(("id", "kind", "label", "source", "photos"), rows)
