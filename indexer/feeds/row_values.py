"""Values of one row, before the rows of a product are put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, Protocol

from indexer.catalog.product_fields import Availability
from indexer.core.category_path import CategoryPath
from indexer.feeds.notice import Notice
from indexer.feeds.values.money import Money
from indexer.feeds.values.text_cells import trim

_SHOWN = 80
# What an object is called, how much it costs, and where its file lies, the likelier first.
NAME_KEYS = ("name", "title", "label", "value", "code", "slug")
AMOUNT_KEYS = ("amount", "value", "price", "gross")
FILE_KEYS = ("src", "url", "href", "link", "original", "path", "file")


class NoticeSink(Protocol):
    """Whatever takes notices one by one, such as a list."""

    def append(self, notice: Notice, /) -> None:
        """Take one more."""


@dataclass(slots=True)
class FoundOption:
    """An option of a variant: its number, its name where the row has it, its value."""

    number: int
    name: str | None
    value: str
    # Split, where the row is no variant.
    values: tuple[str, ...] = ()


@dataclass(slots=True)
class MarketMoney:
    """Prices of one market, as read."""

    price: Money | None = None
    sale_price: Money | None = None
    before: Money | None = None


@dataclass(slots=True)
class RowValues:
    """What one row says, by meaning; None or empty where it says nothing."""

    where: str
    values: Mapping[str, Any]
    kind: Literal["variant", "parent", "photo", "view"] = "variant"
    title: str | None = None
    category: CategoryPath | None = None
    # Number of a vendor's taxonomy where it came without a name.
    vendor_number: str | None = None
    url: str | None = None
    brand: str | None = None
    gtin: str | None = None
    sku: str | None = None
    split: str | None = None
    variant: str | None = None
    price: Money | None = None
    sale_price: Money | None = None
    before: Money | None = None
    # When the sale price holds, ISO 8601 in UTC.
    sale_from: str | None = None
    sale_until: str | None = None
    currency: str | None = None
    availability: Availability | None = None
    stock: float | None = None
    # Said of the stock, but no count: another row has it.
    stock_elsewhere: bool = False
    tracked: str | None = None
    policy: str | None = None
    position: float | None = None
    titles: dict[str, str] = field(default_factory=dict)
    categories: dict[str, CategoryPath] = field(default_factory=dict)
    other_categories: tuple[CategoryPath, ...] = ()
    markets: dict[str, MarketMoney] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    photos: list[str] = field(default_factory=list)
    own_photos: list[str] = field(default_factory=list)
    options: list[FoundOption] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    # Column -> value, of cells that an export wrote as JSON.
    exact: dict[str, Any] = field(default_factory=dict)


class Notes:
    """Where notices go: warnings (a value left out), and rows left out."""

    def __init__(self, warn: NoticeSink, skip: NoticeSink) -> None:
        self._warn = warn
        self._skip = skip
        self._told: set[str] = set()

    def warn_once(
        self, where: str, code: str, reason: str, column: str | None = None, value: object = None
    ) -> None:
        """``warn``, of a whole feed: nothing where ``code`` was said so before."""
        if code not in self._told:
            self._told.add(code)
            self.warn(where, code, reason, column, value)

    def warn(
        self, where: str, code: str, reason: str, column: str | None = None, value: object = None
    ) -> None:
        """Say what was done with a value; its row stays."""
        self._warn.append(Notice(where, printable(reason), code, column, shortened(value)))

    def add(self, notice: Notice) -> None:
        """Take a warning that was made elsewhere."""
        self._warn.append(notice)

    def skip(
        self, where: str, code: str, reason: str, column: str | None = None, value: object = None
    ) -> None:
        """Say why a row is left out."""
        self._skip.append(Notice(where, printable(reason), code, column, shortened(value)))


def shortened(value: object) -> str | None:
    """A value as a notice shows it."""
    if value is None:
        return None
    text = printable(str(value))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def printable(text: str) -> str:
    """Text that can be written anywhere; what is no text in it is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def text_of(value: object) -> str | None:
    """A cell as trimmed text, None if blank; of a list its first. A whole float is an integer that
    had a missing neighbour in its column. Raises ``ValueError`` where it is no text."""
    if type(value) is str:
        return trim(value) or None
    if value is None or value != value:
        return None
    if isinstance(value, list | tuple):
        return next(filter(None, map(text_of, value)), None)
    if isinstance(value, Mapping):
        named = of_object(value)
        if not isinstance(named, Mapping | list | tuple):
            return text_of(named)
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"is {type(value).__name__}, not text")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return trim(str(value)) or None


def texts_of(value: object, keys: Sequence[str] = NAME_KEYS) -> list[str]:
    """All texts of a cell that may be a list; of an object that of the first of ``keys`` that it
    has. Raises ``ValueError`` as ``text_of`` does."""
    if type(value) is str:
        only = trim(value)
        return [only] if only else []
    parts = value if isinstance(value, list | tuple) else [value]
    return [text for part in parts if (text := text_of(of_object(part, keys)))]


def of_object(value: object, keys: Sequence[str] = NAME_KEYS) -> object:
    """The value of the first of ``keys`` that an object has; anything else, as it is.

    >>> of_object({"id": 7, "name": "Mugs"}), of_object("Mugs")
    ('Mugs', 'Mugs')
    """
    if not isinstance(value, Mapping):
        return value
    return next((value[key] for key in keys if value.get(key) not in (None, "")), value)


def is_plain_code(value: object) -> bool:
    """Whether a cell is an id as it stands: no blanks around it, and no sign of a spreadsheet's
    doing, so that ``identifiers.clean`` would give it back. Quick, for it is asked of every row."""
    return (
        type(value) is str
        and (value.isalnum() or (value[:1].isalnum() and value[-1:].isalnum()))
        and "." not in value
        and "," not in value
        and "+" not in value
    )
