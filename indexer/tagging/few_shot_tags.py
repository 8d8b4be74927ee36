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
    """Add the few-shot tags that the vectors [N, D] of one product reach.

    Of a tag that was suggested already the higher confidence counts.
    """
    entries = [entry for entry in decision.few_shot if entry.kind == "tag"]
    if not entries:
        return suggested
    best = {entry.tag: entry for entry in suggested}
    confidences = expit(few_shot_scores(vectors, entries).mean(axis=0))
    for entry, confidence in zip(entries, confidences, strict=True):
        tag = str(entry.tag)
        known = best.get(tag)
        if confidence < entry.threshold or (known is not None and known.confidence >= confidence):
            continue
        neighbours = [] if known is None else known.neighbours
        best[tag] = TagSuggestion(tag, float(confidence), neighbours)
    return sorted(best.values(), key=lambda suggestion: (-suggestion.confidence, suggestion.tag))
