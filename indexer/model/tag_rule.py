"""How votes and heads become suggested tags: plain numbers, kept in a model and, refitted, in an
index version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

View = Mapping[
    str, float
]  # block name -> weight of its cosine in a score, summing to 1; empty: as search has it


@dataclass(frozen=True)
class TagColumn:
    """Tags that are told alike: the values of one column, of which a product has one, or all that
    are no such values.

    The ``k`` nearest products in ``view`` vote with softmax((score - crowding * local density) /
    temperature). Evidence is added up on a log scale: ``head`` times what a head says, ``vote``
    times the share of the vote, ``prior`` times the tag's frequency, and ``bias``.
    """

    name: str = ""  # "category" or an attribute; "": tags that exclude nothing
    tags: tuple[str, ...] = ()  # of a column; of the rest none is named, it takes what is left
    view: View = field(default_factory=dict)
    k: int = 20
    temperature: float = 0.05
    crowding: float = 0.0
    head: float = 0.0
    vote: float = 1.0
    prior: float = 0.0
    bias: float = 0.0


@dataclass(frozen=True)
class TagRule:
    """Everything that a suggestion depends on beside neighbours and logits."""

    columns: tuple[TagColumn, ...] = ()
    rest: TagColumn = field(default_factory=TagColumn)
    seen: Mapping[str, int] = field(
        default_factory=dict
    )  # tag -> products that carried it where the rule was fitted
    size: int = 0  # of how many products
    threshold: float = 0.35
    thresholds: Mapping[str, float] = field(default_factory=dict)  # tag -> its own bar

    @property
    def parts(self) -> tuple[TagColumn, ...]:
        """The columns, and the rest behind them."""
        return (*self.columns, self.rest)

    def bar(self, tag: str) -> float:
        """What a tag's confidence must reach."""
        return self.thresholds.get(tag, self.threshold)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TagRule:
        """Strict; raises ``KeyError``, ``TypeError`` or ``ValueError`` for what ``to_json`` cannot
        have written."""
        return cls(
            columns=tuple(_column(entry) for entry in stored["columns"]),
            rest=_column(stored["rest"]),
            seen={str(tag): int(count) for tag, count in stored["seen"].items()},
            size=int(stored["size"]),
            threshold=float(stored["threshold"]),
            thresholds={str(tag): float(bar) for tag, bar in stored["thresholds"].items()},
        )


def _column(stored: Mapping[str, Any]) -> TagColumn:
    numbers = ("temperature", "crowding", "head", "vote", "prior", "bias")
    return TagColumn(
        name=str(stored["name"]),
        tags=tuple(str(tag) for tag in stored["tags"]),
        view={str(name): float(weight) for name, weight in stored["view"].items()},
        k=int(stored["k"]),
        **{name: float(stored[name]) for name in numbers},
    )
