"""Recommendations: what a shopper did to interests, products that suit them, each with its reason."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from indexer.catalog.attributes import datetime_seconds
from indexer.catalog.filters import SEPARATOR, Facts, Filter
from indexer.catalog.orders import complements_of
from indexer.catalog.store import Catalog
from indexer.decisions import recommend as decide
from indexer.decisions.recommend import Interest, Value
from indexer.decisions.similar import reweigh
from indexer.errors import BadFilter, BadRequest, NoOrders, UnknownProduct
from service import answers
from service.answers import Clock
from service.filtering import Filtering
from service.searching import LONGEST
from service.serving import Snapshot

Mode = Literal["similar", "complete"]
MODES = ("similar", "complete")
MOST_EVENTS = 1000  # in one history; the heaviest 200 products of it count
_COUNTED = 200
_CANDIDATES = 300  # scored in all, shared by the interests; more found nothing better
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
    """The products of a history that can be used, each once."""

    pids: list[int]
    vectors: np.ndarray  # float32 [n, D], unit
    weights: np.ndarray  # float [n]
    facts: list[Facts]
    unknown: list[str]


@dataclass(frozen=True)
class _Candidates:
    """Products found for interests: best photo, vector, and log weight by interest (-inf: not meant for it)."""

    pids: np.ndarray
    photo_ids: np.ndarray
    vectors: np.ndarray
    table: np.ndarray  # float [J, n]


class Recommending:
    """Part of the engine. ``snapshot`` and ``turn`` give what a question is answered from and a place at work."""

    def __init__(
        self,
        catalog: Catalog,
        filtering: Filtering,
        *,
        out_of_stock: Sequence[Mapping[str, Any]],
        snapshot: Callable[..., Snapshot],
        turn: Callable[[], AbstractContextManager[Clock]],
        answer: Callable[..., dict[str, Any]],
    ) -> None:
        self._catalog, self._filtering, self._out_of_stock = catalog, filtering, out_of_stock
        self._snapshot, self._turn, self._answer = snapshot, turn, answer
        self._shares: tuple[int, dict[Value, float]] = (0, {})  # of the version's columns with this id

    def recommend(
        self,
        history: Sequence[Event],
        *,
        k: int = 20,
        filter: object = None,
        mode: Mode = "similar",
        diversity: float = decide.DIVERSITY,
        min_sequence: int | None = None,
        version: str | None = None,
    ) -> dict[str, Any]:
        """``results`` as of a search, each with its ``reason``; ``interests``; ``unknown_products``.

        Nothing of the history, and nothing that is out of stock, is recommended; always min(k, what is left) results.
        ``mode`` "complete": from categories that are bought together with those of the history, learned from imported
        orders. Raises ``BadRequest`` for an empty history, ``UnknownProduct`` where none of its products is known,
        ``NoOrders``, ``BadFilter``.
        """
        _check(history, k, mode, diversity)
        now = self._snapshot(min_sequence, version)
        with self._turn() as clock:
            with clock.stage("history"):
                read = self._read(now, history)
                types = self._catalog.types()
                values = [decide.values_of(facts, types) for facts in read.facts]
                where = self._where(now, filter, types)
                interests = decide.find_interests(read.vectors, read.weights, values, self._frequency(now, types))
            hidden = set(read.pids)
            while True:
                with clock.stage("search"):
                    if mode == "complete":
                        found = self._complements(now, read, interests, k, filter, hidden, types)
                    else:
                        found = self._similar(now, interests, k, where, hidden, types)
                    scores = decide.merged(found.table) if len(found.pids) else np.empty(0)
                    chosen, value = decide.diverse(scores, found.vectors, k, diversity=diversity)
                with clock.stage("describe"):
                    products = self._catalog.by_pids(found.pids[chosen].tolist())
                    # Written by another process a moment ago, not yet seen by the index: look further.
                    gone = {
                        pid
                        for pid, photo in zip(found.pids[chosen].tolist(), found.photo_ids[chosen].tolist(), strict=True)
                        if pid not in products or photo not in products[pid].photo_ids
                    }
                if not gone:
                    break
                hidden |= gone
            with clock.stage("describe"):
                named = self._catalog.by_pids(read.pids)
                nearest, likeness = decide.reasons(found.vectors[chosen], read.vectors)
                results = []
                for rank, place in enumerate(chosen.tolist()):
                    product = products[int(found.pids[place])]
                    photo = product.photos[product.photo_ids.index(int(found.photo_ids[place]))]
                    best = interests[int(np.argmax(found.table[:, place])) % len(interests)]
                    signals = {
                        "interest": min(max(float(best.query @ found.vectors[place]), -1.0), 1.0),
                        "history": float(likeness[rank]),
                    }
                    score = math.exp(min(float(value[rank] - value[0]), 0.0))
                    because = named.get(read.pids[int(nearest[rank])])
                    reason = _reason(because.product_id, because.title, mode) if because else None
                    results.append({**answers.result(product, photo, score, signals), "reason": reason})
                shown = [_interest(interest, [named.get(pid) for pid in read.pids]) for interest in interests]
        return self._answer(now, clock, results=results, interests=shown, unknown_products=read.unknown)

    # -- the history

    def _read(self, now: Snapshot, history: Sequence[Event]) -> _History:
        weights: dict[str, float] = {}
        newest: dict[str, float] = {}
        for event, when in zip(history, map(_seconds, history), strict=True):
            weights[event.product_id] = weights.get(event.product_id, 0.0) + event.weight
            newest[event.product_id] = max(when, newest.get(event.product_id, -math.inf), key=_or_never)
        ids = list(weights)
        counted = decide.event_weights(
            np.array([weights[one] for one in ids]), np.array([newest[one] for one in ids]), now=_latest(newest)
        )
        pids: list[int] = []
        vectors: list[np.ndarray] = []
        kept: list[float] = []
        unknown: list[str] = []
        for place in np.argsort(-counted, kind="stable").tolist():
            pid = self._catalog.pid(ids[place])
            vector = None if pid is None else _vector(now, pid)
            if pid is None or vector is None:
                unknown.append(ids[place])
            elif len(pids) < _COUNTED:
                pids.append(pid)
                vectors.append(vector)
                kept.append(float(counted[place]))
        if not pids:
            listed = ", ".join(repr(one) for one in ids[:5])
            raise UnknownProduct(f"history: none of its products is known and searchable ({listed})")
        facts = self._catalog.facts(pids)
        read = [facts.get(pid, Facts(pid, None, (), {})) for pid in pids]
        return _History(pids, np.stack(vectors), np.maximum(kept, 1e-9), read, [i for i in ids if i in set(unknown)])

    def _frequency(self, now: Snapshot, types: Mapping[str, str]) -> Callable[[Value], float]:
        """The share of the version's products that have a value; of one that none has, as if one had it."""
        self._filtering.read(now, {})  # makes columns where the version has none
        columns = now.live.columns
        assert columns is not None
        if self._shares[0] != id(columns):
            self._shares = (id(columns), {})
        known, total = self._shares[1], max(len(columns.pids), 1)
        fields = {column.field: column for column in columns.facets()}

        def frequency(value: Value) -> float:
            if value not in known:
                column, count = fields.get(value[0]), 0
                if column is not None and column.starts is not None:
                    count = sum(int(np.diff(column.starts)[place]) for place in column.positions([value[1]]))
                known[value] = min(max(count, 1) / total, 1.0)
            return known[value]

        return frequency

    # -- candidates

    def _where(
        self, now: Snapshot, filter: object, types: Mapping[str, str], *more: Mapping[str, Any]
    ) -> Filter | None:
        """The filter as asked, without what is out of stock. Raises ``BadFilter``."""
        if filter is not None:
            self._filtering.read(now, filter)  # so that a fault is named where the client put it
        hidden = []
        for condition in self._out_of_stock:
            try:
                self._filtering.read(now, {"must": [condition]})
                hidden.append(condition)
            except BadFilter:
                continue  # this catalog has no such attribute, or of another type: nothing is out of stock by it
        must = [*([filter] if filter else []), *more]
        return self._filtering.read(now, {"must": must, "must_not": hidden}) if must or hidden else None

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
        best: dict[int, tuple[int, float]] = {}
        for hits in now.live.search(queries, many, exclude=hidden, where=where):
            _keep_best(best, hits.pids.tolist(), hits.photo_ids.tolist(), hits.scores.tolist())
        return self._scored(now, best, interests, types)

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
        """For each interest the best of the categories that go with its own, the rest of the history's left out."""
        paths = [SEPARATOR.join(facts.category) if facts.category else None for facts in read.facts]
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
                odds = {value: gain for value, gain in interest.odds.items() if value[0] != "category"}
                wanted = replace(interest, odds=odds, share=interest.share * lift, query=_coloured(now, interest.query))
                where = self._where(now, filter, types, {"field": "category", "eq": other})
                (hits,) = now.live.search(wanted.query[None], max(k, 50), exclude=hidden, where=where)
                best: dict[int, tuple[int, float]] = {}
                _keep_best(best, hits.pids.tolist(), hits.photo_ids.tolist(), hits.scores.tolist())
                parts.append(self._scored(now, best, [wanted], types, row=number, of=len(interests)))
        if not any(len(part.pids) for part in parts):
            raise NoOrders(
                "the imported orders name no category that is bought together with those of the history "
                f"({', '.join(sorted({str(path) for path in paths if path})) or 'they have none'}): import more orders"
            )
        return _joined(parts)

    def _scored(
        self,
        now: Snapshot,
        best: Mapping[int, tuple[int, float]],
        interests: Sequence[Interest],
        types: Mapping[str, str],
        *,
        row: int = 0,
        of: int = 0,
    ) -> _Candidates:
        pids = sorted(best)
        places = [(pid, best[pid][0]) for pid in pids]
        vectors, there = now.live.vectors_at(places)
        facts = self._catalog.facts(pids)
        keep = [place for place, pid in enumerate(pids) if there[place] and pid in facts]
        values = [decide.values_of(facts[pids[place]], types) for place in keep]
        table = decide.affinities(interests, vectors[keep], values)
        if of:
            spread = np.full((of, len(keep)), -np.inf)
            spread[row] = table[0]
            table = spread
        photos = np.array([places[place][1] for place in keep], dtype=np.int64)
        return _Candidates(np.array([pids[place] for place in keep], np.int64), photos, vectors[keep], table)


