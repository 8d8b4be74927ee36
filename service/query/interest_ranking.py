"""Ranking of products for a shopper's interests, by what they share with them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from indexer.catalog.filters import FilterableProduct
from indexer.catalog.store import Catalog
from indexer.core.category_path import format_path
from indexer.core.errors import BadFilterError, NoOrdersError
from indexer.index.filter_columns import BoundFilter, FilterColumn, FilterColumns
from indexer.index.live import LiveIndex
from indexer.index.product_hits import ProductHits
from indexer.index.query_weighting import reweight_queries
from indexer.recommendation.interests import (
    DIVERSITY,
    Interest,
    Value,
    logsumexp_interests,
    mmr,
    score_candidates,
    values_of,
)
from indexer.recommendation.orders import complements_of
from service.query.context import RequestContext
from service.query.filters import FilterParser
from service.query.query import FilterField, RawFilter, SnapshotSelector, Whole
from service.state.snapshot import Snapshot

Mode = Literal["similar", "complete"]
# Scored in all, shared by the interests; more found nothing better.
_CANDIDATES = 150
# Times as many as asked for are compared with each other.
_COMPARED = 3
# Categories that go with one interest.
_TOGETHER = 4
# What goes together matches in colour first.
_COLOUR, _COLOUR_WEIGHT = "c", 0.5


class RecommendOptions(SnapshotSelector):
    """Parameters of a recommendation beside the history."""

    k: Annotated[Whole, Field(ge=1, le=1000)] = Field(default=20, description="How many products.")
    filter: FilterField = None
    mode: Mode = Field(
        default="similar",
        description="complete: from categories that are bought together with those of the history.",
    )
    diversity: Annotated[float, Field(ge=0, le=100, strict=True)] | None = Field(
        default=None, description="0: by relevance alone; 1 unless given; higher: fewer alike."
    )


class ValueShares:
    """The share of a live index's products that have a value, looked up once for each value."""

    def __init__(self, live: LiveIndex) -> None:
        self._lock = threading.Lock()
        self._columns: FilterColumns | None = None
        self._fields: dict[str, FilterColumn] = {}
        self._shares: dict[Value, float] = {}

    def share(self, columns: FilterColumns, value: Value) -> float:
        """In (0, 1]; of a value that no product has, as if one had it."""
        with self._lock:
            if self._columns is not columns:
                self._columns = columns
                self._fields = {column.field: column for column in columns.facets()}
                self._shares = {}
            if value not in self._shares:
                count = _count(self._fields.get(value[0]), value[1])
                self._shares[value] = min(max(count, 1) / max(len(columns.pids), 1), 1.0)
            return self._shares[value]


def _count(column: FilterColumn | None, value: str) -> int:
    """How many products have a value in a column."""
    if column is None or column.starts is None:
        return 0
    return sum(
        int(column.starts[place + 1] - column.starts[place]) for place in column.positions([value])
    )


class StockFilter:
    """Filters of recommendations, which leave out what is out of stock."""

    def __init__(self, filters: FilterParser, out_of_stock: Sequence[Mapping[str, Any]]) -> None:
        self._filters = filters
        self._out_of_stock = out_of_stock
        # Positions of conditions that a message was logged for.
        self._reported: set[int] = set()

    def bind(
        self, snapshot: Snapshot, filter: RawFilter | None, *more: RawFilter
    ) -> BoundFilter | None:
        """The filter as sent, and ``more`` conditions; None for no condition at all. Raises
        ``BadFilterError``."""
        if filter is not None:
            self._filters.parse(filter)  # so that a fault is named where the client put it
        must = [*([filter] if filter else []), *more]
        must_not = self._known_conditions()
        if not must and not must_not:
            return None
        return self._filters.bind(snapshot, {"must": must, "must_not": must_not})

    def _known_conditions(self) -> list[Mapping[str, Any]]:
        """The conditions whose attributes this catalog has, by their type; nothing is out of stock
        by the others.

        A condition that does not fit the type of an attribute that the catalog has is logged once.
        """
        known = []
        for position, condition in enumerate(self._out_of_stock):
            try:
                self._filters.parse({"must": [condition]})
            except BadFilterError as error:
                if position not in self._reported and self._filters.has_field(condition["field"]):
                    self._reported.add(position)
                    self._filters.report_dropped("out_of_stock", condition["field"], error)
                continue
            known.append(condition)
        return known


