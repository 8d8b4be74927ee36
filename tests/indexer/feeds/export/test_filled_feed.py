"""The shop's own file comes back byte for byte, but for the cells that were proposed."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from indexer.core.csv_text import LINE_ENDS
from indexer.core.errors import BadRequestError
from indexer.feeds.export.feed_filler import FeedFiller
from indexer.feeds.export.filled_feed import FilledFeed, write_filled
from indexer.feeds.export.proposal import ExportOptions, Proposal, ProposedValue
from indexer.feeds.profile import load_profile
from indexer.feeds.reader import open_table

GOOGLE = (
    '"id";"title";"image_link";"color";price;"product_type"\r\n'
    '"a";"Tee ""Größe"" M; weit";https://x.example/a.jpg;"";19,00 EUR;\r\n'
    "\r\n"
    "broken;row\r\n"
    ' b ;\'=Mug;https://x.example/b.jpg;blue;7,50 EUR;"Home\n& more"\r\n'
    "c;Last;https://x.example/c.jpg;;1 EUR;"
)
FOUND = {
    "a": Proposal("a", ("Kleidung", "Hemden; lang"), 0.9, color=ProposedValue("red", 0.9)),
    "c": Proposal("c", color=ProposedValue("白色", 0.9)),
}


def fill(
    path: Path, out: Path, options: ExportOptions | None = None
) -> tuple[FilledFeed, FeedFiller]:
    options = options or ExportOptions()
    filler = FeedFiller(open_table(path), load_profile("google"), FOUND.get, options)
    return write_filled(filler, out, out.with_name(f"undo{out.suffix}")), filler


@pytest.mark.parametrize("head", ["", "sep=;\r\n", "Export of 2024\r\n\r\n"])
def test_all_that_is_not_proposed_stays_as_the_shop_wrote_it(head: str, tmp_path: Path) -> None:
    """cp1252, semicolons, CRLF, quotes, blank and broken lines, a line above the header, a line
    break in a cell, no line end at the end; a value that cp1252 has no letters for is left out."""
    path = tmp_path / "feed.csv"
    path.write_bytes((head + GOOGLE).encode("cp1252"))
    written, filler = fill(path, tmp_path / "out.csv")
    expected = GOOGLE.replace(';"";19,00 EUR;', ';"red";19,00 EUR;"Kleidung > Hemden; lang"')
    assert (tmp_path / "out.csv").read_bytes() == (head + expected).encode("cp1252")
    assert (written.rows, written.undo_rows) == (3, 2)
    assert written.changed == {"color": 1, "product_type": 1}
    assert [notice.where for notice in filler.notices] == [f"feed.csv:{7 + head.count(chr(10))}"]
    rows = GOOGLE.split("\r\n")
    undo = head + "\r\n".join([rows[0], rows[1], rows[5]])
    assert (tmp_path / "undo.csv").read_bytes() == undo.encode("cp1252")


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (b"", "utf-8")],
)
def test_marks_and_encodings_stay_and_changes_alone_have_the_header(
    mark: bytes, encoding: str, tmp_path: Path
) -> None:
    """The feed may be replaced by what is written; what undoes it is whole before."""
    path = tmp_path / "feed.csv"
    path.write_bytes(mark + GOOGLE.encode(encoding))
    fill(path, path, ExportOptions(only=frozenset({"color"}), changes=True))
    rows = GOOGLE.split("\r\n")
    changed = [rows[0], rows[1].replace('"";19', '"red";19'), rows[5].replace(";;1", ";白色;1")]
    assert path.read_bytes() == mark + "\r\n".join(changed).encode(encoding)
    undo = (tmp_path / "undo.csv").read_bytes()
    assert undo == mark + "\r\n".join([rows[0], rows[1], rows[5]]).encode(encoding)


@pytest.mark.parametrize("char", LINE_ENDS)
def test_no_proposal_ends_a_row_of_the_shop_s_file(char: str, tmp_path: Path) -> None:
    """A class is called as its makers called it, a line's end within its name too."""
    path = tmp_path / "feed.csv"
    path.write_text("id,title,image_link,color,price\na,Tee,https://x.example/a.jpg,,1 EUR\n")
    out = tmp_path / "out.csv"
    found = {"a": Proposal("a", color=ProposedValue(f"red{char}=1", 0.9))}
    filler = FeedFiller(open_table(path), load_profile("google"), found.get, ExportOptions())
    write_filled(filler, out, tmp_path / "undo.csv")
    assert f',"red{char}=1",'.encode() in out.read_bytes()


def test_bytes_that_are_no_text_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    # Mostly UTF-8, with one damaged byte.
    text = ("id,title,image_link,color\n" + "ä,ä,https://x.example/a.jpg,red\n" * 9).encode()
    text += b"a,Te\xffe,https://x.example/a.jpg,\nc,C,https://x.example/c.jpg,\n"
    path.write_bytes(text)
    fill(path, tmp_path / "out.csv")
    expected = text.replace(b"c.jpg,\n", "c.jpg,白色\n".encode())
    assert (tmp_path / "out.csv").read_bytes() == expected


def test_other_formats_become_a_table_and_say_so(tmp_path: Path) -> None:
    path = tmp_path / "feed.jsonl"
    path.write_text('{"id": "a", "title": "Tee", "image_link": ["a.jpg", "b.jpg"], "color": ""}\n')
    written, filler = fill(path, tmp_path / "out.csv", ExportOptions(only=frozenset({"color"})))
    assert (tmp_path / "out.csv").read_text() == (
        'id,title,image_link,color\na,Tee,"a.jpg,b.jpg",red\n'
    )
    assert written.changed == {"color": 1}
    assert [notice.code for notice in filler.notices] == ["other-form"]
    fill(path, tmp_path / "out.jsonl", ExportOptions(only=frozenset({"color"})))
    assert (
        tmp_path / "undo.jsonl"
    ).read_text() == '{"id":"a","title":"Tee","image_link":["a.jpg","b.jpg"],"color":""}\n'


def test_what_undoes_is_never_written_over_the_feed(tmp_path: Path) -> None:
    path = tmp_path / "undo.csv"
    path.write_text("id,title,image_link,color\na,Tee,a.jpg,\n")
    with pytest.raises(BadRequestError, match="choose another --out"):
        fill(path, tmp_path / "out.csv")
    assert path.read_text().endswith("a,Tee,a.jpg,\n")
