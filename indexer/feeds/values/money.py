"""Money in cells: amount and currency, however a shop writes them."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from indexer.core.doubles import as_double
from indexer.core.lru import cache_texts
from indexer.core.unicode_form import normalize
from indexer.feeds.values import currencies
from indexer.feeds.values.html_text import unescape

DecimalMark = Literal[".", ","]
# No price is longer; it also bounds what the expressions below are tried on.
_LONGEST = 64
_NUMBER = re.compile(r"\d[\d.,' ’`]*(?<![ ])", re.ASCII)
# "19.-", "19,--", "19,–"
_NO_CENTS = re.compile(r"(?<=\d)([.,])\s*[-–—]{1,2}\s*(?!\d)")
_EXPONENT = re.compile(r"\d\s*[eE][+-]?\d", re.ASCII)
_GROUPS = re.compile(r"\d{1,3}(?:[ '’`]\d{3})+", re.ASCII)
_FROM = re.compile(
    r"\b(?:from|ab|von|à partir d[eu']|a partir d[ei]|dès|desde|da|vanaf|od|starting at)(?=\W|\d)"
    r"|起|^[<>≥≤~≈]",
    re.IGNORECASE,
)
# Said of a price that changes nothing about it.
_TAX = re.compile(
    r"[\s(,]*\b(?:ttc|incl?\.?\s*(?:vat|tax|gst)|inkl\.?\s*(?:mwst|ust)\.?|brutto|"
    r"iva\s+(?:incl(?:usa|uido|\.)?|inclus[ao]))[\s)]*$|\*$",
    re.IGNORECASE,
)
_YEN_OR_YUAN = ("¥", "￥")
_HUNDREDTHS = re.compile(r"[.,]\d\d$", re.ASCII)
# Three letters in front or behind, as codes are.
_CODE = re.compile(r"[A-Za-z]{3}", re.ASCII)


@dataclass(frozen=True)
class Money:
    """An amount, in a currency (ISO 4217) where one is written or the shop's is known."""

    amount: float
    currency: str | None
    # A currency as written that nobody knows: ``currency`` is None then.
    unknown_currency: str | None = None

    @property
    def note(self) -> str | None:
        """What a reader of the feed should know of this cell, in words."""
        if self.unknown_currency is not None:
            return (
                f"the currency {self.unknown_currency!r} is not known; the amount is kept without "
                "a currency"
            )
        return None


@dataclass(frozen=True)
class _Amount:
    amount: float
    ambiguous: bool = False
    # Which mark parts the decimals, as far as this number tells.
    mark: DecimalMark | None = None


def parse(
    value: object, default_currency: str | None = None, *, mark: DecimalMark | None = None
) -> Money:
    """The money that a present cell holds. Raises ``ValueError`` with the reason where it is none.

    ``default_currency``: of an amount that names none. ``mark``: the decimal mark of the column,
    for numbers that can be read in two ways; without it three digits behind a single mark are
    thousands. Below zero, ranges and lowest prices ("from 19") are no price.

    >>> parse("1.299,00 €"), parse("$12.50").currency, parse("12.5", "PLN").currency
    (Money(amount=1299.0, currency='EUR', unknown_currency=None), 'USD', 'PLN')
    """
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return Money(_checked(as_double(value), value), default_currency)
    if not isinstance(value, str):
        raise ValueError(f"expected a price, got {_shown(value)}")
    return _parsed(value, default_currency, mark)


# Few prices stand for many products, and a feed is read hourly.
@cache_texts(16_384)
def _parsed(value: str, default_currency: str | None, mark: DecimalMark | None) -> Money:
    text, written = _parts(value)
    currency = unknown = None
    if written in _YEN_OR_YUAN and default_currency is None and _HUNDREDTHS.search(text):
        # Yen have no hundredths.
        default_currency = "CNY"
    if written:
        currency = _currency(written, default_currency)
        if currency is None:
            if not (_CODE.fullmatch(written) or written.casefold().removesuffix(".") == "kr"):
                raise ValueError(f"{_shown(value)} is more than an amount and a currency")
            unknown = written
    number = _number(text, value, mark, (currency or default_currency) in currencies.THREE_DECIMALS)
    return Money(number.amount, currency if written else default_currency, unknown)


