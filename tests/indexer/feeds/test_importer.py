"""An import brings the catalog to what the data says: repeatable, restartable, and nothing lost on
the way."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import Tag
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import BadDataError, BusyError, SyncRefusedError
from indexer.core.home import Home
from indexer.core.sqlite import Database
from indexer.feeds import importer
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import ImportReport
from indexer.feeds.importer import import_feed
from indexer.feeds.notice import Notice
from indexer.feeds.product_writer import Candidate, ProductWriter
from indexer.operations import jobs
from tools import cli


def draw(path: Path, number: int, size: tuple[int, int] = (24, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.Random(number).randbytes(size[0] * size[1] * 3)
    Image.frombytes("RGB", size, pixels).save(path, "PNG" if path.suffix == ".png" else "JPEG")


def feed(
    root: Path, *lines: str, header: str = "product_id,image,title,category,tags,price"
) -> Path:
    path = root / "feed.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def run(home: Home, path: Path, **options: Any) -> ImportReport:
    return import_feed(home, path, ImportOptions(**options))


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.added, report.replaced, report.unchanged, report.deleted


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve photos i/0.jpg to i/11.jpg."""
    for number in range(12):
        draw(tmp_path / f"data/i/{number}.jpg", number)
    return tmp_path / "data"


def lines(*numbers: int, title: str = "T") -> list[str]:
    return [f"p{number},i/{number}.jpg,{title},A > B,x|y,{number}" for number in numbers]


def test_products_arrive_whole(home: Home, source: Path) -> None:
    """Fields, types, tags' source and photos are what the feed says; the photo's copy is exact."""
    report = run(home, feed(source, *lines(0), "p0,i/1.jpg,,,,", *lines(2)))
    assert (counts(report), report.skipped) == ((2, 0, 0, 0), [])
    with open_catalog(home) as catalog:
        stored = catalog.get("p0")
        assert (stored.title, stored.category, stored.attributes) == ("T", ("A", "B"), {"price": 0})
        assert stored.tags == (Tag("x", "merchant"), Tag("y", "merchant"))
        rows = catalog.photos_by_id(stored.photo_ids)
        first, second = (rows[photo_id] for photo_id in stored.photo_ids)
        assert PhotoStore(home).read(first) == (source / "i/0.jpg").read_bytes()
        assert PhotoStore(home).read(second) == (source / "i/1.jpg").read_bytes()
        assert (first.format, first.width, first.height, first.storage) == ("JPEG", 24, 16, "copy")
        assert catalog.types() == {"price": "number"}


def test_importing_again_changes_nothing(home: Home, source: Path) -> None:
    """The second run is all unchanged and takes no sequence number; one edited row is one replaced
    product."""
    path = feed(source, *lines(0, 1, 2))
    run(home, path)
    assert counts(run(home, path)) == (0, 0, 3, 0)
    with open_catalog(home) as catalog:
        assert catalog.last_sequence() == 3
    feed(source, *lines(0, 1), *lines(2, title="New"), *lines(3))
    assert counts(run(home, path)) == (1, 1, 2, 0)
    draw(source / "i/1.jpg", 200)  # same name, other content
    assert counts(run(home, path)) == (0, 1, 3, 0)


def test_a_dry_run_reports_the_same_and_writes_nothing(home: Home, source: Path) -> None:
    """Whatever the run would do is told before, also into an empty home; no file appears."""
    path = feed(source, *lines(0, 1, 2, 3), "bad,i/none.jpg,,,,")
    (source / "i/3.jpg").write_bytes(b"no picture")

    def both(**options: object) -> tuple[int, int, int, int]:
        before = sorted(str(found) for found in home.path.rglob("*"))
        foretold = run(home, path, dry_run=True, **options)  # type: ignore[arg-type]
        assert sorted(str(found) for found in home.path.rglob("*")) == before
        report = run(home, path, **options)  # type: ignore[arg-type]
        assert (counts(foretold), foretold.skipped) == (counts(report), report.skipped)
        return counts(report)

    assert both() == (3, 0, 0, 0)
    feed(source, *lines(0), *lines(1, title="New"), *lines(4))
    assert both(sync=True, allow_deletes=1) == (1, 1, 1, 1)
    with open_catalog(home) as catalog:
        assert catalog.product_ids() == {"p0", "p1", "p4"}


