"""Live index: a published version with an exact delta of newer writes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from indexer.catalog.filters import Filter, FilterableProduct
from indexer.core.errors import BadRequestError, BadVectorsError, UnknownProductError
from indexer.core.lru import LRUCache
from indexer.core.vectors import check_unit
from indexer.index.base import Hits, SearchParams, rescore
from indexer.index.facts_log import FactsLog
from indexer.index.filter_columns import BoundFilter, FilterColumns
from indexer.index.live_state import NOT_DELETED, ROOM, LiveState, compacted, empty, with_room
from indexer.index.product_hits import ProductHits, StopRule, by_product
from indexer.index.product_table import ProductTable
from indexer.index.version_files import IndexVersion

_At = tuple[np.ndarray, np.ndarray]
# Masks of recent filters that are kept.
_SELECTIONS_BYTES = 64 * 2**20
_MOST_SELECTIONS = 4096


@dataclass(frozen=True)
class Selection:
    """What one filter lets through, as of the first ``logged`` entries of ``log``."""

    allowed: np.ndarray  # bool [N], rows of the base
    # How many rows are allowed.
    count: int
    # Int64, ascending: pids of the log that match.
    newer: np.ndarray
    log: FactsLog
    logged: int
    # The columns that answered it.
    columns: FilterColumns


class LiveIndex:
    """Base version with the writes since overlaid as an exact delta.

    Searches take no lock: they read one immutable state and never see half of a write. Writers are
    serialised. A write costs what it changes, however large base and delta are.
    """

    def __init__(self, base: IndexVersion) -> None:
        self.base = base
        self._table = ProductTable(base.rows)
        self.products = self._table.products  # int64 [P], ascending
        # By product: all its rows are deleted together.
        self._deleted_at = np.full(len(self.products), NOT_DELETED, dtype=np.int64)
        self._writing = threading.Lock()
        # The newest entry of the log by pid.
        self._now: dict[int, FilterableProduct | None] = {}
        self._columns: FilterColumns | None = None
        # Selections of recent filters, each from the columns that it holds.
        self._recent: LRUCache[str, Selection] = LRUCache(
            min(max(4, _SELECTIONS_BYTES // max(len(self._table), 1)), _MOST_SELECTIONS)
        )
        self._state = empty(base.manifest.dim, base.manifest.last_sequence, len(self.products))

    @property
    def sequence(self) -> int:
        """The catalog's sequence number up to which writes are seen."""
        return self._state.sequence

    @property
    def delta_size(self) -> int:
        """Photos searched exactly beside the base."""
        return self._state.live_rows

    @property
    def product_count(self) -> int:
        return self._state.products

    def pids(self) -> np.ndarray:
        """List all products a search can find, int64 [n]: the base's ascending, then newer."""
        state = self._state
        newer = state.table[: state.used, 0][state.deleted_at[: state.used] > state.tick]
        return np.concatenate([self.products[self._deleted_at > state.tick], np.unique(newer)])

    def still_stored(self, pids: np.ndarray) -> np.ndarray:
        """Tell of which products of the base the photos still count: bool [n]."""
        places, inside = self._table.places(pids)
        inside[inside] = self._deleted_at[places[inside]] > self._state.tick
        return inside

    def newer_products(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """List the products of the delta, oldest first: pids int64 [n], and of their first photos
        the photo_ids int64 [n] and the vectors float32 [n, D]."""
        state = self._state
        rows = np.flatnonzero(state.deleted_at[: state.used] > state.tick)
        pids, first = np.unique(state.table[rows, 0], return_index=True)
        order = np.argsort(first)
        places = rows[first[order]]
        return pids[order], state.table[places, 1], state.vectors[places]

    def unchanged_since_build(self, pids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the base places of products, and which of them are unchanged: bool [n].

        Unchanged: in the base, and not written since, photos or not. Only of these do the columns
        hold.
        """
        places, inside = self._table.places(pids)
        changed = self._now
        return places, inside & np.array([pid not in changed for pid in pids.tolist()], dtype=bool)

    def apply(
        self,
        *,
        sequence: int,
        upserts: Mapping[int, tuple[Sequence[int] | np.ndarray, np.ndarray]],
        deletes: Iterable[int] = (),
        facts: Mapping[int, FilterableProduct] | None = None,
    ) -> None:
        """Overlay writes up to ``sequence``: ``upserts`` pid -> (photo ids [n], vectors [n, D]).

        An upsert replaces all photos of the product, one without photos (and a delete) removes it;
        unknown pids may be deleted. ``facts``: what filters ask of every product that changed in
        any way, photos or not; a product that is not named there matches no filter any more.
        Searches see all of it at once, or none. Vectors must be of unit length; they are rounded
        to float16 as in a published version, so a rebuild changes no score. Raises
        ``BadRequestError`` for a ``sequence`` below the one already applied, ``BadVectorsError``
        (naming the product), and then nothing is changed.
        """
        dim = self.base.manifest.dim
        rounded: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for pid, (photo_ids, vectors) in upserts.items():
            ids = np.asarray(photo_ids, dtype=np.int64)
            try:
                check_unit(vectors, dim)
            except BadVectorsError as error:
                raise BadVectorsError(f"product {pid}: {error}") from error
            if len(ids) != len(vectors):
                raise BadVectorsError(
                    f"product {pid}: {len(ids)} photo ids for {len(vectors)} vectors"
                )
            rounded[int(pid)] = (ids, vectors.astype(np.float16).astype(np.float32))
        gone = {int(pid) for pid in deletes} - set(rounded)
        with self._writing:
            state = self._state
            if sequence < state.sequence:
                raise BadRequestError(
                    f"sequence {sequence} is older than the live index ({state.sequence}): apply "
                    "writes in order"
                )
            self._state = self._next(state, sequence, rounded, gone, facts or {})

    def _next(
        self,
        state: LiveState,
        sequence: int,
        upserts: dict[int, tuple[np.ndarray, np.ndarray]],
        deletes: set[int],
        facts: Mapping[int, FilterableProduct],
    ) -> LiveState:
        state = with_room(state, sum(len(ids) for ids, _ in upserts.values()))
        tick, places = state.tick + 1, state.places
        products, at, live_rows = state.products, state.used, state.live_rows
        for pid in [*upserts, *deletes]:
            base, old = self._table.place(pid), places.get(pid)
            if old is not None:
                state.deleted_at[old[0] : old[1]] = tick
                live_rows -= old[1] - old[0]
                products -= 1
            elif base is not None and self._deleted_at[base] > state.tick:
                products -= 1
            if base is not None and self._deleted_at[base] > state.tick:
                self._deleted_at[base] = tick
            ids, vectors = upserts.get(pid, (np.empty(0, np.int64), None))
            if vectors is not None and len(ids):
                stop = at + len(ids)
                state.vectors[at:stop] = vectors
                state.table[at:stop, 0] = pid
                state.table[at:stop, 1] = ids
                state.deleted_at[at:stop] = NOT_DELETED
                # In one step, so that `vectors_of` finds the old place or the new one.
                places[pid] = (at, stop)
                at, live_rows, products = stop, live_rows + len(ids), products + 1
            else:
                places.pop(pid, None)
        entries = [(pid, facts.get(pid)) for pid in dict.fromkeys([*upserts, *deletes, *facts])]
        self._now.update(entries)
        state.log.extend(entries)
        state = replace(
            state,
            sequence=sequence,
            tick=tick,
            used=at,
            live_rows=live_rows,
            products=products,
            logged=len(state.log),
        )
        if state.logged > ROOM and state.logged > 2 * len(self._now):
            log = FactsLog(self._now.items())
            state = replace(state, log=log, logged=len(log))
        return compacted(state) if at > ROOM and 2 * live_rows < at else state

    # -- filters

    @property
    def columns(self) -> FilterColumns | None:
        """Filter columns of the products that did not change since the version.

        Opened with their first use. None where the version was built without; then set them. Raises
        ``DamagedIndexError``.
        """
        if self._columns is None and self.base.columns_file is not None:
            self.columns = FilterColumns.open(self.base.columns_file, self.products)
        return self._columns

    @columns.setter
    def columns(self, columns: FilterColumns) -> None:
        if len(columns.pids) != len(self.products):
            raise BadRequestError(
                f"columns of {len(columns.pids)} products for an index of {len(self.products)}"
            )
        self._columns = columns

    def _matching_rows(self, where: Filter) -> tuple[Selection, LiveState]:
        """Return a selection and a state with the same first log entries.

        Selections of recent filters are cached and follow writes; one without a key is not.
        """
        columns = where.columns if isinstance(where, BoundFilter) else self.columns
        if columns is None:
            raise BadRequestError(
                f"index version {self.base.manifest.version} was built without columns to filter "
                "by: build the index again"
            )
        known = self._recent.get(where.key) if where.key else None
        state = self._state  # read after the selection, so never older
        if known is None or known.log is not state.log or known.columns is not columns:
            allowed = self._table.by_row(columns.select(where))
            count = int(np.count_nonzero(allowed))
            known = Selection(allowed, count, np.empty(0, np.int64), state.log, 0, columns)
        if known.logged < state.logged:
            known = self._update_selection(known, state, where)
        if where.key:
            self._recent.put(where.key, known)
        return known, state

    def _update_selection(self, known: Selection, state: LiveState, where: Filter) -> Selection:
        """Bring ``known`` up to ``state`` by the facts of each product written since."""
        pids, passes = state.log.evaluate_filter(where, known.logged, state.logged)
        places, found = self._table.places(pids)
        allowed = known.allowed.copy()
        live_rows = self._deleted_at[places[found]] > state.tick
        allowed[self._table.rows_of(places[found])] = np.repeat(
            passes[found] & live_rows, self._table.counts[places[found]]
        )
        newer = np.union1d(np.setdiff1d(known.newer, pids, assume_unique=True), pids[passes])
        count = int(np.count_nonzero(allowed))
        return Selection(allowed, count, newer, state.log, state.logged, known.columns)

    def count_matching(self, where: Filter) -> tuple[np.ndarray, list[FilterableProduct]]:
        """Select what facets count: the matching unchanged products, and the matching changed ones.

        Returns (bool [P] over the products of the base, facts of those that changed). Products that
        no search can find (their photos are not embedded yet) are in neither.
        """
        chosen, state = self._matching_rows(where)
        # A copy.
        mask = chosen.allowed[self._table.starts[:-1]]
        latest = state.log.latest(state.logged)
        places, found = self._table.places(np.fromiter(latest, np.int64, len(latest)))
        mask[places[found]] = False
        changed = [
            facts
            for pid in chosen.newer.tolist()
            if (facts := latest[pid]) and self._findable(pid, state)
        ]
        return mask, changed

    def _findable(self, pid: int, state: LiveState) -> bool:
        base = self._table.place(pid)
        return pid in state.places or (
            base is not None and bool(self._deleted_at[base] > state.tick)
        )

    def passing(self, pids: np.ndarray, where: Filter | None = None) -> np.ndarray:
        """Tell which of these products a search can find, and which of them pass: bool [n]."""
        chosen, state = (None, self._state) if where is None else self._matching_rows(where)
        places, found = self._table.places(pids)
        places = places[found]
        stored = self._deleted_at[places] > state.tick
        if chosen is not None:
            stored &= chosen.allowed[self._table.starts[places]]
        out = np.zeros(len(pids), dtype=bool)
        out[found] = stored
        if state.live_rows:
            rows = state.deleted_at[: state.used] > state.tick
            newer = np.isin(pids, state.table[: state.used, 0][rows])
            out |= newer if chosen is None else newer & np.isin(pids, chosen.newer)
        return out

    def written(self) -> tuple[FactsLog, int]:
        """Return the log of facts written since the version, and how many entries count."""
        state = self._state
        return state.log, state.logged

    # -- searching

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        exclude: Iterable[int] = (),
        min_score: float | None = None,
        params: SearchParams | None = None,
        where: Filter | None = None,
        together: bool = False,
        scale: np.ndarray | None = None,
    ) -> list[ProductHits]:
        """Search the ``k`` best products for each of ``queries`` (float [Q, D], unit).

        Each comes with its best photo. Always min(k, products that pass ``where``, not excluded and
        not below ``min_score``) entries. ``together``: the queries are one question, whose score of
        a photo is the best of theirs, and one list is given. ``scale`` float [Q]: what each query's
        scores are multiplied by. Raises ``BadVectorsError``, ``BadRequestError``.
        """
        if k < 1:
            raise BadRequestError(f"k must be at least 1, not {k}")
        check_unit(queries, self.base.manifest.dim)
        chosen, state = (None, self._state) if where is None else self._matching_rows(where)
        asked = np.ascontiguousarray(queries, dtype=np.float32)
        scales = np.ones(len(asked), np.float32) if scale is None else np.asarray(scale, np.float32)
        rule = StopRule(
            k,
            min_score,
            np.unique(np.fromiter((int(pid) for pid in exclude), dtype=np.int64)),
            len(self._table.pids) if chosen is None else chosen.count,
        )
        delta = self._search_delta(state, chosen, asked)
        one_list = together and len(asked) > 0
        questions = [list(range(len(asked)))] if one_list else [[q] for q in range(len(asked))]
        unanswered = dict(enumerate(questions))
        answers: dict[int, ProductHits] = {}
        # Several photos of one product, replaced rows and ties across the end of the list all ask
        # for a longer list.
        fetch = int(k * self._table.photos_per_product) + 8
        while unanswered:
            rows = list(chain.from_iterable(unanswered.values()))
            allowed = None if chosen is None else chosen.allowed
            hits = self.base.index.search(asked[rows], fetch, params=params, allowed=allowed)
            by_query = dict(zip(rows, hits, strict=True))
            for number, group in list(unanswered.items()):
                found = [by_query[q] for q in group]
                newer = [delta[q] for q in group]
                answer = self._merged(state, found, newer, scales[group], rule)
                if rule.is_met(answer, found, scales[group]):
                    answers[number] = answer
                    del unanswered[number]
            fetch *= 4
        # Ranked by what was measured; a stored half may be a little longer than 1, a cosine may
        # not.
        return [
            replace(answer, scores=np.clip(answer.scores, -1.0, 1.0))
            for _, answer in sorted(answers.items())
        ]

    def _merged(
        self,
        state: LiveState,
        found: Sequence[Hits],
        delta: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
        scales: np.ndarray,
        rule: StopRule,
    ) -> ProductHits:
        """Merge what each query of one question found in the base and in the delta."""
        pids: list[np.ndarray] = []
        photos: list[np.ndarray] = []
        scores: list[np.ndarray] = []
        for hits, (new_pids, new_photos, new_scores), scale in zip(
            found, delta, scales, strict=True
        ):
            of_rows = self._table.pids[hits.rows]
            kept = self._deleted_at[np.searchsorted(self.products, of_rows)] > state.tick
            pids += [of_rows[kept], new_pids]
            photos += [self._table.photos[hits.rows[kept]], new_photos]
            scores += [hits.scores[kept] * scale, new_scores * scale]
        return by_product(
            np.concatenate(pids),
            np.concatenate(photos),
            np.concatenate(scores),
            rule.k,
            rule.excluded,
            rule.min_score,
        )

    @staticmethod
    def _search_delta(
        state: LiveState, chosen: Selection | None, queries: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Score the live rows of the delta that pass, for each query: (pids, photo ids, scores)."""
        if not state.used:
            nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
            return [nothing] * len(queries)
        passing = state.deleted_at[: state.used] > state.tick
        if chosen is not None:
            passing &= np.isin(state.table[: state.used, 0], chosen.newer)
        table = state.table[: state.used][passing]
        stored = state.vectors[: state.used]
        return [(table[:, 0], table[:, 1], rescore(query, stored)[passing]) for query in queries]

    def photos_of(
        self, pids: np.ndarray, where: Filter | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """List the photos of those of ``pids`` that a search can find and that pass ``where``.

        (pids int64 [n], photo ids int64 [n], vectors float32 [n, D]), in no order.
        """
        chosen, state = (None, self._state) if where is None else self._matching_rows(where)
        places, found = self._table.places(pids)
        places = places[found]
        rows = self._table.rows_of(places[self._deleted_at[places] > state.tick])
        if chosen is not None:
            rows, pids = rows[chosen.allowed[rows]], np.intersect1d(pids, chosen.newer)
        newer = (state.deleted_at[: state.used] > state.tick) & np.isin(
            state.table[: state.used, 0], pids
        )
        table, vectors = state.table[: state.used][newer], state.vectors[: state.used][newer]
        return (
            np.concatenate([self._table.pids[rows], table[:, 0]]),
            np.concatenate([self._table.photos[rows], table[:, 1]]),
            np.concatenate([self.base.index.vectors(rows), vectors]),
        )

    def vectors_of(self, pid: int) -> tuple[np.ndarray, np.ndarray]:
        """Return photo ids int64 [n], vectors float32 [n, D]. Raises ``UnknownProductError``."""
        state = self._state
        place = state.places.get(pid)
        if place is not None:
            start, stop = place
            return state.table[start:stop, 1].copy(), state.vectors[start:stop].copy()
        base = self._table.place(pid)
        if base is None or self._deleted_at[base] <= state.tick:
            raise UnknownProductError(f"product number {pid} is not in the index")
        rows = self._table.rows_at(base)
        return self._table.photos[rows].copy(), self.base.index.vectors(
            np.arange(rows.start, rows.stop)
        )

    def vectors_at(
        self, pids: Sequence[int] | np.ndarray, photo_ids: Sequence[int] | np.ndarray
    ) -> _At:
        """Read the vectors float32 [n, D] of these photos of these products.

        Also bool [n]: whether it exists; else the row is zero.
        """
        state = self._state
        asked, photos = np.asarray(pids, np.int64), np.asarray(photo_ids, np.int64)
        out = np.zeros((len(asked), self.base.manifest.dim), np.float32)
        there = np.zeros(len(asked), bool)
        bases, stored = self._table.places(asked)
        stored[stored] = self._deleted_at[bases[stored]] > state.tick
        for place, pid in enumerate(asked.tolist()) if state.places else ():
            newer = state.places.get(pid)
            if newer is not None:
                stored[place] = False
                row = np.flatnonzero(state.table[newer[0] : newer[1], 1] == photos[place])
                if len(row):
                    out[place] = state.vectors[newer[0] + row[0]]
                    there[place] = True
        rows = self._table.rows_of(bases[stored])
        places = np.repeat(np.flatnonzero(stored), self._table.counts[bases[stored]])
        meant = self._table.photos[rows] == photos[places]
        if meant.any():
            out[places[meant]] = self.base.index.vectors(rows[meant])
            there[places[meant]] = True
        return out, there
