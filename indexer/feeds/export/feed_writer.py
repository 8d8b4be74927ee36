"""Writer of feeds: CSV, TSV and JSON lines, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import orjson

from indexer.core.atomic_files import storage_failure, written_aside
from indexer.core.csv_text import CsvWriter
from indexer.core.errors import BadRequestError
from indexer.feeds.values.spreadsheet_cells import harmless

SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl")


def write_feed(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    *,
    spreadsheet: bool = False,
    blanks: bool = False,
    private: bool = False,
) -> int:
    """Write ``rows`` to ``path``, in the format of its suffix; returns how many.

    ``spreadsheet``: a CSV that people open in one: a byte order mark, and cells that it would run
    get an apostrophe in front, which Catalens reads away. ``blanks``: JSON lines say them, too,
    since they may undo what is there. ``private``: for its owner alone. The file
    appears when it is whole. Raises ``BadRequestError`` for another suffix, ``ReadOnlyError``,
    ``DiskFullError``, ``StorageError``.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadRequestError(f"{path}: a feed is written as {', '.join(SUFFIXES)}")
    encoding = "utf-8-sig" if spreadsheet else "utf-8"
    try:
        with (
            written_aside(path, private=private) as aside,
            aside.open("w", encoding=encoding, newline="") as file,
        ):
            if suffix == ".jsonl":
                count = _write_lines(file, rows, blanks)
            else:
                delimiter = "," if suffix == ".csv" else "\t"
                count = _write_table(file, columns, rows, delimiter, spreadsheet)
        return count
    except OSError as error:
        raise storage_failure(path, error) from error


def _write_lines(file: IO[str], rows: Iterable[Mapping[str, Any]], blanks: bool) -> int:
    count = 0
    for row in rows:
        present = {
            name: value for name, value in row.items() if blanks or value not in (None, "", [])
        }
        file.write(orjson.dumps(present, default=str).decode() + "\n")
        count += 1
    return count


def _write_table(
    file: IO[str],
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    delimiter: str,
    spreadsheet: bool,
) -> int:
    writer = CsvWriter(file, delimiter=delimiter)
    writer.writerow(map(harmless, columns) if spreadsheet else columns)
    count = 0
    for row in rows:
        cells = [cell_text(row.get(column)) for column in columns]
        writer.writerow(map(harmless, cells) if spreadsheet else cells)
        count += 1
    return count


def cell_text(value: Any) -> str:
    """A value as a cell of a table; the parts of a list are joined by bars."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "|".join(map(cell_text, value))
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    return str(value)
