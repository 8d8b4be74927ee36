"""Latency of a whole review beside ``classify`` alone, in one process."""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from indexer.core.home import Home
from indexer.core.native import configure_serving_threads
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.importer import import_feed
from indexer.index_build.pipeline import build_index
from indexer.model.registry import register_model
from indexer.training.export import export
from service.engine import Engine, Query
from service.settings import Settings
from tools.bench.harness.framework import BenchRow, knob, percentile, real_data
from tools.bench.tags import ready_model

_POLICY = """
version: 1
policies:
  nudity: {nudity: {review: 0.5, block: 0.9}}
  contact details: {action: review, codes: {}}
  categories: {action: review, categories: {names: [Innerwear]}}
"""
_RECIPE = (
    "fashion in a home, the fine-tuned model exported for this processor; test photos (224 px) "
    "asked about one "
    "after the other, classify and review in turn, each with bytes it has not seen (a comment is "
    "appended); policies: "
    "nudity, codes, a banned category; no OCR"
)


def review(work: Path) -> BenchRow:
    """Milliseconds of both for each of ``CATALENS_BENCH_REVIEWS`` (200) photos, and of processor
    time, all threads'."""
    home = _home(work)
    policy = work / "review-policy.yaml"
    policy.write_text(_POLICY)
    taken: dict[str, list[float]] = {"classify": [], "review": []}
    worked: dict[str, list[float]] = {"classify": [], "review": []}
    stages: dict[str, list[float]] = {}
    configure_serving_threads()  # as the service does
    with Engine(Settings(home=home, policy_file=policy), watch=False) as engine:
        engine.prepare_reviews()
        ask: dict[str, Callable[[bytes], dict[str, Any]]] = {
            "classify": lambda data: engine.classify(Query(image=data)).to_json(),
            "review": lambda data: engine.review([data], queue=False).to_json(),
        }
        for number, data in enumerate(_photos(knob("REVIEWS", 200) + 10)):
            for name in ("classify", "review") if number % 2 else ("review", "classify"):
                began, idle = time.perf_counter(), time.process_time()
                answered = ask[name](data + f"{name} {number}".encode())
                if number >= 10:  # warm
                    taken[name].append(1000 * (time.perf_counter() - began))
                    worked[name].append(1000 * (time.process_time() - idle))
                    for stage, spent in answered["timings_ms"].items() if name == "review" else ():
                        stages.setdefault(stage, []).append(spent)
    medians = {name: statistics.median(samples) for name, samples in taken.items()}
    return {
        "recipe": _RECIPE,
        "samples": taken,
        **{f"{name}_p50_ms": medians[name] for name in taken},
        **{f"{name}_cpu_p50_ms": statistics.median(samples) for name, samples in worked.items()},
        **{f"{name}_p99_ms": percentile(samples, 0.99) for name, samples in taken.items()},
        "stages_p50_ms": {stage: statistics.median(spent) for stage, spent in stages.items()},
        "ratio": medians["review"] / medians["classify"],
    }


def _home(work: Path) -> Path:
    folder = work / "review-home"
    if not (folder / "CURRENT").exists():
        model = ready_model("finetune", real_data("fashion"), work)
        quick = work / "review-model"
        if not quick.exists():
            export(model, real_data("fashion"), quick)
        home = Home.create(folder)
        import_feed(home, real_data("fashion"), ImportOptions(photos="reference"))
        build_index(home, bundle=register_model(home, quick), activate=True)
    return folder


def _photos(most: int) -> list[bytes]:
    folder = real_data("fashion")
    with (folder / "products.csv").open(encoding="utf-8", newline="") as stream:
        files = [folder / row["image"] for row in csv.DictReader(stream) if row["split"] == "test"]
    return [file.read_bytes() for file in sorted(files)[:most]]
