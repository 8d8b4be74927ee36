"""Products come in as their photos arrive; what does not arrive is named, the rest goes on."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import DiskFullError
from indexer.core.home import Home
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import ImportReport
from indexer.feeds.importer import import_feed
from indexer.fetch.fetcher import FetchedPhoto, FetchJob
from indexer.fetch.settings import FetchSettings
from indexer.imaging.decode import hash_content

CDN = "https://cdn.example.com/"
FETCH = ImportOptions(fetch=True)


def jpeg(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 10), (number * 20, 0, 0)).save(stream, "JPEG")
    return stream.getvalue()


class ShelfFetcher:
    """Answers from a shelf, the newest of every eight jobs first, and a photo a second time without
    its bytes."""

    def __init__(self, **shelf: bytes) -> None:
        self.shelf = shelf
        self.settings = FetchSettings()
        self.given: dict[str, str] = {}
        self.asked: list[str] = []
        # Raised after so many answers.
        self.breaks_after: int | None = None

    def fetch(self, jobs: Iterable[FetchJob]) -> Iterator[FetchedPhoto]:
        waiting: list[FetchJob] = []
        for number, job in enumerate(jobs):
            if number == self.breaks_after:
                raise KeyboardInterrupt
            waiting.append(job)
            if len(waiting) == 8:
                yield from map(self._answer, reversed(waiting))
                waiting.clear()
        yield from map(self._answer, reversed(waiting))

    def _answer(self, job: FetchJob) -> FetchedPhoto:
        name = job.url.removeprefix(CDN)
        self.asked.append(name)
        if name in self.given:
            return FetchedPhoto(job, None, self.given[name], "unchanged")
        data = self.shelf.get(name)
        if data is None:
            return FetchedPhoto(job, None, None, "failed", f"{job.url}: 404 Not Found")
        self.given[name] = hash_content(data)
        return FetchedPhoto(job, data, self.given[name], "new")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def google(root: Path, *rows: str) -> Path:
    """Rows of "id,price,photo photo"."""
    lines = ["id\ttitle\tlink\timage_link\tadditional_image_link\tavailability\tprice"]
    for row in rows:
        product_id, price, photos = row.split(",")
        first, *others = [CDN + name for name in photos.split()]
        cells = (product_id, "T", f"https://s.example/{product_id}", first, ",".join(others))
        lines.append("\t".join((*cells, "in_stock", f"{price} EUR")))
    path = root / "feed.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.added, report.replaced, report.unchanged, report.skipped.total


def test_products_come_as_their_photos_arrive(home: Home, tmp_path: Path) -> None:
    """Photos keep the shop's order and their address; one photo of two addresses is one; a second
    run asks for nothing."""
    path = google(tmp_path, "a,1,p0 p1 p2", "b,2,p1", "c,3,p3 p3b")
    fetcher = ShelfFetcher(p0=jpeg(0), p1=jpeg(1), p2=jpeg(2), p3=jpeg(3), p3b=jpeg(3))
    assert counts(import_feed(home, path, FETCH, fetcher=fetcher)) == (3, 0, 0, 0)
    with open_catalog(home) as catalog:
        product = catalog.get("a")
        assert product.photos == tuple(hash_content(jpeg(number)) for number in (0, 1, 2))
        assert [product.sources[found] for found in product.photos] == [
            CDN + name for name in ("p0", "p1", "p2")
        ]
        assert len(catalog.get("c").photos) == 1
        assert catalog.get("a").fields.price == 1
    fetcher.asked.clear()
    assert counts(import_feed(home, path, FETCH, fetcher=fetcher)) == (0, 0, 3, 0)
    assert fetcher.asked == []


def test_only_new_products_photos_are_asked_for(home: Home, tmp_path: Path) -> None:
    """A changed price asks for the photos of its product only, and needs none of their bytes."""
    fetcher = ShelfFetcher(p0=jpeg(0), p1=jpeg(1), p2=jpeg(2))
    import_feed(home, google(tmp_path, "a,1,p0", "b,2,p1"), FETCH, fetcher=fetcher)
    fetcher.asked.clear()
    path = google(tmp_path, "a,1,p0", "b,9,p1", "c,3,p2")
    assert counts(import_feed(home, path, FETCH, fetcher=fetcher)) == (1, 1, 1, 0)
    assert sorted(fetcher.asked) == ["p1", "p2"]


def test_photos_that_do_not_come(home: Home, tmp_path: Path) -> None:
    """A missing one is named with its product's line, a web page too; a product lives on its good
    ones; one without any is left out, or keeps what it has and takes its price."""
    fetcher = ShelfFetcher(p0=jpeg(0), page=b"<html>" * 100)
    path = google(tmp_path, "a,1,p0 gone", "b,2,gone", "c,3,page")
    report = import_feed(home, path, FETCH, fetcher=fetcher)
    assert counts(report) == (1, 0, 0, 3)
    reasons = {note.where: note.reason for note in report.skipped}
    assert "404" in reasons["feed.tsv:2"]
    assert "product 'b' is left out" in reasons["feed.tsv:3"]
    assert "page" in reasons["feed.tsv:4"]
    del fetcher.shelf["p0"]
    fetcher.given.clear()
    report = import_feed(home, google(tmp_path, "a,5,p0 gone"), FETCH, fetcher=fetcher)
    assert counts(report) == (0, 1, 0, 2)
    with open_catalog(home) as catalog:
        product = catalog.get("a")
        assert (product.fields.price, product.photos) == (5, (hash_content(jpeg(0)),))


def test_without_fetching(home: Home, tmp_path: Path) -> None:
    """It is said what to do; products that are there take what changed, with the photos they
    have."""
    path = google(tmp_path, "a,1,p0", "b,2,p1")
    report = import_feed(home, path)
    assert counts(report) == (0, 0, 0, 2)
    assert report.failure is not None
    assert "--fetch" in report.failure
    import_feed(home, path, FETCH, fetcher=ShelfFetcher(p0=jpeg(0), p1=jpeg(1)))
    report = import_feed(home, google(tmp_path, "a,7,p0", "b,2,p1", "c,3,p2"))
    assert counts(report) == (0, 1, 1, 1)
    with open_catalog(home) as catalog:
        assert catalog.get("a").fields.price == 7


def test_an_interrupted_run_goes_on(home: Home, tmp_path: Path) -> None:
    """What was committed is not asked for again, the rest is."""
    rows = [f"p{number},1,{number}" for number in range(600)]
    path = google(tmp_path, *rows)
    fetcher = ShelfFetcher(**{str(number): jpeg(number % 12) for number in range(600)})
    fetcher.breaks_after = 500
    with pytest.raises(KeyboardInterrupt):
        import_feed(home, path, FETCH, fetcher=fetcher)
    with open_catalog(home) as catalog:
        committed = catalog.product_ids()
    assert len(committed) == 256
    fetcher.breaks_after = None
    fetcher.asked.clear()
    report = import_feed(home, path, FETCH, fetcher=fetcher)
    assert counts(report) == (344, 0, 256, 0)
    assert {f"p{name}" for name in fetcher.asked} == {f"p{n}" for n in range(600)} - committed


@pytest.mark.parametrize("breaks_after", [None, 9])
def test_a_run_that_fails_leaves_no_fetched_photo(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks_after: int | None
) -> None:
    """Whether the catalog takes no batch or the fetching ends before there is one; a photo that a
    product has stays."""
    shelf = {str(number): jpeg(number) for number in range(12)}
    fetcher = ShelfFetcher(**shelf)
    import_feed(home, google(tmp_path, "p0,1,0"), FETCH, fetcher=fetcher)

    def fail(*_: object, **__: object) -> None:
        raise DiskFullError("no room")

    fetcher.breaks_after = breaks_after
    path = google(tmp_path, *(f"p{number},2,{number}" for number in range(12)))
    monkeypatch.setattr(Catalog, "apply", fail)
    with pytest.raises((DiskFullError, KeyboardInterrupt)):
        import_feed(home, path, FETCH, fetcher=fetcher)
    found = [entry.name for entry in home.photos.rglob("*") if entry.is_file()]
    assert found == [hash_content(shelf["0"])]


def test_addresses_are_asked_again_after_their_time(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row did not change, but a week went by."""
    path = google(tmp_path, "a,1,p0")
    fetcher = ShelfFetcher(p0=jpeg(0))
    import_feed(home, path, FETCH, fetcher=fetcher)
    fetcher.asked.clear()
    fetcher.settings = replace(fetcher.settings, recheck_s=-2)
    assert counts(import_feed(home, path, FETCH, fetcher=fetcher)) == (0, 0, 1, 0)
    assert fetcher.asked == ["p0"]


def test_a_dry_run_fetches_nothing(home: Home, tmp_path: Path) -> None:
    """And says what would be added once the photos are there."""
    fetcher = ShelfFetcher()
    options = ImportOptions(fetch=True, dry_run=True)
    report = import_feed(home, google(tmp_path, "a,1,p0"), options, fetcher=fetcher)
    assert (counts(report), fetcher.asked) == ((1, 0, 0, 0), [])
