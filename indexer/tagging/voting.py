"""Tag suggestions for a photo: weighted kNN votes combined with head probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, count

import numpy as np
from scipy.special import expit, logit

from indexer.index.near_duplicates import COPY, group_near_duplicates
from indexer.index.query_weighting import view_queries
from indexer.model.calibration import softmax
from indexer.model.spec import Block
from indexer.model.tag_rule import TagGroup, TagRule

# Neighbours that local density is the mean over.
_CROWD = 10
# A head's word for a value seen n times counts n / (n + 5), the vote has the rest.
_TRUST = 5
# Share of the tag's frequency in what votes and heads say: no log of 0.
_FLOOR_VOTE = 0.05
_FLOOR_HEAD = 0.02
# Votes and heads are never surer than this of an independent tag, nor surer of its absence.
_SURE = 0.99
_TINY = 1e-12


@dataclass(frozen=True)
class TagSuggestion:
    """One tag, how likely it is right in [0, 1], and who voted for it, nearest first."""

    tag: str
    confidence: float
    # (pid, score)
    neighbours: list[tuple[int, float]]


@dataclass(frozen=True, eq=False)
class Voters:
    """Tagged products near one photo in one view, best first."""

    pids: Sequence[int]
    # [n]
    scores: np.ndarray
    # [n, D], the vector of each that matched
    vectors: np.ndarray

    @cached_property
    def duplicates(self) -> np.ndarray:
        """Bool [n, n]: which show the same picture."""
        return np.asarray(self.vectors @ self.vectors.T >= COPY)

    def count_groups(self) -> int:
        """Count the groups of near-duplicates: each has one vote."""
        first = group_near_duplicates(self.duplicates[None])[0]
        return int((first == np.arange(len(first))).sum())


def tag_probabilities(
    logits: Mapping[str, np.ndarray],
    tag_heads: Mapping[str, tuple[str, int]],
    several: AbstractSet[str] = frozenset(),
) -> dict[str, float]:
    """Return what the heads say of each tag they know: tag -> probability in [0, 1].

    ``logits``: head name -> [C] of one photo; ``tag_heads``: tag -> (head name, class).
    ``several``: the heads of which several labels may be true.
    """
    one = {name: row[np.newaxis] for name, row in logits.items()}
    said = head_words(one, tag_heads, several)
    return dict(zip(said.tags, said.values[0].tolist(), strict=True))


@dataclass(frozen=True)
class HeadWords:
    """What heads say of m tags of P photos or products."""

    tags: Sequence[str]
    # float64 [P, m], probabilities
    values: np.ndarray


def head_words(
    logits: Mapping[str, np.ndarray],
    tag_heads: Mapping[str, tuple[str, int]],
    several: AbstractSet[str] = frozenset(),
) -> HeadWords:
    """As ``tag_probabilities``, of logits [P, C] of many photos; arrays, since tags may be
    thousands."""
    known: dict[str, list[tuple[str, int]]] = {}
    for tag, (head, number) in tag_heads.items():
        known.setdefault(head, []).append((tag, number))
    tags: list[str] = []
    columns = []
    for head, mine in known.items():
        places = [number for _, number in mine]
        if head in several:
            columns.append(expit(np.asarray(logits[head][:, places], np.float64)))
        else:
            columns.append(softmax(logits[head])[:, places])
        tags += [tag for tag, _ in mine]
    return HeadWords(tags, np.concatenate(columns, axis=1) if columns else np.zeros((1, 0)))


def mean_by_product(rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Average rows [N, C] of photos, those of one product together from ``starts`` [P] on: [P, C].

    All photos of a product count alike.
    """
    sums = np.add.reduceat(rows, starts, axis=0) if len(starts) else rows[:0]
    counts = np.diff(np.append(starts, len(rows)))
    return np.asarray(sums / np.maximum(counts, 1)[:, None], rows.dtype)


