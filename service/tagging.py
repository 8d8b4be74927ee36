"""Tags of one photo: the nearest tagged products in each view of the rule, and what the heads say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from indexer.catalog.records import Voter
from indexer.decisions.classify import with_few_shot_tags
from indexer.decisions.tagging import Voters, count_groups, head_chances, suggest_tags, view_queries
from indexer.model.tag_rule import TagColumn, TagRule
from service.answers import Clock
from service.classifying import Vectors
from service.searching import Source
from service.serving import Snapshot

_LONGEST = 1000  # products looked at for one answer
_ROOM = 1.5  # more than k, for products without tags and near-duplicates

Find = Callable[..., tuple[list[tuple[int, int, float]], dict[int, Voter]]]


class Tagging:
    """Part of the engine. ``find`` gives the nearest products of a snapshot; the others as for ``Classifying``."""

    def __init__(self, *, find: Find, vectors: Vectors, answer: Callable[..., dict[str, Any]]) -> None:
        self._find, self._vectors, self._answer = find, vectors, answer

    def tags(self, snapshot: Snapshot, source: Source, clock: Clock) -> dict[str, Any]:
        """``tags`` [{tag, confidence, neighbours}]; a product that is asked about does not vote."""
        vectors, own = self._vectors(snapshot, source, clock)
        decision, rule = snapshot.bundle.decision, snapshot.tag_rule
        with clock.stage("search"):
            names: dict[int, Voter] = {}
            voters = self._voters(snapshot, rule, vectors, own, names)
        with clock.stage("vote"):
            chances: dict[str, float] = {}
            if decision.tag_heads and any(part.head for part in rule.parts):
                logits = snapshot.embedder.logits(vectors)
                chances = head_chances({name: rows.mean(axis=0) for name, rows in logits.items()}, decision.tag_heads)
            tags_of = {pid: list(voter.tags) for pid, voter in names.items()}
            voted = suggest_tags(voters, tags_of, rule, snapshot.bundle.spec.blocks, chances=chances)
            suggested = with_few_shot_tags(voted, vectors, decision)
        tags = [
            {
                "tag": entry.tag,
                "confidence": round(float(entry.confidence), 6),
                "neighbours": [
                    {"product_id": names[pid].product_id, "score": round(float(score), 6)}
                    for pid, score in entry.neighbours
                ],
            }
            for entry in suggested
        ]
        return self._answer(snapshot, clock, tags=tags)

    def _voters(
        self, snapshot: Snapshot, rule: TagRule, vectors: np.ndarray, own: set[int], names: dict[int, Voter]
    ) -> list[Voters]:
        """For each part of the rule the products that may vote; ``names`` gets their rows. One search per view."""
        deepest: dict[tuple[tuple[str, float], ...], TagColumn] = {}
        for part in rule.parts:
            view = tuple(sorted(part.view.items()))
            if view not in deepest or part.k > deepest[view].k:
                deepest[view] = part
        found = {view: self._nearest(snapshot, vectors, part, own, names) for view, part in deepest.items()}
        return [found[tuple(sorted(part.view.items()))] for part in rule.parts]

    def _nearest(
        self, snapshot: Snapshot, vectors: np.ndarray, part: TagColumn, own: set[int], names: dict[int, Voter]
    ) -> Voters:
        queries = view_queries(vectors, snapshot.bundle.spec.blocks, part.view)
        lengths = np.linalg.norm(queries, axis=1, keepdims=True)  # one length: blocks are unit vectors
        wanted = int(_ROOM * part.k)
        while True:
            hits, products = self._find(snapshot, queries / lengths, wanted, own, view=part.view)
            tagged = [hit for hit in hits if products[hit[0]].tags]
            found, there = snapshot.live.vectors_at([hit[:2] for hit in tagged])
            kept = [hit for hit, is_there in zip(tagged, there.tolist(), strict=True) if is_there]
            matched = found[there]
            if len(hits) < wanted or wanted >= _LONGEST or count_groups(matched) >= part.k:
                break
            wanted = min(4 * wanted, _LONGEST)
        names.update({hit[0]: products[hit[0]] for hit in kept})
        scores = np.array([hit[2] for hit in kept], np.float32) * float(lengths.mean())
        return Voters([hit[0] for hit in kept], np.clip(scores, -1.0, 1.0), matched)
