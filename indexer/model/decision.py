"""The decision layer: all that turns logits and neighbours into answers, and changes without touching a vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from indexer.errors import BadModel, NewerFormat

FORMAT = 1
PATH_SEPARATOR = " > "


@dataclass(frozen=True)
class Category:
    """A class of the category head: the id is stable, the path (top level first) is display."""

    id: int
    path: tuple[str, ...]

    @property
    def label(self) -> str:
        return self.path[-1]


@dataclass(frozen=True)
class TagParams:
    """How neighbours vote: the ``k`` nearest products, weights softmax(score / temperature), a bar on the share."""

    k: int = 20
    temperature: float = 0.05
    threshold: float = 0.35


@dataclass(frozen=True)
class Decision:
    """Labels, temperatures and thresholds of one model."""

    categories: tuple[Category, ...] = ()
    temperature: float = 1.0  # of the category softmax
    tags: TagParams = field(default_factory=TagParams)
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # head name -> value of class id 0, 1, ...

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, stored: Any, *, where: str) -> Decision:
        """Strict; raises ``BadModel`` or ``NewerFormat``."""
        try:
            if stored["format"] > FORMAT:
                found = stored["format"]
                raise NewerFormat(f"{where} has format {found}, this Catalens knows up to {FORMAT}: upgrade it")
            return cls(
                categories=tuple(Category(entry["id"], tuple(entry["path"])) for entry in stored["categories"]),
                temperature=float(stored["temperature"]),
                tags=TagParams(**stored["tags"]),
                attributes={name: tuple(values) for name, values in stored["attributes"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadModel(f"{where}: {error!r}") from error
