"""Benchmark ``traces``: photos that shoppers ask with, searched for in all that a service writes.

Photos of 5 MB go to a running service in every form of request. Meanwhile the files that its
process has open are looked into, deleted ones too; afterwards home, temporary folder and log are
searched for the photos' bytes and hashes. ``CATALENS_BENCH_PHOTOS`` sets how many; 1,000 is all of
it.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import os
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from indexer.core.errors import CatalensError
from indexer.core.home import Home
from indexer.feeds.importer import import_feed
from indexer.index_build.pipeline import BuildOptions, build_index
from indexer.model.registry import resolve
from tools.bench.harness.framework import BenchRow, Goal, figure, knob
from tools.bench.harness.servers import free_port, multipart, running, serve_arguments
from tools.output import log
from tools.sample.catalog import make_sample_catalog

PARTS = ("queries",)
# Px of a side: 3 bytes each, uncompressed, are 5 MB.
SIDE = 1300
_LOOK_S = 0.005
# Shorter files hold no photo, and none of its pixels at 64 px.
_SHORTEST = 12_000
_HEX = re.compile(rb"[0-9a-f]{64}")
_BOUNDARY = "catalens-bench-f1c2d3"

GOALS = (
    Goal("traces of query photos in files and logs", "<=", 0, figure("queries", "traces")),
    Goal("open files that held a query photo", "<=", 0, figure("queries", "open_files")),
)


@dataclass
class QueryPhotos:
    """Photos of noise, uncompressed, that all hold ``marker``: 48 bytes within a row of pixels."""

    marker: bytes = field(default_factory=lambda: os.urandom(48))
    hashes: list[str] = field(default_factory=list)

    def draw(self, side: int = SIDE) -> bytes:
        """Another photo, as a TIFF, whose pixels stand in it as they are."""
        rng = np.random.default_rng(len(self.hashes))
        marked = np.frombuffer(self.marker, np.uint8).reshape(-1, 3)
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        for row in range(0, side, side // 8):
            pixels[row, 8 : 8 + len(marked)] = marked
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "TIFF")
        data = stream.getvalue()
        self.hashes.append(hashlib.sha256(data).hexdigest())
        return data

    @property
    def patterns(self) -> list[bytes]:
        """The marker as it is, and in base64 at each place it may have in a group of three."""
        encoded = [base64.b64encode(b"\0" * start + self.marker) for start in range(3)]
        return [self.marker, *(text[8:-8] for text in encoded)]


@dataclass
class OpenFiles:
    """Looks into the files that a process has open until it is stopped. ``held``: those that held
    a photo."""

    process: int
    patterns: Sequence[bytes]
    held: set[str] = field(default_factory=set)
    looked: int = 0

    def __post_init__(self) -> None:
        self._seen: dict[tuple[str, int], tuple[int, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> OpenFiles:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            self.look()

    def look(self) -> None:
        """One look at all of them; unchanged ones are not read again."""
        folder = f"/proc/{self.process}/fd"
        try:
            names = os.listdir(folder)
        except OSError:
            return
        for name in names:
            path = f"{folder}/{name}"
            try:
                target = os.readlink(path)
                # What is in memory, a pipe or a socket has no such name.
                if not target.startswith("/") or target.startswith(("/dev/", "/memfd:", "/proc/")):
                    continue
                found = os.stat(path)
                state = (found.st_size, found.st_mtime)
                known = (target, found.st_ino)
                if found.st_size < _SHORTEST or self._seen.get(known) == state:
                    continue
                self._seen[known] = state
                data = Path(path).read_bytes()
            except OSError:
                continue
            self.looked += 1
            if any(pattern in data for pattern in self.patterns):
                self.held.add(target)


def find_files(photos: QueryPhotos, folders: Sequence[Path]) -> list[str]:
    """The files below ``folders`` that hold a photo's bytes, or its hash as text or bytes."""
    found = []
    hashes = {text.encode() for text in photos.hashes}
    raw = [bytes.fromhex(text) for text in photos.hashes]
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                continue
            data = path.read_bytes()
            if (
                any(pattern in data for pattern in photos.patterns)
                or not hashes.isdisjoint(_HEX.findall(data))
                or any(digest in data for digest in raw)
            ):
                found.append(str(path))
    return found


