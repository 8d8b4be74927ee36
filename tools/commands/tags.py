"""The command that suggests tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tools.local_engine import engine, source
from tools.options import about
from tools.output import answer, table


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
