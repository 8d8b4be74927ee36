"""Request models, which check what clients send and write the OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import unquote

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    StrictBool,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from indexer.core.category_path import format_path, parse_path
from indexer.core.nesting import TOO_DEEP, is_deeper
from indexer.feeds.column_roles import ColumnRole
from indexer.feeds.table import LONGEST_COLUMN, MOST_COLUMNS
from indexer.text.tokenizer import MOST_CHARACTERS
from service.query.interest_ranking import RecommendOptions
from service.query.objects import ObjectOptions
from service.query.query import (
    GroupBy,
    OutOfStock,
    ProductId,
    RawFilter,
    RequestModel,
    SearchFields,
    SearchOptions,
    SnapshotSelector,
    Whole,
)


def _path_text(raw: object) -> object:
    # The router hands over the raw path segment, so that an id may hold a slash (see app.RawPath).
    if not isinstance(raw, str):
        return raw
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("must be UTF-8, URL-encoded") from None


def _category(raw: object) -> object:
    """The levels of a path, as text or a list, without spaces around them; the text of a path gives
    the same levels again."""
    if isinstance(raw, list) and raw and all(isinstance(part, str) for part in raw):
        raw = format_path(raw)
    return [part.strip() for part in parse_path(raw)] if isinstance(raw, str) else raw


MOST_PHOTOS = 64  # in one question
MOST_LISTING_PHOTOS = 16  # of one listing
Label = Annotated[str, Field(min_length=1, max_length=256)]
_ColumnName = Annotated[str, Field(max_length=LONGEST_COLUMN)]
_TypeName = Literal["string", "number", "bool", "datetime", "list"]
_PROFILE = re.compile(r"\A[a-z][a-z0-9_-]{0,40}\Z")
Hash = Annotated[str, Field(pattern=re.compile(r"\A[0-9a-f]{64}\Z"))]


_Levels = Annotated[list[Label], Field(min_length=1, max_length=32)]
CategoryField = Annotated[
    _Levels, BeforeValidator(_category, json_schema_input_type=Label | _Levels)
]


class ImageRef(RequestModel):
    """A photo inside JSON: its bytes in base64, or its URL where `allow_urls` is on."""

    base64: str | None = None
    url: str | None = None


class QueryRequest(SnapshotSelector):
    """What every question takes: a photo or a stored product."""

    image: ImageRef | None = None
    product_id: ProductId | None = None
    crop: Annotated[list[Whole], Field(min_length=4, max_length=4)] | None = Field(
        default=None, description="[x, y, width, height] in px of the upright image."
    )


class PhotosRequest(SnapshotSelector):
    """A question about many photos, each of which is answered by itself."""

    images: list[ImageRef] = Field(min_length=1, max_length=MOST_PHOTOS)


class ClassifyRequest(QueryRequest):
    """A question for categories."""


class TagsRequest(QueryRequest):
    """A question for tags."""


_TEXT = (
    "Words that the products' titles, tags, categories and attributes hold, or that the catalog "
    "knows what they look "
    "like; words it does not know come back in `unknown_words`. Beside a photo or a product, words "
    "that name a colour "
    "replace its colour."
)


class SearchRequest(SearchOptions, QueryRequest):
    """A question for products that are similar, or that a text tells of, or both.

    The score is the mean, weighted by `mix` and `weights`, of cosines; of a text half is its
    keywords' score.
    """

    text: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)] | None = Field(
        default=None, description=_TEXT
    )


class HistoryEvent(RequestModel):
    """One thing that a shopper viewed, saved or bought."""

    product_id: ProductId
    weight: Annotated[float, Field(gt=0, le=1e6, strict=True)] = Field(
        default=1.0, description="How much it counts: a purchase more than a view."
    )
    time: Annotated[float, Field(strict=True)] | Annotated[str, Field(max_length=64)] | None = (
        Field(
            default=None,
            description="Seconds since 1970, or an ISO 8601 date or date-time: older events count "
            "less.",
        )
    )


class RecommendRequest(RecommendOptions):
    """A question for products that suit what a shopper did so far."""

    history: list[HistoryEvent] = Field(
        min_length=1, max_length=1000, description="Not empty; in any order."
    )


class ObjectsRequest(ObjectOptions):
    """A question for the products in a photo, each with what looks like it."""

    image: ImageRef | None = None


class SearchPhotosRequest(SearchFields, PhotosRequest):
    """A question for products similar to each of many photos."""


def _json_text(raw: object) -> object:
    # A form field holds its object as JSON text.
    if not isinstance(raw, str):
        return raw
    try:
        found = json.loads(raw)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except ValueError:
        raise ValueError("not JSON text") from None
    if is_deeper(found):
        raise ValueError(TOO_DEEP)
    return found


def _list_text(raw: object) -> object:
    # A form field holds a list as JSON text; a label may begin with a bracket too.
    if not isinstance(raw, str) or not raw.startswith("["):
        return raw
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    return raw if is_deeper(found) else found


JsonText = BeforeValidator(_json_text)


class OtherPhoto(RequestModel):
    """The other one of a pair: a photo or a stored product."""

    image: ImageRef | None = None
    product_id: ProductId | None = None


class ExplainRequest(QueryRequest):
    """A question for heat maps: why a category (by default the most probable), or why it is similar
    to another."""

    # Under aliases, since the forms' reader takes a field of a model's own name for JSON text.
    category_: Annotated[
        str | Annotated[list[str], Field(max_length=64)] | None, BeforeValidator(_list_text)
    ] = Field(default=None, alias="category", description="A path or a label.")
    with_: Annotated[OtherPhoto, JsonText] | None = Field(default=None, alias="with")


class SimilarQuery(SearchOptions):
    """Query parameters of ``/similar``: those of a search, objects as JSON text."""

    @model_validator(mode="before")
    @classmethod
    def _from_texts(cls, raw: Any) -> Any:
        read: dict[str, object] = {}
        faults: list[InitErrorDetails] = []
        for name, value in raw.items():
            try:
                read[name] = _from_text(cls.model_fields.get(name), value)
            except ValueError as error:
                kind = PydanticCustomError(
                    "json_text", "Value error, {reason}", {"reason": str(error)}
                )
                faults.append(InitErrorDetails(type=kind, loc=(name,), input=value))
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return read


def _from_text(field: FieldInfo | None, text: object) -> object:
    """A value of a query string as its parameter takes it: numbers and bools read from their text,
    objects from JSON."""
    if field is None or not isinstance(text, str):
        return text
    kinds = {get_origin(kind) or kind for kind in _kinds(field.annotation)}
    if dict in kinds:
        return _json_text(text)
    for kind in (bool, int, float):
        if kind in kinds:
            try:
                return TypeAdapter(kind).validate_python(text)
            except ValidationError:
                return text
    return text


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that a field may have, out of unions and annotations."""
    if get_origin(annotation) in (Union, UnionType, Annotated):
        inner = get_args(annotation)
        for kind in inner[:1] if get_origin(annotation) is Annotated else inner:
            yield from _kinds(kind)
    else:
        yield annotation


