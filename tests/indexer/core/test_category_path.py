"""Tests of ``indexer.core.category_path``."""

from __future__ import annotations

import ast
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from indexer.core.category_path import SEPARATOR, format_path, parse_path, prefixes

ROOT = Path(__file__).parents[3]
LEVELS = st.lists(st.text().filter(lambda text: SEPARATOR not in f"{text}x{text}"), min_size=1)


@given(LEVELS.filter(lambda levels: format_path(levels).count(SEPARATOR) == len(levels) - 1))
def test_a_path_comes_back_from_its_text(levels: list[str]) -> None:
    """Whatever the levels hold, spaces included, as long as none holds the separator."""
    assert parse_path(format_path(levels)) == tuple(levels)


def test_prefixes_end_with_the_path_itself() -> None:
    """The top level first; a path without levels has none."""
    assert prefixes(("A", "B > C")) == ("A", "A > B > C")
    assert prefixes(()) == ()


def test_the_separator_is_written_once() -> None:
    """No other module of the three packages spells it."""
    spelled = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("indexer", "service", "tools")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "category_path.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value == SEPARATOR
    ]
    assert spelled == []
