"""Profile of a price list: columns of codes, prices and stock by the words of eight languages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from indexer.core.errors import BadDataError
from indexer.feeds.column_words import ColumnMeaning, meaning_of
from indexer.feeds.columns import ColumnIndex
from indexer.feeds.join import code_field
from indexer.feeds.profile import FeedProfile
from indexer.feeds.row_plan import RowPlan
from indexer.feeds.row_values import Notes
from indexer.feeds.table import Table
from indexer.feeds.values import currencies

_CODE = re.compile(r"(?<![A-Za-z])([A-Z]{3})(?![A-Za-z])")
_SHOWN = 30


def join_column(table: Table, wanted: str) -> str:
    """The feed's column that ``wanted`` names: that of this name, else the one that means it.

    Raises ``BadDataError`` where there is none, or more than one.
    """
    if ColumnIndex(table.columns).has((wanted,)):
        return wanted
    field = code_field(wanted)
    found = [column for column in table.columns if field and code_field(column) == field]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadDataError(
            f"{table.name} has {len(found)} columns that may be the {field} to join by: "
            f"{', '.join(map(repr, found))}; name the one that is meant with --join"
        )
    columns = ", ".join(map(repr, table.columns[:_SHOWN]))
    raise BadDataError(
        f"{table.name} has no column {wanted!r} to join by; columns found: {columns}. Name the one "
        "that holds it with --join"
    )


def read_by_words(profile: FeedProfile, columns: Sequence[str]) -> FeedProfile:
    """``profile`` with the columns of prices and stock that it does not know, by their names.

    A field that has a column keeps it, and a name must say just what it is: a purchase price is no
    price.
    """
    named = RowPlan(profile, columns, Notes([], [])).named
    header = ColumnIndex(columns)
    found: dict[str, str] = {}
    for column in columns:
        meaning = None if column in named else _meaning(column)
        if meaning is not None:
            found.setdefault(meaning, column)
    currency = profile.price.default_currency or _currency(found.get("price", ""))
    price: dict[str, object] = {"default_currency": currency}
    stock: dict[str, object] = {}
    for name in ("price", "sale_price", "before", "currency"):
        if name in found and not header.has(getattr(profile.price, name)):
            price[name] = (found[name],)
    for name in ("availability", "stock"):
        if name in found and not header.has(getattr(profile.stock, name)):
            stock[name] = (found[name],)
    rules = {
        "price": profile.price.model_copy(update=price),
        "stock": profile.stock.model_copy(update=stock),
    }
    return profile.model_copy(update=rules)


def _meaning(column: str) -> ColumnMeaning | None:
    """What a column holds, where its name says just that but for a currency."""
    found = meaning_of(_CODE.sub(_blank, column.replace("_", " ")))
    return found[0] if found is not None and found[1] else None


def _blank(code: re.Match[str]) -> str:
    return "" if code.group(1) in currencies.CODES else code.group(0)


def _currency(column: str) -> str | None:
    """The currency that a column's name says."""
    codes = [code for code in _CODE.findall(column.replace("_", " ")) if code in currencies.CODES]
    return str(codes[0]) if len(codes) == 1 else None
