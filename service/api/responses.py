"""Response models: the typed results of the engine with what every answer carries.

A result's own dataclass is the one place where its fields stand; these models write the OpenAPI
document and check answers, and build none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, GetCoreSchemaHandler, GetPydanticSchema
from pydantic_core import CoreSchema

from indexer.index.version_comparison import VersionComparison
from indexer.operations.jobs import Job
from indexer.operations.undo import UndoResult
from service.access.caller import CallerInfo
from service.background.import_offer import ImportOffer
from service.products.actions import ActionList
from service.products.catalog import ProductSample, StoredProduct, WriteResult
from service.products.classes import ClassChange, ClassList
from service.products.schema import CatalogSchema
from service.products.versions import Activation, VersionList
from service.query.response import (
    Classification,
    Description,
    Explanation,
    Facets,
    FoundObjects,
    JsonDocument,
    MapPoints,
    Recommendations,
    SearchPage,
    SuggestedTags,
)
from service.query.response import SearchResult as SearchResult
from service.review.feedback import FeedbackReceipt
from service.review.queue import QueuedReview, ReviewPage
from service.review.result import ReviewResult


class Response(BaseModel, frozen=True):
    """What every answer carries."""

    request_id: str
    model_version: str | None
    index_version: str | None
    timings_ms: dict[str, float]
    complete: Annotated[
        Literal[False] | None,
        Field(
            description="Only where not all that was written to the catalog was looked at: what "
            "follows it is a moment behind."
        ),
    ] = None


class ClassifyResponse(Response, Classification, frozen=True):
    """Categories of one photo or product."""


class SearchResponse(Response, SearchPage, frozen=True):
    """One page of products."""


class ObjectsResponse(Response, FoundObjects, frozen=True):
    """The objects in a photo."""


class RecommendResponse(Response, Recommendations, frozen=True):
    """Products for a shopper."""


class FacetsResponse(Response, Facets, frozen=True):
    """Counts of values."""


class ExplainResponse(Response, Explanation, frozen=True):
    """Heat maps."""


class TagsResponse(Response, SuggestedTags, frozen=True):
    """Suggested tags."""


class DescribeResponse(Response, Description, frozen=True):
    """Categories, similar products and tags at once."""


class ProductResponse(Response, StoredProduct, frozen=True):
    """A stored product."""


class ProductsResponse(Response, ProductSample, frozen=True):
    """A few products."""


class SchemaResponse(Response, CatalogSchema, frozen=True):
    """Names, types and owners of attributes and fields."""


class WriteResponse(Response, WriteResult, frozen=True):
    """What became of a write."""


class IndexesResponse(Response, VersionList, frozen=True):
    """The published index versions."""


class ComparisonResponse(Response, VersionComparison, frozen=True):
    """What changes where `then` serves instead of `now`; `warnings` are what gets worse."""


class ActionsResponse(Response, ActionList, frozen=True):
    """What was done, and whether it can be undone."""


class UndoResponse(Response, UndoResult, frozen=True):
    """What came back, and what stays."""


class ActivateResponse(Response, Activation, frozen=True):
    """The version that serves now."""


class ClassesResponse(Response, ClassList, frozen=True):
    """Categories and tags."""


class ClassResponse(Response, ClassChange, frozen=True):
    """One class that was added or removed."""


class MapResponse(Response, MapPoints, frozen=True):
    """The catalog as points."""


class JobModel(BaseModel, Job, frozen=True):
    """One job, as an event of its stream gives it."""


class JobResponse(Response, Job, frozen=True):
    """One job. Times in seconds since 1970; `done` of `total` is about the present `stage`."""


@dataclass(frozen=True)
class JobList:
    """Jobs, the newest first."""

    jobs: list[Job]


class ImportOfferResponse(Response, ImportOffer, frozen=True):
    """What can be imported."""


class JobsResponse(Response, JobList, frozen=True):
    """Jobs of the home."""


class ReviewResponse(Response, ReviewResult, frozen=True):
    """What was found on a listing."""


class QueuedResponse(Response, QueuedReview, frozen=True):
    """One review of the queue."""


class QueueResponse(Response, ReviewPage, frozen=True):
    """Reviews of the queue."""


class FeedbackResponse(Response, FeedbackReceipt, frozen=True):
    """How much was stored."""


class CallerResponse(Response, CallerInfo, frozen=True):
    """The caller's name and role."""


class Health(BaseModel):
    """Whether the service answers."""

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


def _problem_schema(_: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    return handler(Problem)


# A problem document inside an answer, of one item that failed.
ItemProblem = Annotated[JsonDocument, GetPydanticSchema(_problem_schema)]
