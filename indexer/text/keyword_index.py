"""Keyword index (BM25) over title, tags, category and attributes: a derived FTS5 file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np

from indexer.catalog.records import Product
from indexer.catalog.store import Catalog
from indexer.core.errors import OutdatedVersionError
from indexer.core.home import Home
from indexer.core.lru import LRUCache
from indexer.core.sqlite import META_TABLE, Connection, Database, Schema, write_meta
from indexer.core.sqlite_schema import exactly
from indexer.text.tokenizer import tokens, words

FORMAT = 1
# Products that one transaction takes in: a question waits for one at most.
_PORTION = 500
# Answers to recent questions that are kept, for their further pages: how many, and of how many
# products in all.
_RECENT, _RECENT_PRODUCTS = 64, 4_000_000
# Of the columns of `products`.
_WEIGHTS = "2.0, 1.0, 2.0, 1.0"
_TABLES = (
    # Words are prepared by `words`; what is stored is what is looked for. unicode61 takes them as
    # they are.
    "CREATE VIRTUAL TABLE IF NOT EXISTS products USING fts5"
    "(title, tags, category, attributes, tokenize = 'unicode61 remove_diacritics 0')",
    "CREATE VIRTUAL TABLE IF NOT EXISTS terms USING fts5vocab (products, row)",
)
SCHEMA = Schema(
    format=FORMAT,
    tables=(
        META_TABLE,
        *_TABLES,
    ),
    remedy="delete it (it is made again)",
    in_memory="always",
    programs=tuple(map(exactly, _TABLES)),
)
# Of the fields, those that people type; they stand among the attributes.
_FIELDS = ("brand", "gtin", "sku", "variant")
_INSERT = "INSERT INTO products (rowid, title, tags, category, attributes) VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class KeywordHits:
    """All products that hold at least one of the words, best first; ties by pid."""

    pids: np.ndarray  # int64 [n]
    scores: np.ndarray  # float32 [n], in (0, 1]: BM25 as a share of the best product's
    # Tokens that no product holds.
    unknown: tuple[str, ...]
    # Whether all that was written to the catalog was looked at.
    complete: bool = True

    def __len__(self) -> int:
        return len(self.pids)

    def scores_of(self, pids: np.ndarray) -> np.ndarray:
        """Look up products' scores, float32 [m]; 0 where one holds none of the words."""
        if not len(self.pids):
            return np.zeros(len(pids), np.float32)
        order = self._by_pid
        places = np.searchsorted(self.pids, pids, sorter=order)
        places = order[np.minimum(places, len(order) - 1)]
        return np.where(self.pids[places] == pids, self.scores[places], np.float32(0))

    @cached_property
    def _by_pid(self) -> np.ndarray:
        return np.argsort(self.pids)


class _Covered(NamedTuple):
    """What the file holds: of the catalog's state ``stamp`` that ended with change ``sequence``,
    all products, or while it is read anew those numbered up to ``through``."""

    sequence: int
    stamp: str | None
    through: int | None