def _currency(written: str, own: str | None) -> str | None:
    """The currency of what stands around an amount; a code beside a sign decides ("$5 CAD")."""
    found = currencies.code(written, own)
    if found is not None or " " not in written:
        return found
    said = {word.upper() for word in written.split() if word.upper() in currencies.CODES}
    code = said.pop() if len(said) == 1 else own
    if said or any(currencies.code(word, code) != code for word in written.split()):
        return None
    return code


@dataclass
class MoneyColumn:
    """A column of prices as a whole: what all its values say decides those that say too little.

    Show it values with ``see``, all or a sample, then ``parse``.
    """

    default_currency: str | None = None
    # Of numbers that can be read in one way only.
    _marks: Counter[str] = field(default_factory=Counter)
    _example: dict[str, str] = field(default_factory=dict)
    _ambiguous: str | None = None
    _yuan: bool = False

    def see(self, value: object) -> None:
        """Count what a cell tells of the decimal mark; a cell that is no price tells nothing."""
        if not isinstance(value, str):
            return
        try:
            text, written = _parts(value)
            number = _number(text, value, None, False)
        except ValueError:
            return
        if written in _YEN_OR_YUAN and _HUNDREDTHS.search(text):
            self._yuan = True
        if number.ambiguous:
            self._ambiguous = self._ambiguous or value.strip()
        elif number.mark:
            self._marks[number.mark] += 1
            self._example.setdefault(number.mark, value.strip())

    @property
    def mark(self) -> DecimalMark | None:
        """The decimal mark that most values have; None where none tells."""
        if not self._marks or self._marks["."] == self._marks[","]:
            return None
        return "." if self._marks["."] > self._marks[","] else ","

    @property
    def decided(self) -> str | None:
        """What was decided of values with two readings, in words; None where there are none."""
        if self._ambiguous is None:
            return None
        shown = _shown(self._ambiguous)
        try:
            amount = self.parse(self._ambiguous).amount
        except ValueError:
            # Said of its own row.
            return None
        if self.mark is None:
            return f"{shown} is read as {amount:g}: three digits behind a single mark are thousands"
        name = "point" if self.mark == "." else "comma"
        example = _shown(self._example[self.mark])
        return f"{shown} is read as {amount:g}: the {name} is the decimal mark, as in {example}"

    def parse(self, value: object) -> Money:
        """``parse`` with what the column says. Raises ``ValueError`` as that does."""
        own = self.default_currency
        if self._yuan and own is None and isinstance(value, str) and "¥" in value:
            own = "CNY"
        return parse(value, own, mark=self.mark)


def _parts(value: str) -> tuple[str, str]:
    """The number in ``value``, and what stands around it, without blanks at its ends."""
    if len(value) > 4 * _LONGEST and len(value.strip()) > _LONGEST:
        raise ValueError(f"{_shown(value)} is too long for a price")
    value = unescape(value) if "&" in value else value
    text = value if value.isascii() else normalize("NFKC", value).replace("−", "-")
    text = _TAX.sub("", " ".join(text.split()))
    if not text:
        raise ValueError("is blank")
    if len(text) > _LONGEST:
        raise ValueError(f"{_shown(value)} is too long for a price")
    text = _NO_CENTS.sub(r"\g<1>00 ", text).strip()
    if _EXPONENT.search(text):
        raise ValueError(f"{_shown(value)} has an exponent, so its digits may be lost")
    numbers = [match.group() for match in _NUMBER.finditer(text)]
    if not numbers:
        raise ValueError(f"{_shown(value)} holds no amount")
    if len(numbers) > 1:
        raise ValueError(f"{_shown(value)} holds several amounts, so it is no single price")
    before, _, after = text.partition(numbers[0])
    # A mark at the end belongs to the sentence, not to the number.
    around = (before.strip() + " " + after.strip()).strip()
    if _FROM.search(text):
        raise ValueError(f"{_shown(value)} is a lowest or highest price, not the price")
    if before.rstrip().endswith("-") or after.lstrip().startswith("-") or before.startswith("-"):
        raise ValueError(f"{_shown(value)} is below zero")
    if before.rstrip().endswith("(") and after.lstrip().startswith(")"):
        raise ValueError(f"{_shown(value)} is in brackets, as amounts below zero are")
    if "%" in around:
        raise ValueError(f"{_shown(value)} is a percentage")
    return numbers[0].rstrip("'’` "), around.removeprefix("+").strip()