@dataclass(frozen=True)
class History:
    """The heaviest products of a history that can be used, each once."""

    pids: list[int]
    vectors: np.ndarray  # float32 [n, D], unit
    weights: np.ndarray  # float [n]
    facts: list[FilterableProduct]
    known: frozenset[int]  # all its products that are stored, those too that count for nothing
    unknown: list[str]


@dataclass(frozen=True)
class Candidates:
    """Products found for interests: the photo that was found, and log weights by interest (-inf:
    not meant for it)."""

    pids: np.ndarray
    photo_ids: np.ndarray
    table: np.ndarray  # float [J, n]

    def at(self, places: np.ndarray) -> Candidates:
        """The candidates at these places, in their order."""
        return Candidates(self.pids[places], self.photo_ids[places], self.table[:, places])


@dataclass(frozen=True)
class RankedCandidates:
    """The products chosen, best first, with their vectors [k, D] and values [k]."""

    candidates: Candidates
    vectors: np.ndarray
    values: np.ndarray

    @property
    def shown(self) -> list[tuple[int, int]]:
        pids, photo_ids = self.candidates.pids.tolist(), self.candidates.photo_ids.tolist()
        return list(zip(pids, photo_ids, strict=True))


@dataclass(frozen=True)
class InterestRanking:
    """The ranking of one request."""

    catalog: Catalog
    stock: StockFilter
    ctx: RequestContext
    options: RecommendOptions
    history: History
    interests: Sequence[Interest]
    where: BoundFilter | None
    columns: FilterColumns
    types: Mapping[str, str]

    def rank(self, exclude: AbstractSet[int]) -> RankedCandidates:
        """min(k, what is left) products, best first, diverse."""
        k, diversity = self.options.k, self.options.diversity
        if self.options.mode == "complete":
            candidates = self._complements(exclude)
        else:
            candidates = self._similar(exclude)
        candidates, vectors = self._foremost(candidates, max(_COMPARED * k, k + 20))
        chosen, values = mmr(
            logsumexp_interests(candidates.table),
            vectors,
            k,
            diversity=DIVERSITY if diversity is None else diversity,
        )
        return RankedCandidates(candidates.at(chosen), vectors[chosen], values)

    def _similar(self, exclude: AbstractSet[int]) -> Candidates:
        # Each list alone is long enough for the answer, so together they are too.
        depth = max(self.options.k, _CANDIDATES // len(self.interests))
        queries = np.stack([interest.query for interest in self.interests])
        live = self.ctx.snapshot.live
        found = live.search(queries, depth, exclude=exclude, where=self.where)
        return self._scored(self.interests, found)

    def _complements(self, exclude: AbstractSet[int]) -> Candidates:
        """For each interest the best of the categories that go with its own, the rest of the
        history's left out."""
        paths = [
            format_path(facts.category) if facts.category else None for facts in self.history.facts
        ]
        named = sorted({path for path in paths if path})
        pairs = complements_of(self.catalog, [path for path in paths if path])
        parts: list[Candidates] = []
        for number, interest in enumerate(self.interests):
            own = {paths[place] for place in interest.members.tolist()} - {None}
            lifts: dict[str, float] = {}
            for path in own:
                for pair in pairs.get(str(path), ()):
                    other = pair.other if pair.one == path else pair.one
                    if other not in own:
                        lifts[other] = max(lifts.get(other, 0.0), pair.lift)
            for other, lift in sorted(lifts.items(), key=lambda entry: -entry[1])[:_TOGETHER]:
                parts.append(self._complement(number, other, lift, exclude))
        if not any(len(part.pids) for part in parts):
            raise NoOrdersError(
                "the imported orders name no category that is bought together with those of the "
                f"history ({', '.join(named) or 'they have none'}): import more orders"
            )
        return _joined(parts)

    def _complement(
        self, number: int, category: str, lift: float, exclude: AbstractSet[int]
    ) -> Candidates:
        """Products of a category that is bought together with that of interest ``number``."""
        interest, snapshot = self.interests[number], self.ctx.snapshot
        odds = {value: gain for value, gain in interest.odds.items() if value[0] != "category"}
        query = _coloured(snapshot, interest.query)
        wanted = replace(interest, odds=odds, share=interest.share * lift, query=query)
        where = self.stock.bind(
            snapshot, self.options.filter, {"field": "category", "eq": category}
        )
        found = snapshot.live.search(
            query[None], max(self.options.k, 50), exclude=exclude, where=where
        )
        scored = self._scored([wanted], found)
        table = np.full((len(self.interests), len(scored.pids)), -np.inf)
        table[number] = scored.table[0]
        return replace(scored, table=table)

    def _scored(self, interests: Sequence[Interest], found: Sequence[ProductHits]) -> Candidates:
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
        holds = self._holding(pids, values)
        return Candidates(pids, photo_ids, score_candidates(interests, cosines, values, holds))

    def _holding(self, pids: np.ndarray, values: Sequence[Value]) -> np.ndarray:
        """Which products have which values, bool [V, n]: from the version's columns, or the
        catalog's newer rows."""
        places, settled = self.ctx.snapshot.live.unchanged_since_build(pids)
        fields = {column.field: column for column in self.columns.facets()}
        holds = np.zeros((len(values), len(pids)), dtype=bool)
        # As the columns hold them: else each search copies all of one.
        wanted = places[settled].astype(np.int32)
        for row, (field, text) in enumerate(values):
            column = fields.get(field)
            if column is None or column.starts is None:
                continue
            for position in column.positions([text]):
                held = column.places[column.starts[position] : column.starts[position + 1]]
                at = np.minimum(np.searchsorted(held, wanted), len(held) - 1)
                holds[row, settled] = held[at] == wanted
        newer = self.catalog.facts(pids[~settled].tolist()) if not settled.all() else {}
        for place in np.flatnonzero(~settled).tolist():
            facts = newer.get(int(pids[place]))
            own = set(values_of(facts, self.types)) if facts else set()
            holds[:, place] = [value in own for value in values]
        return holds

    def _foremost(self, found: Candidates, limit: int) -> tuple[Candidates, np.ndarray]:
        """The ``limit`` candidates that suit best, of those that are still there, and their vectors
        float32 [n, D]."""
        best = np.argsort(-logsumexp_interests(found.table), kind="stable")[:limit]
        live = self.ctx.snapshot.live
        vectors, there = live.vectors_at(found.pids[best], found.photo_ids[best])
        return found.at(best[there]), vectors[there]


def _coloured(snapshot: Snapshot, query: np.ndarray) -> np.ndarray:
    """A unit query in which the colour block counts ``_COLOUR``; as it is where the embedding has
    none."""
    blocks = snapshot.bundle.spec.blocks
    stored = {block.name: block.weight for block in blocks if block.weight > 0}
    if _COLOUR not in stored or len(stored) < 2:
        return query
    rest = sum(weight for name, weight in stored.items() if name != _COLOUR)
    weights = {name: (1 - _COLOUR_WEIGHT) * weight / rest for name, weight in stored.items()} | {
        _COLOUR: _COLOUR_WEIGHT
    }
    return np.asarray(reweight_queries(query[None], blocks, weights)[0][0], np.float32)


def _joined(parts: Sequence[Candidates]) -> Candidates:
    """Candidates of several categories as one; a product found for several interests stands there
    once."""
    pids, first, place = np.unique(
        np.concatenate([part.pids for part in parts]), return_index=True, return_inverse=True
    )
    given = np.concatenate([part.table for part in parts], axis=1)
    table = np.full((len(given), len(pids)), -np.inf)
    np.maximum.at(table.T, place, given.T)
    return Candidates(pids, np.concatenate([part.photo_ids for part in parts])[first], table)
