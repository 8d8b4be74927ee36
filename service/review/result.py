"""Typed results of a listing review."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from service.query.predictions import AttributePrediction, CategoryPrediction, NearestKind
from service.query.response import OPTIONAL, JsonDocument, SuggestedTag, Suggestions

ListingVerdict = Literal["publish", "improve", "review", "block"]


# Name of the attribute that says which source the file of a photo names as its maker.
AI_MADE = "ai_made"


@dataclass(frozen=True)
class QualityFinding:
    """One thing looked for in a photo, whether it is there or not; 1 is the worst score."""

    code: str
    score: float
    level: Literal["ok", "note", "warning", "fail"]
    evidence: JsonDocument
    box: list[float] | None
    advice: dict[str, str]
    percentile: float | None = None


@dataclass(frozen=True)
class QualityReport:
    """What a profile finds in a photo; score 1: nothing to mend."""

    profile: str
    score: float
    findings: list[QualityFinding]


@dataclass(frozen=True)
class PolicyReport:
    """What one policy says of a photo."""

    policy: str
    decision: Literal["allow", "review", "block"]
    score: float
    evidence: list[JsonDocument]


@dataclass(frozen=True)
class DuplicateProduct:
    """A product that a photo repeats."""

    product_id: str | None
    kind: Literal["same_photo", "near_same_photo", "same_product"]
    score: float
    photo: str
    image_url: str
    evidence: JsonDocument


@dataclass(frozen=True)
class RepeatedProducts:
    """What a photo repeats, and what it may repeat, each the surest first."""

    claimed: list[DuplicateProduct]
    possible: list[DuplicateProduct]


@dataclass(frozen=True)
class PhotoReview:
    """What was found on one photo of a listing. Of a kind that the model does not know: no category
    but the nearest kinds, and tags and attributes of colour and pattern alone."""

    width: int
    height: int
    categories: list[CategoryPrediction]
    unknown: bool | None
    attributes: list[AttributePrediction]
    tags: list[SuggestedTag]
    quality: QualityReport
    prohibited: list[PolicyReport]
    duplicates: list[DuplicateProduct]
    nearest_kinds: list[NearestKind] | None = field(default=None, metadata=OPTIONAL)
    possible_duplicates: list[DuplicateProduct] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class ReviewResult:
    """What was found on a listing: the surest category and tags of its photos, of everything else
    the worst."""

    verdict: ListingVerdict
    reasons: list[str]
    category: CategoryPrediction | None
    categories: list[CategoryPrediction]
    unknown: bool | None
    attributes: list[AttributePrediction]
    tags: list[SuggestedTag]
    quality: QualityReport
    prohibited: list[PolicyReport]
    duplicates: list[DuplicateProduct]
    same_product: Annotated[
        bool | None,
        Field(description="Whether all photos show one product; null for a single photo."),
    ]
    products: Annotated[
        list[list[int]],
        Field(description="The photos by the product they show, as numbers from 0."),
    ]
    photos: list[PhotoReview]
    policy_version: str | None
    duplicates_complete: Annotated[
        bool,
        Field(
            description="False while the catalog's signatures are still being read: duplicates "
            "may be missing."
        ),
    ]
    review_id: Annotated[
        str | None, Field(description="Its place in the queue, where a person is asked for.")
    ]
    nearest_kinds: list[NearestKind] | None = field(default=None, metadata=OPTIONAL)
    possible_duplicates: Annotated[
        list[DuplicateProduct] | None,
        Field(
            description="Products that may be the same, by a threshold whose precision is not "
            "known on this catalog; no reason for a verdict."
        ),
    ] = field(default=None, metadata=OPTIONAL)

    def suggestions(self) -> Suggestions:
        return Suggestions(tags=tuple(entry.tag for entry in self.tags))
