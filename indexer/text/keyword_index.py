"""Keyword index (BM25) over title, tags, category and attributes: a derived FTS5 file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from indexer.catalog.records import Product
from indexer.catalog.store import Catalog
from indexer.core.errors import OutdatedVersionError
from indexer.core.home import Home
from indexer.core.sqlite import META_TABLE, Connection, Database, Schema, write_meta
from indexer.text.tokenizer import tokens, words

FORMAT = 1
# Hits of one question; of products that rank lower the words do not count.
MOST_HITS = 2000
_PORTION = 900
# Of the columns of `products`.
_WEIGHTS = "2.0, 1.0, 2.0, 1.0"
_SCHEMA = Schema(
    format=FORMAT,
    tables=(
        META_TABLE,
        # Words are prepared by `words`; what is stored is what is looked for. unicode61 takes them
        # as they are.
        "CREATE VIRTUAL TABLE IF NOT EXISTS products USING fts5"
        "(title, tags, category, attributes, tokenize = 'unicode61 remove_diacritics 0')",
        "CREATE VIRTUAL TABLE IF NOT EXISTS terms USING fts5vocab (products, row)",
    ),
    remedy="delete it (it is made again)",
    shared=True,
    in_memory="always",
)
# Of the fields, those that people type; they stand among the attributes.
_FIELDS = ("brand", "gtin", "sku", "variant")
_INSERT = "INSERT INTO products (rowid, title, tags, category, attributes) VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class KeywordHits:
    """Products that hold at least one of the words, best first."""

    pids: np.ndarray  # int64 [n]
    scores: np.ndarray  # float32 [n], in (0, 1]: BM25 as a share of the best product's
    # Tokens that no product holds.
    unknown: tuple[str, ...]


class Keywords:
    """The index of one home's words, brought up to the catalog's log before each question. Safe
    from several threads.

    A file of its own, not tables of the catalog: the catalog's writes stay as quick as they are
    (prices are patched by the thousand), an older Catalens that writes to the home cannot leave it
    wrong, and it can be deleted at any time. It names the catalog's state that it covers by
    sequence number and stamp, so a catalog that was put back from a backup is read anew. On a
    read-only disk it is held in memory. Raises ``StorageError`` naming the file.
    """

    def __init__(self, home: Home, catalog: Catalog) -> None:
        self.path = home.path / "keywords.sqlite3"
        self._catalog = catalog
        self._database = Database(self.path, _SCHEMA)
        self._is_prepared = False

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        self._database.close()
        self._is_prepared = False

    def search(self, asked: Sequence[str]) -> KeywordHits:
        """The products that hold any of the tokens ``asked``, ranked by BM25 (k1 1.2, b 0.75), ties
        by pid.

        Tokens are data: none of them can be read as FTS5's query language.
        """
        distinct = list(dict.fromkeys(asked))
        with self._session() as sql:
            self._follow(sql)
            found = [token for token in distinct if _held(sql, token)]
            if not found:
                return KeywordHits(np.empty(0, np.int64), np.empty(0, np.float32), tuple(distinct))
            phrase = " OR ".join('"' + token.replace('"', '""') + '"' for token in found)
            query = (
                f"SELECT rowid, -bm25(products, {_WEIGHTS}) AS score FROM products WHERE products "
                "MATCH ? "
                "ORDER BY score DESC, rowid LIMIT ?"
            )
            hits = np.array(
                sql.execute(query, (phrase, MOST_HITS)).fetchall(), dtype=np.float64
            ).reshape(-1, 2)
        best = hits[0, 1] if len(hits) else 1.0
        unknown = tuple(token for token in distinct if token not in found)
        return KeywordHits(
            hits[:, 0].astype(np.int64), (hits[:, 1] / best).astype(np.float32), unknown
        )

    def follow(self) -> int:
        """Take in what was written to the catalog since; returns the sequence number that is
        covered now."""
        with self._session() as sql:
            return self._follow(sql)

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
        with self._session() as sql:
            self._follow(sql)
            sql.execute("INSERT INTO products (products) VALUES ('optimize')")
            self._database.scrub()

    @contextmanager
    def _session(self) -> Iterator[Connection]:
        with self._database.statements() as sql:
            if not self._is_prepared:
                self._database.prepare()
                self._is_prepared = True
            yield sql

    def _follow(self, sql: Connection) -> int:
        reached = self._catalog.last_sequence()
        if self._covered(sql) == (reached, self._catalog.change_log.stamp(reached)):
            return reached
        with self._database.transaction():
            # Another process may have followed meanwhile.
            since, stamp = self._covered(sql)
            # Read before the changes: what is written in between is taken in twice, not missed.
            reached = self._catalog.last_sequence()
            changed = self._changed(since, stamp)
            if changed is None:
                sql.execute("DELETE FROM products")
                self._insert(sql, list(self._catalog.iterate()))
            for start in range(0, len(changed or ()), _PORTION):
                part = (changed or [])[start : start + _PORTION]
                sql.executemany("DELETE FROM products WHERE rowid = ?", [(pid,) for pid in part])
                self._insert(sql, list(self._catalog.by_pids(part).values()))
            write_meta(sql, "sequence", str(reached))
            write_meta(sql, "stamp", self._catalog.change_log.stamp(reached) or "")
        return reached

    def _covered(self, sql: Connection) -> tuple[int, str | None]:
        stored = dict(sql.execute("SELECT key, value FROM meta").fetchall())
        return int(stored.get("sequence", -1)), stored.get("stamp") or None

    def _changed(self, since: int, stamp: str | None) -> list[int] | None:
        """The products that changed; None where all must be read, because the file covers no state
        of this catalog."""
        if since < 0 or (since > 0 and self._catalog.change_log.stamp(since) != stamp):
            return None
        try:
            return list(dict.fromkeys(change.pid for change in self._catalog.changes(since)))
        except OutdatedVersionError:
            return None

    @staticmethod
    def _insert(sql: Connection, products: Sequence[Product]) -> None:
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
