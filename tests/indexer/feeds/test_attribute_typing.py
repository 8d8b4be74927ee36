"""Attributes get the type that holds all their values."""

from __future__ import annotations

from indexer.feeds.attribute_typing import AttributeTyping


def test_lists_among_cells_of_text() -> None:
    """A profile may split a cell: its parts are a list, not the text of one."""
    typing = AttributeTyping(fixed={}, stored={}, given={}, text=True)
    typing.see({"material": ["Cotton", "Wool"], "size": "38"}, "feed.csv:2")
    typing.see({"material": "Silk", "size": "40"}, "feed.csv:3")
    typing.settle()
    assert typing.types == {"material": "list", "size": "number"}
    held, odd = typing.fit({"material": ["Cotton", "Wool"]}, "feed.csv:2")
    assert (held, odd) == ({"material": ["Cotton", "Wool"]}, [])
    assert typing.fit({"material": "Silk"}, "feed.csv:3") == ({"material": ["Silk"]}, [])
