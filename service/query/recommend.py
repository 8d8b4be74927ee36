"""Recommendations: what a shopper did to interests, products that suit them, each
with its reason."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from indexer.catalog.attributes import datetime_seconds
from indexer.catalog.filters import Filter, FilterableProduct
from indexer.catalog.store import Catalog
from indexer.core.category_path import format_path
from indexer.core.errors import BadFilterError, BadRequestError, NoOrdersError, UnknownProductError
from indexer.core.timer import StageTimer
from indexer.index.filter_columns import FilterColumn
from indexer.index.product_hits import ProductHits
from indexer.index.query import reweigh
from indexer.recommendation.interests import (
    DIVERSITY,
    Interest,
    Value,
    cluster_interests,
    event_weights,
    logsumexp_interests,
    mmr,
    reasons,
    score_candidates,
    values_of,
)
from indexer.recommendation.orders import complements_of
from service.query.filters import FilterParser
from service.query.response import result
from service.query.search import LONGEST
from service.state.snapshots import Snapshot

Mode = Literal["similar", "complete"]
MODES = ("similar", "complete")
MOST_EVENTS = (
    1000  # in one history; the heaviest 200 products of it count, none of them all comes back
)
_COUNTED = 200
_CANDIDATES = 150  # scored in all, shared by the interests; more found nothing better
_COMPARED = 3  # times as many as asked for are compared with each other
_TOGETHER = 4  # categories that go with one interest
_COLOUR, _COLOUR_WEIGHT = "c", 0.5  # what goes together matches in colour first


@dataclass(frozen=True)
class Event:
    """One thing that a shopper viewed, saved or bought."""

    product_id: str
    weight: float = 1.0
    time: float | str | None = None  # seconds since 1970, or an ISO 8601 date or date-time


@dataclass(frozen=True)
class _History:
    """The heaviest products of a history that can be used, each once."""

    pids: list[int]
    vectors: np.ndarray  # float32 [n, D], unit
    weights: np.ndarray  # float [n]
    facts: list[FilterableProduct]
    known: set[int]  # all products of the history that are stored, those too that count for nothing
    unknown: list[str]


@dataclass(frozen=True)
class _Candidates:
    """Products found for interests: the photo that was found, and log weights by interest (-inf:
    not meant for it)."""

    pids: np.ndarray
    photo_ids: np.ndarray
    table: np.ndarray  # float [J, n]


class Recommender:
    """Part of the engine. ``snapshot`` and ``turn`` give what a question is answered from and a
    place at work."""

    def __init__(
        self,
        catalog: Catalog,
        filtering: FilterParser,
        *,
        out_of_stock: Sequence[Mapping[str, Any]],
        snapshot: Callable[..., Snapshot],
        turn: Callable[[], AbstractContextManager[StageTimer]],
        answer: Callable[..., dict[str, Any]],
    ) -> None:
        self._catalog, self._filtering, self._out_of_stock = catalog, filtering, out_of_stock
        self._snapshot, self._turn, self._answer = snapshot, turn, answer
        self._shares: tuple[int, dict[Value, float]] = (
            0,
            {},
        )  # of the version's columns with this id

    def recommend(
        self,
        history: Sequence[Event],
        *,
        k: int = 20,
        filter: object = None,
        mode: Mode = "similar",
        diversity: float = DIVERSITY,
        min_sequence: int | None = None,
        version: str | None = None,
    ) -> dict[str, Any]:
        """``results`` as of a search, each with its ``reason``; ``interests``;
        ``unknown_products``.

        Nothing of the history, and nothing that is out of stock, is recommended; always min(k, what
        is left) results. ``mode`` "complete": from categories that are bought together with those
        of the history, learned from imported orders. Raises ``BadRequestError`` for an empty
        history, ``UnknownProductError`` where none of its products is known, ``NoOrdersError``,
        ``BadFilterError``.
        """
        _check(history, k, mode, diversity)
        now = self._snapshot(min_sequence, version)
        with self._turn() as clock:
            # One transaction for all that is looked up: a history of ten asks thirty times.
            with clock.stage("history"), self._catalog.database.read():
                read = self._read(now, history)
                types = self._catalog.types()
                values = [values_of(facts, types) for facts in read.facts]
                where = self._where(now, filter, types)
                interests = cluster_interests(
                    read.vectors, read.weights, values, self._frequency(now, types)
                )
            hidden = set(read.known)
            while True:
                with clock.stage("search"):
                    if mode == "complete":
                        found = self._complements(now, read, interests, k, filter, hidden, types)
                    else:
                        found = self._similar(now, interests, k, where, hidden, types)
                    found, vectors = _foremost(now, found, max(_COMPARED * k, k + 20))
                    chosen, value = mmr(
                        logsumexp_interests(found.table), vectors, k, diversity=diversity
                    )
                with clock.stage("describe"):
                    products = self._catalog.by_pids(found.pids[chosen].tolist())
                    # Written by another process a moment ago, not yet seen by the index: look
                    # further.
                    gone = {
                        pid
                        for pid, photo in zip(
                            found.pids[chosen].tolist(),
                            found.photo_ids[chosen].tolist(),
                            strict=True,
                        )
                        if pid not in products or photo not in products[pid].photo_ids
                    }
                if not gone:
                    break
                hidden |= gone
            with clock.stage("describe"):
                named = self._catalog.by_pids(read.pids)
                nearest, likeness = reasons(vectors[chosen], read.vectors)
                results = []
                for rank, place in enumerate(chosen.tolist()):
                    product = products[int(found.pids[place])]
                    photo = product.photos[product.photo_ids.index(int(found.photo_ids[place]))]
                    best = interests[int(np.argmax(found.table[:, place])) % len(interests)]
                    signals = {
                        "interest": min(max(float(best.query @ vectors[place]), -1.0), 1.0),
                        "history": float(likeness[rank]),
                    }
                    score = math.exp(min(float(value[rank] - value[0]), 0.0))
                    because = named.get(read.pids[int(nearest[rank])])
                    reason = _reason(because.product_id, because.title, mode) if because else None
                    results.append({**result(product, photo, score, signals), "reason": reason})
                shown = [
                    _interest(interest, [named.get(pid) for pid in read.pids])
                    for interest in interests
                ]
        return self._answer(
            now, clock, results=results, interests=shown, unknown_products=read.unknown
        )

    # -- the history

    def _read(self, now: Snapshot, history: Sequence[Event]) -> _History:
        weights: dict[str, float] = {}
        newest: dict[str, float] = {}
        for event, when in zip(history, map(_seconds, history), strict=True):
            weights[event.product_id] = weights.get(event.product_id, 0.0) + event.weight
            newest[event.product_id] = max(
                when, newest.get(event.product_id, -math.inf), key=_or_never
            )
        ids = list(weights)
        counted = event_weights(
            np.array([weights[one] for one in ids]),
            np.array([newest[one] for one in ids]),
            now=_latest(newest),
        )
        order = [ids[place] for place in np.argsort(-counted, kind="stable").tolist()]
        pid_of = {one: pid for one in order if (pid := self._catalog.pid(one)) is not None}
        mean = self._means(now, list(pid_of.values()))
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
        return _History(
            pids,
            np.stack([mean[pid] for pid in pids]),
            np.maximum([weight_of[one] for one in used], 1e-9),
            [facts.get(pid, FilterableProduct(pid, None, (), {})) for pid in pids],
            set(pid_of.values()),
            unknown,
        )

    def _means(self, now: Snapshot, pids: Sequence[int]) -> dict[int, np.ndarray]:
        """The mean direction of each product's photos, float32 [D]; what is not searchable yet is
        missing."""
        places = [
            (pid, photo_id)
            for pid, own in self._catalog.photo_ids(pids).items()
            for photo_id in own
        ]
        vectors, there = now.live.vectors_at(
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

    def _frequency(self, now: Snapshot, types: Mapping[str, str]) -> Callable[[Value], float]:
        """The share of the version's products that have a value; of one that none has, as if one
        had it."""
        fields = self._fields(now)
        columns = now.live.columns
        assert columns is not None
        if self._shares[0] != id(columns):
            self._shares = (id(columns), {})
        known, total = self._shares[1], max(len(columns.pids), 1)

        def frequency(value: Value) -> float:
            if value not in known:
                column, count = fields.get(value[0]), 0
                if column is not None and column.starts is not None:
                    count = sum(
                        int(column.starts[at + 1] - column.starts[at])
                        for at in column.positions([value[1]])
                    )
                known[value] = min(max(count, 1) / total, 1.0)
            return known[value]

        return frequency

    # -- candidates

    def _where(
        self, now: Snapshot, filter: object, types: Mapping[str, str], *more: Mapping[str, Any]
    ) -> Filter | None:
        """The filter as asked, without what is out of stock. Raises ``BadFilterError``."""
        if filter is not None:
            self._filtering.read(now, filter)  # so that a fault is named where the client put it
        hidden = []
        for condition in self._out_of_stock:
            try:
                self._filtering.read(now, {"must": [condition]})
                hidden.append(condition)
            except BadFilterError:
                # this catalog has no such attribute, or of another type: nothing is out of stock by
                # it
                continue
        must = [*([filter] if filter else []), *more]
        return (
            self._filtering.read(now, {"must": must, "must_not": hidden})
            if must or hidden
            else None
        )

    def _similar(
        self,
        now: Snapshot,
        interests: Sequence[Interest],
        k: int,
        where: Filter | None,
        hidden: set[int],
        types: Mapping[str, str],
    ) -> _Candidates:
        # Each list alone is long enough for the answer, so together they are too.
        many = max(k, _CANDIDATES // len(interests))
        queries = np.stack([interest.query for interest in interests])
        return self._scored(
            now, interests, now.live.search(queries, many, exclude=hidden, where=where), types
        )

    def _complements(
        self,
        now: Snapshot,
        read: _History,
        interests: Sequence[Interest],
        k: int,
        filter: object,
        hidden: set[int],
        types: Mapping[str, str],
    ) -> _Candidates:
        """For each interest the best of the categories that go with its own, the rest of the
        history's left out."""
        paths = [format_path(facts.category) if facts.category else None for facts in read.facts]
        pairs = complements_of(self._catalog, [path for path in paths if path])
        parts: list[_Candidates] = []
        for number, interest in enumerate(interests):
            own = {paths[place] for place in interest.members.tolist()} - {None}
            lifts: dict[str, float] = {}
            for path in own:
                for pair in pairs.get(str(path), ()):
                    other = pair.other if pair.one == path else pair.one
                    if other not in own:
                        lifts[other] = max(lifts.get(other, 0.0), pair.lift)
            for other, lift in sorted(lifts.items(), key=lambda entry: -entry[1])[:_TOGETHER]:
                odds = {
                    value: gain for value, gain in interest.odds.items() if value[0] != "category"
                }
                wanted = replace(
                    interest,
                    odds=odds,
                    share=interest.share * lift,
                    query=_coloured(now, interest.query),
                )
                where = self._where(now, filter, types, {"field": "category", "eq": other})
                (hits,) = now.live.search(
                    wanted.query[None], max(k, 50), exclude=hidden, where=where
                )
                scored = self._scored(now, [wanted], [hits], types)
                table = np.full((len(interests), len(scored.pids)), -np.inf)
                table[number] = scored.table[0]
                parts.append(replace(scored, table=table))
        if not any(len(part.pids) for part in parts):
            raise NoOrdersError(
                "the imported orders name no category that is bought together with those of the "
                "history "
                f"({', '.join(sorted({str(path) for path in paths if path})) or 'they have none'}"
                "): import more orders"
            )
        return _joined(parts)

    def _scored(
        self,
        now: Snapshot,
        interests: Sequence[Interest],
        found: Sequence[ProductHits],
        types: Mapping[str, str],
    ) -> _Candidates:
        """What was found for each interest, scored for those that found it: only their cosines are
        known."""
        pids, first, place = np.unique(
            np.concatenate([hits.pids for hits in found]), return_index=True, return_inverse=True
        )
        photo_ids = np.concatenate([hits.photo_ids for hits in found])[first]
        cosines = np.full((len(interests), len(pids)), -np.inf)
        whose = np.repeat(np.arange(len(found)), [len(hits) for hits in found])
        cosines[whose, place] = np.concatenate([hits.scores for hits in found])
        values = list(dict.fromkeys(value for interest in interests for value in interest.odds))
        return _Candidates(
            pids,
            photo_ids,
            score_candidates(interests, cosines, values, self._holding(now, pids, values, types)),
        )

    def _holding(
        self, now: Snapshot, pids: np.ndarray, values: Sequence[Value], types: Mapping[str, str]
    ) -> np.ndarray:
        """Which products have which values, bool [V, n]: from the version's columns, or the
        catalog's newer rows."""
        places, settled = now.live.unchanged_since_build(pids)
        fields = self._fields(now)
        holds = np.zeros((len(values), len(pids)), dtype=bool)
        asked = places[settled].astype(
            np.int32
        )  # as the columns hold them: else each search copies all of one
        for row, (field, text) in enumerate(values):
            column = fields.get(field)
            if column is None or column.starts is None:
                continue
            for position in column.positions([text]):
                held = column.places[column.starts[position] : column.starts[position + 1]]
                at = np.minimum(np.searchsorted(held, asked), len(held) - 1)
                holds[row, settled] = held[at] == asked
        newer = self._catalog.facts(pids[~settled].tolist()) if not settled.all() else {}
        for place in np.flatnonzero(~settled).tolist():
            facts = newer.get(int(pids[place]))
            own = set(values_of(facts, types)) if facts else set()
            holds[:, place] = [value in own for value in values]
        return holds

    def _fields(self, now: Snapshot) -> dict[str, FilterColumn]:
        """The version's columns by field; made from the catalog where it has none."""
        if now.live.columns is None:
            self._filtering.read(now, {})
        columns = now.live.columns
        assert columns is not None
        return {column.field: column for column in columns.facets()}


