"""Photo server on loopback for tests and benchmarks: photos made on the fly, failures by path.

``/photo/12.jpg`` is a photo; ``/404/``, ``/403/``, ``/500/`` and ``/429/`` answer so for ever,
``/once/`` with 429 at first; ``/slow/`` late, ``/html/`` with a web page, ``/svg/`` with a drawing,
``/to/?http://...`` with a redirect, ``/counts`` with the number of requests for each path.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from PIL import Image, ImageDraw

_ROOT = Path(__file__).parents[3]
# Drawings; each URL's bytes differ from all others' by a comment.
_DRAWINGS = 48
_PAGE = b"<!DOCTYPE html><html><body>Please enable cookies</body></html>"
_DRAWING = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
_STATUSES = {"404": 404, "403": 403, "410": 410, "500": 500, "429": 429}


@dataclass(frozen=True)
class PhotoServerPlan:
    """How the server answers: seconds until an answer, answers a second above which it says 429."""

    answer_s: float = 0.0
    slow_s: float = 1.0
    per_second: int | None = None
    pixels: int = 64


class PhotoServer(ThreadingHTTPServer):
    """The server; ``url("photo", 12)`` names a photo. Serve it by ``running``."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, plan: PhotoServerPlan, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.plan = plan
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()
        self._accepted: deque[float] = deque()

    @property
    def endpoint(self) -> str:
        """ "host:port", as ``fetch_private`` names it."""
        return f"127.0.0.1:{self.server_address[1]}"

    def url(self, kind: str, number: int) -> str:
        """A URL that is answered as ``kind``."""
        return f"http://{self.endpoint}/{kind}/{number}.jpg"

    def admits(self) -> bool:
        """Whether this request is within the allowed rate: by the last second, as it slides."""
        limit = self.plan.per_second
        if limit is None:
            return True
        now = time.monotonic()
        with self.lock:
            while self._accepted and self._accepted[0] <= now - 1.0:
                self._accepted.popleft()
            if len(self._accepted) >= limit:
                return False
            self._accepted.append(now)
            return True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: PhotoServer

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        kind = path.split("/")[1]
        if kind == "counts":
            with self.server.lock:
                body = json.dumps(self.server.counts).encode()
            return self._send(200, body)
        with self.server.lock:
            self.server.counts[path] += 1
            before = self.server.counts[path]
        plan = self.server.plan
        if not self.server.admits():
            return self._send(429, b"slower, please")
        time.sleep(plan.slow_s if kind == "slow" else plan.answer_s)
        if kind in _STATUSES:
            return self._send(_STATUSES[kind], b"no")
        if kind == "once" and before == 1:
            return self._send(429, b"later", {"Retry-After": "0"})
        if kind in ("html", "svg"):
            return self._send(200, _PAGE if kind == "html" else _DRAWING)
        if kind == "to":
            return self._send(302, b"", {"Location": unquote(query)})
        etag = f'"{hashlib.sha256(path.encode()).hexdigest()[:16]}"'
        if self.headers.get("If-None-Match") == etag:
            return self._send(304, b"", {"ETag": etag})
        self._send(200, photo_bytes(path, plan.pixels), {"ETag": etag})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def photo_bytes(name: str, pixels: int) -> bytes:
    """The JPEG of a name: one of a few drawings, and a comment that makes it its own."""
    digest = hashlib.sha256(name.encode()).digest()
    drawing = _drawing(digest[0] % _DRAWINGS, pixels)
    comment = b"\xff\xfe\x00\x22" + digest
    return drawing[:2] + comment + drawing[2:]


@lru_cache(maxsize=256)
def _drawing(number: int, pixels: int) -> bytes:
    image = Image.new("RGB", (pixels, pixels), "white")
    draw = ImageDraw.Draw(image)
    for part in range(9):
        left, top = (number * 7 + part * 31) % 60, (number * 13 + part * 17) % 60
        box = [left * pixels / 100, top * pixels / 100, (left + 38) * pixels / 100]
        color = ((number * 37 + part * 59) % 256, (part * 83) % 256, (number * 91) % 256)
        draw.ellipse([*box, (top + 33) * pixels / 100], fill=color)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


@contextmanager
def running(plan: PhotoServerPlan | None = None) -> Iterator[PhotoServer]:
    """A server in a thread of this process."""
    with PhotoServer(plan or PhotoServerPlan()) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def in_own_process(plan: PhotoServerPlan) -> Iterator[str]:
    """A server in a process of its own: yields its "host:port". It ends with this one."""
    command = [sys.executable, "-m", "tools.bench.harness.photo_server"]
    for name, value in vars(plan).items():
        if value is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.terminate()


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--answer-s", type=float, default=0.0)
    parser.add_argument("--slow-s", type=float, default=1.0)
    parser.add_argument("--per-second", type=int)
    parser.add_argument("--pixels", type=int, default=64)
    plan = PhotoServerPlan(**vars(parser.parse_args()))
    for number in range(_DRAWINGS):
        _drawing(number, plan.pixels)
    with running(plan) as server:
        print(server.endpoint, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
