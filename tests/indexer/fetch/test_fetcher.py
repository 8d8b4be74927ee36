"""Promise: every photo once, every failure with its reason, in bounded memory, after a kill too."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.fetch.fetcher import FetchedPhoto, FetchJob, PhotoFetcher
from indexer.fetch.settings import FetchSettings
from indexer.fetch.state import FetchState, URLState
from tools.bench.harness.photo_server import PhotoServer, PhotoServerPlan, photo_bytes, running

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server() -> Iterator[PhotoServer]:
    with running() as found:
        yield found


@pytest.fixture
def state(tmp_path: Path) -> Iterator[FetchState]:
    with FetchState(tmp_path / "fetch.sqlite3") as found:
        yield found


def settings_for(server: PhotoServer, **changes: float) -> FetchSettings:
    quick = {"backoff_s": 0.01, "longest_wait_s": 0.05, **changes}
    return FetchSettings(private=frozenset({server.endpoint}), **quick)  # type: ignore[arg-type]


def fetch(
    server: PhotoServer, state: FetchState, urls: list[str], **changes: float
) -> dict[str, FetchedPhoto]:
    """One result by URL."""
    with PhotoFetcher(state, settings_for(server, **changes)) as fetcher:
        results = list(fetcher.fetch(FetchJob(url, key) for key, url in enumerate(urls)))
    assert sorted(result.job.key for result in results) == list(range(len(urls)))  # type: ignore[type-var]
    return {result.job.url: result for result in results}


def test_good_and_bad_photos(server: PhotoServer, state: FetchState) -> None:
    """Bytes and their hash, or a reason; what can pass is tried again, what cannot is not."""
    kinds = ("photo", "once", "404", "410", "403", "500", "429", "html", "svg")
    urls = {kind: server.url(kind, 1) for kind in kinds}
    found = fetch(server, state, [*urls.values(), "http://10.0.0.1/a.jpg", "ftp://x/"])
    for kind in ("photo", "once"):
        result = found[urls[kind]]
        assert result.data == photo_bytes(f"/{kind}/1.jpg", 64)
        assert result.content_hash == hashlib.sha256(result.data).hexdigest()
        assert result.status == "new"
    reasons = {kind: found[urls[kind]].reason for kind in kinds[2:]}
    assert reasons == {
        "404": "HTTP 404 (not found)",
        "410": "HTTP 410 (gone)",
        "403": "HTTP 403 (forbidden)",
        "500": "HTTP 500 (server error); asked 4 times",
        "429": "HTTP 429 (too many requests); asked 6 times",
        "html": "the server answered with a web page (HTML), not a photo",
        "svg": "the server answered with a drawing (SVG), not a photo: export it as PNG or JPEG",
    }
    assert "fetch_private" in (found["http://10.0.0.1/a.jpg"].reason or "")
    asked = {path.split("/")[1]: count for path, count in server.counts.items()}
    assert asked == {
        **dict.fromkeys(("photo", "404", "410", "403", "html", "svg"), 1),
        **{"once": 2, "500": 4, "429": 6},
    }


def test_a_network_that_is_named_afterwards_is_asked_at_once(
    server: PhotoServer, state: FetchState
) -> None:
    """Whoever follows the advice of a refusal need not wait until it is forgotten."""
    url = server.url("photo", 1)
    with PhotoFetcher(state, FetchSettings()) as fetcher:
        refused = next(iter(fetcher.fetch([FetchJob(url)])))
    assert f"--fetch-private {server.endpoint}" in (refused.reason or "")
    assert fetch(server, state, [url])[url].status == "new"


def test_a_second_run_asks_for_nothing(server: PhotoServer, state: FetchState) -> None:
    """A URL whose text did not change is not asked again before its time, failed or not."""
    urls = [server.url("photo", 1), server.url("404", 1), server.url("html", 1)]
    first = fetch(server, state, urls)
    before = server.counts.total()
    again = fetch(server, state, urls)
    assert server.counts.total() == before
    assert again[urls[0]].status == "unchanged"
    assert again[urls[0]].data is None
    assert again[urls[0]].content_hash == first[urls[0]].content_hash
    assert [again[url].reason for url in urls[1:]] == [first[url].reason for url in urls[1:]]


def test_after_its_time_a_url_is_asked_conditionally(
    server: PhotoServer, state: FetchState
) -> None:
    """After ``recheck_s`` the server is asked whether the photo changed, and only then sends it."""
    url = server.url("photo", 1)
    fetch(server, state, [url])
    etag = state.find([url])[url].etag
    assert etag
    found = fetch(server, state, [url], recheck_s=0.0)[url]
    assert (found.status, found.data) == ("unchanged", None)
    assert server.counts["/photo/1.jpg"] == 2
    # Another photo lies there now.
    state.record(URLState(url, "f" * 64, '"old"', asked=time.time()))
    found = fetch(server, state, [url], recheck_s=0.0)[url]
    assert found.status == "new"
    assert found.data == photo_bytes("/photo/1.jpg", 64)


def test_a_photo_that_is_no_longer_held_is_fetched(server: PhotoServer, state: FetchState) -> None:
    """What the caller lost, or asks for afresh, comes whole, whatever is known of the URL."""
    url = server.url("photo", 1)
    fetch(server, state, [url])
    with PhotoFetcher(state, settings_for(server), holds=lambda content_hash: False) as fetcher:
        (found,) = fetcher.fetch([FetchJob(url)])
        assert found.data
        # Once in a run: the caller may be about to store it.
        (found,) = fetcher.fetch([FetchJob(url)])
        assert (found.status, found.data) == ("unchanged", None)
        (found,) = fetcher.fetch([FetchJob(url, fresh=True)])
        assert found.data


def test_a_held_photo_outlives_a_server_that_is_down(
    server: PhotoServer, state: FetchState
) -> None:
    """A recheck that fails for now keeps the photo, and says so; one that is gone is gone."""
    down, gone = server.url("500", 1), server.url("404", 1)
    for url in (down, gone):
        state.record(URLState(url, "a" * 64, asked=1.0))
    found = fetch(server, state, [down, gone])
    assert (found[down].status, found[down].content_hash) == ("unchanged", "a" * 64)
    assert "HTTP 500" in (found[down].reason or "")
    assert found[gone].status == "failed"


def test_one_photo_by_content(server: PhotoServer, state: FetchState) -> None:
    """Two addresses of the same bytes have one hash; one address named twice is asked once."""
    url = server.url("photo", 1)
    jobs = [FetchJob(url, 0), FetchJob(url, 1), FetchJob(f"{url}?v=2", 2)]
    with PhotoFetcher(state, settings_for(server)) as fetcher:
        found = sorted(fetcher.fetch(jobs), key=lambda result: str(result.job.key))
        assert fetcher.progress().done == 3
        assert fetcher.progress().requests == 2
    assert len({result.content_hash for result in found}) == 1
    assert [result.status for result in found] == ["new", "unchanged", "new"]


def test_no_more_photos_in_memory_than_at_once(state: FetchState) -> None:
    """While the caller works on one photo, no more than ``concurrency`` are fetched ahead."""
    with running() as server:
        settings = FetchSettings(private=frozenset({server.endpoint}), concurrency=3, connections=8)
        with PhotoFetcher(state, settings) as fetcher:
            results = fetcher.fetch(FetchJob(server.url("photo", n)) for n in range(40))
            for count in range(1, 11):
                next(results)
                time.sleep(0.01)
                assert server.counts.total() <= count + 3
            results.close()
            time.sleep(0.05)
            assert server.counts.total() <= 14


def test_a_slow_host_does_not_hold_up_another(state: FetchState) -> None:
    """Photos of one host come while all connections to another one wait."""
    plan = PhotoServerPlan(slow_s=0.5)
    with running(plan) as slow, running() as quick:
        settings = FetchSettings(private=frozenset({slow.endpoint, quick.endpoint}))
        urls = [slow.url("slow", n) for n in range(8)] + [quick.url("photo", n) for n in range(20)]
        with PhotoFetcher(state, settings) as fetcher:
            found = [result.job.url for result in fetcher.fetch(map(FetchJob, urls))]
    assert set(found[:20]) == set(urls[8:])


def test_a_limit_is_kept(state: FetchState) -> None:
    """Above a host's rate it slows down, and still brings every photo."""
    with running(PhotoServerPlan(per_second=100)) as server:
        urls = [server.url("photo", n) for n in range(150)]
        found = fetch(server, state, urls)
        assert all(result.status == "new" for result in found.values())
        assert server.counts.total() < 200


