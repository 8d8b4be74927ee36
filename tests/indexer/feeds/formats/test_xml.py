"""RSS, Atom and plain XML become rows; hostile and broken XML costs itself at most."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from indexer.core.errors import BadDataError
from indexer.feeds.reader import LostLines, open_table
from tests.indexer.feeds.feed_reads import read

RSS = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0" '
    'xmlns:g="http://base.google.com/ns/1.0"><channel><title>Shop</title>\n'
)
END = "</channel></rss>\n"


def item(number: int, more: str = "") -> str:
    return (
        f"<item><g:id>{number}</g:id><title>page {number}</title><g:title>Hat {number}</g:title>"
        f"{more}<g:price>{number}.50 EUR</g:price></item>\n"
    )


def test_rss_of_google(tmp_path: Path) -> None:
    """Google's names win over RSS's own; repeated elements are a list, nested ones have a point;
    each item has its line."""
    more = (
        "<g:additional_image_link>a.jpg</g:additional_image_link>"
        "<g:additional_image_link>b.jpg</g:additional_image_link>"
        "<g:shipping><g:country>DE</g:country><g:price>1 EUR</g:price></g:shipping>"
        "<g:brand>A &amp; B</g:brand><g:material/><![CDATA[ ]]>"
        '<c:season xmlns:c="http://base.google.com/cns/1.0" type="string">winter</c:season>'
    )
    found = read(tmp_path, RSS + item(1, more) + item(2) + END, "feed.xml")
    assert (found.table.format, found.table.text, found.lines) == ("xml", True, [3, 4])
    assert found.records[0].values == {
        "id": "1",
        "title": "Hat 1",
        "additional_image_link": ["a.jpg", "b.jpg"],
        "shipping.country": "DE",
        "shipping.price": "1 EUR",
        "brand": "A & B",
        "material": "",
        "season": "winter",
        "price": "1.50 EUR",
    }
    assert found.codes == []


def test_atom_and_lists_of_other_names(tmp_path: Path) -> None:
    """A link is its address; attributes are columns, or name their element."""
    atom = (
        '<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0">'
        '<entry><g:id>1</g:id><link rel="alternate" href="https://shop.example/1"/></entry></feed>'
    )
    found = read(tmp_path, atom, "feed.atom")
    assert found.records[0].values == {"id": "1", "link": "https://shop.example/1"}
    plain = (
        '<shop><groups><group id="1">x</group><group id="2">y</group></groups><goods>'
        '<thing sku="042"><name>a</name><pics><pic>1.jpg</pic><pic>2.jpg</pic></pics>'
        '<param name="Colour">red</param><price currency="EUR">5</price></thing>'
        '<thing sku="043"><name>b</name></thing></goods></shop>'
    )
    found = read(tmp_path, plain, "feed.xml")
    assert found.values("sku") == ["042", "043"]
    assert found.records[0].values == {
        "sku": "042",
        "name": "a",
        "pics.pic": ["1.jpg", "2.jpg"],
        "param.Colour": "red",
        "price.currency": "EUR",
        "price": "5",
    }


@pytest.mark.parametrize(
    ("declared", "encoding", "code"),
    [
        ("ISO-8859-1", "latin-1", []),
        ("GBK", "gbk", []),
        ("UTF-16", "utf-16", []),
        ("UTF-8", "cp1252", ["guessed-encoding"]),
    ],
)
def test_encodings(tmp_path: Path, declared: str, encoding: str, code: list[str]) -> None:
    """What the file declares if it is so, else a guess that is named."""
    title = "衬衫" if encoding == "gbk" else "Größe"
    text = RSS.replace("UTF-8", declared) + item(1, f"<g:size>{title}</g:size>") + END
    found = read(tmp_path, text.encode(encoding), "feed.xml")
    assert (found.values("size"), found.codes) == ([title], code)


def test_blanks_before_the_declaration(tmp_path: Path) -> None:
    """As scripts print them; lines are counted from the first."""
    found = read(tmp_path, "\n \n" + RSS + item(1) + END, "feed.xml")
    assert (found.lines, found.codes) == ([5], [])


def test_ampersands_and_entities_of_html(tmp_path: Path) -> None:
    """Read as they were meant, with a warning that names the line; CDATA is left alone."""
    more = "<g:link>https://x.example/?a=1&b=2</g:link><g:text>5&nbsp;&euro; &#11;</g:text>"
    cdata = "<d><![CDATA[x & y &nbsp;]]></d>"
    found = read(tmp_path, RSS + item(1) + item(2, more + cdata) + item(3) + END, "feed.xml")
    assert found.values("id") == ["1", "2", "3"]
    values = found.records[1].values
    assert values["link"] == "https://x.example/?a=1&b=2"
    assert (values["text"], values["d"]) == ("5\xa0€", "x & y &nbsp;")
    assert [(note.where, note.code) for note in found.lost.warnings] == [
        ("feed.xml:4", "unescaped")
    ]


@pytest.mark.parametrize(
    "broken",
    [
        item(2, "<g:brand>A<b></g:brand>"),
        item(2).replace("</item>", ""),
        item(2, "<a>" * 100 + "</a>" * 100),
        item(2, "<a " + "x" * 50 + ">"),
    ],
)
def test_a_broken_item_is_lost_alone(tmp_path: Path, broken: str) -> None:
    """Crossed tags, no end, too deep: its line and id are known, the next ones are read."""
    found = read(tmp_path, RSS + item(1) + broken + item(3) + item(4) + END, "feed.xml")
    assert (found.values("id"), found.lines) == (["1", "3", "4"], [3, 5, 6])
    assert [notice.where for notice in found.lost.skipped] == ["feed.xml:4"]
    assert (found.lost.ids, found.lost.unnamed) == (["2"], [])


def test_what_was_whole_before_the_cut_is_read(tmp_path: Path) -> None:
    """Within an item, or behind the last one."""
    text = RSS + "".join(map(item, range(3))) + END
    within = read(tmp_path, text[: -len(END) - 40], "feed.xml")
    assert within.values("id") == ["0", "1"]
    assert "cut off" in within.lost.skipped[0].reason
    behind = read(tmp_path, text[: -len(END)], "feed.xml")
    assert behind.values("id") == ["0", "1", "2"]
    assert behind.lost.unnamed == ["feed.xml"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<!DOCTYPE a [<!ENTITY x "y">]><a><item><b>&x;</b></item></a>', "DOCTYPE"),
        ('<!DOCTYPE a SYSTEM "http://x.example/a.dtd"><a><item><b>1</b></item></a>', "DOCTYPE"),
        ("<a>" * 2_000_000, "deeper than 64"),
        ("<a><b></a>", "not readable as XML"),
        ("<a><b>1</b></a>", "without a list"),
    ],
)
def test_xml_that_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """Document types before anything is expanded; 6 MB of nested tags at once."""
    (tmp_path / "feed.xml").write_text(text)
    begun = time.process_time()
    with pytest.raises(BadDataError, match=said):
        open_table(tmp_path / "feed.xml")
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "text", ["<item>" * 1_000_000, item(1) + "<item>" + "<g:id>" * 1_000_000, "<!-- " * 1_200_000]
)
def test_six_megabytes_of_tags_end_at_once(tmp_path: Path, text: str) -> None:
    """Items in one another, tags in an item, comments: a reason in seconds of one core."""
    (tmp_path / "feed.xml").write_text(RSS + text)
    begun = time.process_time()
    lost = LostLines()
    try:
        records = list(open_table(tmp_path / "feed.xml").records(lost))
    except BadDataError:
        records = []
    else:
        assert lost.skipped
    assert len(records) <= 1
    assert time.process_time() - begun < 10


def test_memory_does_not_grow_with_items(tmp_path: Path) -> None:
    """Nor with what stands between them."""
    path = tmp_path / "feed.xml"
    with path.open("w") as file:
        file.write(RSS)
        for number in range(4_000):
            file.write(item(number, "<g:description>" + "x" * 200 + "</g:description>"))
        file.write("<!-- x -->" * 100_000 + END)
    table = open_table(path)
    tracemalloc.start()
    try:
        count = sum(1 for _ in table.records(LostLines()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 4_000
    assert peak < 2_000_000


def test_open_sections_of_a_broken_item_are_passed_once(tmp_path: Path) -> None:
    """Each of them might reach to the item's end."""
    sections = "<![CDATA[" * 20_000
    text = f"<r><item><id>1</id></item><item><id>2</id>& {sections}</item></r>"
    path = tmp_path / "feed.xml"
    path.write_text(text)
    begun = time.process_time()
    list(open_table(path).records(LostLines()))
    assert time.process_time() - begun < 2


