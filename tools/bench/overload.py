"""Benchmark ``overload``: three times what the service can do, and connections that say nothing.

The peer is the service's own peak. ``CATALENS_BENCH_SECONDS`` (10; the figure: 180),
``_PRODUCTS`` (300), ``_SILENT`` connections (1,000).
"""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

from indexer.core.container import usable_cores
from indexer.core.home import Home
from indexer.feeds.importer import import_feed
from indexer.index_build.pipeline import build_index
from indexer.model.open_runtime import expected_engine
from indexer.model.registry import pretrained
from service.settings import Settings
from tools.bench.data.enlarged_photos import SIZES, enlarged_all, real_photos
from tools.bench.harness.framework import BenchRow, Goal, figure, knob, percentile
from tools.bench.harness.servers import ROOT, Server, free_port, running, serve_arguments
from tools.bench.parts.open_loop import NICE
from tools.output import log

PARTS = ("load", "silent")
_CLIENTS = (4, 8, 16)  # of the peak
_PROBE_EVERY_S = 0.05
_PHOTOS = 40

GOALS = (
    Goal(
        "3x load: p99 of accepted over min(deadline, 3 x p99 at 90% load)",
        "<=",
        1.0,
        figure("load", "p99_ratio"),
    ),
    Goal("3x load: accepted/s over own peak", ">=", 0.9, figure("load", "share_of_peak")),
    Goal("3x load: /livez within 100 ms, share", ">=", 0.999, figure("load", "livez_in_time")),
    Goal("3x load: /livez, longest, ms", "<=", 1000.0, figure("load", "livez_most_ms")),
    Goal(
        "1,000 silent: /livez within 100 ms, share", ">=", 0.999, figure("silent", "livez_in_time")
    ),
    Goal("1,000 silent: /livez, longest, ms", "<=", 1000.0, figure("silent", "livez_most_ms")),
    Goal("1,000 silent: uploads that failed", "<=", 0, figure("silent", "failed")),
)


def measure(part: str, work: Path) -> BenchRow:
    """One part, over a home of real photos."""
    log(f"bench overload: {part}")
    home, photos = _home(work), _photos(work)
    port = free_port()
    with running(serve_arguments(home, port), port, stderr=subprocess.DEVNULL) as server:
        _drive(server, photos, f"c{_CLIENTS[0]}", 3.0)  # warm
        row = _load(server, photos) if part == "load" else _silent(server, photos)
    row["engine"] = expected_engine(pretrained(Home(home)), "cpu")
    return {
        "recipe": f"{knob('PRODUCTS', 300)} products, POST /v1/search with 1200 px JPEGs no two "
        f"alike, by a process at nice {NICE}; /livez each {_PROBE_EVERY_S} s on a new connection",
        "peer": "the same service at its peak",
        "peer_version": "this commit",
        **row,
    }


