"""Tags of one photo: the nearest tagged products in each view of the rule, and what the heads say."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from indexer.catalog.store import Catalog
from indexer.decisions.classify import with_few_shot_tags
from indexer.decisions.similar import search_params
from indexer.decisions.tagging import Voters, count_groups, head_chances, suggest_tags, view_queries
from indexer.model.tag_rule import TagColumn, TagRule
from service.answers import Clock
from service.classifying import Vectors
from service.near import Near
from service.searching import Source
from service.serving import Snapshot

_LONGEST = 1000  # products looked at for one answer
_ROOM = 1.5  # more than k, for products without tags and near-duplicates


class Tagging:
    """Part of the engine; ``vectors`` and ``answer`` as for ``Classifying``."""

    def __init__(self, catalog: Catalog, *, vectors: Vectors, answer: Callable[..., dict[str, Any]]) -> None:
        self._catalog, self._vectors, self._answer = catalog, vectors, answer

    @staticmethod
    def depths(rule: TagRule) -> dict[str, int]:
        """For each ``SearchParams.widen`` how many products ``tags`` will look for: see ``Near``."""
        depths: dict[str, int] = {}
        for part in rule.parts:
            widen = search_params(part.view).widen if part.view else ""
            depths[widen] = max(depths.get(widen, 0), int(_ROOM * part.k))
        return depths

    def tags(
        self,
        snapshot: Snapshot,
        source: Source,
        clock: Clock,
        near: Near | None = None,
        *,
        own: Collection[int] = (),
    ) -> dict[str, Any]:
        """``tags`` [{tag, confidence, neighbours}]; neither a product that is asked about nor ``own`` pids vote."""
        vectors, asked = self._vectors(snapshot, source, clock)
        own = asked | set(own)
        decision, rule = snapshot.bundle.decision, snapshot.tag_rule
        with clock.stage("search"):
            tags_of: dict[int, list[str]] = {}
            voters = self._voters(snapshot, rule, vectors, own, tags_of, near or Near())
        with clock.stage("vote"):
            chances: dict[str, float] = {}
            if decision.tag_heads and any(part.head for part in rule.parts):
                logits = snapshot.embedder.logits(vectors)
                chances = head_chances({name: rows.mean(axis=0) for name, rows in logits.items()}, decision.tag_heads)
            voted = suggest_tags(voters, tags_of, rule, snapshot.bundle.spec.blocks, chances=chances)
            suggested = with_few_shot_tags(voted, vectors, decision)
            names = self._catalog.ids_of({pid for entry in suggested for pid, _ in entry.neighbours})
        tags = [
            {
                "tag": entry.tag,
                "confidence": round(float(entry.confidence), 6),
                "neighbours": [
                    {"product_id": names[pid], "score": round(float(score), 6)}
                    for pid, score in entry.neighbours
                    if pid in names  # else deleted a moment ago
                ],
            }
            for entry in suggested
        ]
        return self._answer(snapshot, clock, tags=tags)

    def _voters(
        self,
        snapshot: Snapshot,
        rule: TagRule,
        vectors: np.ndarray,
        own: set[int],
        tags_of: dict[int, list[str]],
        near: Near,
    ) -> list[Voters]:
        """For each part of the rule the products that may vote; ``tags_of`` gets their tags. One search per view."""
        deepest: dict[tuple[tuple[str, float], ...], TagColumn] = {}
        for part in rule.parts:
            view = tuple(sorted(part.view.items()))
            if view not in deepest or part.k > deepest[view].k:
                deepest[view] = part
        found = {view: self._nearest(snapshot, vectors, part, own, tags_of, near) for view, part in deepest.items()}
        return [found[tuple(sorted(part.view.items()))] for part in rule.parts]

    def _nearest(
        self,
        snapshot: Snapshot,
        vectors: np.ndarray,
        part: TagColumn,
        own: set[int],
        tags_of: dict[int, list[str]],
        near: Near,
    ) -> Voters:
        """The nearest tagged products over all query vectors, enough for ``part.k`` votes where there are as many."""
        queries = view_queries(vectors, snapshot.bundle.spec.blocks, part.view)
        lengths = np.linalg.norm(queries, axis=1, keepdims=True)  # one length: blocks are unit vectors
        params = search_params(part.view) if part.view else None
        wanted = int(_ROOM * part.k)
        while True:
            if len(queries) == 1:
                hits = near.search(snapshot.live, (queries / lengths)[0], wanted, own, params)
            else:
                (hits,) = snapshot.live.search(queries / lengths, wanted, exclude=own, params=params, together=True)
            fresh = [pid for pid in hits.pids.tolist() if pid not in tags_of]
            tags_of.update(self._catalog.voting_tags(fresh))
            places = list(zip(hits.pids.tolist(), hits.photo_ids.tolist(), strict=True))
            stored, there = snapshot.live.vectors_at(places)
            votes = there & np.array([pid in tags_of for pid, _ in places], bool)
            matched = stored[votes]
            if len(hits) < wanted or wanted >= _LONGEST or count_groups(matched) >= part.k:
                break
            wanted = min(4 * wanted, _LONGEST)
        scores = np.asarray(hits.scores[votes], np.float32) * float(lengths.mean())
        return Voters(hits.pids[votes].tolist(), np.clip(scores, -1.0, 1.0), matched)
