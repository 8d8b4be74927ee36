"""Banned kinds in words: a policy's prompts, and what fitting found for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from indexer.core.errors import CatalensError
from indexer.moderation.detector import DetectorConfig, Text
from indexer.moderation.policy import PolicySet
from indexer.moderation.thresholds import Bounds
from indexer.text.zero_shot import MOST_PROMPT, MOST_PROMPTS, DescribedKind

# Prompts, each a kind of its own, to what the model's text tower makes of them.
Describe = Callable[[Sequence[str]], list[DescribedKind]]


def _check_length(text: str) -> str:
    if len(text) > MOST_PROMPT:
        raise ValueError(f"has {len(text):,} characters, at most {MOST_PROMPT} are read")
    return str(text)


class BannedWords(DetectorConfig):
    """Texts that each describe a kind of photo that is banned."""

    prompts: Annotated[
        tuple[Annotated[Text, AfterValidator(_check_length)], ...],
        Field(min_length=1, max_length=MOST_PROMPTS, description="a list of texts"),
    ]

    @model_validator(mode="before")
    @classmethod
    def _accept_list(cls, value: Any) -> Any:
        """A plain list is one of prompts."""
        return {"prompts": value} if isinstance(value, list) else value


def words_of(policies: PolicySet) -> dict[str, BannedWords]:
    """The prompts of a policy file, each by its policy's name."""
    rules = ((policy.name, policy.rules.get("prompts")) for policy in policies.policies)
    return {name: rule for name, rule in rules if isinstance(rule, BannedWords)}


@dataclass(frozen=True)
class FittedWords:
    """What fitting found for one policy's prompts: their directions, and when a person is asked."""

    # float32 [P, D], in nats: times an embedding, the pair's own factor times each prompt's cosine
    directions: np.ndarray
    # Without ``block``: words alone block nothing. None where the catalog has no photos.
    bounds: Bounds | None
    # Why the prompts cannot be asked; then there is nothing else.
    reason: str | None = None

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """Score float [N, P] of embeddings [N, D] for each prompt."""
        return np.asarray(vectors @ self.directions.T)


def read_words(words: BannedWords, describe: Describe | None) -> FittedWords:
    """The prompts as directions, not yet fitted; or why not."""
    nothing = np.zeros((0, 0), np.float32)
    if describe is None:
        return FittedWords(
            nothing,
            None,
            "prompts need a model of an image and text pair with its text tower, and this one has "
            "none",
        )
    try:
        found = describe(words.prompts)
    except CatalensError as error:
        return FittedWords(nothing, None, f"prompts cannot be asked: {error}")
    return FittedWords(np.stack([kind.direction * kind.scale for kind in found]), None)
