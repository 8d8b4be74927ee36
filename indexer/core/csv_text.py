"""The one place that writes CSV: what any reader takes for the end of a line stands in quotes."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any, Protocol

# Where rows end for some reader: those of CSV itself, and those of ``str.splitlines``.
LINE_ENDS = "\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"


class _TakesText(Protocol):
    def write(self, text: str, /) -> object:
        """Take more text."""


class CsvWriter:
    """Writes rows to ``stream``, which must leave line ends alone (``newline=""``)."""

    def __init__(self, stream: _TakesText, *, delimiter: str = ",", line_end: str = "\n") -> None:
        self._stream = stream
        self._line_end = line_end
        # Python's writer quotes a cell for the characters of its own line end alone, a bare CR
        # passes it otherwise. It writes a row at once, and that end is taken off again.
        self._rows = csv.writer(self, delimiter=delimiter, lineterminator=LINE_ENDS)

    def writerow(self, cells: Iterable[Any]) -> None:
        """Write one row."""
        self._rows.writerow(cells)

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write several."""
        self._rows.writerows(rows)

    def write(self, text: str, /) -> None:
        """Take one row of Python's own writer."""
        self._stream.write(text.removesuffix(LINE_ENDS) + self._line_end)


def needs_quotes(cell: str, delimiter: str) -> bool:
    """Whether a cell can stand in quotes only."""
    return any(char in cell for char in (delimiter, '"', *LINE_ENDS))
