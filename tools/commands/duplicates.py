"""Command ``duplicates``: duplicate groups of a catalog."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import click

from tools.options import (
    FromSignature,
    NumberRange,
    OutputPath,
    given,
    home_option,
    json_option,
)
from tools.output import log, print_result, print_table, stages

KINDS = ("same_photo", "near_same_photo", "same_product")
_SHOWN = 20  # groups that a person is shown
_EVIDENCE = ("agreement", "mirrored", "hamming", "cosine", "threshold")
# The kind of a suggestion in a table, where no other list sets it apart.
_SUGGESTED = "possible_same_product"


@click.command()
@home_option
@click.option(
    "--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only this kind; repeatable."
)
@click.option(
    "--csv",
    "csv_file",
    type=OutputPath,
    metavar="FILE",
    help="Also write a row for each photo of each group.",
)
@click.option(
    "--print-difference",
    "print_limit",
    type=NumberRange(0, 255, min_open=True),
    cls=FromSignature,
    source="indexer.duplicates.groups:find_groups",
    help="How much the prints on one mock-up differ from which they are two products; 255: never.",
)
@json_option
def duplicates(
    home: Path,
    kinds: tuple[str, ...],
    csv_file: Path | None,
    print_limit: float | None,
    as_json: bool,
) -> None:
    """Find groups of products that repeat others.

    The same photo, nearly the same photo (resized, recompressed, cropped, mirrored, with text), and
    the same product photographed differently. Photos are looked at once; an interrupted run goes
    on.
    """
    from indexer.core.home import Home
    from indexer.duplicates.groups import find_groups
    from indexer.model.open_runtime import open_embedder

    with stages() as callback:
        found = find_groups(
            Home(home),
            kinds=kinds or KINDS,
            embedder=open_embedder,
            progress=callback,
            **given(print_limit=print_limit),
        )
    if csv_file is not None:
        from indexer.core.atomic_files import make_folder, write_atomic

        make_folder(csv_file.parent)
        write_atomic(csv_file, _csv(found.groups, found.suggestions).encode())
    print_result(found, as_json, _show)


def _csv(groups: list[Any], suggestions: list[Any]) -> str:
    from indexer.core.csv_text import CsvWriter
    from indexer.feeds.values.spreadsheet_cells import harmless

    stream = io.StringIO()
    writer = CsvWriter(stream)
    writer.writerow(("group", "kind", "product_id", "photo", "score", *_EVIDENCE))
    listed = [(group.kind, group) for group in groups]
    listed += [(_SUGGESTED, group) for group in suggestions]
    for number, (kind, group) in enumerate(listed, 1):
        for photo in group.photos:
            evidence = [photo.get("evidence", {}).get(name) for name in _EVIDENCE]
            for product in photo["products"]:
                shown = (harmless(product), photo["photo"], photo.get("score"), *evidence)
                writer.writerow((number, kind, *shown))
    return stream.getvalue()


def _show(found: dict[str, Any]) -> None:
    kinds = [group["kind"] for group in found["groups"]]
    counts = {kind: kinds.count(kind) for kind in KINDS}
    print_table(
        ("kind", "groups"), counts.items(), title=f"Repeats among {found['photos']:,} photos"
    )
    _show_groups(found["groups"])
    if found["suggestions"]:
        log(f"perhaps the same product ({found['rule']['reason']}):")
        _show_groups(found["suggestions"])
    for photo in found["skipped"][:_SHOWN]:
        log(f"skipped photo {photo['content_hash']}: {photo['reason']}")
    if found["flat"]:
        log(
            f"note: {found['flat']} photos are of one colour all over and were compared by their "
            "bytes alone"
        )
    for note in found["notes"]:
        log(f"note: {note}")


def _show_groups(groups: list[dict[str, Any]]) -> None:
    rows = []
    for group in groups[:_SHOWN]:
        scores = [photo["score"] for photo in group["photos"] if "score" in photo]
        products = group["products"]
        rows.append((group["kind"], len(products), products[:6], min(scores, default=None)))
    if rows:
        print_table(("kind", "products", "first of them", "least score"), rows)
    if len(groups) > _SHOWN:
        log(f"... and {len(groups) - _SHOWN} more groups; --json and --csv list all")
