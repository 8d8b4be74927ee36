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
    """A kilobyte of file, thirty rows of two megabytes each: 60 MB where each has its own."""
    places = pa.array([0] * 30 + [1, None], pa.int32())
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
    assert found[29:] == [LONG, "b", None]
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


def test_texts_in_lists_are_held_once_and_come_back(tmp_path: Path) -> None:
    """As they are, with nulls and empty lists, in batches and groups, with a dictionary or not."""
    values = [[f"tag {n % 9}", None, "x"][: n % 4] if n % 7 else None for n in range(3000)]
    for options in ({}, {"use_dictionary": False}, {"row_group_size": 500}):
        for kind in (pa.list_(pa.string()), pa.large_list(pa.large_string())):
            path = written(tmp_path / "feed.parquet", pa.array(values, kind), **options)
            records = open_table(path).records(LostLines())
            assert [record.values["image"] for record in records] == values
    numbers = pa.array([[1, 2], [], None, [3]], pa.list_(pa.int64()))
    path = written(tmp_path / "feed.parquet", numbers)
    records = open_table(path).records(LostLines())
    assert [record.values["image"] for record in records] == numbers.to_pylist()
    # A list of a hundred long texts: 2 GB where each has its own.
    codes = pa.array([0] * 900 + [1] * 100, pa.int32())
    parts = pa.DictionaryArray.from_arrays(codes, pa.array([LONG, "b"]))
    lists = pa.ListArray.from_arrays(pa.array(range(0, 1001, 100), pa.int32()), parts)
    path = written(tmp_path / "feed.parquet", lists, store_schema=False)
    tracemalloc.start()
    before, lost = pa.total_allocated_bytes(), LostLines()
    with pytest.raises(BadDataError, match="unpacks to more than 250 times its size"):
        list(open_table(path).records(lost))
    assert tracemalloc.get_traced_memory()[1] < 10 * len(LONG)
    assert pa.total_allocated_bytes() - before < 10 * len(LONG)
    tracemalloc.stop()


def test_cells_are_counted_before_they_are_paid(tmp_path: Path) -> None:
    """A few kilobytes that stand for gigabytes: of texts that are repeated, of numbers in a row, of
    values that the directory counts; and a feed as shops have it, which is read."""
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000), pa.array(["ab" * 5_000]))
    path = written(tmp_path / "feed.parquet", repeated, store_schema=False)
    assert path.stat().st_size < 20_000
    records = open_table(path).records(LostLines())
    assert len(next(records).values["image"]) == 10_000
    with pytest.raises(BadDataError, match="as no feed does: save it as CSV if you trust it"):
        list(records)
    path = written(tmp_path / "feed.parquet", pa.array(["a" * (70 << 20)]))
    with pytest.raises(BadDataError, match="unpacks to more than 250 times its size"):
        open_table(path)
    nothing = pa.nulls(250_000, pa.int32())
    pq.write_table(pa.table({f"a{n}": nothing for n in range(300)}), path, compression="zstd")
    assert path.stat().st_size < 250_000
    with pytest.raises(BadDataError, match="unpacks to more than 250 times its size"):
        open_table(path)
    common = pa.array([f"{n}.jpg" for n in range(20_000)])
    texts = pa.array(["A warm scarf of the softest wool. " * 20] * 20_000)
    pq.write_table(pa.table({"image": common, "description": texts}), path)
    assert sum(1 for _ in open_table(path).records(LostLines())) == 20_000


def test_a_row_too_long_is_left_out_by_name(tmp_path: Path) -> None:
    """As in every format; its id is known, so that a sync takes its product for named."""
    path = tmp_path / "feed.parquet"
    rows = {"product_id": ["a", "b"], "image": ["a.jpg", "b.jpg"], "text": ["x" * (5 << 20), "y"]}
    pq.write_table(pa.table(rows), path)
    lost = LostLines()
    records = list(open_table(path).records(lost))
    assert [record.values["product_id"] for record in records] == ["b"]
    (notice,) = lost.skipped
    assert (notice.where, notice.code) == ("feed.parquet row 1", "long-line")
    assert notice.reason == "has more than 4194304 characters"
    assert (lost.ids, lost.images, lost.unnamed) == (["a"], [], [])


def test_values_of_lists_count_as_what_they_take(tmp_path: Path) -> None:
    """Eight hundred bytes of file, one row of fifty million empty texts: two gigabytes."""
    path = tmp_path / "feed.parquet"
    for count, refused in ((3_000_000, True), (100_000, False)):
        table_ = pa.table({"image": pa.array([["a.jpg"] + [""] * count])})
        pq.write_table(table_, path, compression="zstd")
        if refused:
            with pytest.raises(BadDataError, match="unpacks to more"):
                open_table(path)
        else:
            assert len(next(open_table(path).records(LostLines())).values["image"]) == count + 1


@pytest.mark.parametrize(
    "dates",
    [
        pa.array([2**31 - 1, 0], pa.date32()),
        pa.array([2**62, 0], pa.timestamp("us")),
        pa.array([18446744073709552, 0], pa.timestamp("ms")),
        pa.array([2**61, 0], pa.timestamp("us", "America/New_York")),
        pa.array([[2**31 - 1], [0]], pa.list_(pa.date32())),
    ],
    ids=["date", "time", "wraps", "zone", "list"],
)
def test_a_date_beyond_all_years_is_left_out_by_name(tmp_path: Path, dates: pa.Array) -> None:
    """An import ended with a traceback; the row's other values and rows are sound."""
    path = tmp_path / "feed.parquet"
    pq.write_table(pa.table({"image": ["a.jpg", "b.jpg"], "since": dates}), path)
    lost = LostLines()
    first, second = open_table(path).records(lost)
    assert first.values == {"image": "a.jpg", "since": None}
    assert second.values["since"]
    assert [(notice.code, notice.column) for notice in lost.warnings] == [
        ("date-out-of-range", "since")
    ]
    assert not lost.count