@dataclass(frozen=True)
class KnnVote:
    """Who votes on each of P photos, among n ranked products."""

    # float64 [P, n], best first
    scores: np.ndarray
    # int [P, n], the first product of each one's group of near-duplicates: it votes for the group
    first: np.ndarray
    # bool [P, n], in one of the first k groups
    counted: np.ndarray
    # float [P, n], mean cosine of a voter to its nearest among the voters
    density: np.ndarray

    @property
    def representatives(self) -> np.ndarray:
        """Bool [P, n]: votes for its group."""
        return self.counted & (self.first == np.arange(self.first.shape[1]))


def knn_vote(scores: np.ndarray, cosines: np.ndarray, duplicates: np.ndarray, k: int) -> KnnVote:
    """Select the first ``k`` groups of near-duplicates among ranked products.

    ``scores`` [P, n] best first, -inf behind the last; ``cosines`` [P, n, n] among those products
    in the same view; ``duplicates`` bool [P, n, n]: near-duplicates.
    """
    count = scores.shape[1]
    present = np.isfinite(scores)
    first = group_near_duplicates(duplicates & present[:, None, :] & present[:, :, None])
    leads = present & (first == np.arange(count))
    counted = present & (np.cumsum(leads, 1) <= k)
    others = (leads & counted)[:, None, :] & ~np.eye(count, dtype=bool)
    apart = np.where(others, -cosines, np.inf)
    nearest = -(np.partition(apart, _CROWD, axis=2) if count > _CROWD else apart)[:, :, :_CROWD]
    known = np.isfinite(nearest)
    density = np.where(known, nearest, 0.0).sum(2) / np.maximum(known.sum(2), 1)
    return KnnVote(np.asarray(scores, np.float64), first, counted, density)


def vote_weights(vote: KnnVote, group: TagGroup) -> np.ndarray:
    """Weigh the voters: [P, n], rows sum to 1 (to 0 where nobody votes).

    The weights are softmax((score - crowding * density) / temperature). A group of near-duplicates
    has one vote, shared by its members. Hubs, products near to everything, count less: a product's
    density is taken off its score (after CSLS, Conneau et al. 2018, "Word Translation Without
    Parallel Data"; here the density among the voters, so that it needs no second search and follows
    every write).
    """
    if not vote.scores.shape[1]:
        return np.zeros(vote.scores.shape)
    ranked = np.where(vote.representatives, vote.scores - group.crowding * vote.density, -np.inf)
    best = ranked.max(1, keepdims=True)
    weights = np.exp((ranked - np.where(np.isfinite(best), best, 0.0)) / group.temperature)
    weights /= np.maximum(weights.sum(1, keepdims=True), _TINY)
    members = np.zeros(weights.shape)
    np.add.at(members, (np.arange(len(weights))[:, None], vote.first), vote.counted)
    share = weights / np.maximum(members, 1)
    return np.where(vote.counted, np.take_along_axis(share, vote.first, 1), 0.0)


@dataclass(frozen=True)
class TagEvidence:
    """Votes and head probabilities of m tags for P photos."""

    # float [P, m], of the vote
    shares: np.ndarray
    # bool [P], whether anybody voted on the photo
    voted: np.ndarray
    # float [P, m], by a head; nan where none knows the tag
    probabilities: np.ndarray
    # float [m], products that carried the tag where the rule was fitted
    seen: np.ndarray
    # Of how many products; 0: not known, heads are trusted.
    size: int

    def of(self, rows: np.ndarray) -> TagEvidence:
        """The evidence of some of the photos."""
        return replace(
            self,
            shares=self.shares[rows],
            voted=self.voted[rows],
            probabilities=self.probabilities[rows],
        )

    @property
    def known(self) -> np.ndarray:
        """Bool [P, m]: a head knows the tag."""
        return ~np.isnan(self.probabilities)

    @property
    def trust(self) -> np.ndarray:
        """Weight of a head's word, [P, m] in [0, 1]: less for a tag that it saw on few products."""
        return np.where(self.known, self.seen / (self.seen + _TRUST) if self.size else 1.0, 0.0)


