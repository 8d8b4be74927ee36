"""A kind that a photo of an unknown one is nearest to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.model.decision_layer import Category


@dataclass(frozen=True)
class NearestKind:
    """A category that a photo of an unknown kind is nearest to; no claim, so no probability."""

    label: str
    path: list[str]

    @classmethod
    def of(cls, category: Category) -> NearestKind:
        return cls(category.label, list(category.path))