def _check(history: Sequence[Event], k: int, mode: str, diversity: float) -> None:
    if not history:
        raise BadRequestError(
            "history is empty: name at least one product that the shopper viewed, saved or bought; "
            "for a new shopper "
            "show GET /v1/products or your best sellers"
        )
    if len(history) > MOST_EVENTS:
        raise BadRequestError(
            f"history: {len(history)} events, at most {MOST_EVENTS} are taken: send the newest"
        )
    if not 1 <= k <= LONGEST:
        raise BadRequestError(f"k must be from 1 to {LONGEST}, not {k}")
    if mode not in MODES:
        raise BadRequestError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    if not 0 <= diversity <= 100:
        raise BadRequestError(f"diversity must be from 0 to 100, not {diversity!r}")
    for place, event in enumerate(history):
        if not 0 < event.weight <= 1e6:
            raise BadRequestError(
                f"history[{place}].weight must be above 0 and at most 1000000, not {event.weight!r}"
            )


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


def _coloured(now: Snapshot, query: np.ndarray) -> np.ndarray:
    """A unit query in which the colour block counts ``_COLOUR``; as it is where the embedding has
    none."""
    blocks = now.bundle.spec.blocks
    stored = {block.name: block.weight for block in blocks if block.weight > 0}
    if _COLOUR not in stored or len(stored) < 2:
        return query
    rest = sum(weight for name, weight in stored.items() if name != _COLOUR)
    weights = {name: (1 - _COLOUR_WEIGHT) * weight / rest for name, weight in stored.items()} | {
        _COLOUR: _COLOUR_WEIGHT
    }
    return np.asarray(reweigh(query[None], blocks, weights)[0][0], np.float32)


