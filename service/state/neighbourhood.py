"""Products that stand for a live index, and how near each lies to its own nearest."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from indexer.classification.local_outlier import MOST, Neighbourhood, with_own
from indexer.core.vectors import unit_rows
from indexer.index.live import LiveIndex

# New products measured by one question; the others wait for the next ones.
_AT_ONCE = 256


@dataclass(frozen=True)
class _State:
    sequence: int
    # Whether all that was written by then is in it.
    whole: bool
    newer: Neighbourhood
    together: Neighbourhood


class LiveNeighbourhood:
    """The neighbourhood of an index version, less what was removed since, and what was written.

    A new product is measured against all others, once; what was measured of these stays as it was
    until the next version. Of the new ones as large a share stands for them as of the others.
    """

    def __init__(self, live: LiveIndex) -> None:
        base = live.base
        assert base.around is not None
        assert base.unknown is not None
        self._live = live
        self._columns = slice(*base.unknown["columns"])
        rows = base.around[:, 0].astype(np.int64)
        block = np.asarray(base.stored[rows, self._columns], np.float32)
        pids, self._photos = np.asarray(base.rows[rows]).T
        self._stored = Neighbourhood(pids, unit_rows(block), base.around[:, 1].astype(np.float32))
        self._stride = -(-len(live.products) // MOST)
        self._lock = threading.Lock()
        nothing = self._stored.chosen(np.zeros(len(pids), bool))
        self._state = _State(-1, False, nothing, nothing)

    def current(self) -> Neighbourhood:
        """As of the last write, or but for some of the newest products."""
        state = self._state
        if state.whole and state.sequence == self._live.sequence:
            return state.together
        with self._lock:
            state = self._state
            if not state.whole or state.sequence != self._live.sequence:
                self._state = state = self._next(state)
        return state.together

    def _next(self, state: _State) -> _State:
        sequence = self._live.sequence
        there = self._live.still_stored(self._stored.pids)
        stored = self._stored.chosen(there)
        pids, photos, vectors = self._live.newer_products()
        taken = np.flatnonzero(pids % self._stride == 0)
        # Each photo once, as in the build: its copies would have each other for nearest.
        taken = taken[np.sort(np.unique(photos[taken], return_index=True)[1])]
        taken = taken[~np.isin(photos[taken], self._photos[there])][-MOST:]
        pids, block = pids[taken], unit_rows(vectors[taken, self._columns])
        place_of = {pid: place for place, pid in enumerate(state.newer.pids.tolist())}
        places = np.array([place_of.get(pid, -1) for pid in pids.tolist()], np.int64)
        measured = places >= 0
        # Those that were written again are measured again.
        measured[measured] = (state.newer.block[places[measured]] == block[measured]).all(axis=1)
        newer = state.newer.chosen(places[measured])
        missing = np.flatnonzero(~measured)
        now = missing[:_AT_ONCE]
        if len(now):
            newer = newer.joined(with_own(pids[now], block[now], stored.joined(newer)))
        return _State(sequence, len(missing) == len(now), newer, stored.joined(newer))
