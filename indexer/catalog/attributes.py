"""Attribute types: inferred from values, checked, and read from text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Set
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal, get_args

from indexer.core.errors import BadDataError
from indexer.core.nesting import TOO_DEEP, is_deeper

AttributeType = Literal["string", "number", "bool", "datetime", "list"]
AttributeValue = str | float | int | bool | list[Any] | None
TYPES: tuple[str, ...] = get_args(AttributeType)
# Names that mean something else in manifests and filters.
RESERVED = frozenset({"product_id", "image", "title", "category", "tags", "split"})

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
# One way only to read each digit: else what is no number takes the square of its length.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LEADING_ZERO = re.compile(r"[+-]?0\d", re.ASCII)
# What can be told again as a date: the zone of a first or last day leads beyond.
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].+)?", re.ASCII)
_INT64 = 2**63
# "12E4" is a code; a program that writes a number gives the exponent a sign or has decimals.
_CODE_EXPONENT = re.compile(r"\d\d+[eE]\d+|\d+E\d+", re.ASCII)
# Digits all of one length from here on are codes.
_CODE_DIGITS = 8
_CODE_WORDS = frozenset(
    {"gtin", "ean", "upc", "isbn", "barcode", "sku", "mpn", "asin", "zip", "zipcode", "postcode"}
    | {"plz", "phone", "tel", "firmware", "version", "revision", "serial", "code", "id", "ids"}
    | {"ean13", "ean8", "gtin8", "gtin12", "gtin13", "gtin14", "upca", "isbn13", "isbn10", "issn"}
)
_CODE_PHRASES = ("hs_code", "article_no", "item_no", "part_no", "model_no", "article_number")
_WORD_END = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_WORD = re.compile(r"[\W_]+")


def type_name(column: str, given: str) -> AttributeType:
    """``given`` as a type. Raises ``BadDataError`` that names the column and the unknown type."""
    if given not in TYPES:
        raise BadDataError(
            f"column {column!r}: unknown type {given!r} (use one of {', '.join(TYPES)})"
        )
    return given  # type: ignore[return-value]


def checked_types(given: Mapping[str, str]) -> dict[str, AttributeType]:
    """All of ``given`` through ``type_name``; a column that is never an attribute
    is refused too."""
    for column in given:
        if column in RESERVED:
            raise BadDataError(f"column {column!r} is no attribute, so it takes no type")
    return {column: type_name(column, given_type) for column, given_type in given.items()}


def datetime_seconds(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 date or date-time; without a zone it is read as UTC. Raises
    ``ValueError``."""
    if not _DATE.fullmatch(text):
        raise ValueError(f"{text!r} is not like 2024-05-31 or 2024-05-31T12:00:00Z")
    moment = datetime.fromisoformat(text)
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not _EARLIEST <= seconds <= _LATEST:
        raise ValueError(f"{text!r} is outside the years 1 to 9999 in UTC, which can be told")
    return seconds


def datetime_text(seconds: float) -> str:
    """The date-time that so many seconds since 1970 are, in UTC; one that an older release stored
    beyond the years that can be told is their first or last."""
    told = min(max(seconds, _EARLIEST), _LATEST)
    return datetime.fromtimestamp(told, UTC).isoformat()