def _foremost(now: Snapshot, found: _Candidates, most: int) -> tuple[_Candidates, np.ndarray]:
    """The ``most`` candidates that suit best, of those that are still there, and their vectors
    float32 [n, D]."""
    best = np.argsort(-logsumexp_interests(found.table), kind="stable")[:most]
    vectors, there = now.live.vectors_at(found.pids[best], found.photo_ids[best])
    best = best[there]
    return _Candidates(found.pids[best], found.photo_ids[best], found.table[:, best]), vectors[
        there
    ]


def _joined(parts: Sequence[_Candidates]) -> _Candidates:
    """Candidates of several categories as one; a product found for several interests stands there
    once."""
    pids, first, place = np.unique(
        np.concatenate([part.pids for part in parts]), return_index=True, return_inverse=True
    )
    given = np.concatenate([part.table for part in parts], axis=1)
    table = np.full((len(given), len(pids)), -np.inf)
    np.maximum.at(table.T, place, given.T)
    return _Candidates(pids, np.concatenate([part.photo_ids for part in parts])[first], table)


def _reason(product_id: str, title: str | None, mode: Mode) -> dict[str, Any]:
    name = title or product_id
    said = (
        {"en": f"Because you viewed {name}", "zh": f"因为您看过“{name}”"}
        if mode == "similar"
        else {"en": f"Goes with {name}", "zh": f"与“{name}”搭配"}
    )
    return {"product_id": product_id, "title": title, "text": said}


def _interest(interest: Interest, products: Sequence[Any]) -> dict[str, Any]:
    members = [products[place].product_id for place in interest.members.tolist() if products[place]]
    lead = products[interest.medoid]
    return {
        "product_id": lead.product_id if lead else None,
        "title": lead.title if lead else None,
        "share": round(interest.share, 6),
        "products": members,
    }
