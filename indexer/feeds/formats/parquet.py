"""Parquet: row groups, read in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.core.errors import BadDataError
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.notice import Notice
from indexer.feeds.table import (
    MOST_COLUMNS,
    MOST_RECORD,
    LostLines,
    ReadOptions,
    Record,
    Table,
    check_count,
)
from indexer.feeds.table_format import FORMATS, FeedHead, TableFormat

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH = 1_024
# Bytes that count for a value of a list, however it is stored.
_LISTED = 32
_INSTEAD = "save it as CSV"


class ParquetTable(Table):
    """Rows with the types that the file gives them."""

    format = "parquet"
    text = False

    def __init__(self, source: FeedFile, options: ReadOptions) -> None:
        super().__init__(source)
        import pyarrow as pa
        import pyarrow.parquet as pq

        if source.gzipped:
            raise BadDataError(f"{source.path} is a gzipped Parquet file: unpack it first")
        try:
            with pq.ParquetFile(source.path) as file:
                schema = file.schema_arrow
                count = file.metadata.num_rows
                unpacked = _unpacked_size(file.metadata)
                self._texts = _text_leaves(file.schema)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise BadDataError(f"{source.path} is not a readable Parquet file: {error}") from error
        check_count(source.name, count)
        if len(schema.names) > MOST_COLUMNS:
            raise BadDataError(
                f"{source.path} has {len(schema.names)} columns, more than {MOST_COLUMNS}"
            )
        if unpacked > source.most_unpacked():
            raise source.refuse_unpacked(_INSTEAD)
        # Their places; pandas' own row labels are none.
        self._places = [
            place
            for place, name in enumerate(schema.names)
            if not name.startswith("__index_level_")
        ]
        self.columns = list(dict.fromkeys(schema.names[place] for place in self._places))
        for name, count in Counter(schema.names).items():
            if count > 1:
                places = [str(at) for at, known in enumerate(schema.names, 1) if known == name]
                self.notice(
                    f"has the column {name!r} {count} times (columns {' and '.join(places)}): the "
                    "first that is not missing is read",
                    "column-twice",
                )
        for place in self._places:
            kind = schema.field(place).type
            if not _holds_attributes(_inner(kind)):
                raise BadDataError(
                    f"{source.path}: column {schema.names[place]!r} has the Parquet type {kind}, "
                    "which no attribute can hold"
                )

    def records(self, lost: LostLines) -> Iterator[Record]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            # Texts as they are stored: repeated a million times, each is held once.
            file = pq.ParquetFile(self.source.path, read_dictionary=self._texts)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise BadDataError(
                f"{self.source.path} is not a readable Parquet file: {error}"
            ) from error
        left = self.source.most_unpacked()
        with file:
            before = 0
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                done = 0
                try:
                    for batch in file.iter_batches(_BATCH, row_groups=[group]):
                        sizes = sum(_text_sizes(batch.column(place)) for place in self._places)
                        left -= int(np.sum(sizes))
                        if left < 0:
                            raise self.source.refuse_unpacked(_INSTEAD)
                        long = np.broadcast_to(np.asarray(sizes) > MOST_RECORD, batch.num_rows)
                        for values, is_long in zip(self._rows(batch), long, strict=True):
                            done += 1
                            where = f"{self.name} row {before + done}"
                            if is_long:
                                self._lose_long(lost, where, values)
                            else:
                                _leave_out_far(lost, where, values)
                                yield Record(where, values)
                except MemoryError:
                    # Arrow's own is an error of Arrow too.
                    raise
                except (pa.ArrowException, OSError, ValueError) as error:
                    reason = f"and the next {size - done - 1} rows are damaged: {error}"
                    lost.lose(f"{self.name} row {before + done + 1}", reason, code="damaged-file")
                before += size

    def _lose_long(self, lost: LostLines, where: str, values: dict[str, Any]) -> None:
        def named(columns: tuple[str, ...]) -> list[str]:
            found = next((values[name] for name in columns if name in self.columns), None)
            return [found] if isinstance(found, str) and len(found) < MOST_RECORD else []

        ids = named(lost.id_columns)
        images = [] if ids else named(lost.image_columns)
        lost.lose(where, f"has more than {MOST_RECORD} characters", ids, images, code="long-line")

    def _rows(self, batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
        names = []
        columns = []
        for place in self._places:
            names.append(batch.schema.names[place])
            columns.append(_values(batch.column(place)))
        if len(self.columns) == len(names):
            for row in zip(*columns, strict=True):
                yield dict(zip(names, row, strict=True))
            return
        for row in zip(*columns, strict=True):
            values: dict[str, Any] = {}
            for name, value in zip(names, row, strict=True):
                if values.get(name) is None:
                    values[name] = value
            yield values


class _Far:
    """A date or a time beyond the years 1 to 9999, which Python cannot hold."""


def _leave_out_far(lost: LostLines, where: str, values: dict[str, Any]) -> None:
    """Warn of what ``values`` cannot hold, and leave it out."""
    for name, value in values.items():
        if value is _Far:
            values[name] = None
            reason = f"{name} is a date beyond the years 1 to 9999, which is left out"
            lost.warn(Notice(where, reason, "date-out-of-range", name))


def _held(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return _Far


def _values(column: pa.Array) -> list[Any]:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        codes = column.indices
        used = codes.unique().drop_null()
        values = dict(zip(used.to_pylist(), column.dictionary.take(used).to_pylist(), strict=True))
        return [values.get(code) for code in codes.to_pylist()]
    if _is_list(kind) and pa.types.is_dictionary(kind.value_type):
        places = column.offsets.to_pylist()
        first = places[0] if places else 0
        parts = _values(column.values.slice(first, places[-1] - first if places else 0))
        return [
            parts[begin - first : end - first] if valid else None
            for begin, end, valid in zip(
                places, places[1:], column.is_valid().to_pylist(), strict=False
            )
        ]
    # Nanoseconds do not fit Python's datetime; seconds of far years would wrap around.
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
    try:
        return column.to_pylist()
    except OverflowError:
        return [_held(scalar) for scalar in column]


def _text_sizes(column: pa.Array) -> Any:
    """int64 [rows]: bytes of text that each row has in a column, each time it stands there; 0 where
    it holds no texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if _is_list(kind):
        parts = _text_sizes(column.values)
        if np.ndim(parts) == 0:
            return 0
        ends = np.concatenate([[0], np.cumsum(parts)])
        return np.diff(ends[column.offsets.to_numpy(zero_copy_only=False)])
    if not (pa.types.is_dictionary(kind) and _is_text(kind.value_type)):
        return 0
    lengths = pc.binary_length(column.dictionary).fill_null(0).to_numpy(zero_copy_only=False)
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.append(lengths.astype(np.int64), 0)[codes]


