"""Benchmark ``http``: answers about an uploaded photo, beside the plain service.

``CATALENS_BENCH_PRODUCTS`` (100,000), ``_REQUESTS`` of one client (200), ``_SECONDS`` of each round
of many (12).
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from indexer.core.errors import CatalensError
from indexer.index.version import Versions
from tools.bench.data.enlarged_photos import SIZES, enlarged_all, real_photos
from tools.bench.data.generated_home import product_id
from tools.bench.data.photo_home import GeneratedShop, shop
from tools.bench.harness.framework import BenchRow, Goal, figure, knob, percentile
from tools.bench.harness.servers import Server, free_port, multipart, running, serve_arguments
from tools.doctor import installed
from tools.output import log

PARTS = ("one", "many", "by-id")
K = 10
_PHOTOS, _WARM_UP, _ROUNDS = 60, 20, 3
_CLIENTS = (2, 8, 32)  # of our own peak; the last one is the figure

GOALS = (
    Goal("one client: p50 over the plain service's", "<=", 1 / 3, figure("one", "p50_ratio")),
    Goal("one client: p50, ms", "<=", 25.0, figure("one", "p50_ms")),
    Goal("one client: p99 over p50", "<=", 3.0, figure("one", "p99_over_p50")),
    Goal("32 clients: requests/s over the plain service's", ">=", 5.0, figure("many", "ratio")),
    Goal("32 clients: requests/s over our own peak", ">=", 0.9, figure("many", "share_of_peak")),
    Goal(
        "32 clients: p99 of accepted requests over p50", "<=", 5.0, figure("many", "p99_over_p50")
    ),
    Goal(
        "search by product id: p50 over raw FAISS search, ms",
        "<=",
        2.0,
        figure("by-id", "over_raw_ms"),
    ),
)


def measure(part: str, work: Path) -> BenchRow:
    """One part, both services running beside each other and asked in turn."""
    log(f"bench http: {part}")
    made = shop(work, knob("PRODUCTS", 100_000))
    with ExitStack() as stack:
        own = stack.enter_context(own_server(made))
        if part == "by-id":
            return _by_id(made, own)
        plain = stack.enter_context(plain_server(made))
        photos = enlarged_all(real_photos(_PHOTOS), SIZES["1200 px"])
        return _one(photos, own, plain) if part == "one" else _many(photos, own, plain)


@contextmanager
def own_server(made: GeneratedShop) -> Iterator[Server]:
    """``catalens serve`` over the shop."""
    port = free_port()
    with running(serve_arguments(made.home.path, port), port, stderr=subprocess.DEVNULL) as server:
        yield server


@contextmanager
def plain_server(made: GeneratedShop) -> Iterator[Server]:
    """The plain service over the same products."""
    port = free_port()
    module = "tools.bench.peers.plain_service"
    arguments = ("-m", module, str(made.trained), str(made.facts), str(port))
    with running(arguments, port, stderr=subprocess.DEVNULL) as server:
        yield server


@dataclass
class LoadClient:
    """One connection that is kept; every photo is a new one to the service: a few bytes stand
    behind its end."""

    server: Server
    latencies_ms: list[float] = field(default_factory=list)
    refused: int = 0

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)

    def describe(self, photo: bytes) -> Any:
        """One upload; refusals (503) are counted, other failures raised."""
        body, kind = multipart(photo + os.urandom(8), K)
        return self.ask("/v1/describe", body, kind)

    def ask(self, path: str, body: bytes, kind: str) -> Any:
        started = time.perf_counter()
        self._connection.request("POST", path, body, {"Content-Type": kind})
        response = self._connection.getresponse()
        text = response.read()
        if response.status == 503:
            self.refused += 1
            return None
        if response.status != 200:
            raise CatalensError(f"{path} answered {response.status}: {text[:200]!r}")
        self.latencies_ms.append((time.perf_counter() - started) * 1000)
        answer = json.loads(text)
        if len(answer["results"]) != K:
            raise CatalensError(f"{path} gave {len(answer['results'])} results instead of {K}")
        return answer

    def counted_ms(self) -> list[float]:
        """The latencies after the warm-up."""
        return [round(ms, 3) for ms in self.latencies_ms[_WARM_UP:]]

    def close(self) -> None:
        self._connection.close()


def _one(photos: Sequence[bytes], own: Server, plain: Server) -> BenchRow:
    """Twenty requests to one, twenty to the other: threads that still spin after an answer disturb
    their own."""
    clients = {"own": LoadClient(own), "plain": LoadClient(plain)}
    timings: list[dict[str, float]] = []
    for start in range(0, _WARM_UP + knob("REQUESTS", 200), _WARM_UP):
        for name, client in clients.items():
            for number in range(start, start + _WARM_UP):
                answer = client.describe(photos[number % len(photos)])
                if name == "own":
                    timings.append(answer["timings_ms"])
    found = {name: client.counted_ms() for name, client in clients.items()}
    for client in clients.values():
        client.close()
    p50 = {name: percentile(samples, 0.5) for name, samples in found.items()}
    p99 = {name: percentile(samples, 0.99) for name, samples in found.items()}
    log(
        f"one client: p50 {p50['own']:.1f} ms, p99 {p99['own']:.1f} ms; plain {p50['plain']:.1f} "
        f"and {p99['plain']:.1f}"
    )
    stages = {}
    for name in timings[-1]:
        stages[name] = median(timing.get(name, 0.0) for timing in timings[_WARM_UP:])
    return {
        **_about(),
        "requests": len(found["own"]),
        "p50_ms": p50["own"],
        "p99_ms": p99["own"],
        "p50_ratio": p50["own"] / p50["plain"],
        "p99_over_p50": p99["own"] / p50["own"],
        "plain_p50_ms": p50["plain"],
        "plain_p99_ms": p99["plain"],
        "stages_ms": stages,
        "samples_ms": found,
    }


def _many(photos: Sequence[bytes], own: Server, plain: Server) -> BenchRow:
    """Closed loop: each of so many clients asks again as soon as it is answered."""
    rounds: list[BenchRow] = []
    for turn in range(_ROUNDS):
        for clients in _CLIENTS:
            rounds.append({"who": "own", **_load(photos, own, clients, warm=turn == 0)})
        rounds.append({"who": "plain", **_load(photos, plain, _CLIENTS[-1], warm=turn == 0)})

    def rate(who: str, clients: int) -> float:
        return median(r["per_s"] for r in rounds if r["who"] == who and r["clients"] == clients)

    peak = max(rate("own", clients) for clients in _CLIENTS)
    last = [r for r in rounds if r["who"] == "own" and r["clients"] == _CLIENTS[-1]]
    latencies = [ms for r in last for ms in r["samples_ms"]]
    return {
        **_about(),
        "per_s": rate("own", _CLIENTS[-1]),
        "plain_per_s": rate("plain", _CLIENTS[-1]),
        "ratio": rate("own", _CLIENTS[-1]) / rate("plain", _CLIENTS[-1]),
        "per_s_by_clients": {str(clients): rate("own", clients) for clients in _CLIENTS},
        "share_of_peak": rate("own", _CLIENTS[-1]) / peak,
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
        "p99_over_p50": percentile(latencies, 0.99) / percentile(latencies, 0.5),
        "refused": sum(r["refused"] for r in last),
        "rounds": rounds,
    }


def _load(photos: Sequence[bytes], server: Server, clients: int, *, warm: bool) -> BenchRow:
    """So many clients for a while; ``warm``: for two seconds first, which are not counted."""
    if warm:
        _drive(photos, server, clients, 2.0)
    seconds = float(knob("SECONDS", 12))
    made, took = _drive(photos, server, clients, seconds)
    latencies = [round(ms, 2) for client in made for ms in client.latencies_ms]
    found = {
        "clients": clients,
        "per_s": len(latencies) / took,
        "refused": sum(client.refused for client in made),
    }
    half = percentile(latencies, 0.5)
    log(f"{clients} clients: {found['per_s']:.1f}/s, p50 {half:.0f} ms, {found['refused']} refused")
    return {**found, "samples_ms": latencies}


def _drive(
    photos: Sequence[bytes], server: Server, clients: int, seconds: float
) -> tuple[list[LoadClient], float]:
    started = time.perf_counter()
    made = [LoadClient(server) for _ in range(clients)]
    failures: list[BaseException] = []

    def run(client: LoadClient, first: int) -> None:
        number = first
        try:
            while time.perf_counter() - started < seconds:
                before = client.refused
                client.describe(photos[number % len(photos)])
                number += 1
                if client.refused > before:  # as Retry-After asks, if more eagerly
                    time.sleep(0.2)
        except BaseException as error:
            failures.append(error)
        finally:
            client.close()

    threads = [
        threading.Thread(target=run, args=(client, place * 7)) for place, client in enumerate(made)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return made, time.perf_counter() - started


def _by_id(made: GeneratedShop, own: Server) -> BenchRow:
    """The same stored products over HTTP and straight from the index file, in turn."""
    active = made.home.active()
    assert active is not None
    opened = Versions(made.home).open(active.index_version, device="cpu")
    vectors = np.load(made.home.indexes / active.index_version / "vectors.npy", mmap_mode="r")
    client, raw = LoadClient(own), []
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(vectors), _WARM_UP + knob("REQUESTS", 200)):
        body = json.dumps({"product_id": product_id(int(place)), "k": K}).encode()
        client.ask("/v1/search", body, "application/json")
        query = np.asarray(vectors[place : place + 1], np.float32)
        started = time.perf_counter()
        opened.index.search(query, K)
        raw.append((time.perf_counter() - started) * 1000)
    client.close()
    found = {"http": client.latencies_ms[_WARM_UP:], "raw": raw[_WARM_UP:]}
    p50 = {name: percentile(samples, 0.5) for name, samples in found.items()}
    log(f"by id: p50 {p50['http']:.2f} ms, raw {p50['raw']:.2f} ms")
    return {
        **_about(),
        "peer": "the index of the same version, searched in this process",
        "p50_ms": p50["http"],
        "raw_p50_ms": p50["raw"],
        "over_raw_ms": p50["http"] - p50["raw"],
        "p99_ms": percentile(found["http"], 0.99),
        "samples_ms": found,
    }


def _about() -> BenchRow:
    return {
        "recipe": f"{knob('PRODUCTS', 100_000):,} products, uploads of 1200 px JPEGs no two alike, "
        f"k = {K}",
        "peer": "the plain service: Flask, Pillow, torchvision, torch eager fp32, FAISS Flat, "
        "waitress with 4 threads",
        "peer_version": installed("torch"),
    }
