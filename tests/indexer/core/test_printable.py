"""Text for terminals: nothing in it is obeyed, everything else stays as it is."""

from __future__ import annotations

import json

import pytest

from indexer.core.printable import plain_json, plain_line, plain_text

OBEYED = ["\x1b[2J", "\x9b31m", "\x07", "\x7f", "\r", "\u202e", "\u2066", "\u200f", "\x00", "\x08"]
# Of a path that is no UTF-8; of JSON that somebody wrote.
OBEYED += ["\udce9", "\ud83d"]


@pytest.mark.parametrize("sign", OBEYED)
def test_what_a_terminal_obeys_is_escaped(sign: str) -> None:
    """In lines, texts and JSON; which still means the same."""
    title = f"red {sign} shirt"
    for shown in (plain_text(title), plain_line(title)):
        assert sign not in shown
        assert shown.startswith("red \\")
        assert shown.isprintable()
    document = plain_json(json.dumps({"title": title}, ensure_ascii=False))
    assert document.isprintable()
    assert json.loads(document) == {"title": title}


def test_words_stay_as_they_are() -> None:
    """Of any language; line ends part lines of a text, and none of a cell."""
    words = "Zoë 红色 \U0001f457 קלאש"
    assert plain_text(words) == plain_line(words) == plain_json(words) == words
    assert plain_text("a\n\tb") == "a\n\tb"
    assert plain_line("a\n\tb") == "a\\n\\tb"
