"""Recommendations: a shopper's history to interests, and products that suit each of them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from indexer.catalog.attributes import datetime_seconds
from indexer.catalog.filters import FilterableProduct
from indexer.catalog.records import Product
from indexer.catalog.store import Catalog
from indexer.core.errors import BadRequestError, UnknownProductError
from indexer.recommendation.interests import (
    Interest,
    cluster_interests,
    event_weights,
    reasons,
    values_of,
)
from service.query.context import RequestContext
from service.query.filters import FilterParser
from service.query.groups import GroupCard, GroupReader, shown_group
from service.query.interest_ranking import (
    History,
    InterestRanking,
    Mode,
    RankedCandidates,
    RecommendOptions,
    ValueShares,
)
from service.query.living import rank_living
from service.query.response import (
    InterestSummary,
    Reason,
    ReasonText,
    Recommendations,
    RecommendedProduct,
    photo_of,
)
from service.query.shown_product import Presentation
from service.query.stock import StockFilter
from service.state.snapshot import Snapshot

# Events in one history.
MOST_EVENTS = 1000
# The heaviest products of it count; none of them all comes back.
_COUNTED = 200


@dataclass(frozen=True)
class Event:
    """One thing that a shopper viewed, saved or bought."""

    product_id: str
    weight: float = 1.0
    time: float | str | None = None  # seconds since 1970, or an ISO 8601 date or date-time


class Recommender:
    """Recommends products for shoppers; safe to call from many threads."""

    def __init__(
        self,
        catalog: Catalog,
        filters: FilterParser,
        stock: StockFilter,
        groups: GroupReader,
    ) -> None:
        self._catalog = catalog
        self._filters = filters
        self._stock = stock
        self._groups = groups

    def recommend(
        self, ctx: RequestContext, history: Sequence[Event], options: RecommendOptions
    ) -> Recommendations:
        """Products as of a search, each with its reason; the interests, and unknown products.

        Nothing of the history is recommended, no variant of what it holds, and unless asked for
        nothing that is out of stock; always min(k, what is left) results. Raises
        ``UnknownProductError`` where none of its products is known, ``NoOrdersError``,
        ``BadFilterError``.
        """
        ctx.note_pending()
        # One transaction for all that is looked up: a history of ten asks thirty times.
        with ctx.timer.stage("history"), self._catalog.database.read():
            read = self._read(ctx.snapshot, history)
            fields = self._filters.fields(ctx.snapshot)
            if not fields.complete:
                ctx.note_gap("columns")
            values = [values_of(facts, fields.types) for facts in read.facts]
            handling = self._stock.handling(fields, options.out_of_stock, "hide")
            self._stock.bind(fields, options.filter)  # so that a fault is named first
            grouping = self._groups.grouping(fields, options, handling)
            exclude = self._groups.relatives(fields, read.known)
            shares = ctx.snapshot.derived_from_index(ValueShares)
            frequency = partial(shares.share, fields.columns)
            interests = cluster_interests(read.vectors, read.weights, values, frequency)
        ranking = InterestRanking(
            self._catalog, self._stock, ctx, options, read, interests, fields, handling, grouping
        )
        with ctx.timer.stage("search"):
            chosen, products = rank_living(self._catalog, ranking, exclude)
        with ctx.timer.stage("describe"):
            named = self._catalog.by_pids(read.pids)
            results = _results(chosen, products, read, interests, named, options)
            of_history = [named.get(pid) for pid in read.pids]
            summaries = [_summary(interest, of_history) for interest in interests]
        return Recommendations(results, summaries, read.unknown)

    # -- the history

    def _read(self, snapshot: Snapshot, history: Sequence[Event]) -> History:
        weights: dict[str, float] = {}
        newest: dict[str, float] = {}
        for event, when in zip(history, map(_seconds, history), strict=True):
            name = event.product_id
            weights[name] = weights.get(name, 0.0) + event.weight
            newest[name] = max(when, newest.get(name, -math.inf), key=_or_never)
        ids = list(weights)
        counted = event_weights(
            np.array([weights[one] for one in ids]),
            np.array([newest[one] for one in ids]),
            now=_latest(newest),
        )
        order = [ids[place] for place in np.argsort(-counted, kind="stable").tolist()]
        pid_of = self._catalog.pids(order)
        mean = mean_vectors(self._catalog, snapshot, list(pid_of.values()))
        used = [one for one in order if pid_of.get(one) in mean][:_COUNTED]
        pids = [pid_of[one] for one in used]
        unknown = [one for one in ids if pid_of.get(one) not in mean]
        weight_of = dict(zip(ids, counted.tolist(), strict=True))
        if not pids:
            listed = ", ".join(repr(one) for one in ids[:5])
            raise UnknownProductError(
                f"history: none of its products is known and searchable ({listed})"
            )
        facts = self._catalog.facts(pids)
        return History(
            pids,
            np.stack([mean[pid] for pid in pids]),
            np.maximum([weight_of[one] for one in used], 1e-9),
            [facts.get(pid, FilterableProduct(pid, None, (), {})) for pid in pids],
            frozenset(pid_of.values()),
            unknown,
        )


def mean_vectors(
    catalog: Catalog, snapshot: Snapshot, pids: Sequence[int]
) -> dict[int, np.ndarray]:
    """The mean direction of each product's photos, float32 [D]; what is not searchable yet is
    missing."""
    held = catalog.photo_ids(pids)
    places = [(pid, photo_id) for pid, own in held.items() for photo_id in own]
    vectors, there = snapshot.live.vectors_at(
        [pid for pid, _ in places], [photo_id for _, photo_id in places]
    )
    sums: dict[int, np.ndarray] = {}
    for (pid, _), vector, here in zip(places, vectors, there.tolist(), strict=True):
        if here:
            sums[pid] = sums[pid] + vector if pid in sums else vector
    return {
        pid: whole / length
        for pid, whole in sums.items()
        if (length := float(np.linalg.norm(whole))) > 1e-6
    }


def _seconds(event: Event) -> float:
    if event.time is None:
        return math.nan
    if isinstance(event.time, int | float):
        return float(event.time)
    try:
        return datetime_seconds(event.time.strip())
    except ValueError as error:
        raise BadRequestError(f"history: time of {event.product_id!r}: {error}") from None


def _or_never(moment: float) -> float:
    return -math.inf if math.isnan(moment) else moment


def _latest(newest: Mapping[str, float]) -> float | None:
    """What age is counted from: the newest event, but never a moment that is still to come."""
    known = [moment for moment in newest.values() if math.isfinite(moment)]
    return min(max(known), time.time()) if known else None


def _results(
    chosen: RankedCandidates,
    products: Mapping[int, Product],
    history: History,
    interests: Sequence[Interest],
    named: Mapping[int, Product],
    options: RecommendOptions,
) -> list[RecommendedProduct]:
    view = options.view()
    candidates = chosen.candidates
    cards: Sequence[GroupCard | None] = chosen.cards or [None] * len(chosen.leaders)
    nearest, similarity = reasons(chosen.vectors, history.vectors)
    results = []
    for rank, ((pid, photo_id), card) in enumerate(zip(chosen.leaders, cards, strict=True)):
        product = products[pid]
        best = interests[int(np.argmax(candidates.table[:, rank])) % len(interests)]
        cosine = float(best.query @ chosen.vectors[rank])
        signals = {
            "interest": min(max(cosine, -1.0), 1.0),
            "history": float(similarity[rank]),
        }
        score = math.exp(min(float(chosen.values[rank] - chosen.values[0]), 0.0))
        because = named.get(history.pids[int(nearest[rank])])
        reason = _reason(because, options.mode, view) if because else None
        group = shown_group(card, products, view) if card is not None else None
        photo = photo_of(product, photo_id)
        results.append(
            RecommendedProduct.of(product, photo, score, signals, view, group=group, reason=reason)
        )
    return results


def _reason(because: Product, mode: Mode, view: Presentation) -> Reason:
    title = view.title(because)
    name = title or because.product_id
    text = (
        ReasonText(en=f"Because you viewed {name}", zh=f"因为您看过“{name}”")
        if mode == "similar"
        else ReasonText(en=f"Goes with {name}", zh=f"与“{name}”搭配")
    )
    return Reason(because.product_id, title, text)


def _summary(interest: Interest, products: Sequence[Product | None]) -> InterestSummary:
    """An interest by the products of the history, of which some may be deleted by now."""
    members = [products[place] for place in interest.members.tolist()]
    lead = products[interest.medoid]
    return InterestSummary(
        lead.product_id if lead else None,
        lead.title if lead else None,
        round(interest.share, 6),
        [product.product_id for product in members if product],
    )


def check_history(history: Sequence[Event]) -> None:
    """Raise ``BadRequestError`` for a history that cannot be used."""
    if not history:
        raise BadRequestError(
            "history is empty: name at least one product that the shopper viewed, saved or bought; "
            "for a new shopper show GET /v1/products or your best sellers"
        )
    if len(history) > MOST_EVENTS:
        raise BadRequestError(
            f"history: {len(history)} events, at most {MOST_EVENTS} are taken: send the newest"
        )
    for place, event in enumerate(history):
        if not 0 < event.weight <= 1e6:
            raise BadRequestError(
                f"history[{place}].weight must be above 0 and at most 1000000, not {event.weight!r}"
            )
