"""Typed results of queries, and the envelope that each answer is sent in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Protocol, Self, TypeVar, cast

import orjson
from pydantic import Field

from indexer.catalog.records import Product
from indexer.core.timer import StageTimer
from service.query.own_address import image_url
from service.query.predictions import AttributePrediction, CategoryPrediction, NearestKind, StandsOn
from service.query.shown_product import PLAIN, Presentation, ShownProduct

if TYPE_CHECKING:
    from service.state.snapshots import Snapshot

JsonDocument = dict[str, Any]  # a JSON document without a shape of its own
Content = TypeVar("Content", covariant=True)
Framed = TypeVar("Framed")


# Marks a field of a result that an answer leaves out where it is None.
OPTIONAL = {"optional": True}


# -- the frame


@dataclass(frozen=True)
class Envelope(Generic[Content]):
    """One answer: its content, the versions that gave it, and the milliseconds by stage."""

    content: Content
    model_version: str | None
    index_version: str | None
    timings_ms: dict[str, float]
    # Of each product the fields that were asked for; none: all.
    chosen: frozenset[str] = frozenset()
    # Whether all that was written to the catalog was looked at.
    complete: bool = True

    @staticmethod
    def around(content: Framed, snapshot: Snapshot | None, timer: StageTimer) -> Envelope[Framed]:
        """Frame ``content`` with what it was answered from; to be called once per request."""
        return Envelope(
            content,
            snapshot.model_version if snapshot else None,
            snapshot.index_version if snapshot else None,
            timer.milliseconds(),
        )

    def with_content(self, content: Framed) -> Envelope[Framed]:
        """The same frame around ``content``, for what a route makes of a result."""
        return Envelope(
            content,
            self.model_version,
            self.index_version,
            self.timings_ms,
            self.chosen,
            self.complete,
        )

    def choosing(self, fields: Iterable[str]) -> Self:
        """The same answer with these fields of each product alone."""
        return dataclasses.replace(self, chosen=frozenset(fields))

    def fields(self) -> JsonDocument:
        """Versions, the content's fields and timings on one level, for orjson to serialise."""
        return {
            "model_version": self.model_version,
            "index_version": self.index_version,
            **({} if self.complete else {"complete": False}),
            **fields_of(self.content, self.chosen),
            "timings_ms": self.timings_ms,
        }

    def to_json(self) -> JsonDocument:
        """The answer as clients of the service read it: plain dicts, lists and values."""
        document: JsonDocument = orjson.loads(orjson.dumps(self.fields()))
        return document


def fields_of(result: Any, chosen: frozenset[str] = frozenset()) -> JsonDocument:
    """The fields of a result by name, without optional ones that are None and those ``absent``.

    ``chosen``: of each product these alone. Values are left for orjson, except rows that may lack
    fields themselves.
    """
    found: JsonDocument = {}
    only = chosen if isinstance(result, ShownProduct) else frozenset[str]()
    absent = result.absent() if hasattr(result, "absent") else ()
    for name, leave_out in _fields(cast(Any, type(result))):
        value = getattr(result, name)
        if (value is None and leave_out) or name in absent or (only and name not in only):
            continue
        if isinstance(value, list):
            value = [_row(row, chosen) for row in value]
        elif dataclasses.is_dataclass(value):
            value = _row(value, chosen)
        found[name] = value
    return found


def _row(row: Any, chosen: frozenset[str]) -> Any:
    if not dataclasses.is_dataclass(row):
        return row
    lacks = _may_lack(cast(Any, type(row))) or (chosen and isinstance(row, ShownProduct))
    return fields_of(row, chosen) if lacks or _holds_rows(row) else row


def _holds_rows(row: Any) -> bool:
    """Whether a row has rows of its own, which may lack fields as it may."""
    values = [getattr(row, name) for name, _ in _fields(cast(Any, type(row)))]
    return any(isinstance(one, list) or dataclasses.is_dataclass(one) for one in values)


@cache
def _fields(kind: Any) -> tuple[tuple[str, bool], ...]:
    return tuple((entry.name, "optional" in entry.metadata) for entry in dataclasses.fields(kind))


@cache
def _may_lack(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) and (
        hasattr(kind, "absent") or any(leave_out for _, leave_out in _fields(cast(Any, kind)))
    )


@dataclass(frozen=True)
class Suggestions:
    """What feedback on an answer can be about: the tags and products that it suggested."""

    tags: tuple[str, ...] = ()
    products: tuple[str, ...] = ()


