"""Checks of a product before it is stored, with a message for what cannot be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from indexer.catalog.limits import LONGEST_TITLE, check_length
from indexer.catalog.product_fields import AVAILABILITIES, FIELD_NAMES, NO_FIELDS, ProductFields
from indexer.catalog.records import (
    ProductInput,
    bad_product_id,
    category_path,
    check_text,
    checked_tags,
)
from indexer.core.category_path import CategoryPath
from indexer.core.doubles import as_double
from indexer.core.errors import BadProductError

# Characters of a text field; an address may be longer.
_LONGEST = 1000
_LONGEST_URL = 4096
# Languages of a title, markets of a price.
_MOST_KEYS = 200
# Browsers take some of them out of an address before they read it: "java\tscript:".
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CURRENCY = re.compile(r"[A-Z]{3}")
_LOCALE = re.compile(r"[A-Za-z0-9]{1,8}([-_][A-Za-z0-9]{1,8}){0,3}")
# A shop gives its markets names: "International", "European Union".
_MARKET = re.compile(r"[^\W_](?:[\w .&+/()'-]{0,62}[\w.)])?")
_AMOUNTS = ("price", "sale_price")
_BY_KEY = ("titles", "categories", "prices")


class CheckedProduct(NamedTuple):
    """Parts of a product as they are stored."""

    category: CategoryPath | None
    # With their sources.
    tags: list[tuple[str, str]]
    fields: dict[str, Any]


def check_product(product: ProductInput, *, needs_photo: bool = True) -> CheckedProduct:
    """Everything about a product that can be checked without the catalog, but attributes. Raises
    ``BadProductError``."""
    reason = bad_product_id(check_text("product_id", product.product_id))
    if reason:
        raise BadProductError(reason)
    if product.title is not None:
        checked_title(product.title)
    checked = CheckedProduct(
        category_path(product.category), checked_tags(product.tags), checked_fields(product.fields)
    )
    for address in product.sources.values():
        checked_url("the address of a photo", check_text("the address of a photo", address))
    if needs_photo and not product.photos:
        raise BadProductError(f"product {product.product_id!r} has no photo")
    return checked


def checked_title(title: object) -> str:
    """A title as it is stored. Raises ``BadProductError``."""
    text = check_text("title", title)
    check_length("title", text, LONGEST_TITLE)
    return text


def checked_fields(given: ProductFields) -> dict[str, Any]:
    """The present fields as they are stored. Raises ``BadProductError`` that names the field."""
    if given is NO_FIELDS:
        return {}
    values = {}
    for name in FIELD_NAMES:
        value = getattr(given, name)
        if value is not None and (stored := checked_field(name, value)) is not None:
            values[name] = stored
    return values


def checked_field(name: str, value: Any) -> Any:
    """One field's value as it is stored: amounts are floats, blank text and empty objects None.

    Raises ``BadProductError`` that names the field and what it takes.
    """
    if name not in FIELD_NAMES:
        raise BadProductError(f"no field {name!a}; there are: {', '.join(FIELD_NAMES)}")
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if name in _AMOUNTS:
        return _amount(name, value)
    if name in _BY_KEY:
        return _by_key(name, value) or None
    text = check_text(name, value).strip()
    longest = _LONGEST_URL if name == "url" else _LONGEST
    if len(text) > longest:
        raise BadProductError(f"{name} has {len(text)} characters, more than {longest}")
    if _CONTROL.search(text):
        raise BadProductError(f"{name} holds a control character: {text[:60]!a}")
    if name == "url":
        return checked_url(name, text)
    if name == "currency":
        return _currency(name, text)
    if name == "availability" and text not in AVAILABILITIES:
        raise BadProductError(
            f"availability must be one of {', '.join(AVAILABILITIES)}, got {text!a}"
        )
    return text


def checked_url(name: str, text: str) -> str:
    """An address a page may link to: http, https or without a scheme. Raises
    ``BadProductError``."""
    if _CONTROL.search(text):
        raise BadProductError(f"{name} holds a control character: {text[:60]!a}")
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme.group(1).lower() not in ("http", "https"):
        raise BadProductError(f"{name} must be an http or https address, got {text[:60]!a}")
    return text


def _amount(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadProductError(
            f"{name} must be a number (the currency stands in currency), got {value!a}"
        )
    amount = as_double(value)
    if not math.isfinite(amount) or amount < 0:
        raise BadProductError(f"{name} must be 0 or more, got {value!a}")
    # -0.0 is 0.0.
    return amount + 0.0


def _currency(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        raise BadProductError(
            f"{name} must be a code of three capital letters like EUR, got {value!a}"
        )
    return value


def _by_key(name: str, value: Any) -> dict[str, Any]:
    """Titles and categories by language, prices by market."""
    if not isinstance(value, Mapping):
        raise BadProductError(f"{name} must be an object, got {value!a}")
    if len(value) > _MOST_KEYS:
        raise BadProductError(f"{name} has {len(value)} entries, more than {_MOST_KEYS}")
    found: dict[str, Any] = {}
    for key, entry in value.items():
        pattern = _MARKET if name == "prices" else _LOCALE
        if not isinstance(key, str) or not pattern.fullmatch(key):
            wanted = "a market like DE" if name == "prices" else "a language like de or de-AT"
            raise BadProductError(f"{name}: {key!a} is not {wanted}")
        where = f"{name}.{key}"
        if name == "titles":
            entry = checked_title(entry).strip() or None if entry is not None else None
        elif name == "categories":
            path = category_path(entry)
            entry = None if path is None else list(path)
        else:
            entry = _market_price(where, entry)
        if entry:
            found[key] = entry
    return found


def _market_price(where: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise BadProductError(f"{where} must be an object, got {given!a}")
    price: dict[str, Any] = {}
    for name, value in given.items():
        if name not in (*_AMOUNTS, "currency"):
            raise BadProductError(f"{where} takes price, sale_price and currency, not {name!a}")
        if value is not None:
            check = _currency if name == "currency" else _amount
            price[name] = check(f"{where}.{name}", value)
    return price
