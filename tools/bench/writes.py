"""Benchmark ``writes``: what a catalog's safety costs, beside plain SQLite with the same
durability."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from indexer.catalog.product_fields import ProductFields
from indexer.catalog.records import (
    Delete,
    NewPhoto,
    Patch,
    ProductInput,
    Put,
    Tag,
    Write,
    Written,
)
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import CatalensError
from indexer.core.home import Home
from indexer.core.sqlite import Connection, connect
from tools.bench.data.generated_home import photo_hash, product_id
from tools.bench.harness.framework import BenchRow, Goal, figure, knob

_PEER = (
    "SQLite by the same library: the products, tags, photos and log alone, prepared rows, no "
    "checks, no undo, no checksums, no erasure; BEGIN IMMEDIATE, COMMIT, WAL, synchronous FULL, "
    "the same folder, in turn with ours"
)
# Each with the most that ours may take, times the peer's processor time.
_LIMITS = {"put": 6.0, "same": 7.0, "patch": 4.0, "delete": 10.0, "single": 4.0}
_ABOUT = {
    "put": "a new product: three tags, seven attributes, two fields, one photo",
    "same": "the same product again, unchanged",
    "patch": "the price of a product",
    "delete": "a product with all that",
    "single": "the price of a product, its own commit",
}
PARTS = tuple(_ABOUT)
GOALS = tuple(
    Goal(f"{_ABOUT[part]}: processor time over plain SQLite's", "<=", most, figure(part, "ratio"))
    for part, most in _LIMITS.items()
)
# A fifth of them where each has a commit.
_SINGLES = 5
_TABLES = """
CREATE TABLE products (pid INTEGER PRIMARY KEY AUTOINCREMENT, product_id TEXT NOT NULL UNIQUE,
    title TEXT, category TEXT, attributes TEXT NOT NULL, fields TEXT, sequence INTEGER NOT NULL);
CREATE TABLE tags (pid INTEGER NOT NULL, tag TEXT NOT NULL, source TEXT NOT NULL,
    position INTEGER NOT NULL, PRIMARY KEY (pid, tag, source)) WITHOUT ROWID;
CREATE TABLE photos (photo_id INTEGER PRIMARY KEY AUTOINCREMENT, content_hash TEXT NOT NULL UNIQUE);
CREATE TABLE product_photos (pid INTEGER NOT NULL, position INTEGER NOT NULL,
    photo_id INTEGER NOT NULL, PRIMARY KEY (pid, position)) WITHOUT ROWID;
CREATE INDEX product_photos_by_photo ON product_photos (photo_id);
CREATE TABLE changes (sequence INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL,
    kind TEXT NOT NULL)
