"""Photos that an index still lacks: waiting for the network, or left out as unreadable."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from indexer.core.backoff import Backoff

# A share may be back in a moment; a damaged file is put right by somebody.
_AWAY_S, _DAMAGED_S = (1.0, 60.0), (60.0, 3600.0)


@dataclass
class _LeftOut:
    """A photo that could not be read, and the products that have it."""

    backoff: Backoff
    pids: set[int] = field(default_factory=set)


class PendingPhotos:
    """What a live index lacks of the changes that it has seen. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By product in the order of their changes: its photos without a vector.
        self._waiting: dict[int, list[int]] = {}
        self._left_out: dict[int, _LeftOut] = {}

    def __len__(self) -> int:
        """How many products wait."""
        return len(self._waiting)

    def __contains__(self, pid: int) -> bool:
        """Whether a product waits."""
        return pid in self._waiting

    def note(self, waiting: dict[int, list[int]], settled: Iterable[int]) -> None:
        """Products that wait, each with its photos to embed, and products that do not any more."""
        with self._lock:
            self._waiting.update(waiting)
            for pid in settled:
                self._waiting.pop(pid, None)

    def next(self, photos: int) -> dict[int, list[int]]:
        """The products that have waited longest, with about so many photos."""
        chosen: dict[int, list[int]] = {}
        with self._lock:
            for pid, photo_ids in self._waiting.items():
                chosen[pid] = photo_ids
                photos -= len(photo_ids)
                if photos <= 0:
                    break
        return chosen

    # -- what could not be read

    def leave_out(self, photo_id: int, pids: Iterable[int], *, damaged: bool) -> float:
        """Do without a photo for now; returns the seconds until it is tried again."""
        with self._lock:
            known = self._left_out.get(photo_id)
            if known is None:
                first_s, longest_s = _DAMAGED_S if damaged else _AWAY_S
                known = self._left_out[photo_id] = _LeftOut(Backoff(first_s, longest_s))
            known.pids.update(pids)
            return known.backoff.fail()

    def to_embed(self, photo_ids: Iterable[int]) -> set[int]:
        """Those of ``photo_ids`` that are to be tried now."""
        with self._lock:
            return {
                photo_id
                for photo_id in photo_ids
                if (known := self._left_out.get(photo_id)) is None or known.backoff.is_due
            }

    def due(self, photos: int) -> dict[int, list[int]]:
        """Products with photos left out that may be tried again, about so many of them."""
        chosen: dict[int, list[int]] = {}
        with self._lock:
            for photo_id, known in self._left_out.items():
                if photos > 0 and known.backoff.is_due:
                    photos -= 1
                    for pid in known.pids:
                        chosen.setdefault(pid, []).append(photo_id)
        return chosen

    def hurry(self) -> None:
        """Let all that was left out be tried now."""
        with self._lock:
            for known in self._left_out.values():
                known.backoff.hurry()

    def forget(self, photo_ids: Iterable[int]) -> None:
        """Photos that have a vector now, or that no product has any more."""
        with self._lock:
            for photo_id in photo_ids:
                self._left_out.pop(photo_id, None)

    def take_over(self, other: PendingPhotos) -> None:
        """Remember what was left out of the index before: a version is built without it."""
        with other._lock:
            known = dict(other._left_out)
        with self._lock:
            self._left_out.update(known)
