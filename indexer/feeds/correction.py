"""Correction of a profile: columns that mean something else than its rules say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from indexer.feeds.column_roles import ColumnRole
from indexer.feeds.columns import EXACT
from indexer.feeds.profile import AttributeRule, CategoryRule, FeedProfile, ListRule

# Roles that are columns of their own in a profile.
_PLAIN: tuple[ColumnRole, ...] = (
    *("id", "title", "url", "brand", "gtin", "sku", "parent", "variant"),
)
_PRICES: tuple[ColumnRole, ...] = ("price", "sale_price", "before", "currency")
# What belongs to one variant, and is never taken from another row of its product.
_OWN: tuple[ColumnRole, ...] = (
    *("id", "gtin", "sku", "availability", "stock"),
    *("price", "sale_price", "before"),
)
_LISTS = (",", "|", ";")


def apply_corrections(profile: FeedProfile) -> FeedProfile:
    """The profile with rules for its ``columns``; no other rule of it sees these."""
    if not profile.columns:
        return profile
    by_role: dict[ColumnRole, tuple[str, ...]] = {}
    for column, role in profile.columns.items():
        by_role[role] = (*by_role.get(role, ()), EXACT + column)
    changes = _selling(profile, by_role)
    for name in _PLAIN:
        if name in by_role:
            changes[name] = (*by_role[name], *getattr(profile, name))
    if "category" in by_role:
        old = profile.category[0] if profile.category else CategoryRule(columns=())
        rule = CategoryRule(columns=by_role["category"], separator=old.separator or ">")
        changes["category"] = (rule, *profile.category)
    if "tags" in by_role:
        separators = profile.tags[0].separators if profile.tags else _LISTS
        changes["tags"] = (
            ListRule(columns=by_role["tags"], separators=separators),
            *profile.tags,
        )
    if "photo" in by_role:
        photos = profile.photos
        update: dict[str, Any] = {"columns": (*photos.columns, *by_role["photo"])}
        if not photos.columns and not photos.separators:
            update["separators"] = _LISTS
        changes["photos"] = photos.model_copy(update=update)
    if "leave_out" in by_role:
        changes["drop"] = (*profile.drop, *by_role["leave_out"])
    if "attribute" in by_role and profile.others == "drop":
        changes["attributes"] = {**profile.attributes, **_attributes(by_role["attribute"])}
    if profile.own:
        own = [name for role in _OWN for name in by_role.get(role, ())]
        changes["own"] = (*profile.own, *own)
    return profile.model_copy(update=changes)


def _selling(profile: FeedProfile, by_role: dict[ColumnRole, tuple[str, ...]]) -> dict[str, Any]:
    """Changed rules of prices and stock."""
    prices: dict[str, Any] = {
        name: (*by_role[name], *getattr(profile.price, name)) for name in _PRICES if name in by_role
    }
    stock: dict[str, Any] = {
        name: (*by_role[name], *getattr(profile.stock, name))
        for name in ("availability", "stock")
        if name in by_role
    }
    found: dict[str, Any] = {}
    if prices:
        found["price"] = profile.price.model_copy(update=prices)
    if stock:
        found["stock"] = profile.stock.model_copy(update=stock)
    return found


def _attributes(names: Sequence[str]) -> dict[str, AttributeRule]:
    from indexer.feeds.attribute_steps import attribute_name

    return {
        attribute_name(name.removeprefix(EXACT)): AttributeRule(columns=(name,)) for name in names
    }