class FacetsQuery(RequestModel):
    """Query parameters of ``/facets``."""

    filter: Annotated[RawFilter, JsonText] | None = None
    fields: Annotated[list[Label], Field(max_length=1000)] = Field(default=[])
    limit: Annotated[int, Field(ge=1, le=1000)] = 20
    group_by: GroupBy | None = None
    out_of_stock: OutOfStock | None = None
    min_sequence: Annotated[int, Field(ge=0)] | None = None


class ProductPath(BaseModel):
    """A product id in a path, URL-encoded."""

    product_id: Annotated[str, BeforeValidator(_path_text), Field(min_length=1, max_length=256)]


class ImagePath(BaseModel):
    hash: str


class ImageQuery(RequestModel):
    w: Literal["160", "320", "640"] = "320"


class ListQuery(RequestModel):
    limit: Annotated[int, Field(ge=1, le=100)] = 24


class MapQuery(RequestModel):
    limit: Annotated[int, Field(ge=1, le=2000)] = 2000


class VersionPath(BaseModel):
    version: str


class RollbackRequest(RequestModel):
    """What is rolled back."""

    instead_of: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="The version that was seen active."
    )


class ProblemPath(BaseModel):
    code: str


class ClassRequest(RequestModel):
    """A new category or tag and the photos that show it, or the words that describe it."""

    label: Annotated[str, Field(min_length=1, max_length=2000)] = Field(
        description='A tag, or a category\'s path: "A > B > C".'
    )
    kind: Literal["category", "tag"] = "category"
    images: Annotated[list[ImageRef], Field(max_length=64)] = Field(default=[])
    prompts: (
        Annotated[list[Annotated[str, Field(max_length=2000)]], Field(max_length=64)] | None
    ) = Field(
        default=None,
        description="Instead of photos, for models of an image and text pair: up to 20 texts such "
        'as "a photo of a striped shirt"; `[]`: the name itself.',
    )


class ClassQuery(RequestModel):
    """Which class: its id, or its label and kind."""

    id: Annotated[int, Field(ge=0)] | None = None
    label: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    kind: Literal["category", "tag"] = "category"


class FilePath(BaseModel):
    name: str


Texts = Annotated[list[Label], Field(max_length=1000)]