class Keywords:
    """The index of one home's words, brought up to the catalog's log. Safe from several threads.

    A file of its own, not tables of the catalog: the catalog's writes stay as quick as they are
    (prices are patched by the thousand), an older Catalens that writes to the home cannot leave it
    wrong, and it can be deleted at any time. It names the catalog's state that it covers by
    sequence number and stamp, so a catalog that was put back from a backup is read anew. On a
    read-only disk it is held in memory. Raises ``StorageError`` naming the file.
    """

    def __init__(self, home: Home, catalog: Catalog) -> None:
        self._home = home
        self.path = home.path / "keywords.sqlite3"
        self._catalog = catalog
        self._database = Database(self.path, SCHEMA)
        self._is_prepared = False
        self._recent: LRUCache[object, KeywordHits] = LRUCache(
            _RECENT, max_weight=_RECENT_PRODUCTS, weigh=len
        )

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        self._database.close()
        self._is_prepared = False

    def search(self, asked: Sequence[str], *, most_changes: int | None = None) -> KeywordHits:
        """The products that hold any of the tokens ``asked``, ranked by BM25 (k1 1.2, b 0.75), ties
        by pid.

        What was written to the catalog is taken in first, unless that is more than
        ``most_changes``: then what is there answers, as not ``complete``, and ``follow`` must
        bring the rest. Tokens are data: none of them can be read as FTS5's query language.
        """
        complete = self._catch_up(most_changes)
        distinct = list(dict.fromkeys(asked))
        with self._session() as sql, self._database.read():
            key = (*distinct, complete, _covered(sql))
            hits = self._recent.get(key)
            if hits is None:
                hits = _ranked(sql, distinct, complete)
                self._recent.put(key, hits)
        return hits

    def follow(self) -> int:
        """Take in what was written to the catalog since; returns the sequence number that is
        covered now."""
        while not self.follow_some():
            pass
        with self._session() as sql:
            return _covered(sql).sequence

    def follow_some(self) -> bool:
        """Take in the next some hundred products in one transaction; whether nothing is left."""
        with self._session() as sql:
            if self._is_current(_covered(sql)):
                return True
        with self._session(), self._database.transaction() as sql:
            # Another process may have followed meanwhile.
            covered = _covered(sql)
            if not self._is_of_catalog(covered):
                covered = self._begin_anew(sql)
            if covered.through is not None:
                self._read_on(sql, covered)
            else:
                self._take_in(sql, covered)
        return False

    def pids(self) -> np.ndarray:
        """The products whose words are held, int64 sorted, without looking at the catalog."""
        with self._session() as sql:
            rows = sql.execute("SELECT id FROM products_content ORDER BY id").fetchall()
        return np.array([row[0] for row in rows], dtype=np.int64)

    def scrub(self) -> None:
        """Follow the catalog, then write the file anew without a word of what was deleted.

        FTS5 keeps the words of a deleted row, marked, until their segment is merged (its option
        secure-delete is newer than many a SQLite); ``optimize`` merges all segments, VACUUM drops
        the pages they stood in. Raises ``BusyError``.
        """
        self.follow()
        with self._database.transaction() as sql:
            sql.execute("INSERT INTO products (products) VALUES ('optimize')")
        self._database.scrub()

    @contextmanager
    def _session(self) -> Iterator[Connection]:
        if not self._is_prepared:
            self._home.require()
            self._database.prepare()
            self._is_prepared = True
        with self._database.statements() as sql:
            yield sql

    # -- following the catalog

    def _catch_up(self, most_changes: int | None) -> bool:
        """Whether all that is written by now is in; up to ``most_changes`` are taken in for
        that."""
        with self._session() as sql:
            covered = _covered(sql)
        if self._is_current(covered):
            return True
        target = self._catalog.last_sequence()
        if most_changes is not None:
            goes_on = covered.through is None and self._is_of_catalog(covered)
            # A catalog has no more products than it had changes.
            waiting = target - covered.sequence if goes_on else target
            if waiting > most_changes:
                return False
        while True:
            done = self.follow_some()
            with self._session() as sql:
                covered = _covered(sql)
            if done or (covered.through is None and covered.sequence >= target):
                return True

    def _is_current(self, covered: _Covered) -> bool:
        reached = self._catalog.last_sequence()
        stamp = self._catalog.change_log.stamp(reached)
        return covered == _Covered(reached, stamp, None)

    def _is_of_catalog(self, covered: _Covered) -> bool:
        """Whether the file covers a state of this catalog from which its log goes on."""
        if covered.sequence < max(self._catalog.change_log.begins(), 0):
            return False
        stamp = self._catalog.change_log.stamp(covered.sequence)
        return covered.sequence == 0 or stamp == covered.stamp

    def _begin_anew(self, sql: Connection) -> _Covered:
        """Empty the file, to be filled with the catalog's present state."""
        for table in ("terms", "products"):
            # Quicker than deleting row by row.
            sql.execute(f"DROP TABLE {table}")
        for statement in _TABLES:
            sql.execute(statement)
        # Read before the products: what is written in between is taken in twice, not missed.
        reached = self._catalog.last_sequence()
        covered = _Covered(reached, self._catalog.change_log.stamp(reached), 0)
        _note(sql, covered)
        return covered

    def _read_on(self, sql: Connection, covered: _Covered) -> None:
        """Take in the next products of a file that is read anew."""
        products = list(islice(self._catalog.iterate(covered.through or 0), _PORTION))
        _insert(sql, products)
        through = products[-1].pid if products else None
        _note(sql, covered._replace(through=through))

    def _take_in(self, sql: Connection, covered: _Covered) -> None:
        """Take in the next changes of the log."""
        try:
            changes = self._catalog.change_log.step(covered.sequence, _PORTION)
        except OutdatedVersionError:
            self._begin_anew(sql)
            return
        reached = changes[-1].sequence if changes else covered.sequence
        pids = list(dict.fromkeys(change.pid for change in changes))
        sql.executemany("DELETE FROM products WHERE rowid = ?", [(pid,) for pid in pids])
        for start in range(0, len(pids), _PORTION):
            found = self._catalog.by_pids(pids[start : start + _PORTION])
            _insert(sql, found.values())
        _note(sql, _Covered(reached, self._catalog.change_log.stamp(reached), None))


