"""Digests know a row that changed, came, went or moved within its product, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from indexer.feeds import row_digests
from indexer.feeds.row_digests import (
    LastRun,
    RowGroups,
    RowScan,
    hash_text,
    hash_values,
    read_last_run,
    write_last_run,
)
from indexer.feeds.spool import Spool

Row = tuple[str, dict[str, object]]


def scan(rows: list[Row]) -> RowGroups:
    found = RowScan()
    for key, values in rows:
        found.add(key, values)
    return found.finish(str.strip)


def last_run(groups: RowGroups) -> LastRun:
    counts = np.ones(len(groups), np.uint64)
    return LastRun("salt", "id", 7, 3, 4, 3, groups.keys, groups.digests, counts)


ROWS: list[Row] = [
    ("a", {"x": "1", "y": ""}),
    ("b", {"x": "2", "y": ""}),
    ("a", {"x": "3", "y": ""}),
    ("c", {"x": "4", "y": ""}),
    ("c", {"x": "5", "y": ""}),
]


def test_groups_of_rows() -> None:
    """Rows of one key are one group wherever they stand; those that lie apart are known."""
    groups = scan(ROWS)
    by_key = {key: groups.keys.tolist().index(hash_text(key)) for key in "abc"}
    assert groups.of_row.tolist() == [by_key[key] for key, _ in ROWS]
    assert [int(groups.counts[by_key[key]]) for key in "abc"] == [2, 1, 2]
    assert [bool(groups.scattered[by_key[key]]) for key in "abc"] == [True, False, False]
    assert len(scan([])) == 0


def test_only_what_changed_is_changed() -> None:
    """A changed cell, a row more or less, rows of a product in another order; other products may
    stand elsewhere."""
    last = last_run(scan(ROWS))

    def changed(rows: list[Row]) -> set[str]:
        groups = scan(rows)
        same = last.unchanged(groups, "salt")
        names = {hash_text(key): key for key, _ in rows}
        return {names[int(key)] for key, stays in zip(groups.keys, same, strict=True) if not stays}

    assert changed(ROWS) == set()
    assert changed([ROWS[3], ROWS[0], ROWS[4], ROWS[1], ROWS[2]]) == set()
    assert changed([*ROWS[:4], ("c", {"x": "6", "y": ""})]) == {"c"}
    assert changed([*ROWS[:4], ("c", {"x": "5"})]) == {"c"}
    assert changed([*ROWS[:4], ("c", {"x": 5, "y": ""})]) == {"c"}
    assert changed([*ROWS[:3], ROWS[4], ROWS[3]]) == {"c"}
    assert changed([*ROWS, ("d", {}), ROWS[1]]) == {"b", "d"}
    assert changed(ROWS[:4]) == {"c"}
    assert not last.unchanged(scan(ROWS), "other salt").any()


def test_keys_are_resolved_after_all_rows_were_seen() -> None:
    """Names that turn out to be one product's are one group."""
    groups = scan([("a ", {"x": 1}), ("b", {}), ("a", {"x": 2})])
    assert len(groups) == 2
    assert groups.of_row[0] == groups.of_row[2]


def test_any_value_has_a_digest() -> None:
    """Nested values, numbers no JSON has, half a character."""
    values = [{"a": [1, {"b": None}]}, {"a": float("inf")}, {"a": 2**70}, {"a": "\ud800"}, {}]
    assert len({hash_values(value) for value in values}) == len(values)
    assert hash_values({"a": "\ud800"}) == hash_values({"a": "\ud800"})


def test_many_rows_are_grouped_as_a_dictionary_would() -> None:
    """Twenty thousand rows of random keys."""
    choose = random.Random(5)
    rows: list[Row] = [(str(choose.randrange(7000)), {"n": n}) for n in range(20_000)]
    groups = scan(rows)
    held: dict[str, list[int]] = {}
    for number, (key, _) in enumerate(rows):
        held.setdefault(key, []).append(number)
    assert len(groups) == len(held)
    for key, numbers in held.items():
        place = int(np.searchsorted(groups.keys, np.uint64(hash_text(key))))
        assert set(groups.of_row[numbers].tolist()) == {place}
        assert groups.counts[place] == len(numbers)
        assert groups.scattered[place] == (numbers[-1] - numbers[0] + 1 != len(numbers))


def test_a_lost_or_damaged_file_is_no_last_run(tmp_path: Path) -> None:
    """What was stored is read as it was; whatever is not whole is nothing."""
    groups = scan(ROWS)
    path = tmp_path / "feeds" / "x.npz"
    assert read_last_run(path) is None
    write_last_run(path, last_run(groups))
    found = read_last_run(path)
    assert found is not None
    assert (found.salt, found.sequence, found.products, found.photos) == ("salt", 7, 3, 4)
    assert found.unchanged(groups, "salt").all()
    whole = path.read_bytes()
    for data in (b"", whole[: len(whole) // 2], whole[:-1], b"PK" + whole[5:]):
        path.write_bytes(data)
        assert read_last_run(path) is None
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    broken = read_last_run(path)
    assert broken is None or broken.unchanged(groups, "salt").all()


def test_portions_change_no_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups that reach over portions have the digests, counts and places of one whole."""
    draw = random.Random(3)
    rows: list[Row] = [(f"k{draw.randrange(9)}", {"x": draw.random()}) for _ in range(200)]
    whole = scan(rows)
    for portion in (1, 2, 7, 199, 200):
        monkeypatch.setattr(row_digests, "_SORTED", portion)
        for name, value in vars(scan(rows)).items():
            assert value.tolist() == getattr(whole, name).tolist(), (portion, name)
        assert len(scan([])) == 0
    # As stored by releases before.
    assert int(scan(ROWS).digests.sum()) == 5000196715536414551


def test_keys_are_read_back_portion_by_portion(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than one portion of keys is in memory when they are resolved."""
    monkeypatch.setattr(row_digests, "_PORTION", 2)
    events: list[object] = []
    read = Spool.__getitem__

    def note(spool: Spool[object], number: int) -> object:
        events.append(number)
        return read(spool, number)

    monkeypatch.setattr(Spool, "__getitem__", note)
    found = RowScan()
    for key in "abcde":
        found.add(key, {})

    def resolve(key: str) -> str:
        events.append(key)
        return key

    assert len(found.finish(resolve)) == 5
    assert events == [0, "a", "b", 1, "c", "d", "e"]
