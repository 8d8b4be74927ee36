"""Identifiers in cells (ids, SKU, GTIN): kept as written, what spreadsheets did to them undone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from indexer.feeds.values.text_cells import trim

# What a spreadsheet writes so that it shows digits as they are.
_FORMULA = re.compile(r'=\s*(?:T\(\s*)?"((?:[^"]|"")*)"\s*\)?')
# A whole number that was held as one with decimals.
_POINT_ZERO = re.compile(r"(\d{6,20})[.,]0{1,6}", re.ASCII)
# As spreadsheets show long numbers: "4.00638E+12". What a person writes ("12E4") has no sign.
_SHORTENED = re.compile(r"\d(?:[.,]\d{1,15})?[eE]\+\d{1,3}", re.ASCII)
# Without one of these, text is an id as it stands.
_DOUBTFUL = re.compile(r"[='+.,]")
_GTIN_LENGTHS = (8, 12, 13, 14)
# Words of a column's name that call its values ids, whatever digits they are,
_ID_WORDS = frozenset(
    {
        *("gtin", "gtin8", "gtin12", "gtin13", "gtin14", "ean", "ean8", "ean13", "upc", "isbn"),
        *("issn", "jan", "barcode", "sku", "mpn", "asin", "spu", "zip", "plz", "postcode"),
        *("hs", "hscode", "taric"),
    }
)
# and those that do where a number would have been written as text.
_CODE_WORDS = frozenset(
    {
        *("code", "codes", "id", "ids", "firmware", "version", "revision", "release", "model"),
        *("serial", "reference", "ref", "nummer", "artikelnummer", "artnr", "bestellnummer"),
        *("modellnummer", "teilenummer"),
    }
)
_CODE_PHRASES = re.compile(
    r"\b(?:zip code|postal code|(?:part|item|article|model|style|serial|order|product) "
    r"(?:number|no|nr))\b"
)


@dataclass(frozen=True)
class Identifier:
    """An id as a shop means it, and what is wrong with it, in words."""

    text: str
    warning: str | None = None


def clean(value: object) -> Identifier | None:
    """The id that a cell holds; None where it is blank.

    Text stays as written but for blanks around it and a spreadsheet's own signs (``'00123``,
    ``="0123"``). Digits that were lost cannot come back: ``4.00638E+12`` stays, with a warning. A
    ``.0`` behind six digits or more goes, with a warning. Raises ``ValueError`` for what is no id.

    >>> clean(" '00123 "), clean("4.00638E+12").warning is None, clean("1.10").text
    (Identifier(text='00123', warning=None), False, '1.10')
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"expected an id, got {type(value).__name__}")
    if not isinstance(value, str):
        return _of_number(value)
    text = trim(value)
    if text and _DOUBTFUL.search(text) is None:
        return Identifier(text)
    formula = _FORMULA.fullmatch(text) if text.startswith("=") else None
    if formula:
        text = trim(formula.group(1).replace('""', '"'))
    elif text.startswith("'"):
        # A quoted word ('80s') has a second one.
        text = text if text.count("'") > 1 else trim(text[1:])
    if not text:
        return None
    rest = _POINT_ZERO.fullmatch(text)
    if rest:
        return Identifier(
            rest.group(1),
            f"{text!r} is a number with decimals; it is read as {rest.group(1)!r}, but zeros in "
            "front of it are lost",
        )
    if _SHORTENED.fullmatch(text):
        return Identifier(
            text,
            f"{text!r} was shortened by a spreadsheet, its digits are lost; export it again with "
            "this column as text",
        )
    return Identifier(text)


def _of_number(value: int | float | Decimal) -> Identifier | None:
    if value != value:  # NaN is how tables of numbers write blank cells
        return None
    if isinstance(value, int):
        return Identifier(str(value))
    if abs(value) == float("inf"):
        raise ValueError("expected an id, got infinity")
    if value == int(value):
        digits = str(int(value))
        if isinstance(value, float) and abs(value) >= 2**53:
            return Identifier(digits, f"{digits!r} was held as a number, its last digits are lost")
        return Identifier(digits)
    return Identifier(str(value))


def is_code_name(column: str, *, text: bool = True) -> bool:
    """Whether a column's name calls its values ids or versions, so that they are text as written.
    ``text``: cells are text, so nobody said that they are numbers.

    >>> is_code_name("mpn"), is_code_name("Firmware"), is_code_name("price")
    (True, True, False)
    """
    words = re.findall(r"[^\W_]+", column.casefold())
    if not _ID_WORDS.isdisjoint(words):
        return True
    return text and (
        not _CODE_WORDS.isdisjoint(words) or bool(_CODE_PHRASES.search(" ".join(words)))
    )


def check_gtin(text: str) -> str | None:
    """What is wrong with a GTIN (EAN, UPC, ISBN-13), in words; None where its check digit fits.

    Source: GS1 General Specifications, section 7.9.

    >>> check_gtin("4006381333931"), check_gtin("40 0638 133393-1")
    (None, None)
    """
    digits = re.sub(r"[ -]", "", text)
    if not digits.isascii() or not digits.isdigit():
        return f"{text[:40]!r} is no GTIN: it has other signs than digits"
    if len(digits) in _GTIN_LENGTHS and _checks(digits):
        return None
    padded = next(
        (
            digits.zfill(length)
            for length in _GTIN_LENGTHS
            if len(digits) < length <= len(digits) + 2 and _checks(digits.zfill(length))
        ),
        None,
    )
    if padded:
        return f"{text!r} is no GTIN; with the zeros that it may have lost it is {padded!r}"
    if len(digits) not in _GTIN_LENGTHS:
        return f"{text[:40]!r} is no GTIN: it has {len(digits)} digits, not 8, 12, 13 or 14"
    return f"{text!r} is no GTIN: its check digit does not fit"


def _checks(digits: str) -> bool:
    weighed = sum(
        int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(reversed(digits))
    )
    return weighed % 10 == 0 and int(digits) > 0