class Suggesting(Protocol):
    """A result that feedback can name."""

    def suggestions(self) -> Suggestions | None:
        """What it suggests; None where it suggests nothing."""


def photo_of(product: Product, photo_id: int) -> str:
    """The content hash of one of a product's photos."""
    return product.photos[product.photo_ids.index(photo_id)]


# -- categories


@dataclass(frozen=True)
class Classification:
    """Categories, best first, what the photo shows of attributes, and whether it is of a kind the
    model does not know: then the nearest kinds stand in place of the categories."""

    categories: list[CategoryPrediction]
    unknown: bool
    attributes: list[AttributePrediction] = field(default_factory=list)
    nearest_kinds: list[NearestKind] | None = field(default=None, metadata=OPTIONAL)

    def suggestions(self) -> Suggestions:
        return Suggestions()


# -- tags


@dataclass(frozen=True)
class TagVoter:
    """A product that speaks for a tag."""

    product_id: str
    score: float


@dataclass(frozen=True)
class SuggestedTag:
    """A tag, how sure it is, and the products that speak for it, nearest first."""

    tag: str
    confidence: float
    neighbours: list[TagVoter]
    stands_on: StandsOn = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class SuggestedTags:
    """Tags, most confident first; of a kind the model does not know those of colour and pattern."""

    tags: list[SuggestedTag]
    unknown: Literal[True] | None = field(default=None, metadata=OPTIONAL)

    def suggestions(self) -> Suggestions:
        return Suggestions(tags=tuple(entry.tag for entry in self.tags))


# -- products found


@dataclass(frozen=True, kw_only=True)
class FoundProduct(ShownProduct):
    """One product with its best photo."""

    score: float
    signals: Annotated[
        dict[str, float],
        Field(
            description="What the score is made of, by input; with `weights` or `explain` each "
            "block's cosine too."
        ),
    ]
    photo: str
    image_url: str

    @classmethod
    def of(
        cls,
        product: Product,
        content_hash: str,
        score: float,
        signals: Mapping[str, float],
        view: Presentation = PLAIN,
        **more: Any,
    ) -> Self:
        """A product with the photo that was found, as ``view`` shows it; ``more``: what a subclass
        adds."""
        return cls(
            **view.show(product, content_hash),
            score=round(score, 6),
            signals={name: round(value, 6) for name, value in signals.items()},
            photo=content_hash,
            image_url=image_url(content_hash),
            **more,
        )


@dataclass(frozen=True)
class ResultGroup:
    """The products of one value of `group_by` that match the question, as one."""

    value: Annotated[
        str | float | bool | None, Field(description="null of a product without a value.")
    ]
    size: Annotated[int, Field(description="Products that match the question.")]
    price_min: Annotated[
        float | None, Field(description="Of those with the currency of the one shown.")
    ]
    price_max: float | None
    in_stock: Annotated[
        bool | None,
        Field(description="Whether any is not out of stock; null where the catalog does not say."),
    ]
    members: Annotated[
        list[FoundProduct],
        Field(description="Beside the one shown the best, `group_size` with it."),
    ]


@dataclass(frozen=True, kw_only=True)
class SearchResult(FoundProduct):
    """One product with its best photo; with `group_by` the best of its group."""

    group: ResultGroup | None = field(default=None, metadata=OPTIONAL)


UnknownWords = Annotated[
    list[str] | None, Field(description="Of a text: words that nothing is known of.")
]
TextSignal = Literal["keywords", "text", "text_t"]
TextSignals = Annotated[
    list[TextSignal] | None,
    Field(
        description="Of a text: what it was asked of, as `signals` name it. `text_t` is the text "
        "tower of the model's image and text pair."
    ),
]
TextCut = Annotated[
    Literal[True] | None,
    Field(description="Only where that tower reads the beginning of the text alone."),
]


@dataclass(frozen=True)
class SearchPage:
    """Products, best first, and the cursor of the page after them."""

    results: list[SearchResult]
    next_cursor: str | None
    unknown_words: UnknownWords = field(default=None, metadata=OPTIONAL)
    text_signals: TextSignals = field(default=None, metadata=OPTIONAL)
    text_cut: TextCut = field(default=None, metadata=OPTIONAL)

    def suggestions(self) -> Suggestions | None:
        return _products(self.results)


def _products(results: Iterable[SearchResult]) -> Suggestions | None:
    named = tuple(result.product_id for result in results)
    return Suggestions(products=named) if named else None


