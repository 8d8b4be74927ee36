"""Benchmark ``startup``: time of help and of a start, memory at 100,000 products.

``CATALENS_BENCH_PRODUCTS`` (100,000) and ``CATALENS_BENCH_SOAK_S`` (600), seconds of the soak.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import mean, median

from tools.bench.data.enlarged_photos import SIZES, enlarged_all, real_photos
from tools.bench.data.photo_home import GeneratedShop, shop
from tools.bench.harness.framework import BenchRow, Goal, figure, knob
from tools.bench.harness.servers import ROOT
from tools.bench.http import LoadClient, Server, own_server, plain_server
from tools.output import log

PARTS = ("help", "start", "soak")
_HELPS, _STARTS, _ASKED, _CLIENTS, _EVERY_S = 10, 5, 100, 4, 5.0

GOALS = (
    Goal("catalens --help, seconds", "<", 2.0, figure("help", "seconds")),
    Goal("process start to ready, seconds", "<=", 5.0, figure("start", "seconds")),
    Goal("memory of the service, MB", "<=", 900.0, figure("soak", "most_mb")),
    Goal("memory at the end of the soak over its middle", "<=", 1.03, figure("soak", "growth")),
)


def measure(part: str, work: Path) -> BenchRow:
    """Starts in turn, medians; or memory while four clients ask for ten minutes."""
    log(f"bench startup: {part}")
    if part == "help":
        return _help()
    made = shop(work, knob("PRODUCTS", 100_000))
    about = {
        "recipe": f"{knob('PRODUCTS', 100_000):,} products",
        "peer": "the plain service of bench http",
    }
    return {**about, **(_start(made) if part == "start" else _soak(made))}


def _help() -> BenchRow:
    """The command line's help beside a Python that does nothing, in turn; medians."""
    ways = {"help": ["-m", "tools.cli", "--help"], "python": ["-c", "pass"]}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_HELPS):
        for name, arguments in ways.items():
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=True
            )
            seconds[name].append(time.perf_counter() - started)
    return {
        "recipe": f"catalens --help and python -c pass, {_HELPS} times each, in turn",
        "seconds": median(seconds["help"]),
        "python_seconds": median(seconds["python"]),
        "samples": seconds,
    }


def _start(made: GeneratedShop) -> BenchRow:
    ways: dict[str, Callable[[GeneratedShop], AbstractContextManager[Server]]] = {
        "own": own_server,
        "plain": plain_server,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    memory: dict[str, list[float]] = {name: [] for name in ways}
    photos = enlarged_all(real_photos(10), SIZES["1200 px"])
    for _ in range(_STARTS):
        for name, way in ways.items():
            with way(made) as server:
                seconds[name].append(server.seconds)
                client = LoadClient(server)
                for number in range(_ASKED):
                    client.describe(photos[number % len(photos)])
                client.close()
                memory[name].append(server.rss_mb())
        log(f"ready after {seconds['own'][-1]:.1f} s, plain {seconds['plain'][-1]:.1f} s")
    return {
        "seconds": median(seconds["own"]),
        "plain_seconds": median(seconds["plain"]),
        "mb": median(memory["own"]),
        "plain_mb": median(memory["plain"]),
        "samples": {"seconds": seconds, "mb": memory},
    }


def _soak(made: GeneratedShop) -> BenchRow:
    lasts = float(knob("SOAK_S", 600))
    photos = enlarged_all(real_photos(30), SIZES["1200 px"])
    samples: list[tuple[float, float]] = []
    with own_server(made) as server:
        started = time.perf_counter()

        def ask(first: int) -> None:
            client, number = LoadClient(server), first
            while time.perf_counter() - started < lasts:
                client.describe(photos[number % len(photos)])
                client.latencies_ms.clear()
                number += 1
                asked[first] += 1
            client.close()

        asked = [0] * _CLIENTS
        threads = [threading.Thread(target=ask, args=(place,)) for place in range(_CLIENTS)]
        for thread in threads:
            thread.start()
        while time.perf_counter() - started < lasts:
            time.sleep(min(_EVERY_S, lasts / 20))
            samples.append((round(time.perf_counter() - started, 1), server.rss_mb()))
        for thread in threads:
            thread.join()
    third = max(len(samples) // 3, 1)
    middle = mean(mb for _, mb in samples[third : 2 * third] or samples)
    end = mean(mb for _, mb in samples[-third:])
    return {
        "seconds": lasts,
        "requests": sum(asked),
        "most_mb": max(mb for _, mb in samples),
        "middle_mb": middle,
        "end_mb": end,
        "growth": end / middle,
        "samples_mb": samples,
    }
