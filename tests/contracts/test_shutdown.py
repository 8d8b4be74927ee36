"""SIGTERM while 32 clients ask: whoever was heard is answered.

One stop by default; ``CATALENS_LIVE_STOPS`` asks for more (``make prove-stop STOPS=20``).
"""

from __future__ import annotations

import collections
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import build_once
from tests.service.conftest import COLOURS, KINDS, build_shop, photo

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
STOPS = int(os.environ.get("CATALENS_LIVE_STOPS", "1"))
CLIENTS = 32
BOUNDARY = "b" * 20
# No overload however slow the machine: its refusals have nothing to do with the end.
PATIENT = {"working": 8, "deadline_s": 120.0, "drain_s": 120.0}

SERVE = """
import json, sys
from service import app
from service.settings import Settings
app.serve(Settings.make(home=sys.argv[1], port=0, **json.loads(sys.argv[2])))
"""


def multipart(name: str, data: bytes) -> tuple[bytes, dict[str, str]]:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'
    )
    body = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


class StoppedClient(threading.Thread):
    """Asks again and again until nobody listens; counts what came of it."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.number = number
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.last = 0.0

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        for turn in range(10_000):
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                try:
                    connection.connect()
                except OSError:
                    return
            method, path, body, headers = self.question(turn)
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[f"{method} {path}: {error!r}"] += 1
                return
            answered = response.status < 500
            self.outcomes["answered" if answered else f"{path}: {text[:300]!r}"] += 1
            self.last = time.monotonic()
            if response.headers.get("Connection") == "close":
                connection.close()
                connection = None

    def question(self, turn: int) -> tuple[str, str, bytes | None, dict[str, str]]:
        kind = KINDS[(self.number + turn) % len(KINDS)]
        picture = photo(kind, list(COLOURS)[turn % len(COLOURS)], turn=self.number)
        asked = (self.number + turn) % 4
        if asked == 0:
            return "POST", "/v1/search", *multipart("image", picture)
        if asked == 1:
            return "POST", "/v1/review", *multipart("image", picture)
        if asked == 2:
            return "GET", f"/v1/products/{kind}-black/similar", None, {}
        title = json.dumps({"title": f"{self.number} {turn}"}).encode()
        path = f"/v1/products/new-{self.number}-{turn}"
        return "PUT", path, title, {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def shop_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the service's tests."""
    return build_once(tmp_path_factory, "shop", build_shop) / "home"


@pytest.mark.long
def test_whoever_was_heard_is_answered(shop_home: Path, tmp_path: Path) -> None:
    """No request whose first byte was read fails, nothing is logged as failed, and the process
    ends by itself with 0."""
    seed = random.Random(0)
    failed: collections.Counter[str] = collections.Counter()
    for stop in range(STOPS):
        home = tmp_path / f"home-{stop}"
        shutil.copytree(shop_home, home)
        with (tmp_path / "log").open("w+") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", SERVE, str(home), json.dumps(PATIENT)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
            try:
                failed.update(_stop(process, seed.uniform(0.5, 2.0)))
            finally:
                process.kill()
            log.seek(0)
            events = [json.loads(line) for line in log]
        assert process.returncode == 0, events[-5:]
        wrong = [event for event in events if event["event"] in ("failed", "connections cut")]
        assert wrong == [], wrong[:5]
        shutil.rmtree(home)
    print(f"{STOPS} stops: {failed}")
    assert failed.pop("answered") > 0
    assert failed == {}


def _stop(process: subprocess.Popen[str], after_s: float) -> collections.Counter[str]:
    assert process.stdout is not None
    port = int(process.stdout.readline().rstrip("/\n").rpartition(":")[2])
    clients = [StoppedClient(port, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(after_s)
    process.send_signal(signal.SIGTERM)
    stopped = time.monotonic()
    process.wait(timeout=120)
    for client in clients:
        client.join(timeout=10)
    assert max(client.last for client in clients) > stopped, "some were in flight"
    outcomes: collections.Counter[str] = collections.Counter()
    for client in clients:
        outcomes.update(client.outcomes)
    return outcomes
