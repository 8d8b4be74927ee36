"""Roles of columns, as people name them when they correct what a column means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

ColumnRole = Literal[
    "id",
    "title",
    "category",
    "tags",
    "photo",
    "price",
    "sale_price",
    "before",
    "currency",
    "availability",
    "stock",
    "brand",
    "gtin",
    "sku",
    "parent",
    "variant",
    "url",
    "attribute",
    "leave_out",
]
ROLES: tuple[ColumnRole, ...] = get_args(ColumnRole)

# The words of a plan to the role that stands for them; the others say what no role can.
_WORDS: dict[str, ColumnRole] = {
    "product id": "id",
    "sale price": "sale_price",
    "price before a sale": "before",
    "left out": "leave_out",
    **{
        role: role
        for role in ROLES
        if role not in ("id", "sale_price", "before", "attribute", "leave_out")
    },
}


def role_of(meanings: Sequence[str]) -> ColumnRole | None:
    """The role of a column by what a plan makes of it; None where no role says that.

    >>> role_of(["gtin", "attribute barcode"]), role_of(["attribute fit"]), role_of(["option"])
    ('gtin', 'attribute', None)
    """
    if not meanings:
        return "leave_out"
    found = [_WORDS[meaning] for meaning in meanings if meaning in _WORDS]
    if found:
        return found[0]
    attribute = len(meanings) == 1 and meanings[0].startswith("attribute ")
    return "attribute" if attribute else None
