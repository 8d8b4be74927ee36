"""Feedback log: what people made of an answer that suggested something."""

from __future__ import annotations

import math
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from indexer.catalog.store import Catalog
from indexer.core.category_path import CategoryPath
from indexer.core.errors import BadRequestError, UnknownProductError, UnknownRequestError
from indexer.core.lru import LRUCache
from indexer.core.timer import StageTimer
from service.access.control import too_many
from service.access.refusal import RequestRefusedError
from service.query.response import Envelope, Suggesting
from service.review.database import ReviewDatabase
from service.state.snapshots import SnapshotManager

_REMEMBERED = 4096  # answers that feedback may name
# Tags and products in them, which batches of long searches fill earlier.
_MOST_NAMES = 4_096_000
# Entries on one answer: a page says a click at a time, and each is kept.
_MOST_ENTRIES = 200
# Clicks that all strangers (keys of the role `search`) may say a second, and at once: they are kept
# for good, and at a key's full rate lists of a thousand were 60 GB a day.
_CLICK_RATE = 50.0
_CLICKS_AT_ONCE = 1000.0
# That part of it may one address say, where addresses are told apart.
_SHARES = 10


@dataclass(frozen=True)
class SuggestionRecord:
    """What feedback on an answer can be about."""

    tags: tuple[str, ...]
    products: tuple[str, ...]
    model_version: str | None
    index_version: str | None


@dataclass(frozen=True)
class Feedback:
    """Feedback on one answer. ``category``: the path a person settled on. ``product_id``: what the
    listing became."""

    request_id: str
    accepted: Sequence[str] = ()
    rejected: Sequence[str] = ()
    added: Sequence[str] = ()
    clicked: Sequence[str] = ()
    category: CategoryPath | None = None
    product_id: str | None = None


@dataclass(frozen=True)
class FeedbackReceipt:
    """How many entries were stored."""

    stored: int


def _count_names(record: SuggestionRecord) -> float:
    return len(record.tags) + len(record.products)


class _ClickBucket:
    """Clicks that may be said: ``rate`` a second, ``most`` at once."""

    def __init__(self, rate: float, most: float) -> None:
        self._rate = rate
        self.most = most
        self._left = most
        self._since = time.monotonic()

    def wait_s(self, count: int) -> int:
        """Seconds until there is room for ``count``; 0 where there is."""
        now = time.monotonic()
        self._left = min(self.most, self._left + (now - self._since) * self._rate)
        self._since = now
        return max(math.ceil((count - self._left) / self._rate), 0)

    def take(self, count: int) -> None:
        """Take the room for ``count``."""
        self._left -= count


class _ClickLimit:
    """Counts what strangers say that they clicked: all together, and each network by itself."""

    def __init__(self) -> None:
        self._all = _ClickBucket(_CLICK_RATE, _CLICKS_AT_ONCE)
        self._own: LRUCache[str, _ClickBucket] = LRUCache(_REMEMBERED)
        self._lock = threading.Lock()

    def take(self, count: int, network: str) -> None:
        """Raise ``RequestRefusedError`` 429 where it is more than there is room for now, and
        ``BadRequestError`` where it is more than there ever is. ``network``: empty where it is
        that of many people, who share what there is."""
        with self._lock:
            own = self._of(network)
            most = self._all.most if own is None else own.most
            if count > most:
                raise BadRequestError(
                    f"clicked: {count} products, and a key of the role search may say at most "
                    f"{most:g} in one request: send them in several"
                )
            if own is not None and (wait_s := own.wait_s(count)):
                raise _too_many_clicks("an address with a key", _CLICK_RATE / _SHARES, wait_s)
            if wait_s := self._all.wait_s(count):
                raise _too_many_clicks("keys", _CLICK_RATE, wait_s)
            self._all.take(count)
            if own is not None:
                own.take(count)

    def _of(self, network: str) -> _ClickBucket | None:
        own = self._own.get(network) if network else None
        if network and own is None:
            own = _ClickBucket(_CLICK_RATE / _SHARES, _CLICKS_AT_ONCE / _SHARES)
            self._own.put(network, own)
        return own


def _too_many_clicks(whose: str, rate: float, wait_s: int) -> RequestRefusedError:
    return too_many(
        f"{whose} of the role search may say {rate:g} clicks a second: wait {wait_s} s, or send "
        "clicks by the shop's own server with another key",
        wait_s,
    )


