"""Limits on what one product may hold, so that no product costs all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from indexer.core.errors import BadProductError
from indexer.core.nesting import TOO_DEEP, is_deeper

# Characters of a title, of a tag, of a level of a category, of an attribute's name.
LONGEST_TITLE = 20_000
LONGEST_TAG = 1000
LONGEST_LEVEL = 1000
LONGEST_NAME = 200
MOST_TAGS = 1000
MOST_LEVELS = 64
MOST_ATTRIBUTES = 2000
# Characters of an attribute's value, of a list's elements together.
LONGEST_VALUE = 100_000
MOST_ELEMENTS = 5000
# Bytes of all attributes of a product, as they are stored.
LARGEST_ATTRIBUTES = 2**20


def check_length(what: str, text: str, longest: int) -> None:
    """Raise ``BadProductError`` for a text that is longer."""
    if len(text) > longest:
        raise BadProductError(
            f"{what} has {len(text):,} characters, at most {longest:,} are stored: {text[:40]!a}..."
        )


def check_count(what: str, count: int, most: int) -> None:
    """Raise ``BadProductError`` for more."""
    if count > most:
        raise BadProductError(f"{what}: {count:,} are given, at most {most:,} are stored")


def check_given_attributes(given: Mapping[str, Any]) -> None:
    """Raise ``BadProductError`` for attributes as they are sent that are too many or too long."""
    check_count("attributes", len(given), MOST_ATTRIBUTES)
    for name, value in given.items():
        check_attribute(name, value)


def check_attribute(name: object, value: object) -> None:
    """Raise ``BadProductError`` for an attribute whose name or value is too long, or whose value is
    nested too deep."""
    if isinstance(name, str) and len(name) > LONGEST_NAME:
        check_length("an attribute's name", name, LONGEST_NAME)
    if isinstance(value, str) and len(value) > LONGEST_VALUE:
        check_length(f"attribute {str(name)[:60]!a}", value, LONGEST_VALUE)
    elif is_deeper(value):
        raise BadProductError(f"attribute {str(name)[:60]!a} is {TOO_DEEP}")
    elif isinstance(value, list):
        what = f"attribute {str(name)[:60]!a}"
        check_count(what, len(value), MOST_ELEMENTS)
        total = sum(len(part) for part in value if isinstance(part, str))
        check_count(f"{what}, characters of its elements", total, LONGEST_VALUE)


def check_stored_attributes(values: Mapping[str, Any], stored: str) -> None:
    """Raise ``BadProductError`` for a product that would hold too much with what it has already;
    ``stored``: the values as JSON."""
    check_count("attributes with those that the product has", len(values), MOST_ATTRIBUTES)
    size = len(stored) if stored.isascii() else len(stored.encode())
    check_count("attributes, bytes of all of them", size, LARGEST_ATTRIBUTES)
