"""Random feeds: records or a reason, never a traceback, and no row that vanishes."""

from __future__ import annotations

import csv
import gzip
import io
import os
import random
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.core.errors import BadDataError
from indexer.feeds.reader import LostLines, find_feed, open_table
from indexer.feeds.table_format import suffixes

# How many random feeds of each kind; ``make prove-feeds`` takes more.
RUNS = int(os.environ.get("CATALENS_LIVE_FEEDS", "25"))
SUFFIXES = sorted({".gz", ".zip", "", *suffixes()})
fuzz = settings(
    max_examples=RUNS,
    deadline=None,
    derandomize="CATALENS_LIVE_FEEDS" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
# Pieces of which feeds are made, whole and broken.
PIECES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            *(b"id,title,image\n", b"1,a,b.jpg\n", b'"', b'"a\nb",', b"\r", b"\0", b"sep=;\n"),
            *(b"\xff\xfe", b"\xef\xbb\xbf", b"\xfe\xff", b"\xe9", "größe".encode(), b"\x81"),
            *(b"<rss><channel>", b"<item>", b"</item>", b"<g:id>1</g:id>", b"&", b"<![CDATA["),
            *(b"<?xml version='1.0' encoding='GBK'?>", b"<!DOCTYPE a>", b"</channel></rss>"),
            *(
                b"[",
                b"]",
                b"{",
                b"}",
                b'{"id": 1, "title": "x"}',
                b",",
                b'{"products": [',
                b'"id":',
            ),
            *(b"PK\x03\x04", b"PAR1", b"\x1f\x8b", b"a.jpg\tshirt\n", b"\\u00", b'\\"', b"1e999"),
        ]
    ),
)


@fuzz
@given(st.lists(PIECES, max_size=40), st.sampled_from(SUFFIXES), st.booleans())
def test_any_bytes_give_records_or_a_reason(pieces: list[bytes], suffix: str, packed: bool) -> None:
    """Never a traceback; records and lost lines are the same each time."""
    data = b"".join(pieces)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"feed{suffix}"
        path.write_bytes(gzip.compress(data) if packed else data)
        try:
            with find_feed(path) as feed:
                if feed.path is None:
                    return
                table = open_table(feed.path)
                first = LostLines()
                records = list(table.records(first))
                again = LostLines()
                assert list(table.records(again)) == records
                assert again == first
        except BadDataError as error:
            assert str(error).isprintable()  # noqa: PT017


CELLS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20
) | st.sampled_from(['"', ",", ";", "\n", "\r\n", 'a "b" c', "1,50", "x\ny, z", " ", "=1+1", "\\"])


@fuzz
@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=12),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_a_spreadsheet_writes_is_read_whole(
    rows: list[list[str]], delimiter: str, encoding: str
) -> None:
    """Every row of every cell, whatever the cells hold, none of them lost or made up."""
    named = [[f"p{number}", *row] for number, row in enumerate(rows)]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([["product_id", "title", "image", "note"], *named])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "feed.csv"
        path.write_bytes(stream.getvalue().encode(encoding))
        lost = LostLines()
        records = list(open_table(path).records(lost))
    assert [list(record.values.values()) for record in records] == named
    assert (lost.count, lost.warnings) == (0, [])


@fuzz
@given(st.integers(1, 40), st.integers(0, 2**32))
def test_no_row_vanishes_behind_a_broken_one(count: int, seed: int) -> None:
    """Of rows with a stray quote, delimiter or line break each is given, or lost by name."""
    chance = random.Random(seed)
    lines = []
    for number in range(count):
        line = f"p{number},Hat {number},i/{number}.jpg,{number}.50"
        at = chance.randrange(len(line)) if chance.random() < 0.2 else None
        lines.append(
            line if at is None else line[:at] + chance.choice(['"', ",", "\n"]) + line[at:]
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "feed.csv"
        path.write_text("product_id,title,image,price\n" + "\n".join(lines) + "\n")
        lost = LostLines()
        records = list(open_table(path).records(lost))
    given_ids = {record.values["product_id"] for record in records}
    sound = {f"p{n}" for n, line in enumerate(lines) if line == f"p{n},Hat {n},i/{n}.jpg,{n}.50"}
    assert sound <= given_ids | set(lost.ids), (sound - given_ids, lost)
