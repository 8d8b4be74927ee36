"""Typed keywords of the client's calls, one group for each request model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from indexer.catalog.product_fields import Availability, MarketPrice
from indexer.feeds.column_roles import ColumnRole
from service.query.query import (
    FilterExpression,
    GroupKeywords,
    OutOfStock,
    ResultKeywords,
    SearchOptionKeywords,
    ShownKeywords,
    StateKeywords,
)

Attributes = Mapping[str, object]


class QueryKeywords(StateKeywords, total=False):
    """A stored product, and ``crop`` [x, y, width, height] in px."""

    product_id: str | None
    crop: Sequence[int] | None


class SearchKeywords(SearchOptionKeywords, QueryKeywords, total=False):
    """A search by photo, product or text."""

    text: str | None


class SearchBatchKeywords(ResultKeywords, StateKeywords, total=False):
    """A search by each of many photos."""


class ObjectsKeywords(StateKeywords, total=False):
    """The products in a busy photo."""

    k: int | None
    most: int | None
    filter: FilterExpression | None


class ExplainKeywords(QueryKeywords, total=False):
    """A heat map of a category, or of the pair with the product ``other``."""

    category: str | Sequence[str] | None
    other: str | None


class FacetsKeywords(TypedDict, total=False):
    """Counts of values."""

    filter: FilterExpression | None
    fields: Sequence[str] | None
    limit: int | None
    group_by: str | None
    out_of_stock: OutOfStock | None
    min_sequence: int | None


class ReviewKeywords(StateKeywords, total=False):
    """A listing to review."""

    product_id: str | None
    profile: str | None
    external_id: str | None
    title: str | None


class ReviewsKeywords(TypedDict, total=False):
    """Which reviews."""

    state: Literal["open", "approved", "rejected"] | None
    limit: int | None
    after: str | None


class FeedbackKeywords(TypedDict, total=False):
    """What people made of an answer."""

    accepted: Sequence[str] | None
    rejected: Sequence[str] | None
    added: Sequence[str] | None
    clicked: Sequence[str] | None
    category: str | Sequence[str] | None
    product_id: str | None


class FieldKeywords(TypedDict, total=False):
    """What a shop's page shows of a product; None removes one from a stored product."""

    url: str | None
    price: float | None
    sale_price: float | None
    currency: str | None
    availability: Availability | None
    brand: str | None
    gtin: str | None
    sku: str | None
    parent: str | None
    variant: str | None
    titles: Mapping[str, str] | None
    categories: Mapping[str, str | Sequence[str]] | None
    prices: Mapping[str, MarketPrice] | None


class PutKeywords(FieldKeywords, total=False):
    """A whole product but its photos."""

    title: str | None
    category: str | Sequence[str] | None
    tags: Sequence[str | Mapping[str, str]]
    attributes: Attributes
    external_version: int | None


class PatchKeywords(FieldKeywords, total=False):
    """Fields to change."""

    title: str | None
    category: str | Sequence[str] | None
    tags: Sequence[str]
    attributes: Attributes
    external_version: int | None


class DeleteKeywords(TypedDict, total=False):
    """How a product is erased."""

    external_version: int | None
    ticket: bool | None


class ClassKeywords(TypedDict, total=False):
    """Which class: by ``id``, or by ``label`` and ``kind``."""

    id: int | None
    label: str | None
    kind: Literal["category", "tag"] | None


class RecommendKeywords(GroupKeywords, ShownKeywords, StateKeywords, total=False):
    """What suits a shopper."""

    k: int | None
    filter: FilterExpression | None
    mode: Literal["similar", "complete"] | None
    diversity: float | None


class ImportKeywords(TypedDict, total=False):
    """A feed to import; ``path`` is a folder of the service's machine."""

    path: str | None
    url: str | None
    profile: str | None
    map: Mapping[str, ColumnRole] | None
    save_as: str | None
    encoding: str | None
    delimiter: str | None
    fetch: bool | None
    accept: bool | None
    photos: Literal["copy", "reference", "forget"] | None
    sync: bool | None
    allow_deletes: int | None
    feed: str | None
    dry_run: bool | None
    types: Mapping[str, str] | None


class BuildKeywords(TypedDict, total=False):
    """An index version to build."""

    model: str | None
    recall: float | None
    activate: bool | None
