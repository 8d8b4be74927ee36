"""Command ``class``: classes made from photos or words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.core.category_path import format_path
from tools.local_engine import open_engine
from tools.options import AnyPath, CountRange, home_option, json_option
from tools.output import print_result, print_table, say

if TYPE_CHECKING:
    from indexer.classification.class_editing import ClassKind


@click.group("class")
def class_() -> None:
    """Make categories and tags by photos or words."""


@class_.command("add")
@click.argument("label")
@click.argument("photos", metavar="[PHOTO...]", nargs=-1, type=AnyPath)
@click.option("--tag", is_flag=True, help="Make a tag instead of a category.")
@click.option("--by-name", is_flag=True, help="From its name, by the text tower of a pair.")
@click.option("--prompt", "prompts", multiple=True, help="From this description; repeatable.")
@home_option
@json_option
def add(
    label: str,
    photos: tuple[Path, ...],
    tag: bool,
    by_name: bool,
    prompts: tuple[str, ...],
    home: Path,
    as_json: bool,
) -> None:
    """Make the category LABEL from photos or words.

    LABEL is "Name" or "A > B > Name"; it is known at once. From 1 to 20 photos, or, with a model of
    an image and text pair, from words: then it is a suggestion until photos take its place.
    """
    described = by_name or bool(prompts)
    if described is bool(photos):
        raise click.UsageError("give photos, or --by-name, or --prompt")
    kind: ClassKind = "tag" if tag else "category"
    data = [photo.read_bytes() for photo in photos]
    with open_engine(home) as opened:
        made = (
            opened.classes.add_described(label, prompts, kind=kind)
            if described
            else opened.classes.add(label, data, kind=kind)
        )
        print_result(made, as_json, _show_changed)


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
@click.option("--id", "number", type=CountRange(0), help="Name it by its id instead.")
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
    if found.get("prompts"):
        say(
            f"it stands on words alone ({'; '.join(found['prompts'])}) and is a suggestion for "
            f"{found['suggested']:.0%} of the catalog's photos: look at some, then make it from "
            "photos"
        )


def _show_classes(found: dict[str, Any]) -> None:
    rows = [
        (row["id"], row["kind"], format_path(row["path"]), row["source"], row["photos"])
        for row in found["classes"]
    ]
    print_table(("id", "kind", "label", "source", "photos"), rows)
