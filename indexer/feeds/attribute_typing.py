"""Types of a feed's attributes: given, stored or inferred, and values read by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from indexer.catalog.attributes import (
    AttributeType,
    AttributeValue,
    are_code_lengths,
    check,
    infer,
    is_code_name,
    is_missing,
    read,
    reads_as_number,
)
from indexer.feeds.attribute_room import within_room
from indexer.feeds.exact_cells import AsWritten
from indexer.feeds.notice import Notice

# A stored type gives way where more than this share of at least so many new values do not fit it.
_ODD_SHARE = 0.1
_FEWEST_ODD = 2
_SHOWN = 60


@dataclass
class _Column:
    """What the values of one attribute look like, one after the other."""

    present: int = 0
    kinds: set[AttributeType] = field(default_factory=set)
    # Text that may be a list: some value is joined by bars, and all could be.
    bars: bool = False
    joined: bool = True
    blank: bool = False
    # Of cells that are digits alone; 0: of any other.
    lengths: set[int] = field(default_factory=set)
    first: str = ""
    # The first value that does not fit the stored type.
    shown: str | None = None
    # Against the stored type.
    odd: int = 0
    codes: int = 0

    def add(self, value: Any, where: str, *, text: bool) -> None:
        self.present += 1
        self.first = self.first or where
        if _is_empty(value):
            self.kinds.add("list" if isinstance(value, list) else "string")
            return
        if text and isinstance(value, str):
            cell = value.strip()
            if cell.lower() == "nan":
                # A number, if the others are.
                self.blank = True
                return
            self.bars |= "|" in cell
            self.joined = self.joined and all(
                part and part == part.strip() for part in cell.split("|")
            )
            self.lengths.add(len(cell) if cell.isdigit() else 0)
        kind = infer([value], text=text and isinstance(value, str), whole=False)
        if kind is not None:
            self.kinds.add(kind)

    def type(self) -> AttributeType | None:
        """Their common type; None where no type can hold any of them."""
        if not self.kinds:
            return "string" if self.blank else None
        if self.kinds == {"number"} and are_code_lengths(self.lengths):
            return "string"
        if len(self.kinds) == 1 and "list" not in self.kinds:
            return next(iter(self.kinds))
        if self.bars:
            return "list" if self.joined else "string"
        return "list" if "list" in self.kinds else "string"


class AttributeTyping:
    """Types by name, settled once all values of a run were seen: those ``fixed`` by the caller,
    then those ``stored`` in the catalog, those ``given`` by the profile, and inferred ones.

    ``text``: values without a given type were cells of a text file.
    """

    def __init__(
        self,
        *,
        fixed: Mapping[str, AttributeType],
        stored: Mapping[str, AttributeType],
        given: Mapping[str, AttributeType],
        text: bool,
    ) -> None:
        self.fixed = dict(fixed)
        self.stored = dict(stored)
        self.given = dict(given)
        self.text = text
        self.types: dict[str, AttributeType] = {}
        # Stored types that became text in this run.
        self.widened: dict[str, AttributeType] = {}
        self._columns: dict[str, _Column] = {}
        self._seen: dict[str, None] = {}

    def used(self) -> dict[str, AttributeType]:
        """The types of attributes that some product has."""
        return {name: kind for name, kind in self.types.items() if name in self._seen}

    def see(self, attributes: Mapping[str, Any], where: str) -> None:
        """Note the values of one product."""
        for name, value in attributes.items():
            if value is None or (is_missing(value) and not _is_empty(value)):
                continue
            self._seen.setdefault(name)
            if name in self.fixed:
                continue
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = _Column()
            kept = self.stored.get(name)
            if kept is None:
                if name not in self.given:
                    column.add(value, where, text=self.text)
                continue
            column.present += 1
            odd = _is_misfit(value, kept)
            code = kept == "number" and isinstance(value, str) and _is_code(value)
            if (odd or code) and not column.first:
                column.first = where
                column.shown = str(value)[:_SHOWN]
            column.odd += odd
            column.codes += code

    def settle(self) -> list[Notice]:
        """Decide the types; what was decided about whole columns is told."""
        notices = []
        types = {**self.given, **self.stored}
        for name, column in self._columns.items():
            if name in self.stored:
                kept = self.stored[name]
                many = max(_FEWEST_ODD - 1, column.odd and _ODD_SHARE * column.present)
                if kept != "string" and (column.codes or column.odd > many):
                    self.widened[name] = kept
                    types[name] = "string"
                    notices.append(_widening(name, kept, column))
            elif name not in self.given:
                found = column.type()
                if found is None:
                    notices.append(
                        Notice(
                            column.first,
                            f"column {name!r} is left out: no attribute can hold it",
                            "odd-column",
                            name,
                        )
                    )
                else:
                    types[name] = "string" if found != "list" and is_code_name(name) else found
        self.types = {**types, **{name: self.fixed[name] for name in self.fixed}}
        return notices

    def fit(
        self, attributes: Mapping[str, Any], where: str, *, as_written: bool = False
    ) -> tuple[dict[str, AttributeValue], list[Notice]]:
        """The present values as their types ask, and what was left out.

        ``as_written``: text that is a number stays text, for the catalog to keep its spelling.
        """
        held: dict[str, AttributeValue] = {}
        given, odd = within_room(attributes, where)
        for name, value in given.items():
            wanted = self.types.get(name)
            if wanted is None:
                continue
            try:
                found = check(value, wanted) if _is_exact(value) else read(value, wanted)
            except ValueError as error:
                stored = name in self.stored and name not in self.fixed
                source = " (the type is stored in the catalog)" if stored else ""
                odd.append(
                    Notice(
                        where,
                        f"column {name!r}: {error}{source}; the value is left out",
                        "odd-value",
                        name,
                        str(value)[:_SHOWN],
                    )
                )
                continue
            if as_written and wanted == "number" and isinstance(value, str) and found is not None:
                held[name] = value.strip()
            elif found is not None:
                held[name] = found
        return held, odd


def _is_empty(value: Any) -> bool:
    """An empty text or list, which a file must say expressly: a blank cell is none."""
    return isinstance(value, str | list) and is_missing(value)


def _is_exact(value: Any) -> bool:
    return isinstance(value, AsWritten) or _is_empty(value)


def _is_misfit(value: Any, wanted: AttributeType) -> bool:
    try:
        read(value, wanted)
    except ValueError:
        return True
    return False


def _is_code(value: str) -> bool:
    """Whether a number would lose digits of it."""
    return reads_as_number(value, codes=True) and not reads_as_number(value)


def _widening(name: str, kept: AttributeType, column: _Column) -> Notice:
    why = (
        f"{column.codes} of {column.present} new values have digits that a number would lose"
        if column.codes
        else f"{column.odd} of {column.present} new values are no {kept}"
    )
    return Notice(
        column.first or name,
        f"column {name!r} was of type {kept} and is text from now on: {why}; the stored values "
        f"became text too (fix a type with --types {name}=TYPE)",
        "widened-column",
        name,
        column.shown,
    )
