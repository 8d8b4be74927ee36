"""Attribute types: what is inferred, what fits, what text means."""

from __future__ import annotations

import time
from datetime import date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.catalog.attributes import (
    AttributeType,
    check,
    checked_types,
    datetime_seconds,
    datetime_text,
    describes_look,
    infer,
    is_code_name,
    is_missing,
    is_odd,
    read,
)
from indexer.core.errors import BadDataError
from tests.indexer.core.test_nesting import nested


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "-2.5", "1e3", ""], "number"),
        (["1", "nan"], "number"),
        (["nan", "nan"], "string"),
        (["true", "FALSE"], "bool"),
        (["0", "1"], "number"),
        (["007", "12"], "string"),
        (["123456789012345678901234"], "string"),
        (["NA", "3"], "string"),
        (["1_000"], "string"),
        (["2024-01-31", "2024-01-31T10:00:00Z"], "datetime"),
        (["2024-02-31"], "string"),
        (["20240131"], "string"),
        (["4006381333931", "5901234123457"], "string"),
        (["4006381333931", "17"], "number"),
        (["1234567", "7654321"], "number"),
        (["12E4", "75E2"], "string"),
        (["1e-05", "1.5e+07"], "number"),
        (["S|M", "L"], "list"),
        (["fits S | M", "L|XL"], "string"),
        (["", "  "], None),
    ],
)
def test_types_are_inferred_from_text(cells: list[str], expected: str | None) -> None:
    """A column has the narrowest type all its cells share; codes stay text: leading zeros, "12E4",
    eight or more digits of one length."""
    assert infer(cells, text=True) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5, None], "number"),
        ([True, False], "bool"),
        ([True, 1], "string"),
        (["1", "2"], "string"),
        ([["a"], "b"], "list"),
        ([float("nan")], None),
        ([[]], None),
        ([date(2024, 1, 31), datetime(2024, 1, 31, 10)], "datetime"),
        (["2024-01-31"], "datetime"),
        ([Decimal("1.5")], "number"),
        ([1, "a"], "string"),
        ([2**63], "string"),
        ([1, 2**63], "string"),
        ([Decimal(2**63)], "string"),
        ([1.5, float("inf")], "number"),
        ([{"a": 1}, True], "bool"),
        ([{"a": 1}, float("inf"), [["nested"]]], None),
        ([["a"], [["nested"]]], "list"),
    ],
)
def test_types_are_inferred_from_values(values: list[object], expected: str | None) -> None:
    """Typed sources keep their types: digits in quotes are no number. What no type can hold does
    not count."""
    assert infer(values, text=False) == expected


@given(
    st.lists(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**70), 2**70)
            | st.floats()
            | st.dates()
            | st.text("ab|1", max_size=3)
            | st.decimals(allow_nan=False, allow_infinity=False, places=2),
            lambda inner: (
                st.lists(inner, max_size=2) | st.dictionaries(st.just("a"), inner, max_size=1)
            ),
            max_leaves=3,
        ),
        max_size=4,
    )
)
def test_every_value_fits_the_inferred_type_or_none(values: list[object]) -> None:
    """Inference never picks a type that one of the values does not have, unless no type has it."""
    wanted = infer(values, text=False)
    for value in values:
        if is_missing(value):
            continue
        if is_odd(value):
            for any_type in ("number", "bool", "datetime", "list"):
                with pytest.raises(ValueError, match="expected"):
                    read(value, any_type)  # type: ignore[arg-type]
        else:
            assert wanted is not None
            found = read(value, wanted)
            assert found is None or check(found, wanted) == found


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        ("007", "number", 7),
        (" 1.50 ", "number", 1.5),
        ("nan", "number", None),
        ("True", "bool", True),
        ("a| |b", "list", ["a", "b"]),
        ("a", "list", ["a"]),
        (12, "string", "12"),
        (True, "string", "true"),
        ("NA", "string", "NA"),
        ("  ", "string", None),
        (Decimal("2"), "number", 2),
        (date(2024, 1, 31), "datetime", "2024-01-31"),
        (2**63, "string", "9223372036854775808"),
        ([Decimal("2"), Decimal("1.5"), date(2024, 1, 31), None], "list", [2, 1.5, "2024-01-31"]),
        ([2**63, 1], "list", ["9223372036854775808", 1]),
    ],
)
def test_a_feed_value_is_read_as_its_type(
    value: object, wanted: AttributeType, expected: object
) -> None:
    """Text is parsed, anything simple may become text, blanks are missing."""
    found = read(value, wanted)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("abc", "number"),
        ("inf", "number"),
        (True, "number"),
        ("yes", "bool"),
        ("31.01.2024", "datetime"),
        ({"a": 1}, "string"),
        ([["nested"]], "list"),
        ("\ud800", "string"),
        (10**30, "number"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(value: object, wanted: AttributeType) -> None:
    """The reason is one line of plain text."""
    with pytest.raises(ValueError, match=r"expected|Unicode") as caught:
        read(value, wanted)
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    ("value", "wanted"), [("1", "number"), ("true", "bool"), (1, "string"), ("a", "list")]
)
def test_checking_converts_nothing(value: object, wanted: AttributeType) -> None:
    """Over HTTP a number in quotes is not a number."""
    with pytest.raises(ValueError, match=f"expected {wanted}"):
        check(value, wanted)


