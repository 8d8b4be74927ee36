"""Two services over one home: each sees what the other wrote within a second, and says so where it
does not yet."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from tests.service.conftest import photo

ROOT = Path(__file__).parents[2]
WITHIN_S = 1.0
SERVE = (
    "import sys; from service.app import serve; from service.settings import Settings; "
    "serve(Settings.make(home=sys.argv[1], port=0, max_delta=0))"
)


class Client:
    """One service, asked over its socket."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def found(self, shot: bytes, **more: Any) -> list[str]:
        """The ids of all products, nearest first."""
        image = {"base64": base64.b64encode(shot).decode()}
        status, answer = self("POST", "/v1/search", {"image": image, "k": 1000, **more})
        assert status == 200, answer
        return [row["product_id"] for row in answer["results"]]


@contextmanager
def service(home: Path) -> Iterator[Client]:
    """A service process over ``home``."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(home)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Catalens answers at"), line
        yield Client(int(line.rstrip("/\n").rpartition(":")[2]))
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


Services = tuple[Client, Client, int]


@pytest.fixture(scope="module")
def served(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two services over one copy of the shop, and its home."""
    home = tmp_path_factory.mktemp("two") / "home"
    shutil.copytree(template, home)
    with service(home) as one, service(home) as two:
        yield one, two, Home(home)


@pytest.fixture
def services(served: Any) -> Services:
    """Both services and the number of the last change before the test."""
    one, two, home = served
    with open_catalog(home) as catalog:
        return one, two, catalog.last_sequence()


def seconds_until(true: Callable[[], bool]) -> float:
    """How long it took; given up after ten times what is promised."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < 10 * WITHIN_S, "the other process never saw it"
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.mark.slow
def test_two_processes_see_each_others_writes_within_a_second(services: Services) -> None:
    """Puts, patches, deletes and batches, both ways; with ``min_sequence`` the very next answer has
    them."""
    one, two, start = services
    shot = photo("ring", "black", turn=30)
    # Its embedding is remembered: what is timed below is the write, not the network.
    two.found(shot)
    put = {
        "title": "n",
        "attributes": {"price": 1},
        "images": [{"base64": base64.b64encode(shot).decode()}],
    }
    took = []

    status, written = one("PUT", "/v1/products/n", put)
    assert (status, written["sequence"]) == (200, start + 1)
    took.append(seconds_until(lambda: two.found(shot)[0] == "n"))
    assert two("GET", "/v1/products/n")[1]["attributes"] == {"price": 1}

    _, written = two("PATCH", "/v1/products/n", {"attributes": {"price": 2}})
    assert one("GET", "/v1/products/n")[1]["attributes"] == {"price": 2}
    where = {"must": [{"field": "price", "eq": 2}]}
    assert one.found(shot, filter=where, min_sequence=written["sequence"]) == ["n"]
    took.append(seconds_until(lambda: one.found(shot, filter=where) == ["n"]))

    _, batch = one(
        "POST",
        "/v1/products:batch",
        {
            "items": [
                {"op": "delete", "product_id": "n"},
                {"op": "put", "product_id": "m", **put},
            ]
        },
    )
    took.append(seconds_until(lambda: two.found(shot)[0] == "m"))
    assert "n" not in two.found(shot)
    assert two("GET", "/v1/products/n")[0] == 404

    _, written = two("DELETE", "/v1/products/m")
    assert written["sequence"] == batch["results"][-1]["sequence"] + 1
    assert "m" not in one.found(shot, min_sequence=written["sequence"])
    assert max(took) < WITHIN_S, took

    status, problem = one("POST", "/v1/search", {"product_id": "cross-red", "min_sequence": 10_000})
    assert (status, problem["code"]) == (422, "bad-request")
    assert "min_sequence 10000 is beyond the catalog's last change" in problem["detail"]


@pytest.mark.long
def test_versions_order_writes_of_two_processes(services: Services) -> None:
    """Whatever process a write comes through: an older ``external_version`` is 409, the same again
    idempotent."""
    one, two, start = services
    target = "/v1/products/cross-tan"
    body = {"title": "v5", "external_version": 5}
    _, first = one("PATCH", target, body)
    assert (first["outcome"], first["sequence"]) == ("patched", start + 1)
    _, again = two("PATCH", target, body)
    assert (again["outcome"], again["sequence"]) == ("unchanged", start + 1)
    status, problem = two("PATCH", target, {"title": "v4", "external_version": 4})
    assert (status, problem["code"]) == (409, "stale-version")
    status, problem = two("DELETE", f"{target}?external_version=4")
    assert (status, problem["code"]) == (409, "stale-version")
    assert one("GET", target)[1]["title"] == "v5"
    assert two("DELETE", f"{target}?external_version=5")[1]["sequence"] == start + 2
