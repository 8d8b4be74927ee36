"""Section of the policy file that bans categories or tags by name."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from indexer.moderation.detector import BoundedConfig, TextList


class NamedRule(BoundedConfig):
    """Banned names with the probabilities that count; a plain list takes the default ones."""

    names: TextList

    @model_validator(mode="before")
    @classmethod
    def _accept_list(cls, given: Any) -> Any:
        return {"names": given} if isinstance(given, list) else given
