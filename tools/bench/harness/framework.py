"""Benchmark runner: rows with raw samples, and goals recomputed from them."""

from __future__ import annotations

import operator
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from indexer.core.container import usable_cores
from indexer.core.errors import BadDataError, BadRequestError
from tools.doctor import cpu_features, cpu_model, installed, memory_gib

# name -> what it measures; the module tools.bench.<name> holds PARTS, GOALS and a `measure`
# function
BENCHMARKS = {
    "spine": "the whole way: demo, training, tags, an upload answered over HTTP, the tests",
    "train": "the recipes against their goals, the frozen network and the seed's loop; kinds never "
    "seen",
    "backbones": "accuracy, speed and size of every backbone whose weights are on this machine",
    "fewshot": "classes made from 1, 5 and 10 photos of kinds that training never saw",
    "recommend": "the next view of generated shoppers beside the average embedding; the time of an "
    "answer at 100,000",
    "tags": "suggested tags against known ones, and what each part of the rule is worth",
    "upsert": "what writes cost: commits, deletes beside a peer's store, patches in batches",
    "writes": "what undo, checksums and marks of erasure cost a write, beside plain SQLite",
    "ablation": "what each part of the recipes is worth, on validation photos",
    "folds": "recipes on all train and validation photos, each held out once; few train photos",
    "filter": "filtered search at five selectivities and weights over blocks, against the exact "
    "oracle",
    "group": "results by group beside plain ones at 100,000; facets counted one by one; stock and "
    "variants in similar products",
    "search": "one index against HNSW32, hnswlib, USearch and brute force: speed, build, memory at "
    "one recall",
    "recall": "does the tuner keep the recall it was asked for, on 20 generated sets and the real "
    "photos",
    "scale": "how build, disk, memory and latency grow from 100,000 to a million entries",
    "claims": "planted wrong labels, different products and other prints: what is claimed wrongly",
    "unknown": "are products of kinds never taught told from known ones: near and far, on frozen "
    "features",
    "explain": "heat maps judged by what is left of a score once their warmest cells are gone",
    "prohibited": "banned galleries, logos pasted on photos, nudity and codes: what is found, what "
    "alarms wrongly",
    "quality": "findings on photos degraded in known strengths, alarms on untouched ones, time of "
    "one photo",
    "fetch": "photos by URL from a server with a limit and from one with faults: first search, "
    "time, memory, a kill",
    "decode": "a photo's bytes to the network's pixels, beside Pillow's plain path",
    "embed": "JPEG files to vectors, beside the plain loop; numeric classes; what the processor "
    "gives",
    "http": "category, similar products and tags of an upload among 100,000, beside the plain "
    "service",
    "overload": "three times what the service can do, beside its own peak; 1,000 connections that "
    "say nothing",
    "memory": "what the estimates of an index build say it takes, and what it took",
    "startup": "process start to ready and memory at 100,000 products, beside the plain service; a "
    "soak",
    "page": "the page in a headless browser: bytes, time until it can be used, faults by axe-core",
    "duplicates": "near pairs of 20,000 photos beside imagededup; copies and identical photos "
    "found",
    "text": "products found by words: photos without text, titles without their words, colour and "
    "article together",
    "objects": "products found in busy photos with known boxes, and their like in the catalog",
    "feeds": "fields of every feed profile; memory and rows a second of large imports",
    "follow": "a large catalog: metrics, facets, first text, reviews; searches beside a review "
    "after an import",
    "compose": "like this, but in another colour: photos without attributes",
    "regression": "describe, search, a put and the start, paired with those of another commit",
    "traces": "photos that shoppers ask with, searched for in all files that a service writes",
    "swap": "versions and models switched under load, one model change with a kill: every answer "
    "checked",
}

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
PACKAGES = (
    "torch",
    "torchvision",
    "faiss-gpu",
    "faiss-cpu",
    "numpy",
    "pillow",
    "timm",
    "waitress",
    "openvino",
    "nncf",
)

BenchRow = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """One wanted figure: ``value op goal``; ``read`` finds the value in the rows, None where it was
    not measured."""

    name: str
    op: str
    goal: float
    read: Callable[[Sequence[BenchRow]], float | None]

    def judge(self, rows: Sequence[BenchRow]) -> dict[str, Any]:
        """``{"name", "op", "goal", "value", "met"}``; ``met`` is None where the value was not
        measured."""
        value = self.read(rows)
        met = None if value is None else OPERATORS[self.op](value, self.goal)
        return {"name": self.name, "op": self.op, "goal": self.goal, "value": value, "met": met}


def figure(part: str, name: str) -> Callable[[Sequence[BenchRow]], float | None]:
    """A reader for ``Goal``: the field ``name`` of the row of ``part``."""
    return lambda rows: next(
        (row[name] for row in rows if row["part"] == part and name in row), None
    )


def listing() -> list[dict[str, Any]]:
    """All benchmarks with their parts."""
    return [
        {"name": name, "about": about, "parts": list(import_module(f"tools.bench.{name}").PARTS)}
        for name, about in BENCHMARKS.items()
    ]


def run(name: str, *, only: Sequence[str] = (), work: Path | None = None) -> dict[str, Any]:
    """Run a benchmark (all its parts, or ``only`` some) and return its document. Raises
    ``BadRequestError``, ``BadDataError``."""
    if name not in BENCHMARKS:
        raise BadRequestError(f"no benchmark {name!r}; there are: {', '.join(BENCHMARKS)}")
    module = import_module(f"tools.bench.{name}")
    for part in only:
        if part not in module.PARTS:
            raise BadRequestError(
                f"benchmark {name} has no part {part!r}; it has: {', '.join(module.PARTS)}"
            )
    started = time.time()
    rows: list[BenchRow] = []
    with (
        tempfile.TemporaryDirectory(prefix="catalens-bench-")
        if work is None
        else nullcontext(work) as folder
    ):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for part in only or module.PARTS:
            rows.append({"part": part, **module.measure(part, Path(folder))})
    return {
        "bench": name,
        "machine": machine(started),
        "rows": rows,
        "goals": [goal.judge(rows) for goal in module.GOALS],
    }


def machine(started: float) -> dict[str, Any]:
    """Where and when a benchmark ran, as far as its figures depend on it."""
    return {
        "processor": cpu_model(),
        "cores": usable_cores(),
        "features": cpu_features(),
        "memory_gib": memory_gib(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {package: found for package in PACKAGES if (found := installed(package))},
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
    }


def real_data(name: str) -> Path:
    """A folder of real photos under ``CATALENS_DATA``. Raises ``BadDataError`` that says what to
    set."""
    root = os.environ.get("CATALENS_DATA")
    if not root:
        raise BadDataError(
            "this part needs real photos: set CATALENS_DATA to the folder that holds clothing/ and "
            "fashion/"
        )
    folder = Path(root) / name
    if not folder.is_dir():
        raise BadDataError(
            f"this part needs real photos: {folder} is not there (CATALENS_DATA={root})"
        )
    return folder


def knob(name: str, default: int) -> int:
    """A size from ``CATALENS_BENCH_<name>``."""
    return int(os.environ.get(f"CATALENS_BENCH_{name}", default))


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample at ``share`` (0 to 1) of the sorted samples, nearest rank."""
    ranked = sorted(samples)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
