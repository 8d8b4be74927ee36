"""Benchmark ``memory``: estimates of an index build's memory beside what it took."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from indexer.core.csv_text import CsvWriter
from tools.bench.harness.framework import BenchRow, Goal, knob, real_data
from tools.bench.spine import catalens
from tools.output import log

PARTS = ("torch", "exported")
_NEAR = 0.25
# Of the products, as many again are imported after the first build.
_LATER = 0.2


def _worst(rows: Sequence[BenchRow]) -> float | None:
    """The largest share by which an estimate is off."""
    ratios = [one["ratio"] for row in rows for one in row["builds"]]
    return max((abs(ratio - 1) for ratio in ratios), default=None)


GOALS = (Goal("estimate of memory: off by at most", "<=", _NEAR, _worst),)


def measure(part: str, work: Path) -> BenchRow:
    """Builds of a home of fashion photos, each command a process of its own: the first, one with
    nothing to embed, one with a few new photos; by the dry run before it and by its own estimate.
    ``CATALENS_BENCH_PRODUCTS``: products.
    """
    log(f"bench memory: {part}")
    count = knob("PRODUCTS", 400)
    folder = (work / f"memory-{part}").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    export = "--export" if part == "exported" else "--no-export"
    first, later = folder / "first.csv", folder / "later.csv"
    _write_feed(first, 0, count)
    _write_feed(later, count, count + round(_LATER * count))
    model, home = folder / "model", folder / "home"
    catalens("train", first, "--out", model)
    catalens("import", first, "--home", home, "--photos", "reference")
    builds = _built("first", home, export, "--model", model, "--activate")
    builds += _built("nothing to embed", home, export)
    catalens("import", later, "--home", home, "--photos", "reference")
    builds += _built("new photos", home, export)
    return {"recipe": measure.__doc__, "products": count, "builds": builds}


def _built(name: str, home: Path, *options: object) -> list[dict[str, Any]]:
    """Estimate and build; MB by the dry run and by the build's own estimate, over what it took."""
    estimated = catalens("index", "build", "--home", home, "--dry-run", *options)[1]
    report = catalens("index", "build", "--home", home, *options)[1]
    took = report["memory_bytes"]
    found = []
    for by, document in (("dry run", estimated), ("build", report)):
        expected = document["estimated"]["memory_bytes"]
        found.append(
            {
                "build": name,
                "by": by,
                "basis": document["estimated"]["basis"],
                "estimated_mb": expected / 1e6,
                "took_mb": took / 1e6,
                "ratio": expected / took,
            }
        )
        log(f"{name}, {by}: {expected / 1e6:.0f} MB for {took / 1e6:.0f} MB")
    return found


def _write_feed(file: Path, start: int, stop: int) -> None:
    """A feed of the products ``start`` to ``stop`` of fashion, whose photos stay where they are."""
    data = real_data("fashion").absolute()
    with (data / "products.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = CsvWriter(stream)
        writer.writerow(rows[0])
        for row in rows[start:stop]:
            writer.writerow({**row, "image": data / row["image"]}.values())
