"""Tags of one photo: the nearest tagged products in each view of the rule, and what
the heads say."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from indexer.catalog.store import Catalog
from indexer.core.native import THREADS
from indexer.core.timer import StageTimer
from indexer.index.product_hits import ProductHits
from indexer.index.query import search_params, view_queries
from indexer.model.tag_rule import TagGroup, TagRule
from indexer.tagging.few_shot_tags import with_few_shot_tags
from indexer.tagging.voting import Voters, suggest_tags, tag_probabilities
from service.query.classify import Vectors
from service.query.query import Query
from service.query.search_cache import SearchCache
from service.state.snapshots import Snapshot

_View = tuple[tuple[str, float], ...]
_LONGEST = 1000  # products looked at for one answer
_ROOM = 1.5  # more than k, for products without tags and near-duplicates


class TagSuggester:
    """Part of the engine; ``vectors`` and ``answer`` as for ``Classifier``."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        vectors: Vectors,
        answer: Callable[..., dict[str, Any]],
        crowded: Callable[[], bool],
    ) -> None:
        """``crowded``: whether other questions are being worked on, so that no core is free for
        half of this one."""
        self._catalog, self._vectors, self._answer, self._crowded = (
            catalog,
            vectors,
            answer,
            crowded,
        )
        self._beside = ThreadPoolExecutor(THREADS, "views") if THREADS > 1 else None

    def close(self) -> None:
        """Stop the threads that search views side by side."""
        if self._beside is not None:
            self._beside.shutdown()

    @staticmethod
    def depths(rule: TagRule) -> dict[str, int]:
        """For each ``SearchParams.widen`` how many products ``tags`` will look for: see
        ``SearchCache``."""
        depths: dict[str, int] = {}
        for part in rule.parts:
            widen = search_params(part.view).widen if part.view else ""
            depths[widen] = max(depths.get(widen, 0), int(_ROOM * part.k))
        return depths

    def tags(
        self,
        snapshot: Snapshot,
        source: Query,
        clock: StageTimer,
        near: SearchCache | None = None,
        *,
        own: Collection[int] = (),
    ) -> dict[str, Any]:
        """``tags`` [{tag, confidence, neighbours}]; neither a product that is asked about nor
        ``own`` pids vote."""
        vectors, asked = self._vectors(snapshot, source, clock)
        own = asked | set(own)
        decision, rule = snapshot.bundle.decision, snapshot.tag_rule
        with clock.stage("search"):
            tags_of: dict[int, list[str]] = {}
            voters = self._voters(snapshot, rule, vectors, own, tags_of, near or SearchCache())
        with clock.stage("vote"):
            probabilities: dict[str, float] = {}
            if decision.tag_heads and any(part.head for part in rule.parts):
                logits = snapshot.embedder.logits(vectors)
                probabilities = tag_probabilities(
                    {name: rows.mean(axis=0) for name, rows in logits.items()}, decision.tag_heads
                )
            voted = suggest_tags(
                voters, tags_of, rule, snapshot.bundle.spec.blocks, probabilities=probabilities
            )
            suggested = with_few_shot_tags(voted, vectors, decision)
            names = self._catalog.ids_of(
                {pid for entry in suggested for pid, _ in entry.neighbours}
            )
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
        near: SearchCache,
    ) -> list[Voters]:
        """For each part of the rule the products that may vote; ``tags_of`` gets their tags. One
        search per view."""
        deepest: dict[_View, TagGroup] = {}
        for part in rule.parts:
            view = _view(part)
            if view not in deepest or part.k > deepest[view].k:
                deepest[view] = part
        found: dict[_View, Voters] = {}
        wanted = {view: int(_ROOM * part.k) for view, part in deepest.items()}
        while wanted:
            helpers = self._beside if len(wanted) > 1 and not self._crowded() else None
            each = map if helpers is None else helpers.map

            def nearest(view: _View) -> tuple[ProductHits, float]:
                return self._nearest(snapshot, vectors, deepest[view], wanted[view], own, near)

            hits = dict(zip(wanted, each(nearest, list(wanted)), strict=True))
            pids = np.concatenate([one.pids for one, _ in hits.values()])
            stored, votes = snapshot.live.vectors_at(
                pids, np.concatenate([one.photo_ids for one, _ in hits.values()])
            )
            listed = pids.tolist()
            tags_of.update(self._catalog.voting_tags(set(listed) - set(tags_of)))
            votes &= np.array([pid in tags_of for pid in listed], bool)
            at = 0
            for view, (one, length) in hits.items():
                span = slice(at, at := at + len(one))
                voting, scores = votes[span], np.asarray(one.scores, np.float32) * length
                found[view] = Voters(
                    one.pids[voting].tolist(),
                    np.clip(scores[voting], -1.0, 1.0),
                    stored[span][voting],
                )
                depth = wanted.pop(view)
                # Products without tags and near-duplicates leave too few votes: look further, if
                # there is more.
                if len(one) == depth < _LONGEST and found[view].count_groups() < deepest[view].k:
                    wanted[view] = min(4 * depth, _LONGEST)
        return [found[_view(part)] for part in rule.parts]

    @staticmethod
    def _nearest(
        snapshot: Snapshot,
        vectors: np.ndarray,
        part: TagGroup,
        depth: int,
        own: set[int],
        near: SearchCache,
    ) -> tuple[ProductHits, float]:
        """The nearest products over all query vectors in the part's view, and what their scores are
        multiplied by."""
        queries = view_queries(vectors, snapshot.bundle.spec.blocks, part.view)
        lengths = np.linalg.norm(
            queries, axis=1, keepdims=True
        )  # one length: blocks are unit vectors
        params = search_params(part.view) if part.view else None
        if len(queries) == 1:
            hits = near.search(snapshot.live, (queries / lengths)[0], depth, own, params)
        else:
            (hits,) = snapshot.live.search(
                queries / lengths, depth, exclude=own, params=params, together=True
            )
        return hits, float(lengths.mean())


def _view(part: TagGroup) -> _View:
    return tuple(sorted(part.view.items()))