class ReviewRequest(SnapshotSelector):
    """A listing to look at: one photo, several, or a stored product with all of its photos."""

    image: ImageRef | None = None
    images: Annotated[list[ImageRef], Field(max_length=MOST_LISTING_PHOTOS)] = Field(default=[])
    product_id: ProductId | None = Field(
        default=None,
        description="A stored product: without photos its own are looked at; it is never named as "
        "its own duplicate.",
    )
    profile: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="How strict quality is judged: `studio` or `marketplace`."
    )
    external_id: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        default=None, description="The listing's id where it comes from; shown in the queue."
    )
    title: Annotated[str, Field(max_length=2000)] | None = Field(
        default=None, description="The listing's title; shown in the queue."
    )


class ReviewsQuery(RequestModel):
    """Which reviews."""

    state: Literal["open", "approved", "rejected"] = "open"
    limit: Annotated[int, Field(ge=1, le=100)] = 24
    after: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="The last one seen."
    )


class ReviewPath(BaseModel):
    name: str


class PreviewPath(ReviewPath):
    position: Annotated[int, Field(ge=0, lt=2**63)]


class DecisionRequest(RequestModel):
    """A person's decision, made once."""

    decision: Literal["approve", "reject"]
    reason: Annotated[str, Field(max_length=2000)] = ""


class UndoDecisionQuery(RequestModel):
    """Which decision is taken back."""

    entry: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        default=None, description="The `entry` of the decision that was seen."
    )


class FeedbackRequest(RequestModel):
    """What people made of an answer, named by its `request_id`."""

    request_id: Annotated[str, Field(min_length=1, max_length=64)]
    accepted: Texts = Field(default=[], description="Suggested tags that were taken.")
    rejected: Texts = Field(default=[], description="Suggested tags that were refused.")
    added: Texts = Field(default=[], description="Tags that a person added.")
    clicked: Annotated[list[ProductId], Field(max_length=1000)] = Field(
        default=[], description="Products among the results that were opened."
    )
    category: CategoryField | None = Field(
        default=None, description="The category a person settled on."
    )
    product_id: ProductId | None = Field(
        default=None, description="The stored product that the listing became."
    )


class ImportRequest(RequestModel):
    """A feed to import; a feed or zip that is sent is a file of the multipart body."""

    path: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        default=None, description="A folder or feed below `import_root`, instead of a file."
    )
    url: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        default=None, description="Address of a feed, where `allow_urls` is on, instead of a file."
    )
    feed: Annotated[str, Field(min_length=1, max_length=255)] | None = Field(
        default=None, description="Name of the feed to read, where the folder holds several."
    )
    profile: Annotated[str, Field(pattern=_PROFILE)] = Field(
        default="auto",
        description="Name of the profile that says what the columns mean; `auto`: found.",
    )
    map: Annotated[dict[_ColumnName, ColumnRole], Field(max_length=2000)] | None = Field(
        default=None,
        description="What columns mean that the profile takes for something else. With it, also "
        "empty, a feed that no profile fits is read by a draft, and an import keeps the map for "
        "the next one.",
    )
    save_as: Annotated[str, Field(pattern=_PROFILE)] | None = Field(
        default=None,
        description="Name of the profile that a corrected map is kept as; refused where another "
        "feed's, or one written by hand, has it.",
    )
    encoding: Annotated[str, Field(min_length=1, max_length=40)] | None = Field(
        default=None, description="How the feed's text is encoded; found unless given."
    )
    delimiter: Annotated[str, Field(min_length=1, max_length=8)] | None = Field(
        default=None, description="What parts its cells; found unless given."
    )
    photos: Literal["copy", "reference", "forget"] = Field(
        default="copy",
        description="Keep copies, refer to files below `import_root`, or keep thumbnails only.",
    )
    fetch: StrictBool = Field(
        default=False, description="Fetch photos by their addresses, where `allow_urls` is on."
    )
    accept: StrictBool = Field(
        default=False, description="Take a feed that shrank by a fifth or lost half its photos."
    )
    sync: StrictBool = Field(
        default=False, description="Delete the products that the feed lacks; refused above 10%."
    )
    allow_deletes: Annotated[Whole, Field(ge=0)] | None = None
    dry_run: StrictBool = Field(
        default=False,
        description="Only say what would happen: profile, map, samples, warnings, counts.",
    )
    types: Annotated[dict[Label, _TypeName], Field(max_length=MOST_COLUMNS)] | None = Field(
        default=None, description="Types of attributes, by name; found unless given."
    )


class BuildRequest(RequestModel):
    """An index version to build."""

    model: (
        Annotated[str, Field(pattern=re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z"))] | None
    ) = Field(default=None, description="A registered model version; the active one unless given.")
    recall: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    activate: StrictBool = True


class JobPath(BaseModel):
    job_id: str
