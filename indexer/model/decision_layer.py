"""Decision layer of a model: labels, thresholds and few-shot rows; no vector depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from indexer.core.category_path import CategoryPath
from indexer.core.errors import BadModelError, NewerFormatError
from indexer.model.tag_rule import TagGroup, TagRule

FORMAT = 1
# Of a rule for unknown kinds.
_TABLES = frozenset({"weights", "bias", "directions", "centre", "variance"})


@dataclass(frozen=True)
class Category:
    """A kind of product. The id is stable and never given out again; the path is display.

    ``labels`` of the category head count for it: their probabilities are summed, so merged classes
    add up. Not given, it is the label of the same number as the id, as training leaves it; a
    few-shot category has none.
    """

    id: int
    # Top level first.
    path: CategoryPath
    # Class indices of the category head; stored under the key ``columns``.
    labels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.labels is None:
            object.__setattr__(self, "labels", (self.id,))

    @property
    def label(self) -> str:
        return self.path[-1]

    @property
    def trained(self) -> tuple[int, ...]:
        """``labels``, never None."""
        return self.labels or ()

    def to_json(self) -> dict[str, Any]:
        """Return the stored form."""
        return {"id": self.id, "path": self.path, "columns": self.labels}


@dataclass(frozen=True)
class FewShot:
    """A category or a tag made from a few photos, or from words: a linear row ``weight @ embedding
    + bias``.

    A row of a category stands among the logits of the category head, in their units. A row of a tag
    stands alone: its sigmoid is the confidence, and ``threshold`` the least that is suggested.
    """

    # From the same numbers as categories' ids, never given out again.
    id: int
    kind: Literal["category", "tag"]
    # Id of the category that the row counts for.
    category: int | None
    tag: str | None
    # Content hashes; the photos themselves are not kept.
    photos: tuple[str, ...]
    bias: float
    threshold: float
    # float32 [D], mean of the photos' unit embeddings
    prototype: np.ndarray = field(compare=False, repr=False)
    # float32 [D]
    weight: np.ndarray = field(compare=False, repr=False)
    # What describes it, of one that no photo shows: it is suggested and never claimed.
    prompts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the stored form, without the vectors."""
        names = ["id", "kind", "category", "tag", "photos", "bias", "threshold"]
        names += ["prompts"] if self.prompts else []
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class TagParams:
    """Plain votes on tags, where no ``TagRule`` was fitted: softmax(score / temperature)."""

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
    # Of the category softmax.
    temperature: float = 1.0
    # Of the labels that the category head was trained on.
    smoothing: float = 0.0
    tags: TagParams = field(default_factory=TagParams)
    # Head name -> value of class id 0, 1, ...
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # Head name -> temperature of its softmax; 1 where none was fitted.
    attribute_temperatures: Mapping[str, float] = field(default_factory=dict)
    # Head name -> least probability of a value that is answered; 0 where none was fitted.
    attribute_floors: Mapping[str, float] = field(default_factory=dict)
    few_shot: tuple[FewShot, ...] = ()
    next_id: int = 0
    # Tag -> head and class that predict it.
    tag_heads: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    # Tag -> its own threshold; else ``tags.threshold``.
    tag_thresholds: Mapping[str, float] = field(default_factory=dict)
    # Fitted on validation photos; replaces ``tags`` and ``tag_thresholds``.
    tag_rule: TagRule | None = None
    # Open-set rule that rejects photos of unknown kinds; None: there is none.
    unknown: Mapping[str, Any] | None = None
    origin: str | None = None
    revision: int = 0

    def __post_init__(self) -> None:
        used = [category.id for category in self.categories] + [entry.id for entry in self.few_shot]
        object.__setattr__(self, "next_id", max([self.next_id, *(number + 1 for number in used)]))

    @cached_property
    def unknown_rule(self) -> Mapping[str, Any] | None:
        """``unknown`` with its tables as arrays, converted once."""
        if self.unknown is None:
            return None
        return {
            name: np.asarray(value) if name in _TABLES else value
            for name, value in self.unknown.items()
        }

    @cached_property
    def described(self) -> frozenset[int | str]:
        """Ids of the categories, and the tags, that words alone describe."""
        found = {
            entry.category if entry.kind == "category" else str(entry.tag)
            for entry in self.few_shot
            if entry.prompts
        }
        shown = {entry.category for entry in self.few_shot if not entry.prompts}
        trained = {category.id for category in self.categories if category.trained}
        return frozenset(one for one in found if one is not None and one not in shown | trained)

    def tagging(self) -> TagRule:
        """Return the fitted rule, or plain votes by ``tags`` blended with heads on a log scale."""
        if self.tag_rule is not None:
            return self.tag_rule
        plain = self.tags
        rest = TagGroup(
            k=plain.k, temperature=plain.temperature, head=plain.heads, vote=1 - plain.heads
        )
        return TagRule(rest=rest, threshold=plain.threshold, thresholds=self.tag_thresholds)

    def grouping(self) -> dict[str, Any]:
        """Return what a change of categories changes: they, and the few-shot rows that count for
        each."""
        return {
            "categories": [category.to_json() for category in self.categories],
            "few_shot": {str(entry.id): entry.category for entry in self.few_shot},
        }

    def regrouped(self, grouping: Mapping[str, Any]) -> Decision:
        """Return the decision with another ``grouping`` of the same categories and rows."""
        return replace(
            self,
            categories=tuple(
                Category(entry["id"], tuple(entry["path"]), tuple(entry["columns"] or ()))
                for entry in grouping["categories"]
            ),
            few_shot=tuple(
                replace(entry, category=grouping["few_shot"].get(str(entry.id), entry.category))
                for entry in self.few_shot
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the stored form without the vectors, which ``tensors`` returns."""
        return {
            "format": FORMAT,
            "origin": self.origin,
            "revision": self.revision,
            "next_id": self.next_id,
            "temperature": self.temperature,
            "smoothing": self.smoothing,
            "categories": [category.to_json() for category in self.categories],
            "few_shot": [entry.to_json() for entry in self.few_shot],
            "tags": asdict(self.tags),
            "tag_heads": {tag: list(place) for tag, place in self.tag_heads.items()},
            "tag_thresholds": dict(self.tag_thresholds),
            "tag_rule": None if self.tag_rule is None else self.tag_rule.to_json(),
            "unknown": None if self.unknown is None else dict(self.unknown),
            "attributes": dict(self.attributes),
            "attribute_temperatures": dict(self.attribute_temperatures),
            "attribute_floors": dict(self.attribute_floors),
        }

    def tensors(self) -> dict[str, np.ndarray]:
        """Return ``ID.prototype`` and ``ID.weight``, float32 [D], of each few-shot entry."""
        return {
            f"{entry.id}.{name}": np.ascontiguousarray(getattr(entry, name), np.float32)
            for entry in self.few_shot
            for name in ("prototype", "weight")
        }

    @classmethod
    def from_json(
        cls, stored: Any, *, where: str, tensors: Mapping[str, np.ndarray] | None = None
    ) -> Decision:
        """Read what ``to_json`` wrote. Strict; raises ``BadModelError`` or ``NewerFormatError``."""
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
                # Models from before it have none.
                attribute_temperatures={
                    name: float(value)
                    for name, value in stored.get("attribute_temperatures", {}).items()
                },
                attribute_floors={
                    name: float(value) for name, value in stored.get("attribute_floors", {}).items()
                },
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
        # Rows from before there were any have none.
        prompts=tuple(entry.get("prompts", ())),
    )