def measure(part: str, work: Path) -> BenchRow:
    """Ask with ``CATALENS_BENCH_PHOTOS`` photos in turn by each form, then search."""
    count = knob("PHOTOS", 1000)
    home = _home(work)
    temporary = work / "tmp"
    logs = work / "logs"
    for folder in (temporary, logs):
        folder.mkdir(parents=True)
    photos = QueryPhotos()
    port = free_port()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    statuses: dict[str, int] = {}
    with (
        (logs / "serve.log").open("wb") as stderr,
        running(
            serve_arguments(home.path, port), port, environment=environment, stderr=stderr.fileno()
        ) as server,
        OpenFiles(server.pid, photos.patterns) as watched,
    ):
        forms = list(_FORMS)
        for number in range(count):
            form = forms[number % len(forms)]
            status = _FORMS[form](port, photos.draw())
            statuses[f"{form} {status}"] = statuses.get(f"{form} {status}", 0) + 1
            if number % 100 == 99:
                log(f"bench traces: {number + 1} of {count} photos")
    wrong = {name: found for name, found in statuses.items() if not name.endswith((" 200", " cut"))}
    if wrong:
        raise CatalensError(f"photos were not answered: {wrong}")
    traces = find_files(photos, (home.path, temporary, logs))
    return {
        "recipe": f"{count} photos of noise, {SIDE} px, TIFF without compression; each form of "
        "request in turn; uploads cut off half-way among them",
        "photos": count,
        "statuses": statuses,
        "traces": len(traces),
        "where": traces,
        "open_files": len(watched.held),
        "held": sorted(watched.held),
        "looked_into": watched.looked,
    }


def _home(work: Path) -> Home:
    """A home of the drawn sample catalog, embedded by the shipped network."""
    data = make_sample_catalog(work / "sample", products=20, size=160)
    home = Home.create(work / "home")
    import_feed(home, data)
    build_index(
        home,
        bundle=resolve(home, None),
        options=BuildOptions(recaptures=False),
        activate=True,
    )
    return home


# -- forms of request


def _send(port: int, path: str, body: bytes, kind: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def _form(port: int, photo: bytes) -> int:
    body, kind = multipart(photo, 10)
    return _send(port, "/v1/search", body, kind)


def _tags(port: int, photo: bytes) -> int:
    return _send(port, "/v1/tags", *_parts({}, "image", [photo]))


def _batch(port: int, photo: bytes) -> int:
    return _send(port, "/v1/search:batch", *_parts({"k": "3"}, "images", [photo, photo]))


def _json(port: int, photo: bytes) -> int:
    document: dict[str, Any] = {"image": {"base64": base64.b64encode(photo).decode()}, "k": 10}
    return _send(port, "/v1/search", json.dumps(document).encode(), "application/json")


def _parts(fields: dict[str, str], name: str, photos: Sequence[bytes]) -> tuple[bytes, str]:
    """(body, content type) of a form with fields and photos."""
    parts = list(_part_lines(fields, name, photos))
    body = b"".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={_BOUNDARY}"


def _part_lines(fields: dict[str, str], name: str, photos: Sequence[bytes]) -> Iterator[bytes]:
    head = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; name="
    for key, value in fields.items():
        yield f'{head}"{key}"\r\n\r\n{value}\r\n'.encode()
    for photo in photos:
        yield f'{head}"{name}"; filename="p.tif"\r\nContent-Type: image/tiff\r\n\r\n'.encode()
        yield photo + b"\r\n"


def _cut(port: int, photo: bytes) -> str:
    """Half of an upload, and the connection is gone."""
    body, kind = multipart(photo, 10)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest("POST", "/v1/search")
        connection.putheader("Content-Type", kind)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        connection.send(body[: len(body) // 2])
    finally:
        connection.close()
    return "cut"


_FORMS = {"form": _form, "json": _json, "batch": _batch, "tags": _tags, "half": _cut}
