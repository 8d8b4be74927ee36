"""Words: the same rule for what is stored and what is asked, and a glossary that a
shop can edit."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.core.errors import BadDataError
from indexer.core.home import Home
from indexer.text.glossary import Glossary, open_glossary, set_glossary, shipped
from indexer.text.tokenizer import features, tokens, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Été T-Shirts", ["ete", "t", "shirt"]),
        ("Dresses, watches & scarves", ["dress", "watch", "scarve"]),
        ("dress bus 3XL 501s", ["dress", "bus", "3xl", "501s"]),
        ("<b>red</b> \"OR\" NEAR(x)*", ["b", "red", "b", "or", "near", "x"]),
        ("红色连衣裙 dress", ["红色连衣裙", "dress"]),
        ("红dress裙", ["红", "dress", "裙"]),
        ("🎉 _ --", []),
        ("", []),
    ],
)  # fmt: skip
def test_words_are_folded_and_nothing_else_is_one(text: str, expected: list[str]) -> None:
    """Case, accents and plurals are folded; markup, quotes and emojis only separate."""
    assert words(text) == expected


def test_chinese_is_looked_for_as_pairs_and_stored_with_single_characters() -> None:
    """A two-character word is one token; a lone character is found inside longer words because it
    is stored too."""
    assert tokens("连衣裙") == ["连衣", "衣裙"]
    assert tokens("裙") == ["裙"]
    assert tokens("连衣裙", stored=True) == ["连衣", "衣裙", "连", "衣", "裙"]
    assert features(["red", "dress"]) == ["red", "dress", "red dress"]


def test_the_longest_term_is_translated_first() -> None:
    """ "藏青色" is navy blue, not what "藏青" says; a term that ends in letters is no
    part of a longer word."""
    glossary = Glossary(
        {"藏青": "teal", "藏青色": "navy blue", "T恤": "tshirts", "pull": "sweaters"}
    )
    assert words(glossary.translate("藏青色t恤 Pullover")) == ["navy", "blue", "tshirt", "pullover"]


def test_a_home_adds_replaces_and_removes_terms(tmp_path: Path) -> None:
    """The file's rows come before the shipped ones; a term without words is taken out; the rest
    stays."""
    home = Home.create(tmp_path / "home")
    assert open_glossary(home).entries == {
        term.casefold(): meaning for term, meaning in shipped().items()
    }
    file = tmp_path / "own.csv"
    file.write_text("term,words\n红色,scarlet\n黑色,\n旗袍,cheongsam\n", encoding="utf-8")
    assert set_glossary(home, file) == 3
    assert words(open_glossary(home).translate("红色旗袍 黑色 白色")) == [
        "scarlet",
        "cheongsam",
        "黑色",
        "white",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a,b\n", "the first line must be term,words"),
        (b"term,words\nx\n", "line 2"),
        (b"term,words\n,red\n", "line 2"),
        (b"term,words\nx," + b"y" * 201 + b"\n", "line 2"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_bad_glossary_is_refused_and_changes_nothing(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    home = Home.create(tmp_path / "home")
    file = tmp_path / "own.csv"
    file.write_bytes(content)
    with pytest.raises(BadDataError, match=reason):
        set_glossary(home, file)
    assert not (home.path / "glossary.csv").exists()
