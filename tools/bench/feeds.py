"""Benchmark ``feeds``: fields of every profile, memory and rows a second of large imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from indexer.core.errors import CatalensError
from indexer.feeds.detection import detect
from indexer.feeds.notice import Notice
from indexer.feeds.product import FeedProduct
from indexer.feeds.product_reader import ProductReader
from indexer.feeds.reader import LostLines, Record, open_table
from tools.bench.data.feed_fixtures import FIXTURES, FeedFixture, field_values
from tools.bench.data.feed_formats import write_feed
from tools.bench.data.feeds import MadeProduct, made_products, write_photos
from tools.bench.data.native_fixtures import NATIVE_FIXTURES
from tools.bench.data.shop_system_fixtures import SHOP_SYSTEM_FIXTURES
from tools.bench.harness.framework import BenchRow, Goal, figure, knob

PARTS = ("fields", "rows")
GOALS = (
    Goal("fields of the fixture feeds that are right", ">=", 1, figure("fields", "share_right")),
    Goal("peak memory of the import process, MB", "<", 300, figure("rows", "peak_mb")),
    Goal(
        "rows a second of a second run, 1% changed",
        ">=",
        20_000,
        figure("rows", "second_rows_per_s"),
    ),
)
ALL_FIXTURES = (*NATIVE_FIXTURES, *FIXTURES, *SHOP_SYSTEM_FIXTURES)
# Rows of a made product, on average, in the format that is measured.
_ROWS_A_PRODUCT = 2.83
# Products whose photos stand for those of all.
_DRAWN = 40


@dataclass
class ReadFeed:
    """What a feed became, without being stored."""

    profile: str
    products: list[FeedProduct] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)


def read_feed(path: Path) -> ReadFeed:
    """Read a small feed as an import does, by the profile that is found. Raises ``BadDataError``
    where none is."""
    table = open_table(path)
    found = ReadFeed(detect(table).profile.name)
    reader = ProductReader(table, detect(table).profile, warn=found.notices)
    lost = LostLines()
    records = list(table.records(lost))
    keys = [reader.group_key(record) for record in records]
    groups: dict[str, list[Record]] = {}
    for key, record in zip(keys, records, strict=True):
        groups.setdefault(reader.resolve(key), []).append(record)
    for group in groups.values():
        found.products += reader.read_group(group)
    found.notices += [*table.notices, *lost.skipped, *lost.warnings]
    return found


def wrong_fields(fixture: FeedFixture, folder: Path) -> list[str]:
    """What differs from what ``fixture`` expects, in words; empty where all is right."""
    path = folder / fixture.file_name
    path.write_bytes(fixture.data)
    try:
        found = read_feed(path)
    except CatalensError as error:
        return [f"{fixture.name}: {error}"]
    wrong = []
    if found.profile != fixture.profile:
        wrong.append(f"{fixture.name}: profile {found.profile}")
    products = {product.product_id: field_values(product) for product in found.products}
    if sorted(products) != sorted(fixture.expected):
        wrong.append(f"{fixture.name}: products {sorted(products)}")
    for product_id, fields in fixture.expected.items():
        got = products.get(product_id, {})
        wrong += [
            f"{fixture.name}: {product_id} {name}: {got.get(name)!r}, not {value!r}"
            for name, value in fields.items()
            if got.get(name) != value
        ]
    said = " ".join(notice.reason for notice in found.notices)
    wrong += [f"{fixture.name}: not said: {text}" for text in fixture.said if text not in said]
    return wrong


def measure(part: str, work: Path) -> BenchRow:
    """One part's row."""
    return _fields() if part == "fields" else _rows(work)


def _fields() -> BenchRow:
    wrong: list[str] = []
    checked = 0
    with tempfile.TemporaryDirectory() as folder:
        for fixture in ALL_FIXTURES:
            # Each field, the profile, the ids, and what should be said.
            checked += sum(map(len, fixture.expected.values())) + 2 + len(fixture.said)
            wrong += wrong_fields(fixture, Path(folder))
    return {
        "recipe": f"{len(ALL_FIXTURES)} small feeds, each as its shop system exports it",
        "profiles": len({fixture.profile for fixture in ALL_FIXTURES}),
        "checked": checked,
        "wrong": wrong,
        "share_right": 1 - min(len(wrong), checked) / checked,
    }


def _rows(work: Path) -> BenchRow:
    """A feed of many rows imported twice, each in a process of its own; few small photos stand for
    all, so that reading rows is what is measured."""
    wanted = knob("FEED_ROWS", 500_000)
    products = max(int(wanted / _ROWS_A_PRODUCT), 1)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        home, feed = Path(folder) / "home", Path(folder) / "feed.tsv"
        write_photos(Path(folder) / "photos", islice(made_products(_DRAWN), _DRAWN), 32)
        names = sorted(photo.name for photo in (Path(folder) / "photos").iterdir())
        runs = []
        for changed in (0.0, 0.01):
            made = made_products(products, changed=changed)
            rows = write_feed(feed, "google", _with_photos(made, names))
            runs.append(_import(feed, home, rows))
        size = feed.stat().st_size
    first, second = runs
    return {
        "recipe": f"a Google feed of {rows:,} rows and {products:,} products, imported twice; the "
        "second time one price in a hundred has changed",
        "feed_mb": size / 1e6,
        "first_rows_per_s": first["rows_per_s"],
        "first_s": first["seconds"],
        "second_rows_per_s": second["rows_per_s"],
        "second_s": second["seconds"],
        "peak_mb": max(run["peak_mb"] for run in runs),
        "runs": runs,
    }


def _with_photos(products: Iterable[MadeProduct], names: Sequence[str]) -> Iterator[MadeProduct]:
    """The products with photos out of ``names`` instead of their own."""
    for product in products:
        first = product.number % len(names)
        photos = (names[first], names[(first + 1) % len(names)])
        variants = tuple(replace(variant, photos=photos) for variant in product.variants)
        yield replace(product, variants=variants)


def _import(feed: Path, home: Path, rows: int) -> dict[str, Any]:
    """One run of the command, with the most memory that its process held."""
    command = [sys.executable, "-m", "tools.cli", "import", str(feed), "--home", str(home)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        child = subprocess.Popen([*command, "--json"], stdout=out, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise CatalensError(f"the import failed: {' '.join(said[-1:])}")
        out.seek(0)
        report = json.loads(out.read())
    return {
        "rows": rows,
        "seconds": seconds,
        "rows_per_s": rows / seconds,
        "processor_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        **{name: report[name] for name in ("added", "replaced", "unchanged", "deleted")},
    }
