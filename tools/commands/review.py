"""Command ``review``: review of a listing's photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from indexer.core.category_path import format_path
from tools.local_engine import open_engine
from tools.options import AnyPath, given, home_option, json_option, policy_option, profile_option
from tools.output import log, print_result, print_table


@click.command()
@click.argument("images", type=AnyPath, nargs=-1)
@click.option(
    "--product",
    metavar="ID",
    help="Review this stored product; never reported as its own duplicate.",
)
@profile_option
@policy_option
@click.option(
    "--queue",
    is_flag=True,
    help="Enqueue for human review if required.",
)
@home_option
@json_option
def review(
    images: tuple[Path, ...],
    product: str | None,
    profile: str | None,
    policy: Path | None,
    queue: bool,
    home: Path,
    as_json: bool,
) -> None:
    """Review the photos IMAGES of a listing.

    Is it fit to publish, and how does it get better?
    """
    if not images and product is None:
        raise click.UsageError("give one or more photos, or --product ID")
    photos = [image.read_bytes() for image in images]
    with open_engine(home, **given(policy_file=policy)) as opened:
        opened.prepare_reviews()
        found = opened.review(photos, product_id=product, queue=queue, **given(profile=profile))
    print_result(found, as_json, show_review)


def show_review(found: dict[str, Any]) -> None:
    """Print an answer to ``review``."""
    log(f"{found['verdict']}{': ' if found['reasons'] else ''}{', '.join(found['reasons'])}")
    category = found["category"]
    if category:
        log(f"category: {format_path(category['path'])} ({category['probability']:.2f})")
    elif found.get("nearest_kinds"):
        kinds = ", ".join(format_path(kind["path"]) for kind in found["nearest_kinds"])
        log(f"category: none of the known kinds; the nearest: {kinds}")
    log(f"tags: {', '.join(tag['tag'] for tag in found['tags']) or 'none'}")
    poor = [entry for entry in found["quality"]["findings"] if entry["level"] != "ok"]
    print_table(
        ("finding", "level", "score", "photo", "advice"),
        [
            (e["code"], e["level"], e["score"], e["evidence"]["photo"], e["advice"]["en"])
            for e in poor
        ],
    )
    policies = [
        (entry["policy"], entry["decision"], entry["score"]) for entry in found["prohibited"]
    ]
    print_table(("policy", "decision", "score"), policies)
    repeats = [
        (e["product_id"], e["kind"], e["score"], e["evidence"]["photo"])
        for e in found["duplicates"]
    ]
    print_table(("repeats", "kind", "score", "photo"), repeats)
    possible = [
        (e["product_id"], e["score"], e["evidence"]["measured_on"])
        for e in found.get("possible_duplicates") or []
    ]
    if possible:
        print_table(("may be the same product", "score", "measured on photos"), possible)
