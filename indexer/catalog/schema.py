"""The catalog's tables as they were first made; what was added since stands in ``history``."""

from __future__ import annotations

FORMAT = 1
APPLICATION_ID = 0x43415441  # "CATA"

# product_id stands in `products` only, so erasing that row erases the id; everything else names products by pid.
SCHEMA = """
CREATE TABLE products (
    pid INTEGER PRIMARY KEY AUTOINCREMENT,
    product_id TEXT NOT NULL UNIQUE,
    title TEXT,
    category TEXT,                    -- JSON array, top level first
    attributes TEXT NOT NULL,         -- JSON object, sorted names
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
    storage TEXT NOT NULL,            -- copy, reference
    path TEXT                         -- of a reference
);
CREATE TABLE product_photos (
    pid INTEGER NOT NULL, position INTEGER NOT NULL, photo_id INTEGER NOT NULL,
    PRIMARY KEY (pid, position)
) WITHOUT ROWID;
CREATE INDEX product_photos_by_photo ON product_photos (photo_id);
CREATE TABLE changes (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    pid INTEGER NOT NULL, kind TEXT NOT NULL, photos_changed INTEGER NOT NULL
);
CREATE TABLE attribute_types (name TEXT PRIMARY KEY, type TEXT NOT NULL) WITHOUT ROWID;
"""
