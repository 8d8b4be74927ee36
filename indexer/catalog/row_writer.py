"""Rows of products, tags and changes, written inside one open transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from indexer.catalog.checksums import TouchedRows
from indexer.catalog.product_rows import ROW_COLUMNS, StoredContent, StoredRow
from indexer.core.sqlite import Connection, chunks

# One statement per changed product: prices and stocks are patched by the thousand.
_CHANGE = """
UPDATE products SET title = ?, category = ?, attributes = ?, fields = ?, spellings = ?,
    external_version = ?, sequence = ?
WHERE pid = ?
"""
_ADD = """
INSERT INTO products (product_id, title, category, attributes, fields, spellings, external_version,
    sequence, pid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_LOG = "INSERT INTO changes (pid, kind, photos_changed) VALUES (?, ?, ?)"


class RowWriter:
    """Writes rows, and says which checksum each has, so that none is read again for it."""

    def __init__(self, connection: Connection, rows: TouchedRows) -> None:
        self._sql = connection
        self._rows = rows
        # The highest number that a product was ever given; None before it is asked for.
        self._last_pid: int | None = None

    # -- products

    def read(self, product_id: str) -> StoredRow | None:
        """The row of a product."""
        query = f"SELECT {ROW_COLUMNS} FROM products WHERE product_id = ?"
        found: Sequence[Any] | None = self._sql.execute(query, (product_id,)).fetchone()
        return None if found is None else StoredRow.of(found)

    def read_many(self, product_ids: Sequence[str]) -> dict[str, StoredRow]:
        """The rows of those products that exist."""
        found: dict[str, StoredRow] = {}
        for part, marks in chunks(product_ids):
            query = f"SELECT product_id, {ROW_COLUMNS} FROM products WHERE product_id IN ({marks})"
            for product_id, *row in self._sql.execute(query, part):
                found[product_id] = StoredRow.of(row)
        return found

    def read_at(self, pid: int) -> tuple[str, StoredRow]:
        """Id and row of the product with this number."""
        query = f"SELECT product_id, {ROW_COLUMNS} FROM products WHERE pid = ?"
        product_id, *row = self._sql.execute(query, (pid,)).fetchone()
        return product_id, StoredRow.of(row)

    def change(
        self, product_id: str, pid: int, content: StoredContent, version: int | None, sequence: int
    ) -> None:
        """Give a product's row another content, as change ``sequence``."""
        self._sql.execute(_CHANGE, (*content, version, sequence, pid))
        self._rows.know_product((pid, 0, sequence, product_id, *content, version))

    def add(self, product_id: str, content: StoredContent, version: int | None) -> StoredRow:
        """Add a product, with its entry in the log."""
        pid = self._next_pid()
        sequence = self.log(pid, "put", True)
        self._sql.execute(_ADD, (product_id, *content, version, sequence, pid))
        self._rows.know_product((pid, 0, sequence, product_id, *content, version))
        return StoredRow(pid, content, version, sequence)

    def set_version(self, stored: StoredRow, version: int) -> None:
        """Store the external version of a product that nothing else changes of."""
        if version != stored.external_version:
            query = "UPDATE products SET external_version = ? WHERE pid = ?"
            self._sql.execute(query, (version, stored.pid))

    def remove(self, pid: int) -> None:
        """Delete a product's row and tags."""
        self._sql.execute("DELETE FROM products WHERE pid = ?", (pid,))
        self._sql.execute("DELETE FROM tags WHERE pid = ?", (pid,))

    def log(self, pid: int, kind: str, photos_changed: bool) -> int:
        """The sequence number of a change, which the product's row still has to take."""
        return int(self._sql.execute(_LOG, (pid, kind, photos_changed)).lastrowid or 0)

    def _next_pid(self) -> int:
        """A number that no product ever had."""
        if self._last_pid is None:
            query = (
                "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'products'), 0)"
                ", coalesce((SELECT max(pid) FROM products), 0))"
            )
            self._last_pid = int(self._sql.execute(query).fetchone()[0])
        self._last_pid += 1
        return self._last_pid

    # -- tags

    def tags(self, pid: int) -> list[tuple[str, str]]:
        """A product's tags with their sources, in order."""
        return self._sql.execute(
            "SELECT tag, source FROM tags WHERE pid = ? ORDER BY position", (pid,)
        ).fetchall()

    def set_tags(self, pid: int, tags: Sequence[tuple[str, str]]) -> None:
        """Replace a product's tags."""
        self._sql.execute("DELETE FROM tags WHERE pid = ?", (pid,))
        self.add_tags(pid, tags)

    def add_tags(self, pid: int, tags: Sequence[tuple[str, str]]) -> None:
        """Give tags to a product that has none."""
        rows = [(pid, tag, source, position) for position, (tag, source) in enumerate(tags)]
        self._sql.executemany(
            "INSERT INTO tags (pid, tag, source, position) VALUES (?, ?, ?, ?)", rows
        )
