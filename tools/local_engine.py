"""The service's engine in this process, for commands that ask it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tools.output import say

if TYPE_CHECKING:
    from service.engine import Engine, Query


class Warnings:
    """The engine's log for one question: what is in order is not said, the rest is a line on
    stderr."""

    def info(self, event: str, **_: Any) -> None:
        """Nothing."""

    def warning(self, event: str, *, error: object = "", **_: Any) -> None:
        """One line."""
        say(f"catalens: {event}{f': {error}' if error else ''}")

    error = warning


def engine(home: Path, **settings: Any) -> Engine:
    """The service's engine on ``home`` with ``settings``, without the service; close it with
    ``with``."""
    from indexer.core.native import configure_serving_threads
    from service.engine import Engine
    from service.settings import Settings

    configure_serving_threads()
    return Engine(Settings.make(home=home, **settings), watch=False, log=Warnings())


def source(image: Path | None, product: str | None, text: str | None = None) -> Query:
    """What the question is about. Raises ``UsageError`` unless it is one photo or product, or a
    text, ``OSError``."""
    from service.engine import Query

    if (image is not None and product is not None) or (
        image is None and product is None and text is None
    ):
        raise click.UsageError("give a photo, or --product ID")
    return Query(image=image.read_bytes() if image else None, product_id=product, text=text)