@dataclass(frozen=True)
class Description:
    """Categories, similar products and tags of one photo or product."""

    categories: list[CategoryPrediction]
    unknown: bool | None
    attributes: list[AttributePrediction]
    results: list[SearchResult]
    next_cursor: str | None
    tags: list[SuggestedTag]
    unknown_words: UnknownWords = field(default=None, metadata=OPTIONAL)
    text_signals: TextSignals = field(default=None, metadata=OPTIONAL)
    text_cut: TextCut = field(default=None, metadata=OPTIONAL)
    nearest_kinds: list[NearestKind] | None = field(default=None, metadata=OPTIONAL)

    def suggestions(self) -> Suggestions:
        return Suggestions(
            tuple(entry.tag for entry in self.tags),
            tuple(result.product_id for result in self.results),
        )


@dataclass(frozen=True)
class FoundObject:
    """One object in a photo. `box`: [x, y, width, height] in px of the upright photo, as `crop`
    takes it."""

    box: list[int]
    score: Annotated[float, Field(description="Mean cosine to the three most similar products.")]
    category: CategoryPrediction | None
    results: list[SearchResult]


@dataclass(frozen=True)
class FoundObjects:
    """The objects in a photo, best first."""

    width: int
    height: int
    objects: list[FoundObject]
    reason: Annotated[
        Literal["nothing-stands-out", "nothing-alike", "no-products"] | None,
        Field(
            description="Why there are no objects: one ground alone, nothing like the catalog's "
            "products, an empty catalog."
        ),
    ]

    def suggestions(self) -> Suggestions | None:
        named = [row.product_id for entry in self.objects for row in entry.results]
        return Suggestions(products=tuple(named)) if self.objects else None


# -- recommendations


@dataclass(frozen=True)
class ReasonText:
    """One sentence by language."""

    en: str
    zh: str


@dataclass(frozen=True)
class Reason:
    """The product of the history that a result is most alike, or goes with."""

    product_id: str
    title: str | None
    text: ReasonText


@dataclass(frozen=True, kw_only=True)
class RecommendedProduct(SearchResult):
    """One product with the reason why it is recommended."""

    reason: Reason | None = field(kw_only=True)


@dataclass(frozen=True)
class InterestSummary:
    """One interest found in a history: its central product, its share of the weight, all its
    products."""

    product_id: str | None
    title: str | None
    share: float
    products: list[str]


@dataclass(frozen=True)
class Recommendations:
    """Products for a shopper, and what they were chosen by."""

    results: list[RecommendedProduct]
    interests: list[InterestSummary]
    unknown_products: list[str]

    def suggestions(self) -> Suggestions | None:
        return _products(self.results)


# -- facets


FacetKind = Literal["category", "tags", "string", "number", "bool", "datetime", "list"]


@dataclass(frozen=True)
class FacetValue:
    """A value and how many products have it; with `group_by` how many groups have a product that
    has it."""

    value: str | float | bool
    count: int


@dataclass(frozen=True)
class Facet:
    """One field: of numbers and datetimes the least and the greatest value, of all else the
    commonest values."""

    field: str
    type: FacetKind
    count: Annotated[int, Field(description="Products (or groups) that have the field.")]
    values: list[FacetValue] | None = None
    min: float | str | None = None
    max: float | str | None = None

    def absent(self) -> tuple[str, ...]:
        """The fields that a facet of this type does not have."""
        return ("values",) if self.type in ("number", "datetime") else ("min", "max")


@dataclass(frozen=True)
class Facets:
    """How many products (or groups) there are, and how many of them have which value."""

    total: int
    facets: list[Facet]


# -- heat maps and the map of the catalog


@dataclass(frozen=True)
class HeatMap:
    """Heat in [0, 1] over a part of a photo, row by row from the top."""

    photo: Literal["image", "with"]
    block: str | None
    score: float
    box: list[float]
    heat: list[list[float]]


@dataclass(frozen=True)
class Explanation:
    """Heat maps, and the category that they explain, if it is one."""

    category: CategoryPrediction | None
    maps: list[HeatMap]


@dataclass(frozen=True)
class MapPoint:
    """A product at its place in the plane."""

    product_id: str
    title: str | None
    category_path: list[str] | None
    x: float
    y: float
    image_url: str


@dataclass(frozen=True)
class MapPoints:
    """Products in the plane. ``explained``: the share of their variance that it shows."""

    points: list[MapPoint]
    total: int
    explained: float