def test_datetimes_order_across_forms() -> None:
    """Dates, times and zones compare as moments; no zone means UTC."""
    assert datetime_seconds("1970-01-02") == 86400.0
    assert datetime_seconds("1970-01-01T01:00:00+01:00") == 0.0
    assert datetime_seconds("1970-01-01T00:00:01") == 1.0


def test_unknown_type_names_column_and_type() -> None:
    """A misspelled type is told with its column and the choice."""
    with pytest.raises(BadDataError, match=r"column 'year': unknown type 'integer' .*number"):
        checked_types({"year": "integer"})
    with pytest.raises(BadDataError, match="'title'"):
        checked_types({"title": "string"})


@given(
    st.lists(
        st.one_of(st.text(max_size=8), st.from_regex(r"-?\d{1,4}(\.\d{1,3})?", fullmatch=True)),
        max_size=6,
    )
)
def test_every_cell_fits_the_inferred_type(cells: list[str]) -> None:
    """Inference never picks a type that one of the cells does not have."""
    cells = [cell for cell in cells if not any("\ud800" <= char <= "\udfff" for char in cell)]
    wanted = infer(cells, text=True)
    for cell in cells if wanted else []:
        value = read(cell, wanted)
        assert (value is None) == (
            not cell.strip() or (wanted == "number" and cell.strip().lower() == "nan")
        )


@pytest.mark.parametrize(
    "name",
    ["gtin", "EAN-13", "upc", "isbn", "barcode", "vendor_sku", "MPN", "asin", "zip", "hsCode"],
)
def test_codes_are_known_by_their_name(name: str) -> None:
    """Alone, as a part, in whatever way the words are joined."""
    assert is_code_name(name)


@pytest.mark.parametrize("name", ["size", "price", "material", "width", "zipper", "stock", "video"])
def test_what_is_measured_is_no_code(name: str) -> None:
    """A word that only begins like one is none."""
    assert not is_code_name(name)


@pytest.mark.parametrize("beyond", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00"])
def test_what_cannot_be_told_again_is_no_datetime(beyond: str) -> None:
    """In UTC it is a moment of the year 0 or 10000; one that an older release stored is told as the
    nearest."""
    with pytest.raises(ValueError, match="years 1 to 9999"):
        datetime_seconds(beyond)
    with pytest.raises(ValueError, match="expected datetime"):
        check(beyond, "datetime")
    for edge in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        assert datetime_text(datetime_seconds(edge)).startswith(edge[:19])
    assert datetime_text(datetime_seconds("0001-01-01") - 50_400).startswith("0001-01-01")


def test_digits_that_are_no_number_take_time_as_their_length() -> None:
    """A value has a hundred thousand characters at most, and is read while a write waits."""
    begun = time.process_time()
    assert infer(["1" * 100_000 + "x"], text=True) == "string"
    assert time.process_time() - begun < 1
    assert infer(["1.", ".5", "-1.25e+3", "7"], text=True) == "number"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("colour", True),
        ("base_color", True),
        ("mainColour", True),
        ("Hauptfarbe", True),
        ("主颜色", True),
        ("print pattern", True),
        ("material", False),
        ("decor", False),
        ("", False),
    ],
)
def test_columns_of_colour_and_pattern_are_known_by_their_names(name: str, said: bool) -> None:
    """What things of any kind have: it may be said of a photo whose kind is not known."""
    assert describes_look(name) is said


@pytest.mark.parametrize("levels", [65, 500, 5000])
def test_a_value_that_is_nested_deep_is_refused_like_any_other(levels: int) -> None:
    """It is odd for a feed, and no type takes it, however deep it is."""
    value = [nested(levels)]
    assert is_odd(value)
    assert infer([value, 3], text=False) == "number"
    for wanted in ("string", "list", "number"):
        for take in (read, check):
            with pytest.raises(ValueError, match="nested deeper than 64 levels"):
                take(value, wanted)