def _unpacked_size(metadata: pq.FileMetaData) -> int:
    """What the values of a file take as its directory has it: bytes, or values where those are
    more, which a few bytes can hold any number of. Those of a row's list are in memory at once."""
    each = [
        _LISTED if metadata.schema.column(place).max_repetition_level else 1
        for place in range(metadata.num_columns)
    ]
    total = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for place in range(row_group.num_columns):
            column = row_group.column(place)
            total += max(column.total_uncompressed_size, each[place] * column.num_values)
    return total


def _text_leaves(schema: pq.ParquetSchema) -> list[str]:
    """The paths of all columns of texts, those in lists too."""
    leaves = (schema.column(place) for place in range(len(schema)))
    return [leaf.path for leaf in leaves if leaf.logical_type.type == "STRING"]


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _inner(kind: pa.DataType) -> pa.DataType:
    """The type of a column's single values."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind.value_type if _is_list(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _holds_attributes(kind: pa.DataType) -> bool:
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


def _fits(head: FeedHead) -> int:
    return 3 if head.data.startswith(b"PAR1") else 2 * (head.suffix in _SUFFIXES)


_SUFFIXES = (".parquet", ".pq")

FORMATS.register(TableFormat("parquet", _SUFFIXES, _fits, ParquetTable, 20))
