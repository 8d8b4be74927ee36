"""Commands of the listing assistant: review photos of a listing; what people said,
as a manifest."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tools.commands.ask import engine
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


@click.group()
def feedback() -> None:
    """What people accepted, rejected and decided."""


@feedback.command("export")
@click.option("--out", type=AnyPath, required=True, help="The CSV file to write.")
@home_option
@json_option
def export(out: Path, home: Path, as_json: bool) -> None:
    """Write a training manifest of the products that people gave feedback on."""
    from indexer.core.home import Home
    from indexer.reviews.feedback_export import export_feedback

    answer(asdict(export_feedback(Home(home), out)), as_json, lambda done: show_export(done, out))


def show_export(done: dict[str, Any], out: Path) -> None:
    """Print what an export wrote."""
    say(
        f"{done['rows']} photos of {done['products']} products written to {out}, from "
        f"{done['feedback']} entries"
    )
    for reason, count in done["skipped"].items():
        say(f"left out {count}: {reason}")


@click.command()
@click.option(
    "--out",
    type=AnyPath,
    default=Path("catalens-audit"),
    show_default=True,
    help="Folder to write to.",
)
@click.option(
    "--profile", metavar="NAME", help="How strict quality is judged: studio or marketplace."
)
@click.option("--policy", type=AnyPath, help="YAML file of what is prohibited.")
@home_option
@json_option
def audit(out: Path, profile: str | None, policy: Path | None, home: Path, as_json: bool) -> None:
    """Look over the whole catalog: wrong categories and tags, poor photos, duplicates, prohibited
    content."""
    from tools import audit as auditing
    from tools.output import stages

    with engine(home, **given(policy_file=policy)) as opened, stages() as hear:
        opened.prepare_reviews()
        report = auditing.audit(opened, progress=hear, profile=profile)
        page, rows = auditing.write_page(report, opened.home, out)
    found = {
        "products": report.products,
        "resumed": report.resumed,
        "counts": report.counts(),
        "page": str(page),
        "csv": str(rows),
    }
    answer(found, as_json, show_audit)


def show_audit(found: dict[str, Any]) -> None:
    """Print what an audit found."""
    say(
        f"{found['products']} products looked at, {found['resumed']} of them as an earlier run "
        "found them"
    )
    table(("found", "how often"), list(found["counts"].items()))
    say(f"page: {found['page']}\ntable: {found['csv']}")
