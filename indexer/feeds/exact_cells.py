"""Cells of an exported file that hold a value as JSON, where plain text would be read otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from indexer.catalog.product_checks import checked_field, checked_title
from indexer.catalog.product_fields import FIELD_TYPES
from indexer.catalog.records import category_path, checked_tags
from indexer.core.errors import BadProductError
from indexer.core.nesting import is_deeper
from indexer.feeds.product import FeedProduct

# Column by which an import knows such a file.
MARK = "catalens_export"
# Before the name of an attribute whose column would mean something else.
ATTRIBUTE_PREFIX = "attribute:"
_EXACT = "json:"
# Columns of titles, categories and prices by language and market, the longer name first.
_BY_KEY = {"title_": "titles", "category_": "categories", "price_": "prices"}


class AsWritten(list[Any]):
    """A list of which blank parts count, too."""


def exact_cell(value: Any) -> str:
    """A value so that nothing about it is taken for a shop's way to write it.

    >>> exact_cell(["a|b"]), read_exact('json:["a|b"]')
    ('json:["a|b"]', ['a|b'])
    """
    return _EXACT + json.dumps(value, ensure_ascii=False)


def is_exact(cell: object) -> bool:
    """Whether a cell is one of ``exact_cell``."""
    return type(cell) is str and cell.startswith(_EXACT)


def read_exact(cell: str) -> Any:
    """The value of an ``exact_cell``. Raises ``ValueError``."""
    text = cell.removeprefix(_EXACT)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"there is no JSON behind {_EXACT!r}") from error
    if is_deeper(value):
        raise ValueError("the JSON is nested too deeply")
    return value


def quoted_column(name: str) -> str:
    """The column of an attribute that is not read under its plain name.

    >>> quoted_column("price"), quoted_column("price "), quoted_name('attribute:"price "')
    ('attribute:price', 'attribute:"price "', 'price ')
    """
    plain = name == name.strip() and name.isprintable() and not name.startswith('"')
    return ATTRIBUTE_PREFIX + (name if plain else json.dumps(name))


def quoted_name(column: str) -> str:
    """The attribute of a column, which ``quoted_column`` may have made."""
    name = column.removeprefix(ATTRIBUTE_PREFIX)
    if name != column and name.startswith('"'):
        try:
            return str(json.loads(name))
        except ValueError:
            return name
    return name


def with_exact(product: FeedProduct, column: str, value: Any) -> FeedProduct:
    """``product`` with what an exact cell of ``column`` says. Raises ``BadProductError``."""
    if column == "title":
        return replace(product, title=None if value is None else checked_title(value))
    if column == "category":
        if value is not None and not isinstance(value, list):
            raise BadProductError("category must be a list of levels")
        return replace(product, category=category_path(value))
    if column == "tags":
        if not isinstance(value, list):
            raise BadProductError("tags must be a list of texts")
        return replace(product, tags=tuple(tag for tag, _ in checked_tags(value)))
    if column in FIELD_TYPES:
        fields = replace(product.fields, **{column: checked_field(column, value)})
        return replace(product, fields=fields)
    for prefix, field in _BY_KEY.items():
        if column.startswith(prefix):
            held: dict[str, Any] = {**getattr(product.fields, field)}
            held |= checked_field(field, {column.removeprefix(prefix): value}) or {}
            if field == "categories":
                held = {key: tuple(path) for key, path in held.items()}
            changed: dict[str, Any] = {field: held}
            return replace(product, fields=replace(product.fields, **changed))
    if isinstance(value, list):
        value = AsWritten(value)
    return replace(product, attributes={**product.attributes, quoted_name(column): value})
