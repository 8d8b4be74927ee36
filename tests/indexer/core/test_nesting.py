"""Levels of what others send are counted without recursion, and told by their place."""

from __future__ import annotations

from typing import Any

from indexer.core.nesting import MOST_DEPTH, find_deeper, is_deeper


def nested(levels: int, inside: Any = 1) -> Any:
    """``levels`` lists and objects in one another, in turns."""
    for level in range(levels):
        inside = [inside] if level % 2 else {"in": inside}
    return inside


def test_the_bound_is_exact_at_any_depth() -> None:
    """Also far beyond what Python can recurse into."""
    assert not is_deeper("text")
    assert not is_deeper({"a": [], "b": nested(MOST_DEPTH - 1)})
    assert is_deeper({"a": [], "b": nested(MOST_DEPTH)})
    assert is_deeper(nested(100_000))
    assert not is_deeper(nested(3), 3)
    assert is_deeper(nested(4), 3)


def test_the_place_is_told_by_its_first_names() -> None:
    """Of many values the one that is too deep."""
    document = {"title": "t", "attributes": {"sizes": ["S"], "a": ["x", nested(500)]}}
    assert find_deeper(document) == "attributes.a.1.0"
    assert find_deeper({"attributes": {"a": nested(MOST_DEPTH - 2)}}) is None