LONG = "u" * 100_000


@pytest.mark.parametrize(
    "declared",
    [f'xmlns:a="{LONG}"', f"xmlns = '{LONG}'", f'xmlns:{LONG}="u"', f'xmlns{" " * 600}="u"'],
)
def test_a_long_namespace_is_refused(tmp_path: Path, declared: str) -> None:
    """The parser writes it out for each name that has its prefix: a feed of 1.4 MB took 6 GB."""
    for text in (
        f"<r {declared}><item><id>1</id></item></r>",
        f"<r>{'<!-- -->' * 8_200}<item><id {declared}>1</id></item></r>",
    ):
        with pytest.raises(BadDataError, match=r"namespace \(xmlns\) of more than 512 bytes"):
            read(tmp_path, text, "feed.xml")


def test_words_about_namespaces_are_words(tmp_path: Path) -> None:
    """A description may show markup, escaped or not."""
    shown = f"&lt;svg xmlns=&quot;http://www.w3.org/2000/svg&quot;&gt; and {'words ' * 200}"
    plain = f'<![CDATA[<svg xmlns="http://www.w3.org/2000/svg"> xmlns {"words " * 200}]]>'
    text = f"<r><item><id>1</id><d>{shown}</d></item><item><id>2</id><d>{plain}</d></item></r>"
    assert read(tmp_path, text, "feed.xml").values("id") == ["1", "2"]


@pytest.mark.parametrize(
    "more",
    [
        f"<{LONG}>x</{LONG}>",
        f'<x {LONG}="1"/>',
        f'<x name="{LONG}"><y>1</y></x>',
        f'<x name="{LONG}">1</x>',
    ],
)
def test_an_item_with_a_long_name_is_lost_with_its_reason(tmp_path: Path, more: str) -> None:
    """Columns below an element have its name before their own: each would hold all of it."""
    found = read(tmp_path, RSS + item(1) + item(2, more) + item(3) + END, "feed.xml")
    assert found.values("id") == ["1", "3"]
    assert "a name of more than 1,000 characters" in found.lost.skipped[0].reason


def test_names_without_end_are_refused(tmp_path: Path) -> None:
    """The parser holds each until the feed's end."""
    items = (
        item(number, "".join(f"<n{number}_{at}/>" for at in range(2_000))) for number in range(40)
    )
    with pytest.raises(BadDataError, match="more than 50,000 names of elements"):
        read(tmp_path, RSS + "".join(items) + END, "feed.xml")


def test_what_stands_around_the_items_is_bounded(tmp_path: Path) -> None:
    """It is read again behind each broken item."""
    text = f'<r a="{LONG}"><item><id>1</id></item><item><id>2</id></item></r>'
    with pytest.raises(BadDataError, match="elements around its items, more than 65536"):
        read(tmp_path, text, "feed.xml")
