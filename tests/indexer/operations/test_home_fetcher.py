"""Promise: a shop's feed of URLs goes into a home, and a second run asks for nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import ImportReport
from indexer.feeds.importer import import_feed
from indexer.fetch.fetcher import FetchProgress
from indexer.fetch.settings import FetchSettings
from indexer.operations.forget_photos import PhotoForgetter
from indexer.operations.home_fetcher import home_fetcher
from tests.indexer.operations.test_forget_photos import files, forgetter_of
from tools.bench.harness.photo_server import PhotoServer, running

COLUMNS = "id\ttitle\tlink\timage_link\tadditional_image_link\tavailability\tprice\n"


@pytest.fixture
def server() -> Iterator[PhotoServer]:
    with running() as found:
        yield found


@pytest.fixture
def feed(tmp_path: Path, server: PhotoServer) -> Path:
    """Six products of two photos; of one the first is gone, of one both are web pages."""
    rows = []
    for number in range(6):
        kinds = {4: ("404", "photo"), 5: ("html", "html")}.get(number, ("photo", "photo"))
        first, second = (server.url(kind, 2 * number + n) for n, kind in enumerate(kinds))
        link = f"https://shop.example/{number}"
        rows.append(f"p{number}\tShirt {number}\t{link}\t{first}\t{second}\tin_stock\t19.00 EUR\n")
    path = tmp_path / "feed.tsv"
    path.write_text(COLUMNS + "".join(rows))
    return path


def import_once(
    home: Home, feed: Path, server: PhotoServer, keeper: PhotoForgetter | None = None
) -> tuple[ImportReport, FetchProgress]:
    """One import that fetches, and what its fetcher did."""
    settings = FetchSettings(private=frozenset({server.endpoint}), backoff_s=0.01)
    options = ImportOptions(fetch=True, photos="forget" if keeper else "copy")
    with home_fetcher(home, settings) as fetcher:
        report = import_feed(home, feed, options, fetcher=fetcher, photo_keeper=keeper)
        return report, fetcher.progress()


def test_photos_come_once_and_failures_have_reasons(
    tmp_path: Path, feed: Path, server: PhotoServer
) -> None:
    """Every good photo is in the home with its address; a second run of the feed asks nobody."""
    home = Home.create(tmp_path / "home")
    report, progress = import_once(home, feed, server)
    assert report.added == 5
    assert sorted({notice.reason.split(";")[0] for notice in report.skipped}) == [
        "HTTP 404 (not found)",
        "the server answered with a web page (HTML), not a photo",
    ]
    assert progress.words() == ("photos by URL: 9 fetched, 0 unchanged, 3 failed; 12 requests")
    with open_catalog(home) as catalog:
        assert set(catalog.get("p4").sources.values()) == {server.url("photo", 9)}
    assert files(home) == 9
    asked = server.counts.total()
    report, _ = import_once(home, feed, server)
    assert (report.added, report.unchanged) == (0, 5)
    assert server.counts.total() == asked


def test_copies_that_a_kill_left_are_taken(tmp_path: Path, feed: Path, server: PhotoServer) -> None:
    """Photos whose products were not committed before a kill are not fetched again."""
    home = Home.create(tmp_path / "home")
    import_once(home, feed, server)
    again = Home.create(tmp_path / "again")
    open_catalog(again).close()
    shutil.copytree(home.photos, again.photos)
    shutil.copy(home.fetch_file, again.fetch_file)
    asked = server.counts.total()
    assert import_once(again, feed, server)[0].added == 5
    assert server.counts.total() == asked


def test_fetched_photos_are_forgotten(tmp_path: Path, feed: Path, server: PhotoServer) -> None:
    """With a forgetter as keeper only vectors and thumbnails stay, and the feed changes nothing."""
    home = Home.create(tmp_path / "home")
    forgetter = forgetter_of(home)
    import_once(home, feed, server, forgetter)
    assert forgetter.settle() == 9
    assert files(home) == 0
    with open_catalog(home) as catalog:
        row = catalog.photo(catalog.get("p0").photos[0])
        assert row is not None
        assert PhotoStore(home).thumbnail(row, 320)
    asked = server.counts.total()
    report, _ = import_once(home, feed, server, forgetter_of(home))
    assert report.unchanged == 5
    assert server.counts.total() == asked
