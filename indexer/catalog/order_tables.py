"""The catalog's tables of orders: made by the first import of orders; a deleted product goes from them with its row."""

from __future__ import annotations

import sqlite3

# A product stands here by its number, an order by a digest of its id: enough to know it again, and nobody's name.
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS orders (order_no INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS order_items (order_no INTEGER NOT NULL, pid INTEGER NOT NULL, time REAL, "
    "PRIMARY KEY (order_no, pid)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS order_items_by_pid ON order_items (pid)",
    "CREATE TABLE IF NOT EXISTS complements (one TEXT NOT NULL, other TEXT NOT NULL, together INTEGER NOT NULL, "
    "lift REAL NOT NULL, PRIMARY KEY (one, other)) WITHOUT ROWID",
)


def prepare(sql: sqlite3.Connection) -> None:
    """Make the tables where there are none; inside a write transaction."""
    for statement in _SCHEMA:
        sql.execute(statement)


def has_orders(sql: sqlite3.Connection) -> bool:
    """Whether orders were ever imported into this catalog."""
    return sql.execute("SELECT 1 FROM sqlite_master WHERE name = 'order_items'").fetchone() is not None


def forget(sql: sqlite3.Connection, pid: int) -> None:
    """Take a deleted product out of all orders, and orders that held nothing else; inside the deleting transaction."""
    if not has_orders(sql):
        return
    query = "DELETE FROM order_items WHERE pid = ? RETURNING order_no"
    for (number,) in sql.execute(query, (pid,)).fetchall():
        query = "DELETE FROM orders WHERE order_no = ?1 AND NOT EXISTS (SELECT 1 FROM order_items WHERE order_no = ?1)"
        sql.execute(query, (number,))
