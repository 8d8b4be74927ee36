"""Groups of products in results, such as the variants of one parent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from indexer.catalog.attributes import datetime_text
from indexer.catalog.families import PARENT
from indexer.catalog.filters import BUILT_IN, Element, FieldKind, Filter
from indexer.catalog.product_fields import FIELD_TYPES
from indexer.catalog.records import Product
from indexer.core.errors import BadFilterError
from indexer.index.filter_columns import BoundFilter, FilterColumns, shown
from indexer.index.group_search import among
from indexer.index.live import LiveIndex
from indexer.index.product_codes import SINGLE, CodedFields, ProductCodes
from indexer.index.product_hits import ProductHits, is_among
from service.query.filters import FilterParser, KnownFields
from service.query.query import GroupFields, OutOfStock
from service.query.response import FoundProduct, ResultGroup, photo_of
from service.query.shown_product import Presentation
from service.query.stock import StockFilter
from service.state.snapshot import Snapshot

_PRICE, _CURRENCY = "price", "currency"


@dataclass(frozen=True)
class Grouping:
    """How the results of one question are grouped, and what is rolled up over a group."""

    codes: ProductCodes
    columns: FilterColumns
    # Products shown of each group, the leading one among them; what is out of stock after the rest.
    size: int
    stock_first: bool
    price: ProductCodes | None
    currency: ProductCodes | None
    # What is not out of stock; None where the catalog does not say.
    in_stock: BoundFilter | None


@dataclass(frozen=True)
class GroupCard:
    """One group on a page. ``members``: pid, photo id and score of those beside its leader."""

    value: str | float | bool | None
    size: int
    price_min: float | None
    price_max: float | None
    in_stock: bool | None
    members: list[tuple[int, int, float]]


class MemberSearch(Protocol):
    """A question that can be put to some products alone."""

    @property
    def exact(self) -> bool:
        """Whether products are left out by more than their filter, as by their score."""

    def find_members(self, k: int, where: Filter) -> ProductHits:
        """Those of at most ``k`` products that pass ``where`` and match, best first."""


class GroupReader:
    """Reads which products belong together; changes neither index nor catalog."""

    def __init__(self, filters: FilterParser, stock: StockFilter) -> None:
        self._filters = filters
        self._stock = stock

    def fields(self, snapshot: Snapshot) -> KnownFields:
        """What the products of a snapshot can be grouped by."""
        return self._filters.fields(snapshot)

    def grouping(
        self, fields: KnownFields, asked: GroupFields, handling: OutOfStock
    ) -> Grouping | None:
        """How to group as ``asked``; None for no groups. Raises ``BadFilterError``."""
        if asked.group_by is None:
            return None
        return Grouping(
            self.codes(fields, asked.group_by),
            fields.columns,
            asked.group_size,
            handling == "last",
            self._typed(fields, _PRICE, "number"),
            self._typed(fields, _CURRENCY, "string"),
            self._stock.bind(fields, None),
        )

    def codes(self, fields: KnownFields, field: str) -> ProductCodes:
        """Which products have one value of a field. Raises ``BadFilterError``."""
        types = {"category": "category", **FIELD_TYPES, **fields.types}
        kind: Any = types.get(field)
        if kind not in SINGLE:
            if field in types or field in BUILT_IN:
                raise BadFilterError(
                    f"group_by: {field} may have several values a product, or none in common: "
                    "group by parent, category or an attribute with one value"
                )
            known = (name for name in fields.types if types[name] in SINGLE)
            names = ", ".join(list(dict.fromkeys([PARENT, "category", *known]))[:20])
            raise BadFilterError(f"group_by: no field {field!r} to group by; there are: {names}")
        coded = fields.snapshot.derived_from_index(CodedFields)
        return coded.codes(fields.columns, field, kind)

    def _typed(self, fields: KnownFields, field: str, kind: str) -> ProductCodes | None:
        """The codes of a field if the catalog has one of this type."""
        return self.codes(fields, field) if fields.types.get(field) == kind else None

    def relatives(self, fields: KnownFields, pids: Iterable[int]) -> frozenset[int]:
        """These products and all that have the parent of one of them."""
        own = frozenset(pids)
        if not own or fields.types.get(PARENT) not in SINGLE:
            return own
        codes = self.codes(fields, PARENT)
        given = np.fromiter(own, np.int64, len(own))
        return own | frozenset(codes.members(codes.of(given)).tolist())

    def one_each(self, fields: KnownFields, pids: Sequence[int]) -> list[int]:
        """Places of the first of each parent's variants."""
        if fields.types.get(PARENT) not in SINGLE:
            return list(range(len(pids)))
        codes = self.codes(fields, PARENT)
        _, first = np.unique(codes.of(np.array(pids, np.int64)), return_index=True)
        return sorted(first.tolist())


