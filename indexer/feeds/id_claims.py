"""Claims on ids: which rows of a feed name one that a row before them has, and ids made instead."""

from __future__ import annotations

from array import array

import numpy as np

from indexer.catalog.records import MAX_ID


class IdClaims:
    """Ids that the rows of the first pass name, in 20 bytes each; settled by the first question.

    By 64 bits of each id and place: two that share them are 1 in 10^5 at ten million rows.
    """

    def __init__(self) -> None:
        self._ids = array("q")
        self._places = array("q")
        self._rows = array("q")
        self._row = -1
        self._settled = False
        # Of claims on an id that was taken: the hash of their place, ascending, and the how many-th
        # each is.
        self._again = np.zeros(0, np.int64)
        self._times = np.zeros(0, np.int64)
        self._repeated = np.zeros(0, np.int64)

    def next_row(self) -> None:
        """Claims that follow are of the next row of the feed."""
        self._row += 1

    def claim(self, product_id: str, where: str) -> None:
        """Take an id, unless a row before has it."""
        self._ids.append(hash(product_id))
        self._places.append(hash(where))
        self._rows.append(self._row)

    def repeated_rows(self) -> np.ndarray:
        """Numbers of the rows that name an id again, int64 [R]."""
        self._settle()
        return self._repeated

    def repetition(self, where: str) -> int | None:
        """The how many-th row with its id this one is; None for the first."""
        self._settle()
        place = hash(where)
        at = int(np.searchsorted(self._again, place)) if len(self._again) else 0
        if at == len(self._again) or self._again[at] != place:
            return None
        return int(self._times[at])

    def _settle(self) -> None:
        if self._settled:
            return
        self._settled = True
        ids = np.frombuffer(self._ids, np.int64)
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        first = np.ones(len(ids), bool)
        first[1:] = ids[1:] != ids[:-1]
        starts = np.maximum.accumulate(np.where(first, np.arange(len(ids)), 0))
        times = (np.arange(len(ids)) - starts + 1)[~first]
        order = order[~first]
        self._repeated = np.frombuffer(self._rows, np.int64)[order]
        places = np.frombuffer(self._places, np.int64)[order]
        by_place = np.argsort(places, kind="stable")
        self._again = places[by_place]
        self._times = times[by_place]
        self._ids, self._places, self._rows = array("q"), array("q"), array("q")


class TakenIds:
    """Ids of one group of rows. What is made of a name that came a thousand times costs no more
    than of one that came twice."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        # Of names made: the number that was free last.
        self._free: dict[str, int] = {}

    def __contains__(self, product_id: object) -> bool:
        return product_id in self._taken

    def add(self, product_id: str) -> None:
        """Take an id."""
        self._taken.add(product_id)

    def distinct(self, parent: str, variant: str | None, *, beside: str | None = None) -> str:
        """An id made of the parent's name and the options that is not taken, nor ``beside``."""
        made = made_id(parent, variant)
        found = made
        number = self._free.get(made, 2)
        while found in self._taken or found == beside:
            mark = f"#{number}"
            found = made[: MAX_ID - len(mark)] + mark
            self._free[made] = number
            number += 1
        return found


def made_id(parent: str, variant: str | None) -> str:
    """An id made of a parent's name and the options of a variant."""
    return "/".join([parent, *(variant.split(" / ") if variant else ())])[:MAX_ID]
