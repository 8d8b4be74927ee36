"""Query input and search options, the one list of search parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Any, Literal, Self, TypedDict

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from indexer.core.errors import BadRequestError
from indexer.imaging.decode import hash_content
from service.query.response import RecommendedProduct, SearchResult
from service.query.shown_product import Presentation, known_names, split_names

RawFilter = dict[str, Any]  # as sent, see `indexer.catalog.filters.parse_filter`
FilterExpression = Mapping[str, object]  # the same, as callers of the client write it
Crop = tuple[int, int, int, int]  # x, y, width, height in px of the upright image

_FILTER = (
    '`{"must": [...], "should": [...], "must_not": [...]}` of `{"field", "eq"}`, `{"field", '
    '"in"}`, `{"field", "gte", "gt", "lte", "lt"}`, `{"field", "exists"}`, or of such objects '
    "again. Fields: category (a label, or a path from the top that products below it match too), "
    "tags, product_id and the attributes."
)
_WEIGHTS = "How much each block of the embedding counts, by name; a block left out does not."
_MIX = "How much each input counts: image, product_id, text; equally if not given."
_EXPLAIN = (
    "Whether each result's `signals` also hold the cosine of each block of the embedding with the "
    "question, under the block's name (`a` article and style, `c` colour, `g` general), as they do "
    "where `weights` are given."
)
_COLLAPSE = "Of results with the same photo, or nearly the same, only the best is given."
_CURSOR = (
    "The `next_cursor` of the page before; all else but `k` and `explain` as it was asked there."
)
_GROUP_BY = (
    "One result for each value of a field, the product that matches best: `parent` for one of each "
    "product's variants, or an attribute with one value a product. Products without a value are "
    "results of their own. `k` and pages then count groups."
)
_GROUP_SIZE = (
    "With `group_by`: how many products of a group are given, the further ones in `group.members`."
)
_OUT_OF_STOCK = (
    "What is out of stock (setting `out_of_stock`): `show` it like all else, `last`, after all "
    "that is not, or `hide` it. Unless given, the setting `out_of_stock_results` says."
)
FIELDS_HELP = (
    "Of each product only these fields, e.g. `product_id,title,price`: a list, or one text with "
    "commas; all unless given."
)
_LOCALE = (
    "Language of titles and categories, e.g. `de` or `de-AT`, where a product has them; else as "
    "stored first."
)
_MARKET = "Market of prices, e.g. `CH`, where a product has them; else as stored first."
_MIN_SEQUENCE = "Answer only from a state that holds this change (a write's `sequence`)."
_VERSION = "Answer from this index version and its model instead of the serving one."

Whole = Annotated[int, Field(strict=True)]
Weight = Annotated[float, Field(strict=True, ge=0)]
WeightsField = Annotated[dict[Annotated[str, Field(max_length=64)], Weight], Field(max_length=64)]
ProductId = Annotated[str, Field(min_length=1, max_length=256)]
Collapse = Literal["none", "same_photo", "near_duplicate"]
OutOfStock = Literal["show", "last", "hide"]
GroupBy = Annotated[str, Field(min_length=1, max_length=256)]
Locale = Annotated[str, Field(pattern=r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8}){0,3}$")]
Market = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,15}$")]
FieldNames = Annotated[list[str], BeforeValidator(split_names), Field(max_length=64)]
ResultFields = Annotated[FieldNames, AfterValidator(partial(known_names, SearchResult))]
RecommendedFields = Annotated[FieldNames, AfterValidator(partial(known_names, RecommendedProduct))]
FilterField = Annotated[RawFilter | None, Field(description=_FILTER)]


@dataclass(frozen=True)
class Query:
    """Input of a query: a photo's bytes, a stored product, a text, or several of them."""

    image: bytes | None = None
    product_id: str | None = None
    crop: Crop | None = None
    text: str | None = None

    @cached_property
    def image_hash(self) -> str:
        """The photo's content hash; "" without one."""
        return "" if self.image is None else hash_content(self.image)


