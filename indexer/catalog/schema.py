"""Tables of the catalog as first made; ``change_log`` holds those added since."""

from __future__ import annotations

from indexer.core.sqlite import Connection, has_table

# 2: fields, addresses of photos, numbers as written, owners.
FORMAT = 2
# "CATA"
APPLICATION_ID = 0x43415441

# product_id stands in `products` only, so erasing that row erases the id; everything else names
# products by pid.
TABLES = """
CREATE TABLE products (
    pid INTEGER PRIMARY KEY AUTOINCREMENT,
    product_id TEXT NOT NULL UNIQUE,
    title TEXT,
    category TEXT,                    -- JSON array, top level first
    attributes TEXT NOT NULL,         -- JSON object, sorted names
    fields TEXT,                      -- JSON object, sorted names; NULL: none
    spellings TEXT,                   -- JSON object: numbers as written, where digits differ
    external_version INTEGER,
    sequence INTEGER NOT NULL         -- of the last change
);
CREATE TABLE tags (
    pid INTEGER NOT NULL, tag TEXT NOT NULL, source TEXT NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (pid, tag, source)
) WITHOUT ROWID;
CREATE TABLE photos (
    photo_id INTEGER PRIMARY KEY AUTOINCREMENT,
    content_hash TEXT NOT NULL UNIQUE,
    format TEXT NOT NULL, bytes INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    storage TEXT NOT NULL,            -- copy, reference, forget
    path TEXT                         -- of a reference
);
CREATE TABLE product_photos (
    pid INTEGER NOT NULL, position INTEGER NOT NULL, photo_id INTEGER NOT NULL,
    source TEXT,                      -- the shop's own address of it
    PRIMARY KEY (pid, position)
) WITHOUT ROWID;
CREATE INDEX product_photos_by_photo ON product_photos (photo_id);
CREATE TABLE changes (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    pid INTEGER NOT NULL, kind TEXT NOT NULL, photos_changed INTEGER NOT NULL
);
CREATE TABLE attribute_types (
    name TEXT PRIMARY KEY, type TEXT NOT NULL,
    fixed INTEGER NOT NULL DEFAULT 0  -- given by a person: no value changes it
) WITHOUT ROWID;
CREATE TABLE used_fields (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE field_owners (name TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
"""

# What a catalog of format 1 lacks. New columns stand last, and nothing is rewritten.
_FROM_FORMAT_1 = (
    "ALTER TABLE products ADD COLUMN fields TEXT",
    "ALTER TABLE products ADD COLUMN spellings TEXT",
    "ALTER TABLE product_photos ADD COLUMN source TEXT",
    "ALTER TABLE attribute_types ADD COLUMN fixed INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE used_fields (name TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE field_owners (name TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID",
)


def is_old(sql: Connection) -> bool:
    """Whether the file has an older format than today's: it holds no fields."""
    return int(sql.execute("PRAGMA user_version").fetchone()[0]) < FORMAT


def bring_up_to_date(sql: Connection) -> bool:
    """Give an older file today's format; inside a write transaction. Whether it was older."""
    if not is_old(sql):
        return False
    for statement in _FROM_FORMAT_1:
        sql.execute(statement)
    sql.execute(f"PRAGMA user_version = {FORMAT}")
    return True


# A product stands here by its number, an order by a salted digest of its id: enough to know it
# again. Who has the whole file, and so the salt, can still try order numbers one by one.
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS orders (order_no INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB "
    "NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS order_items (order_no INTEGER NOT NULL, pid INTEGER NOT NULL, time "
    "REAL, "
    "PRIMARY KEY (order_no, pid)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS order_items_by_pid ON order_items (pid)",
    "CREATE TABLE IF NOT EXISTS complements (one TEXT NOT NULL, other TEXT NOT NULL, together "
    "INTEGER NOT NULL, "
    "lift REAL NOT NULL, PRIMARY KEY (one, other)) WITHOUT ROWID",
)


def ensure_order_tables(sql: Connection) -> None:
    """Make the tables where there are none; inside a write transaction."""
    for statement in _SCHEMA:
        sql.execute(statement)
    columns = {row[1] for row in sql.execute("PRAGMA table_info(orders)")}
    if "salted" not in columns:
        # A release that does not know the column adds orders whose digest has no salt.
        sql.execute("ALTER TABLE orders ADD COLUMN salted INTEGER NOT NULL DEFAULT 0")


def has_orders(sql: Connection) -> bool:
    """Whether orders were ever imported into this catalog."""
    return has_table(sql, "order_items")


def forget_orders(sql: Connection, pid: int) -> None:
    """Take a deleted product out of all orders, and orders that held nothing else; inside the
    deleting transaction of a catalog that ``has_orders``."""
    query = "DELETE FROM order_items WHERE pid = ? RETURNING order_no"
    for (number,) in sql.execute(query, (pid,)).fetchall():
        query = (
            "DELETE FROM orders WHERE order_no = ?1 AND NOT EXISTS (SELECT 1 FROM order_items "
            "WHERE order_no = ?1)"
        )
        sql.execute(query, (number,))
