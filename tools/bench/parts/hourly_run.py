"""Hourly run of a shop's feed: a few prices and products changed, all else as it was."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import urllib3

from tools.bench.harness.framework import BenchRow
from tools.bench.harness.photo_server import PhotoServerPlan, in_own_process
from tools.bench.harness.servers import ROOT

NEW = 20
COLUMNS = "id\ttitle\tlink\timage_link\tavailability\tprice\tsku\tproduct_type\tdescription"


def measure_hour(folder: Path, rows: int) -> BenchRow:
    """Measure seconds of ``catalens sync run``, and the photos that it asks for, on a feed of
    ``rows`` products of which 1% of the prices changed and ``NEW`` are new."""
    feed = folder / "feed.tsv"
    home = folder / "home"
    with in_own_process(PhotoServerPlan()) as endpoint:
        _write(feed, endpoint, rows, changed=False)
        _catalens("sync", "add", "shop", str(feed), "--every", "1h", "--fetch", "--home", str(home))
        run = ("sync", "run", "shop", "--home", str(home), "--fetch-private", endpoint)
        first, first_s = _timed(*run)
        before = _counts(endpoint)
        _write(feed, endpoint, rows, changed=True)
        hour, seconds = _timed(*run)
        asked = {path for path, count in _counts(endpoint).items() if count > before.get(path, 0)}
        still, still_s = _timed(*run)
    new = {f"/photo/{number}.jpg" for number in range(rows, rows + NEW)}
    return {
        "recipe": f"{rows} rows of one photo each by address; catalens sync run, with the start of "
        f"its process; 1% of the prices change and {NEW} products are new",
        "rows": rows,
        "first_s": first_s,
        "first_added": first["counts"]["added"],
        "seconds": seconds,
        "added": hour["counts"]["added"],
        "replaced": hour["counts"]["replaced"],
        "photos_asked": hour["photos_asked"],
        "of_new": len(asked & new),
        "others": len(asked - new) + len(new - asked),
        "nothing_changed_s": still_s,
        "nothing_changed_photos": still["photos_asked"],
    }


def _write(path: Path, endpoint: str, rows: int, *, changed: bool) -> None:
    lines = [COLUMNS]
    for number in range(rows + (NEW if changed else 0)):
        price = 10 + number % 90 + (0.5 if changed and number % 100 == 0 else 0)
        lines.append(
            f"p{number}\tProduct {number}\thttps://shop.example/{number}"
            f"\thttp://{endpoint}/photo/{number}.jpg\tin_stock\t{price:.2f} EUR\tS-{number}"
            f"\tKind > K{number % 40}\tA plain description of product {number}, as shops write it"
        )
    path.write_text("\n".join(lines) + "\n")


def _timed(*arguments: str) -> tuple[dict[str, Any], float]:
    started = time.perf_counter()
    found = _catalens(*arguments)
    return found["runs"][0], time.perf_counter() - started


def _catalens(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tools.cli", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _counts(endpoint: str) -> dict[str, int]:
    """Requests so far by path."""
    answer = urllib3.request("GET", f"http://{endpoint}/counts", timeout=10.0)
    found: dict[str, int] = answer.json()
    return found
