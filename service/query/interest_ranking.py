"""Ranking of products for a shopper's interests, by what they share with them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from indexer.catalog.filters import Filter, FilterableProduct
from indexer.catalog.store import Catalog
from indexer.core.category_path import format_path
from indexer.core.errors import NoOrdersError
from indexer.index.filter_columns import BoundFilter, FilterColumn, FilterColumns
from indexer.index.group_search import leaving_out, search_groups
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
from service.query.filters import KnownFields
from service.query.groups import GroupCard, Grouping, group_cards
from service.query.query import (
    FIELDS_HELP,
    FilterField,
    GroupFields,
    OutOfStock,
    RecommendedFields,
    ShownFields,
    SnapshotSelector,
    Whole,
)
from service.query.stock import StockFilter, StockState, stock_states
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


class RecommendOptions(GroupFields, ShownFields, SnapshotSelector):
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
    fields: RecommendedFields = Field(default=[], description=FIELDS_HELP)


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

    def and_then(self, others: Candidates) -> Candidates:
        """These candidates, and behind them ``others``."""
        return Candidates(
            np.concatenate([self.pids, others.pids]),
            np.concatenate([self.photo_ids, others.photo_ids]),
            np.concatenate([self.table, others.table], axis=1),
        )


@dataclass(frozen=True)
class RankedCandidates:
    """The products chosen, best first, with their vectors [k, D] and values [k]."""

    candidates: Candidates
    vectors: np.ndarray
    values: np.ndarray

    # The groups that they lead.
    cards: list[GroupCard] | None = None

    @property
    def leaders(self) -> list[tuple[int, int]]:
        pids, photo_ids = self.candidates.pids.tolist(), self.candidates.photo_ids.tolist()
        return list(zip(pids, photo_ids, strict=True))

    @property
    def shown(self) -> list[tuple[int, int]]:
        members = [hit for card in self.cards or () for hit in card.members]
        return [*self.leaders, *((pid, photo_id) for pid, photo_id, _ in members)]

    def and_then(self, others: RankedCandidates) -> RankedCandidates:
        """These, and behind them ``others``."""
        return RankedCandidates(
            self.candidates.and_then(others.candidates),
            np.concatenate([self.vectors, others.vectors]),
            np.concatenate([self.values, others.values]),
        )


@dataclass(frozen=True)
class _InterestSearch:
    """The search for one interest, or for the best of several."""

    live: LiveIndex
    queries: np.ndarray  # float32 [n, D]
    exclude: AbstractSet[int]
    where: BoundFilter | None
    columns: FilterColumns

    def find(self, k: int, without: np.ndarray) -> ProductHits:
        left = leaving_out(self.where, self.columns, without) if len(without) else self.where
        return self._search(k, left)

    @property
    def exact(self) -> bool:
        return False

    def find_members(self, k: int, where: Filter) -> ProductHits:
        return self._search(k, where)

    def _search(self, k: int, where: Filter | None) -> ProductHits:
        found = self.live.search(self.queries, k, exclude=self.exclude, where=where, together=True)
        return found[0]


@dataclass(frozen=True)
class InterestRanking:
    """The ranking of one request. ``tiers``: the filters by which products are ranked one after the
    other, by their stock; ``handling`` made them."""

    catalog: Catalog
    stock: StockFilter
    ctx: RequestContext
    options: RecommendOptions
    history: History
    interests: Sequence[Interest]
    fields: KnownFields
    handling: OutOfStock
    grouping: Grouping | None

    def rank(self, exclude: AbstractSet[int]) -> RankedCandidates:
        """min(k, what is left) products, or groups of them, best first, diverse."""
        first, *others = stock_states(self.handling)
        ranked = self._ranked(first, self.options.k, exclude)
        for state in others:
            left = self.options.k - len(ranked.leaders)
            if left > 0:
                led = self._led(ranked.candidates.pids)
                ranked = ranked.and_then(self._ranked(state, left, exclude | led))
        if not ranked.leaders and self.options.mode == "complete" and not self._is_narrowed():
            raise NoOrdersError(self._no_complement())
        return replace(ranked, cards=self._cards(ranked.candidates, exclude))

    def _led(self, pids: np.ndarray) -> frozenset[int]:
        """These products and the rest of their groups."""
        if self.grouping is not None:
            pids = self.grouping.codes.members(self.grouping.codes.of(pids))
        return frozenset(pids.tolist())

    def _ranked(self, state: StockState, k: int, exclude: AbstractSet[int]) -> RankedCandidates:
        """min(k, what is left of this stock) products."""
        self.ctx.check()
        diversity = self.options.diversity
        if self.options.mode == "complete":
            candidates = self._complements(state, k, exclude)
        else:
            candidates = self._similar(state, exclude)
        candidates, vectors = self._foremost(self._one_each(candidates), max(_COMPARED * k, k + 20))
        chosen, values = mmr(
            logsumexp_interests(candidates.table),
            vectors,
            k,
            diversity=DIVERSITY if diversity is None else diversity,
        )
        return RankedCandidates(candidates.at(chosen), vectors[chosen], values)

    def _one_each(self, found: Candidates) -> Candidates:
        """Of each group the candidate that suits best."""
        if self.grouping is None:
            return found
        best = np.argsort(-logsumexp_interests(found.table), kind="stable")
        _, first = np.unique(self.grouping.codes.of(found.pids[best]), return_index=True)
        return found.at(best[np.sort(first)])

    def _cards(self, chosen: Candidates, exclude: AbstractSet[int]) -> list[GroupCard] | None:
        if self.grouping is None:
            return None
        state: StockState = "in" if self.handling == "hide" else "any"
        snapshot = self.ctx.snapshot
        where = self.stock.bind(self.fields, self.options.filter, stock=state)
        queries = np.stack([interest.query for interest in self.interests])
        search = _InterestSearch(snapshot.live, queries, exclude, where, self.fields.columns)
        count = len(chosen.pids)
        leaders = ProductHits(chosen.pids, chosen.photo_ids, np.zeros(count, np.float32))
        return group_cards(snapshot.live, self.grouping, leaders, where, exclude, search)

    def _search(
        self, queries: np.ndarray, depth: int, exclude: AbstractSet[int], where: BoundFilter | None
    ) -> list[ProductHits]:
        """For each query the ``depth`` best products, or the best of each of as many groups."""
        live = self.ctx.snapshot.live
        if self.grouping is None:
            return live.search(queries, depth, exclude=exclude, where=where)
        return [
            search_groups(
                _InterestSearch(live, query[None], exclude, where, self.fields.columns),
                self.grouping.codes,
                depth,
            )
            for query in queries
        ]

    def _similar(self, state: StockState, exclude: AbstractSet[int]) -> Candidates:
        # Each list alone is long enough for the answer, so together they are too.
        depth = max(self.options.k, _CANDIDATES // len(self.interests))
        queries = np.stack([interest.query for interest in self.interests])
        where = self.stock.bind(self.fields, self.options.filter, stock=state)
        return self._scored(self.interests, self._search(queries, depth, exclude, where))

    def _complements(self, state: StockState, k: int, exclude: AbstractSet[int]) -> Candidates:
        """For each interest the best of the categories that go with its own, of those of which
        anything passes; where that is less than ``k`` in all, of the further ones too."""
        parts: list[Candidates] = []
        further: list[tuple[float, int, str]] = []
        for number, lifts in enumerate(self._together()):
            found = 0
            for other, lift in lifts:
                if found == _TOGETHER:
                    further.append((lift, number, other))
                    continue
                part = self._complement(number, lift, other, state, exclude)
                found += bool(len(part.pids))
                parts.append(part)
        for lift, number, other in sorted(further, key=lambda entry: -entry[0]):
            if len(self._one_each(self._joined(parts)).pids) >= k:
                break
            parts.append(self._complement(number, lift, other, state, exclude))
        return self._joined(parts)

    def _joined(self, parts: Sequence[Candidates]) -> Candidates:
        if parts:
            return _joined(parts)
        nothing = np.empty(0, np.int64)
        return Candidates(nothing, nothing, np.empty((len(self.interests), 0)))

    def _together(self) -> list[list[tuple[str, float]]]:
        """For each interest the categories that are bought together with its own, each with its
        lift, the highest first."""
        paths = self._paths()
        pairs = complements_of(self.catalog, [path for path in paths if path])
        found = []
        for interest in self.interests:
            own = {paths[place] for place in interest.members.tolist()} - {None}
            lifts: dict[str, float] = {}
            for path in own:
                for pair in pairs.get(str(path), ()):
                    other = pair.other if pair.one == path else pair.one
                    if other not in own:
                        lifts[other] = max(lifts.get(other, 0.0), pair.lift)
            found.append(sorted(lifts.items(), key=lambda entry: -entry[1]))
        return found

    def _paths(self) -> list[str | None]:
        """Of each product of the history its category."""
        return [
            format_path(facts.category) if facts.category else None for facts in self.history.facts
        ]

    def _is_narrowed(self) -> bool:
        """Whether something goes with the history, and the request may have left all of it out."""
        narrowed = self.options.filter is not None or self.handling != "show"
        return narrowed and any(self._together())

    def _no_complement(self) -> str:
        named = sorted({path for path in self._paths() if path})
        return (
            "the imported orders name no category that is bought together with those of the "
            f"history ({', '.join(named) or 'they have none'}): import more orders"
        )

    def _complement(
        self,
        number: int,
        lift: float,
        category: str,
        state: StockState,
        exclude: AbstractSet[int],
    ) -> Candidates:
        """Products of a category that is bought together with that of interest ``number``."""
        self.ctx.check()
        snapshot, interest = self.ctx.snapshot, self.interests[number]
        odds = {value: gain for value, gain in interest.odds.items() if value[0] != "category"}
        query = _coloured(snapshot, interest.query)
        wanted = replace(interest, share=interest.share * lift, odds=odds, query=query)
        where = self.stock.bind(
            self.fields, self.options.filter, {"field": "category", "eq": category}, stock=state
        )
        found = self._search(query[None], max(self.options.k, 50), exclude, where)
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
        fields = {column.field: column for column in self.fields.columns.facets()}
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
        types = self.catalog.filter_types() if newer else {}
        for place in np.flatnonzero(~settled).tolist():
            facts = newer.get(int(pids[place]))
            own = set(values_of(facts, types)) if facts else set()
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
