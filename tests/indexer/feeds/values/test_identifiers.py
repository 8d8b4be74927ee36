"""Identifiers: as written, without a spreadsheet's signs, and damage named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.feeds.values.identifiers import check_gtin, clean, is_code_name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("12E4", "12E4"),
        ("1.10", "1.10"),
        ("042", "042"),
        ("0123456789012", "0123456789012"),
        ("shopify_DE_123_456", "shopify_DE_123_456"),
        ("'00123", "00123"),
        ('="0123"', "0123"),
        ('=T("0123")', "0123"),
        ("'80s' tee", "'80s' tee"),
        ("\u00a0A 1\u200b", "A 1"),
        (4006381333931, "4006381333931"),
        (4006381333931.0, "4006381333931"),
        (1.5, "1.5"),
    ],
)
def test_ids_stay_as_written(value: object, text: str) -> None:
    """Digits, zeros and letters are what they were; only blanks and a spreadsheet's signs go."""
    found = clean(value)
    assert found is not None
    assert (found.text, found.warning) == (text, None)


@pytest.mark.parametrize(
    ("value", "text", "said"),
    [
        ("4006381333931.0", "4006381333931", "zeros in front of it are lost"),
        ("4006381333931,00", "4006381333931", "zeros in front of it are lost"),
        ("4.00638E+12", "4.00638E+12", "its digits are lost"),
        ("4,00638E+12", "4,00638E+12", "its digits are lost"),
        (1e17, "100000000000000000", "last digits are lost"),
    ],
)
def test_damage_is_named(value: object, text: str, said: str) -> None:
    """What a spreadsheet did to an id is undone where it can be, and said either way."""
    found = clean(value)
    assert found is not None
    assert found.text == text
    assert said in (found.warning or "")


@pytest.mark.parametrize("value", [None, "", " \u00a0", "'", '=""', float("nan")])
def test_blank_cells_hold_no_id(value: object) -> None:
    """Nothing is no id."""
    assert clean(value) is None


@pytest.mark.parametrize("value", [True, ["a"], {}, float("inf")])
def test_other_values_are_no_ids(value: object) -> None:
    """A list or a bool is refused, in words."""
    with pytest.raises(ValueError, match="expected an id"):
        clean(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4006381333931", None),
        ("96385074", None),
        ("036000291452", None),
        ("0012345678905", None),
        ("978-3-16-148410-0", None),
        ("4006381333932", "check digit"),
        ("12345678905", "'012345678905'"),
        ("123", "3 digits"),
        ("4.00638E+12", "other signs"),
        ("00000000", "check digit"),
    ],
)
def test_a_gtin_is_checked(text: str, said: str | None) -> None:
    """The check digit decides; zeros that a spreadsheet took are guessed and said."""
    found = check_gtin(text)
    assert found is None if said is None else said in (found or "")


@given(st.integers(1, 10**12 - 1), st.integers(1, 9))
def test_every_wrong_digit_of_a_gtin_is_found(number: int, by: int) -> None:
    """One of the ten check digits fits, and no other."""
    fits = [digit for digit in range(10) if check_gtin(f"{number:012d}{digit}") is None]
    assert len(fits) == 1
    assert check_gtin(f"{number:012d}{(fits[0] + by) % 10}") is not None


@pytest.mark.parametrize(
    ("column", "text", "json"),
    [
        ("gtin", True, True),
        ("EAN-13", True, True),
        ("hs_code", True, True),
        ("ZIP", True, True),
        ("firmware", True, False),
        ("Part Number", True, False),
        ("color_id", True, False),
        ("price", False, False),
        ("width", False, False),
        ("number", False, False),
        ("idea", False, False),
    ],
)
def test_names_of_codes(column: str, text: bool, json: bool) -> None:
    """A name that calls its values ids keeps them as text; numbers of JSON only where it is sure
    of it."""
    assert is_code_name(column) is text
    assert is_code_name(column, text=False) is json
