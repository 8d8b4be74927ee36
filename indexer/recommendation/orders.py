"""Orders in the catalog: import, and the complementary categories learned from them."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path

from indexer.catalog.attributes import datetime_seconds
from indexer.catalog.deletions import Salted, salted_digests
from indexer.catalog.schema import ensure_order_tables, has_orders
from indexer.catalog.store import Catalog
from indexer.core.category_path import format_path
from indexer.core.errors import BadDataError
from indexer.core.sqlite import Connection, chunks
from indexer.recommendation.cooccurrence import MIN_SUPPORT, Pair, complementary

_BATCH = 5000
# Bytes that tell an order.
_DIGEST = 16
# Unknown products that a report names.
_LISTED = 100


@dataclass(frozen=True)
class Bought:
    """One line of an orders file. ``time``: seconds since 1970, if it was given."""

    where: str
    order_id: str
    product_id: str
    time: float | None


@dataclass
class OrdersReport:
    """What an import of orders did."""

    # Read.
    rows: int = 0
    # Products in orders that were not known before.
    added: int = 0
    # Rows that said what was stored already.
    known: int = 0
    # Rows whose product is not in the catalog, and the first of their ids.
    unknown_rows: int = 0
    unknown_products: list[str] = field(default_factory=list)
    # Rows that cannot be used: where, reason.
    skipped: list[dict[str, str]] = field(default_factory=list)
    # In the catalog now.
    orders: int = 0
    # Of complementary categories, learned from all orders.
    pairs: int = 0


def read_table(path: Path, names: tuple[str, str]) -> Iterator[tuple[str, str, str, str | None]]:
    """Read a CSV with the columns ``names`` and maybe ``time``.

    Yields (where, first, second, time text or None) of each line. Raises ``BadDataError`` naming
    file, line or columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = [name.strip() for name in reader.fieldnames or ()]
            for name in names:
                if name not in columns:
                    raise BadDataError(
                        f"{path} has no column {name!r}; columns found: "
                        f"{', '.join(columns) or 'none'}"
                    )
            reader.fieldnames = columns
            for row in reader:
                where = f"{path.name}:{reader.line_num}"
                yield (
                    where,
                    (row[names[0]] or "").strip(),
                    row[names[1]] or "",
                    row.get("time") or None,
                )
    except OSError as error:
        raise BadDataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadDataError(f"{path} is not UTF-8: save it as UTF-8") from error
    except csv.Error as error:
        raise BadDataError(f"{path} is not readable as CSV: {error}") from error


def seconds_of(text: str) -> float:
    """Parse a time as people write it: seconds since 1970, or a date. Raises ``ValueError``."""
    try:
        return float(text)
    except ValueError:
        return datetime_seconds(text.strip())


def import_orders(catalog: Catalog, path: Path, *, min_support: int = MIN_SUPPORT) -> OrdersReport:
    """Add the orders of a CSV (order_id, product_id, maybe time) and learn anew which categories
    complement each other.

    A row with an unknown product is reported and left out; importing a file twice changes nothing.
    Committed in batches. Raises ``BadDataError``.
    """
    report = OrdersReport()
    salt_orders(catalog)
    unknown: dict[str, None] = {}
    rows = _bought(path, report)
    while batch := list(islice(rows, _BATCH)):
        report.rows += len(batch)
        with catalog.database.transaction() as sql:
            ensure_order_tables(sql)
            pids: dict[str, int] = {}
            for part, marks in chunks(list({row.product_id for row in batch})):
                pids.update(
                    sql.execute(
                        f"SELECT product_id, pid FROM products WHERE product_id IN ({marks})", part
                    )
                )
            for row in batch:
                pid = pids.get(row.product_id)
                if pid is None:
                    report.unknown_rows += 1
                    unknown[row.product_id] = None
                elif _add(sql, row, pid):
                    report.added += 1
                else:
                    report.known += 1
    report.unknown_products = list(unknown)[:_LISTED]
    report.orders, report.pairs = learn(catalog, min_support=min_support)
    return report


def _bought(path: Path, report: OrdersReport) -> Iterator[Bought]:
    for where, order_id, product_id, text in read_table(path, ("order_id", "product_id")):
        try:
            if not order_id or not product_id:
                raise ValueError("order_id or product_id is empty")
            yield Bought(where, order_id, product_id, None if text is None else seconds_of(text))
        except ValueError as error:
            report.rows += 1
            report.skipped.append({"where": where, "reason": str(error)})