class FeedbackLog:
    """Remembers the last answers that suggested something, and logs the feedback on them.

    Safe to call from many threads.
    """

    def __init__(
        self,
        catalog: Catalog,
        snapshots: SnapshotManager,
        database: ReviewDatabase,
        *,
        max_answers: int = _REMEMBERED,
        max_names: int = _MOST_NAMES,
    ) -> None:
        self._catalog = catalog
        self._snapshots = snapshots
        self._database = database
        self._answers: LRUCache[str, SuggestionRecord] = LRUCache(
            max_answers, max_weight=max_names, weigh=_count_names
        )
        # Of strangers, who can ask so often that no answer of the shop's people would stay.
        self._strangers: LRUCache[str, SuggestionRecord] = LRUCache(
            max_answers, max_weight=max_names, weigh=_count_names
        )
        self._entries: LRUCache[str, int] = LRUCache(max_answers)
        self._max_answers = max_answers
        self._naming = threading.Lock()
        self._clicks = _ClickLimit()

    @property
    def request_ids(self) -> list[str]:
        """The answers that feedback can name, of strangers first, each the oldest first."""
        kept = (*self._strangers.items(), *self._answers.items())
        return [request_id for request_id, _ in kept]

    def remember(
        self, request_id: str, answer: Envelope[Suggesting], *, stranger: bool = False
    ) -> str:
        """Keep what an answer suggests; returns the id by which feedback can name it.

        ``stranger``: it was asked with a key that anybody may have. The id is another one than
        ``request_id`` where an answer of this id is remembered already: clients choose ids, and
        none may put its answer in the place of another's.
        """
        found = answer.content.suggestions()
        if found is None:
            return request_id
        record = SuggestionRecord(
            tuple(dict.fromkeys(sys.intern(tag) for tag in found.tags)),
            tuple(dict.fromkeys(sys.intern(product_id) for product_id in found.products)),
            answer.model_version,
            answer.index_version,
        )
        with self._naming:
            if self._record(request_id) is not None:
                request_id = uuid.uuid4().hex
            (self._strangers if stranger else self._answers).put(request_id, record)
        return request_id

    def _record(self, request_id: str) -> SuggestionRecord | None:
        return self._answers.get(request_id) or self._strangers.get(request_id)

    def add(self, feedback: Feedback, *, stranger: str | None = None) -> Envelope[FeedbackReceipt]:
        """Log what people made of an answer. ``stranger``: the network of whoever says it with a
        key that anybody may have, empty where many people have one.

        Raises ``UnknownRequestError``, ``UnknownProductError``, ``BadRequestError`` for a tag or
        product that the answer lacked, for more feedback than one answer takes, or for more clicks
        than strangers may ever say at once, and ``RequestRefusedError`` 429 for more of them than
        they may say now.
        """
        timer = StageTimer()
        record = self._record(feedback.request_id)
        if record is None:
            raise UnknownRequestError(
                f"no answer {feedback.request_id!a} is remembered: the last {self._max_answers} "
                "suggestions since the start are"
            )
        _check(feedback, record)
        pid = None
        if feedback.product_id is not None:
            pid = self._catalog.pid(feedback.product_id)
            if pid is None:
                raise UnknownProductError(f"there is no product {feedback.product_id!r}")
        if not _says_something(feedback):
            raise BadRequestError(
                "nothing said: give accepted, rejected, added, clicked or category"
            )
        if stranger is not None:
            self._clicks.take(len(feedback.clicked), stranger)
        self._count(feedback.request_id)
        known = self._catalog.pids(feedback.clicked)
        entry = {
            "request_id": feedback.request_id,
            "accepted": list(dict.fromkeys(feedback.accepted)),
            "rejected": list(dict.fromkeys(feedback.rejected)),
            "added": list(dict.fromkeys(feedback.added)),
            "clicked": [known[one] for one in dict.fromkeys(feedback.clicked) if one in known],
            "category": None if feedback.category is None else list(feedback.category),
            "pid": pid,
            "model_version": record.model_version,
            "index_version": record.index_version,
        }
        try:
            stored = self._database.reviews.add_feedback([entry])
        except UnknownProductError as error:
            raise UnknownProductError(
                f"product {feedback.product_id!r} was erased meanwhile"
            ) from error
        return Envelope.around(FeedbackReceipt(stored), self._snapshots.current, timer)

    def _count(self, request_id: str) -> None:
        """Raise ``BadRequestError`` where an answer has all the feedback that it may have."""
        with self._naming:
            given = self._entries.get(request_id) or 0
            if given >= _MOST_ENTRIES:
                raise BadRequestError(
                    f"answer {request_id!a} has {_MOST_ENTRIES} entries of feedback, and takes no "
                    "more: send several clicks or tags in one entry"
                )
            self._entries.put(request_id, given + 1)


def _says_something(feedback: Feedback) -> bool:
    lists = (feedback.accepted, feedback.rejected, feedback.added, feedback.clicked)
    return any(lists) or bool(feedback.category)


def _check(feedback: Feedback, record: SuggestionRecord) -> None:
    """Raise ``BadRequestError`` for a tag or product that the answer did not suggest."""
    both = set(feedback.accepted) & set(feedback.rejected)
    if both:
        raise BadRequestError(f"tag {min(both)!a} is accepted and rejected at once")
    # A batch may have offered 64,000 products.
    tags, products = frozenset(record.tags), frozenset(record.products)
    for name, given, offered in (
        ("accepted", feedback.accepted, tags),
        ("rejected", feedback.rejected, tags),
        ("clicked", feedback.clicked, products),
    ):
        for value in given:
            if value not in offered:
                raise BadRequestError(f"{name}: {value!a} was not in answer {feedback.request_id}")