class RequestModel(BaseModel):
    """Base of everything a client sends: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @classmethod
    def of(cls, options: Self | None, fields: dict[str, Any]) -> Self:
        """``options``, or a new model of its ``fields`` by name. Raises ``BadRequestError``."""
        if options is not None:
            return options.model_copy(update=fields) if fields else options
        try:
            return cls(**fields)
        except ValidationError as error:
            entry = error.errors(include_url=False, include_context=False)[0]
            name = ".".join(str(part) for part in entry["loc"])
            raise BadRequestError(f"{name}: {entry['msg']}") from None


class SnapshotSelector(RequestModel):
    """Which state of which index version answers."""

    min_sequence: Annotated[Whole, Field(ge=0)] | None = Field(
        default=None, description=_MIN_SEQUENCE
    )
    version: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description=_VERSION
    )


class GroupFields(RequestModel):
    """How results are grouped, and what becomes of those that are out of stock."""

    group_by: GroupBy | None = Field(default=None, description=_GROUP_BY)
    group_size: Annotated[Whole, Field(ge=1, le=20)] = Field(default=1, description=_GROUP_SIZE)
    out_of_stock: OutOfStock | None = Field(default=None, description=_OUT_OF_STOCK)


class ShownFields(RequestModel):
    """How the products of an answer are shown."""

    locale: Locale | None = Field(default=None, description=_LOCALE)
    market: Market | None = Field(default=None, description=_MARKET)

    def view(self) -> Presentation:
        """The language and the market that were asked for."""
        return Presentation(self.locale, self.market)


class SearchFields(GroupFields, ShownFields):
    """Search parameters that hold for one photo as for many."""

    k: Annotated[Whole, Field(ge=1, le=1000)] = Field(default=20, description="How many products.")
    exclude: list[ProductId] = Field(
        default=[], max_length=10_000, description="Ids of products to leave out."
    )
    min_score: Annotated[float, Field(strict=True, ge=-1, le=1)] | None = None
    filter: FilterField = None
    weights: WeightsField | None = Field(default=None, description=_WEIGHTS)
    collapse: Collapse = Field(default="none", description=_COLLAPSE)
    explain: Annotated[bool, Field(strict=True)] = Field(default=False, description=_EXPLAIN)
    fields: ResultFields = Field(default=[], description=FIELDS_HELP)


class SearchOptions(SearchFields, SnapshotSelector):
    """All parameters of one search beside its query.

    A new one stands here and where it is used: request bodies, query strings, the cursor's
    fingerprint, the client and the command line follow.
    """

    mix: WeightsField | None = Field(default=None, description=_MIX)
    cursor: Annotated[str, Field(max_length=1024, description=_CURSOR)] | None = None


class StateKeywords(TypedDict, total=False):
    """Typed keywords of ``SnapshotSelector``, for callers of the client."""

    min_sequence: int | None
    version: str | None


class GroupKeywords(TypedDict, total=False):
    """Typed keywords of ``GroupFields``."""

    group_by: str | None
    group_size: int | None
    out_of_stock: OutOfStock | None


class ShownKeywords(TypedDict, total=False):
    """Typed keywords of ``ShownFields``, and the fields to show."""

    fields: Sequence[str] | None
    locale: str | None
    market: str | None


class ResultKeywords(GroupKeywords, ShownKeywords, total=False):
    """Typed keywords of ``SearchFields``."""

    k: int | None
    exclude: Sequence[str] | None
    min_score: float | None
    filter: FilterExpression | None
    weights: Mapping[str, float] | None
    collapse: Collapse | None
    explain: bool | None


class SearchOptionKeywords(ResultKeywords, StateKeywords, total=False):
    """Typed keywords of ``SearchOptions``."""

    mix: Mapping[str, float] | None
    cursor: str | None


# What may differ between two pages of one search.
PAGING = frozenset(
    {"k", "explain", "cursor", "fields", *SnapshotSelector.model_fields, *ShownFields.model_fields}
)


def fingerprint_fields(query: Query, options: SearchOptions) -> dict[str, Any]:
    """All that decides which products come in which order, as plain JSON values."""
    chosen = {
        name: getattr(options, name) for name in SearchOptions.model_fields if name not in PAGING
    }
    return {
        "image": query.image_hash or None,
        "product_id": query.product_id,
        "crop": query.crop,
        "text": query.text,
        **chosen,
        "exclude": sorted(options.exclude),
    }
