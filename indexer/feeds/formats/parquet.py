"""Parquet: row groups, read in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from indexer.core.errors import BadDataError
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.table import (
    MOST_COLUMNS,
    LostLines,
    ReadOptions,
    Record,
    Table,
    check_count,
)
from indexer.feeds.table_format import FORMATS, FeedHead, TableFormat

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 1_024


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
        except (pa.ArrowException, OSError, ValueError) as error:
            raise BadDataError(f"{source.path} is not a readable Parquet file: {error}") from error
        check_count(source.name, count)
        if len(schema.names) > MOST_COLUMNS:
            raise BadDataError(
                f"{source.path} has {len(schema.names)} columns, more than {MOST_COLUMNS}"
            )
        self._texts = [field.name for field in schema if _is_text(field.type)]
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
        with file:
            before = 0
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                done = 0
                try:
                    for batch in file.iter_batches(_BATCH, row_groups=[group]):
                        for values in self._rows(batch):
                            done += 1
                            yield Record(f"{self.name} row {before + done}", values)
                except MemoryError:
                    # Arrow's own is an error of Arrow too.
                    raise
                except (pa.ArrowException, OSError, ValueError) as error:
                    reason = f"and the next {size - done - 1} rows are damaged: {error}"
                    lost.lose(f"{self.name} row {before + done + 1}", reason, code="damaged-file")
                before += size

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


def _values(column: pa.Array) -> list[Any]:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        codes = column.indices
        used = codes.unique().drop_null()
        values = dict(zip(used.to_pylist(), column.dictionary.take(used).to_pylist(), strict=True))
        return [values.get(code) for code in codes.to_pylist()]
    # Nanoseconds do not fit Python's datetime.
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
    return column.to_pylist()


def _inner(kind: pa.DataType) -> pa.DataType:
    """The type of a column's single values."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind


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