def _add(sql: Connection, row: Bought, pid: int) -> bool:
    plain = hashlib.sha256(row.order_id.encode()).digest()[:_DIGEST]
    digest = _salted_digest(salted_digests(sql), plain)
    sql.execute("INSERT OR IGNORE INTO orders (digest, salted) VALUES (?, 1)", (digest,))
    query = (
        "INSERT OR IGNORE INTO order_items (order_no, pid, time) SELECT order_no, ?, ? FROM orders "
        "WHERE digest = ?"
    )
    return sql.execute(query, (pid, row.time, digest)).rowcount > 0


def salt_orders(catalog: Catalog) -> int:
    """Salt the digests of orders that an older release stored; how many.

    Without the salt an order's number is found from its digest by counting.
    """
    count = 0
    while True:
        with catalog.database.transaction() as sql:
            if not has_orders(sql):
                return count
            ensure_order_tables(sql)
            salted = salted_digests(sql)
            query = f"SELECT order_no, digest FROM orders WHERE NOT salted LIMIT {_BATCH}"
            rows = sql.execute(query).fetchall()
            for number, plain in rows:
                _salt_order(sql, number, _salted_digest(salted, plain))
        count += len(rows)
        if len(rows) < _BATCH:
            return count


def _salt_order(sql: Connection, number: int, digest: bytes) -> None:
    """Give an order its salted digest; where one has it already, both are the same order."""
    same = sql.execute("SELECT order_no FROM orders WHERE digest = ?", (digest,)).fetchone()
    if same is None:
        query = "UPDATE orders SET digest = ?, salted = 1 WHERE order_no = ?"
        sql.execute(query, (digest, number))
        return
    query = (
        "INSERT OR IGNORE INTO order_items (order_no, pid, time) SELECT ?, pid, time FROM "
        "order_items WHERE order_no = ?"
    )
    sql.execute(query, (same[0], number))
    sql.execute("DELETE FROM order_items WHERE order_no = ?", (number,))
    sql.execute("DELETE FROM orders WHERE order_no = ?", (number,))


def _salted_digest(salted: Salted, plain: bytes) -> bytes:
    return salted.digest(plain.hex())[:_DIGEST]


def learn(catalog: Catalog, *, min_support: int = MIN_SUPPORT) -> tuple[int, int]:
    """Find the complementary categories of all orders stored; returns (orders, pairs).

    Products count by their present category. All orders are read before anything is locked: other
    writes wait for the few pairs only.
    """
    with catalog.database.transaction() as sql:
        ensure_order_tables(sql)
    with catalog.database.read() as sql:
        query = (
            "SELECT order_no, category FROM order_items JOIN products USING (pid) ORDER BY order_no"
        )
        pairs = complementary(_baskets(sql.execute(query)), min_support=min_support)
        orders = int(sql.execute("SELECT count(*) FROM orders").fetchone()[0])
    with catalog.database.transaction() as sql:
        sql.execute("DELETE FROM complements")
        rows = [(pair.one, pair.other, pair.together, pair.lift) for pair in pairs]
        sql.executemany("INSERT INTO complements VALUES (?, ?, ?, ?)", rows)
    return orders, len(pairs)


def _baskets(rows: Iterable[tuple[int, str | None]]) -> Iterator[list[str]]:
    """Yield the category paths of each order, of rows (order, category as JSON) by order."""
    for _, items in groupby(rows, key=lambda row: row[0]):
        yield [format_path(json.loads(category)) for _, category in items if category]


def complements_of(catalog: Catalog, categories: Iterable[str]) -> dict[str, list[Pair]]:
    """Return category path ("A > B") -> its complementary pairs, the highest lift first.

    Empty where no orders are known.
    """
    found: dict[str, list[Pair]] = {}
    with catalog.database.read() as sql:
        if not has_orders(sql):
            return {}
        for category in dict.fromkeys(categories):
            query = (
                "SELECT one, other, together, lift FROM complements WHERE one = ?1 OR other = ?1 "
                "ORDER BY lift DESC"
            )
            found[category] = [Pair(*row) for row in sql.execute(query, (category,))]
    return found
