"""A service that is killed at a step that writes, its clients, and what they were told.

Used by ``test_service_kills.py``. Every product is of one generation: its title, photo, price and
attribute say which, so that an answer made of two is seen.
"""

from __future__ import annotations

import base64
import collections
import csv
import http.client
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from indexer.core.atomic_files import write_atomic
from indexer.imaging.decode import hash_content

ROOT = Path(__file__).parents[2]
PHOTO_COUNT, SYNCED, WRITERS, OWNED = 12, 6, 3, 3
WORKERS = ("jobs", "compaction", "erasure", "sync")
# What is written for a product; a dictionary as ``GET`` shows it, None: it is not there.
State = dict[str, Any] | None

# Loaded by every Python process below the service: counts the steps that write, from the moment a
# file says so, and kills at the n-th of the process that is meant.
HOOK = """
import itertools, os, signal, sys
_armed, _role, _at, _whom = os.environ["CATALENS_LIVE_KILL"].split("|")
_is = sys.orig_argv[2].rpartition(".")[2] if sys.orig_argv[1] == "-m" else "service"
_steps = itertools.count(1)

def _kill():
    if _whom == "group":
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getppid() if _whom == "parent" else os.getpid(), signal.SIGKILL)

def _hooked(original):
    def step(*arguments, **options):
        if os.path.exists(_armed) and next(_steps) == int(_at):
            _kill()
        return original(*arguments, **options)
    return step

if _is == _role:
    for _name in ("fsync", "replace", "rename", "unlink", "rmdir"):
        setattr(os, _name, _hooked(getattr(os, _name)))
"""

# Reads what is to be started, a line each, and prints the process number.
FORGE = """
import json, os, signal, sys
import tools.cli, tools.commands.serve, service.app
import service.engine, indexer.model.open_runtime, indexer.index.version, timm
from indexer.core.native import faiss, torch
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    asked = json.loads(line)
    number = os.fork()
    if not number:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.environ.update(asked["env"])
        for name, handle in ((asked["said"], 1), (asked["log"], 2)):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), handle)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        exec(asked["hook"], {})
        sys.argv[1:] = asked["arguments"]
        tools.cli.main()
    print(number, flush=True)
"""


def draw(number: int) -> bytes:
    """A photo of its own for each number: PNG, 24 x 24."""
    pixels = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((24, 24), Image.Resampling.BILINEAR).save(stream, "PNG")
    return stream.getvalue()


PHOTOS = [draw(number) for number in range(PHOTO_COUNT)]
NUMBER = {hash_content(photo): number for number, photo in enumerate(PHOTOS)}


def photo_of(product_id: str, generation: int) -> int:
    """Which photo a product has in a generation."""
    return (sum(product_id.encode()) + generation) % PHOTO_COUNT


def state_of(product_id: str, put: int, patch: int) -> dict[str, Any]:
    """A product written whole in generation ``put`` and changed in ``patch``."""
    return {
        "title": f"g{put}",
        "photo": photo_of(product_id, put),
        "price": float(patch),
        "generation": patch,
    }


def as_sent(product_id: str, generation: int) -> dict[str, Any]:
    """The body of the ``PUT``."""
    photo = PHOTOS[photo_of(product_id, generation)]
    return {
        "title": f"g{generation}",
        "price": generation,
        "attributes": {"generation": generation},
        "images": [{"base64": base64.b64encode(photo).decode()}],
    }


def path_of(product_id: str) -> str:
    return f"/v1/products/{quote(product_id, safe='')}"


@dataclass
class Told:
    """What the clients were told over all lives of the service, and what was on its way."""

    products: dict[str, State] = field(default_factory=dict)
    on_way: dict[str, State] = field(default_factory=dict)  # sent, not answered
    pairs: list[tuple[str, str]] = field(default_factory=list)  # on their way in one batch
    sequence: int = 0
    jobs: dict[str, tuple[int, list[str]]] = field(default_factory=dict)  # life, products
    imports: list[list[str]] = field(default_factory=list)  # products of imports without an answer
    reviews: dict[str, str | None] = field(default_factory=dict)  # name -> decision
    deciding: dict[str, str] = field(default_factory=dict)
    activated: str | None = None
    feeds: list[tuple[float, int]] = field(default_factory=list)  # since when, generation
    answers: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    generation: int = 0
    life: int = 0

    def next(self) -> int:
        with self.lock:
            self.generation += 1
            return self.generation

    def note(self, outcome: str) -> None:
        with self.lock:
            self.counts[outcome] += 1


