"""Steps that read one cell each into the values of its row.

A step takes a present cell and the row. It raises ``ValueError`` with a reason where the cell
cannot be understood.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from indexer.catalog.attributes import is_missing
from indexer.catalog.limits import LONGEST_LEVEL, LONGEST_TAG, LONGEST_TITLE, MOST_TAGS
from indexer.catalog.product_fields import Availability
from indexer.core.category_path import CategoryPath
from indexer.core.lru import cache_texts
from indexer.feeds.photo_cells import split_photos
from indexer.feeds.profile import CategoryRule
from indexer.feeds.row_values import (
    AMOUNT_KEYS,
    FILE_KEYS,
    MarketMoney,
    Notes,
    RowValues,
    is_plain_code,
    of_object,
    text_of,
    texts_of,
)
from indexer.feeds.values import availability as availability_words
from indexer.feeds.values import categories, html_text, identifiers, moments
from indexer.feeds.values.money import Money, MoneyColumn
from indexer.feeds.values.text_cells import split_list, trim

CellStep = Callable[[Any, RowValues], None]
_SplitCell = Callable[[str], tuple[str | None, tuple[CategoryPath, ...]]]

# A whole number in groups: 1,234 and 1.234.567.
_GROUPED = re.compile(r"[1-9]\d{0,2}(?:(?:,\d{3})+|(?:\.\d{3})+|(?:['’]\d{3})+)", re.ASCII)
_MARKS = re.compile(r"[.,'’]")
# Amazon's own number for a product, which stands where others have a GTIN.
_ASIN = re.compile(r"B0[0-9A-Z]{8}", re.ASCII)
# Of a price that is an object.
_CURRENCY_KEYS = ("currency", "currencyCode", "currency_code", "currencyIsoCode")
# A count without decimals, of which there are no three.
_WHOLE = re.compile(r"[1-9]\d{0,2}", re.ASCII)

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def nothing(value: Any, row: RowValues) -> None:
    """Read a cell that is only looked at elsewhere."""


def title(unescape: bool) -> CellStep:
    """The title; ``unescape``: ``&amp;`` is a sign."""

    def step(value: Any, row: RowValues) -> None:
        if row.title is None:
            row.title = _title(value, unescape)

    return step


def local_title(locale: str, unescape: bool) -> CellStep:
    """The title in one language, and the title itself where there is none."""

    def step(value: Any, row: RowValues) -> None:
        text = _title(value, unescape)
        if text is not None:
            row.titles.setdefault(locale, text)

    return step


def _title(value: Any, unescape: bool) -> str | None:
    text = text_of(value)
    if text is not None and unescape and "&" in text:
        text = trim(html_text.unescape(text)) or None
    if text is not None:
        _check_length(text, LONGEST_TITLE)
    return text


def _check_length(text: str, longest: int) -> None:
    if len(text) > longest:
        raise ValueError(f"has {len(text):,} characters, at most {longest:,} are stored")


def url(value: Any, row: RowValues) -> None:
    """The product's page."""
    if row.url is None:
        row.url = text_of(value)


def brand(value: Any, row: RowValues) -> None:
    """The brand, as a title is read."""
    if row.brand is None:
        row.brand = _title(value, unescape=True)


def code(name: str, column: str, notes: Notes) -> CellStep:
    """A GTIN or SKU, kept as written but for a spreadsheet's own signs; an ASIN is no GTIN, but an
    attribute of its own."""

    def step(value: Any, row: RowValues) -> None:
        if getattr(row, name) is not None:
            return
        if is_plain_code(value):
            if name == "gtin" and _ASIN.fullmatch(value):
                row.attributes.setdefault("asin", value)
            else:
                setattr(row, name, value)
            return
        found = identifiers.clean(value[0] if isinstance(value, list) and value else value)
        if found is not None:
            setattr(row, name, found.text)
            if found.warning:
                notes.warn(
                    row.where, "odd-code", f"column {column!r}: {found.warning}", column, value
                )

    return step


def split(value: Any, row: RowValues) -> None:
    """The part of the data that a product belongs to."""
    text = text_of(value)
    if text is not None and row.split is None:
        row.split = SPLITS.get(text.casefold())
        if row.split is None:
            raise ValueError(f"split {text!r} is none of train, validation, test")


# --- categories and tags
# --------------------------------------------------------------------------------------------------


def category(rule: CategoryRule) -> CellStep:
    """The category: of several the first, as deep as another one goes below it."""

    split_cell = _category_cells(rule)

    def step(value: Any, row: RowValues) -> None:
        if row.category is not None:
            return
        paths = _paths(value, split_cell, row)
        if not paths:
            return
        first = paths[0]
        for path in paths[1:]:
            if len(path) > len(first) and path[: len(first)] == first:
                first = path
        row.category = first
        row.other_categories = tuple(path for path in paths if path != first[: len(path)])

    return step


