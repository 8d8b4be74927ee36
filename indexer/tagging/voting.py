"""Which tags a photo should carry: votes of its nearest products, what heads say, and one value of
each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, count

import numpy as np
from scipy.special import expit, logit

from indexer.index.near_duplicates import COPY, group_near_duplicates
from indexer.index.query import view_queries
from indexer.model.calibration import probabilities
from indexer.model.spec import Block
from indexer.model.tag_rule import TagColumn, TagRule

_CROWD = 10  # neighbours that local density is the mean over
_TRUST = 5  # a head's word for a value seen n times counts n / (n + 5), the vote has the rest
_FLOOR_VOTE, _FLOOR_HEAD = (
    0.05,
    0.02,
)  # share of the tag's frequency in what votes and heads say: no log of 0
# votes and heads are never surer than this of a tag that excludes nothing, nor surer of its absence
_SURE = 0.99
_TINY = 1e-12


@dataclass(frozen=True)
class TagSuggestion:
    """One tag, how likely it is right in [0, 1], and the products that voted for
    it, nearest first."""

    tag: str
    confidence: float
    neighbours: list[tuple[int, float]]  # (pid, score)


@dataclass(frozen=True)
class Voters:
    """Tagged products near one photo in one view, best first: pids, scores [n], the vectors [n, D]
    that matched."""

    pids: Sequence[int]
    scores: np.ndarray
    vectors: np.ndarray

    @cached_property
    def copies(self) -> np.ndarray:
        """Bool [n, n]: which show the same picture."""
        return np.asarray(self.vectors @ self.vectors.T >= COPY)

    def groups(self) -> int:
        """How many groups of near-duplicates they make: so many votes there are."""
        first = group_near_duplicates(self.copies[None])[0]
        return int((first == np.arange(len(first))).sum())


def head_chances(
    logits: Mapping[str, np.ndarray], tag_heads: Mapping[str, tuple[str, int]]
) -> dict[str, float]:
    """What the heads say of each tag they know: probability in [0, 1] of the class that stands for
    it.

    ``logits``: head name -> [C] of one photo; ``tag_heads``: tag -> (head name, class).
    """
    chances = {
        name: probabilities(logits[name]) for name in {head for head, _ in tag_heads.values()}
    }
    return {tag: float(chances[head][number]) for tag, (head, number) in tag_heads.items()}


@dataclass(frozen=True)
class KnnVote:
    """Who votes on each of P photos, among n ranked products."""

    scores: np.ndarray  # float64 [P, n], best first
    # int [P, n], the first product of each one's group of near-duplicates: it votes for the group
    first: np.ndarray
    heard: np.ndarray  # bool [P, n], in one of the first k groups
    density: np.ndarray  # float [P, n], mean cosine of a voter to its nearest among the voters

    @property
    def votes(self) -> np.ndarray:
        """Bool [P, n]: speaks for its group."""
        return self.heard & (self.first == np.arange(self.first.shape[1]))


def knn_vote(scores: np.ndarray, alike: np.ndarray, copies: np.ndarray, k: int) -> KnnVote:
    """The first ``k`` groups of near-duplicates among ranked products.

    ``scores`` [P, n] best first, -inf behind the last; ``alike`` [P, n, n] cosines among those
    products in the same view; ``copies`` bool [P, n, n]: near-duplicates.
    """
    count = scores.shape[1]
    here = np.isfinite(scores)
    first = group_near_duplicates(copies & here[:, None, :] & here[:, :, None])
    leads = here & (first == np.arange(count))
    heard = here & (np.cumsum(leads, 1) <= k)
    others = (leads & heard)[:, None, :] & ~np.eye(count, dtype=bool)
    near = np.where(others, -alike, np.inf)
    near = -(np.partition(near, _CROWD, axis=2) if count > _CROWD else near)[:, :, :_CROWD]
    known = np.isfinite(near)
    density = np.where(known, near, 0.0).sum(2) / np.maximum(known.sum(2), 1)
    return KnnVote(np.asarray(scores, np.float64), first, heard, density)


def vote_weights(cast: KnnVote, column: TagColumn) -> np.ndarray:
    """Weights [P, n] that sum to 1 (to 0 where nobody votes): softmax((score - crowding * density)
    / temperature).

    A group of near-duplicates has one vote, shared by its members. Hubs, products near to
    everything, count less: a product's density is taken off its score (after CSLS, Conneau et al.
    2018, "Word Translation Without Parallel Data"; here the density among the voters, so that it
    needs no second search and follows every write).
    """
    if not cast.scores.shape[1]:
        return np.zeros(cast.scores.shape)
    ranked = np.where(cast.votes, cast.scores - column.crowding * cast.density, -np.inf)
    best = ranked.max(1, keepdims=True)
    weights = np.exp((ranked - np.where(np.isfinite(best), best, 0.0)) / column.temperature)
    weights /= np.maximum(weights.sum(1, keepdims=True), _TINY)
    members = np.zeros(weights.shape)
    np.add.at(members, (np.arange(len(weights))[:, None], cast.first), cast.heard)
    share = weights / np.maximum(members, 1)
    return np.where(cast.heard, np.take_along_axis(share, cast.first, 1), 0.0)


@dataclass(frozen=True)
class TagEvidence:
    """What was said of m tags about P photos."""

    shares: np.ndarray  # float [P, m], of the vote
    voted: np.ndarray  # bool [P], whether anybody voted on the photo
    chances: np.ndarray  # float [P, m], by a head; nan where none knows the tag
    seen: np.ndarray  # float [m], products that carried the tag where the rule was fitted
    size: int  # of how many; 0: not known, heads are trusted

    @property
    def known(self) -> np.ndarray:
        """Bool [P, m]: a head knows the tag."""
        return ~np.isnan(self.chances)

    @property
    def trust(self) -> np.ndarray:
        """What a head's word counts, [P, m] in [0, 1]: less for a tag that it saw
        on few products."""
        return np.where(self.known, self.seen / (self.seen + _TRUST) if self.size else 1.0, 0.0)


def column_evidence(said: TagEvidence) -> np.ndarray:
    """Logs of head, vote and frequency, float64 [3, P, m], for the m values of one column.

    Where no head knows a value, and as far as it saw few, the vote speaks for it; where nobody
    votes, its frequency.
    """
    frequency = (said.seen + 0.5) / (said.size + 1)
    mixed = (1 - _FLOOR_VOTE) * said.shares + _FLOOR_VOTE * frequency
    vote = np.log(np.where(said.voted[:, None], mixed, frequency))
    head = np.log(
        (1 - _FLOOR_HEAD) * np.where(said.known, said.chances, 1.0) + _FLOOR_HEAD * frequency
    )
    trust = said.trust
    return np.stack(
        [trust * head + (1 - trust) * vote, vote, np.broadcast_to(np.log(frequency), vote.shape)]
    )


def column_confidence(said: TagEvidence, column: TagColumn) -> np.ndarray:
    """Confidences [P, m] of the values of one column, of which a product has one: rows sum to 1 at
    most.

    A softmax over the values, times the share of the vote that names any value.
    """
    strength = np.array([column.head, column.vote, column.prior])
    chance = probabilities(np.tensordot(strength, column_evidence(said), 1))
    # Where nobody votes the heads speak alone: a first product in an empty shop can be tagged too.
    spoken = said.known.any(1) & (column.head > 0)
    named = np.where(said.voted, np.minimum(said.shares.sum(1), 1.0), spoken)
    return np.asarray(chance * named[:, None])


def rest_evidence(said: TagEvidence) -> np.ndarray:
    """Log-odds of head and vote, float64 [2, P, m], for tags that exclude nothing."""
    vote = logit(np.clip(said.shares, 1 - _SURE, _SURE))
    head = logit(np.clip(np.where(said.known, said.chances, 0.5), 1 - _SURE, _SURE))
    trust, voted = said.trust, said.voted[:, None]
    return np.stack(
        [np.where(voted, trust * head + (1 - trust) * vote, head), np.where(voted, vote, head)]
    )


def rest_confidence(said: TagEvidence, rest: TagColumn) -> np.ndarray:
    """Confidences [P, m], each tag for itself; 0 for what neither a neighbour nor a head says."""
    if not rest.head:
        said = replace(said, chances=np.full_like(said.shares, np.nan))
    head, vote = rest_evidence(said)
    confidence = expit(rest.head * head + rest.vote * vote + rest.bias)
    return np.asarray(np.where((said.shares > 0) | said.known, confidence, 0.0))


def only_best(confidence: np.ndarray) -> np.ndarray:
    """Bool [P, m]: the one value of each row that a column may suggest, the first where several are
    equal."""
    chosen = np.zeros(confidence.shape, bool)
    if confidence.shape[1]:
        chosen[np.arange(len(confidence)), confidence.argmax(1)] = True
    return chosen


@dataclass(frozen=True)
class _Carried:
    """The tags of ranked products: ``codes`` numbers them; product ``who[i]`` carries tag
    ``what[i]``."""

    codes: Mapping[str, int]
    who: np.ndarray  # int [m], ascending
    what: np.ndarray  # int [m]

    @classmethod
    def by(cls, pids: Sequence[int], tags_of: Mapping[int, Sequence[str]]) -> _Carried:
        lists = [dict.fromkeys(tags_of[pid]) for pid in pids]
        tags = list(chain.from_iterable(lists))
        codes = dict(zip(dict.fromkeys(tags), count(), strict=False))
        who = np.repeat(np.arange(len(lists)), np.array([len(one) for one in lists], np.int64))
        return cls(codes, who, np.fromiter(map(codes.__getitem__, tags), np.int64, len(tags)))

    def shares(self, weights: np.ndarray) -> dict[str, float]:
        """Of each tag the weight of all who carry it."""
        return dict(
            zip(
                self.codes,
                np.bincount(self.what, weights[self.who], len(self.codes)).tolist(),
                strict=True,
            )
        )

    def by_whom(self, tag: str, weights: np.ndarray) -> list[int]:
        """Who carries it and has any weight."""
        found = self.who[self.what == self.codes.get(tag, -1)]
        return [int(place) for place in found[weights[found] > 0]]


def suggest_tags(
    voters: Sequence[Voters],
    tags_of: Mapping[int, Sequence[str]],
    rule: TagRule,
    blocks: Sequence[Block],
    *,
    chances: Mapping[str, float] | None = None,
) -> list[TagSuggestion]:
    """Tags of one photo that reach their threshold, best first; of each column the best value only.

    ``voters``: for each of ``rule.parts`` the products near in its view, all of them tagged
    (``tags_of``: pid -> tags); more than the part's k are fine. ``chances``: tag -> probability, of
    ``head_chances``.
    """
    chances = chances or {}
    in_column = {tag for column in rule.columns for tag in column.tags}
    kept: list[TagSuggestion] = []
    # Columns that look alike have the same voters.
    carried = {
        key: _Carried.by(near.pids, tags_of)
        for key, near in {id(near): near for near in voters}.items()
    }
    ballots: dict[tuple[int, int], KnnVote] = {}
    for part, near in zip(rule.parts, voters, strict=True):
        if (id(near), part.k) not in ballots:
            alike = view_queries(near.vectors, blocks, part.view) @ near.vectors.T
            ballots[id(near), part.k] = knn_vote(
                np.asarray(near.scores)[None], alike[None], near.copies[None], part.k
            )
        weights, tags_near = vote_weights(ballots[id(near), part.k], part)[0], carried[id(near)]
        shares = tags_near.shares(weights)
        exclusive = part is not rule.rest
        tags = list(part.tags) if exclusive else sorted({*shares, *chances} - in_column)
        if not tags:
            continue
        said = TagEvidence(
            shares=np.array([[shares.get(tag, 0.0) for tag in tags]]),
            voted=np.array([len(near.pids) > 0]),
            chances=np.array([[chances.get(tag, np.nan) for tag in tags]]),
            seen=np.array([float(rule.seen.get(tag, 0)) for tag in tags]),
            size=rule.size,
        )
        confidence = column_confidence(said, part) if exclusive else rest_confidence(said, part)
        allowed = only_best(confidence)[0] if exclusive else np.ones(len(tags), bool)
        kept += [
            TagSuggestion(
                tag,
                min(sure, 1.0),
                [(near.pids[n], float(near.scores[n])) for n in tags_near.by_whom(tag, weights)],
            )
            for tag, sure, may in zip(tags, confidence[0].tolist(), allowed, strict=True)
            if may and sure > 0 and sure >= rule.bar(tag)
        ]
    return sorted(kept, key=lambda suggestion: (-suggestion.confidence, suggestion.tag))