class Ended(Exception):
    """The service is gone."""


class Client:
    """Asks over one connection; raises ``Ended`` where nobody answers."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def __call__(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"Content-Type": "application/json", **(headers or {})}
        try:
            self._connection.request(method, path, sent, given)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Ended from error
        return response.status, json.loads(text)


class Part(threading.Thread):
    """One client's work, again and again until nobody answers."""

    def __init__(self, port: int, told: Told, number: int = 0) -> None:
        super().__init__(daemon=True)
        self.ask = Client(port)
        self.told = told
        self.number = number
        self.rng = random.Random(f"{told.life} {number} {type(self).__name__}")
        self.quiet = threading.Event()

    def run(self) -> None:
        try:
            while not self.quiet.is_set():
                self.step()
        except Ended:
            return
        except Exception as error:
            self.told.wrong.append(f"{type(self).__name__}: {error!r}")

    def step(self) -> None:
        raise NotImplementedError


class WriterPart(Part):
    """PUT, PATCH, DELETE and batches of products that nobody else writes."""

    deletes = True

    def step(self) -> None:
        told, mine = self.told, [f"w{self.number}/{i}" for i in range(OWNED)]
        product_id, generation = self.rng.choice(mine), told.next()
        known = told.products.get(product_id)
        kind = self.rng.choice(["put", "put", "patch", "delete", "batch"])
        if kind == "batch":
            self._batch(self.rng.sample(mine, 2), generation)
        elif kind == "patch" and known is not None:
            new = state_of(product_id, int(known["title"][1:]), generation)
            change = {"price": generation, "attributes": {"generation": generation}}
            self._write("PATCH", product_id, change, new)
        elif kind == "delete" and known is not None and self.deletes:
            self._write("DELETE", product_id, None, None)
        else:
            body = as_sent(product_id, generation)
            self._write("PUT", product_id, body, state_of(product_id, generation, generation))

    def _write(self, method: str, product_id: str, body: Any, new: State) -> None:
        self.told.on_way[product_id] = new
        status, answer = self.ask(method, path_of(product_id), body)
        if status == 200:
            self._acknowledged([product_id], answer["sequence"])
        else:
            self._refused(f"{method} {status}", answer)

    def _batch(self, both: list[str], generation: int) -> None:
        told = self.told
        items = [{"op": "put", "product_id": name, **as_sent(name, generation)} for name in both]
        with told.lock:
            told.pairs.append((both[0], both[1]))
        for name in both:
            told.on_way[name] = state_of(name, generation, generation)
        status, answer = self.ask("POST", "/v1/products:batch", {"items": items})
        if status == 200:
            self._acknowledged(both, max(item["sequence"] for item in answer["results"]))
        else:
            self._refused(f"batch {status}", answer)
        with told.lock:
            told.pairs.remove((both[0], both[1]))

    def _acknowledged(self, names: list[str], sequence: int) -> None:
        told = self.told
        with told.lock:
            for name in names:
                told.products[name] = told.on_way.pop(name)
            told.sequence = max(told.sequence, sequence)
            told.counts["writes"] += 1
        if self.rng.random() < 0.3:
            self._look_for(names[0], sequence)

    def _look_for(self, name: str, sequence: int) -> None:
        """The next search sees the write."""
        status, answer = self.ask("POST", "/v1/search", question(0, min_sequence=sequence))
        if status != 200:
            self._refused(f"search {status}", answer)
            return
        rows = {row["product_id"]: row for row in answer["results"]}
        known = self.told.products[name]
        shown = shown_state(rows[name]) if name in rows else None
        if shown != known:
            self.told.wrong.append(f"{name}: {known} was written, {shown} found")

    def _refused(self, what: str, answer: Any) -> None:
        if str(answer.get("code")) in ("busy", "overloaded", "deadline-exceeded"):
            self.told.note(f"refused {what}")
        else:
            self.told.wrong.append(f"{what}: {answer}")


