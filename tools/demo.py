"""Demonstration: sample catalog, training, import, export, evaluation, index, queries, page."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.core.atomic_files import publish_folder
from indexer.core.errors import BadModelError, BadSettingsError
from indexer.core.progress import OnProgress, OnStage
from tools.output import format_cell, log, print_table, progress, say, stages, to_plain

if TYPE_CHECKING:
    from indexer.core.home import Home
    from indexer.index.version import Manifest
    from indexer.model.bundle import Bundle

FIGURES = ("n", "accuracy", "hit_rate_at_1", "hit_rate_at_10", "map", "instance_hit_rate_at_1")


def demo(folder: Path = Path("catalens-demo")) -> dict[str, Any]:
    """Everything but the serving, in ``folder``: ``catalog/``, ``model/``, ``home/``; what is there
    is used again.

    Returns one document: where things are, the figures on the test split, the answers to the three
    questions about a product that the model never saw, and the seconds of each step.
    """
    from indexer.core.home import Home
    from indexer.evaluation.evaluate import evaluate
    from indexer.feeds.import_options import ImportOptions
    from indexer.feeds.importer import import_feed
    from indexer.model.registry import register_model
    from indexer.operations.automatic_export import choose_exported

    folder = folder.absolute()
    catalog, model = folder / "catalog", folder / "model"
    seconds: dict[str, float] = {}

    with _step("draw the sample catalog", "catalog", seconds), progress("draw") as counter:
        if not catalog.exists():
            shutil.rmtree(model, ignore_errors=True)  # it was trained on other photos
        manifest = _draw_once(catalog, counter)
    with _step("train", "train", seconds):
        _train_once(manifest, model)
    with _step("import", "import", seconds), stages() as reporter:
        home = Home.create(folder / "home")
        options = ImportOptions(photos="reference")
        report = import_feed(home, manifest, options, progress=reporter)
    with _step("export for the processor", "export", seconds), stages() as reporter:
        choice = choose_exported(home, register_model(home, model), progress=reporter)
        log(choice.reason or "the model is exported already")
    with _step("evaluate on the test split", "evaluate", seconds), stages() as reporter:
        figures = evaluate(choice.bundle.path, manifest, progress=reporter)
    with _step("build and activate the index", "index", seconds), stages() as reporter:
        index = _index_once(home, choice.bundle, reporter)
    with _step("ask", "ask", seconds):
        photo, answers = _ask(home.path, manifest)
    return {
        "folder": folder,
        "home": home.path,
        "model": model,
        "index_version": index.version,
        "products": index.counts["products"],
        "photos": index.counts["entries"],
        "skipped": to_plain(report.skipped),
        "figures": {name: figures[name] for name in FIGURES} | {"tags": figures["tags"]},
        "photo": photo,
        "answers": answers,
        "seconds": seconds,
    }


@contextmanager
def _step(what: str, name: str, seconds: dict[str, float]) -> Iterator[None]:
    log(f"[{len(seconds) + 1}/7] {what}")
    started = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - started, 2)


def _draw_once(folder: Path, counter: OnProgress) -> Path:
    """The sample catalog's manifest. Drawn aside, so that a folder that is there is whole."""
    from tools.sample_catalog import make_sample_catalog

    if not folder.exists():
        aside = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(aside, ignore_errors=True)
        drawn = make_sample_catalog(aside, progress=counter)
        publish_folder(aside, folder)
        return folder / drawn.name
    log("used again: the catalog of an earlier run")
    return folder / "products.csv"


def _train_once(manifest: Path, model: Path) -> None:
    """Train, unless an earlier run left a whole model."""
    from indexer.model.bundle import load_bundle
    from indexer.training.train import train

    if model.exists():
        try:
            load_bundle(model)
            log("used again: the model of an earlier run")
            return
        except BadModelError as error:
            log(f"made anew: {error}")
            shutil.rmtree(model)
    with stages() as reporter:
        train(manifest, model, progress=reporter)


def _index_once(home: Home, bundle: Bundle, reporter: OnStage) -> Manifest:
    """The active version, built first unless it is this model's and covers the whole catalog."""
    from indexer.catalog.store import open_catalog
    from indexer.index.version import Versions
    from indexer.index_build.pipeline import build_index

    versions = Versions(home)
    active = home.active()
    if active is not None and active.model_version == bundle.model_version:
        found = versions.manifest(active.index_version)
        with open_catalog(home) as catalog:
            if found.last_sequence == catalog.last_sequence():
                log("used again: the index of an earlier run")
                return found
    build_index(home, bundle=bundle, activate=True, progress=reporter)
    return versions.list()[-1]


def _ask(home: Path, manifest: Path) -> tuple[Path, dict[str, Any]]:
    """The three questions about the first test product: (its photo, the answers as the service
    gives them)."""
    from indexer.feeds.dataset import read_dataset
    from service.engine import Engine, Query
    from service.settings import Settings
    from tools.local_engine import WarningLog

    row = next(row for row in read_dataset(manifest).rows if row.split == "test")
    photo, stored = Query(image=row.image.read_bytes()), Query(product_id=row.product_id)
    with Engine(Settings.make(home=home), watch=False, log=WarningLog()) as engine:
        answers = {
            "classify": engine.classify(photo),
            # As the stored product, so that it is not its own best neighbour.
            "search": engine.search(stored, k=5),
            "tags": engine.tags(stored),
        }
    return row.image, answers


def show(document: dict[str, Any]) -> None:
    """Print what the demonstration found, for people."""
    from tools.commands.classify import show_categories
    from tools.commands.similar import show_products
    from tools.commands.tags import show_tags

    figures = document["figures"]
    intervals = [
        (name, format_cell(value)) for name, value in figures.items() if not isinstance(value, dict)
    ]
    if figures.get("tags"):
        intervals.append(("tags, micro-F1", format_cell(figures["tags"]["f1"])))
    say(
        f"\n{document['products']:,} products with {document['photos']:,} photos, in "
        f"{document['folder']}\n"
    )
    print_table(("on the test split", "value"), intervals)
    say(f"\nAsked about {document['photo']}\n\nWhat is it?")
    show_categories(document["answers"]["classify"])
    say("\nWhat looks like it?")
    show_products(document["answers"]["search"])
    say("\nHow should it be tagged?")
    show_tags(document["answers"]["tags"])
    steps = ", ".join(f"{name} {took:.0f}" for name, took in document["seconds"].items())
    say(f"\nDone in {sum(document['seconds'].values()):.0f} s ({steps}).")


def free_port(wanted: int | None) -> int:
    """``wanted`` (raises ``BadSettingsError`` where it is taken), else the usual port, else any
    free one."""
    from service.settings import Settings

    for port in (wanted,) if wanted is not None else (Settings().port, 0):
        with socket.socket() as probe:
            try:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
                found: int = probe.getsockname()[1]
                return found
            except OSError:
                continue
    raise BadSettingsError(f"port {wanted} is in use: choose another one with --port")


def serve(home: Path, *, port: int | None = None) -> None:
    """Serve the page until interrupted; the server prints its address. What the home's last service
    kept is kept as long."""
    from indexer.core.home import Home
    from service.app import serve as run
    from service.settings import Settings
    from tools.settings_options import last_retention

    kept = last_retention(Home(home))
    run(Settings.make(home=home, port=free_port(port), **kept))
