"""Cursors of result pages, as signed texts that clients hand back."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from indexer.catalog.store import Catalog
from indexer.core.errors import (
    BadRequestError,
    CursorGoneError,
    OutdatedVersionError,
    UnknownModelError,
    UnknownVersionError,
)
from indexer.index.product_hits import ProductHits
from service.state.snapshots import SnapshotManager

_NAME_SHOWN = 64  # characters of a version's name in a message
_MARK = 16  # bytes of a cursor's signature
_SAME = 1e-4  # a photo that is embedded again may get a score that differs in its last digits


@dataclass(frozen=True)
class Cursor:
    """The last product of a page."""

    version: str  # the index version that gave the page
    sequence: int  # what the page's state had seen of the catalog; the next page's has seen as much
    score: float
    pid: int
    # Products ranked down to here, collapsed ones among them: the next page ranks at least as many.
    depth: int
    question: str  # `fingerprint` of the query and its options
    late: bool = False  # whether the product stands among what is out of stock and comes last

    def pack(self) -> bytes:
        """What ``unpack`` reads."""
        return json.dumps(astuple(self), separators=(",", ":")).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> Cursor:
        """Raises ``BadRequestError`` for anything that ``pack`` did not give."""
        try:
            version, sequence, score, pid, depth, question, *late = json.loads(packed)
        except (ValueError, TypeError, RecursionError):
            raise BadRequestError("cursor is not one that this service gave") from None
        whole = all(
            type(number) is int and 0 <= number < 2**63 for number in (sequence, pid, depth)
        )
        texts = isinstance(version, str) and isinstance(question, str)
        if not (whole and texts and isinstance(score, float) and abs(score) <= 1):
            raise BadRequestError("cursor is not one that this service gave")
        # Cursors of before 0.3 say nothing of stock.
        if late not in ([], [False], [True]):
            raise BadRequestError("cursor is not one that this service gave")
        return cls(version, sequence, score, pid, depth, question, bool(late and late[0]))

    def passed(self, hits: ProductHits, late: np.ndarray) -> int:
        """How many of ``hits`` (best first, those that are ``late`` last) stand on this page or
        before it.

        By the product itself where it is still there, else by where it would stand: so a page
        neither repeats nor skips one, and a product written in between is placed by what it is now.
        """
        here = np.flatnonzero(hits.pids == self.pid)
        if (
            len(here)
            and bool(late[here[0]]) == self.late
            and abs(float(hits.scores[here[0]]) - self.score) <= _SAME
        ):
            return int(here[0]) + 1
        above = (hits.scores > self.score) | ((hits.scores == self.score) & (hits.pids <= self.pid))
        before = (late < self.late) | ((late == self.late) & above)
        return int(np.flatnonzero(before)[-1]) + 1 if before.any() else 0


class CursorSigner:
    """Writes and reads cursors: a text that it did not write, or of too deep a page, is refused.

    The key is of the catalog, so all processes of a home read each other's cursors, and so does a
    service after its restart. ``max_depth``: how many products may be ranked for one page.
    """

    def __init__(self, catalog: Catalog, max_depth: int) -> None:
        self.max_depth = max_depth
        # An old catalog that cannot be written has no identity.
        identity = catalog.change_log.identity() or secrets.token_hex()
        self._key = hashlib.blake2b(identity.encode(), person=b"catalens-cursor").digest()

    def write(self, cursor: Cursor) -> str:
        """Opaque to clients; fit for a URL."""
        packed = cursor.pack()
        return base64.urlsafe_b64encode(self._mark(packed) + packed).decode().rstrip("=")

    def read(self, text: str) -> Cursor:
        """Raises ``BadRequestError`` for anything that ``write`` did not give."""
        refused = BadRequestError("cursor is not one that this service gave")
        try:
            signed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise refused from None
        mark, packed = signed[:_MARK], signed[_MARK:]
        if not hmac.compare_digest(mark, self._mark(packed)):
            raise refused
        return Cursor.unpack(packed)

    def require_depth(self, cursor: Cursor, k: int) -> None:
        """Raise ``BadRequestError`` where ``k`` more products end below the deepest page."""
        if cursor.depth + k > self.max_depth:
            raise BadRequestError(
                f"pages end after {self.max_depth} products (setting max_depth): narrow the "
                "question by a filter, or read all products with `catalens export`"
            )

    def _mark(self, packed: bytes) -> bytes:
        return hmac.new(self._key, packed, hashlib.blake2b).digest()[:_MARK]


def version_of(cursor: Cursor, snapshots: SnapshotManager) -> str:
    """The version that gave a page and gives the next one, as long as it is kept.

    Raises ``CursorGoneError``.
    """
    try:
        return snapshots.get(cursor.version).index_version
    except (UnknownVersionError, OutdatedVersionError, UnknownModelError) as error:
        raise CursorGoneError(
            f"cursor is of index version {cursor.version[:_NAME_SHOWN]}, which is gone: begin "
            f"again with the first page ({error})"
        ) from error


def fingerprint(question: Mapping[str, Any]) -> str:
    """A short text, equal for equal questions (plain JSON values)."""
    plain = json.dumps(question, sort_keys=True, ensure_ascii=True)
    return base64.urlsafe_b64encode(
        hashlib.blake2b(plain.encode(), digest_size=12).digest()
    ).decode()