class KeepingWriter(WriterPart):
    """A writer that deletes nothing, so that nothing is erased."""

    deletes = False


class SearchPart(Part):
    """Searches; all answers are kept for the oracle."""

    def step(self) -> None:
        number = self.rng.randrange(PHOTO_COUNT)
        status, answer = self.ask("POST", "/v1/search", question(number))
        if status == 200:
            self.told.answers.append({**answer, "asked": number})
            self.told.note("searches")
        elif answer["code"] not in ("overloaded", "deadline-exceeded", "busy"):
            self.told.wrong.append(f"search: {answer}")


class JobPart(Part):
    """Imports of archives and builds of both models."""

    models: tuple[str, ...] = ()

    def step(self) -> None:
        names: list[str] = []
        if self.rng.random() < 0.6:
            names = [f"job{self.told.next()}-{i}" for i in range(3)]
            self.told.imports.append(names)
            status, answer = self.ask("POST", "/v1/imports", *self._form(names))
            self.told.imports.remove(names)
        else:
            wanted = {"model": self.rng.choice(self.models), "activate": self.rng.random() < 0.7}
            status, answer = self.ask("POST", "/v1/indexes", wanted)
        if status == 202:
            self.told.jobs[answer["job_id"]] = (self.told.life, names)
            self.told.note("jobs")
        elif answer["code"] != "overloaded":
            self.told.wrong.append(f"job: {status} {answer}")
        self.quiet.wait(self.rng.uniform(0.05, 0.6))

    def _form(self, names: list[str]) -> tuple[bytes, dict[str, str]]:
        stream, table = io.BytesIO(), io.StringIO()
        rows = csv.writer(table)
        rows.writerow(["product_id", "image", "title", "price", "generation"])
        with zipfile.ZipFile(stream, "w") as archive:
            for name in names:
                archive.writestr(f"{name}.png", PHOTOS[photo_of(name, 1)])
                rows.writerow([name, f"{name}.png", "g1", 1, 1])
            archive.writestr("products.csv", table.getvalue())
        head = 'Content-Disposition: form-data; name="archive"; filename="feed.zip"'
        body = b"--edge\r\n" + head.encode() + b"\r\n\r\n" + stream.getvalue() + b"\r\n--edge--\r\n"
        return body, {"Content-Type": "multipart/form-data; boundary=edge"}


class ReviewPart(Part):
    """Decisions about reviews that wait, and new listings that a person must look at."""

    def step(self) -> None:
        told = self.told
        waiting = [name for name, decision in told.reviews.items() if decision is None]
        if self.rng.random() < 0.3 or not waiting:
            image = {"base64": base64.b64encode(self.rng.choice(PHOTOS)).decode()}
            status, answer = self.ask("POST", "/v1/review", {"image": image})
            if status == 200 and answer["review_id"]:
                told.reviews[answer["review_id"]] = None
                told.note("reviews")
            elif status == 200 or answer["code"] not in ("overloaded", "deadline-exceeded"):
                told.wrong.append(f"review: {status} {answer}")
            return
        name = self.rng.choice(waiting)
        decision = self.rng.choice(["approve", "reject"])
        told.deciding[name] = decision
        wanted = {"decision": decision, "reason": f"because {decision}"}
        status, answer = self.ask("POST", f"/v1/reviews/{name}:decide", wanted)
        if status == 200:
            told.reviews[name] = told.deciding.pop(name)
            told.note("decisions")
        elif answer["code"] != "busy":
            told.wrong.append(f"decide: {status} {answer}")
        self.quiet.wait(0.02)


