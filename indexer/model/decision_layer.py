"""The decision layer: what turns logits, vectors and neighbours into answers, and changes without
touching a vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from indexer.core.category_path import CategoryPath
from indexer.core.errors import BadModelError, NewerFormatError
from indexer.model.tag_rule import TagGroup, TagRule

FORMAT = 1


@dataclass(frozen=True)
class Category:
    """A kind of product. The id is stable and never given out again; the path (top level first) is
    display.

    ``columns`` of the category head count for it: their probabilities are summed, so merged classes
    add up. Not given, it is the column of the same number as the id, as training leaves it; a
    few-shot category has none.
    """

    id: int
    path: CategoryPath
    columns: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.columns is None:
            object.__setattr__(self, "columns", (self.id,))

    @property
    def label(self) -> str:
        return self.path[-1]

    @property
    def trained(self) -> tuple[int, ...]:
        """``columns``, never None."""
        return self.columns or ()


@dataclass(frozen=True)
class FewShot:
    """A category or a tag made from a few photos: one linear row ``weight @ embedding + bias``
    beside the heads.

    A row of a category stands among the logits of the category head, in their units. A row of a tag
    stands alone: its sigmoid is the confidence, and ``threshold`` the bar that a suggestion must
    reach.
    """

    id: int  # from the same numbers as categories' ids, never given out again
    kind: Literal["category", "tag"]
    category: int | None  # id of the category that the row counts for
    tag: str | None
    photos: tuple[str, ...]  # content hashes; the photos themselves are not kept
    bias: float
    threshold: float
    prototype: np.ndarray = field(
        compare=False, repr=False
    )  # float32 [D], mean of the photos' unit embeddings
    weight: np.ndarray = field(compare=False, repr=False)  # float32 [D]

    def to_json(self) -> dict[str, Any]:
        """All but the vectors."""
        names = ("id", "kind", "category", "tag", "photos", "bias", "threshold")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class TagParams:
    """How tags are voted where no ``TagRule`` was fitted: ``k`` nearest, softmax(score /
    temperature), one bar."""

    k: int = 20
    temperature: float = 0.05
    threshold: float = 0.35
    # share of a tag's confidence that its head has, where a head knows the tag; votes have the rest
    heads: float = 0.0


@dataclass(frozen=True)
class Decision:
    """Labels, temperatures, thresholds and few-shot rows of one model.

    ``origin`` is the model version that training wrote; each later change of the layer keeps it and
    counts ``revision`` up. ``next_id`` is the first number no category or few-shot entry ever had.
    """

    categories: tuple[Category, ...] = ()
    temperature: float = 1.0  # of the category softmax
    smoothing: float = 0.0  # of the labels that the category head was trained on
    tags: TagParams = field(default_factory=TagParams)
    attributes: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # head name -> value of class id 0, 1, ...
    few_shot: tuple[FewShot, ...] = ()
    next_id: int = 0
    tag_heads: Mapping[str, tuple[str, int]] = field(
        default_factory=dict
    )  # tag -> head and class that say it
    tag_thresholds: Mapping[str, float] = field(
        default_factory=dict
    )  # tag -> its own bar; else ``tags.threshold``
    tag_rule: TagRule | None = (
        None  # fitted on validation photos; stands for ``tags`` and ``tag_thresholds``
    )
    unknown: Mapping[str, Any] | None = (
        None  # the rule that calls a photo unknown; None: there is none
    )
    origin: str | None = None
    revision: int = 0

    def __post_init__(self) -> None:
        used = [category.id for category in self.categories] + [entry.id for entry in self.few_shot]
        object.__setattr__(self, "next_id", max([self.next_id, *(number + 1 for number in used)]))

    @cached_property
    def unknown_rule(self) -> Mapping[str, Any] | None:
        """``unknown`` to be asked: its tables as arrays, which thousands of numbers are not made
        into each time."""
        if self.unknown is None:
            return None
        return {
            name: np.asarray(value) if name in ("weights", "bias", "directions") else value
            for name, value in self.unknown.items()
        }

    def tagging(self) -> TagRule:
        """The fitted rule; where there is none, plain votes by ``tags``, blended with heads on a
        log scale."""
        if self.tag_rule is not None:
            return self.tag_rule
        plain = self.tags
        rest = TagGroup(
            k=plain.k, temperature=plain.temperature, head=plain.heads, vote=1 - plain.heads
        )
        return TagRule(rest=rest, threshold=plain.threshold, thresholds=self.tag_thresholds)

    def to_json(self) -> dict[str, Any]:
        """All but the vectors, which ``tensors`` gives."""
        return {
            "format": FORMAT,
            "origin": self.origin,
            "revision": self.revision,
            "next_id": self.next_id,
            "temperature": self.temperature,
            "smoothing": self.smoothing,
            "categories": [asdict(category) for category in self.categories],
            "few_shot": [entry.to_json() for entry in self.few_shot],
            "tags": asdict(self.tags),
            "tag_heads": {tag: list(place) for tag, place in self.tag_heads.items()},
            "tag_thresholds": dict(self.tag_thresholds),
            "tag_rule": None if self.tag_rule is None else self.tag_rule.to_json(),
            "unknown": None if self.unknown is None else dict(self.unknown),
            "attributes": dict(self.attributes),
        }

    def tensors(self) -> dict[str, np.ndarray]:
        """``ID.prototype`` and ``ID.weight``, float32 [D], of each few-shot entry."""
        return {
            f"{entry.id}.{name}": np.ascontiguousarray(getattr(entry, name), np.float32)
            for entry in self.few_shot
            for name in ("prototype", "weight")
        }

    @classmethod
    def from_json(
        cls, stored: Any, *, where: str, tensors: Mapping[str, np.ndarray] | None = None
    ) -> Decision:
        """Strict; raises ``BadModelError`` or ``NewerFormatError``."""
        try:
            if stored["format"] > FORMAT:
                found = stored["format"]
                raise NewerFormatError(
                    f"{where} has format {found}, this Catalens knows up to {FORMAT}: upgrade it"
                )
            return cls(
                categories=tuple(
                    Category(int(entry["id"]), tuple(entry["path"]), tuple(entry["columns"]))
                    for entry in stored["categories"]
                ),
                temperature=float(stored["temperature"]),
                smoothing=float(stored.get("smoothing", 0.0)),  # models from before it have none
                tags=TagParams(**stored["tags"]),
                attributes={name: tuple(values) for name, values in stored["attributes"].items()},
                few_shot=tuple(_few_shot(entry, tensors or {}) for entry in stored["few_shot"]),
                next_id=int(stored["next_id"]),
                tag_heads={
                    tag: (str(head), int(number))
                    for tag, (head, number) in stored["tag_heads"].items()
                },
                tag_thresholds={tag: float(bar) for tag, bar in stored["tag_thresholds"].items()},
                # Models from before the rule have none.
                tag_rule=None
                if stored.get("tag_rule") is None
                else TagRule.from_json(stored["tag_rule"]),
                unknown=None if stored["unknown"] is None else dict(stored["unknown"]),
                origin=stored["origin"],
                revision=int(stored["revision"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadModelError(f"{where}: {error!r}") from error


def _few_shot(entry: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> FewShot:
    number = int(entry["id"])
    return FewShot(
        id=number,
        kind=entry["kind"],
        category=entry["category"],
        tag=entry["tag"],
        photos=tuple(entry["photos"]),
        bias=float(entry["bias"]),
        threshold=float(entry["threshold"]),
        prototype=tensors[f"{number}.prototype"],
        weight=tensors[f"{number}.weight"],
    )
