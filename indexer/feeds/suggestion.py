"""Draft of a profile for an unknown feed, from the names and the values of its columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import yaml

from indexer.core.errors import BadDataError
from indexer.feeds.column_words import ColumnMeaning, meaning_of
from indexer.feeds.reader import LostLines, Record, Table
from indexer.feeds.row_values import AMOUNT_KEYS, FILE_KEYS, NAME_KEYS, of_object
from indexer.feeds.values import availability, categories, currencies, identifiers, money

# Rows that are looked at.
SAMPLE = 1000
_URL = re.compile(r"\s*https?://", re.IGNORECASE)
_PHOTO = re.compile(
    r"\.(?:jpe?g|jfif|png|webp|gif|bmp|tiff?|avif|heic)(?:[?#]|$|[,;| ])", re.IGNORECASE
)
_HTML = re.compile(r"</[a-z][a-z0-9]{0,15}>|<br ?/?>", re.IGNORECASE)
_CURRENCY = re.compile(r"(?<![A-Za-z])([A-Z]{3})(?![A-Za-z])")
_MOST = 0.8
# By what a cell that is an object is looked at.
_KEYS = (*FILE_KEYS, *NAME_KEYS, *AMOUNT_KEYS)


@dataclass
class ColumnEvidence:
    """What the values of one column look like: shares of those that are present."""

    name: str
    present: int = 0
    rows: int = 0
    distinct: set[str] = field(default_factory=set)
    photos: int = 0
    urls: int = 0
    amounts: int = 0
    # Amounts with decimals or a currency.
    prices: int = 0
    stock_words: int = 0
    codes: int = 0
    gtins: int = 0
    html: int = 0
    currencies: int = 0
    length: int = 0
    # Separator -> values that hold it.
    held: dict[str, int] = field(default_factory=dict)
    example: str = ""

    def see(self, value: object) -> None:
        """Take in the cell of one more row."""
        self.rows += 1
        text = "" if value is None else _joined(value, _KEYS).strip()
        if not text:
            return
        text = text[:2000]
        self.present += 1
        self.example = self.example or text[:60]
        self.distinct.add(text)
        self.length += len(text)
        self.urls += _URL.match(text) is not None
        self.photos += _PHOTO.search(text) is not None
        self.html += _HTML.search(text) is not None
        self.codes += len(text) <= 64 and " " not in text
        self.gtins += len(text) <= 20 and identifiers.check_gtin(text) is None
        self.currencies += len(text) == 3 and currencies.code(text) is not None
        self._see_amount(text)
        for sign in (",", "|", ";"):
            if sign in text:
                self.held[sign] = self.held.get(sign, 0) + 1

    def _see_amount(self, text: str) -> None:
        if len(text) > 40:
            return
        try:
            money.parse(text)
        except ValueError:
            word = availability.parse(text) is not None
            self.stock_words += word and len(text) <= 40
            return
        self.amounts += 1
        self.prices += not text.isdigit()

    def share(self, count: int) -> float:
        """``count`` of the values that are present."""
        return count / self.present if self.present else 0.0

    @property
    def unique(self) -> bool:
        """Whether every row has a value of its own."""
        return self.present == self.rows > 0 and len(self.distinct) == self.rows

    @property
    def separator(self) -> str | None:
        """What most of the lists in this column are parted by."""
        if not self.held:
            return None
        sign = max(self.held, key=lambda one: self.held[one])
        return sign if self.share(self.held[sign]) > 0.05 else None


@dataclass(frozen=True)
class Suggestion:
    """A drafted profile: as YAML with a comment a key, and as data."""

    yaml: str
    profile: dict[str, Any]
    # Column -> what it is taken for and why, in words; columns that stay attributes are left out.
    reasons: dict[str, str]


def suggest_profile(table: Table, name: str = "suggested") -> Suggestion:
    """Draft a profile from the first rows of a feed. Raises ``BadDataError`` where it has none."""
    records = list(islice(table.records(LostLines()), SAMPLE))
    if not records:
        raise BadDataError(f"{table.name} has no rows, so there is nothing to suggest")
    evidence = {column: ColumnEvidence(column) for column in table.columns if column.strip()}
    for record in records:
        for column, found in evidence.items():
            found.see(record.values.get(column))
    draft = _Draft(evidence, records)
    return draft.suggestion(name)


class _Draft:
    """The meanings of the columns of one feed, each given to at most one field."""

    def __init__(self, evidence: Mapping[str, ColumnEvidence], records: Sequence[Record]) -> None:
        self.evidence = evidence
        self.records = records
        self.reasons: dict[str, str] = {}
        self.by_meaning: dict[ColumnMeaning, list[str]] = {}
        for column in sorted(evidence, key=lambda one: self._order(one)):
            self._take(column)
        self._find_unnamed()

    def _order(self, column: str) -> bool:
        """Columns whose name says just what they are come first."""
        found = meaning_of(column)
        return found is None or not found[1]

    def _take(self, column: str) -> None:
        found = meaning_of(column)
        seen = self.evidence[column]
        if found is None or not seen.present:
            return
        meaning = found[0]
        if meaning in ("url", "photo") and seen.share(seen.photos) > _MOST:
            meaning = "photo"
        elif meaning == "photo" and not seen.photos:
            return
        if meaning not in ("photo", "description") and meaning in self.by_meaning:
            return
        if _contradicts(meaning, seen):
            return
        self.give(column, meaning, "by its name")

    def give(self, column: str, meaning: ColumnMeaning, why: str) -> None:
        """Take ``column`` for ``meaning``."""
        self.by_meaning.setdefault(meaning, []).append(column)
        self.reasons[column] = f"{meaning} ({why}; for example {self.evidence[column].example!r})"

    def _find_unnamed(self) -> None:
        """Give the fields that no name was found for to columns whose values fit."""
        for column, seen in self.evidence.items():
            if column in self.reasons or not seen.present:
                continue
            if seen.share(seen.photos) > _MOST and seen.share(seen.html) < 0.1:
                self.give(column, "photo", "its values name photo files")
            elif seen.share(seen.urls) > _MOST:
                self._give_once(column, "url", "its values are addresses")
            elif seen.share(seen.gtins) > _MOST:
                self._give_once(column, "gtin", "its check digits fit")
            elif seen.share(seen.stock_words) > 0.95 and len(seen.distinct) <= 6:
                self._give_once(column, "availability", "its values are words of stock")
            elif seen.share(seen.prices) > 0.9:
                self._give_once(column, "price", "its values are amounts")
            elif seen.share(seen.html) > 0.3:
                self.give(column, "description", "its values are HTML")
            elif self._levels(column) == ">":
                self._give_once(column, "category", "its values are paths")
        if "id" not in self.by_meaning:
            self._find_id()
        if "title" not in self.by_meaning:
            self._find_title()

    def _give_once(self, column: str, meaning: ColumnMeaning, why: str) -> None:
        if meaning not in self.by_meaning:
            self.give(column, meaning, why)

    def _find_id(self) -> None:
        for meaning in ("sku", "gtin"):
            for column in self.by_meaning.get(meaning, ()):
                if self.evidence[column].unique:
                    self.by_meaning["id"] = [column]
                    self.reasons[column] += "; also the id, since no other column is one"
                    return
        for column, seen in self.evidence.items():
            if column not in self.reasons and seen.unique and seen.share(seen.codes) > 0.95:
                self.give(column, "id", "every row has its own")
                return

    def _find_title(self) -> None:
        texts = [
            (seen.length / seen.present, column)
            for column, seen in self.evidence.items()
            if column not in self.reasons
            and seen.present
            and seen.share(seen.codes) < 0.5
            and 8 < seen.length / seen.present < 120
        ]
        if texts:
            self.give(max(texts)[1], "title", "its values are short texts")

    def _levels(self, column: str) -> str | None:
        return self._category(column).separator

    def _category(self, column: str) -> categories.CategoryColumn:
        cells = (record.values.get(column) for record in self.records)
        return categories.detect(_joined(cell, NAME_KEYS) for cell in cells if cell is not None)

    def suggestion(self, name: str) -> Suggestion:
        """What was found, as a profile."""
        get = self.by_meaning.get
        profile: dict[str, Any] = {"name": name, "label": f"Drafted from {len(self.records)} rows"}
        for meaning in ("id", "parent", "title", "url", "brand", "gtin", "sku"):
            if get(meaning):
                profile[meaning] = get(meaning, [])[0]
        profile["rows"] = self._rows(profile.get("id"))
        if get("category"):
            profile["category"] = [self._category_rule(get("category", [])[0])]
        if get("tags"):
            column = get("tags", [])[0]
            profile["tags"] = [
                {"columns": column, "separators": [self.evidence[column].separator or ","]}
            ]
        photos: dict[str, Any] = {"columns": get("photo", [])}
        signs = {self.evidence[column].separator for column in get("photo", [])} - {None}
        if signs:
            photos["separators"] = sorted(filter(None, signs))
        profile["photos"] = photos
        profile |= self._selling()
        texts = get("description", [])
        if texts:
            profile["attributes"] = {"description": {"columns": texts[:1], "html": True}}
            if texts[1:]:
                profile["drop"] = texts[1:]
        return Suggestion(self._yaml(profile), profile, self.reasons)

    def _rows(self, id_column: str | None) -> str:
        """Rows of one id are photos of one product."""
        if id_column is None:
            return "products"
        seen = self.evidence[id_column]
        return "photos" if seen.present and len(seen.distinct) < 0.95 * seen.present else "products"

    def _category_rule(self, column: str) -> dict[str, Any]:
        found = self._category(column)
        separator = found.separator
        rule: dict[str, Any] = {
            "columns": column,
            "separator": ">" if separator in ("»", "›", "→") else separator,
        }
        several = self.evidence[column].separator
        if several is not None and several != separator:
            rule["several"] = several
        return rule

    def _selling(self) -> dict[str, Any]:
        """Prices and stock."""
        get = self.by_meaning.get
        prices: dict[str, Any] = {
            meaning: get(meaning, [])[0]
            for meaning in ("price", "sale_price", "before", "currency")
            if get(meaning)
        }
        own = self._currency()
        if own is not None and "currency" not in prices and prices:
            prices["default_currency"] = own
        stock = {
            meaning: get(meaning, [])[0] for meaning in ("availability", "stock") if get(meaning)
        }
        found: dict[str, Any] = {}
        if prices:
            found["price"] = prices
        if stock:
            found["stock"] = stock
        return found

    def _currency(self) -> str | None:
        """The currency that the names of price columns say."""
        for meaning in ("price", "sale_price", "before"):
            for column in self.by_meaning.get(meaning, ()):
                for code in _CURRENCY.findall(column.replace("_", " ")):
                    if code in currencies.CODES:
                        return str(code)
        return None

    def _yaml(self, profile: Mapping[str, Any]) -> str:
        lines = [
            "# A draft. Look it over, mend it, then: catalens import FEED --profile FILE.yaml",
            "# --dry-run. Columns that are not named here become attributes.",
        ]
        said: set[str] = set()
        for key, value in profile.items():
            for column in sorted(_columns_in(value) - said):
                if column in self.reasons:
                    lines.append(f"# {_one_line(column)}: {_one_line(self.reasons[column])}")
                    said.add(column)
            text = yaml.safe_dump(
                {key: value}, allow_unicode=True, sort_keys=False, default_flow_style=False
            )
            lines.append(text.rstrip("\n"))
        for meaning, wanted in (("id", "id"), ("title", "title"), ("photo", "photos")):
            if meaning not in self.by_meaning:
                lines.append(f"# {wanted}: no column looks like it; name one")
        if not {"title", "photo"} & set(self.by_meaning):
            lines.append(
                "# Without titles and photos, it changes products that are there by this id."
            )
            lines.append(
                "# By SKU or GTIN: catalens sync add NAME FEED --join sku --only price,stock"
            )
        return "\n".join(lines) + "\n"


def _joined(cell: object, keys: Sequence[str]) -> str:
    """A cell as text: of an object the first of ``keys``, of a list all its parts."""
    parts = cell if isinstance(cell, list) else [cell]
    return " | ".join(str(of_object(part, keys)) for part in parts)


def _contradicts(meaning: ColumnMeaning, seen: ColumnEvidence) -> bool:
    """Whether the values cannot be what the name says."""
    if meaning in ("price", "sale_price", "before", "stock"):
        return seen.share(seen.amounts) < 0.5
    if meaning == "currency":
        return seen.share(seen.currencies) < 0.5
    if meaning == "availability":
        return seen.share(seen.stock_words + seen.amounts) < 0.5
    if meaning == "url":
        return seen.share(seen.urls) < 0.5
    if meaning == "id":
        return seen.present < seen.rows / 2
    return False


def _columns_in(value: object) -> set[str]:
    if isinstance(value, str):
        return {value}
    found: set[str] = set()
    parts = value.values() if isinstance(value, Mapping) else value
    if isinstance(parts, Iterable):
        for part in parts:
            found.update(_columns_in(part))
    return found


def _one_line(text: str) -> str:
    """Text for a comment, which may hold no sign that cannot be printed."""
    return "".join(sign if sign.isprintable() else " " for sign in " ".join(text.split()))
