"""Command ``model``: model registry, published weights and export."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tools.options import AnyPath, FromSignature, OutputPath, given, home_option, json_option
from tools.output import log, print_result, print_table, stages

if TYPE_CHECKING:
    from indexer.model.bundle import Bundle

EXPORT = "indexer.training.export:export"


@click.group("model")
def model() -> None:
    """Register, show, fetch and export models."""


@model.command("add")
@click.argument("path", type=AnyPath, metavar="MODEL")
@home_option
@json_option
def add(path: Path, home: Path, as_json: bool) -> None:
    """Register the model folder MODEL.

    Nothing is activated.
    """
    from indexer.core.home import Home
    from indexer.model.registry import register_model

    bundle = register_model(Home.create(home), path)
    print_result(
        _document(bundle), as_json, lambda found: print_table(("", "value"), found.items())
    )


@model.command("list")
@home_option
@json_option
def list_(home: Path, as_json: bool) -> None:
    """List the registered models."""
    from indexer.core.home import Home
    from indexer.model.registry import registered

    opened = Home(home)
    active = opened.active()
    models = [
        {
            **_document(bundle),
            "active": active is not None and active.model_version == bundle.model_version,
        }
        for bundle in registered(opened)
    ]
    print_result({"models": models}, as_json, _show)


@model.command("show")
@click.argument("path", type=AnyPath, metavar="MODEL")
@json_option
def show(path: Path, as_json: bool) -> None:
    """Show what the model folder MODEL is made of.

    Its network, how it was trained, and where the weights that the training began with came from:
    repository, revision, licence and checksum, as far as they are known.
    """
    from indexer.model.bundle import load_bundle

    bundle = load_bundle(path)
    document = {**_document(bundle), "heads": _heads(bundle), "training": dict(bundle.training)}
    print_result(document, as_json, _show_origins)


@model.command("fetch")
@click.argument("name", metavar="NAME")
@click.option("--revision", metavar="COMMIT", help="Of the repository.  [default: its newest]")
@json_option
def fetch(name: str, as_json: bool, revision: str | None) -> None:
    """Download a network's published weights.

    NAME is that of --backbone, as in timm:convnextv2_nano.fcmae_ft_in22k_in1k, or
    open_clip:ViT-B-16-SigLIP2 with its text tower. Nothing else downloads them: training reads what
    lies here. Look at the licence that is printed.
    """
    from dataclasses import asdict

    from indexer.core.errors import BadRequestError
    from indexer.model.backbones import find
    from indexer.model.hub_weights import HubWeights
    from indexer.model.hub_weights import fetch as job

    source = find(name).weights
    if not isinstance(source, HubWeights):
        raise BadRequestError(f"{name} is not fetched by this command: it comes by {source.way}")
    print_result(asdict(job(source, revision=revision)), as_json, _show_fetched)


@model.command("export")
@click.argument("path", type=AnyPath, metavar="MODEL")
@click.argument("data", type=AnyPath)
@click.option("--out", type=OutputPath, required=True, help="The model folder to write.")
@click.option(
    "--numeric",
    type=click.Choice(["auto", "fp32", "bf16", "int8"]),
    cls=FromSignature,
    source=EXPORT,
    help="Numbers the network computes in; auto: the fastest here that comes near enough.",
)
@json_option
def export(path: Path, data: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Make MODEL several times as fast on a CPU.

    Its network becomes a graph for OpenVINO. DATA, what it was trained on, calibrates int8 and
    judges whether the vectors come near enough to the model's own. The new model has an embedding
    of its own: build an index with it.
    """
    from indexer.training.export import export as job

    with stages() as callback:
        report = job(path, data, out, progress=callback, **given(**options))
    print_result(report, as_json, lambda found: _show_export(found, out))


def _show_origins(found: dict[str, Any]) -> None:
    training = found.pop("training")
    told = [
        f"{head['name']} ({head['classes']}{', any number of them' if head['several'] else ''})"
        for head in found.pop("heads")
    ]
    found["heads"] = ", ".join(told) or "none"
    origin = training.pop("weights_origin", None) or {}
    rows = [*found.items(), *training.items()]
    rows += [(f"weights: {name}", value) for name, value in origin.items() if value is not None]
    print_table(("", "value"), rows)


def _show_fetched(found: dict[str, Any]) -> None:
    origin = found["origin"]
    rows = [("backbone", found["backbone"]), ("folder", found["folder"]), ("bytes", found["bytes"])]
    print_table(("", "value"), [*rows, *origin.items()], title="Fetched")
    log(f"next: catalens train DATA --out MODEL --backbone '{found['backbone']}'")


def _show_export(found: dict[str, Any], out: Path) -> None:
    columns = (
        "numeric",
        "near enough",
        "mean cosine",
        "1% below",
        "hit rate@1",
        "of the model",
        "photos/s",
    )
    rows = []
    for parity in found["tried"]:
        cosine, hits = parity["cosine"], parity["hit_rate_at_1"]
        figures = (
            cosine["mean"],
            cosine["p01"],
            hits["exported"],
            hits["model"],
            parity["photos_per_s"],
        )
        rows.append((parity["numeric"], parity["alike"], *figures))
    print_table(columns, rows, title=f"Exported {out} as {found['numeric']}")
    log(f"next: catalens index build --home HOME --model {out} --activate")


def _document(bundle: Bundle) -> dict[str, Any]:
    return {
        "model_version": bundle.model_version,
        "embedding_id": bundle.embedding_id,
        "backbone": bundle.spec.backbone,
        "numeric": bundle.spec.numeric,
        "dim": bundle.spec.dim,
        "categories": len(bundle.decision.categories),
        "path": bundle.path,
    }


def _heads(bundle: Bundle) -> list[dict[str, Any]]:
    """What the model tells of a photo: the category, attributes, tags."""
    return [
        {"name": head.name, "classes": len(head.classes), "several": head.several}
        for head in bundle.spec.heads
    ]


def _show(found: dict[str, Any]) -> None:
    columns = ("model_version", "backbone", "numeric", "dim", "categories", "active")
    print_table(columns, map(itemgetter(*columns), found["models"]))
