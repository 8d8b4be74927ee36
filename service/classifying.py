"""Categories of one photo or product, and whether it is of a kind the model knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from indexer.decisions.classify import category_logits, rank_categories
from indexer.errors import NoCategories
from service.answers import Clock
from service.near import Near
from service.searching import Source
from service.serving import Snapshot
from service.strangers import is_stranger

Vectors = Callable[[Snapshot, Source, Clock], tuple[np.ndarray, set[int]]]


class Classifying:
    """Part of the engine. ``vectors`` gives a source's query vectors and pids, ``answer`` frames what is answered."""

    def __init__(self, *, vectors: Vectors, answer: Callable[..., dict[str, Any]]) -> None:
        self._vectors, self._answer = vectors, answer

    def classify(
        self, snapshot: Snapshot, source: Source, clock: Clock, *, top: int = 5, near: Near | None = None
    ) -> dict[str, Any]:
        """As ``Engine.classify``."""
        decision = snapshot.bundle.decision
        if not decision.categories:
            raise NoCategories(
                f"model {snapshot.model_version} has no categories: train one on labelled photos, "
                "or make some from a few photos each (catalens class add)"
            )
        vectors, own = self._vectors(snapshot, source, clock)
        with clock.stage("classify"):
            heads = snapshot.embedder.logits(vectors)
            logits = category_logits(heads.get("category"), vectors, decision).mean(axis=0)
            ranked = rank_categories(logits, decision, top=top)
            unknown = is_stranger(snapshot, vectors, heads.get("category"), ranked[0][0], own, near or Near())
        categories = [
            {"label": category.path[-1], "path": list(category.path), "probability": round(float(probability), 6)}
            for category, probability in ranked
        ]
        return self._answer(snapshot, clock, categories=categories, unknown=unknown)
