"""Section of the policy file that bans names: categories or tags, and the scores that count."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from indexer.moderation.detector import BoundedConfig, Texts


class NamedRule(BoundedConfig):
    """Banned names with the probabilities that count; a plain list takes the default ones."""

    names: Texts

    @model_validator(mode="before")
    @classmethod
    def _accept_list(cls, given: Any) -> Any:
        return {"names": given} if isinstance(given, list) else given
