"""Latency of an uploaded photo's ``/v1/search`` over HTTP, the server on one core."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence
from pathlib import Path

from indexer.core.errors import CatalensError
from tools.bench.harness.framework import BenchRow, percentile
from tools.bench.harness.servers import multipart, one_core_server

WARM_UP = 20


def measure(
    home: Path, photos: Sequence[Path], *, products: int, requests: int = 200, k: int = 10
) -> BenchRow:
    """Upload ``requests`` photos, one after another; latencies in ms as the client sees them.

    The first ``WARM_UP`` more are not counted, and no photo is sent twice, since the service
    remembers embeddings. The server has one core to itself and the client another, where the system
    lets processes choose (``pinned`` says so). Each answer must hold ``k`` results.
    """
    different = list(dict.fromkeys(photo.read_bytes() for photo in photos))
    bodies = [multipart(data, k) for data in different[: WARM_UP + requests]]
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
