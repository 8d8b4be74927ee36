"""The command that says what a photo shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.local_engine import engine, source
from tools.options import about
from tools.output import answer, say, table


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
