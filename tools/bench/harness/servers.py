"""Service processes for benchmarks: start, readiness, core pinning, request bodies."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from indexer.core.container import usable_cores
from indexer.core.errors import CatalensError

ROOT = Path(__file__).parents[3]
STARTS_WITHIN_S = 120.0


@dataclass(frozen=True)
class Server:
    """A running service; ``seconds`` from the start of its process to ready."""

    port: int
    pid: int
    seconds: float

    def rss_mb(self) -> float:
        """Resident memory in MB (10^6 bytes), mapped files included."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6

    def cpu_s(self) -> float:
        """Processor time of all its threads so far, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(
    arguments: Sequence[str],
    port: int,
    *,
    root: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    core: int | None = None,
    poll_s: float = 0.2,
    stderr: int | None = None,
) -> Iterator[Server]:
    """A Python process with ``arguments``, ready on ``port``, on ``core`` alone unless it is None.

    Stopped by SIGTERM afterwards. Raises ``CatalensError`` where it ends or is not ready in time.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=root, env=environment, stdout=sys.stderr, stderr=stderr
    )
    try:
        if core is not None:
            # Before the process has threads: they inherit it.
            os.sched_setaffinity(process.pid, {core})
        wait_until_ready(process, port, poll_s)
        yield Server(port, process.pid, time.perf_counter() - started)
    finally:
        stop(process)


def serve_arguments(home: Path, port: int) -> tuple[str, ...]:
    """``catalens serve`` as arguments of Python."""
    return ("-m", "tools.cli", "serve", "--home", str(home), "--port", str(port))


@contextmanager
def one_core_server(home: Path) -> Iterator[tuple[int, bool]]:
    """``catalens serve`` with one thread, ready: (its port, whether it has a core to itself)."""
    port, environment = free_port(), {**os.environ, "CATALENS_THREADS": "1"}
    arguments = serve_arguments(home, port)
    with core_apart() as core, running(arguments, port, environment=environment, core=core):
        yield port, core is not None


@contextmanager
def core_apart() -> Iterator[int | None]:
    """A core for the services that are measured, which this process leaves meanwhile.

    None where there is one core only, or the system does not let processes choose.
    """
    if not hasattr(os, "sched_setaffinity") or usable_cores() < 2:
        yield None
        return
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(cores[1:]))
    try:
        yield cores[0]
    finally:
        os.sched_setaffinity(0, set(cores))


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process: SIGTERM, after 20 seconds SIGKILL."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A loopback port that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(process: subprocess.Popen[bytes], port: int, poll_s: float = 0.2) -> None:
    """Return when ``/readyz`` answers 200. Raises ``CatalensError``."""
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CatalensError(
                f"the service ended with exit code {process.returncode}; its reason stands above"
            )
        if _is_ready(port):
            return
        time.sleep(poll_s)
    raise CatalensError(f"the service was not ready within {STARTS_WITHIN_S:.0f} s")


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


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
