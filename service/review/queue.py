"""People in the loop: the queue of reviews, what they decide and accept, and how often we were
right."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from indexer.catalog.store import Catalog
from indexer.core.errors import BadRequestError, UnknownProductError, UnknownRequestError
from indexer.core.home import Home
from indexer.core.timer import StageTimer
from indexer.reviews.store import OUTCOMES, Preview, Review, Reviews, ReviewState, open_reviews
from service.query.response import image_url
from service.review.feedback import (
    _MOST_NAMES,
    _REMEMBERED,
    Feedback,
    SuggestionRecord,
    _share,
    _suggests,
)
from service.state.snapshots import SnapshotManager

_NAMING = frozenset(
    {"product_id", "title", "photo", "image_url"}
)  # what tells which product is meant


class ReviewQueue:
    """Part of the engine; safe to call from many threads. The file of reviews is opened at the
    first use."""

    def __init__(
        self,
        home: Home,
        catalog: Catalog,
        serving: SnapshotManager,
        *,
        answer: Callable[..., dict[str, Any]],
    ) -> None:
        self._home, self._catalog, self._serving, self._answer = home, catalog, serving, answer
        self._opened: Reviews | None = None
        self._opening = threading.Lock()
        self._asked: OrderedDict[str, SuggestionRecord] = OrderedDict()
        self._names = 0  # in all of them
        self._asking = threading.Lock()

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    # -- the queue

    def submit(
        self, body: dict[str, Any], previews: Sequence[Preview], *, product_id: str | None
    ) -> str:
        """Put a review's answer into the queue; its id."""
        pid = None if product_id is None else self._catalog.pid(product_id)
        return self._reviews.open_review(self._without_ids(body), previews, pid=pid)

    def queue(self, state: ReviewState, *, limit: int, after: str | None) -> dict[str, Any]:
        """``reviews`` of a state, the oldest first, ``total`` of it, ``counts`` by state, and
        ``precision``."""
        clock = StageTimer()
        found, total = self._reviews.waiting(state, limit=limit, after=after)
        return self._answer(
            self._serving.current,
            clock,
            reviews=[self._shown(review) for review in found],
            total=total,
            next_after=found[-1].name if len(found) == limit else None,
            counts=self._reviews.counts(),
            precision=self.precision(),
        )

    def review(self, name: str) -> dict[str, Any]:
        """One review with its decision. Raises ``UnknownReviewError``."""
        clock = StageTimer()
        return self._answer(self._serving.current, clock, **self._shown(self._reviews.get(name)))

    def preview(self, name: str, position: int) -> bytes:
        """The JPEG of a review's photo. Raises ``UnknownReviewError``."""
        return self._reviews.preview(name, position)

    def decide(self, name: str, decision: str, reason: str) -> dict[str, Any]:
        """Approve or reject. Raises ``UnknownReviewError``, ``AlreadyDecidedError``,
        ``BadRequestError``."""
        clock = StageTimer()
        if decision not in OUTCOMES:
            raise BadRequestError(f"decision {decision!a} is none of {', '.join(OUTCOMES)}")
        snapshot = self._serving.current
        versions = {
            "model_version": snapshot.model_version if snapshot else None,
            "index_version": snapshot.index_version if snapshot else None,
        }
        return self._answer(
            snapshot,
            clock,
            **self._shown(self._reviews.decide(name, decision, reason=reason, more=versions)),
        )

    # -- feedback

    def remember(self, request_id: str, content: Mapping[str, Any]) -> None:
        """Note an answer that suggests tags, categories or products, so that feedback
        can name it."""
        tags: dict[str, None] = {}
        products: dict[str, None] = {}
        if not _suggests(content, tags, products):
            return
        asked = SuggestionRecord(
            tuple(tags), tuple(products), content.get("model_version"), content.get("index_version")
        )
        with self._asking:
            self._forget(request_id)
            self._asked[request_id] = asked
            self._names += asked.names
            while len(self._asked) > _REMEMBERED or self._names > _MOST_NAMES:
                self._forget(next(iter(self._asked)))

    def _forget(self, request_id: str) -> None:
        known = self._asked.pop(request_id, None)
        self._names -= known.names if known else 0

    def feedback(self, said: Feedback) -> dict[str, Any]:
        """Log what people made of an answer; ``stored`` entries.

        Raises ``UnknownRequestError``, ``UnknownProductError``, and ``BadRequestError`` for a tag
        or product that the answer lacked.
        """
        clock = StageTimer()
        with self._asking:
            asked = self._asked.get(said.request_id)
        if asked is None:
            raise UnknownRequestError(
                f"no answer {said.request_id!a} is remembered: the last {_REMEMBERED} suggestions "
                "since the start are"
            )
        both = set(said.accepted) & set(said.rejected)
        if both:
            raise BadRequestError(f"tag {min(both)!a} is accepted and rejected at once")
        for name, given, offered in (
            ("accepted", said.accepted, asked.tags),
            ("rejected", said.rejected, asked.tags),
            ("clicked", said.clicked, frozenset(asked.products)),  # a batch may have offered 64,000
        ):
            for value in given:
                if value not in offered:
                    raise BadRequestError(f"{name}: {value!a} was not in answer {said.request_id}")
        pid = None
        if said.product_id is not None:
            pid = self._catalog.pid(said.product_id)
            if pid is None:
                raise UnknownProductError(f"there is no product {said.product_id!r}")
        if not (said.accepted or said.rejected or said.added or said.clicked or said.category):
            raise BadRequestError(
                "nothing said: give accepted, rejected, added, clicked or category"
            )
        entry = {
            "request_id": said.request_id,
            "accepted": list(said.accepted),
            "rejected": list(said.rejected),
            "added": list(said.added),
            "clicked": [
                known for value in said.clicked if (known := self._catalog.pid(value)) is not None
            ],
            "category": None if said.category is None else list(said.category),
            "pid": pid,
            "model_version": asked.model_version,
            "index_version": asked.index_version,
        }
        return self._answer(
            self._serving.current, clock, stored=self._reviews.add_feedback([entry])
        )

    def precision(self) -> dict[str, Any]:
        """How often people agreed: of ``tags`` they judged, and of each policy's alarms that they
        decided on.

        {"tags": {"accepted", "rejected", "precision"}, "policies": {name: {"rejected", "approved",
        "precision"}}}: an alarm was right where the listing was rejected. ``precision`` is None
        before anything was judged.
        """
        if self._opened is None and not self._home.reviews_file.exists():
            return {"tags": _share(Counter(), "accepted", "rejected"), "policies": {}}
        accepted, rejected = self._reviews.judged_tags()
        tags = Counter(accepted=accepted, rejected=rejected)
        policies: dict[str, Counter[str]] = {}
        for state, policy, count in self._reviews.decided_alarms():
            policies.setdefault(policy, Counter())[state] = count
        return {
            "tags": _share(tags, "accepted", "rejected"),
            "policies": {
                name: _share(counts, "rejected", "approved")
                for name, counts in sorted(policies.items())
            },
        }

    def counts(self) -> dict[ReviewState, int]:
        """How many reviews are in each state; nothing is opened for it."""
        return (
            self._reviews.counts()
            if self._home.reviews_file.exists()
            else {"open": 0, "approved": 0, "rejected": 0}
        )

    # -- inside

    @property
    def _reviews(self) -> Reviews:
        with self._opening:
            if self._opened is None:
                self._opened = open_reviews(self._home)
            return self._opened

    def _shown(self, review: Review) -> dict[str, Any]:
        body = self._with_ids(review.body)
        return {
            "review_id": review.name,
            "state": review.state,
            "opened": review.opened,
            "previews": [f"/v1/reviews/{review.name}/photos/{place}" for place in review.photos],
            "review": body,
            "decided": review.decided,
        }

    def _without_ids(self, body: dict[str, Any]) -> dict[str, Any]:
        """Products as their pids, without their photos' hashes: what names them can be erased in
        the catalog alone."""

        def change(node: dict[str, Any]) -> dict[str, Any]:
            if "product_id" not in node:
                return node
            rest = {name: value for name, value in node.items() if name not in _NAMING}
            if (
                "photo" in node
            ):  # of a repeat: the product's photo, by its hash; so may its evidence
                rest["evidence"] = {
                    name: value
                    for name, value in node.get("evidence", {}).items()
                    if name != "content_hash"
                }
            product_id = node["product_id"]
            return {"pid": None if product_id is None else self._catalog.pid(product_id), **rest}

        return dict(_walk(body, change))

    def _with_ids(self, body: dict[str, Any]) -> dict[str, Any]:
        """The ids of the products there still are, with the first photo of each; None for the
        others."""
        pids: set[int] = set()

        def note(node: dict[str, Any]) -> dict[str, Any]:
            if isinstance(node.get("pid"), int):
                pids.add(node["pid"])
            return node

        _walk(body, note)
        products = self._catalog.by_pids(pids)

        def change(node: dict[str, Any]) -> dict[str, Any]:
            if "pid" not in node:
                return node
            rest = {name: value for name, value in node.items() if name != "pid"}
            product = products.get(node["pid"])
            if product is not None and product.photos and "kind" in node:
                rest |= {"photo": product.photos[0], "image_url": image_url(product.photos[0])}
            return {"product_id": None if product is None else product.product_id, **rest}

        return dict(_walk(body, change))


def _walk(node: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A copy of a JSON document with ``change`` done to each of its objects."""
    if isinstance(node, dict):
        return {name: _walk(value, change) for name, value in change(node).items()}
    if isinstance(node, list):
        return [_walk(value, change) for value in node]
    return node
