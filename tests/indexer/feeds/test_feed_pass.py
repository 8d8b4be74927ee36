"""Rows of one product are held up to a limit, however many there are and wherever they stand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.feeds import feed_pass
from indexer.feeds.feed_input import open_input
from indexer.feeds.feed_pass import ReadGroup, read_products, scan_rows
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import Notices
from indexer.feeds.spool import Spool
from indexer.feeds.table import Record


def read(path: Path) -> tuple[list[ReadGroup], Notices]:
    skipped = Notices()
    feed = open_input(path, ImportOptions(), skipped=skipped, warnings=Notices())
    groups = scan_rows(feed, None).groups
    return list(read_products(feed, groups, np.ones(len(groups), bool), None)), skipped


@pytest.mark.parametrize("scattered", [True, False])
def test_rows_of_one_product_are_held_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scattered: bool
) -> None:
    """Of a hundred rows of each of two products three are read, and four held; the others are
    counted by name."""
    monkeypatch.setattr(feed_pass, "MOST_ROWS", 3)
    spooled: list[object] = []
    append = Spool.append

    def count(spool: Spool[object], value: object) -> int:
        spooled.append(value)
        return append(spool, value)

    monkeypatch.setattr(Spool, "append", count)
    ids = [n % 2 if scattered else n // 100 for n in range(200)]
    lines = [f"p{number},{n}.jpg" for n, number in enumerate(ids)]
    path = tmp_path / "feed.csv"
    path.write_text("\n".join(["product_id,image", *lines]) + "\n")
    found, skipped = read(path)
    assert [len(group.products[0].photos) for group in found] == [3, 3]
    assert not any(group.clean for group in found)
    assert [(note.where, note.code) for note in skipped] == [
        ("feed.csv:8" if scattered else "feed.csv:5", "too-many-rows"),
        ("feed.csv:9" if scattered else "feed.csv:105", "too-many-rows"),
    ]
    assert "is one of 100 rows of one product; only the first 3" in skipped[0].reason
    assert sum(isinstance(value, Record) for value in spooled) == (8 if scattered else 0)
