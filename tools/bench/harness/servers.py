"""Service processes for benchmarks: start, readiness, core pinning, request bodies."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.core.errors import CatalensError
from indexer.core.native import usable_cores

ROOT = Path(__file__).parents[3]
STARTS_WITHIN_S = 120.0


def multipart(photo: bytes, k: int) -> tuple[bytes, str]:
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
    port = free_port()
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
            wait_until_ready(server, port)
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(server: subprocess.Popen[bytes], port: int) -> None:
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