class LivenessProbe(threading.Thread):
    """Asks ``/livez`` on new connections, as an orchestrator does."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._ended = threading.Event()
        self.samples_ms: list[float] = []

    def run(self) -> None:
        while not self._ended.wait(_PROBE_EVERY_S):
            started = time.perf_counter()
            answered = False
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 10) as one:
                one.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                answered = one.recv(65536).startswith(b"HTTP/1.1 200")
            took = 1000 * (time.perf_counter() - started)
            self.samples_ms.append(round(took, 2) if answered else 10_000.0)

    def row(self) -> BenchRow:
        """End, and tell."""
        self._ended.set()
        self.join()
        quick = sum(ms < 100 for ms in self.samples_ms)
        log(f"/livez: {quick} of {len(self.samples_ms)}, longest {max(self.samples_ms):.0f} ms")
        return {
            "livez_in_time": quick / len(self.samples_ms),
            "livez_most_ms": max(self.samples_ms),
            "livez_ms": self.samples_ms,
        }


def _load(server: Server, photos: Path) -> BenchRow:
    seconds = float(knob("SECONDS", 10))
    peaks = {}
    for clients in _CLIENTS:
        found = [_drive(server, photos, f"c{clients}", max(4.0, seconds / 6)) for _ in range(2)]
        peaks[str(clients)] = median(len(accepted_ms(row)) / row["seconds"] for row in found)
    peak = max(peaks.values())
    log(f"peak {peak:.1f}/s")
    near_from_s = server.cpu_s()
    near = _drive(server, photos, str(0.9 * peak), seconds)
    near_s = server.cpu_s() - near_from_s
    probe = LivenessProbe(server.port)
    probe.start()
    over_from_s = server.cpu_s()
    over = _drive(server, photos, str(3 * peak), seconds)
    over_s = server.cpu_s() - over_from_s
    livez = probe.row()
    p99 = {
        name: percentile(accepted_ms(row), 0.99) for name, row in (("near", near), ("over", over))
    }
    bound = min(1000 * Settings.model_fields["deadline_s"].default, 3 * p99["near"])
    per_s = len(accepted_ms(over)) / seconds
    statuses = Counter(str(status) for _, status in over["answers"])
    log(
        f"3x: {per_s:.1f}/s accepted, p99 {p99['over']:.0f} ms (90%: {p99['near']:.0f}), {statuses}"
    )
    return {
        **_processor_time(near, near_s, over, over_s),
        "peak_per_s": peak,
        "peaks_per_s": peaks,
        "accepted_per_s": per_s,
        "share_of_peak": per_s / peak,
        "p99_ms": p99["over"],
        "p99_at_90_ms": p99["near"],
        "p99_ratio": p99["over"] / bound,
        "statuses": statuses,
        **livez,
        "samples": {"near": near["answers"], "over": over["answers"]},
    }


def _processor_time(near: BenchRow, near_s: float, over: BenchRow, over_s: float) -> BenchRow:
    """Who used the processors: the service for an accepted upload (at 90% load) and for a refused
    one (what 3x load took beyond its accepted ones), and the process that asks.

    ``ideal_share``: of the peak, what a service would accept at 3x load that refuses for nothing;
    the rest is what the asking alone takes from it.
    """
    accepted_s = near_s / max(1, len(accepted_ms(near)))
    accepted = len(accepted_ms(over))
    refused = len(over["answers"]) - accepted
    asking = over["cpu_s"] / over["seconds"] - near["cpu_s"] / near["seconds"] / 0.9
    row = {
        "cpu_ms_accepted": 1000 * accepted_s,
        "cpu_ms_refused": 1000 * max(0.0, over_s - accepted * accepted_s) / refused
        if refused
        else 0.0,
        "generator_cpu_s": over["cpu_s"],
        "ideal_share": 1 - max(0.0, asking) / usable_cores(),
    }
    log(", ".join(f"{name} {value:.3f}" for name, value in row.items()))
    return row


def _silent(server: Server, photos: Path) -> BenchRow:
    """Connections of one peer that send half a head, and a byte now and then."""
    count, seconds = knob("SILENT", 1000), float(knob("SECONDS", 10))
    probe = LivenessProbe(server.port)
    probe.start()
    with _connections(server.port, count):
        asked = _drive(server, photos, "2", seconds)
    statuses = Counter(str(status) for _, status in asked["answers"])
    return {
        "connections": count,
        "statuses": statuses,
        "failed": sum(statuses.values()) - statuses["200"],
        **probe.row(),
        "samples": asked["answers"],
    }


@contextmanager
def _connections(port: int, count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count + 200), hard), hard))
    held: list[socket.socket] = []
    ended = threading.Event()

    def trickle() -> None:
        while not ended.wait(1.0):
            for connection in held:
                with suppress(OSError):
                    connection.send(b"a")

    try:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port), 10)
            connection.sendall(b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
            held.append(connection)
        threading.Thread(target=trickle, daemon=True).start()
        yield
    finally:
        ended.set()
        for connection in held:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _drive(server: Server, photos: Path, rate: str, seconds: float) -> BenchRow:
    module = "tools.bench.parts.open_loop"
    done = subprocess.run(
        [sys.executable, "-m", module, str(server.port), str(photos), rate, str(seconds)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    row: BenchRow = json.loads(done.stdout)
    return row


def accepted_ms(row: BenchRow) -> list[float]:
    """Milliseconds of the uploads that were answered with products."""
    return [ms for ms, status in row["answers"] if status == 200]


def _photos(work: Path) -> Path:
    folder = work / "overload-photos"
    if not folder.exists():
        made = enlarged_all(real_photos(_PHOTOS), SIZES["1200 px"])
        folder.mkdir()
        for number, photo in enumerate(made):
            (folder / f"{number:03}.jpg").write_bytes(photo)
    return folder


def _home(work: Path) -> Path:
    """A home of small real photos under the shipped network."""
    folder = work / "overload-home"
    if not (folder / "CURRENT").exists():
        data = work / "overload-data"
        data.mkdir(exist_ok=True)
        for number, photo in enumerate(real_photos(knob("PRODUCTS", 300), seed=1)):
            (data / f"{number}.jpg").write_bytes(photo.read_bytes())
        home = Home.create(folder)
        import_feed(home, data)
        build_index(home, bundle=pretrained(home), activate=True)
    return folder
