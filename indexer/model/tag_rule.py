"""Rule that turns votes and head probabilities into suggested tags; stored with a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# Neighbours that may be asked for: many times what a fit tries.
_MOST_VOTES = 100_000
# Block name -> weight of its cosine in a score, summing to 1; empty: as search weighs them.
View = Mapping[str, float]


@dataclass(frozen=True)
class TagGroup:
    """Tags judged alike: mutually exclusive values of one attribute, or all independent tags.

    The ``k`` nearest products in ``view`` vote with softmax((score - crowding * local density) /
    temperature). Evidence is added up on a log scale: ``head`` times what a head says, ``vote``
    times the share of the vote, ``prior`` times the tag's frequency, and ``bias``.
    """

    # "category" or an attribute; "": independent tags.
    name: str = ""
    # Values of the attribute; empty for independent tags, which are all that no group names.
    tags: tuple[str, ...] = ()
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
    """All that a suggestion depends on beside neighbours and logits.

    It is stored with a model and, refitted to a catalog, with an index version.
    """

    # Groups of mutually exclusive tags; stored under the key ``columns``.
    groups: tuple[TagGroup, ...] = ()
    # The independent tags.
    rest: TagGroup = field(default_factory=TagGroup)
    # Tag -> products that carried it where the rule was fitted, and how many products there were.
    seen: Mapping[str, int] = field(default_factory=dict)
    size: int = 0
    threshold: float = 0.35
    # Tag -> its own threshold.
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[TagGroup, ...]:
        """The groups, and ``rest`` behind them."""
        return (*self.groups, self.rest)

    def bar(self, tag: str) -> float:
        """Return the confidence that a suggestion of ``tag`` must reach."""
        return self.thresholds.get(tag, self.threshold)

    def to_json(self) -> dict[str, Any]:
        """Return the stored form; its keys and their order are final."""
        stored = asdict(self)
        return {_STORED_NAMES.get(name, name): value for name, value in stored.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TagRule:
        """Read what ``to_json`` wrote. Raises ``KeyError``, ``TypeError`` or ``ValueError``."""
        return cls(
            groups=tuple(_group_from_json(entry) for entry in stored["columns"]),
            rest=_group_from_json(stored["rest"]),
            seen={str(tag): int(count) for tag, count in stored["seen"].items()},
            size=int(stored["size"]),
            threshold=float(stored["threshold"]),
            thresholds={str(tag): float(bar) for tag, bar in stored["thresholds"].items()},
        )


_STORED_NAMES = {"groups": "columns"}


def is_vote(k: object, numbers: tuple[object, ...]) -> bool:
    """Whether ``k`` neighbours can vote at a temperature, the first of ``numbers``."""
    known = [one for one in numbers if isinstance(one, (int, float)) and math.isfinite(one)]
    return type(k) is int and 1 <= k <= _MOST_VOTES and len(known) == len(numbers) and known[0] > 0


def _group_from_json(stored: Mapping[str, Any]) -> TagGroup:
    numbers = ("temperature", "crowding", "head", "vote", "prior", "bias")
    if not is_vote(int(stored["k"]), tuple(float(stored[name]) for name in numbers)):
        raise ValueError("a group does not say how neighbours vote")
    if not all(math.isfinite(float(weight)) for weight in stored["view"].values()):
        raise ValueError("a group weighs a block by no number")
    return TagGroup(
        name=str(stored["name"]),
        tags=tuple(str(tag) for tag in stored["tags"]),
        view={str(name): float(weight) for name, weight in stored["view"].items()},
        k=int(stored["k"]),
        **{name: float(stored[name]) for name in numbers},
    )
