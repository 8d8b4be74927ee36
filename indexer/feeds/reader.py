"""Feed reader (CSV, JSON lines, Parquet): records, and a reason for every bad line."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexer.core.errors import BadDataError
from indexer.feeds.notice import Notice

SUFFIXES = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Record:
    """One line of a manifest: column name to value; text only if it came from CSV."""

    where: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A manifest as read. ``text``: values are CSV cells, so types must be read from text."""

    columns: list[str]
    records: list[Record]
    text: bool
    skipped: list[Notice] = field(default_factory=list)
    # What can be told of skipped lines: product ids, images of those that name none, where the
    # others stand.
    lost_ids: list[str] = field(default_factory=list)
    lost_images: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)

    def lose(
        self, where: str, reason: str, ids: Sequence[str] = (), images: Sequence[str] = ()
    ) -> None:
        """Skip a line that names one of ``ids``, or where there are none one of ``images``, as far
        as can be told."""
        self.skipped.append(Notice(where, reason))
        self.lost_ids.extend(ids)
        self.lost_images.extend(images)
        if not ids and not images:
            self.unnamed.append(where)


def read_manifest(path: Path) -> Table:
    """Read one manifest. Raises ``BadDataError`` where it cannot be read at all or has no ``image``
    column."""
    try:
        reader = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}[
            path.suffix.lower()
        ]
    except KeyError:
        raise BadDataError(
            f"{path} is no manifest: expected one of {', '.join(SUFFIXES)}"
        ) from None
    try:
        table = reader(path)
    except OSError as error:
        raise BadDataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not table.records and not table.skipped:
        raise BadDataError(f"{path} has no rows")
    if "image" not in table.columns and (table.records or table.columns):
        found = ", ".join(repr(column) for column in table.columns) or "none"
        hint = (
            " (is it separated by something else than commas?)"
            if len(table.columns) == 1 and table.text
            else ""
        )
        raise BadDataError(f"{path} has no column 'image'; columns found: {found}{hint}")
    return table


def _read_csv(path: Path) -> Table:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadDataError(
            f"{path}:{line} is not UTF-8 (byte 0x{data[error.start]:02x}): save it as UTF-8"
        ) from error
    table = Table([], [], text=True)
    lines = _csv_lines(path, text, table)
    _, header = next(lines, (0, []))
    columns = [name.strip() for name in header]
    # One without a name is a spreadsheet's row number.
    table.columns.extend(name for name in columns if name)
    twice = sorted({name for name in table.columns if table.columns.count(name) > 1})
    if twice:
        raise BadDataError(f"{path} has the column {twice[0]!r} more than once")
    for line, cells in lines:
        where = f"{path.name}:{line}"
        if len(cells) != len(columns):
            ids, images = _named_by(cells, columns, path.parent)
            table.lose(
                where, f"has {len(cells)} fields, the header has {len(columns)}", ids, images
            )
            continue
        values = {name: cell for name, cell in zip(columns, cells, strict=True) if name}
        table.records.append(Record(where, values))
    return table


def _csv_lines(path: Path, text: str, table: Table) -> Iterator[tuple[int, list[str]]]:
    """(line where the record starts, cells); blank lines left out."""
    reader = csv.reader(io.StringIO(text, newline=""))
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            table.lose(f"{path.name}:{line}", f"is not readable as CSV: {error}")
            continue
        if cells:
            yield line, cells


def _named_by(cells: list[str], columns: list[str], root: Path) -> tuple[list[str], list[str]]:
    """What may be the product id of a record with too many or too few cells, and where that may be
    blank its image.

    Neither where it cannot be told: of an open quote that took in other lines, of a line that may
    end within its id.
    """
    if any("\n" in cell or "\r" in cell for cell in cells):
        return [], []
    spare = len(cells) - len(columns)

    # A comma too many or too few may stand on either side of the column.
    def places(
        column: str,
    ) -> list[str]:
        at = columns.index(column) if column in columns else len(cells)
        return cells[max(at + min(spare, 0), 0) : at + max(spare, 0) + 1]

    ids = places("product_id")
    if (
        "product_id" in columns
        and columns.index("product_id") + 1 < len(cells)
        and all(map(str.strip, ids))
    ):
        return ids, []
    images = [cell for cell in places("image") if cell.strip() and os.path.isfile(root / cell)]
    return ([cell for cell in ids if cell.strip()] if images else []), images


def _read_jsonl(path: Path) -> Table:
    columns: dict[str, None] = {}
    table = Table([], [], text=False)
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        try:
            values = json.loads(line)
            json.dumps(values, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:  # a lone surrogate, which cannot be stored
            named = values.get("product_id") if isinstance(values, dict) else None
            table.lose(
                where,
                f"is not readable as JSON: {error}",
                [named] if isinstance(named, str) and named else [],
            )
            continue
        except (ValueError, RecursionError) as error:
            table.lose(where, f"is not readable as JSON: {error}")
            continue
        if not isinstance(values, dict):
            table.lose(where, f"is not a JSON object but {type(values).__name__}")
            continue
        columns.update(dict.fromkeys(values))
        table.records.append(Record(where, values))
    table.columns.extend(columns)
    return table


def _read_parquet(path: Path) -> Table:
    # Here, because only this format needs it and it is slow to load.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        stored = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadDataError(f"{path} is not a readable Parquet file: {error}") from error
    names = stored.column_names
    # Pandas' own row labels.
    keep = [name for name in names if not name.startswith("__index_level_")]
    twice = sorted({name for name in keep if keep.count(name) > 1})
    if twice:
        raise BadDataError(f"{path} has the column {twice[0]!r} more than once")
    columns: dict[str, list[Any]] = {}
    for name in keep:
        column = stored.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
        if not _holds_attributes(inner):
            raise BadDataError(
                f"{path}: column {name!r} has the Parquet type {column.type}, which no attribute "
                "can hold"
            )
        # Nanoseconds do not fit Python's datetime.
        if pa.types.is_timestamp(kind):
            column = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
        columns[name] = column.to_pylist()
    records = []
    for number in range(stored.num_rows):
        values = {name: column[number] for name, column in columns.items()}
        records.append(Record(f"{path.name} row {number + 1}", values))
    return Table(keep, records, text=False)


def _holds_attributes(kind: Any) -> bool:
    import pyarrow as pa

    tests = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_boolean,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_date,
        pa.types.is_timestamp,
        pa.types.is_null,
    )
    return any(test(kind) for test in tests)
