"""Tag suggestion by votes of the nearest tagged products, joined to the tag heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from indexer.catalog.attributes import describes_look
from indexer.catalog.store import Catalog
from indexer.core.native import THREADS
from indexer.index.product_hits import ProductHits
from indexer.index.query_weighting import search_params, view_queries
from indexer.model.decision_layer import Decision
from indexer.model.tag_rule import TagGroup, TagRule
from indexer.tagging.few_shot_tags import with_few_shot_tags
from indexer.tagging.voting import TagSuggestion, Voters, suggest_tags, tag_probabilities
from service.inference.admission import AdmissionGate
from service.query.classify import shows_unknown_kind
from service.query.context import TAG_ROOM, RequestContext
from service.query.photo_embedder import EmbeddedQuery
from service.query.response import SuggestedTag, SuggestedTags, TagVoter
from service.state.snapshot import Snapshot

_View = tuple[tuple[str, float], ...]
_LONGEST = 1000  # products looked at for one answer


@dataclass(frozen=True)
class _Ballot:
    """The voters of each part of a rule, and the tags of all of them by pid."""

    voters: list[Voters]
    tags: dict[int, list[str]]


@dataclass(frozen=True)
class _ViewSearch:
    """The nearest products in one view over all query vectors."""

    ctx: RequestContext
    vectors: np.ndarray  # float32 [n, D]
    exclude: AbstractSet[int]
    part: TagGroup  # that wants most voters of this view

    def nearest(self, depth: int) -> tuple[ProductHits, float]:
        """``depth`` products, and what their scores are multiplied by."""
        snapshot, view = self.ctx.snapshot, self.part.view
        queries = view_queries(self.vectors, snapshot.bundle.spec.blocks, view)
        # All of one length: blocks are unit vectors.
        lengths = np.linalg.norm(queries, axis=1, keepdims=True)
        params = search_params(view) if view else None
        if len(queries) == 1:
            hits = self.ctx.searches.search(
                snapshot.live, (queries / lengths)[0], depth, self.exclude, params
            )
        else:
            (hits,) = snapshot.live.search(
                queries / lengths, depth, exclude=self.exclude, params=params, together=True
            )
        return hits, float(lengths.mean())


class TagSuggester:
    """Suggests tags for embedded queries; safe to call from many threads."""

    def __init__(
        self, catalog: Catalog, admission: AdmissionGate, *, threads: int = THREADS
    ) -> None:
        self._catalog = catalog
        self._admission = admission
        self._helpers = ThreadPoolExecutor(threads, "views") if threads > 1 else None

    def close(self) -> None:
        """Stop the threads that search views side by side."""
        if self._helpers is not None:
            self._helpers.shutdown()

    def suggest(
        self,
        ctx: RequestContext,
        embedded: EmbeddedQuery,
        *,
        exclude: AbstractSet[int] = frozenset(),
        withhold: bool = True,
    ) -> SuggestedTags:
        """Tags, most confident first; neither a product that is asked about nor the pids in
        ``exclude`` vote.

        With ``withhold`` a kind that the model does not know gets tags of colour and pattern alone.
        """
        vectors, exclude = embedded.vectors, embedded.self_pids | exclude
        with ctx.timer.stage("search"):
            ballot = self._ballot(ctx, vectors, exclude)
        with ctx.timer.stage("vote"):
            suggested = _vote(ctx.snapshot, vectors, ballot)
            names = self._catalog.ids_of(_voters_of(suggested))
        decision = ctx.snapshot.bundle.decision
        tags = [_suggested_tag(entry, names, decision) for entry in suggested]
        if withhold and shows_unknown_kind(ctx, embedded):
            return SuggestedTags(tags_of_look(ctx.snapshot, tags), True)
        return SuggestedTags(tags)

    def _ballot(
        self, ctx: RequestContext, vectors: np.ndarray, exclude: AbstractSet[int]
    ) -> _Ballot:
        """The products that may vote, with one search for each view."""
        rule, live = ctx.snapshot.tag_rule, ctx.snapshot.live
        searches = {
            view: _ViewSearch(ctx, vectors, exclude, part)
            for view, part in _deepest_parts(rule).items()
        }
        depths = {view: int(TAG_ROOM * search.part.k) for view, search in searches.items()}
        tags: dict[int, list[str]] = {}
        found: dict[_View, Voters] = {}
        while depths:
            ctx.check()
            hits = self._search_views(searches, depths)
            pids = np.concatenate([one.pids for one, _ in hits.values()])
            photo_ids = np.concatenate([one.photo_ids for one, _ in hits.values()])
            stored, votes = live.vectors_at(pids, photo_ids)
            listed = pids.tolist()
            tags |= self._catalog.voting_tags(set(listed) - set(tags))
            votes &= np.array([pid in tags for pid in listed], bool)
            start = 0
            for view, (one, length) in hits.items():
                span = slice(start, start + len(one))
                start += len(one)
                found[view] = _voters(one, length, stored[span], votes[span])
                depth = depths.pop(view)
                # Products without tags and near-duplicates leave too few votes: look further, if
                # there is more.
                wanted = searches[view].part.k
                if len(one) == depth < _LONGEST and found[view].count_groups() < wanted:
                    depths[view] = min(4 * depth, _LONGEST)
        return _Ballot([found[_view(part)] for part in rule.parts], tags)

    def _search_views(
        self, searches: dict[_View, _ViewSearch], depths: dict[_View, int]
    ) -> dict[_View, tuple[ProductHits, float]]:
        """Views side by side, unless other requests keep the cores busy."""
        if self._helpers is None or len(depths) < 2 or self._admission.crowded:
            return {view: searches[view].nearest(depth) for view, depth in depths.items()}
        begun = {
            view: self._helpers.submit(searches[view].nearest, depth)
            for view, depth in depths.items()
        }
        return {view: future.result() for view, future in begun.items()}


def tags_of_look(snapshot: Snapshot, tags: Sequence[SuggestedTag]) -> list[SuggestedTag]:
    """Those of colour and pattern, which things of any kind have."""
    groups = [group for group in snapshot.tag_rule.groups if describes_look(group.name)]
    look = {tag for group in groups for tag in group.tags}
    return [entry for entry in tags if entry.tag in look]


def _view(part: TagGroup) -> _View:
    return tuple(sorted(part.view.items()))


def _deepest_parts(rule: TagRule) -> dict[_View, TagGroup]:
    """For each view the part of the rule that wants most voters."""
    deepest: dict[_View, TagGroup] = {}
    for part in rule.parts:
        view = _view(part)
        if view not in deepest or part.k > deepest[view].k:
            deepest[view] = part
    return deepest


def _voters(hits: ProductHits, length: float, stored: np.ndarray, votes: np.ndarray) -> Voters:
    """Those of the hits that may vote (bool [n]), with their vectors [n, D]."""
    scores = np.asarray(hits.scores, np.float32)[votes] * length
    return Voters(hits.pids[votes].tolist(), np.clip(scores, -1.0, 1.0), stored[votes])


def _voters_of(suggested: list[TagSuggestion]) -> set[int]:
    return {pid for entry in suggested for pid, _ in entry.neighbours}


def _suggested_tag(
    entry: TagSuggestion, names: Mapping[int, str], decision: Decision
) -> SuggestedTag:
    """``names``: product ids by pid, of those that were not deleted a moment ago."""
    voters = [
        TagVoter(names[pid], round(float(score), 6))
        for pid, score in entry.neighbours
        if pid in names
    ]
    others = entry.neighbours or entry.tag in decision.tag_heads
    text: Literal["text"] | None = None
    if entry.tag in decision.described and not others:
        text = "text"
    return SuggestedTag(entry.tag, round(float(entry.confidence), 6), voters, text)


def _vote(snapshot: Snapshot, vectors: np.ndarray, ballot: _Ballot) -> list[TagSuggestion]:
    """Tags by votes, heads and few-shot rows."""
    decision, rule = snapshot.bundle.decision, snapshot.tag_rule
    probabilities: dict[str, float] = {}
    if decision.tag_heads and any(part.head for part in rule.parts):
        logits = snapshot.embedder.logits(vectors)
        means = {name: rows.mean(axis=0) for name, rows in logits.items()}
        several = snapshot.bundle.spec.several
        probabilities = tag_probabilities(means, decision.tag_heads, several)
    voted = suggest_tags(
        ballot.voters, ballot.tags, rule, snapshot.bundle.spec.blocks, probabilities=probabilities
    )
    return with_few_shot_tags(voted, vectors, decision)