def local_category(rule: CategoryRule, locale: str) -> CellStep:
    """The category in one language."""
    split_cell = _category_cells(rule)

    def step(value: Any, row: RowValues) -> None:
        paths = _paths(value, split_cell, row)
        if paths:
            row.categories.setdefault(locale, paths[0])

    return step


def _paths(value: Any, split_cell: _SplitCell, row: RowValues) -> tuple[CategoryPath, ...]:
    found: dict[CategoryPath, None] = {}
    for text in texts_of(value):
        number, paths = split_cell(text)
        if number is not None and not paths:
            row.vendor_number = row.vendor_number or number
        found.update(dict.fromkeys(paths))
    return tuple(found)


def _category_cells(rule: CategoryRule) -> _SplitCell:
    """What splits a cell into a vendor's number and paths, as ``rule`` says."""
    root = {word.casefold() for word in rule.root}
    none = {word.casefold() for word in rule.none}

    @cache_texts(16_384)
    def split_cell(text: str) -> tuple[str | None, tuple[CategoryPath, ...]]:
        number = None
        if rule.vendor == "google":
            number, path = categories.google(text)
            if path is None and number in rule.numbers:
                path = next(iter(categories.split(rule.numbers[number])), None)
            found: tuple[CategoryPath, ...] = () if path is None else (path,)
            if path is not None and rule.several:
                found = categories.split(text, rule.separator, rule.several)
        else:
            found = categories.split(text, rule.separator, rule.several)
        kept: dict[CategoryPath, None] = {}
        for path in found:
            _check_length(max(path, key=len), LONGEST_LEVEL)
            below = path[1:] if path[0].casefold() in root else path
            if len(below) == 1 and categories.is_internal_id(below[0]):
                number = number or below[0]
            elif below and not (len(below) == 1 and below[0].casefold() in none):
                kept[below] = None
        return number, tuple(kept)

    return split_cell


def tags(separators: Sequence[str]) -> CellStep:
    """Tags, parted by the first of ``separators`` that the cell holds; elements of a list are tags
    as they are."""
    joined = f" nor text joined by {separators[0]}" if separators else " nor text"

    def step(value: Any, row: RowValues) -> None:
        parts = [of_object(part) for part in value] if isinstance(value, list) else [value]
        if not all(part is None or isinstance(part, str) for part in parts):
            raise ValueError(f"tags are neither a list of texts{joined}")
        if isinstance(value, list):
            found = texts_of(parts)
        else:
            separator = next((sign for sign in separators if sign in value), None)
            found = list(split_list(value, separator)) if separator else texts_of(value)
        good = [text for text in found if len(text) <= LONGEST_TAG]
        room = max(MOST_TAGS - len(row.tags), 0)
        row.tags += good[:room]
        for text in found:
            _check_length(text, LONGEST_TAG)
        if len(good) > room:
            raise ValueError(f"holds more tags than the {MOST_TAGS:,} that are stored")

    return step


# --- photos
# --------------------------------------------------------------------------------------------------


def photos(separators: Sequence[str], none: frozenset[str], *, own: bool) -> CellStep:
    """Photos of the product, or of the variant alone."""

    def step(value: Any, row: RowValues) -> None:
        into = row.own_photos if own else row.photos
        if not isinstance(value, str | list | tuple | Mapping):
            raise ValueError(f"is {type(value).__name__}, not a path")
        for text in texts_of(value, FILE_KEYS):
            for source in split_photos(text, separators):
                if source.casefold() not in none and source not in into:
                    into.append(source)

    return step


def position(value: Any, row: RowValues) -> None:
    """Place of the row's photos among the product's."""
    if row.position is None:
        row.position = number_of(value)


# --- prices and stock
# --------------------------------------------------------------------------------------------------


def money(
    attribute: str, column: MoneyColumn, currency: str | None, name: str, notes: Notes
) -> CellStep:
    """A price. ``currency``: the one that the column's name says."""
    parse = _cached_money(column)

    def step(value: Any, row: RowValues) -> None:
        found = parse(value)
        if found is None:
            return
        if found.note:
            notes.warn(row.where, "odd-currency", f"column {name!r}: {found.note}", name, value)
        if currency is not None and found.currency is None:
            found = Money(found.amount, currency.upper())
        if getattr(row, attribute) is None:
            setattr(row, attribute, found)
        elif currency is not None:
            _in_market(row, currency.upper(), attribute, found)

    return step


def market_money(
    attribute: str, market: str, column: MoneyColumn, name: str, notes: Notes
) -> CellStep:
    """A price of one market."""
    parse = _cached_money(column)

    def step(value: Any, row: RowValues) -> None:
        found = parse(value)
        if found is None:
            return
        if found.note:
            notes.warn(row.where, "odd-currency", f"column {name!r}: {found.note}", name, value)
        _in_market(row, market, attribute, found)

    return step


