"""Text towers of the image and text pairs that answer, and a question's words for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.core.errors import (
    BadModelError,
    CatalensError,
    NoTextTowerError,
    WeightsUnavailableError,
)
from indexer.core.lru import LRUCache
from indexer.model.bundle import Bundle
from indexer.text.open_words import default_share, reads
from service.query.context import RequestContext

if TYPE_CHECKING:
    from indexer.model.joint_encoder import JointEncoder

# The model that answers and another one: a tower may take a gigabyte.
_MOST = 2
_LOOK_S = 0.1  # between two looks at the deadline


@dataclass(frozen=True)
class OpenText:
    """A question's words in the space of an image and text pair."""

    vector: np.ndarray  # float32 [dim of block t], unit
    # How much it counts beside the catalog's own words, in (0, 1).
    share: float
    # Whether the text has more pieces than the tower reads.
    cut: bool


class PairEncoders:
    """Opens text towers; safe to call from many threads.

    ``share``: how much a tower counts, by the setting; below 0: as the index build found.
    """

    def __init__(self, log: Any, share: float = -1.0) -> None:
        self._log = log
        self._share = share
        self._made: LRUCache[str, JointEncoder | CatalensError] = LRUCache(_MOST)
        self._making = threading.Lock()

    def of(self, bundle: Bundle, ctx: RequestContext | None = None) -> JointEncoder:
        """The text tower of a model with a block t; seconds the first time.

        Waits no longer for one in the making than the request has. Raises ``BadModelError``,
        ``WeightsUnavailableError`` (logged once), ``DeadlineExceededError``.
        """
        found = self._made.get(bundle.embedding_id)
        if found is None:
            with _turn(self._making, ctx):
                found = self._made.get(bundle.embedding_id) or self._open(bundle)
        if isinstance(found, CatalensError):
            raise type(found)(str(found)) from found
        return found

    def require(self, bundle: Bundle, what: str, ctx: RequestContext | None = None) -> JointEncoder:
        """As ``of``; ``what`` needs it. Raises ``NoTextTowerError``, ``DeadlineExceededError``."""
        if bundle.spec.block("t") is None:
            raise NoTextTowerError(
                f"{what} by a model with a text tower, and {bundle.model_version} "
                f"({bundle.spec.backbone}) has none: train one on the backbone open_clip:NAME "
                "with its text tower, or give photos"
            )
        try:
            return self.of(bundle, ctx)
        except (BadModelError, WeightsUnavailableError) as error:
            raise NoTextTowerError(f"{what} by the model's text tower: {error}") from error

    def asked(self, ctx: RequestContext) -> JointEncoder | None:
        """The tower that a request's texts are asked of; None where there is none to ask.

        The answer is not complete where the model has one that cannot be used.
        """
        block = ctx.snapshot.bundle.spec.block("t")
        if block is None or not self.share(ctx, 1.0):
            return None
        try:
            if block.weight > 0:
                return self.of(ctx.snapshot.bundle, ctx)
        except CatalensError:
            ctx.check()
        ctx.note_gap("text_t")
        return None

    def encode(self, ctx: RequestContext, encoder: JointEncoder, text: str) -> OpenText:
        """``text`` as a search takes it."""
        ctx.check()
        vector = encoder.encode([text])[0]
        ctx.check()
        share = self.share(ctx, encoder.scale)
        return OpenText(vector, share, encoder.pieces(text).cut)

    def share(self, ctx: RequestContext, scale: float) -> float:
        """How much the tower of this version's model counts; 0: it is not asked."""
        tower = ctx.snapshot.live.base.tower
        if self._share >= 0:
            return self._share
        if tower is not None and tower.joint_share is not None:
            return tower.joint_share
        return default_share(scale)

    def _open(self, bundle: Bundle) -> JointEncoder | CatalensError:
        found: JointEncoder | CatalensError
        try:
            from indexer.model.joint_encoder import JointEncoder

            found = JointEncoder(bundle)
        except CatalensError as error:
            self._log.error("the text tower of the model is not used", reason=str(error))
            found = error
        self._made.put(bundle.embedding_id, found)
        return found


def words_read(encoder: JointEncoder | None, shown: Sequence[str]) -> list[bool]:
    """Which words of a question, as they are spelled, the tower knows."""
    return [encoder is not None and reads(encoder, word) for word in shown]


@contextmanager
def _turn(lock: threading.Lock, ctx: RequestContext | None) -> Iterator[None]:
    """``lock``, waited for until the deadline."""
    while not lock.acquire(timeout=_LOOK_S):
        if ctx is not None:
            ctx.check()
    try:
        yield
    finally:
        lock.release()
