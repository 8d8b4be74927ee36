"""Few-shot tags added to the tags that votes and heads suggest."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from indexer.model.decision_layer import Decision
from indexer.model.few_shot import few_shot_scores
from indexer.tagging.voting import TagSuggestion


def with_few_shot_tags(
    suggested: list[TagSuggestion], vectors: np.ndarray, decision: Decision
) -> list[TagSuggestion]:
    """``suggested`` and the few-shot tags that the vectors [N, D] of one product reach; the surer
    counts."""
    entries = [entry for entry in decision.few_shot if entry.kind == "tag"]
    if not entries:
        return suggested
    best = {entry.tag: entry for entry in suggested}
    for entry, confidence in zip(
        entries, expit(few_shot_scores(vectors, entries).mean(axis=0)), strict=True
    ):
        tag = str(entry.tag)
        if confidence < entry.threshold or (tag in best and best[tag].confidence >= confidence):
            continue
        best[tag] = TagSuggestion(
            tag, float(confidence), best[tag].neighbours if tag in best else []
        )
    return sorted(best.values(), key=lambda suggestion: (-suggestion.confidence, suggestion.tag))
