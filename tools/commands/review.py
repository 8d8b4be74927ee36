"""The command that reviews the photos of a listing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.local_engine import engine
from tools.options import AnyPath, given, home_option, json_option
from tools.output import answer, say, table


@click.command()
@click.argument("images", type=AnyPath, nargs=-1)
@click.option(
    "--product",
    metavar="ID",
    help="A stored product: without photos its own; never its own duplicate.",
)
@click.option(
    "--profile", metavar="NAME", help="How strict quality is judged: studio or marketplace."
)
@click.option("--policy", type=AnyPath, help="YAML file of what is prohibited.")
@click.option(
    "--queue",
    is_flag=True,
    help="Put it into the queue where a person is asked for, as the service does.",
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
    """Is a listing with the photos IMAGES fit to publish, and how to make it better."""
    if not images and product is None:
        raise click.UsageError("give one or more photos, or --product ID")
    photos = [image.read_bytes() for image in images]
    with engine(home, **given(policy_file=policy)) as opened:
        opened.prepare_reviews()
        found = opened.review(photos, product_id=product, queue=queue, **given(profile=profile))
    answer(found, as_json, show_review)


def show_review(found: dict[str, Any]) -> None:
    """Print an answer to ``review``."""
    say(f"{found['verdict']}{': ' if found['reasons'] else ''}{', '.join(found['reasons'])}")
    category = found["category"]
    if category:
        say(f"category: {' > '.join(category['path'])} ({category['probability']:.2f})")
    say(f"tags: {', '.join(tag['tag'] for tag in found['tags']) or 'none'}")
    poor = [entry for entry in found["quality"]["findings"] if entry["level"] != "ok"]
    table(
        ("finding", "level", "score", "photo", "advice"),
        [
            (e["code"], e["level"], e["score"], e["evidence"]["photo"], e["advice"]["en"])
            for e in poor
        ],
    )
    policies = [
        (entry["policy"], entry["decision"], entry["score"]) for entry in found["prohibited"]
    ]
    table(("policy", "decision", "score"), policies)
    repeats = [
        (e["product_id"], e["kind"], e["score"], e["evidence"]["photo"])
        for e in found["duplicates"]
    ]
    table(("repeats", "kind", "score", "photo"), repeats)
