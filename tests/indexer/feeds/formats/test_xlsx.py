"""Workbooks: the right sheet, codes as they are shown, bounds before anything is read."""

from __future__ import annotations

import datetime
import io
import sys
import time
import zipfile
from pathlib import Path

import pytest

from indexer.core.errors import BadDataError
from indexer.feeds import feed_file, workbook_file
from indexer.feeds.formats import xlsx
from indexer.feeds.reader import LostLines, open_table
from indexer.feeds.table_format import FeedHead
from tests.indexer.feeds.feed_reads import read

openpyxl = pytest.importorskip("openpyxl")


def workbook() -> bytes:
    """A marketplace's template: notes, then the sheet with three header rows."""
    book = openpyxl.Workbook()
    book.active.append(["Please read", "this", "first"])
    book.active.append(["It is", "long", "!"])
    sheet = book.create_sheet("Template")
    sheet.append(["TemplateType=fptcustom", "Version=2026"])
    sheet.append(["SKU", "Name", "Price", "EAN", "Since", "New"])
    sheet.append(["item_sku", "item_name", "standard_price", "ean", "since", "new"])
    sheet.append(["A1", "Tee", 19.9, 4006381333931.0, datetime.datetime(2026, 1, 2), True])
    sheet.append(["A2", 0.1 + 0.2, 12.0, 42, "#N/A", None])
    sheet["D5"].number_format = "00000000"
    sheet.append([])
    sheet.append(["A3"])
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def test_cells_are_text_as_they_are_shown(tmp_path: Path) -> None:
    """Whole numbers without a point, codes with their zeros, dates as ISO; blank rows left out."""
    found = read(tmp_path, workbook(), "feed.xlsx")
    assert (found.table.format, found.table.text, found.lines) == ("xlsx", True, [4, 5, 7])
    assert found.table.columns[:2] == ["item_sku", "item_name"]
    assert [list(record.values.values()) for record in found.records] == [
        ["A1", "Tee", "19.9", "4006381333931", "2026-01-02", "true"],
        ["A2", "0.3", "12", "00000042", "", ""],
        ["A3", "", "", "", "", ""],
    ]
    assert found.codes == ["sheet-not-read", "rows-above-header"]


def changed(part: str, data: bytes) -> bytes:
    """The workbook with one of its parts replaced."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(workbook())) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, data if name.endswith(part) else old.read(name))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (changed("sheet2.xml", b"<a>" * 2_000_000), "deeper than 64"),
        (changed("sheet2.xml", b"<!DOCTYPE a []><a/>"), "not a readable"),
        (changed("workbook.xml", b"<a"), "not a readable"),
        (workbook()[:3_000], "no feed|not a readable"),
        (b"id,title\n1,a\n", "not a readable"),
    ],
)
def test_workbooks_that_are_refused(tmp_path: Path, data: bytes, said: str) -> None:
    """Nested tags, document types, damaged files: one sentence each."""
    (tmp_path / "feed.xlsx").write_bytes(data)
    with pytest.raises(BadDataError, match=said):
        open_table(tmp_path / "feed.xlsx")


def test_texts_beyond_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the archive declares, before anything is unpacked."""
    monkeypatch.setattr(workbook_file, "_MOST_TEXTS", 1_000_000)
    path = tmp_path / "feed.xlsx"
    path.write_bytes(workbook())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", bytes(2_000_000))
    with pytest.raises(BadDataError, match="save it as CSV"):
        open_table(path)


def test_the_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(BadDataError, match=r"pip install 'catalens\[xlsx\]'"):
        read(tmp_path, workbook(), "feed.xlsx")


def test_a_text_that_many_cells_name_is_counted_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands once in the file: a workbook of few bytes cannot stand for gigabytes, and a row too
    long is left out as in every format."""
    book = openpyxl.Workbook()
    book.active.append(["product_id", "image", "text"])
    for number in range(40):
        book.active.append([f"p{number}", f"{number}.jpg", "x" * 30_000])
    path = tmp_path / "feed.xlsx"
    book.save(path)
    monkeypatch.setattr(xlsx, "MOST_RECORD", 20_000)
    lost = LostLines()
    assert list(open_table(path).records(lost)) == []
    assert (lost.count, lost.skipped[0].code) == (40, "long-line")
    monkeypatch.setattr(xlsx, "MOST_RECORD", 40_000)
    assert len(list(open_table(path).records(LostLines()))) == 40
    table = open_table(path)
    monkeypatch.setattr(feed_file, "FREE_BYTES", 1_000_000)
    monkeypatch.setattr(feed_file, "MOST_RATIO", 10)
    monkeypatch.setattr(workbook_file, "_check_directory", lambda source: None)
    records = table.records(LostLines())
    assert next(records).values["product_id"] == "p0"
    with pytest.raises(BadDataError, match="as no feed does: save it as CSV if you trust it"):
        list(records)


def test_blank_cells_are_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of one cell is filled up to the header's width: of 578 KB came a billion cells."""
    book = openpyxl.Workbook()
    book.active.append(["product_id", "image", *(f"c{number}" for number in range(1_000))])
    for number in range(100):
        book.active.append([f"p{number}"])
    path = tmp_path / "feed.xlsx"
    book.save(path)
    assert len(list(open_table(path).records(LostLines()))) == 100
    monkeypatch.setattr(xlsx, "_FREE_BLANK", 50_000)
    with pytest.raises(BadDataError, match="as no feed does: save it as CSV if you trust it"):
        list(open_table(path).records(LostLines()))


