"""Benchmark ``swap``: versions and models switched under load, each answer checked."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import open_catalog
from indexer.core.errors import CatalensError
from indexer.core.home import Home
from indexer.core.sqlite import OperationalError, connect
from indexer.feeds.importer import import_feed
from indexer.index.version import Versions
from indexer.index_build.pipeline import build_index
from indexer.model.registry import pretrained
from tools.bench.harness.framework import BenchRow, Goal, figure, knob, percentile
from tools.bench.harness.servers import ROOT, free_port, multipart, wait_until_ready
from tools.output import log
from tools.sample_catalog import make_sample_catalog

PARTS = ("swaps", "model-change")
K = 10
MODELS = ("efficientnet_lite0", "efficientnet_lite1")
_EXACT, _PHOTO = (
    1e-4,
    5e-3,
)  # how far a score may be from the version's own: of a stored product, of an upload

GOALS = (
    Goal("swaps under load", ">=", 200, figure("swaps", "swaps")),
    Goal("failed swaps", "<=", 0, figure("swaps", "failed_swaps")),
    Goal("failed requests while swapping", "<=", 0, figure("swaps", "failed")),
    Goal("answers not of one version while swapping", "<=", 0, figure("swaps", "mixed")),
    Goal("failed starts after the kill", "<=", 0, figure("model-change", "failed_starts")),
    Goal("failed requests outside the kill", "<=", 0, figure("model-change", "failed")),
    Goal(
        "answers not of one version around the model change",
        "<=",
        0,
        figure("model-change", "mixed"),
    ),
)


def measure(part: str, work: Path) -> BenchRow:
    """One part; ``CATALENS_BENCH_SWAPS``, ``_CLIENTS`` and ``_PRODUCTS`` make it smaller."""
    template = _shop(work, knob("PRODUCTS", 500))
    home = Home(shutil.copytree(template, work / f"home-{part}-{time.time_ns()}"))
    try:
        row = _swaps(home) if part == "swaps" else _model_change(home)
    finally:
        shutil.rmtree(home.path)
    return {
        "recipe": "drawn sample catalog; k = 10; similar, and every fifth question an upload",
        **row,
    }


def _shop(work: Path, products: int) -> Path:
    """A home with two versions of the first model, the first one serving."""
    path = work / f"shop-{products}"
    if not (path / "CURRENT").exists():
        manifest = make_sample_catalog(work / f"catalog-{products}", products=products, size=160)
        home = Home.create(path)
        import_feed(home, manifest)
        bundle = pretrained(home, MODELS[0])
        build_index(home, bundle=bundle)
        build_index(home, bundle=bundle)
        Versions(home).activate("v000001")
    return path


class Truth:
    """What each version must answer, computed from its stored vectors alone."""

    def __init__(self, home: Home) -> None:
        self._home = home
        with open_catalog(home) as catalog:
            self.ids = {product.pid: product.product_id for product in catalog.iterate()}
            rows = {p.product_id: catalog.photo(p.photos[0]) for p in catalog.iterate()}
        store = PhotoStore(home)
        self.photos = {
            product_id: store.read(row) for product_id, row in list(rows.items())[:40] if row
        }
        self.models: dict[str, str] = {}
        self._scores: dict[str, dict[str, dict[str, float]]] = {}
        self._lock = threading.Lock()

    def _of(self, version: str) -> dict[str, dict[str, float]]:
        with self._lock:
            if version not in self._scores:
                manifest = Versions(self._home).manifest(version)
                folder = self._home.indexes / version
                pids, vectors = (
                    np.load(folder / "rows.npy")[:, 0],
                    np.load(folder / "vectors.npy").astype(np.float32),
                )
                cosines = vectors @ vectors.T
                starts = np.unique(pids, return_index=True)[1]
                best = np.maximum.reduceat(
                    np.maximum.reduceat(cosines, starts, axis=0), starts, axis=1
                )
                names = [self.ids[int(pid)] for pid in pids[starts]]
                table = [dict(zip(names, map(float, row), strict=True)) for row in best]
                self.models[version] = manifest.model_version
                self._scores[version] = dict(zip(names, table, strict=True))
            return self._scores[version]

    def fault(self, asked: str, answer: dict[str, Any], *, upload: bool) -> str | None:
        """Why an answer is not that of the version it names; None where it is."""
        version = answer["index_version"]
        expected = self._of(version)[asked]
        if answer["model_version"] != self.models[version]:
            return f"{version} with model {answer['model_version']}"
        found = {row["product_id"]: row["score"] for row in answer["results"]}
        within = _PHOTO if upload else _EXACT
        if (
            upload
        ):  # its exact vector is not known here; of the wrong model it would not find itself
            right = next(iter(found)) == asked and found[asked] > 1 - within
        else:
            others = sorted(
                (score for name, score in expected.items() if name != asked), reverse=True
            )
            right = all(abs(score - expected[name]) < within for name, score in found.items())
            right = right and min(found.values()) > others[K - 1] - within
        return None if right and len(found) == K else f"{version}: {asked} gives {found}"


@dataclass
class Load:
    """Clients that ask until they are told to stop."""

    truth: Truth
    port: int
    pause_s: float = 0.0  # between a client's questions
    latencies_ms: list[float] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[float, float, str]] = field(
        default_factory=list
    )  # began, ended (monotonic), why
    faults: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self, clients: int) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _ask(self, number: int) -> None:
        rng = np.random.default_rng(number)
        names = list(self.truth.photos)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        turn = 0
        while not self._stop.is_set():
            asked, upload = names[int(rng.integers(len(names)))], turn % 5 == 4
            turn += 1
            time.sleep(self.pause_s)
            began = time.monotonic()
            try:
                if upload:
                    body, kind = multipart(self.truth.photos[asked], K)
                    connection.request("POST", "/v1/search", body, {"Content-Type": kind})
                else:
                    connection.request("GET", f"/v1/products/{quote(asked, safe='')}/similar?k={K}")
                response = connection.getresponse()
                answer = json.loads(response.read())
                if response.status != 200:
                    raise CatalensError(f"{response.status}: {str(answer)[:300]}")
            except (OSError, http.client.HTTPException, ValueError, CatalensError) as error:
                self.failures.append((began, time.monotonic(), f"{type(error).__name__}: {error}"))
                connection.close()
                time.sleep(0.05)
                continue
            self.latencies_ms.append(round((time.monotonic() - began) * 1000, 3))
            self.versions[answer["index_version"]] += 1
            fault = self.truth.fault(asked, answer, upload=upload)
            if fault:
                self.faults.append(fault)
        connection.close()

    def row(self, quiet: tuple[float, float] | None = None) -> BenchRow:
        """The figures; failures of requests that were under way between the two times of ``quiet``
        do not count."""
        failed = [
            why
            for began, ended, why in self.failures
            if not (quiet and began < quiet[1] and ended > quiet[0])
        ]
        return {
            "requests": len(self.latencies_ms),
            "failed": len(failed),
            "failed_in_the_kill": len(self.failures) - len(failed),
            "mixed": len(self.faults),
            "answers_by_version": dict(sorted(self.versions.items())),
            "p50_ms": percentile(self.latencies_ms, 0.5),
            "p99_ms": percentile(self.latencies_ms, 0.99),
            "examples": [*failed[:3], *self.faults[:3]],
            "samples_ms": self.latencies_ms,
        }


@contextmanager
def _server(home: Home, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A ``catalens serve`` that is ready."""
    process = _process(home, "serve", "--port", str(port))
    try:
        wait_until_ready(process, port)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def _process(home: Home, *words: str, stdout: Any = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tools.cli", *words, "--home", str(home.path)]
    log = (home.path.parent / "bench-swap.log").open("ab")
    return subprocess.Popen(command, cwd=ROOT, stdout=stdout or log, stderr=log, env={**os.environ})


def _swaps(home: Home) -> BenchRow:
    """One activation after another, as soon as the last one answers, over three versions and two
    models."""
    build_index(home, bundle=pretrained(home, MODELS[1]))
    truth, port, swaps = Truth(home), free_port(), knob("SWAPS", 200)
    load, names, failed, took = Load(truth, port), Versions(home).names(), 0, []
    with _server(home, port), load.running(knob("CLIENTS", 16)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        for number in range(swaps):
            wanted = names[(number + 1) % len(names)]
            began = time.monotonic()
            connection.request("POST", f"/v1/indexes/{wanted}:activate")
            response = connection.getresponse()
            answer = json.loads(response.read())
            took.append(round((time.monotonic() - began) * 1000, 3))
            if response.status != 200 or answer["index_version"] != wanted:
                failed += 1
                log(f"swap to {wanted}: {response.status} {str(answer)[:300]}")
        connection.close()
    swap = {
        "swaps": swaps,
        "failed_swaps": failed,
        "swap_p50_ms": percentile(took, 0.5),
        "swap_samples_ms": took,
    }
    return {"clients": knob("CLIENTS", 16), **swap, **load.row()}


def _model_change(home: Home) -> BenchRow:
    """A new model embeds and builds beside the live one; server and builder are killed midway and
    started again.

    Clients pause between questions, so that the build has something left of the processor.
    """
    bundle = pretrained(home, MODELS[1])
    truth, port = Truth(home), free_port()
    load, failed_starts = Load(truth, port, pause_s=0.2), 0
    build = ("index", "build", "--model", bundle.model_version, "--activate", "--json")
    started = []

    def start(*words: str, **options: Any) -> subprocess.Popen[bytes]:
        started.append(_process(home, *words, **options))
        return started[-1]

    serve = ("serve", "--port", str(port))
    try:
        server = start(*serve)
        wait_until_ready(server, port)
        with load.running(knob("CLIENTS", 16)):
            builder = start(*build)
            _wait_for_embeddings(home, bundle.embedding_id, len(truth.ids) // 4, builder)
            killed = time.monotonic()
            for process in (builder, server):
                process.kill()
                process.wait()
            try:
                wait_until_ready(start(*serve), port)
            except CatalensError as error:
                failed_starts += 1
                log(str(error))
            ready = time.monotonic()
            builder = start(*build, stdout=subprocess.PIPE)
            report = json.loads(builder.communicate()[0] or b"{}")
            if builder.returncode:
                raise CatalensError(f"the build failed; see {home.path.parent / 'bench-swap.log'}")
            until = time.monotonic() + 30
            while not load.versions[report["version"]] and time.monotonic() < until:
                time.sleep(0.1)
            time.sleep(2)
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait()
    return {
        "clients": knob("CLIENTS", 16),
        "failed_starts": failed_starts,
        "reused_after_the_kill": report["reused"],
        "embedded_after_the_kill": report["embedded"],
        "answered_by_the_new_model": load.versions[report["version"]],
        "down_s": round(ready - killed, 2),
        "estimated": report["estimated"],
        "took_s": report["seconds"],
        **load.row((killed, ready)),
    }


def _wait_for_embeddings(
    home: Home, embedding_id: str, count: int, builder: subprocess.Popen[bytes]
) -> None:
    path = home.embeddings / f"{embedding_id}.sqlite3"
    until = time.monotonic() + 600
    while time.monotonic() < until and builder.poll() is None:
        if path.exists():
            try:
                with closing(connect(path, timeout=30)) as connection:
                    if connection.execute("SELECT count(*) FROM vectors").fetchone()[0] >= count:
                        return
            except OperationalError:
                pass  # being made
        time.sleep(0.1)
    raise CatalensError(
        "the build ended, or took too long, before it could be killed midway: take more products"
    )
