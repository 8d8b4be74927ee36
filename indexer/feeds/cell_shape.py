"""Shapes of a feed's cells: tell a line that looks like a row from one that is prose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_BLANK = 1
_NUMBER = 2
_WORD = 4
_TEXT = 8
_ADDRESS = 16
_NUMERIC = re.compile(r"[^\w.,+-]?[+-]?\d[\d.,' ]*([^\w.,]|[ ]?[A-Za-z]{3})?")
_ADDRESSED = re.compile(
    r"\S+://\S+|\S*[/\\]\S+|\S+\.(jpe?g|png|webp|gif|tiff?|avif)", re.IGNORECASE
)
# Rows that must be known before shapes say anything.
_FEW = 2
_MOST = 200


class CellShapes:
    """What kinds of cells each column had in the first good rows."""

    def __init__(self, rows: Iterable[Sequence[str]]) -> None:
        self._kinds: list[int] = []
        self._rows = 0
        # Whether any cell begins with a blank, as prose behind a comma does, and whether all ids
        # have digits.
        self._blanks = False
        self._digits = True
        for row in rows:
            if not self._kinds:
                self._kinds = [0] * len(row)
            for at, cell in enumerate(row):
                self._kinds[at] |= _kind(cell)
                self._blanks = self._blanks or cell[:1].isspace()
            self._digits = self._digits and (not row or _has_digit(row[0]))
            self._rows += 1
            if self._rows == _MOST:
                break

    def fit(self, cells: Sequence[str]) -> bool:
        """Whether ``cells`` could be the first of a row; the first one, mostly the id, must."""
        if self._rows < _FEW:
            return True
        if not self._blanks and any(cell[:1].isspace() for cell in cells):
            return False
        if self._digits and cells and not _has_digit(cells[0]):
            return False
        odd = 0
        for at, (cell, known) in enumerate(zip(cells, self._kinds, strict=False)):
            if not _fits(_kind(cell), known):
                if at == 0:
                    return False
                odd += 1
        return odd <= len(self._kinds) // 6


def _has_digit(cell: str) -> bool:
    return any(map(str.isdigit, cell))


def _kind(cell: str) -> int:
    cell = cell.strip()
    if not cell:
        return _BLANK
    if len(cell) <= 40 and _NUMERIC.fullmatch(cell):
        return _NUMBER
    if len(cell) <= 2_000 and _ADDRESSED.fullmatch(cell):
        return _ADDRESS
    return _WORD if len(cell) <= 60 and not re.search(r"\s", cell) else _TEXT


def _fits(kind: int, known: int) -> bool:
    if kind & known:
        return True
    if known & _TEXT:
        return True
    return kind == _BLANK or (kind == _NUMBER and bool(known & _WORD))
