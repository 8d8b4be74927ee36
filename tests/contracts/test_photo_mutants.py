"""Mutants of photos of every format and mode over HTTP: an answer or a refusal, never a failure.

``make prove-http`` sends many to a served home: ``CATALENS_LIVE_MUTANTS`` says how many.
"""

from __future__ import annotations

import collections
import io
import json
import os
import shutil
from collections.abc import Callable
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
from tools.bench.harness.servers import free_port, running, serve_arguments

MUTANTS = int(os.environ.get("CATALENS_LIVE_MUTANTS", "0"))
QUICK = 24
# Bytes that the service may have grown by at the end, after a tenth of the mutants.
GROWTH = 50 * 2**20
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
    """No answer of 500 and above, and memory is flat after the first tenth."""
    port = free_port()
    pool = urllib3.HTTPConnectionPool("127.0.0.1", port, timeout=120, retries=False)

    def send(way: str, number: int, data: bytes) -> tuple[int, dict[str, Any]]:
        if way == "put":
            fields: dict[str, Any] = {"product": "{}", "images": ("a", data)}
            answer = pool.request("PUT", f"/v1/products/m{number % 500}", fields=fields)
        else:
            answer = pool.request("POST", f"/v1/{way}", fields={"image": ("a", data)})
        return answer.status, json.loads(answer.data)

    with running(serve_arguments(home, port), port) as server:
        first = send_all(send, range(MUTANTS // 10))
        before = server.rss_mb()
        answers = first + send_all(send, range(MUTANTS // 10, MUTANTS))
        grown = server.rss_mb() - before
    print(f"\n{MUTANTS} mutants, {before:.0f} MB, grown by {grown:.1f} MB")
    for (way, status, code), count in sorted(answers.items()):
        print(f"{way:10} {status} {code:20} {count}")
    assert grown * 1e6 < GROWTH
