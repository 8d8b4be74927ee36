"""Steps that read options and attributes of a row, one cell each, as ``row_steps``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from indexer.catalog.attributes import RESERVED, is_missing
from indexer.catalog.product_fields import FIELD_TYPES
from indexer.feeds.columns import snake_case
from indexer.feeds.profile import AttributeRule, PackedRule
from indexer.feeds.row_steps import CellStep, number_of
from indexer.feeds.row_values import FoundOption, Notes, RowValues, is_plain_code, text_of, texts_of
from indexer.feeds.values import html_text, identifiers
from indexer.feeds.values.text_cells import split_list, trim, unbroken

# Names of page fields: an attribute of a shop's own must not look like one.
_FIELDS = frozenset({*FIELD_TYPES, "image_src"})
# What holds the value where an object has its name beside it, the likelier first.
_VALUES = ("options", "option", "value", "values")
_YES = frozenset({"1", "true", "yes", "y", "on"})
_NO = frozenset({"0", "false", "no", "n", "off"})


def attribute_name(column: str) -> str:
    """The attribute of a column that has no name in the profile; never one that means more."""
    name = snake_case(column) or "value"
    return f"{name}_value" if name in RESERVED or name in _FIELDS else name


def option(
    number: int, name_column: str | None, separator: str | None, none: Sequence[str]
) -> CellStep:
    """The value of one option, with the name beside it."""
    nones = frozenset(word.casefold() for word in none)

    def step(value: Any, row: RowValues) -> None:
        text = text_of(value)
        if text is None or text.casefold() in nones:
            return
        name = text_of(row.values.get(name_column)) if name_column else None
        values = split_list(text, separator) if separator and separator in text else ()
        row.options.append(FoundOption(number, name, text, values))

    return step


def attribute(name: str, column: str, rule: AttributeRule, notes: Notes) -> CellStep:
    """A value of one attribute as its rule says; the first column that has one counts."""
    mapped = {key.casefold(): found for key, found in rule.values.items()}

    def convert(value: Any, row: RowValues) -> Any:
        if rule.code:
            if is_plain_code(value):
                return value
            found = identifiers.clean(value[0] if isinstance(value, list) and value else value)
            if found is not None and found.warning:
                notes.warn(
                    row.where, "odd-code", f"column {column!r}: {found.warning}", column, value
                )
            return found.text if found else None
        if rule.separator:
            return _several(value, rule.separator)
        if mapped and not isinstance(value, list):
            text = text_of(value)
            if text is not None and text.casefold() in mapped:
                return mapped[text.casefold()]
        if rule.html:
            text = text_of(value)
            if text and rule.line_break:
                text = unbroken(text, rule.line_break)
            return html_text.to_text(text) or None if text else None
        if rule.type == "number":
            return number_of(value)
        if rule.type == "bool":
            return _truth(value)
        return _plain(value)

    def step(value: Any, row: RowValues) -> None:
        if name not in row.attributes:
            found = convert(value, row)
            if found is not None:
                row.attributes[name] = found

    return step


def _several(value: Any, separator: str) -> str | list[str] | None:
    parts: list[str] = []
    for text in texts_of(value):
        parts += split_list(text, separator)
    if len(parts) > 1:
        return parts
    return parts[0] if parts else None


def plain_attribute(name: str, text: bool) -> CellStep:
    """A value as it stands. ``text``: cells are text, so they are trimmed."""

    def step(value: Any, row: RowValues) -> None:
        if name in row.attributes:
            return
        if type(value) is str:
            value = trim(value) if text else value
            if value.strip():
                row.attributes[name] = value
        elif not is_missing(value):
            row.attributes[name] = value

    return step


def code_attribute(name: str) -> CellStep:
    """An id as an attribute; what is wrong with it was said of the field."""

    def step(value: Any, row: RowValues) -> None:
        if is_plain_code(value):
            row.attributes[name] = value
            return
        found = identifiers.clean(value)
        if found is not None:
            row.attributes[name] = found.text

    return step


def _unquoted(text: str) -> str:
    """A value without the quotes around it, as Magento writes one that holds a separator."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        return trim(text[1:-1].replace('""', '"'))
    return text


def packed(rule: PackedRule) -> CellStep:
    """Several attributes in one cell: ``color=Red,size=M``, or objects with a name and values. A
    separator inside a value parts nothing, since no name follows it."""
    fields = {snake_case(name): field for name, field in rule.fields.items()}

    def step(value: Any, row: RowValues) -> None:
        for number, (name, values) in enumerate(_pairs(value, rule), 1):
            field = fields.get(snake_case(name))
            if field is not None:
                if getattr(row, field) is None:
                    setattr(row, field, values[0])
            elif rule.options:
                row.options.append(FoundOption(number, trim(name), ", ".join(values)))
            else:
                row.attributes.setdefault(
                    attribute_name(name), values if len(values) > 1 else values[0]
                )

    return step


def _pairs(value: Any, rule: PackedRule) -> list[tuple[str, list[str]]]:
    """Names and their values, of which there is one at least."""
    if isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        found = [_named(part) for part in value if isinstance(part, Mapping)]
        return [(name, values) for name, values in found if snake_case(name) and values]
    pairs: list[list[str]] = []
    for piece in (text_of(value) or "").split(rule.separator):
        name, assigned, rest = piece.partition(rule.assign)
        if assigned and snake_case(name):
            pairs.append([name, rest])
        elif pairs:
            pairs[-1][1] += rule.separator + piece
    said = [(name, _unquoted(trim(rest))) for name, rest in pairs]
    found = [
        (name, list(split_list(text, rule.several)) if rule.several else [text])
        for name, text in said
        if text
    ]
    # Of separators alone nothing is left.
    return [(name, values) for name, values in found if values]


def _named(part: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The name and the values of ``{"name": "Colour", "options": ["Red"]}``."""
    name = text_of(part.get("name") or part.get("key") or part.get("code"))
    value = next((part[key] for key in _VALUES if part.get(key) not in (None, "", [])), None)
    return name or "", texts_of(value)


def _plain(value: Any) -> Any:
    if type(value) is str:
        return trim(value) or None
    return None if is_missing(value) else value


def _truth(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    text = text_of(value)
    if text is None:
        return None
    word = text.casefold()
    if word in _YES or word in _NO:
        return word in _YES
    raise ValueError(f"expected yes or no, got {text[:60]!r}")