"""


def measure(part: str, work: Path) -> BenchRow:
    """One kind of write's row: us a write of ours and of the peer, and the median of the ratios
    within pairs."""
    batch, pairs = knob("BATCH", 1000), knob("PAIRS", 7)
    with (
        tempfile.TemporaryDirectory(dir=work) as folder,
        open_catalog(Home.create(Path(folder) / "home")) as catalog,
        closing(_Peer(Path(folder) / "plain.sqlite3")) as peer,
    ):
        ours, plain = [], []
        for number in range(pairs):
            run = _WritePair(number, batch)
            ours.append(run.time_ours(part, catalog))
            plain.append(run.time_peer(part, peer))
    ratios = [mine / other for mine, other in zip(ours, plain, strict=True)]
    return {
        "about": _ABOUT[part],
        "peer": _PEER,
        "recipe": f"{pairs} pairs of {batch} writes on products made before, processor time",
        "ratio": median(ratios),
        "ours_us": median(ours),
        "peer_us": median(plain),
        "ours_per_s": 1e6 / median(ours),
        "ratios": ratios,
        "ours_samples_us": ours,
        "peer_samples_us": plain,
    }


@dataclass(frozen=True)
class _WritePair:
    """The products of one pair, which no other has."""

    number: int
    count: int

    @property
    def _places(self) -> range:
        return range(self.number * self.count, (self.number + 1) * self.count)

    def time_ours(self, part: str, catalog: Catalog) -> float:
        """us a write of the catalog. Raises ``CatalensError`` where one was refused."""
        puts: list[Write] = [_put(place) for place in self._places]
        if part != "put":
            _require(catalog.apply(puts), "added")
        outcome = {"put": "added", "same": "unchanged", "delete": "deleted"}.get(part, "patched")
        writes: list[Write] = puts
        if part in ("patch", "single"):
            writes = [
                Patch(product_id(place), {"fields": {"price": 1.5}}) for place in self._places
            ]
        elif part == "delete":
            writes = [Delete(product_id(place)) for place in self._places]
        portions = [writes]
        if part == "single":
            portions = [[write] for write in writes[::_SINGLES]]
        began = time.process_time()
        results = [catalog.apply(portion) for portion in portions]
        took = time.process_time() - began
        for done in results:
            _require(done, outcome)
        return took / sum(map(len, portions)) * 1e6

    def time_peer(self, part: str, peer: _Peer) -> float:
        """us a write of the peer."""
        if part != "put":
            peer.put(self._places)
        began = time.process_time()
        if part == "single":
            chosen = self._places[::_SINGLES]
            for place in chosen:
                peer.patch([place])
            return (time.process_time() - began) / len(chosen) * 1e6
        {"put": peer.put, "same": peer.compare, "patch": peer.patch, "delete": peer.delete}[part](
            self._places
        )
        return (time.process_time() - began) / self.count * 1e6


def _require(results: Sequence[Written | CatalensError], outcome: str) -> None:
    for result in results:
        if not isinstance(result, Written) or result.outcome != outcome:
            raise CatalensError(f"a write was to be {outcome}, and is {result}")


def _attributes(place: int) -> dict[str, object]:
    return {
        **{"colour": "red", "size": "M", "material": f"m{place % 7}", "new": True},
        **{"stock": place % 90, "weight": 0.5 + place % 9, "season": "summer"},
    }


def _put(place: int) -> Put:
    content_hash = photo_hash(place)
    product = ProductInput(
        product_id(place),
        f"Product {place}",
        ("Clothes", "Shirts"),
        tuple(Tag(tag, "merchant") for tag in ("cotton", "striped", "soft")),
        _attributes(place),
        (content_hash,),
        fields=ProductFields(price=19.5, currency="EUR"),
    )
    return Put(product, [NewPhoto(content_hash, "JPEG", 1, 1, 1, "reference", "/nowhere")])


class _Peer:
    """The same facts in plain SQLite."""

    def __init__(self, file: Path) -> None:
        file.touch()
        self._sql: Connection = connect(file, isolation_level=None)
        self._sql.execute("PRAGMA journal_mode = WAL")
        self._sql.execute("PRAGMA synchronous = FULL")
        for statement in _TABLES.split(";"):
            self._sql.execute(statement)

    def close(self) -> None:
        self._sql.close()

    def put(self, places: Sequence[int]) -> None:
        """Add products, in one commit."""
        sql = self._sql
        sql.execute("BEGIN IMMEDIATE")
        for place in places:
            values = (f"Product {place}", '["Clothes","Shirts"]', json.dumps(_attributes(place)))
            query = (
                "INSERT INTO products (product_id, title, category, attributes, fields, sequence) "
                "VALUES (?, ?, ?, ?, ?, 0)"
            )
            fields = '{"price":19.5,"currency":"EUR"}'
            pid = sql.execute(query, (product_id(place), *values, fields)).lastrowid
            tags = [(pid, tag, at) for at, tag in enumerate(("cotton", "striped", "soft"))]
            sql.executemany("INSERT INTO tags VALUES (?, ?, 'merchant', ?)", tags)
            query = "INSERT INTO photos (content_hash) VALUES (?)"
            photo = sql.execute(query, (photo_hash(place),)).lastrowid
            sql.execute("INSERT INTO product_photos VALUES (?, 0, ?)", (pid, photo))
            self._log(int(pid or 0), "put")
        sql.execute("COMMIT")

    def compare(self, places: Sequence[int]) -> None:
        """Read products with their tags and photos, as whoever finds that nothing changed must."""
        sql = self._sql
        sql.execute("BEGIN IMMEDIATE")
        for place in places:
            (row,) = sql.execute(
                "SELECT pid, title, category, attributes, fields FROM products WHERE "
                "product_id = ?",
                (product_id(place),),
            ).fetchall()
            json.loads(row[3])
            sql.execute("SELECT tag, source FROM tags WHERE pid = ?", (row[0],)).fetchall()
            sql.execute("SELECT photo_id FROM product_photos WHERE pid = ?", (row[0],)).fetchall()
        sql.execute("COMMIT")

    def patch(self, places: Sequence[int]) -> None:
        """Change the price of products, in one commit."""
        sql = self._sql
        sql.execute("BEGIN IMMEDIATE")
        for place in places:
            query = "SELECT pid, fields FROM products WHERE product_id = ?"
            pid, text = sql.execute(query, (product_id(place),)).fetchone()
            fields = json.dumps({**json.loads(text), "price": 1.5})
            sql.execute("UPDATE products SET fields = ? WHERE pid = ?", (fields, pid))
            self._log(pid, "patch")
        sql.execute("COMMIT")

    def delete(self, places: Sequence[int]) -> None:
        """Delete products with their tags and photos, in one commit."""
        sql = self._sql
        sql.execute("BEGIN IMMEDIATE")
        for place in places:
            query = "SELECT pid FROM products WHERE product_id = ?"
            (pid,) = sql.execute(query, (product_id(place),)).fetchone()
            query = "SELECT photo_id FROM product_photos WHERE pid = ?"
            photos = sql.execute(query, (pid,)).fetchall()
            for table in ("products", "tags", "product_photos"):
                sql.execute(f"DELETE FROM {table} WHERE pid = ?", (pid,))
            for photo in photos:
                query = (
                    "DELETE FROM photos WHERE photo_id = ?1 AND NOT EXISTS (SELECT 1 FROM "
                    "product_photos WHERE photo_id = ?1)"
                )
                sql.execute(query, photo)
            self._log(pid, "delete")
        sql.execute("COMMIT")

    def _log(self, pid: int, kind: str) -> None:
        query = "INSERT INTO changes (pid, kind) VALUES (?, ?)"
        sequence = self._sql.execute(query, (pid, kind)).lastrowid
        self._sql.execute("UPDATE products SET sequence = ? WHERE pid = ?", (sequence, pid))