def exclusive_terms(evidence: TagEvidence) -> np.ndarray:
    """Return the logs of head, vote and frequency, float64 [3, P, m], for the m tags of a group.

    Where no head knows a tag, and as far as it saw few, the vote speaks for it; where nobody
    votes, its frequency.
    """
    frequency = (evidence.seen + 0.5) / (evidence.size + 1)
    mixed = (1 - _FLOOR_VOTE) * evidence.shares + _FLOOR_VOTE * frequency
    vote = np.log(np.where(evidence.voted[:, None], mixed, frequency))
    given = np.where(evidence.known, evidence.probabilities, 1.0)
    head = np.log((1 - _FLOOR_HEAD) * given + _FLOOR_HEAD * frequency)
    trust = evidence.trust
    prior = np.broadcast_to(np.log(frequency), vote.shape)
    return np.stack([trust * head + (1 - trust) * vote, vote, prior])


def exclusive_confidence(evidence: TagEvidence, group: TagGroup) -> np.ndarray:
    """Return confidences [P, m] of mutually exclusive tags: rows sum to 1 at most.

    A softmax over the tags, times the share of the vote that names any of them.
    """
    strength = np.array([group.head, group.vote, group.prior])
    given_any = softmax(np.tensordot(strength, exclusive_terms(evidence), 1))
    # Where nobody votes the heads speak alone: a first product in an empty shop can be tagged too.
    by_heads = evidence.known.any(1) & (group.head > 0)
    named = np.where(evidence.voted, np.minimum(evidence.shares.sum(1), 1.0), by_heads)
    return np.asarray(given_any * named[:, None])


def independent_terms(evidence: TagEvidence) -> np.ndarray:
    """Return the log-odds of head and vote, float64 [2, P, m], for independent tags."""
    vote = logit(np.clip(evidence.shares, 1 - _SURE, _SURE))
    given = np.where(evidence.known, evidence.probabilities, 0.5)
    head = logit(np.clip(given, 1 - _SURE, _SURE))
    trust = evidence.trust
    voted = evidence.voted[:, None]
    by_head = np.where(voted, trust * head + (1 - trust) * vote, head)
    return np.stack([by_head, np.where(voted, vote, head)])


def independent_confidence(evidence: TagEvidence, rest: TagGroup) -> np.ndarray:
    """Return confidences [P, m], each tag for itself; 0 where neither vote nor head names it."""
    if not rest.head:
        unknown = np.full_like(evidence.shares, np.nan)
        evidence = replace(evidence, probabilities=unknown)
    head, vote = independent_terms(evidence)
    confidence = expit(rest.head * head + rest.vote * vote + rest.bias)
    return np.asarray(np.where((evidence.shares > 0) | evidence.known, confidence, 0.0))


def best_mask(confidence: np.ndarray) -> np.ndarray:
    """Mark the best value of each row, bool [P, m]; the first where several are equal."""
    chosen = np.zeros(confidence.shape, bool)
    if confidence.shape[1]:
        chosen[np.arange(len(confidence)), confidence.argmax(1)] = True
    return chosen


@dataclass(frozen=True)
class _CarriedTags:
    """The tags of ranked products: product ``rows[i]`` carries tag ``codes[i]``."""

    # Tag -> its code.
    numbers: Mapping[str, int]
    # int [m], ascending
    rows: np.ndarray
    # int [m]
    codes: np.ndarray

    @classmethod
    def collect(cls, pids: Sequence[int], tags_of: Mapping[int, Sequence[str]]) -> _CarriedTags:
        lists = [dict.fromkeys(tags_of[pid]) for pid in pids]
        tags = list(chain.from_iterable(lists))
        numbers = dict(zip(dict.fromkeys(tags), count(), strict=False))
        rows = np.repeat(np.arange(len(lists)), np.array([len(one) for one in lists], np.int64))
        codes = np.fromiter(map(numbers.__getitem__, tags), np.int64, len(tags))
        return cls(numbers, rows, codes)

    def shares(self, weights: np.ndarray) -> dict[str, float]:
        """Sum the weights [n] of the products that carry each tag."""
        sums = np.bincount(self.codes, weights[self.rows], len(self.numbers))
        return dict(zip(self.numbers, sums.tolist(), strict=True))

    def carriers(self, tag: str, weights: np.ndarray) -> list[int]:
        """List the rows of the products that carry ``tag`` and have any weight."""
        found = self.rows[self.codes == self.numbers.get(tag, -1)]
        return [int(row) for row in found[weights[found] > 0]]


