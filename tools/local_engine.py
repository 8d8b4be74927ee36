"""The service's engine in this process, without the service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tools.output import log

if TYPE_CHECKING:
    from service.engine import Engine, Query


class WarningLog:
    """The engine's log of one command: warnings and errors only, a line each on stderr."""

    def info(self, event: str, **_: Any) -> None:
        """Nothing."""

    def warning(self, event: str, *, error: object = "", **_: Any) -> None:
        """One line."""
        log(f"catalens: {event}{f': {error}' if error else ''}")

    error = warning


def open_engine(home: Path, **settings: Any) -> Engine:
    """Open the engine on ``home`` with ``settings``; close it by ``with``."""
    from indexer.core.native import configure_serving_threads
    from service.engine import Engine
    from service.settings import Settings

    configure_serving_threads()
    return Engine(Settings.make(home=home, **settings), watch=False, log=WarningLog())


def by_parent(opened: Engine, options: dict[str, Any], *, ungrouped: bool) -> dict[str, Any]:
    """The options of a question, grouped by parent where products have one and they do not say."""
    from indexer.catalog.families import PARENT

    grouped = options.get("group_by") is None and not ungrouped
    if grouped and PARENT in opened.catalog.filter_types():
        return {**options, "group_by": PARENT}
    return options


def to_query(image: Path | None, product: str | None, text: str | None = None) -> Query:
    """Read a command's input into a query.

    Raises ``UsageError`` unless it is one photo, one product or a text, and ``OSError``.
    """
    from service.engine import Query

    if (image is not None and product is not None) or (
        image is None and product is None and text is None
    ):
        raise click.UsageError("give a photo, or --product ID")
    return Query(image=image.read_bytes() if image else None, product_id=product, text=text)
