"""Review queue: listings that wait for a person, and how often people agreed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from indexer.catalog.records import Product
from indexer.catalog.store import Catalog
from indexer.core.errors import BadRequestError, UnknownProductError
from indexer.core.timer import StageTimer
from indexer.reviews.store import OUTCOMES, Preview, Review, ReviewState
from service.query.own_address import image_url
from service.query.response import Envelope, JsonDocument
from service.review.database import ReviewDatabase
from service.state.snapshots import SnapshotManager

# In a review's body: what the listing is called.
_LISTING = "listing"
# What tells which product is meant.
_NAMING = frozenset({"product_id", "title", "photo", "image_url"})


@dataclass(frozen=True)
class ListingName:
    """What a listing is called where it comes from."""

    external_id: str | None = None
    title: str | None = None


NAMELESS = ListingName()


@dataclass(frozen=True)
class QueuedReview:
    """One review of the queue. ``previews``: of the photos that are still kept; the last part is
    the photo's number. ``external_id`` and ``title`` as they were sent with the listing, else those
    of the stored product ``product_id``."""

    review_id: str
    external_id: str | None
    title: str | None
    product_id: str | None
    state: Literal["open", "approved", "rejected"]
    opened: str
    previews: list[str]
    review: JsonDocument
    decided: JsonDocument | None


@dataclass(frozen=True)
class TagPrecision:
    """How many suggested tags people accepted; ``precision`` None before any was judged."""

    accepted: int
    rejected: int
    precision: float | None


@dataclass(frozen=True)
class AlarmPrecision:
    """How often a policy's alarm was right: where the listing was rejected."""

    rejected: int
    approved: int
    precision: float | None


@dataclass(frozen=True)
class Precision:
    """How often people agreed, with tags they judged and with each policy's alarms."""

    tags: TagPrecision
    policies: dict[str, AlarmPrecision]


@dataclass(frozen=True)
class ReviewPage:
    """Reviews of one state, the oldest first."""

    reviews: list[QueuedReview]
    total: int
    next_after: str | None
    counts: dict[str, int]
    precision: Precision


class ReviewQueue:
    """The reviews of a home; safe to call from many threads."""

    def __init__(
        self, catalog: Catalog, snapshots: SnapshotManager, database: ReviewDatabase
    ) -> None:
        self._catalog = catalog
        self._snapshots = snapshots
        self._database = database

    def submit(
        self,
        body: JsonDocument,
        previews: Sequence[Preview],
        *,
        product_id: str | None,
        pid: int | None = None,
        name: ListingName = NAMELESS,
    ) -> str:
        """Put a review's answer into the queue; its id. ``name``: what the listing is called.

        ``pid``: the number of ``product_id`` when its review began; None: the one it has now.
        Raises ``UnknownProductError`` where that product is erased, and then keeps nothing.
        """
        if product_id is not None and pid is None:
            pid = self._catalog.pid(product_id)
            if pid is None:
                raise UnknownProductError(f"there is no product {product_id!r}")
        body = _Anonymizer(self._catalog).rewrite(body)
        named = {key: value for key, value in asdict(name).items() if value is not None}
        body = {**body, _LISTING: named} if named else body
        try:
            return self._database.reviews.open_review(body, previews, pid=pid)
        except UnknownProductError as error:
            raise UnknownProductError(
                f"product {product_id!r} was erased while it was reviewed: nothing was queued"
            ) from error

    def list(self, state: ReviewState, *, limit: int, after: str | None) -> Envelope[ReviewPage]:
        """``limit`` reviews of a state behind the one named ``after``."""
        timer = StageTimer()
        reviews = self._database.reviews
        found, total = reviews.waiting(state, limit=limit, after=after)
        page = ReviewPage(
            _queued(self._catalog, found),
            total,
            found[-1].name if len(found) == limit else None,
            dict(reviews.counts().items()),
            self.precision(),
        )
        envelope = Envelope.around(page, self._snapshots.current, timer)
        return replace(envelope, complete=reviews.is_counted())

    def follow_some(self) -> bool:
        """Count the next entries of a log from an older release; whether none are left."""
        return not self._database.exists or self._database.reviews.count_some()

    def get(self, name: str) -> Envelope[QueuedReview]:
        """One review with its decision. Raises ``UnknownReviewError``."""
        timer = StageTimer()
        review = self._shown(self._database.reviews.get(name))
        return Envelope.around(review, self._snapshots.current, timer)

    def preview(self, name: str, position: int) -> bytes:
        """The JPEG of a review's photo. Raises ``UnknownReviewError``."""
        return self._database.reviews.preview(name, position)

    def decide(self, name: str, decision: str, reason: str) -> Envelope[QueuedReview]:
        """Approve or reject. Raises ``UnknownReviewError``, ``AlreadyDecidedError``,
        ``BadRequestError``."""
        timer = StageTimer()
        if decision not in OUTCOMES:
            raise BadRequestError(f"decision {decision!a} is none of {', '.join(OUTCOMES)}")
        snapshot = self._snapshots.current
        versions = {
            "model_version": snapshot.model_version if snapshot else None,
            "index_version": snapshot.index_version if snapshot else None,
        }
        decided = self._database.reviews.decide(name, decision, reason=reason, more=versions)
        return Envelope.around(self._shown(decided), snapshot, timer)

    def undo(self, name: str, *, entry: int | None = None) -> Envelope[QueuedReview]:
        """Take a decision back. ``entry``: only where it is that one of the log. Raises
        ``UnknownReviewError``, ``NotUndoableError``."""
        timer = StageTimer()
        opened = self._database.reviews.reopen(name, entry=entry)
        return Envelope.around(self._shown(opened), self._snapshots.current, timer)

    def precision(self) -> Precision:
        """How often people agreed so far."""
        if not self._database.exists:
            return Precision(TagPrecision(0, 0, None), {})
        accepted, rejected = self._database.reviews.judged_tags()
        policies: dict[str, Counter[str]] = {}
        for state, policy, count in self._database.reviews.decided_alarms():
            policies.setdefault(policy, Counter())[state] = count
        alarms = {}
        for name, counts in sorted(policies.items()):
            right, wrong = counts["rejected"], counts["approved"]
            alarms[name] = AlarmPrecision(right, wrong, _share(right, wrong))
        return Precision(TagPrecision(accepted, rejected, _share(accepted, rejected)), alarms)

    def counts(self) -> dict[ReviewState, int]:
        """How many reviews are in each state; nothing is opened for it."""
        if not self._database.exists:
            return {"open": 0, "approved": 0, "rejected": 0}
        return self._database.reviews.counts()

    def _shown(self, review: Review) -> QueuedReview:
        return _queued(self._catalog, [review])[0]


