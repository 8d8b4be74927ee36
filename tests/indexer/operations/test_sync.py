"""Feeds are kept in step: read only when they changed, held when they shrink, remembered."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.errors import BadDataError, BadRequestError
from indexer.core.home import Home
from indexer.fetch.settings import FetchSettings
from indexer.operations.sync import add_source, remove_source, run_due, run_source
from indexer.operations.sync_source import (
    SyncRun,
    SyncSource,
    SyncSources,
    UnknownSourceError,
    parse_period,
)
from tests.indexer.conftest import draw


@dataclass
class FeedServer:
    """Serves ``body`` with an ETag; counts requests and those answered with 304."""

    url: str = ""
    body: bytes = b""
    requests: int = 0
    unchanged: int = 0
    status: int = 200
    seen: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[FeedServer]:
    state = FeedServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests += 1
            tag = f'"{hash(state.body)}"'
            if self.headers.get("If-None-Match") == tag:
                state.unchanged += 1
                self.send_response(304)
                self.end_headers()
                return
            self.send_response(state.status)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *_: object) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{made.server_address[1]}"
    yield state
    made.shutdown()
    made.server_close()
    thread.join()


def feed(folder: Path, count: int, price: int = 10) -> str:
    """A Google feed of ``count`` products that share a photo beside it."""
    draw("disc", 1).save(folder / "a.png")
    lines = ["id,title,image_link,sku,price"]
    lines += [f"p{n},Product {n},a.png,S-{n},{price}.00 EUR" for n in range(count)]
    return "\n".join(lines) + "\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def source(feed_file: Path, **changes: object) -> SyncSource:
    made = SyncSource("shop", str(feed_file), 3600.0, created=time.time())
    return replace(made, **changes)  # type: ignore[arg-type]


def prices(home: Home) -> dict[str, float | None]:
    with open_catalog(home) as catalog:
        return {product.product_id: product.fields.price for product in catalog.iterate()}


def test_a_feed_is_imported_and_its_runs_are_remembered(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    path.write_text(feed(tmp_path, 6))
    add_source(home, source(path))
    assert run_source(home, "shop").counts["added"] == 6
    path.write_text(feed(tmp_path, 6, price=12))
    assert run_source(home, "shop").counts["replaced"] == 6
    assert prices(home)["p0"] == 12.0
    assert [run.outcome for run in SyncSources(home).runs("shop")] == ["done", "done"]


def test_a_feed_that_shrank_is_held_until_it_is_accepted(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    path.write_text(feed(tmp_path, 10))
    add_source(home, source(path, deletes=True))
    run_source(home, "shop")
    path.write_text(feed(tmp_path, 4, price=99))
    held = run_source(home, "shop")
    assert held.outcome in ("held", "failed")
    assert "--accept" in (held.reason or "") or "--allow-deletes" in (held.reason or "")
    assert prices(home)["p0"] == 10.0
    assert len(prices(home)) == 10


def test_what_cannot_be_read_is_a_failed_run_with_its_reason(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    path.write_text(feed(tmp_path, 2))
    add_source(home, source(path))
    path.unlink()
    run = run_source(home, "shop")
    assert run.outcome == "failed"
    assert "does not exist" in (run.reason or "")


def test_an_address_is_asked_again_only_for_what_changed(
    home: Home, tmp_path: Path, server: FeedServer
) -> None:
    """A feed that is answered with 304 is not read; its own network must be named; photos lie
    below a root."""
    server.body = feed(tmp_path, 3).encode()
    address = f"{server.url}/export/feed.csv?token=x"
    add_source(home, source(tmp_path, feed=address, photos_root=str(tmp_path)))
    refused = run_source(home, "shop")
    assert refused.outcome == "failed"
    assert server.requests == 0
    private = FetchSettings(private=frozenset({server.url.removeprefix("http://")}))
    assert run_source(home, "shop", fetching=private).counts["added"] == 3
    again = run_source(home, "shop", fetching=private)
    assert (again.outcome, server.unchanged) == ("unchanged", 1)
    server.body = feed(tmp_path, 3, price=15).encode()
    assert run_source(home, "shop", fetching=private).counts["replaced"] == 3


def test_a_server_s_failure_is_a_failed_run_and_keeps_the_last_copy(
    home: Home, tmp_path: Path, server: FeedServer
) -> None:
    server.body = feed(tmp_path, 3).encode()
    private = FetchSettings(private=frozenset({server.url.removeprefix("http://")}))
    made = source(tmp_path, feed=f"{server.url}/feed.csv", photos_root=str(tmp_path))
    add_source(home, made)
    run_source(home, "shop", fetching=private)
    server.status = 404
    server.body += b"x"
    run = run_source(home, "shop", fetching=private)
    assert run.outcome == "failed"
    assert "404" in (run.reason or "")
    assert SyncSources(home).copy_of(made).read_text() == feed(tmp_path, 3)


def test_owners_are_shown_kept_apart_and_given_back(home: Home, tmp_path: Path) -> None:
    """A price brings its currency along; two feeds cannot own one field; removing a feed frees
    them."""
    path = tmp_path / "feed.csv"
    path.write_text(feed(tmp_path, 2))
    add_source(home, source(path))
    add_source(home, source(path, name="erp", join="sku", only=("price", "stock")))
    with open_catalog(home) as catalog:
        assert catalog.owners() == dict.fromkeys(
            ("availability", "currency", "price", "stock"), "erp"
        )
    with pytest.raises(BadRequestError, match="'price' belongs to the feed 'erp' already"):
        add_source(home, source(path, name="other", join="sku", only=("price",)))
    with pytest.raises(BadRequestError, match="--join needs --only"):
        add_source(home, source(path, name="other", join="sku"))
    remove_source(home, "erp")
    with open_catalog(home) as catalog:
        assert catalog.owners() == {}
    with pytest.raises(UnknownSourceError, match="there are: shop"):
        run_source(home, "erp")


def test_only_what_is_due_runs(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    path.write_text(feed(tmp_path, 2))
    add_source(home, source(path))
    assert [name for name, _ in run_due(home)] == ["shop"]
    assert run_due(home) == []


def test_a_feed_is_silent_after_twice_its_period(home: Home, tmp_path: Path) -> None:
    """Failed runs do not count as read; a new source has its time too."""
    path = tmp_path / "feed.csv"
    path.write_text(feed(tmp_path, 2))
    sources = SyncSources(home)
    made = source(path, created=1000.0)
    add_source(home, made)
    assert sources.silent_since(made, now=1000.0 + 7200) is None
    assert sources.silent_since(made, now=1000.0 + 7201) == 1000.0
    sources.add_run("shop", SyncRun(8000.0, 8001.0, "done"))
    sources.add_run("shop", SyncRun(16000.0, 16001.0, "failed", "x"))
    assert sources.silent_since(made, now=15201.0) is None
    assert sources.silent_since(made, now=15202.0) == 8001.0


def test_names_periods_and_missing_feeds_are_refused(home: Home, tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="is no period"):
        parse_period("hourly")
    with pytest.raises(BadRequestError, match="too short or too long"):
        parse_period("1s")
    with pytest.raises(BadDataError, match="does not exist"):
        add_source(home, source(tmp_path / "none.csv"))
    path = tmp_path / "feed.csv"
    path.write_text("id\n")
    with pytest.raises(BadRequestError, match="cannot name a feed"):
        add_source(home, source(path, name="../x"))


def test_a_damaged_history_costs_only_its_line(home: Home, tmp_path: Path) -> None:
    sources = SyncSources(home)
    path = tmp_path / "feed.csv"
    path.write_text("id\n")
    sources.add(source(path))
    sources.add_run("shop", SyncRun(1.0, 2.0, "done"))
    with (sources.folder / "shop.runs.jsonl").open("a") as file:
        file.write('{"started": 3.0, "en')
    assert [run.started for run in sources.runs("shop")] == [1.0]