def is_missing(value: object) -> bool:
    """Nothing, NaN, blank text or an empty list. The text ``NA`` is a value."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value)) or value == []


def is_odd(value: object) -> bool:
    """Whether no type can hold this present value of a feed: an object, a list
    of lists, infinity."""
    if is_deeper(value):
        return True
    value = _plain(value)
    parts = value if isinstance(value, list) else [value]
    return not all(
        is_missing(part) or isinstance(part, str | int) or _is_number(part) for part in parts
    )


def is_code_name(name: str) -> bool:
    """Whether the attribute is a code by its name, alone or as a part ("article_no", "EAN-13"): its
    values are text, whatever they look like."""
    parts = _name_words(name)
    joined = f"_{'_'.join(parts)}_"
    return any(part in _CODE_WORDS for part in parts) or any(
        f"_{words}_" in joined for words in _CODE_PHRASES
    )


def infer(values: Iterable[object], *, text: bool, whole: bool = True) -> AttributeType | None:
    """The narrowest type that all present values but odd ones have; None where there are none.

    ``text``: the values were cells of a CSV file, so numbers, bools and ``|``-joined lists are read
    from text too. Digits with a leading zero are codes and stay strings, and so are whole numbers
    too long for 64 bits, "12E4", and, where the values are the ``whole`` column, digits of one
    length from 8.
    """
    present = [value for value in values if not is_missing(value)]
    if not present:
        return None
    if text:
        cells = [str(value).strip() for value in present]
        if all(cell.lower() in ("true", "false") for cell in cells):
            return "bool"
        numbers = [cell for cell in cells if cell.lower() != "nan"]
        if numbers and all(_looks_number(cell) for cell in numbers):
            lengths = {len(cell) if cell.isdigit() else 0 for cell in numbers}
            return "string" if whole and are_code_lengths(lengths) else "number"
    else:
        present = [_plain(value) for value in present if not is_odd(value)]
        if not present:
            return None
        if all(isinstance(value, bool) for value in present):
            return "bool"
        if all(_is_number(value) for value in present):
            return "number"
        if any(isinstance(value, list) for value in present):
            return "list"
        cells = present  # type: ignore[assignment]
    if all(isinstance(cell, str) and _is_datetime(cell) for cell in cells):
        return "datetime"
    if text and any("|" in cell for cell in cells) and all(_looks_joined(cell) for cell in cells):
        return "list"
    return "string"


def are_code_lengths(lengths: Set[int]) -> bool:
    """Whether digits of these lengths are codes; 0 stands for what is not digits alone."""
    return len(lengths) == 1 and min(lengths) >= _CODE_DIGITS


def _looks_number(cell: str) -> bool:
    if _LEADING_ZERO.match(cell) or not _NUMBER.fullmatch(cell) or _CODE_EXPONENT.fullmatch(cell):
        return False
    if _INTEGER.fullmatch(cell):
        return len(cell) <= 20 and -_INT64 <= int(cell) < _INT64
    return math.isfinite(float(cell))


def reads_as_number(text: str, *, codes: bool = False) -> bool:
    """Whether text is a number of which no digit would be lost but zeros at its end; ``codes``:
    any number."""
    cell = text.strip()
    if codes:
        return _NUMBER.fullmatch(cell) is not None and math.isfinite(float(cell))
    return _looks_number(cell)


def _looks_joined(cell: str) -> bool:
    return all(part and part == part.strip() for part in cell.split("|"))


def _is_datetime(cell: str) -> bool:
    try:
        datetime_seconds(cell.strip())
    except (ValueError, OverflowError):
        return False
    return True


def _plain(value: object) -> object:
    """What Parquet has as a decimal or a date as a number or text, also in a list."""
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.isoformat() if isinstance(value, date) else value


def read(value: object, wanted: AttributeType) -> AttributeValue:
    """A feed's value as ``wanted``: text is parsed, anything may become a string. None where it is
    missing.

    Raises ``ValueError`` that says what was expected and what stands there.
    """
    if is_missing(value):
        return None
    _check_depth(value)
    value = _plain(value)
    if wanted == "list":
        parts = (
            value.split("|")
            if isinstance(value, str)
            else value
            if isinstance(value, list)
            else [value]
        )
        parts = [
            str(part) if isinstance(part, int) and not -_INT64 <= part < _INT64 else part
            for part in parts
        ]
        return check([part for part in parts if not is_missing(part)], wanted) or None
    if wanted == "string" and not isinstance(value, str):
        if isinstance(value, int | float | list):
            return json.dumps(value, ensure_ascii=False)
        raise ValueError(_mismatch(wanted, value))
    if isinstance(value, str) and wanted in ("number", "bool", "datetime"):
        cell = value.strip()
        if wanted == "bool" and cell.lower() in ("true", "false"):
            return cell.lower() == "true"
        if wanted == "number" and cell.lower() == "nan":
            return None
        if wanted == "number" and _INTEGER.fullmatch(cell) and len(cell) <= 20:
            return check(int(cell), wanted)
        if wanted == "number" and _NUMBER.fullmatch(cell):
            return check(float(cell), wanted)
        return check(cell, wanted)
    return check(value, wanted)


def check(value: object, wanted: AttributeType) -> AttributeValue:
    """``value`` itself if it already has the type ``wanted``. Raises ``ValueError`` with a plain
    reason."""
    _check_depth(value)
    fits = False
    if wanted == "string":
        fits = isinstance(value, str)
    elif wanted == "bool":
        fits = isinstance(value, bool)
    elif wanted == "number":
        fits = _is_number(value)
    elif wanted == "datetime":
        fits = isinstance(value, str) and _is_datetime(value)
    elif isinstance(value, list):
        fits = all(isinstance(part, str | bool) or _is_number(part) for part in value)
    if not fits:
        raise ValueError(_mismatch(wanted, value))
    _check_unicode(value)
    return value  # type: ignore[return-value]


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -_INT64 <= value < _INT64 if isinstance(value, int) else math.isfinite(value)


def _check_depth(value: object) -> None:
    """Before anything that recurses over it, as telling it does."""
    if is_deeper(value):
        raise ValueError(f"it is {TOO_DEEP}")


def _check_unicode(value: object) -> None:
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, str):
            try:
                part.encode()
            except UnicodeEncodeError as error:
                raise ValueError("the text is not valid Unicode") from error


def _mismatch(wanted: str, value: object) -> str:
    shown = ascii(value) if len(ascii(value)) <= 60 else ascii(value)[:57] + "..."
    return f"expected {wanted}, got {shown}"


COLOUR_COLUMNS = ("colour", "color", "base_colour", "base_color")
# Words of the names of columns that say how a thing looks, whatever it is.
_LOOK_WORDS = frozenset(
    {"colour", "color", "colours", "colors", "farbe", "couleur", "colore", "kleur", "kolor", "cor"}
    | {"pattern", "patterns", "muster", "motif", "motivo", "patroon", "patrón", "wzór", "padrão"}
)
_LOOK_SIGNS = ("颜色", "顏色", "图案", "圖案", "花纹")


def describes_look(name: str) -> bool:
    """Whether a column, by its name, says a colour or a pattern, which things of any kind have.

    >>> describes_look("base_colour"), describes_look("Hauptfarbe"), describes_look("material")
    (True, True, False)
    """
    return any(map(_is_look_word, _name_words(name)))


def _is_look_word(word: str) -> bool:
    known = word in _LOOK_WORDS or word.endswith("farbe")
    return known or any(sign in word for sign in _LOOK_SIGNS)


def _name_words(name: str) -> list[str]:
    """The words of a column's name, in lower case."""
    return [word for word in _NO_WORD.split(_WORD_END.sub("_", name).lower()) if word]


# A text column with more is a name or a description, not an attribute.
MAX_VALUES = 200