def test_progress_tells_the_real_rate(server: PhotoServer, state: FetchState) -> None:
    """Counts by kind, and the time that the rest takes at the present rate."""
    with PhotoFetcher(state, settings_for(server)) as fetcher:
        assert fetcher.progress().remaining_s(10) is None
        list(fetcher.fetch(FetchJob(server.url(kind, 1)) for kind in ("photo", "404")))
        progress = fetcher.progress()
    assert (progress.new, progress.failed, progress.done) == (1, 1, 2)
    assert progress.remaining_s(10) == pytest.approx(8 / progress.per_second)


SCRIPT = """
import json, sys
from pathlib import Path
from indexer.fetch.fetcher import FetchJob, PhotoFetcher
from indexer.fetch.settings import FetchSettings
from indexer.fetch.state import FetchState

folder, endpoints = Path(sys.argv[1]), frozenset(sys.argv[2:])
settings = FetchSettings(private=endpoints, backoff_s=0.02, longest_wait_s=0.1)
state = FetchState(folder / "fetch.sqlite3")
jobs = [FetchJob(url) for url in json.loads(sys.stdin.read())]
with PhotoFetcher(state, settings, holds=lambda found: (folder / found).exists()) as fetcher:
    for result in fetcher.fetch(jobs):
        if result.data is not None:
            (folder / "new").write_bytes(result.data)
            (folder / "new").rename(folder / result.content_hash)
        line = [result.job.url, result.content_hash, result.status, result.reason]
        print(json.dumps(line), flush=True)
"""


