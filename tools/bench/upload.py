"""How long an uploaded photo waits for ``/v1/search``: real HTTP, the server alone on one core."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from indexer.core.errors import CatalensError
from indexer.core.native import usable_cores
from tools.bench.framework import BenchRow, percentile

ROOT = Path(__file__).parents[2]
WARM_UP = 20
STARTS_WITHIN_S = 120.0


def measure(
    home: Path, photos: Sequence[Path], *, products: int, requests: int = 200, k: int = 10
) -> BenchRow:
    """Upload ``requests`` photos, one after another; latencies in ms as the client sees them.

    The first ``WARM_UP`` more are not counted, and no photo is sent twice, since the service
    remembers embeddings. The server has one core to itself and the client another, where the system
    lets processes choose (``pinned`` says so). Each answer must hold ``k`` results.
    """
    different = list(dict.fromkeys(photo.read_bytes() for photo in photos))
    bodies = [_multipart(data, k) for data in different[: WARM_UP + requests]]
    samples, inside = [], []
    with one_core_server(home) as (port, pinned):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number, (body, kind) in enumerate(bodies):
            started = time.perf_counter()
            connection.request("POST", "/v1/search", body, {"Content-Type": kind})
            response = connection.getresponse()
            answer = json.loads(response.read())
            took_ms = (time.perf_counter() - started) * 1000
            if response.status != 200 or len(answer["results"]) != k:
                raise CatalensError(f"/v1/search answered {response.status}: {str(answer)[:300]}")
            if number >= WARM_UP:
                samples.append(round(took_ms, 3))
                inside.append(answer["timings_ms"])
        connection.close()
    return {
        "recipe": f"photos one at a time, multipart to /v1/search with k={k}, {WARM_UP} first ones "
        "not counted",
        "products": products,
        "requests": len(samples),
        "pinned": pinned,
        "p50_ms": percentile(samples, 0.5),
        "p95_ms": percentile(samples, 0.95),
        "p99_ms": percentile(samples, 0.99),
        "samples_ms": samples,
        "timings_ms": inside,
        "photo_bytes_mean": sum(photo.stat().st_size for photo in photos) / len(photos),
    }


def _multipart(photo: bytes, k: int) -> tuple[bytes, str]:
    """(body, content type) of a form with the photo and ``k``."""
    mark = "catalens-bench-f1c2d3"
    head = f'--{mark}\r\nContent-Disposition: form-data; name="k"\r\n\r\n{k}\r\n'
    head += f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="photo.jpg"\r\n'
    head += "Content-Type: image/jpeg\r\n\r\n"
    return (
        head.encode() + photo + f"\r\n--{mark}--\r\n".encode(),
        f"multipart/form-data; boundary={mark}",
    )


@contextmanager
def one_core_server(home: Path) -> Iterator[tuple[int, bool]]:
    """A ``catalens serve`` process that is ready: (its port, whether it is pinned to a core that we
    leave)."""
    port = _free_port()
    command = [sys.executable, "-m", "tools.cli", "serve", "--home", str(home), "--port", str(port)]
    pin = hasattr(os, "sched_setaffinity") and usable_cores() > 1
    cores = sorted(os.sched_getaffinity(0)) if pin else []
    try:
        if pin:
            os.sched_setaffinity(0, {cores[0]})  # what we start now inherits it
        server = subprocess.Popen(
            command, cwd=ROOT, stdout=sys.stderr, env={**os.environ, "CATALENS_THREADS": "1"}
        )
        try:
            if pin:
                os.sched_setaffinity(0, set(cores[1:]))
            _wait_until_ready(server, port)
            yield port, pin
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        if pin:
            os.sched_setaffinity(0, set(cores))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise CatalensError(
                f"catalens serve ended with exit code {server.returncode}; its reason stands above"
            )
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.2)
    raise CatalensError(f"catalens serve was not ready within {STARTS_WITHIN_S:.0f} s")
