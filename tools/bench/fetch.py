"""Benchmark ``fetch``: a shop's photos by URL from a server with a limit, from one with faults, and
in an hourly run.

``CATALENS_BENCH_PRODUCTS`` sets the size: 60,000 is all of it, and takes more than an hour;
``CATALENS_BENCH_ROWS`` that of the hourly run.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.fetch.state import FetchState
from tools.bench.harness.framework import BenchRow, Goal, figure, knob
from tools.bench.harness.photo_server import PhotoServerPlan, in_own_process, photo_bytes
from tools.bench.harness.servers import ROOT
from tools.bench.parts.fetch_run import FetchRun, command
from tools.bench.parts.hourly_run import measure_hour
from tools.output import log

PARTS = ("first", "all", "faults", "hourly")
PER_SECOND = 50
ANSWER_S = 0.02
PHOTOS = 3
# Products that the first search waits for, as `start` takes them.
FIRST = 500
COLUMNS = "id\ttitle\tlink\timage_link\tadditional_image_link\tavailability\tprice\tproduct_type"

GOALS = (
    Goal("first search, minutes", "<=", 5, figure("first", "minutes")),
    Goal("time until complete over URLs / 50 s", "<=", 1.15, figure("all", "ratio")),
    Goal("memory of the process, MB", "<", 600, figure("all", "peak_mb")),
    Goal("faults and a kill: good photos missing", "<=", 0, figure("faults", "missing")),
    Goal("faults and a kill: bad ones without a reason", "<=", 0, figure("faults", "unexplained")),
    Goal("hourly run, seconds", "<=", 60, figure("hourly", "seconds")),
    Goal("hourly run: photos asked but those of new products", "<=", 0, figure("hourly", "others")),
)


def measure(part: str, work: Path) -> BenchRow:
    """One part, with a home and a server of its own."""
    folder = work / f"{part}-{time.time_ns()}"
    folder.mkdir(parents=True)
    if part == "faults":
        return _faults(folder, knob("FAULTY", 300))
    if part == "hourly":
        return measure_hour(folder, knob("ROWS", 6000))
    products = knob("PRODUCTS", 6000)
    pixels = knob("PIXELS", 1200)
    plan = PhotoServerPlan(answer_s=ANSWER_S, per_second=PER_SECOND, pixels=pixels)
    with in_own_process(plan) as endpoint:
        feed = folder / "feed.tsv"
        urls = [f"http://{endpoint}/photo/{number}.jpg" for number in range(PHOTOS * products)]
        _write_feed(feed, urls)
        asked = FetchRun(
            str(folder / "home"), str(feed), endpoint, FIRST if part == "first" else None
        )
        log(f"bench fetch: {part}, {len(urls)} URLs")
        found = _run(asked)
    return {
        "recipe": f"{products} products of {PHOTOS} photos, {pixels} px; answers in "
        f"{ANSWER_S * 1000:.0f} ms, 429 above {PER_SECOND} a second; --photos forget; the server "
        "in a process of its own on the same machine",
        "peer": "the server's own limit: URLs / 50 s",
        "urls": len(urls),
        **found,
        "minutes": found["seconds"] / 60,
        "ratio": found["seconds"] / (len(urls) / PER_SECOND),
    }


def _write_feed(path: Path, urls: Sequence[str]) -> None:
    """A Google feed; ``PHOTOS`` URLs a product."""
    lines = [COLUMNS]
    for number in range(len(urls) // PHOTOS):
        first, *more = urls[PHOTOS * number : PHOTOS * (number + 1)]
        link = f"https://shop.example/{number}"
        price = f"{10 + number % 90}.00 EUR"
        lines.append(
            f"p{number}\tProduct {number}\t{link}\t{first}\t{','.join(more)}\tin_stock\t{price}"
            f"\tKind > K{number % 40}"
        )
    path.write_text("\n".join(lines) + "\n")


def _run(asked: FetchRun) -> dict[str, Any]:
    done = subprocess.run(command(asked), cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _faults(folder: Path, count: int) -> BenchRow:
    """5% 404, 5% 429, 2% slow, 2% web pages, and a kill when half of the photos are there."""
    shares = {"404": 0.05, "once": 0.04, "429": 0.01, "slow": 0.02, "html": 0.02}
    kinds = [kind for kind, share in shares.items() for _ in range(round(share * count))]
    kinds += ["photo"] * (count - len(kinds))
    plan = PhotoServerPlan(answer_s=ANSWER_S, slow_s=2.0)
    with in_own_process(plan) as endpoint:
        # Spread over the feed: 7 shares no factor with a count of hundreds.
        order = sorted(range(count), key=lambda number: number * 7919 % count)
        urls = [f"http://{endpoint}/{kinds[number]}/{number}.jpg" for number in order]
        feed = folder / "feed.tsv"
        _write_feed(feed, urls)
        backoff_s = knob("BACKOFF_MS", 1000) / 1000
        asked = FetchRun(
            str(folder / "home"), str(feed), endpoint, forget=False, backoff_s=backoff_s
        )
        started = time.perf_counter()
        killed_at = _kill_halfway(asked, count // 2)
        killed_s = time.perf_counter() - started
        found = _run(asked)
    good = {url for url in urls if url.split("/")[3] in ("photo", "once", "slow")}
    with (
        open_catalog(Home(asked.home)) as catalog,
        FetchState(Home(asked.home).fetch_file) as state,
    ):
        products = list(catalog.iterate())
        known = state.find(urls)
        held = [url for product in products for url in product.sources.values()]
        sizes = [
            row.bytes for product in products for row in map(catalog.photo, product.photos) if row
        ]
    unexplained = [url for url in set(urls) - good if not (url in known and known[url].reason)]
    expected = sum(len(photo_bytes("/" + url.split("/", 3)[3], plan.pixels)) for url in good)
    return {
        "recipe": f"{count} URLs: 5% 404, 5% 429, 2% after 2 s, 2% HTML as .jpg; kill -9 with "
        f"{killed_at} photos there, then run again",
        "urls": count,
        "killed_at": killed_at,
        "killed_s": killed_s,
        "missing": len(good - set(held)),
        "twice": len(held) - len(set(held)),
        "unexplained": len(unexplained),
        "bytes_right": sum(sizes) == expected,
        **found,
    }


def _kill_halfway(asked: FetchRun, enough: int) -> int:
    """Run until ``enough`` photos are in the home, then kill; how many there were."""
    photos = Path(asked.home) / "photos"
    with subprocess.Popen(command(asked), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        there = 0
        while process.poll() is None and there < enough:
            time.sleep(0.05)
            there = sum(1 for _ in photos.glob("??/??/*"))
        process.send_signal(signal.SIGKILL)
    return there