def test_a_kill_in_the_middle_costs_nothing(tmp_path: Path) -> None:
    """300 URLs with 5% 404, 5% 429, 2% slow and 2% web pages, killed half-way and run again: every
    good photo once, every bad one with its reason, and hardly a request twice."""
    kinds = ["404"] * 15 + ["once"] * 12 + ["429"] * 3 + ["slow"] * 6 + ["html"] * 6
    kinds += ["photo"] * (300 - len(kinds))
    plan = PhotoServerPlan(answer_s=0.002, slow_s=0.2)
    # The second one refuses; the first one's rate is not what this is about.
    with running(plan) as server, running(plan) as refusing:
        # Spread, always in the same way.
        order = sorted(range(300), key=lambda n: hashlib.sha256(bytes(str(n), "ascii")).digest())
        urls = [
            (refusing if kinds[n] in ("429", "once") else server).url(kinds[n], n) for n in order
        ]
        command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
        command += [server.endpoint, refusing.endpoint]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(urls))
            process.stdin.close()
            for _ in range(150):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        done = subprocess.run(
            command, input=json.dumps(urls), capture_output=True, text=True, cwd=ROOT, check=True
        )
        counts = dict(server.counts)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(url for url, *_ in results) == sorted(urls)
    for url, content_hash, status, reason in results:
        kind = url.split("/")[3]
        if kind in ("404", "429", "html"):
            assert (status, content_hash) == ("failed", None)
            assert {"404": "404", "429": "429", "html": "web page"}[kind] in reason
        else:
            assert status in ("new", "unchanged")
            path = "/" + url.split("/", 3)[3]
            assert (tmp_path / content_hash).read_bytes() == photo_bytes(path, 64)
    good = [path for path in counts if path.startswith(("/photo/", "/slow/"))]
    # What was under way at the kill is asked for again.
    assert sum(counts[path] - 1 for path in good) <= 40
