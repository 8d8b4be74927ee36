"""Commands that register models beside the active one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tools.console import answer, table
from tools.options import AnyPath, home_option, json_option

if TYPE_CHECKING:
    from indexer.model.bundle import Bundle


@click.group("model")
def model() -> None:
    """Register and list models."""


@model.command("add")
@click.argument("path", type=AnyPath, metavar="MODEL")
@home_option
@json_option
def add(path: Path, home: Path, as_json: bool) -> None:
    """Register the model folder MODEL; nothing is activated."""
    from indexer.home import Home
    from indexer.model.registry import register

    bundle = register(Home.create(home), path)
    answer(_document(bundle), as_json, lambda found: table(("", "value"), found.items()))


@model.command("list")
@home_option
@json_option
def list_(home: Path, as_json: bool) -> None:
    """List the registered models."""
    from indexer.home import Home
    from indexer.model.registry import registered

    opened = Home(home)
    active = opened.active()
    models = [
        {**_document(bundle), "active": active is not None and active.model_version == bundle.model_version}
        for bundle in registered(opened)
    ]
    answer({"models": models}, as_json, _show)


def _document(bundle: Bundle) -> dict[str, Any]:
    return {
        "model_version": bundle.model_version,
        "embedding_id": bundle.embedding_id,
        "backbone": bundle.spec.backbone,
        "dim": bundle.spec.dim,
        "categories": len(bundle.decision.categories),
        "path": bundle.path,
    }


def _show(found: dict[str, Any]) -> None:
    columns = ("model_version", "backbone", "dim", "categories", "active")
    table(columns, [[row[name] for name in columns] for row in found["models"]])