class SwitchPart(Part):
    """Activations and roll-backs."""

    def step(self) -> None:
        status, answer = self.ask("GET", "/v1/indexes")
        names = [row["version"] for row in answer["indexes"]]
        if self.rng.random() < 0.3:
            status, answer = self.ask("POST", "/v1/indexes:rollback", {})
        else:
            status, answer = self.ask("POST", f"/v1/indexes/{self.rng.choice(names)}:activate")
        if status == 200:
            self.told.activated = answer["activated"]
            self.told.note("activations")
        # Erased, folded or collected meanwhile; or held by a worker.
        elif answer["code"] not in ("unknown-version", "busy", "damaged-index"):
            self.told.wrong.append(f"activate: {status} {answer}")
        self.quiet.wait(self.rng.uniform(0.05, 0.4))


class FeedPart(Part):
    """The shop that rewrites the feed which is kept in step."""

    feed = Path()

    def step(self) -> None:
        write_feed(self.feed, self.told)
        self.quiet.wait(0.5)
        self.ask("GET", "/livez")


def write_feed(feed: Path, told: Told) -> None:
    """The next generation of the synced products; noted before and after it stands there."""
    generation = told.next()
    rows = [f"s{i},{generation},{generation}" for i in range(SYNCED)]
    write_atomic(feed, ("product_id,price,generation\n" + "\n".join(rows) + "\n").encode())
    told.feeds.append((time.time(), generation))


def question(number: int, **more: Any) -> dict[str, Any]:
    """A search for all products by a photo."""
    image = {"base64": base64.b64encode(PHOTOS[number]).decode()}
    return {"image": image, "k": 1000, **more}


def shown_state(row: dict[str, Any]) -> dict[str, Any]:
    """The state of a search's result, or of a product."""
    photo = row["photo"] if "photo" in row else row["images"][0]["hash"]
    return {
        "title": row["title"],
        "photo": NUMBER[photo],
        "price": row["price"],
        "generation": row["attributes"].get("generation"),
    }


class Forge:
    """A process that has imported what a service does, and forks one when it is asked to: a start
    takes a second instead of five. Close it at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        hook = folder / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(HOOK)
        # What the service starts finds the hook; this process does not.
        self.path = f"{hook}{os.pathsep}{ROOT}"
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORGE],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )

    def start(self, **asked: Any) -> int:
        """The process number of a new service."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**asked, "hook": HOOK}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Service:
    """``catalens serve`` on a home, in a session of its own."""

    def __init__(self, forge: Forge, home: Path, kill: str, **settings: object) -> None:
        folder = home.parent
        self.armed, self._said = folder / "armed", folder / "said"
        self.armed.unlink(missing_ok=True)
        self._said.write_text("")
        given = {f"CATALENS_{name.upper()}": str(value) for name, value in settings.items()}
        self.pid = forge.start(
            env={
                **given,
                "CATALENS_LIVE_KILL": f"{self.armed}|{kill}",
                "PYTHONPATH": forge.path,
            },
            arguments=["serve", "--home", str(home), "--port", "0"],
            said=str(self._said),
            log=str(folder / "log"),
        )
        self.port = 0

    def ready(self) -> bool:
        """Wait until it answers; False where it was killed before."""
        while not (line := self._said.read_text()).endswith("\n"):
            if self.died():
                return False
            time.sleep(0.02)
        self.port = int(line.rstrip("/\n").rpartition(":")[2])
        return True

    def died(self) -> bool:
        """Whether its process is gone."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2][0] == "Z"
        except OSError:
            return True

    def live(self, seconds: float) -> bool:
        """Wait for its end; whether it lives after that time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.died():
                return False
            time.sleep(0.02)
        return True

    def kill(self, *, group: bool) -> None:
        """SIGKILL, to all of it or to the service alone."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)

    def survivors(self, within_s: float = 10.0) -> list[str]:
        """The processes of it that are still there, some seconds after its end."""
        until = time.monotonic() + within_s
        while (left := self._members()) and time.monotonic() < until:
            time.sleep(0.05)
        return left

    def _members(self) -> list[str]:
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = path.read_text().rpartition(") ")[2].split()[:4]
                if int(session) == self.pid and state != "Z":
                    found.append(path.with_name("cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found
