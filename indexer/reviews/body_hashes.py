"""Hashes of the bodies in the review log: a changed one is told from a redacted one."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from indexer.core.sqlite import Connection, has_table

_PORTION = 200
_SALT_BYTES = 16
# Each under a salt of its own, which a redaction replaces with the hash: a short text that was
# taken out cannot be guessed from what stays. ``redacted``: the redaction whose body it is of,
# since a release from before redacts and leaves the table alone.
_TABLE = (
    "CREATE TABLE IF NOT EXISTS body_hashes (entry INTEGER PRIMARY KEY, salt BLOB NOT NULL, "
    "hash BLOB NOT NULL, redacted TEXT)"
)


class CheckedBodies(NamedTuple):
    """Entries whose body is not as it was written, and how many were redacted."""

    changed: list[int]
    redacted: int


def hash_bodies(
    sql: Connection, bodies: Iterable[tuple[int, str]], *, redacted: str | None = None
) -> None:
    """Keep the hashes of bodies by entry; inside the transaction that writes them.

    ``redacted``: when, where they take the place of others (ISO 8601).
    """
    sql.execute(_TABLE)
    rows = []
    for entry, body in bodies:
        salt = os.urandom(_SALT_BYTES)
        rows.append((entry, salt, _hash(salt, entry, body), redacted))
    sql.executemany("INSERT OR REPLACE INTO body_hashes VALUES (?, ?, ?, ?)", rows)


def check_bodies(sql: Connection) -> CheckedBodies:
    """Compare all bodies that have a hash; those of an older release have none."""
    redacted: dict[int, str] = {}
    if has_table(sql, "redactions"):
        redacted = dict(sql.execute("SELECT entry, at FROM redactions"))
    changed = [
        entry
        for entry, salt, known, at, body in _hashed(sql)
        if redacted.get(entry) == at and not hmac.compare_digest(known, _hash(salt, entry, body))
    ]
    return CheckedBodies(changed, len(redacted))


def _hashed(sql: Connection) -> Iterator[tuple[int, bytes, bytes, str | None, str]]:
    after = 0
    query = (
        "SELECT entry, salt, hash, redacted, body FROM body_hashes JOIN log USING (entry) WHERE "
        "entry > ? ORDER BY entry LIMIT ?"
    )
    while has_table(sql, "body_hashes"):
        rows = sql.execute(query, (after, _PORTION)).fetchall()
        if not rows:
            return
        yield from rows
        after = rows[-1][0]


def _hash(salt: bytes, entry: int, body: str) -> bytes:
    return hmac.digest(salt, f"{entry} {body}".encode("utf-8", "surrogatepass"), "sha256")
