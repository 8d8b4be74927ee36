"""Text in cells: trimmed, lists taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.feeds.values.text_cells import split_list, trim


@pytest.mark.parametrize(
    ("text", "separator", "parts"),
    [
        ("summer, cotton, new-in", ",", ("summer", "cotton", "new-in")),
        ('a,"b, c" , d', ",", ("a", "b, c", "d")),
        ('"say ""hi"", now", b', ",", ('say "hi", now', "b")),
        ("a\\, b,c", ",", ("a, b", "c")),
        ('12" vinyl, 7" vinyl', ",", ('12" vinyl', '7" vinyl')),
        ('"open, b', ",", ('"open', "b")),
        ("a; b;;a", ";", ("a", "b")),
        ("a|b", ",", ("a|b",)),
        ("", ",", ()),
    ],
)
def test_lists_are_split(text: str, separator: str, parts: tuple[str, ...]) -> None:
    """Quoted and escaped separators part nothing; blanks and repeats are left out."""
    assert split_list(text, separator) == parts


def test_blanks_that_are_not_seen_go() -> None:
    """No-break, ideographic and zero-width blanks are trimmed like others."""
    assert trim("\ufeff\u3000 Kelp\u00a0Tee\u200b\n") == "Kelp\u00a0Tee"


@given(st.lists(st.text(alphabet='ab", \\', max_size=6), max_size=5))
def test_quoted_parts_come_back(parts: list[str]) -> None:
    """A list whose parts are quoted as in CSV is read as it was."""
    held = tuple(dict.fromkeys(filter(None, map(trim, parts))))
    quoted = ",".join('"' + part.replace('"', '""') + '"' for part in held)
    assert split_list(quoted) == held


def test_long_cells_are_quick() -> None:
    """A cell of quotes takes a time that grows with its length alone."""
    assert len(split_list('"a' * 100_000 + "," * 100_000)) == 1
    assert split_list(',"' * 50_000) == (",",)
    assert split_list('"a,' * 50_000) == ('"a',)
