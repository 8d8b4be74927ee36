"""Money in cells: what is read, what is refused, and what a column decides."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.feeds.values.currencies import CODES
from indexer.feeds.values.money import MoneyColumn, parse


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("19.00 EUR", 19.0, "EUR"),
        ("19,90 €", 19.9, "EUR"),
        ("1.299,00", 1299.0, None),
        ("1,299.00", 1299.0, None),
        ("USD 12.5", 12.5, "USD"),
        ("$12.50", 12.5, "USD"),
        ("CHF 1'299.-", 1299.0, "CHF"),
        ("€ 1.299,-", 1299.0, "EUR"),
        ("1 299,00 zł", 1299.0, "PLN"),
        ("1\u202f299,00\u00a0€", 1299.0, "EUR"),
        ("¥1280", 1280.0, "JPY"),
        ("￥１２８０", 1280.0, "JPY"),
        ("EUR19", 19.0, "EUR"),
        ("12.50", 12.5, None),
        ("1,29,999.00", 129999.0, None),
        ("0.500", 0.5, None),
        ("12.5000", 12.5, None),
        ("1.234 KWD", 1.234, "KWD"),
        ("R$ 1.299,90", 1299.9, "BRL"),
        (" 7 ", 7.0, None),
        ("$5.00 CAD", 5.0, "CAD"),
        ("€19.90 EUR", 19.9, "EUR"),
        ("19,90&nbsp;&euro;", 19.9, "EUR"),
        ("19,90 € TTC", 19.9, "EUR"),
        ("19,90 EUR (inkl. MwSt.)", 19.9, "EUR"),
        ("12,50 €*", 12.5, "EUR"),
        (19.9, 19.9, None),
        (0, 0.0, None),
    ],
)
def test_amount_and_currency_are_read(text: object, amount: float, currency: str | None) -> None:
    """Marks, groups, signs and codes as shops of many countries write them."""
    money = parse(text)
    assert (money.amount, money.currency, money.note) == (amount, currency, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-5.00", "below zero"),
        ("−5.00 €", "below zero"),
        ("5.00-", "below zero"),
        (-5, "below zero"),
        ("(5.00)", "brackets"),
        ("19-29 EUR", "several amounts"),
        ("19 – 29", "several amounts"),
        ("from 19", "lowest or highest"),
        ("ab 19 €", "lowest or highest"),
        ("à partir de 19 €", "lowest or highest"),
        ("19元起", "lowest or highest"),
        ("20 %", "percentage"),
        ("19.00 EUR / kg", "more than an amount"),
        ("$5.00 EUR", "more than an amount"),
        ("5.00 USD EUR", "more than an amount"),
        ("on request", "no amount"),
        ("1.2.3", "not one amount"),
        ("4.00638E+12", "exponent"),
        ("", "blank"),
        (True, "expected a price"),
        (math.nan, "finite"),
        ("9" * 40, "too large"),
        ("9" * 10_000_000, "too long"),
        (10**400, "not a finite amount"),
    ],
)
def test_what_is_no_price_is_refused_with_a_reason(text: object, reason: str) -> None:
    """A range, a lowest price or text never becomes a number that a filter would believe."""
    with pytest.raises(ValueError, match=reason):
        parse(text)


def test_a_currency_nobody_knows_costs_only_itself() -> None:
    """The amount is kept, and the note names what was written."""
    money = parse("19.00 XQZ", "EUR")
    assert (money.amount, money.currency) == (19.0, None)
    assert money.note is not None
    assert "'XQZ'" in money.note


@pytest.mark.parametrize(
    ("text", "own", "currency"),
    [
        ("12.50", "PLN", "PLN"),
        ("$12.50", "CAD", "CAD"),
        ("$12.50", "EUR", "USD"),
        ("¥80", "CNY", "CNY"),
        ("120 kr", "SEK", "SEK"),
        ("120 kr", None, None),
        ("12 EUR", "PLN", "EUR"),
    ],
)
def test_the_shops_currency_settles_signs_with_several_meanings(
    text: str, own: str | None, currency: str | None
) -> None:
    """``$``, ``¥`` and ``kr`` are the shop's own where that is one of them; a code says itself."""
    assert parse(text, own).currency == currency


@pytest.mark.parametrize(
    ("values", "text", "amount", "said"),
    [
        (["12,90", "89,00", "1.299"], "1.299", 1299.0, "comma is the decimal mark, as in '12,90'"),
        (["12.90", "1.299"], "1.299", 1.299, "point is the decimal mark, as in '12.90'"),
        (["12.90", "1,299"], "1,299", 1299.0, "point is the decimal mark"),
        (["1.299", "899", "2.499"], "2.499", 2499.0, "thousands"),
        (["0.950", "1.299"], "1.299", 1.299, "point is the decimal mark, as in '0.950'"),
        (["1.299.000", "1.299"], "1.299", 1299.0, "comma is the decimal mark"),
        (["12,90"] * 99 + ["12.90", "1.299"], "1.299", 1299.0, "comma is the decimal mark"),
    ],
)
def test_a_column_decides_what_a_cell_leaves_open(
    values: list[str], text: str, amount: float, said: str
) -> None:
    """``1.299`` is what the other values of its column make it, and the decision is said."""
    column = MoneyColumn("EUR")
    for value in values:
        column.see(value)
    money = column.parse(text)
    assert (money.amount, money.currency) == (amount, "EUR")
    assert column.decided is not None
    assert said in column.decided


def test_yuan_are_told_from_yen_by_their_hundredths() -> None:
    """``¥`` is the yuan where a value of the column has hundredths, which yen have not."""
    column = MoneyColumn()
    for value in ("¥128.00", "¥1280"):
        column.see(value)
    assert [column.parse(value).currency for value in ("¥128.00", "¥1280")] == ["CNY", "CNY"]
    assert (parse("¥128.00").currency, parse("¥128.00", "JPY").currency) == ("CNY", "JPY")


def test_a_column_without_doubt_decides_nothing() -> None:
    """Nothing is said where every value has one reading; odd cells do not count."""
    column = MoneyColumn()
    for value in ("12.90", "on request", None, 7, "19-29"):
        column.see(value)
    assert (column.mark, column.decided) == (".", None)


@given(
    cents=st.integers(0, 10**11),
    code=st.sampled_from(sorted(CODES - {"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})),
    group=st.sampled_from(["", ",", ".", " ", "'", "\u202f"]),
    in_front=st.booleans(),
)
def test_every_amount_is_read_as_it_was_written(
    cents: int, code: str, group: str, in_front: bool
) -> None:
    """An amount with two decimals comes back to the cent, however its thousands are parted."""
    mark = "," if group == "." else "."
    number = f"{cents // 100:,}".replace(",", group) + mark + f"{cents % 100:02d}"
    money = parse(f"{code} {number}" if in_front else f"{number} {code}")
    assert (round(money.amount * 100), money.currency) == (cents, code)


@given(st.text(max_size=40))
def test_any_text_is_a_price_or_refused(text: str) -> None:
    """Nothing but ``ValueError`` comes out, and no amount that is below zero."""
    column = MoneyColumn()
    column.see(text)
    with contextlib.suppress(ValueError):
        assert parse(text).amount >= 0
