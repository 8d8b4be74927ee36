"""Mutants of photos of every format and mode over HTTP: an answer or a refusal, never a failure.

``make prove-http`` sends many to a served home: ``CATALENS_LIVE_MUTANTS`` says how many.
"""

from __future__ import annotations

import collections
import io
import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3

from indexer.imaging.decode import decode_photo
from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from tests.conftest import build_once
from tests.indexer.imaging.photo_mutants import mutant, originals
from tests.service.conftest import build_shop
from tools.bench.harness.servers import Server, free_port, running, serve_arguments

MUTANTS = int(os.environ.get("CATALENS_LIVE_MUTANTS", "0"))
QUICK = 24
# Bytes that the service may have grown by at the end, since a tenth of the mutants.
GROWTH = 50 * 2**20
CLIENTS = 24
WAYS = ("classify", "search", "review", "put")
STATUSES = {200, 413, 415, 422}

# Sends a photo in one of four ways; the status and the document that is answered.
Send = Callable[[str, int, bytes], tuple[int, dict[str, Any]]]


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A shop's home of its own."""
    shutil.copytree(build_once(tmp_path_factory, "shop", build_shop) / "home", tmp_path / "home")
    return tmp_path / "home"


def send_all(send: Send, numbers: range) -> collections.Counter[tuple[str, int, str]]:
    """Every mutant in one of the four ways; (way, status, code) and how often."""
    answers: collections.Counter[tuple[str, int, str]] = collections.Counter()
    for number in numbers:
        name, data = mutant(number)
        way = WAYS[number % len(WAYS)]
        status, document = send(way, number, data)
        code = str(document.get("code", ""))
        if status not in STATUSES:
            pytest.fail(f"mutant {number} of {name}, {way}: {status} {document}")
        if status != 200:
            assert code in ("bad-image", "image-too-large", "unsupported-format", "bad-product")
        answers[way, status, code] += 1
    return answers


def warm_up(send: Send) -> None:
    """Each original in each way, by many clients at once: the network, the decoders and what each
    thread of the service keeps open are there then."""
    asked = [(way, data) for data in originals().values() for way in WAYS]
    with ThreadPoolExecutor(CLIENTS) as clients:
        for status, document in clients.map(lambda one: send(one[0], 0, one[1]), asked):
            assert status in (200, 503), document


def settled_mb(server: Server) -> float:
    """Memory of the service when nothing is worked on: what is decoded beside an answer, as the
    photo of a write, takes hundreds of MB for a moment."""
    readings = []
    for _ in range(10):
        time.sleep(0.3)
        readings.append(server.rss_mb())
    return min(readings)


def test_every_original_is_a_photo() -> None:
    """What the mutants are made of: as many formats and modes as are read."""
    assert len(originals()) >= 36
    for name, data in originals().items():
        assert sorted(decode_photo(data).pixels.size) == [40, 52], name


def test_mutants_are_answered_or_refused(home: Path) -> None:
    """Two dozen; both happens."""
    engine = Engine(Settings(home=home), watch=False)
    web = create_app(engine, engine.settings).test_client()

    def send(way: str, number: int, data: bytes) -> tuple[int, dict[str, Any]]:
        if way == "put":
            form = {"product": "{}", "images": (io.BytesIO(data), "a")}
            answer = web.put(f"/v1/products/m{number % 50}", data=form)
        else:
            answer = web.post(f"/v1/{way}", data={"image": (io.BytesIO(data), "a")})
        return answer.status_code, answer.get_json()

    with engine:
        statuses = {status for _, status, _ in send_all(send, range(QUICK))}
    assert 200 in statuses
    assert 422 in statuses


@pytest.mark.skipif(not MUTANTS, reason="long; make prove-http")
def test_a_served_home_takes_mutants_for_hours(home: Path) -> None:
    """No answer of 500 and above, and memory is flat once every thread had every format and a tenth
    of the mutants."""
    port = free_port()
    pool = urllib3.HTTPConnectionPool(
        "127.0.0.1", port, timeout=120, retries=False, maxsize=CLIENTS
    )

    def send(way: str, number: int, data: bytes) -> tuple[int, dict[str, Any]]:
        if way == "put":
            fields: dict[str, Any] = {"product": "{}", "images": ("a", data)}
            answer = pool.request("PUT", f"/v1/products/m{number % 500}", fields=fields)
        else:
            answer = pool.request("POST", f"/v1/{way}", fields={"image": ("a", data)})
        return answer.status, json.loads(answer.data)

    answers: collections.Counter[tuple[str, int, str]] = collections.Counter()
    with running(serve_arguments(home, port), port) as server:
        warm_up(send)
        answers += send_all(send, range(MUTANTS // 10))
        before = settled_mb(server)
        for tenth in range(1, 10):
            first, end = MUTANTS * tenth // 10, MUTANTS * (tenth + 1) // 10
            answers += send_all(send, range(first, end))
            grown = settled_mb(server) - before
            print(f"{end} mutants, {before:.0f} MB, grown by {grown:.1f} MB", flush=True)
    for (way, status, code), count in sorted(answers.items()):
        print(f"{way:10} {status} {code:20} {count}")
    assert grown * 1e6 < GROWTH