def sheet(path: Path, rows: bytes) -> Path:
    """A workbook with one sheet of these rows, which does not say how large it is."""
    stream = io.BytesIO()
    openpyxl.Workbook().save(stream)
    with (
        zipfile.ZipFile(stream) as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.namelist():
            if part.startswith("xl/worksheets/"):
                space = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
                data = b"<worksheet " + space + b"><sheetData>" + rows + b"</sheetData></worksheet>"
                new.writestr(part, data)
            else:
                new.writestr(part, old.read(part))
    return path


def row(number: int, *texts: bytes) -> bytes:
    cells = b"".join(b'<c t="inlineStr"><is><t>' + text + b"</t></is></c>" for text in texts)
    return b'<row r="%d">%b</row>' % (number, cells)


def test_a_sheet_costs_the_cells_that_stand_in_it(tmp_path: Path) -> None:
    """Rows far apart below a wide header: 20 KB stood for a billion cells, all looked at."""
    header = row(1, b"product_id", b"image", *(b"c%d" % number for number in range(1_000)))
    far = b"".join(row(1 + 9_000 * place, b"p%d" % place) for place in range(1, 100))
    began = time.process_time()
    found = list(open_table(sheet(tmp_path / "far.xlsx", header + far)).records(LostLines()))
    assert time.process_time() - began < 2
    assert [record.values["product_id"] for record in found] == [f"p{n}" for n in range(1, 100)]
    assert found[1].where == "far.xlsx:18001"
    assert found[1].values["c999"] == ""
    farther = header + row(9_000, b"a") + row(20_000, b"b")
    found = list(open_table(sheet(tmp_path / "end.xlsx", farther)).records(LostLines()))
    assert [record.values["product_id"] for record in found] == ["a"]


def test_cells_that_say_nothing_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 MB of blank cells in 300 KB were read three times; behind the table none are read."""
    monkeypatch.setattr(workbook_file, "FREE_ELEMENTS", 20_000)
    monkeypatch.setattr(workbook_file, "MOST_ELEMENTS", 0)
    header = row(1, b"product_id", b"image")
    product = row(2, b"p", b"a.jpg")
    behind = b"".join(b'<row r="%d"/>' % number for number in range(3, 40_000))
    lost = LostLines()
    table = open_table(sheet(tmp_path / "feed.xlsx", header + product + behind))
    assert len(list(table.records(lost))) == 1
    assert not lost.count
    inside = header + b"<row>" + b"<c/>" * 20_000 + b"</row>" + product
    with pytest.raises(BadDataError, match="more elements than 20,000, or 0 for each of its bytes"):
        open_table(sheet(tmp_path / "bomb.xlsx", inside))


def test_a_workbook_that_unpacks_to_far_more_is_refused_by_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sheet of 500 MB in 700 KB was parsed for minutes, twice."""
    monkeypatch.setattr(feed_file, "FREE_BYTES", 1_000_000)
    data = changed("sheet2.xml", b"<a>" + b"<b/>" * 1_000_000 + b"</a>")
    with pytest.raises(BadDataError, match="more than 250 times its size"):
        read(tmp_path, data, "feed.xlsx")


def with_parts(replaced: dict[str, tuple[bytes, bytes]], more: dict[str, bytes]) -> bytes:
    """The workbook with some text of its parts replaced, and further parts."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(workbook())) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.namelist():
            data = old.read(part)
            if part in replaced:
                assert replaced[part][0] in data
                data = data.replace(*replaced[part])
            new.writestr(part, data)
        for part, data in more.items():
            new.writestr(part, data)
    return stream.getvalue()


def of_one_part(sheets: int, inside: str) -> bytes:
    """The workbook with that many more sheets, which all are one part with that in its data."""
    space = "http://schemas.openxmlformats.org"
    named = "".join(
        f'<sheet xmlns:r="{space}/officeDocument/2006/relationships" name="s{number}" '
        f'sheetId="{number + 9}" state="visible" r:id="rX"/>'
        for number in range(sheets)
    )
    part = (
        f'<Relationship Id="rX" Type="{space}/officeDocument/2006/relationships/worksheet" '
        'Target="/xl/worksheets/sheet9.xml"/></Relationships>'
    )
    junk = f'<worksheet xmlns="{space}/spreadsheetml/2006/main"><sheetData>{inside}'
    return with_parts(
        {
            "xl/workbook.xml": (b"</sheets>", f"{named}</sheets>".encode()),
            "xl/_rels/workbook.xml.rels": (b"</Relationships>", part.encode()),
        },
        {"xl/worksheets/sheet9.xml": f"{junk}</sheetData></worksheet>".encode()},
    )


@pytest.mark.parametrize(("sheets", "size"), [(600, 0), (400, 1000)], ids=["many", "large"])
def test_sheets_that_are_the_same_part_are_counted_before_they_are_opened(
    sheets: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """15 KB of a thousand sheets that all are one part were read for an hour."""
    monkeypatch.setattr(workbook_file, "_MOST_BYTES", 300_000)
    path = tmp_path / "feed.xlsx"
    path.write_bytes(of_one_part(sheets, " " * size))
    with pytest.raises(BadDataError, match=f"has {sheets + 2} sheets"):
        open_table(path)


def test_sheets_that_are_the_same_part_share_what_may_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """250 of them took ten seconds each, of 20 KB together: each was counted by itself."""
    monkeypatch.setattr(workbook_file, "FREE_ELEMENTS", 20_000)
    monkeypatch.setattr(workbook_file, "MOST_ELEMENTS", 0)
    path = tmp_path / "feed.xlsx"
    for sheets, refused in ((5, False), (40, True)):
        path.write_bytes(of_one_part(sheets, f"<row>{'<c/>' * 1_000}</row>"))
        if refused:
            with pytest.raises(BadDataError, match="more elements than 20,000"):
                open_table(path)
        else:
            open_table(path)


def test_what_is_held_of_a_sheet_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row is held until its end, and a trace of each row until the sheet's."""
    names = [b"c%d" % number for number in range(100)]
    rows = b"".join(row(number, *names) for number in range(1, 31))
    path = sheet(tmp_path / "feed.xlsx", rows)
    for name, most, said in (
        ("MOST_ROWS", 30, "more than 29 rows"),
        ("MOST_IN_ROW", 300, "a row of more than 299 elements"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(workbook_file, name, most)
            assert len(open_table(path).columns) == 100
            patch.setattr(workbook_file, name, most - 1)
            with pytest.raises(BadDataError, match=said):
                open_table(path)


@pytest.mark.parametrize(
    ("sheet", "said"),
    [
        (f'<worksheet xmlns:a="{"u" * 1_000}"><a:b/></worksheet>', "namespace"),
        (f"<worksheet>{''.join(f'<n{at}/>' for at in range(50_100))}</worksheet>", "50,000 names"),
        ('<?xml version="1.0" encoding="cp037"?><worksheet/>', "not a readable Excel workbook"),
    ],
)
def test_names_in_a_part_are_bounded(tmp_path: Path, sheet: str, said: str) -> None:
    """The parser holds each of them, with its namespace; in an encoding that hides them they would
    be met only there."""
    data = sheet.encode("cp037" if "cp037" in sheet else "utf-8")
    with pytest.raises(BadDataError, match=said):
        read(tmp_path, changed("xl/worksheets/sheet2.xml", data), "feed.xlsx")


def test_texts_in_a_part_that_was_not_counted_are_refused(tmp_path: Path) -> None:
    """They are held in memory, and a sheet, which is not, may be far larger."""
    space = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    texts = b'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"></sst>'
    for part, refused in (("xl/worksheets/texts.xml", True), ("xl/sharedStrings.xml", False)):
        override = f'<Override PartName="/{part}" ContentType="{space}" /></Types>'.encode()
        types = {"[Content_Types].xml": (b"</Types>", override)}
        path = tmp_path / "feed.xlsx"
        path.write_bytes(with_parts(types, {part: texts}))
        if refused:
            with pytest.raises(BadDataError, match="keeps its texts in the part"):
                open_table(path)
        else:
            assert open_table(path).columns[0] == "item_sku"


def test_a_zip_of_photos_is_no_workbook(tmp_path: Path) -> None:
    """Whatever bytes its photos hold, and a workbook among them: only its own entries count. A
    workbook is known by whichever part comes first."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("images/1.jpg", b"\xff\xd8 xl/ [Content_Types].xml" + bytes(50))
        archive.writestr("images/list.xlsx", inner.getvalue())
        archive.writestr("images/2.jpg", b"xl/")
    assert xlsx._fits(FeedHead(".zip", data.getvalue(), "")) == 0
    for first in ("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml", "docProps/app.xml"):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr(first, "<x/>")
        assert xlsx._fits(FeedHead(".zip", data.getvalue(), "")) == 3
