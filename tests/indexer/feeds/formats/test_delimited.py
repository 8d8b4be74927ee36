"""Delimiter, encoding and header are found; what was guessed is said."""

from __future__ import annotations

import codecs
import gzip
import tracemalloc
from pathlib import Path

import pytest

from indexer.core.errors import BadDataError
from indexer.feeds import feed_file
from indexer.feeds.reader import LostLines, open_table
from tests.indexer.feeds.feed_reads import read, read_file


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    """Whatever other delimiters stand in the cells."""
    lines = [["id", "title", "price", "tags"], ["1", '"Hat; red, | new"', '"1,5"', "a"]]
    text = "\n".join(delimiter.join(line) for line in [*lines, ["2", "Cap", '"2,5"', "b"]])
    found = read(tmp_path, text)
    assert found.table.columns == lines[0]
    assert found.values("price") == ["1,5", "2,5"]
    assert found.values("title")[0] == "Hat; red, | new"
    assert found.codes == []


def test_decimal_commas_and_joined_tags_are_no_delimiters(tmp_path: Path) -> None:
    """What only the rows have does not part the header."""
    assert read(tmp_path, "name;price\na;1,5\nb;2,5\n").table.columns == ["name", "price"]
    found = read(tmp_path, "id,tags\n1,a|b|c|d\n2,e|f|g|h\n")
    assert found.values("tags") == ["a|b|c|d", "e|f|g|h"]


def test_a_line_may_say_the_delimiter(tmp_path: Path) -> None:
    """``sep=``, as Excel writes it, and the option; the option must be a character."""
    found = read(tmp_path, "\ufeffsep=|\nid|a;b\n1|x;y\n")
    assert (found.table.columns, found.lines) == (["id", "a;b"], [3])
    assert read(tmp_path, "a:b,c\n1:2,3\n", delimiter=":").table.columns == ["a", "b,c"]
    assert read(tmp_path, "a\tb,c\n1\t2,3\n", delimiter="tab").table.columns == ["a", "b,c"]
    with pytest.raises(BadDataError, match="not one character"):
        read(tmp_path, "a,b\n", delimiter="::")


TEXT = "id;title;note\n1;Größe;x\n2;café à la crème;y\n"
CHINESE = "编号,标题,颜色\n1,红色连衣裙,红色\n2,蓝色衬衫,蓝色\n"


@pytest.mark.parametrize(
    ("data", "column", "value", "guess"),
    [
        (TEXT.encode(), "title", "café à la crème", None),
        (TEXT.encode("utf-8-sig"), "title", "café à la crème", None),
        (TEXT.encode("utf-16"), "title", "café à la crème", None),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "title", "café à la crème", None),
        (TEXT.encode("utf-16-le"), "title", "café à la crème", "UTF-16"),
        (TEXT.encode("cp1252"), "title", "café à la crème", "cp1252"),
        (CHINESE.encode("gb18030"), "标题", "蓝色衬衫", "gb18030"),
    ],
)
def test_encodings_that_spreadsheets_write(
    tmp_path: Path, data: bytes, column: str, value: str, guess: str | None
) -> None:
    """Marks and UTF-8 are read in silence; a guess is named with the option that says better."""
    found = read(tmp_path, data)
    assert found.values(column)[1] == value
    assert found.table.columns[0] in ("id", "编号")
    notices = found.table.notices
    assert [notice.code for notice in notices] == ["guessed-encoding"] * (guess is not None)
    for notice in notices:
        assert str(guess).lower() in notice.reason.lower()
        assert "--encoding" in notice.reason


def test_damaged_bytes_of_utf8_cost_themselves(tmp_path: Path) -> None:
    """One bad byte does not make all of a file another encoding; its line is named."""
    rows = "".join(f"{number},Größe é\n" for number in range(50)).encode()
    found = read(tmp_path, b"id,title\n" + rows + b"50,caf\xe9 x\n51,Stra\xc3\x9fe\n")
    assert found.values("title")[-2:] == ["caf\ufffd x", "Straße"]
    assert found.table.notices[0].where == "feed.csv:52"


def test_an_encoding_that_is_given_is_used(tmp_path: Path) -> None:
    """Also against what would be guessed; one that does not exist is an error."""
    data = "id,title\n1,ж\n".encode("cp1251")
    assert read(tmp_path, data, encoding="cp1251").values("title") == ["ж"]
    for wrong in ("klingon", "zip", "", "undefined", "idna", "punycode", "unicode_escape"):
        with pytest.raises(BadDataError, match="--encoding"):
            read(tmp_path, data, encoding=wrong)


@pytest.mark.parametrize("name", ["utf-16", "U32"])
def test_an_encoding_with_a_mark_is_read_without_one(tmp_path: Path, name: str) -> None:
    """In the order of bytes in which it has line ends; a file of neither order is refused, with
    the names of both."""
    full = codecs.lookup(name).name
    for order in ("-le", "-be"):
        found = read(tmp_path, CHINESE.encode(full + order), encoding=name)
        assert found.values("标题") == ["红色连衣裙", "蓝色衬衫"]
        assert found.table.notices == []
    assert read(tmp_path, CHINESE.encode(full), encoding=name).values("编号") == ["1", "2"]
    for wrong in (b"id,title\n1,hat\n", CHINESE.encode(full + "-le") + b"a"):
        with pytest.raises(BadDataError, match=f"name {full}-le or {full}-be"):
            read(tmp_path, wrong, encoding=name)


