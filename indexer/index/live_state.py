"""Immutable state of a live index, in buffers that its successors share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from indexer.index.facts_log import FactsLog

# Rows a new buffer has room for; it doubles.
ROOM = 256
# The tick of a row that is not deleted.
NOT_DELETED = np.iinfo(np.int64).max


@dataclass(frozen=True)
class LiveState:
    """All that a search reads, swapped as one.

    What it refers to is shared with later states and never copied for a write. Buffers and the log
    grow past ``used`` and ``logged``, which no older state looks at; a deleted row is marked
    with the ``tick`` of the first state without it, so an older state still sees it. ``places``
    alone follows the newest state.
    """

    sequence: int
    tick: int
    vectors: np.ndarray  # float32 [room, D], each value one that float16 can hold
    table: np.ndarray  # int64 [room, 2] (pid, photo_id)
    deleted_at: np.ndarray  # int64 [room], the tick at which a row of the delta was deleted
    used: int
    # Rows of the delta that are not deleted.
    live_rows: int
    # pid -> its rows in the delta: start and stop.
    places: dict[int, tuple[int, int]]
    products: int
    log: FactsLog
    logged: int


def empty(dim: int, sequence: int, products: int) -> LiveState:
    """Make the state before the first write over a version of ``products``.

    The version holds changes up to ``sequence``.
    """
    return LiveState(
        sequence=sequence,
        tick=0,
        vectors=np.empty((ROOM, dim), dtype=np.float32),
        table=np.empty((ROOM, 2), dtype=np.int64),
        deleted_at=np.full(ROOM, NOT_DELETED, dtype=np.int64),
        used=0,
        live_rows=0,
        places={},
        products=products,
        log=FactsLog(),
        logged=0,
    )


def with_room(state: LiveState, added: int) -> LiveState:
    """A state with room for ``added`` more rows in the delta, in larger buffers if need be."""
    if state.used + added <= len(state.table):
        # Older states read only [:used] of their own.
        return state
    return _moved(state, np.arange(state.used), max(2 * len(state.table), state.used + added))


def compacted(state: LiveState) -> LiveState:
    """Copy the delta without its deleted rows into buffers of its own."""
    rows = np.flatnonzero(state.deleted_at[: state.used] > state.tick)
    return _moved(state, rows, max(ROOM, 2 * len(rows)))


def _moved(state: LiveState, rows: np.ndarray, room: int) -> LiveState:
    """Copy ``rows`` of the delta (ascending; every live one) into new buffers, with places
    of their own."""
    vectors = np.empty((room, state.vectors.shape[1]), dtype=np.float32)
    table = np.empty((room, 2), dtype=np.int64)
    deleted_at = np.full(room, NOT_DELETED, dtype=np.int64)
    used = len(rows)
    vectors[:used] = state.vectors[rows]
    table[:used] = state.table[rows]
    deleted_at[:used] = state.deleted_at[rows]
    start_of = np.searchsorted(rows, np.arange(state.used + 1))
    places = {
        pid: (int(start_of[start]), int(start_of[stop]))
        for pid, (start, stop) in state.places.items()
    }
    return replace(
        state, vectors=vectors, table=table, deleted_at=deleted_at, used=used, places=places
    )
