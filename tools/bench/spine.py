"""Benchmark ``spine``: the whole way, its time and the quality of its answers."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from indexer.core.csv_text import CsvWriter
from indexer.core.errors import CatalensError
from tools.bench.harness.framework import BenchRow, Goal, figure, real_data
from tools.bench.parts import upload_latency as upload
from tools.output import log

PARTS = ("demo", "train", "tags", "upload", "tests")
ROOT = Path(__file__).parents[2]

GOALS = (
    Goal("make demo SERVE=0, seconds", "<", 180, figure("demo", "seconds")),
    Goal("make test, seconds", "<", 600, figure("tests", "seconds")),
    Goal("train linear on clothing, cold cache, seconds", "<", 100, figure("train", "cold_s")),
    Goal("train linear on clothing, warm cache, seconds", "<", 15, figure("train", "warm_s")),
    Goal("clothing test accuracy", ">=", 0.895, figure("train", "accuracy")),
    Goal("clothing hit rate@1", ">=", 0.82, figure("train", "hit_rate_at_1")),
    Goal(
        "upload answered by /v1/search at 5,000 products, one core, p50 ms",
        "<",
        60,
        figure("upload", "p50_ms"),
    ),
)


def measure(part: str, work: Path) -> BenchRow:
    """The row of one part; every second is wall time of a process of its own, as a user would wait
    for it."""
    log(f"bench spine: {part}")
    return {"demo": _demo, "train": _train, "tags": _tags, "upload": _upload, "tests": _tests}[
        part
    ](work)


def catalens(*arguments: object, env: dict[str, str] | None = None) -> tuple[float, Any]:
    """Run one command with ``--json`` in a process of its own; (seconds, its document)."""
    command = [sys.executable, "-m", "tools.cli", *map(str, arguments), "--json"]
    started = time.perf_counter()
    document = run_json(command, f"catalens {arguments[0]}", env=env)
    return time.perf_counter() - started, document


def run_json(command: list[str], name: str, *, env: dict[str, str] | None = None) -> Any:
    """Run a process in the project's folder and read the one JSON document it prints. Raises
    ``CatalensError``."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        raise CatalensError(
            f"{name} failed with exit code {done.returncode}; its reason stands above"
        )
    return json.loads(done.stdout)


def _demo(work: Path) -> BenchRow:
    """The sample catalog from nothing: a fresh folder and a fresh feature cache."""
    with tempfile.TemporaryDirectory(dir=work) as fresh:
        cache = {"CATALENS_CACHE": str(Path(fresh, "cache"))}
        seconds, answer = catalens("demo", "--no-serve", "--dir", Path(fresh, "demo"), env=cache)
    return {
        "recipe": "catalens demo --no-serve, nothing there before",
        "seconds": seconds,
        "answer": answer,
    }


def _train(work: Path) -> BenchRow:
    """Training on clothing twice: the first time nothing is cached."""
    data = real_data("clothing")
    with tempfile.TemporaryDirectory(dir=work) as fresh:
        cache, model = {"CATALENS_CACHE": str(Path(fresh, "cache"))}, Path(fresh, "model")
        cold, _ = catalens("train", data, "--out", model, env=cache)
        warm, _ = catalens("train", data, "--out", Path(fresh, "again"), env=cache)
        _, figures = catalens("evaluate", model, data, env=cache)
    figures.pop("per_class", None)
    return {
        "recipe": "train DATA --recipe linear, efficientnet_lite0, twice; evaluate on test",
        "cold_s": cold,
        "warm_s": warm,
        "accuracy": figures["accuracy"],
        "hit_rate_at_1": figures["hit_rate_at_1"],
        "figures": figures,
    }


def _tags(work: Path) -> BenchRow:
    """Tags of fashion's test photos, beside votes of the ten nearest on the frozen backbone."""
    data = real_data("fashion") / "products.csv"
    model = _fashion_model(work)
    _, figures = catalens("evaluate", model, data, env=_kept_cache(work))
    tags = figures["tags"]
    return {
        "recipe": "train and evaluate products.csv on its splits; baseline: frozen backbone, k = "
        "10, equal votes",
        "micro_f1": tags["f1"],
        "baseline_micro_f1": tags["baseline_f1"],
        "macro_f1": tags["macro_f1"],
        "tags": tags,
        "intervals": {
            name: bounds
            for name, bounds in figures["intervals"].items()
            if name.startswith("tags.")
        },
    }


def _upload(work: Path) -> BenchRow:
    """200 photos uploaded one after another to a server on one core, with 5,000 products in its
    index."""
    fashion, clothing = real_data("fashion"), real_data("clothing")
    home = work / "home-5000"
    feed = _feed_of_5000(work, fashion / "products.csv", clothing)
    catalens("import", feed, "--home", home, "--photos", "reference")
    catalens("index", "build", "--home", home, "--model", _fashion_model(work), "--activate")
    shop, street = (
        sorted((fashion / "images").iterdir())[::38],
        sorted((clothing / "test").rglob("*.jpg"))[::3],
    )
    photos = [photo for pair in zip(shop, street, strict=False) for photo in pair]
    return upload.measure(home, photos, products=5000)


def _tests(_: Path) -> BenchRow:
    """The tests, as ``make test`` runs them."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-m", "not long"]
    done = subprocess.run(command, cwd=ROOT, stdout=sys.stderr)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise CatalensError("the tests do not pass; their report stands above")
    return {"recipe": "python -m pytest -m 'not long'", "seconds": seconds}


def _kept_cache(work: Path) -> dict[str, str]:
    return {"CATALENS_CACHE": str(work / "cache")}


def _fashion_model(work: Path) -> Path:
    model = work / "fashion-model"
    if not model.exists():
        catalens(
            "train", real_data("fashion") / "products.csv", "--out", model, env=_kept_cache(work)
        )
    return model


def _feed_of_5000(work: Path, products: Path, clothing: Path) -> Path:
    """A manifest of fashion's products, filled up to 5,000 with train photos of clothing."""
    with products.open(newline="", encoding="utf-8") as stream:
        rows = []
        for row in csv.DictReader(stream):
            kept = {name: row[name] for name in ("product_id", "title", "category", "tags")}
            rows.append({**kept, "image": products.parent / row["image"]})
    fill = sorted((clothing / "train").rglob("*.jpg"))[: max(0, 5000 - len(rows))]
    rows += [
        {
            "product_id": f"clothing-{photo.stem}",
            "title": "",
            "category": photo.parent.name,
            "tags": "",
            "image": photo,
        }
        for photo in fill
    ]
    feed = work / "feed.csv"
    with feed.open("w", newline="", encoding="utf-8") as stream:
        columns = ("product_id", "image", "title", "category", "tags")
        writer = CsvWriter(stream)
        writer.writerow(columns)
        for row in rows[:5000]:
            absolute = {**row, "image": Path(row["image"]).absolute()}
            writer.writerow(absolute[column] for column in columns)
    return feed