def _covered(sql: Connection) -> _Covered:
    stored = dict(sql.execute("SELECT key, value FROM meta").fetchall())
    if "sequence" in stored:
        return _Covered(int(stored["sequence"]), stored.get("stamp") or None, None)
    begun = int(stored.get("begun_sequence", -1))
    return _Covered(begun, stored.get("begun_stamp") or None, int(stored.get("through", 0)))


def _note(sql: Connection, covered: _Covered) -> None:
    """Write down what the file holds. A file that is being read anew covers no sequence: so an
    older Catalens takes it for one that it must read itself."""
    sql.execute("DELETE FROM meta")
    if covered.through is None:
        write_meta(sql, "sequence", str(covered.sequence))
        write_meta(sql, "stamp", covered.stamp or "")
    else:
        write_meta(sql, "begun_sequence", str(covered.sequence))
        write_meta(sql, "begun_stamp", covered.stamp or "")
        write_meta(sql, "through", str(covered.through))


def _ranked(sql: Connection, asked: Sequence[str], complete: bool) -> KeywordHits:
    """All that hold any of these distinct tokens: a filter comes after the ranking, so nothing may
    be cut off here."""
    found = [token for token in asked if _held(sql, token)]
    unknown = tuple(token for token in asked if token not in found)
    if not found:
        return KeywordHits(np.empty(0, np.int64), np.empty(0, np.float32), unknown, complete)
    phrase = " OR ".join('"' + token.replace('"', '""') + '"' for token in found)
    query = f"SELECT rowid, -bm25(products, {_WEIGHTS}) FROM products WHERE products MATCH ?"
    kind = np.dtype([("pid", np.int64), ("score", np.float64)])
    hits = np.fromiter(sql.execute(query, (phrase,)), dtype=kind)
    order = np.lexsort((hits["pid"], -hits["score"]))
    scores = hits["score"][order]
    best = scores[0] if len(scores) else 1.0
    return KeywordHits(hits["pid"][order], (scores / best).astype(np.float32), unknown, complete)


def _insert(sql: Connection, products: Iterable[Product]) -> None:
    sql.executemany(_INSERT, [(product.pid, *_columns(product)) for product in products])


def _held(sql: Connection, token: str) -> bool:
    return sql.execute("SELECT 1 FROM terms WHERE term = ?", (token,)).fetchone() is not None


def _columns(product: Product) -> tuple[str, str, str, str]:
    tags = [tag.tag for tag in product.tags if tag.source != "machine"]
    fields = product.fields
    named = {name: value for name in _FIELDS if (value := getattr(fields, name)) is not None}
    values = [
        str(element)
        for value in {**product.attributes, **named}.values()
        for element in (value if isinstance(value, list) else [value])
        if isinstance(element, str | int | float) and not isinstance(element, bool)
    ]
    return (
        _prepared([product.title or "", *fields.titles.values()]),
        _prepared(tags),
        _prepared(product.category or ()),
        _prepared(values),
    )


def _prepared(texts: Sequence[str]) -> str:
    return " ".join(
        token for text in texts for word in words(text) for token in tokens(word, stored=True)
    )