def _check(history: Sequence[Event], k: int, mode: str, diversity: float) -> None:
    if not history:
        raise BadRequest(
            "history is empty: name at least one product that the shopper viewed, saved or bought; for a new shopper "
            "show GET /v1/products or your best sellers"
        )
    if len(history) > MOST_EVENTS:
        raise BadRequest(f"history: {len(history)} events, at most {MOST_EVENTS} are taken: send the newest")
    if not 1 <= k <= LONGEST:
        raise BadRequest(f"k must be from 1 to {LONGEST}, not {k}")
    if mode not in MODES:
        raise BadRequest(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    if not 0 <= diversity <= 100:
        raise BadRequest(f"diversity must be from 0 to 100, not {diversity!r}")
    for place, event in enumerate(history):
        if not 0 < event.weight <= 1e6:
            raise BadRequest(f"history[{place}].weight must be above 0 and at most 1000000, not {event.weight!r}")


def _seconds(event: Event) -> float:
    if event.time is None:
        return math.nan
    if isinstance(event.time, int | float):
        return float(event.time)
    try:
        return datetime_seconds(event.time.strip())
    except ValueError as error:
        raise BadRequest(f"history: time of {event.product_id!r}: {error}") from None


def _or_never(moment: float) -> float:
    return -math.inf if math.isnan(moment) else moment


def _latest(newest: Mapping[str, float]) -> float | None:
    """What age is counted from: the newest event, but never a moment that is still to come."""
    known = [moment for moment in newest.values() if math.isfinite(moment)]
    return min(max(known), time.time()) if known else None


def _vector(now: Snapshot, pid: int) -> np.ndarray | None:
    """A product's mean direction, float32 [D]; None where it is not searchable yet."""
    try:
        vectors = now.live.vectors_of(pid)[1]
    except UnknownProduct:
        return None
    mean = vectors.mean(axis=0)
    length = float(np.linalg.norm(mean))
    return np.asarray(mean / length if length > 1e-6 else vectors[0], np.float32)


def _coloured(now: Snapshot, query: np.ndarray) -> np.ndarray:
    """A unit query in which the colour block counts ``_COLOUR``; as it is where the embedding has none."""
    blocks = now.bundle.spec.blocks
    stored = {block.name: block.weight for block in blocks if block.weight > 0}
    if _COLOUR not in stored or len(stored) < 2:
        return query
    rest = sum(weight for name, weight in stored.items() if name != _COLOUR)
    weights = {name: (1 - _COLOUR_WEIGHT) * weight / rest for name, weight in stored.items()} | {_COLOUR: _COLOUR_WEIGHT}
    return np.asarray(reweigh(query[None], blocks, weights)[0][0], np.float32)


def _keep_best(
    best: dict[int, tuple[int, float]], pids: Iterable[int], photo_ids: Iterable[int], scores: Iterable[float]
) -> None:
    """Note for each product the photo with its highest score."""
    for pid, photo_id, score in zip(pids, photo_ids, scores, strict=True):
        if pid not in best or score > best[pid][1]:
            best[pid] = (photo_id, score)


def _joined(parts: Sequence[_Candidates]) -> _Candidates:
    """Candidates of several categories as one; a product found for two interests stands there once."""
    whole = _Candidates(*(np.concatenate([getattr(part, name) for part in parts], axis=axis)
                          for name, axis in (("pids", 0), ("photo_ids", 0), ("vectors", 0), ("table", 1))))  # fmt: skip
    pids, first, place = np.unique(whole.pids, return_index=True, return_inverse=True)
    table = np.full((len(whole.table), len(pids)), -np.inf)
    for column, target in enumerate(place.tolist()):
        table[:, target] = np.maximum(table[:, target], whole.table[:, column])
    return _Candidates(pids, whole.photo_ids[first], whole.vectors[first], table)


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
