"""Types fit all values seen; an odd value costs itself, and a column that needs it becomes text."""

from __future__ import annotations

from typing import Any

import pytest

from indexer.catalog.attributes import AttributeType
from indexer.feeds.attribute_typing import AttributeTyping


def settle(
    *values: Any, text: bool = True, stored: AttributeType | None = None
) -> tuple[AttributeTyping, list[str]]:
    typing = AttributeTyping(fixed={}, stored={"x": stored} if stored else {}, given={}, text=text)
    for number, value in enumerate(values):
        typing.see({"x": value}, f"feed.csv:{number}")
    return typing, [note.code for note in typing.settle()]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["1", "2.5", "nan"], "number"),
        (["true", "False"], "bool"),
        (["true", "1"], "string"),
        (["2024-01-31", "2024-02-01T10:00:00Z"], "datetime"),
        (["2024-01-31", "soon"], "string"),
        (["a|b", "c"], "list"),
        (["38", "38|39"], "list"),
        (["a | b", "a|b"], "string"),
        (["042", "38"], "string"),
        (["nan"], "string"),
    ],
)
def test_a_text_column_has_the_narrowest_type(values: list[str], found: str) -> None:
    """Whatever the order of its cells."""
    for cells in (values, values[::-1]):
        assert settle(*cells)[0].types == {"x": found}


def test_values_that_are_no_text_keep_their_kind() -> None:
    """Numbers stay numbers, one list makes a list, too long numbers make text."""
    assert settle(1, 2.5, text=False)[0].types == {"x": "number"}
    assert settle("a", ["b"], text=False)[0].types == {"x": "list"}
    assert settle(1, 2**63, text=False)[0].types == {"x": "string"}
    typing, codes = settle({"a": 1}, [[1]], text=False)
    assert (typing.types, codes) == ({}, ["odd-column"])


def test_one_odd_value_costs_itself() -> None:
    """The stored type stays, the value is left out with its place."""
    typing, codes = settle("7", "soon", stored="number")
    assert (typing.types["x"], codes) == ("number", [])
    values, odd = typing.fit({"x": "soon"}, "feed.csv:3")
    assert values == {}
    assert (odd[0].where, odd[0].column, odd[0].value) == ("feed.csv:3", "x", "soon")
    assert odd[0].reason == (
        "column 'x': expected number, got 'soon' (the type is stored in the catalog); the value is "
        "left out"
    )


def test_a_column_whose_new_values_are_text_becomes_text() -> None:
    """Sizes that were numbers and are letters now."""
    typing, codes = settle("M", "XL", "38", stored="number")
    assert (typing.types["x"], codes, typing.widened) == (
        "string",
        ["widened-column"],
        {"x": "number"},
    )
    assert typing.fit({"x": "38"}, "w")[0] == {"x": "38"}
    assert settle(*["38"] * 98, "M", "L", stored="number")[0].types == {"x": "number"}


def test_a_leading_zero_is_never_lost() -> None:
    """One code is enough: a number would lose what it begins with."""
    typing, _ = settle("38", "042", stored="number")
    assert typing.fit({"x": "042"}, "w")[0] == {"x": "042"}


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


def test_a_widening_names_the_first_value_that_does_not_fit() -> None:
    """Its line and what stands there, not that of the first good one."""
    typing = AttributeTyping(fixed={}, stored={"size": "number"}, given={}, text=True)
    for line, value in enumerate(["38", "042"], 2):
        typing.see({"size": value}, f"feed.csv:{line}")
    (said,) = typing.settle()
    assert (said.where, said.column, said.value) == ("feed.csv:3", "size", "042")