def group_cards(
    live: LiveIndex,
    grouping: Grouping,
    leaders: ProductHits,
    where: Filter | None,
    exclude: AbstractSet[int],
    search: MemberSearch,
) -> list[GroupCard]:
    """A card for each of the ``leaders``, over the products of its group that match: those that
    pass ``where``, are not excluded, and whom ``search`` finds.

    The price is that of products with the leader's currency.
    """
    codes = grouping.codes
    own = codes.of(leaders.pids)
    pids = codes.members(own)
    if exclude:
        pids = pids[~is_among(pids, np.fromiter(exclude, np.int64, len(exclude)))]
    hits = None
    if grouping.size > 1 or search.exact:
        hits = search.find_members(max(len(pids), 1), among(where, grouping.columns, pids))
        pids = hits.pids
    else:
        pids = pids[live.passing(pids, where)]
    order = np.argsort(own)
    place = order[np.minimum(np.searchsorted(own[order], codes.of(pids)), len(own) - 1)]
    low, high = _prices(grouping, leaders.pids, pids, place)
    available = live.passing(pids, grouping.in_stock)
    in_stock = np.bincount(place[available], minlength=len(own)) > 0
    members = _members(grouping, leaders, hits, place, available)
    sizes = np.maximum(np.bincount(place, minlength=len(own)), 1)
    rows = zip(
        codes.values_of(own),
        sizes.tolist(),
        low.tolist(),
        high.tolist(),
        in_stock.tolist(),
        members,
        strict=True,
    )
    known = grouping.in_stock is not None
    return [
        GroupCard(
            _value(value, codes.kind),
            size,
            number_or_none(least),
            number_or_none(most),
            stocked if known else None,
            beside,
        )
        for value, size, least, most, stocked, beside in rows
    ]


def _prices(
    grouping: Grouping, leaders: np.ndarray, pids: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest price of each leader's group, float64; NaN without one."""
    low = np.full(len(leaders), np.inf)
    high = np.full(len(leaders), -np.inf)
    if grouping.price is not None:
        prices = grouping.price.numbers(grouping.price.of(pids))
        counted = ~np.isnan(prices)
        if grouping.currency is not None:
            theirs = np.maximum(grouping.currency.of(pids), -1)
            counted &= theirs == np.maximum(grouping.currency.of(leaders), -1)[place]
        np.minimum.at(low, place[counted], prices[counted])
        np.maximum.at(high, place[counted], prices[counted])
    return np.where(np.isinf(low), np.nan, low), np.where(np.isinf(high), np.nan, high)


def _members(
    grouping: Grouping,
    leaders: ProductHits,
    hits: ProductHits | None,
    place: np.ndarray,
    stocked: np.ndarray,
) -> list[list[tuple[int, int, float]]]:
    """Of each group the best members beside its leader."""
    members: list[list[tuple[int, int, float]]] = [[] for _ in range(len(leaders))]
    if hits is None or grouping.size == 1:
        return members
    beside = np.flatnonzero(hits.pids != leaders.pids[place])
    if grouping.stock_first:
        beside = beside[np.argsort(~stocked[beside], kind="stable")]
    beside = beside[np.argsort(place[beside], kind="stable")]
    groups = place[beside]
    rank = np.arange(len(beside)) - np.searchsorted(groups, groups)
    chosen = beside[rank < grouping.size - 1]
    rows = zip(
        place[chosen].tolist(),
        hits.pids[chosen].tolist(),
        hits.photo_ids[chosen].tolist(),
        hits.scores[chosen].tolist(),
        strict=True,
    )
    for at, pid, photo_id, score in rows:
        members[at].append((pid, photo_id, score))
    return members


def _value(value: Element | None, kind: FieldKind) -> str | float | bool | None:
    if value is None:
        return None
    if kind == "datetime":
        return datetime_text(float(value))
    found: str | float | bool = shown(value, kind)
    return found


def number_or_none(value: float) -> float | None:
    """A number of an array as JSON has it."""
    return None if math.isnan(value) else float(value)


def shown_group(
    card: GroupCard, products: Mapping[int, Product], view: Presentation
) -> ResultGroup:
    """A group as an answer has it."""
    members = []
    for pid, photo_id, score in card.members:
        product = products[pid]
        photo = photo_of(product, photo_id)
        members.append(FoundProduct.of(product, photo, score, {}, view))
    prices = (card.price_min, card.price_max)
    return ResultGroup(card.value, card.size, *prices, card.in_stock, members)