def _in_market(row: RowValues, market: str, attribute: str, found: Money) -> None:
    prices = row.markets.setdefault(market, MarketMoney())
    if getattr(prices, attribute) is None:
        setattr(prices, attribute, found)


def _cached_money(column: MoneyColumn) -> Callable[[Any], Money | None]:
    cached = cache_texts(16_384)(column.parse)

    def parse(value: Any) -> Money | None:
        if isinstance(value, list):
            value = next((part for part in value if not is_missing(part)), None)
        if isinstance(value, Mapping):
            value = _amount_of(value)
        if is_missing(value):
            return None
        return cached(value) if isinstance(value, str) else column.parse(value)

    return parse


def _amount_of(value: Mapping[str, Any]) -> Any:
    """The price that an object holds, as it is written in a cell: its amount and currency."""
    amount = of_object(value, AMOUNT_KEYS)
    code = of_object(value, _CURRENCY_KEYS)
    if isinstance(amount, Mapping) or isinstance(code, Mapping | list):
        return amount
    return f"{amount} {code}"


def price_attribute(name: str, column: MoneyColumn) -> CellStep:
    """The amount of a price as an attribute; what is none was said of the field."""
    parse = _cached_money(column)

    def step(value: Any, row: RowValues) -> None:
        try:
            found = parse(value)
        except ValueError:
            return
        if found is not None:
            amount = found.amount
            row.attributes[name] = int(amount) if amount.is_integer() else amount

    return step


def sale_end(name: str) -> CellStep:
    """When the sale price begins (``sale_from``) or ends (``sale_until``) to hold."""

    def step(value: Any, row: RowValues) -> None:
        text = _moment_text(value)
        if text is not None and getattr(row, name) is None:
            setattr(row, name, moments.parse(text, end=name == "sale_until"))

    return step


def sale_period(value: Any, row: RowValues) -> None:
    """Both ends of the time in which the sale price holds."""
    text = _moment_text(value)
    if text is not None:
        begin, end = moments.parse_period(text)
        row.sale_from = row.sale_from or begin
        row.sale_until = row.sale_until or end


def _moment_text(value: Any) -> str | None:
    return value.isoformat() if isinstance(value, date) else text_of(value)


def currency(value: Any, row: RowValues) -> None:
    """The currency of amounts that name none."""
    if row.currency is None:
        row.currency = text_of(value)


def availability(words: Mapping[str, Availability]) -> CellStep:
    """Whether it can be had, in the shop's words, ours, or as a count."""

    def step(value: Any, row: RowValues) -> None:
        if row.availability is not None:
            return
        if isinstance(value, list):
            value = next((part for part in value if not is_missing(part)), None)
        found = words.get(trim(value).casefold()) if isinstance(value, str) else None
        row.availability = found or availability_words.parse(value)
        if row.availability is None and not is_missing(value):
            raise ValueError("says nothing of availability that is known here")

    return step


def stock(none: frozenset[str], *, grouped: bool = False) -> CellStep:
    """How many there are. ``grouped``: a mark before three digits parts thousands."""

    def step(value: Any, row: RowValues) -> None:
        if isinstance(value, str) and trim(value).casefold() in none:
            row.stock_elsewhere = True
        elif row.stock is None:
            if isinstance(value, str) and _GROUPED.fullmatch(text := trim(value)):
                digits = _MARKS.sub("", text)
                # Of two groups or more there is one reading only.
                if grouped or len(text) - len(digits) > 1:
                    value = digits
            row.stock = number_of(value)

    return step


def counts_in_groups(values: Iterable[Any]) -> bool:
    """Whether three digits behind a mark are thousands in a column of counts: where no value has
    other decimals, and one is whole or has digits there (all of ``3.000``, ``12.000`` are counts
    with decimals)."""
    found = False
    for value in values:
        text = trim(value) if isinstance(value, str) else ""
        if _GROUPED.fullmatch(text):
            found = found or not text.endswith("000")
        elif _MARKS.search(text):
            return False
        else:
            found = found or _WHOLE.fullmatch(text) is not None
    return found


def tracked(value: Any, row: RowValues) -> None:
    """Whether stock is counted."""
    row.tracked = row.tracked or text_of(value)


def policy(value: Any, row: RowValues) -> None:
    """Whether it can be ordered without stock."""
    row.policy = row.policy or text_of(value)


def number_of(value: Any) -> float | int | None:
    """A count or measure. Raises ``ValueError``."""
    if isinstance(value, list):
        value = value[0] if value else None
    if is_missing(value):
        return None
    text = str(value).strip().replace("\u00a0", "").replace(" ", "")
    if "," in text and "." not in text:
        text = text.replace(",", ".")
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise ValueError(f"expected a number, got {str(value)[:60]!r}")
    return int(found) if found.is_integer() else found
