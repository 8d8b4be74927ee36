"""Content of a product's row: what a write makes of it, and which parts that replaces."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from indexer.catalog.attribute_types import ReadAttributes, StoredTypes
from indexer.catalog.limits import check_stored_attributes
from indexer.catalog.product_checks import CheckedProduct, checked_field, checked_title
from indexer.catalog.product_rows import StoredContent, dump_some, kept_values, merged_values
from indexer.catalog.records import ProductInput, category_path, dump, load
from indexer.catalog.undo_journal import ReplacedParts, differences
from indexer.core.errors import BadProductError


class PatchedContent(NamedTuple):
    """A row's content after a patch. ``fields``: those that got a value."""

    content: StoredContent
    read: ReadAttributes
    parts: ReplacedParts
    fields: Set[str]


def put_content(
    types: StoredTypes,
    product: ProductInput,
    checked: CheckedProduct,
    old: StoredContent | None,
    keep: frozenset[str],
) -> tuple[StoredContent, ReadAttributes]:
    """The row's content, with the values of ``old`` that stay, and what its attributes change.

    Raises ``BadProductError``.
    """
    if old is None:
        keep = frozenset()
    given = product.attributes
    if keep:
        given = {name: value for name, value in given.items() if name not in keep}
    read = types.read(given)
    attributes = read.values
    spellings = read.spellings
    fields = checked.fields
    title = product.title
    category = None if checked.category is None else dump(checked.category)
    if old is not None and keep:
        title = old.title if "title" in keep else title
        category = old.category if "category" in keep else category
        attributes = {**attributes, **kept_values(old.attributes, keep)}
        spellings = {**spellings, **kept_values(old.spellings, keep)}
        fields = {name: value for name, value in fields.items() if name not in keep}
        fields |= kept_values(old.fields, keep)
    stored_as = dump(attributes)
    check_stored_attributes(attributes, stored_as)
    return StoredContent(title, category, stored_as, dump_some(fields), dump_some(spellings)), read


def patched_content(
    types: StoredTypes, old: StoredContent, changes: Mapping[str, Any]
) -> PatchedContent:
    """``old`` with ``changes``, of which only what they name is read. Raises
    ``BadProductError``."""
    title, category, attributes, fields, spellings = old
    read = ReadAttributes()
    parts: ReplacedParts = {}
    named: Set[str] = frozenset()
    if "title" in changes:
        title = None if changes["title"] is None else checked_title(changes["title"])
        if title != old.title:
            parts["title"] = (old.title, title)
    if "category" in changes:
        path = category_path(changes["category"])
        category = None if path is None else dump(path)
        if category != old.category:
            before = None if old.category is None else load(old.category)
            parts["category"] = (before, None if path is None else list(path))
    if "attributes" in changes:
        given = changes["attributes"]
        read = types.read(given)
        held = load(old.attributes)
        merged = merged_values(held, given, read.values)
        attributes = dump(merged)
        check_stored_attributes(merged, attributes)
        spelled = load(old.spellings) if old.spellings else {}
        written = {name: text for name, text in spelled.items() if name not in given}
        written |= read.spellings
        spellings = dump_some(written)
        for name in given:
            was = None if name not in held else [held[name], spelled.get(name)]
            now = None if name not in merged else [merged[name], written.get(name)]
            differences(parts, f"attributes/{name}", was, now)
    if "fields" in changes:
        if not isinstance(changes["fields"], Mapping):
            raise BadProductError(f"fields must be an object, got {changes['fields']!a}")
        given = {name: checked_field(name, value) for name, value in changes["fields"].items()}
        held = load(old.fields) if old.fields else {}
        merged = merged_values(held, given, given)
        fields = dump_some(merged)
        named = given.keys() & merged.keys()
        for name in given:
            differences(parts, f"fields/{name}", held.get(name), merged.get(name))
    return PatchedContent(
        StoredContent(title, category, attributes, fields, spellings), read, parts, named
    )