def test_bad_photos_are_skipped_with_their_reason(home: Home, source: Path) -> None:
    """Truncated, text, empty, huge: each row named with its file; a product lives on its good
    photos."""
    whole = (source / "i/0.jpg").read_bytes()
    (source / "i/1.jpg").write_bytes(whole[: len(whole) // 2])
    (source / "i/2.jpg").write_text("I am no photo")
    (source / "i/3.jpg").write_bytes(b"")
    Image.new("1", (12_000, 9_000)).save(source / "i/4.png")
    images = ("0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.png")
    report = run(
        home,
        feed(source, *[f"good,i/{image},,,," for image in images], "bad,i/2.jpg,,,,", *lines(5)),
    )
    assert counts(report) == (2, 0, 0, 0)
    assert [skip.where for skip in report.skipped] == [
        f"feed.csv:{line}" for line in (3, 4, 5, 6, 7)
    ]
    assert all(
        f"i/{image}" in skip.reason for image, skip in zip(images[1:], report.skipped, strict=False)
    )
    assert "empty" in report.skipped[2].reason
    assert "12000 x 9000" in report.skipped[3].reason
    with open_catalog(home) as catalog:
        assert catalog.product_ids() == {"good", "p5"}
        assert (len(catalog.get("good").photos), catalog.photo_count()) == (1, 2)


def test_two_products_may_share_a_photo(home: Home, source: Path) -> None:
    """Both are kept; the photo is stored once."""
    draw(source / "i/copy.jpg", 0)
    report = run(home, feed(source, *lines(0), "twin,i/0.jpg,,,,", "third,i/copy.jpg,,,,"))
    assert counts(report) == (3, 0, 0, 0)
    with open_catalog(home) as catalog:
        assert (len(catalog), catalog.photo_count()) == (3, 1)
        assert catalog.entries()[1].tolist() == [[1, 1], [2, 1], [3, 1]]


def test_sync_deletes_what_the_feed_lacks(home: Home, source: Path) -> None:
    """A tenth may go unasked; a product whose photo is broken today is not lacking."""
    path = feed(source, *lines(*range(11)))
    run(home, path)
    (source / "i/1.jpg").unlink()
    (source / "i/2.jpg").write_bytes(b"broken today")
    feed(source, *lines(*range(10)))
    report = run(home, path, sync=True)
    assert (counts(report), len(report.skipped)) == ((0, 0, 8, 1), 2)
    with open_catalog(home) as catalog:
        assert catalog.product_ids() == {f"p{number}" for number in range(10)}
        assert catalog.photo_count() == 10
    assert len([path for path in home.photos.rglob("*") if path.is_file()]) == 10


def test_a_sync_says_that_the_log_still_holds_what_it_deleted(
    home: Home, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another process reads the log, the report says so and what takes it out."""
    run(home, feed(source, *lines(*range(10))))
    monkeypatch.setattr(Database, "checkpoint", lambda self: False)
    report = run(home, feed(source, *lines(*range(9))), sync=True)
    assert report.deleted == 1
    (notice,) = report.warnings
    assert (notice.code, notice.where) == ("log-in-use", "catalog.sqlite3")
    assert "catalens index erase" in notice.reason


def test_sync_deletes_nothing_that_was_written_while_it_ran(
    home: Home, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what came before the deletions were listed nor what was changed after."""
    path = feed(source, *lines(*range(11)))
    run(home, path)
    feed(source, *lines(*range(8)), *lines(11))
    real = importer.missing_ids
    put = ProductWriter.put_batch

    def meanwhile(catalog: Catalog, mentioned: np.ndarray) -> Iterator[str]:
        catalog.put(replace(catalog.get("p0"), product_id="fresh"))
        yield from real(catalog, mentioned)

    def then(writer: ProductWriter, batch: list[Candidate]) -> None:
        with open_catalog(home) as catalog:
            catalog.patch("p9", {"title": "somebody's"})
        put(writer, batch)

    monkeypatch.setattr(importer, "missing_ids", meanwhile)
    monkeypatch.setattr(ProductWriter, "put_batch", then)
    report = run(home, path, sync=True, allow_deletes=3)
    with open_catalog(home) as catalog:
        left = catalog.product_ids()
    assert {"fresh", "p9"} <= left
    assert not {"p8", "p10"} & left
    assert [(each.where, each.code) for each in report.warnings] == [("p9", "changed")]


def test_sync_refuses_to_empty_the_catalog(home: Home, source: Path) -> None:
    """Above a tenth nothing at all is written, and the refusal names the numbers."""
    path = feed(source, *lines(*range(10)))
    run(home, path)
    feed(source, *lines(*range(2, 10)), *lines(11))
    for allowed in (None, 1):
        with pytest.raises(SyncRefusedError, match=r"2 of 10 products.*--allow-deletes 2"):
            run(home, path, sync=True, allow_deletes=allowed)
    with open_catalog(home) as catalog:
        assert catalog.last_sequence() == 10
    assert counts(run(home, path, sync=True, allow_deletes=2)) == (
        1,
        0,
        8,
        2,
    )


def test_sync_deletes_nothing_that_a_broken_line_may_name(home: Home, source: Path) -> None:
    """A broken line's own product stays; where it cannot be told which that is, deletes must be
    allowed by number."""
    header, rows = "image,title", [f"i/{number}.jpg,T" for number in range(11)]
    path = feed(source, *rows, header=header)
    run(home, path)
    feed(source, *rows[:9], "i/9.jpg,Shirt, red", header=header)
    report = run(home, path, sync=True)
    assert (counts(report), [skip.where for skip in report.skipped]) == (
        (0, 0, 9, 1),
        ["feed.csv:11"],
    )
    with open_catalog(home) as catalog:
        assert catalog.product_ids() == {f"i/{number}" for number in range(10)}
    feed(source, "i/0.j", *rows[1:9], "i/9", header=header)
    for allowed in (None, 1):
        with pytest.raises(
            SyncRefusedError,
            match=r"2 of 10 products.* 2 lines .*first: feed\.csv:2\).*-deletes 2\)$",
        ):
            run(home, path, sync=True, allow_deletes=allowed)
    feed(source, *rows[:9], "i/9", header=header)
    with pytest.raises(SyncRefusedError, match=r"1 of 10 products, but 1 line of"):
        run(home, path, sync=True)
    assert counts(run(home, path)) == (0, 0, 9, 0)
    assert counts(run(home, path, sync=True, allow_deletes=1)) == (
        0,
        0,
        9,
        1,
    )
    feed(source, *rows[:9], "x", header=header)
    assert counts(run(home, path, sync=True)) == (
        0,
        0,
        9,
        0,
    )  # there is nothing to delete


@pytest.mark.parametrize("suffix", [".csv", ".xml"])
def test_sync_deletes_nothing_where_the_feed_is_cut_off(
    home: Home, source: Path, suffix: str
) -> None:
    """A download that broke within a row names that one, and nobody knows which would follow."""
    path = source / f"feed{suffix}"
    names = ("id", "title", "image_link", "price")
    rows = [(f"P{n}", f"T{n}", f"i/{n % 3}.jpg", f"{n}.50 EUR") for n in range(20)]
    lines = [",".join(names), *map(",".join, rows)]
    if suffix == ".xml":
        items = [dict(zip(names, row, strict=True)).items() for row in rows]
        lines = ['<rss xmlns:g="http://base.google.com/ns/1.0"><channel>']
        for item in items:
            lines.append("".join(f"<g:{name}>{text}</g:{name}>" for name, text in item))
            lines[-1] = f"<item>{lines[-1]}</item>"
        lines.append("</channel></rss>")
    whole = "\n".join(lines) + "\n"
    path.write_text(whole)
    assert run(home, path).added == 20
    path.write_text(whole[: whole.index("T18") + 2])
    with pytest.raises(SyncRefusedError, match=r"would delete 1 of 20 .* may name some of them"):
        run(home, path, sync=True)
    assert run(home, path).unchanged == 18


def test_a_path_that_is_no_text_is_not_referred_to(home: Home, tmp_path: Path) -> None:
    """No row of the catalog can hold it: the photo is left out, and the report says what to do."""
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    (odd / "rings").mkdir(parents=True)
    Image.new("RGB", (40, 40), "red").save(odd / "rings" / "a.png")
    report = run(home, odd, photos="reference")
    assert (report.added, "--photos copy" in repr(report)) == (0, True)
    assert run(home, odd).added == 1


def test_references_are_not_copied(home: Home, source: Path) -> None:
    """The home holds no photo; a moved file is found again by its content; a later
    copy run copies."""
    path = feed(source, *lines(0, 1))
    run(home, path, photos="reference")
    assert not home.photos.exists()
    store = PhotoStore(home)
    with open_catalog(home) as catalog:
        row = catalog.photos_by_id([1])[1]
        assert (row.storage, row.path) == ("reference", str(source / "i/0.jpg"))
        (source / "i/0.jpg").rename(source / "i/moved.jpg")
        feed(source, "p0,i/moved.jpg,T,A > B,x|y,0", *lines(1))
        assert counts(run(home, path, photos="reference")) == (0, 0, 2, 0)
        assert store.read(catalog.photos_by_id([1])[1]) == (source / "i/moved.jpg").read_bytes()
        assert counts(run(home, path)) == (0, 0, 2, 0)
        row = catalog.photos_by_id([1])[1]
        assert (row.storage, row.path, store.has_copy(row.content_hash)) == ("copy", None, True)


def test_a_lost_copy_is_mended(home: Home, source: Path) -> None:
    """Importing again puts back a copy that somebody deleted."""
    path = feed(source, *lines(0))
    run(home, path)
    (copy,) = [found for found in home.photos.rglob("*") if found.is_file()]
    copy.unlink()
    assert counts(run(home, path)) == (0, 0, 1, 0)
    assert copy.read_bytes() == (source / "i/0.jpg").read_bytes()


def weighed(root: Path, *rows: str) -> Path:
    return feed(root, *rows, header="product_id,image,title,category,tags,weight")


def test_stored_types_hold_for_later_feeds(home: Home, source: Path) -> None:
    """A later feed is read by the first one's types; a value that cannot be is left out, its
    product stays; a fixed type converts or is refused."""
    path = weighed(source, *lines(0, 1))
    run(home, path)
    weighed(source, *lines(0), "p2,i/2.jpg,,,,7", "p3,i/3.jpg,,,,soon")
    report = run(home, path)
    assert (counts(report), report.skipped) == ((2, 0, 1, 0), [])
    assert [(note.where, note.column, note.value) for note in report.warnings] == [
        ("feed.csv:4", "weight", "soon")
    ]
    assert "'weight': expected number, got 'soon'" in report.warnings[0].reason
    with open_catalog(home) as catalog:
        assert catalog.get("p2").attributes == {"weight": 7}
        assert catalog.get("p3").attributes == {}
    with pytest.raises(
        BadDataError, match=r"product 'p0', attribute 'weight': expected bool, got 0"
    ):
        run(home, weighed(source, "p0,i/0.jpg,,,,true"), types={"weight": "bool"}, dry_run=True)
    weighed(source, *lines(0), "p3,i/3.jpg,,,,soon")
    assert counts(run(home, path, types={"weight": "string"})) == (0, 1, 1, 0)
    with open_catalog(home) as catalog:
        assert [catalog.get(id_).attributes["weight"] for id_ in ("p0", "p1", "p3")] == [
            "0",
            "1",
            "soon",
        ]


WIDE = "product_id,image,flag,weight,phone,code,sizes"


def by_command(home: Home, path: Path, capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capfd.readouterr()
    assert cli.run(["import", str(path), "--home", str(home.path), "--json"]) == 0
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    return found


def by_job(home: Home, path: Path, _: pytest.CaptureFixture[str]) -> dict[str, Any]:
    work = jobs.Jobs(home)
    job = work.add("import", {"path": str(path), "root": str(path.parent)})
    jobs.run(home, job.job_id)
    return dict(work.get(job.job_id).result or {})


@pytest.mark.parametrize("do", [by_command, by_job])
def test_a_later_feed_that_looks_narrower_changes_no_value(
    home: Home, source: Path, capfd: pytest.CaptureFixture[str], do: Callable[..., dict[str, Any]]
) -> None:
    """Cells are read by the types of the catalog, by command and by job: the same cells are the
    same values."""
    same = "p0,i/0.jpg,True,38.50,+4912,a|b,38"
    do(home, feed(source, same, "p1,i/1.jpg,maybe,on request,none,a | b,38|39", header=WIDE), capfd)
    with open_catalog(home) as catalog:
        before = catalog.get("p0").attributes
        types = catalog.types()
    assert before == {
        "flag": "True",
        "weight": "38.50",
        "phone": "+4912",
        "code": "a|b",
        "sizes": ["38"],
    }
    found = do(home, feed(source, same, "p2,i/2.jpg,False,7.0,+4913,b|c,40", header=WIDE), capfd)
    assert (found["added"], found["replaced"], found["unchanged"], found["skipped"]) == (
        1,
        0,
        1,
        [],
    )
    with open_catalog(home) as catalog:
        assert catalog.get("p0").attributes == before
        assert catalog.get("p2").attributes == {
            "flag": "False", "weight": "7.0", "phone": "+4913", "code": "b|c", "sizes": ["40"],
        }  # fmt: skip
        assert catalog.types() == types


def test_importing_odd_values_again_changes_nothing(home: Home, source: Path) -> None:
    """What no attribute can hold is left out each time, and its product is kept each time."""
    rows = [
        {"product_id": "p0", "image": "i/0.jpg", "n": 1},
        {"product_id": "p1", "image": "i/1.jpg", "n": {"a": 1}},
    ]
    path = source / "feed.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    for expected in ((2, 0, 0, 0), (0, 0, 2, 0)):
        report = run(home, path)
        assert (counts(report), report.skipped, [note.where for note in report.warnings]) == (
            expected,
            [],
            ["feed.jsonl:2"],
        )


def test_mixed_columns_do_not_depend_on_their_first_row(home: Home, source: Path) -> None:
    """A text column whose first value looks like a date is text for every row."""
    rows = ("a,i/0.jpg,,,,2024-01-31", "b,i/1.jpg,,,,soon")
    report = run(home, feed(source, *rows))
    assert (counts(report), report.skipped) == ((2, 0, 0, 0), [])


def test_reports_carry_what_reading_found(home: Home, source: Path) -> None:
    """Rows lost while reading and fields lost while merging are in the report."""
    report = run(home, feed(source, *lines(0), "p0,i/1.jpg,Other,,,", "x"))
    assert [skip.where for skip in report.skipped] == ["feed.csv:4"]
    assert [type(warning) for warning in report.warnings] == [Notice]
    assert "'Other'" in report.warnings[0].reason


def test_two_imports_at_once_are_refused(home: Home, source: Path) -> None:
    """The second one says that the first is running; a dry run may."""
    data = feed(source, *lines(0))
    with home.lock("import"):
        with pytest.raises(BusyError, match="import"):
            run(home, data)
        assert run(home, data, dry_run=True).added == 1


KILLED = """
import sys
from pathlib import Path
from indexer.feeds import importer as imports
from indexer.core.home import Home
imports.BATCH = 5
print("ready", flush=True)
def tell(stage, done, total):
    if stage == "import":
        print(done, flush=True)
imports.import_feed(Home(sys.argv[1]), Path(sys.argv[2]), progress=tell)
"""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_killed_import_loses_nothing_it_reported(home: Home, tmp_path: Path, seed: int) -> None:
    """SIGKILL at any moment: the catalog opens whole, every reported product is there, the next run
    completes."""
    products = 150
    for number in range(products):
        draw(tmp_path / f"data/c{number % 3}/{number:03}.jpg", number)
    data = tmp_path / "data"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", KILLED, str(home.path), str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(random.Random(seed).uniform(0.02, 0.15))
        process.send_signal(signal.SIGKILL)
        reported = max([int(line) for line in process.stdout.read().split()], default=0)
    expected = [f"c{number % 3}/{number:03}" for number in range(products)]
    expected.sort()
    if home.catalog_file.exists() and home.catalog_file.stat().st_size:
        with Catalog.create(home.catalog_file) as catalog:
            assert catalog.database.connection.execute("PRAGMA integrity_check").fetchall() == [
                ("ok",)
            ]
            there = catalog.product_ids()
            assert there >= set(expected[:reported])
            store = PhotoStore(home)
            for product in catalog.iterate():
                for row in catalog.photos_by_id(product.photo_ids).values():
                    assert len(store.read(row)) == row.bytes
    else:
        assert reported == 0
        there = set()
    report = run(home, data)
    assert counts(report) == (products - len(there), 0, len(there), 0)
    with open_catalog(home) as catalog:
        assert catalog.product_ids() == set(expected)
        assert catalog.last_sequence() == products


@pytest.mark.realdata
def test_real_feed_keeps_duplicates(home: Home, fashion: Path, tmp_path: Path) -> None:
    """The real feed's exact duplicates are products of their own over one photo."""
    with fashion.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    rows = found[:300]
    part = tmp_path / "part.csv"
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert counts(run(home, part, photos_root=fashion.parent)) == (len(rows), 0, 0, 0)
    with open_catalog(home) as catalog:
        assert len(catalog) == len(rows)
        images = [fashion.parent / row["image"] for row in rows]
        assert catalog.photo_count() == len({image.read_bytes() for image in images})


def test_a_field_that_no_catalog_takes_costs_itself(home: Home, source: Path) -> None:
    """An address that runs a script and a brand of a page's length are left out, and named."""
    header = "product_id,image,title,url,brand,price"
    rows = [
        "p0,i/0.jpg,T,javascript:alert(1),B,1",
        f"p1,i/1.jpg,U,https://x.example/,{'b' * 1001},2",
    ]
    report = run(home, feed(source, *rows, header=header))
    assert (counts(report), report.skipped) == ((2, 0, 0, 0), [])
    assert [(found.where, found.column) for found in report.warnings] == [
        ("feed.csv:2", "url"),
        ("feed.csv:3", "brand"),
    ]
    with open_catalog(home) as catalog:
        one, two = (catalog.get(name).fields for name in ("p0", "p1"))
    assert (one.url, one.brand, one.price) == (None, "B", 1.0)
    assert (two.url, two.brand, two.price) == ("https://x.example/", None, 2.0)


def test_a_batch_has_not_too_many_photos(
    home: Home, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products are committed together as long as their photos are few."""
    monkeypatch.setattr(importer, "_BATCH_PHOTOS", 4)
    batches: list[int] = []
    put = ProductWriter.put_batch

    def note(writer: ProductWriter, batch: list[Candidate]) -> None:
        batches.append(len(batch))
        put(writer, batch)

    monkeypatch.setattr(ProductWriter, "put_batch", note)
    rows = [f"p{n // 2},i/{n}.jpg" for n in range(10)]
    report = run(home, feed(source, *rows, header="product_id,image"))
    assert (counts(report), batches) == ((5, 0, 0, 0), [2, 2, 1])
