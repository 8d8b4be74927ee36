"""What a photo is said to show: categories, attributes, the kinds that are nearest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

if TYPE_CHECKING:
    from indexer.classification.attribute_prediction import PredictedValue
    from indexer.model.decision_layer import Category, Decision

StandsOn = Annotated[
    Literal["text"] | None,
    Field(description="`text`: words alone describe it, no photo has judged it: a suggestion."),
]


@dataclass(frozen=True)
class CategoryPrediction:
    """A category and how probable it is."""

    label: str
    path: list[str]
    probability: float
    stands_on: StandsOn = field(default=None, metadata={"optional": True})

    @classmethod
    def of(
        cls, category: Category, probability: float, decision: Decision | None = None
    ) -> CategoryPrediction:
        """``decision``: it knows which categories words alone describe."""
        described = decision is not None and category.id in decision.described
        return cls(
            category.path[-1],
            list(category.path),
            round(float(probability), 6),
            "text" if described else None,
        )


@dataclass(frozen=True)
class AttributePrediction:
    """The most probable value of an attribute, as the photo shows it."""

    name: str
    value: str
    probability: float

    @classmethod
    def of(cls, found: PredictedValue) -> AttributePrediction:
        return cls(found.name, found.value, round(found.probability, 6))


@dataclass(frozen=True)
class NearestKind:
    """A category that a photo of an unknown kind is nearest to; no claim, so no probability."""

    label: str
    path: list[str]

    @classmethod
    def of(cls, category: Category) -> NearestKind:
        return cls(category.label, list(category.path))
