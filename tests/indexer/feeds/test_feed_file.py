"""Files of feeds: as large as feeds are, and no larger."""

from __future__ import annotations

import gzip
import time
import zipfile
from pathlib import Path

import pytest

from indexer.core.errors import BadDataError
from indexer.feeds import archives
from indexer.feeds.archives import check_archive
from indexer.feeds.feed_file import FREE_BYTES, FeedFile
from indexer.feeds.reader import open_table
from indexer.feeds.table import LostLines

HOLE = 8 << 30
BEGINNINGS = {
    "feed.csv": b"image,title\na.jpg,Hat\nb.jpg,Cap\n",
    "feed.jsonl": b'{"image": "a.jpg", "title": "Hat"}\n' * 2,
    "feed.json": b'[{"image": "a.jpg", "title": "Hat"},',
    "feed.xml": b"<items>" + 3 * b"<item><id>1</id><title>Hat</title></item>",
    "feed.lst": b"a.jpg hat\n" * 3,
    "utf16.csv": "image,title\na.jpg,Hat\n".encode("utf-16-le"),
}


@pytest.mark.parametrize("name", ["feed.csv", "feed.xml", "feed.parquet", "feed.jsonl"])
def test_a_feed_larger_than_feeds_are_is_not_read(tmp_path: Path, name: str) -> None:
    """A file of holes is a terabyte of zeros, of which a disk holds nothing."""
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(b"image,title\na.jpg,Hat\n")
        file.truncate(1 << 40)
    with pytest.raises(BadDataError, match="has 1024 GiB; feeds are read up to 64 GiB"):
        open_table(path)


@pytest.mark.parametrize("name", BEGINNINGS)
def test_a_hole_is_not_read_to_its_end(tmp_path: Path, name: str) -> None:
    """Gigabytes that no disk holds cost minutes; reading stops where no text goes on so."""
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(BEGINNINGS[name])
        file.truncate(HOLE)
    began = time.process_time()
    with pytest.raises(BadDataError, match="zero bytes in a row"):
        list(open_table(path).records(LostLines()))
    assert time.process_time() - began < 1


def test_a_packed_feed_stands_for_what_was_sent_not_for_its_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hole behind a packed feed let it unpack to a share of the hole."""
    for name in ("feed.csv.gz", "feed.zip"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(BEGINNINGS["feed.csv"]))
        with path.open("r+b") as file:
            file.truncate(HOLE)
        assert FeedFile(path).most_unpacked() == FREE_BYTES
    monkeypatch.setattr(archives, "_FREE_BYTES", 1 << 20)
    path = tmp_path / "bomb.zip"
    with path.open("wb") as file:
        file.seek(HOLE)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.jpg", bytes(10 << 20))
    with pytest.raises(BadDataError, match="200 times its size"):
        check_archive(path, most_bytes=1 << 30)


@pytest.mark.parametrize("rest", [bytes(8 << 20), 100_000 * gzip.compress(b"")])
def test_gzip_parts_that_hold_nothing_end_a_feed(tmp_path: Path, rest: bytes) -> None:
    """Padding is passed over byte by byte, and each part costs as much as one of many rows."""
    path = tmp_path / "feed.csv.gz"
    path.write_bytes(gzip.compress(BEGINNINGS["feed.csv"]) + rest)
    lost = LostLines()
    began = time.process_time()
    found = list(open_table(path).records(lost))
    assert time.process_time() - began < 8
    assert len(found) == 2
    assert [notice.code for notice in lost.skipped] == ["damaged-file"]
    few = tmp_path / "few.csv.gz"
    few.write_bytes(gzip.compress(BEGINNINGS["feed.csv"]) + bytes(1024) + gzip.compress(b"c,d\n"))
    lost = LostLines()
    assert len(list(open_table(few).records(lost))) == 3
    assert not lost.count
