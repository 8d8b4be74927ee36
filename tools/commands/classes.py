"""Commands that change what categories and tags there are, without training: classes from photos,
taxonomy maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.commands.ask import engine
from tools.options import AnyPath, home_option, json_option
from tools.output import answer, say, table


@click.group("class")
def class_() -> None:
    """Make categories and tags from a few photos, and remove them."""


@class_.command("add")
@click.argument("label")
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True, type=AnyPath)
@click.option("--tag", is_flag=True, help="Make a tag instead of a category.")
@home_option
@json_option
def add(label: str, photos: tuple[Path, ...], tag: bool, home: Path, as_json: bool) -> None:
    """Make the category LABEL ("Name" or "A > B > Name") from 1 to 20 photos; it is
    known at once."""
    data = [photo.read_bytes() for photo in photos]
    with engine(home) as opened:
        answer(
            opened.classes.add(label, data, kind="tag" if tag else "category"),
            as_json,
            _show_changed,
        )


@class_.command("list")
@home_option
@json_option
def list_(home: Path, as_json: bool) -> None:
    """List the active model's categories, and the categories and tags made from photos."""
    from indexer.classification.class_editing import list_classes
    from indexer.core.home import Home
    from indexer.index.activation import active_model

    _, bundle = active_model(Home(home))
    answer(
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
    """Remove the class LABEL, which was made from photos."""
    from indexer.classification.class_editing import remove_class
    from indexer.core.home import Home
    from indexer.index.activation import active_model

    if (label is None) == (number is None):
        raise click.UsageError("give a label, or --id")
    opened = Home(home)
    removed = remove_class(opened, number=number, label=label, kind="tag" if tag else "category")
    found = {"id": removed, "model_version": active_model(opened)[1].model_version}
    answer(found, as_json, _show_changed)


def _show_changed(found: dict[str, Any]) -> None:
    click.echo(f"class {found['id']}; the decision layer is now model {found['model_version']}")


def _show_classes(found: dict[str, Any]) -> None:
    rows = [
        (row["id"], row["kind"], " > ".join(row["path"]), row["source"], row["photos"])
        for row in found["classes"]
    ]
    table(("id", "kind", "label", "source", "photos"), rows)


@click.group("taxonomy")
def taxonomy() -> None:
    """Rename, merge and move categories."""


@taxonomy.command("apply")
@click.argument("file", metavar="MAP.csv", type=AnyPath)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@home_option
@json_option
def apply(file: Path, dry_run: bool, home: Path, as_json: bool) -> None:
    """Apply MAP.csv (columns from,to: full paths) to the model's categories and to the products'
    own.

    Paths are written as they stand there, spaces included, levels parted by " > ". What lies below
    a path moves with it. Nothing is trained or embedded again.
    """
    from indexer.catalog.store import open_catalog
    from indexer.classification.taxonomy import apply_taxonomy, known_paths, read_map
    from indexer.core.home import Home

    opened = Home(home)
    with open_catalog(opened) as catalog:
        moves = read_map(file, known_paths(opened, catalog))
        answer(apply_taxonomy(opened, catalog, moves, dry_run=dry_run), as_json, _show_taxonomy)


def _show_taxonomy(found: dict[str, Any]) -> None:
    rows = [(row["id"], row["before"], row["after"], row["into"]) for row in found["categories"]]
    table(("id", "from", "to", "merged into"), rows)
    say(f"{found['products']} products {'would change' if found['dry_run'] else 'changed'}")
    for path in found["unknown"]:
        say(f"unknown: {path!r} (no category of the model or of a product)")
