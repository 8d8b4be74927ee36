"""Feeds are kept in step: read only when they changed, held when they shrink, remembered."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.atomic_files import folder_aside
from indexer.core.errors import BadDataError, BadHomeError, BadRequestError, BusyError
from indexer.core.home import Home
from indexer.fetch.settings import FetchSettings
from indexer.operations.erasure import erase
from indexer.operations.sync import add_source, remove_source, run_due, run_source
from indexer.operations.sync_source import (
    SyncRun,
    SyncSource,
    SyncSources,
    UnknownSourceError,
    parse_period,
)
from indexer.operations.verification import verify_home
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


def test_what_a_source_says_of_its_feed_holds_in_each_run(home: Home, tmp_path: Path) -> None:
    """The currency, and the file with names of numbered categories."""
    text = feed(tmp_path, 1).replace("sku", "google_product_category").replace("S-0", "212")
    path = tmp_path / "shop.csv"
    path.write_text(text.replace(" EUR", ""))
    taxonomy = tmp_path / "taxonomy.txt"
    taxonomy.write_text("212 - Apparel > Shirts\n")
    add_source(home, source(path, currency="CHF", taxonomy_file=str(taxonomy)))
    run_source(home, "shop")
    with open_catalog(home) as catalog:
        (product,) = catalog.iterate()
    assert (product.fields.price, product.fields.currency) == (10.0, "CHF")
    assert product.category == ("Apparel", "Shirts")


@pytest.mark.parametrize(("left", "deletes"), [(4, True), (8, True), (4, False)])
def test_a_feed_that_shrank_is_held_until_it_is_accepted(
    home: Home, tmp_path: Path, left: int, deletes: bool
) -> None:
    """Whatever it is held for, the command that its reason names takes it."""
    path = tmp_path / "feed.csv"
    path.write_text(feed(tmp_path, 10))
    add_source(home, source(path, deletes=deletes))
    run_source(home, "shop")
    path.write_text(feed(tmp_path, left, price=99))
    held = run_source(home, "shop")
    assert held.outcome == "held"
    assert held.reason is not None
    assert held.reason.endswith("(catalens sync run shop --accept)")
    assert not deletes or f"delete {10 - left} of 10 products" in held.reason
    assert set(prices(home).values()) == {10.0}
    assert len(prices(home)) == 10
    taken = run_source(home, "shop", accept=True)
    assert (taken.outcome, taken.counts["replaced"]) == ("done", left)
    assert taken.counts["deleted"] == (10 - left if deletes else 0)
    assert len(prices(home)) == (left if deletes else 10)


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


@pytest.mark.skipif(os.name == "nt", reason="no modes")
def test_what_a_feed_leaves_is_its_owner_s_alone(
    home: Home, tmp_path: Path, server: FeedServer
) -> None:
    """Its address, which may hold a token, its copy and its history, in a home that others may
    read; files of a release before are closed when they are used, and an erasure opens none."""
    server.body = feed(tmp_path, 3).encode()
    address = f"{server.url}/export/feed.csv?token=SECRET"
    before = os.umask(0o022)
    try:
        home.path.chmod(0o755)
        add_source(home, source(tmp_path, feed=address, photos_root=str(tmp_path)))
        for outcome in ("done", "unchanged"):
            assert run_source(home, "shop", fetching=private(server)).outcome == outcome
            files = {path.name: path for path in SyncSources(home).folder.iterdir()}
            ends = ("json", "feed.csv", "state.json", "runs.jsonl")
            assert {*files} == {f"shop.{end}" for end in ends}
            assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
            for path in files.values():
                path.chmod(0o644)
        history = files["shop.runs.jsonl"]
        SyncSources(home).add_run("shop", SyncRun(1.0, 2.0, "failed", "row of p0"))
        history.chmod(0o660)
        SyncSources(home).folder.chmod(0o770)
        with open_catalog(home) as catalog:
            catalog.delete("p0")
        erase(home)
        assert "row of [erased]" in history.read_text()
        assert history.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


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


# -- what a 304 must not hide


def private(server: FeedServer) -> FetchSettings:
    return FetchSettings(private=frozenset({server.url.removeprefix("http://")}))


def test_a_feed_that_failed_or_was_held_is_read_again_though_it_did_not_change(
    home: Home, tmp_path: Path, server: FeedServer
) -> None:
    """An import that failed, and a feed that was held, are not taken for done at the next 304."""
    server.body = feed(tmp_path, 10).encode()
    (tmp_path / "a.png").rename(tmp_path / "later.png")
    add_source(home, source(tmp_path, feed=f"{server.url}/f.csv", photos_root=str(tmp_path)))
    assert run_source(home, "shop", fetching=private(server)).outcome == "failed"
    (tmp_path / "later.png").rename(tmp_path / "a.png")
    assert run_source(home, "shop", fetching=private(server)).counts["added"] == 10
    assert run_source(home, "shop", fetching=private(server)).outcome == "unchanged"
    server.body = feed(tmp_path, 4, price=99).encode()
    for _ in range(2):
        assert run_source(home, "shop", fetching=private(server)).outcome == "held"
    assert prices(home)["p0"] == 10.0
    run = run_source(home, "shop", fetching=private(server), accept=True)
    assert (run.outcome, prices(home)["p0"]) == ("done", 99.0)
    assert run_source(home, "shop", fetching=private(server)).outcome == "unchanged"


def test_rows_without_a_product_and_new_fields_are_taken_from_a_feed_that_did_not_change(
    home: Home, tmp_path: Path, server: FeedServer
) -> None:
    """Prices whose products come later, and a field that the feed owns from now on, arrive at
    the next run, and the address is asked for no byte again."""
    server.body = b"sku,price,stock\nS-0,7.00 EUR,3\nS-1,8.00 EUR,0\n"
    erp = source(tmp_path, name="erp", feed=f"{server.url}/erp.csv", join="sku", only=("price",))
    add_source(home, erp)
    first = run_source(home, "erp", fetching=private(server))
    assert (first.outcome, first.counts["replaced"]) == ("failed", 0)
    path = tmp_path / "feed.csv"
    path.write_text(feed(tmp_path, 2))
    add_source(home, source(path))
    run_source(home, "shop")
    assert run_source(home, "erp", fetching=private(server)).counts["replaced"] == 2
    assert prices(home) == {"p0": 7.0, "p1": 8.0}
    assert run_source(home, "erp", fetching=private(server)).outcome == "unchanged"
    add_source(home, replace(erp, only=("price", "availability")))
    assert run_source(home, "erp", fetching=private(server)).counts["replaced"] == 2
    with open_catalog(home) as catalog:
        shown = {each.product_id: each.fields.availability for each in catalog.iterate()}
    assert shown == {"p0": "in_stock", "p1": "out_of_stock"}


def test_another_address_is_asked_without_the_tags_of_the_one_before(
    home: Home, tmp_path: Path, server: FeedServer
) -> None:
    """With another suffix, too; the copy of the address before is removed."""
    server.body = feed(tmp_path, 2).encode()
    made = source(tmp_path, feed=f"{server.url}/a.csv", photos_root=str(tmp_path))
    for address in ("a.csv", "b.csv", "b.txt"):
        add_source(home, replace(made, feed=f"{server.url}/{address}"))
        assert run_source(home, "shop", fetching=private(server)).outcome == "done"
    assert server.unchanged == 0
    copies = [path.name for path in SyncSources(home).folder.glob("shop.feed*")]
    assert copies == ["shop.feed.txt"]


# -- kills, clocks and other processes


def test_what_a_kill_left_is_cleared(home: Home, tmp_path: Path, server: FeedServer) -> None:
    """Half an answer is removed by the next run; fields whose feed was removed halfway are freed
    by removing it again."""
    server.body = feed(tmp_path, 2).encode()
    made = source(tmp_path, feed=f"{server.url}/a.csv", photos_root=str(tmp_path))
    add_source(home, made)
    half = SyncSources(home).folder / ".shop.feed.csv.4711.tmp"
    half.write_bytes(b"x")
    run_source(home, "shop", fetching=private(server))
    assert not half.exists()
    add_source(home, replace(made, name="erp", join="sku", only=("price",)))
    SyncSources(home).remove("erp")
    remove_source(home, "erp")
    with open_catalog(home) as catalog:
        assert catalog.owners() == {}
    with pytest.raises(UnknownSourceError):
        remove_source(home, "erp")


def test_a_feed_whose_fetch_was_killed_goes_on(
    home: Home, tmp_path: Path, server: FeedServer
) -> None:
    """The folder of half an answer stops no run, no erasure and no removal; one of a fetch that
    goes on stays."""
    server.body = feed(tmp_path, 2).encode()
    made = source(tmp_path, feed=f"{server.url}/a.csv", photos_root=str(tmp_path))
    add_source(home, made)
    copy = SyncSources(home).copy_of(made)

    def kill_one() -> Path:
        half = copy.with_name(".shop.feed.csv.4711.0123abcd.tmp")
        half.mkdir()
        (half / "feed").write_bytes(server.body[:9])
        return half

    half = kill_one()
    assert run_source(home, "shop", fetching=private(server)).outcome == "done"
    assert not half.exists()
    half = kill_one()
    with open_catalog(home) as catalog:
        catalog.delete("p0")
    with folder_aside(copy) as going_on:
        erase(home)
        assert (half.exists(), copy.exists(), going_on.exists()) == (False, False, True)
    half = kill_one()
    remove_source(home, "shop")
    assert [*SyncSources(home).folder.iterdir()] == []


def test_a_clock_that_was_ahead_holds_nothing_up(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    path.write_text(feed(tmp_path, 2))
    made = source(path, created=1000.0)
    add_source(home, made)
    sources = SyncSources(home)
    ahead = time.time() + 400 * 86_400
    sources.add_run("shop", SyncRun(ahead, ahead, "done"))
    assert sources.silent_since(made) == 1000.0
    assert [name for name, _ in run_due(home)] == ["shop"]
    assert run_due(home) == []


def test_a_damaged_file_stops_no_other_feed(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    path.write_text(feed(tmp_path, 2))
    add_source(home, source(path))
    sources = SyncSources(home)
    (sources.folder / "broken.json").write_text('{"name": "broken", "feed": "x", "every_s": "1h"}')
    (sources.folder / "shop.runs.jsonl").write_bytes(b"\xff\xfe{\n")
    with pytest.raises(BadHomeError, match=r"broken\.json"):
        run_due(home)
    assert len(prices(home)) == 2
    assert [found.name for found in sources.all()] == ["shop"]


def test_a_home_that_imports_already_is_no_failed_run(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    path.write_text(feed(tmp_path, 2))
    add_source(home, source(path))
    with home.lock("import"), pytest.raises(BusyError):
        run_source(home, "shop")
    with home.lock("sync-shop"):
        assert run_due(home) == []
        with pytest.raises(BusyError):
            remove_source(home, "shop")
    assert SyncSources(home).runs("shop") == []


def test_requests_for_photos_and_photos_that_are_not_there_are_counted(
    home: Home, tmp_path: Path, server: FeedServer
) -> None:
    """Two addresses and one name of a file that is not there; an address with a password is no
    feed."""
    draw("disc", 1).save(tmp_path / "a.png")
    server.body = (tmp_path / "a.png").read_bytes()
    path = tmp_path / "feed.csv"
    lines = [f"p{n},Product {n},{server.url}/{n}.png" for n in range(2)]
    path.write_text("\n".join(["id,title,image_link", *lines, "p2,Product,none.png"]) + "\n")
    add_source(home, source(path, fetch=True))
    run = run_source(home, "shop", fetching=private(server))
    assert (run.photos_asked, run.photos_failed, run.counts["added"]) == (2, 1, 2)
    assert run_source(home, "shop", fetching=private(server)).photos_asked == 0
    with pytest.raises(BadRequestError, match="names a user or a password"):
        add_source(home, source(path, feed="https://me:secret@shop.example/feed.csv"))


@pytest.mark.parametrize(
    "stored",
    [
        b"[" * 100_000,
        b"\xff\xfe",
        b"[]",
        b'{"name": "other", "feed": "x", "every_s": 60}',
        b'{"name": "shop", "feed": 5, "every_s": 60}',
        b'{"name": "shop", "feed": "", "every_s": 60}',
        b'{"name": "shop", "feed": "x", "every_s": -5}',
        b'{"name": "shop", "feed": "x", "every_s": NaN}',
        b'{"name": "shop", "feed": "x", "every_s": 60, "only": [5]}',
        b'{"name": "shop", "feed": "x", "every_s": 60, "photos": "steal"}',
    ],
)
def test_whatever_a_file_holds_it_ends_in_one_sentence(home: Home, stored: bytes) -> None:
    """A file that holds no feed is named, with what to do; nothing is counted with it."""
    sources = SyncSources(home)
    sources.folder.mkdir()
    (sources.folder / "shop.json").write_bytes(stored)
    with pytest.raises(BadHomeError, match="delete it, and add the feed again"):
        run_source(home, "shop")
    assert sources.all() == []


def test_a_link_that_leads_nowhere_is_no_feed(home: Home) -> None:
    """Neither is it looked for without end."""
    sources = SyncSources(home)
    sources.folder.mkdir()
    (sources.folder / "shop.json").symlink_to(home.path.parent / "nowhere.json")
    with pytest.raises(UnknownSourceError, match="no feed 'shop'"):
        run_source(home, "shop")


@pytest.mark.parametrize(
    "line", [b'{"started": "x", "ended": 1, "outcome": "done"}', b"[" * 100_000, b"\xff"]
)
def test_a_line_of_the_history_that_is_none_is_passed_over(home: Home, line: bytes) -> None:
    """What is no time is not counted with."""
    sources = SyncSources(home)
    sources.folder.mkdir()
    good = b'{"started": 1.0, "ended": 2.0, "outcome": "done"}'
    (sources.folder / "shop.runs.jsonl").write_bytes(good + b"\n" + line + b"\n")
    assert sources.runs("shop") == [SyncRun(1.0, 2.0, "done")]


def test_a_server_that_says_unchanged_of_a_new_feed_is_not_believed(
    home: Home, tmp_path: Path, server: FeedServer
) -> None:
    server.status = 304
    add_source(home, source(tmp_path, feed=f"{server.url}/f.csv", photos_root=str(tmp_path)))
    run = run_source(home, "shop", fetching=private(server))
    assert run.outcome == "failed"
    assert "though it is new" in (run.reason or "")


@pytest.mark.parametrize("name", ["only", "deletes", "fetch", "join"])
def test_one_changed_byte_makes_no_other_feed(tmp_path: Path, name: str) -> None:
    """A feed that owns prices alone does not become one of whole products, which then are
    overwritten, and those it lacks deleted; files of a release before, without a checksum, are
    read."""
    home = Home.create(tmp_path / "home")
    sources = SyncSources(home)
    source = SyncSource("shop", "/feeds/prices.csv", 60.0, join="sku", only=("price",))
    sources.add(source)
    file = sources.folder / "shop.json"
    told = file.read_text()
    file.write_text(told.replace(f'"{name}"', f'"{name[:-1]}{chr(ord(name[-1]) ^ 1)}"'))
    with pytest.raises(BadHomeError, match=r"checksum.*add the feed again"):
        sources.get("shop")
    (found,) = [one for one in verify_home(home.path).damages if one.where == "sync/shop.json"]
    assert found.mend == "delete it, and add the feed again (catalens sync add)"
    old = json.loads(told)
    del old["seal"]
    file.write_text(json.dumps(old))
    assert sources.get("shop") == source


def test_a_path_that_cannot_be_kept_is_refused_when_it_is_added(home: Home) -> None:
    """Bytes that are no UTF-8 would be no source any more when it is read again."""
    with pytest.raises(BadRequestError, match=r"caf\\xe9\.csv holds bytes that are no UTF-8"):
        SyncSources(home).add(SyncSource("shop", "/feeds/caf\udce9.csv", 3600.0))
    assert SyncSources(home).all() == []
    assert SyncSources(home).damaged() == []