def _number(text: str, value: object, mark: DecimalMark | None, three: bool) -> _Amount:
    """What the digits and marks of ``text`` mean. ``three``: decimals of the currency are three."""
    plain = text
    grouped = False
    if any(sign in text for sign in " '’`"):
        head, dot, tail = _cut(text, max(text.rfind("."), text.rfind(",")))
        if not _GROUPS.fullmatch(head) or (dot and not tail.isdigit()):
            raise ValueError(f"{_shown(value)} is not one amount")
        plain = re.sub(r"[ '’`]", "", head) + dot + tail
        grouped = True
    points, commas = plain.count("."), plain.count(",")
    if points and commas:
        sign: DecimalMark = "." if plain.rfind(".") > plain.rfind(",") else ","
        other = "," if sign == "." else "."
        head, _, tail = plain.rpartition(sign)
        if sign in head or not _in_groups(head, other):
            raise ValueError(f"{_shown(value)} is not one amount")
        return _Amount(_decimal(head.replace(other, ""), tail, value), mark=sign)
    if not points and not commas:
        return _Amount(_decimal(plain, "", value))
    sign = "." if points else ","
    if points + commas > 1:
        if not _in_groups(plain, sign):
            raise ValueError(f"{_shown(value)} is not one amount")
        # Thousands have this mark, so decimals have the other.
        return _Amount(_decimal(plain.replace(sign, ""), "", value), mark="," if points else ".")
    head, _, tail = plain.partition(sign)
    if len(tail) != 3 or grouped or len(head) > 3 or head.startswith("0") or not head or three:
        return _Amount(_decimal(head, tail, value), mark=sign if tail else None)
    if mark == sign:
        return _Amount(_decimal(head, tail, value), ambiguous=True)
    return _Amount(_decimal(head + tail, "", value), ambiguous=True)


def _cut(text: str, at: int) -> tuple[str, str, str]:
    return (text, "", "") if at < 0 else (text[:at], text[at], text[at + 1 :])


def _in_groups(text: str, sign: str) -> bool:
    """Whether ``sign`` parts thousands, or as in India hundreds above the thousands."""
    first, *others = text.split(sign)
    return (
        1 <= len(first) <= 3
        and len(others[-1]) == 3
        and all(len(part) in (2, 3) for part in others)
        and len({len(part) for part in others[:-1]}) <= 1
    )


def _decimal(whole: str, decimals: str, value: object) -> float:
    return _checked(float(f"{whole or '0'}.{decimals or '0'}"), value)


def _checked(amount: float, value: object) -> float:
    if not math.isfinite(amount):
        raise ValueError(f"{_shown(value)} is not a finite amount")
    if amount < 0:
        raise ValueError(f"{_shown(value)} is below zero")
    if amount >= 1e15:
        raise ValueError(f"{_shown(value)} is too large for a price")
    return amount


def _shown(value: object) -> str:
    shown = repr(value.strip()[:80] if isinstance(value, str) else value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