def _queued(catalog: Catalog, reviews: Sequence[Review]) -> list[QueuedReview]:
    """Reviews as they are shown; all products that they name are read at once."""
    pids = [_pids(review.body) | _own(review) for review in reviews]
    identifier = _Identifier(catalog.by_pids(set[int]().union(*pids), tags=False))
    return [_shown(review, identifier) for review in reviews]


def _own(review: Review) -> set[int]:
    """The stored product that was looked at."""
    return set() if review.pid is None else {review.pid}


def _shown(review: Review, identifier: _Identifier) -> QueuedReview:
    body = dict(review.body)
    listing = body.pop(_LISTING, {})
    product = identifier.product(review.pid)
    return QueuedReview(
        review.name,
        listing.get("external_id") or (product.product_id if product else None),
        listing.get("title") or (product.title if product else None),
        product.product_id if product else None,
        review.state,
        review.opened,
        [f"/v1/reviews/{review.name}/photos/{place}" for place in review.photos],
        identifier.rewrite(body),
        review.decided,
    )


def _share(right: int, wrong: int) -> float | None:
    return right / (right + wrong) if right + wrong else None


class _Rewriter:
    """Copies a JSON document with each of its objects changed."""

    def change(self, node: JsonDocument) -> JsonDocument:
        """What an object becomes; its values are rewritten afterwards."""
        raise NotImplementedError

    def rewrite(self, document: JsonDocument) -> JsonDocument:
        """The copy."""
        return dict(self._rewrite(document))

    def _rewrite(self, node: Any) -> Any:
        if isinstance(node, dict):
            return {name: self._rewrite(value) for name, value in self.change(node).items()}
        if isinstance(node, list):
            return [self._rewrite(value) for value in node]
        return node


class _Anonymizer(_Rewriter):
    """Products as their pids, without their photos' hashes: what names them can be erased in the
    catalog alone."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def change(self, node: JsonDocument) -> JsonDocument:
        if "product_id" not in node:
            return node
        rest = {name: value for name, value in node.items() if name not in _NAMING}
        if "photo" in node:
            # Of a duplicate: the product's photo, by its hash; so may its evidence.
            evidence = node.get("evidence", {})
            rest["evidence"] = {
                name: value for name, value in evidence.items() if name != "content_hash"
            }
        product_id = node["product_id"]
        return {"pid": None if product_id is None else self._catalog.pid(product_id), **rest}


class _Identifier(_Rewriter):
    """The ids of the products there still are, with the first photo of each; None for the
    others."""

    def __init__(self, products: Mapping[int, Product]) -> None:
        self._products = products

    def product(self, pid: int | None) -> Product | None:
        """The product of this number, if it is there."""
        return None if pid is None else self._products.get(pid)

    def change(self, node: JsonDocument) -> JsonDocument:
        if "pid" not in node:
            return node
        rest = {name: value for name, value in node.items() if name != "pid"}
        product = self._products.get(node["pid"])
        if product is not None and product.photos and "kind" in node:
            rest |= {"photo": product.photos[0], "image_url": image_url(product.photos[0])}
        return {"product_id": None if product is None else product.product_id, **rest}


def _pids(node: Any) -> set[int]:
    """All products that a JSON document names."""
    return {entry["pid"] for entry in _objects(node) if isinstance(entry.get("pid"), int)}


def _objects(node: Any) -> Iterator[JsonDocument]:
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, (dict, list)):
            yield from _objects(value)
