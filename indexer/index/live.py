"""The served index: a published version, an exact delta of newer writes, and the set of products they replace."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from indexer.errors import BadRequest, BadVectors, UnknownProduct
from indexer.index.base import SearchParams, check_unit, rescore
from indexer.index.version import IndexVersion

_ROOM = 256  # rows a new delta buffer has room for; it doubles


@dataclass(frozen=True)
class ProductHits:
    """The answer to one query, one entry per product with its best photo; score descending, then pid ascending."""

    pids: np.ndarray  # int64 [n]
    photo_ids: np.ndarray  # int64 [n]
    scores: np.ndarray  # float32 [n], cosine in [-1, 1]

    def __len__(self) -> int:
        return len(self.pids)


@dataclass(frozen=True)
class _State:
    """All that a search reads, swapped as one. Buffers grow past ``used``, which no older state looks at."""

    sequence: int
    base_dead: np.ndarray  # bool [N]: rows of the base whose product was replaced or deleted
    replaced: frozenset[int]  # the base's pids among them
    vectors: np.ndarray  # float32 [room, D], each value one that float16 can hold
    table: np.ndarray  # int64 [room, 2] (pid, photo_id)
    used: int
    alive: np.ndarray  # bool [used]
    places: Mapping[int, tuple[int, int]]  # pid -> its rows in the delta
    products: int


class LiveIndex:
    """A base version with the writes since laid over it.

    Searches take no lock: they read one immutable state and never see half of a write. Writers are serialised.
    """

    def __init__(self, base: IndexVersion) -> None:
        self.base = base
        self._pids = np.asarray(base.rows[:, 0])  # sorted: publish checks it
        self._photos = np.asarray(base.rows[:, 1])
        products = len(np.unique(self._pids))
        self._photos_per_product = len(self._pids) / max(products, 1)
        self._writing = threading.Lock()
        dim = base.manifest.dim
        self._state = _State(
            sequence=base.manifest.last_sequence,
            base_dead=np.zeros(len(self._pids), dtype=bool),
            replaced=frozenset(),
            vectors=np.empty((_ROOM, dim), dtype=np.float32),
            table=np.empty((_ROOM, 2), dtype=np.int64),
            used=0,
            alive=np.empty(0, dtype=bool),
            places={},
            products=products,
        )

    @property
    def sequence(self) -> int:
        """The catalog's sequence number up to which writes are seen."""
        return self._state.sequence

    @property
    def delta_size(self) -> int:
        """Photos searched exactly beside the base."""
        return int(self._state.alive.sum())

    @property
    def product_count(self) -> int:
        return self._state.products

    def _base_rows(self, pid: int) -> slice:
        return slice(int(np.searchsorted(self._pids, pid)), int(np.searchsorted(self._pids, pid, side="right")))

    def apply(
        self,
        *,
        sequence: int,
        upserts: Mapping[int, tuple[Sequence[int] | np.ndarray, np.ndarray]],
        deletes: Iterable[int] = (),
    ) -> None:
        """Lay writes up to ``sequence`` over the base: ``upserts`` pid -> (photo ids [n], unit vectors [n, D]).

        An upsert replaces all photos of the product, one without photos (and a delete) removes it; unknown pids may be
        deleted. All of it is seen by searches at once, or none. Vectors are rounded to float16 as in a published
        version, so a rebuild changes no score. A ``sequence`` below the one already seen is refused (``BadRequest``).
        Raises ``BadVectors`` (naming the product), and then nothing is changed.
        """
        dim = self.base.manifest.dim
        rounded: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for pid, (photo_ids, vectors) in upserts.items():
            ids = np.asarray(photo_ids, dtype=np.int64)
            try:
                check_unit(vectors, dim)
            except BadVectors as error:
                raise BadVectors(f"product {pid}: {error}") from error
            if len(ids) != len(vectors):
                raise BadVectors(f"product {pid}: {len(ids)} photo ids for {len(vectors)} vectors")
            rounded[int(pid)] = (ids, vectors.astype(np.float16).astype(np.float32))
        with self._writing:
            state = self._state
            if sequence < state.sequence:
                raise BadRequest(f"the live index has seen sequence {state.sequence}, not taking back to {sequence}")
            self._state = self._next(state, sequence, rounded, {int(pid) for pid in deletes} - set(rounded))

    def _next(
        self, state: _State, sequence: int, upserts: dict[int, tuple[np.ndarray, np.ndarray]], deletes: set[int]
    ) -> _State:
        dead, replaced = state.base_dead.copy(), set(state.replaced)
        places = dict(state.places)
        added = sum(len(ids) for ids, _ in upserts.values())
        alive = np.concatenate([state.alive, np.ones(added, dtype=bool)])
        buffer, table = self._room(state, added)
        products, at = state.products, state.used
        for pid in [*upserts, *deletes]:
            base = self._base_rows(pid)
            if pid in places:
                start, stop = places.pop(pid)
                alive[start:stop] = False
                products -= 1
            elif base.start < base.stop and pid not in replaced:
                products -= 1
            if base.start < base.stop:
                dead[base] = True
                replaced.add(pid)
            ids, vectors = upserts.get(pid, (np.empty(0, np.int64), None))
            if vectors is not None and len(ids):
                stop = at + len(ids)
                buffer[at:stop], table[at:stop, 0], table[at:stop, 1] = vectors, pid, ids
                places[pid] = (at, stop)
                at, products = stop, products + 1
        state = replace(
            state, sequence=sequence, base_dead=dead, replaced=frozenset(replaced), vectors=buffer, table=table,
            used=at, alive=alive, places=places, products=products,
        )  # fmt: skip
        return _compacted(state) if at > _ROOM and 2 * int(alive.sum()) < at else state

    @staticmethod
    def _room(state: _State, added: int) -> tuple[np.ndarray, np.ndarray]:
        needed = state.used + added
        if needed <= len(state.table):
            return state.vectors, state.table  # older states read only [:used] of their own
        room = max(2 * len(state.table), needed)
        vectors = np.empty((room, state.vectors.shape[1]), dtype=np.float32)
        table = np.empty((room, 2), dtype=np.int64)
        vectors[: state.used], table[: state.used] = state.vectors[: state.used], state.table[: state.used]
        return vectors, table

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        exclude: Iterable[int] = (),
        min_score: float | None = None,
        params: SearchParams | None = None,
    ) -> list[ProductHits]:
        """The ``k`` best products for each of ``queries`` (float [Q, D], unit), each with its best photo.

        Always min(k, products not excluded and not below ``min_score``) entries. Raises ``BadVectors``, ``BadRequest``.
        """
        if k < 1:
            raise BadRequest(f"k must be at least 1, not {k}")
        check_unit(queries, self.base.manifest.dim)
        state = self._state
        asked = np.ascontiguousarray(queries, dtype=np.float32)
        excluded = np.unique(np.fromiter((int(pid) for pid in exclude), dtype=np.int64))
        delta = self._search_delta(state, asked)
        out: list[ProductHits | None] = [None] * len(asked)
        open_queries = list(range(len(asked)))
        # Several photos of one product, replaced rows and ties across the end of the list all ask for a longer list.
        fetch = int(k * self._photos_per_product) + 8
        while open_queries:
            hits = self.base.index.search(asked[open_queries], fetch, params=params)
            still_open = []
            for q, found in zip(open_queries, hits, strict=True):
                kept = ~state.base_dead[found.rows]
                rows, scores = found.rows[kept], found.scores[kept]
                pids = np.concatenate([self._pids[rows], delta[q][0]])
                photos = np.concatenate([self._photos[rows], delta[q][1]])
                answer = _by_product(pids, photos, np.concatenate([scores, delta[q][2]]), k, excluded, min_score)
                complete = len(found) == len(self._pids)
                floor = found.scores[-1] if len(found) else -2.0
                full = len(answer) == k and answer.scores[-1] > floor
                below = min_score is not None and floor < min_score
                if complete or full or below:
                    out[q] = answer
                else:
                    still_open.append(q)
            open_queries, fetch = still_open, fetch * 4
        # Ranked by what was measured; a stored half may be a little longer than 1, a cosine may not.
        return [replace(answer, scores=np.clip(answer.scores, -1.0, 1.0)) for answer in out if answer is not None]

    @staticmethod
    def _search_delta(state: _State, queries: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Every living row of the delta with its score, for each query: (pids, photo ids, scores)."""
        alive = state.alive
        table = state.table[: state.used][alive]
        stored = state.vectors[: state.used]
        return [(table[:, 0], table[:, 1], rescore(query, stored)[alive]) for query in queries]

    def vectors_of(self, pid: int) -> tuple[np.ndarray, np.ndarray]:
        """A product's photo ids int64 [n] and vectors float32 [n, D]. Raises ``UnknownProduct``."""
        state = self._state
        if pid in state.places:
            start, stop = state.places[pid]
            return state.table[start:stop, 1].copy(), state.vectors[start:stop].copy()
        rows = self._base_rows(pid)
        if pid in state.replaced or rows.start == rows.stop:
            raise UnknownProduct(f"product number {pid} is not in the index")
        return self._photos[rows].copy(), self.base.index.vectors(np.arange(rows.start, rows.stop))


def _compacted(state: _State) -> _State:
    """The same delta without its dead rows, in buffers of its own."""
    rows = np.flatnonzero(state.alive)
    moved = np.cumsum(state.alive) - 1
    room = max(_ROOM, 2 * len(rows))
    vectors = np.empty((room, state.vectors.shape[1]), dtype=np.float32)
    table = np.empty((room, 2), dtype=np.int64)
    vectors[: len(rows)], table[: len(rows)] = state.vectors[rows], state.table[rows]
    places = {pid: (int(moved[start]), int(moved[stop - 1]) + 1) for pid, (start, stop) in state.places.items()}
    alive = np.ones(len(rows), dtype=bool)
    return replace(state, vectors=vectors, table=table, used=len(rows), alive=alive, places=places)


def _by_product(
    pids: np.ndarray,
    photo_ids: np.ndarray,
    scores: np.ndarray,
    k: int,
    excluded: np.ndarray,
    min_score: float | None,
) -> ProductHits:
    """The best photo of each product, the ``k`` best products; ties by pid, within a product by photo id."""
    keep = np.ones(len(pids), dtype=bool) if not len(excluded) else ~np.isin(pids, excluded)
    if min_score is not None:
        keep &= scores >= min_score
    pids, photo_ids, scores = pids[keep], photo_ids[keep], scores[keep]
    order = np.lexsort((photo_ids, pids, -scores))
    _, first = np.unique(pids[order], return_index=True)  # of each product its best place in the order
    chosen = order[np.sort(first)[:k]]
    return ProductHits(pids[chosen], photo_ids[chosen], scores[chosen].astype(np.float32, copy=False))