def test_rows_above_the_header(tmp_path: Path) -> None:
    """Templates of marketplaces: the row for machines is the header, the others are kept aside; a
    title line is none."""
    rows = (
        "TemplateType=fptcustom\tVersion=2026.1\tThe top three rows, please keep\t\n"
        "Seller SKU\tProduct name\tBrand\tMain image\n"
        "item_sku\titem_name\tbrand_name\tmain_image_url\n"
        "A-1\tTee, blue\tKelp\thttps://shop.example/a.jpg\n"
    )
    found = read(tmp_path, rows, "amazon.txt")
    assert found.table.columns == ["item_sku", "item_name", "brand_name", "main_image_url"]
    assert [row[0] for row in found.table.preamble] == ["TemplateType=fptcustom", "Seller SKU"]
    assert (found.lines, found.codes) == ([4], ["rows-above-header"])
    found = read(tmp_path, "Export of 1 March;;;\n\nid;title;image;price\n1;a;b;1,5\n2;a;b;2\n")
    assert (found.table.columns, found.lines) == (["id", "title", "image", "price"], [4, 5])
    assert read(tmp_path, "ID,Name\nitem_sku,price\n").table.columns == ["item_sku", "price"]


def test_columns_that_stand_twice(tmp_path: Path) -> None:
    """Said once with both places; the first value that is there counts, and all of those columns
    that shops may repeat."""
    text = "id,title,additional_image_link,title,additional_image_link\n1,,x,b,y\n2,a,x,b,\n"
    found = read(tmp_path, text)
    assert found.table.columns == ["id", "title", "additional_image_link"]
    assert found.values("title") == ["b", "a"]
    assert found.values("additional_image_link") == [["x", "y"], "x"]
    assert found.codes == ["column-twice", "column-twice"]
    assert "columns 2 and 4" in found.table.notices[0].reason


def test_gzip_is_unpacked_while_it_is_read(tmp_path: Path) -> None:
    """By its bytes, not its name; one cut off gives what is whole; a bomb is refused."""
    text = "".join(f"{number},Hat {number * 7919}\n" for number in range(5_000))
    data = gzip.compress(b"id,title\n" + text.encode())
    found = read(tmp_path, data, "feed.csv.gz")
    assert (len(found.records), found.records[0].where) == (5_000, "feed.csv:2")
    cut = read(tmp_path, data[:-2_000], "cut.csv.gz")
    assert 0 < len(cut.records) < 5_000
    assert "damaged-file" in cut.codes


def test_a_gzip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it unpacks to far more than feeds do; nothing else is read of it."""
    monkeypatch.setattr(feed_file, "FREE_BYTES", 1 << 16)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"id,title\n" + b"a" * 20_000_000))
    with pytest.raises(BadDataError, match="250 times its size"):
        open_table(tmp_path / "bomb.csv.gz")


def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    """50,000 rows take no more than a few records and buffers."""
    path = tmp_path / "feed.csv"
    with path.open("w") as file:
        file.write("id,title,image,price\n")
        for number in range(50_000):
            file.write(f'{number},"Hat, no. {number}",i/{number}.jpg,{number}.50\n')
    table = open_table(path)
    tracemalloc.start()
    try:
        count = sum(1 for _ in table.records(LostLines()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 50_000
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("feed.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "save it as .xlsx or CSV"),
        ("feed.csv", b"%PDF-1.7 ...", "PDF"),
        ("feed.xml", b"<!DOCTYPE html><html></html>", "page of HTML"),
        ("feed.zip", b"Rar!\x1a\x07", "RAR"),
        ("notes.txt", b"call the printer\n", "is no feed"),
    ],
)
def test_what_is_no_feed_is_told_apart(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    """The refusal says what the file is, and what to do where something can be done."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadDataError, match=said):
        open_table(tmp_path / name)


def test_a_list_of_photos_is_no_header(tmp_path: Path) -> None:
    """``path<TAB>label``, and with blanks or commas; a broken line is named."""
    found = read(tmp_path, "shirt/a.jpg\tT-Shirt\nmug/b c.JPG\tHome > Mug\n?\n", "train.txt")
    assert found.values("image") == ["shirt/a.jpg", "mug/b c.JPG"]
    assert found.values("category") == ["T-Shirt", "Home > Mug"]
    assert found.codes == ["no-header", "broken-line"]
    for text in ("a.jpg 3\nb/c.png 4\n", "a.jpg,3\nb/c.png, 4\n"):
        assert read(tmp_path, text, "list.csv").values("category") == ["3", "4"]
    assert read_file(tmp_path / "list.csv").table.format == "list"