def suggest_tags(
    voters: Sequence[Voters],
    tags_of: Mapping[int, Sequence[str]],
    rule: TagRule,
    blocks: Sequence[Block],
    *,
    probabilities: Mapping[str, float] | None = None,
) -> list[TagSuggestion]:
    """Suggest the tags of one photo that reach their threshold, best first, one of each group.

    ``voters``: for each of ``rule.parts`` the products near in its view, all of them tagged
    (``tags_of``: pid -> tags); more than the part's k are fine, and parts may share one object.
    ``probabilities``: what ``tag_probabilities`` returns.
    """
    probabilities = probabilities or {}
    grouped = set(chain.from_iterable(group.tags for group in rule.groups))
    carried = {near: _CarriedTags.collect(near.pids, tags_of) for near in dict.fromkeys(voters)}
    votes: dict[tuple[Voters, int], KnnVote] = {}
    kept: list[TagSuggestion] = []
    for part, near in zip(rule.parts, voters, strict=True):
        # Parts of one view have the same voters, and mostly the same k.
        if (near, part.k) not in votes:
            votes[near, part.k] = _cast_vote(near, part, blocks)
        weights = vote_weights(votes[near, part.k], part)[0]
        shares = carried[near].shares(weights)
        tags = part.tags if part is not rule.rest else sorted({*shares, *probabilities} - grouped)
        if tags:
            confidence = _confidences(part, tags, near, shares, rule, probabilities)
            kept += [
                TagSuggestion(tag, min(sure, 1.0), _supporters(tag, near, carried[near], weights))
                for tag, sure in zip(tags, confidence.tolist(), strict=True)
                if sure > 0 and sure >= rule.bar(tag)
            ]
    return sorted(kept, key=lambda suggestion: (-suggestion.confidence, suggestion.tag))


def _cast_vote(near: Voters, part: TagGroup, blocks: Sequence[Block]) -> KnnVote:
    cosines = view_queries(near.vectors, blocks, part.view) @ near.vectors.T
    return knn_vote(np.asarray(near.scores)[None], cosines[None], near.duplicates[None], part.k)


def _confidences(
    part: TagGroup,
    tags: Sequence[str],
    near: Voters,
    shares: Mapping[str, float],
    rule: TagRule,
    probabilities: Mapping[str, float],
) -> np.ndarray:
    """Return the confidence [m] of each tag; 0 for all but the best of mutually exclusive ones."""
    evidence = TagEvidence(
        shares=np.array([[shares.get(tag, 0.0) for tag in tags]]),
        voted=np.array([len(near.pids) > 0]),
        probabilities=np.array([[probabilities.get(tag, np.nan) for tag in tags]]),
        seen=np.array([float(rule.seen.get(tag, 0)) for tag in tags]),
        size=rule.size,
    )
    if part is rule.rest:
        return independent_confidence(evidence, part)[0]
    confidence = exclusive_confidence(evidence, part)
    return np.asarray(np.where(best_mask(confidence), confidence, 0.0)[0])


def _supporters(
    tag: str, near: Voters, carried: _CarriedTags, weights: np.ndarray
) -> list[tuple[int, float]]:
    """List (pid, score) of those whose vote counts for ``tag``, nearest first."""
    return [(near.pids[row], float(near.scores[row])) for row in carried.carriers(tag, weights)]
