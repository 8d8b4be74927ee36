"""Cursors of result pages, as opaque texts that clients hand back."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

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

    def text(self) -> str:
        """Opaque to clients; fit for a URL."""
        packed = json.dumps(astuple(self), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> Cursor:
        """Raises ``BadRequestError`` for anything that ``text`` did not give."""
        try:
            packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            version, sequence, score, pid, depth, question, *late = json.loads(packed)
        except (binascii.Error, ValueError, TypeError, RecursionError):
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
