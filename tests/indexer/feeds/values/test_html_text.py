"""HTML to text: what stays, what goes, and that no document takes long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.feeds.values.html_text import to_text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("plain", "plain"),
        (" two\r\nlines \n", "two\nlines"),
        ("<p>Soft, heavy cotton.<br>\nWash cold.</p>", "Soft, heavy cotton.\nWash cold."),
        ("<ul>\n <li>a</li>\n <li>b &amp; c</li>\n</ul>", "a\nb & c"),
        ("red<b> and </b>blue", "red and blue"),
        ("a<script>if (a<b) x('</p>')</script>b<STYLE>p{}</STYLE >c", "abc"),
        ("<a title='1 > 0' href=\"x>y\">go</a>", "go"),
        ("<!-- <p> -->a<!DOCTYPE html>b<?xml ?>c", "abc"),
        ("<![CDATA[5 < 6]]>", "5 < 6"),
        ("1 < 2 and 3 > 2 <3", "1 < 2 and 3 > 2 <3"),
        ("&lt;p&gt;Soft&lt;/p&gt;&lt;p&gt;warm&lt;/p&gt;", "Soft\nwarm"),
        ("<p>write &lt;b&gt;</p>", "write <b>"),
        ("<td>1</td><td>2</td>", "1 2"),
        ("a\u00a0\u200bb\x00c", "a bc"),
        ("&#" + "9" * 5000 + ";x", "\ufffdx"),
        ('<p title="open>text</p>', "text"),
        ("a<br/>b<BR />c", "a\nb\nc"),
        ("<script>never closed", ""),
        ("end <b", "end <b"),
    ],
)
def test_markup_becomes_the_text_of_a_page(markup: str, text: str) -> None:
    """Blocks begin lines, entities are signs, scripts and comments are gone."""
    assert to_text(markup) == text


HOSTILE = {
    "nested": "<div>" * 1_200_000,
    "never ended": "<a" * 3_000_000,
    "open quotes": '<a b="' * 1_000_000 + ">",
    "odd quotes": "<a b='>" * 850_000,
    "quotes across": '<a x" c=">' * 600_000,
    "comments": "<!--" * 1_500_000 + ">",
    "sections": "<![CDATA[" * 650_000 + ">",
    "scripts": "<script></" * 600_000 + ">",
    "digits": "&#" + "9" * 6_000_000,
    "signs": "&" * 6_000_000,
    "blanks": "<a =" + " " * 6_000_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_six_megabytes_of_tags_are_quick(kind: str) -> None:
    """Time grows with the length alone, and no depth ends the run."""
    markup = HOSTILE[kind][:600_000]
    started = time.process_time()
    to_text(markup)
    assert time.process_time() - started < 2


@given(st.text(alphabet="<>/!-[]&;#xp='\" \n\0abr", max_size=60))
def test_any_text_is_taken(markup: str) -> None:
    """Nothing raises, and what comes out has no blanks at its ends and no signs that are not
    seen."""
    text = to_text(markup)
    assert text == text.strip()
    assert "\0" not in text
