"""Files of feeds: as large as feeds are, and no larger."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.core.errors import BadDataError
from indexer.feeds.reader import open_table


@pytest.mark.parametrize("name", ["feed.csv", "feed.xml", "feed.parquet", "feed.jsonl"])
def test_a_feed_larger_than_feeds_are_is_not_read(tmp_path: Path, name: str) -> None:
    """A file of holes is a terabyte of zeros, of which a disk holds nothing."""
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(b"image,title\na.jpg,Hat\n")
        file.truncate(1 << 40)
    with pytest.raises(BadDataError, match="has 1024 GiB; feeds are read up to 64 GiB"):
        open_table(path)
