"""What answers look like: the service builds plain dicts; these models write the OpenAPI document
and check tests."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from service.api.requests import TagModel


class Response(BaseModel):
    """What every answer carries."""

    request_id: str
    model_version: str | None
    index_version: str | None
    timings_ms: dict[str, float]


class CategoryModel(BaseModel):
    label: str
    path: list[str]
    probability: float


class ClassifyResponse(Response):
    categories: list[CategoryModel]
    unknown: bool


class Result(BaseModel):
    product_id: str
    score: float
    signals: dict[str, float] = Field(
        description="What the score is made of, by input; with `weights` or `explain` each block's "
        "cosine too."
    )
    title: str | None
    category: str | None
    category_path: list[str] | None
    attributes: dict[str, Any]
    photo: str
    image_url: str


class SearchResponse(Response):
    results: list[Result]
    next_cursor: str | None
    unknown_words: list[str] | None = Field(
        default=None, description="Of a text: words that nothing is known of."
    )


class ObjectModel(BaseModel):
    """One object in a photo. `box`: [x, y, width, height] in px of the upright photo, as `crop`
    takes it."""

    box: list[int]
    score: float = Field(description="Mean cosine to the three most similar products.")
    category: CategoryModel | None
    results: list[Result]


class ObjectsResponse(Response):
    width: int
    height: int
    objects: list[ObjectModel]
    reason: Literal["nothing-stands-out", "nothing-alike", "no-products"] | None = Field(
        description="Why there are no objects: one ground alone, nothing like the catalog's "
        "products, an empty catalog."
    )


class ReasonText(BaseModel):
    en: str
    zh: str


class Reason(BaseModel):
    """The product of the history that a result is most alike, or goes with."""

    product_id: str
    title: str | None
    text: ReasonText


class Recommended(Result):
    reason: Reason | None


class InterestModel(BaseModel):
    """One interest found in a history: its central product, its share of the weight, all its
    products."""

    product_id: str | None
    title: str | None
    share: float
    products: list[str]


class RecommendResponse(Response):
    results: list[Recommended]
    interests: list[InterestModel]
    unknown_products: list[str]


class FacetValue(BaseModel):
    value: str | float | bool
    count: int


class Facet(BaseModel):
    """One field: of numbers and datetimes the least and the greatest value, of all else the
    commonest values."""

    field: str
    type: Literal["category", "tags", "string", "number", "bool", "datetime", "list"]
    count: int = Field(description="Products that have the field.")
    values: list[FacetValue] | None = None
    min: float | str | None = None
    max: float | str | None = None


class FacetsResponse(Response):
    total: int
    facets: list[Facet]


class HeatMap(BaseModel):
    photo: Literal["image", "with"]
    block: str | None
    score: float
    box: list[float]
    heat: list[list[float]]


class ExplainResponse(Response):
    category: CategoryModel | None
    maps: list[HeatMap]


class Neighbour(BaseModel):
    product_id: str
    score: float


class SuggestedTagModel(BaseModel):
    tag: str
    confidence: float
    neighbours: list[Neighbour]


class TagsResponse(Response):
    tags: list[SuggestedTagModel]


class DescribeResponse(SearchResponse):
    categories: list[CategoryModel]
    unknown: bool | None
    tags: list[SuggestedTagModel]


class PhotoModel(BaseModel):
    hash: str
    format: str
    width: int
    height: int
    image_url: str


class ProductModel(BaseModel):
    product_id: str
    title: str | None
    category: str | None
    category_path: list[str] | None
    tags: list[TagModel]
    attributes: dict[str, Any]
    images: list[PhotoModel]
    sequence: int
    external_version: int | None


class ProductResponse(Response, ProductModel):
    """A stored product."""


class ProductsResponse(Response):
    products: list[ProductModel]
    total: int


Outcome = Literal["added", "replaced", "unchanged", "patched", "deleted"]


class WriteResponse(Response):
    product_id: str
    outcome: Outcome
    sequence: int
    ticket: dict[str, Any] | None = Field(
        default=None, description="Of a DELETE that asked for one."
    )


class IndexModel(BaseModel):
    version: str
    active: bool
    model_version: str
    embedding_id: str
    recipe: Any
    counts: dict[str, int]
    last_sequence: int
    recall: Any
    created: Any


class IndexesResponse(Response):
    indexes: list[IndexModel]
    blocks: dict[str, float] = Field(
        description="The blocks of the serving model's embedding and their weights."
    )


class ClassModel(BaseModel):
    id: int
    kind: Literal["category", "tag"]
    label: str
    path: list[str]
    source: Literal["trained", "few-shot"]
    photos: int | None


class ClassesResponse(Response):
    classes: list[ClassModel]


class ClassResponse(Response):
    id: int
    photos: int | None = None


class MapPoint(BaseModel):
    product_id: str
    title: str | None
    category_path: list[str] | None
    x: float
    y: float
    image_url: str


class MapResponse(Response):
    points: list[MapPoint]
    total: int
    explained: float


class ActivateResponse(Response):
    activated: str


class JobProblem(BaseModel):
    code: str
    detail: str


class JobModel(BaseModel):
    """Long work. Times in seconds since 1970; `done` of `total` is about the present `stage`."""

    job_id: str
    kind: Literal["import", "build"]
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    options: dict[str, Any]
    created: float
    started: float | None
    ended: float | None
    stage: str | None
    done: int
    total: int
    result: dict[str, Any] | None
    problem: JobProblem | None


class JobResponse(Response, JobModel):
    """One job."""


class JobsResponse(Response):
    jobs: list[JobModel]


class Health(BaseModel):
    status: str


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[dict[str, str]] | None = None


class FindingModel(BaseModel):
    code: str
    score: float
    level: Literal["ok", "note", "warning", "fail"]
    percentile: float | None = None
    evidence: dict[str, Any]
    box: list[float] | None
    advice: dict[str, str]


class QualityModel(BaseModel):
    profile: str
    score: float
    findings: list[FindingModel]


class PolicyModel(BaseModel):
    policy: str
    decision: Literal["allow", "review", "block"]
    score: float
    evidence: list[dict[str, Any]]


class RepeatModel(BaseModel):
    product_id: str | None
    kind: Literal["same_photo", "near_same_photo", "same_product"]
    score: float
    photo: str
    image_url: str
    evidence: dict[str, Any]


class ReviewedPhoto(BaseModel):
    width: int
    height: int
    categories: list[CategoryModel]
    unknown: bool | None
    tags: list[SuggestedTagModel]
    quality: QualityModel
    prohibited: list[PolicyModel]
    duplicates: list[RepeatModel]


class ReviewedModel(BaseModel):
    verdict: Literal["publish", "improve", "review", "block"]
    reasons: list[str]
    category: CategoryModel | None
    categories: list[CategoryModel]
    unknown: bool | None
    tags: list[SuggestedTagModel]
    quality: QualityModel
    prohibited: list[PolicyModel]
    duplicates: list[RepeatModel]
    same_product: bool | None = Field(
        description="Whether all photos show one product; null for a single photo."
    )
    products: list[list[int]] = Field(
        description="The photos by the product they show, as numbers from 0."
    )
    photos: list[ReviewedPhoto]
    policy_version: str | None
    duplicates_complete: bool = Field(
        description="False while the catalog's signatures are still being read: duplicates may be "
        "missing."
    )


class ReviewResponse(Response, ReviewedModel):
    review_id: str | None = Field(
        description="Its place in the queue, where a person is asked for."
    )


class QueuedModel(BaseModel):
    review_id: str
    state: Literal["open", "approved", "rejected"]
    opened: str
    previews: list[str] = Field(
        description="Of the photos that are still kept; the last part is the photo's number."
    )
    review: dict[str, Any]
    decided: dict[str, Any] | None


class QueuedResponse(Response, QueuedModel):
    """One review of the queue."""


class QueueResponse(Response):
    reviews: list[QueuedModel]
    total: int
    next_after: str | None
    counts: dict[str, int]
    precision: dict[str, Any]


class FeedbackResponse(Response):
    stored: int
