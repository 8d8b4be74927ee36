"""Parquet of few bytes that stands for many: rows are counted, texts are held once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.core.errors import BadDataError
from indexer.feeds import feed_pass, table
from indexer.feeds.feed_pass import check_count
from indexer.feeds.reader import LostLines, open_table

LONG = "a" * 2_000_000


def written(path: Path, values: pa.Array, **options: object) -> Path:
    pq.write_table(pa.table({"image": values}), path, compression="zstd", **options)
    return path


def test_a_long_text_that_is_repeated_is_held_once(tmp_path: Path) -> None:
    """A kilobyte of file, two thousand rows of two megabytes each: 4 GB where each has its own."""
    places = pa.array([0] * 2000 + [1, None], pa.int32())
    values = pa.DictionaryArray.from_arrays(places, pa.array([LONG, "b"]))
    path = written(tmp_path / "feed.parquet", values, store_schema=False)
    assert pq.read_schema(path).field("image").type == pa.string()
    assert path.stat().st_size < 20_000
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    found = [record.values["image"] for record in open_table(path).records(LostLines())]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[0] == LONG
    assert found[1999:] == [LONG, "b", None]
    assert peak < 10 * len(LONG)
    assert pa.total_allocated_bytes() - before < 10 * len(LONG)


def test_texts_come_back_as_they_are(tmp_path: Path) -> None:
    """However a column is stored: with a dictionary, without, in several groups, as large text."""
    values = [f"photo {number % 700}.jpg" if number % 7 else None for number in range(3000)]
    for options in ({}, {"use_dictionary": False}, {"row_group_size": 500}):
        for kind in (pa.string(), pa.large_string()):
            path = written(tmp_path / "feed.parquet", pa.array(values, kind), **options)
            records = open_table(path).records(LostLines())
            assert [record.values["image"] for record in records] == values


def test_too_many_rows_are_refused_by_the_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before one of them is read."""
    path = written(tmp_path / "feed.parquet", pa.array(["a.jpg"] * 2000))
    monkeypatch.setattr(table, "MOST_RECORDS", 1999)
    with pytest.raises(BadDataError, match="more than 1,999 records: import it in several parts"):
        open_table(path)
    monkeypatch.setattr(table, "MOST_RECORDS", 2000)
    assert open_table(path).columns == ["image"]
    assert feed_pass.check_count is check_count


def test_too_many_columns_are_refused_by_the_head(tmp_path: Path) -> None:
    path = tmp_path / "feed.parquet"
    pq.write_table(pa.table({f"a{number}": ["x"] for number in range(5_001)}), path)
    with pytest.raises(BadDataError, match="5001 columns"):
        open_table(path)
