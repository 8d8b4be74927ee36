"""Tagged products and their voters: what tag rules are fitted and measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from indexer.index.near_duplicates import COPY
from indexer.index.query_weighting import view_queries
from indexer.model.spec import Block
from indexer.model.tag_rule import TagGroup, TagRule, View
from indexer.tagging.voting import (
    HeadWords,
    KnnVote,
    TagEvidence,
    best_mask,
    exclusive_confidence,
    independent_confidence,
    knn_vote,
    vote_weights,
)

# Products that a rule is fitted on, and that vote; of more a sample is drawn, to stay quick.
MAX_QUERIES = 2000
MAX_VOTERS = 100_000
# Pairs of a product and a tag that a rule is fitted on: of thousands of tags fewer products.
_PAIRS = 4_000_000
# Products kept per query: above the largest k, with room for near-duplicates.
NEAREST = 60
# F1 at which a tag and a value are the same thing.
SAME = 0.9
# Share of products with several values from which these are not mutually exclusive.
_SEVERAL = 0.05
# An attribute with more values is a name.
_MAX_VALUES = 2000
_CHUNK = 256
# Scores held at once.
_SCORES = 2**25


@dataclass(frozen=True)
class ProductPhotos:
    """N photos of tagged products; those of one product stand together."""

    # float32 [N, D], unit
    vectors: np.ndarray
    # int [N], product numbers, ascending
    products: np.ndarray
    # [N], equal for exact copies
    pixels: np.ndarray


@dataclass(frozen=True)
class Neighbours:
    """The n tagged products nearest to each of P products in one view, best first."""

    # int [P, n], rows of ``TagSample.voters``
    products: np.ndarray
    # float32 [P, n], -inf behind the last
    scores: np.ndarray
    # float32 [P, n, n], among the neighbours
    cosines: np.ndarray
    # bool [P, n, n], among the neighbours
    duplicates: np.ndarray


@dataclass(frozen=True)
class TagSample:
    """P products whose T tags are known, and the G tagged products that vote on them."""

    tags: list[str]
    # bool [P, T]
    actual: np.ndarray
    # float [P, T], by a head; nan where none knows the tag
    probabilities: np.ndarray
    # bool [G, T]
    voters: csr_matrix
    near: Callable[[View], Neighbours]
    blocks: Sequence[Block]
    _near: dict[Any, Neighbours] = field(default_factory=dict, init=False, repr=False)
    _votes: dict[Any, KnnVote] = field(default_factory=dict, init=False, repr=False)

    @property
    def seen(self) -> np.ndarray:
        """How many voters carry each tag, float [T]."""
        return np.asarray(self.voters.sum(0), np.float64).ravel()

    def shares(self, part: TagGroup, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the vote's shares [P, m] of tags at ``places`` and who has voters, bool [P]."""
        found, vote = self._vote(part)
        weights = vote_weights(vote, part)
        rows = np.repeat(np.arange(len(weights)), weights.shape[1])
        used = weights.ravel() > 0
        size = (len(weights), self.voters.shape[0])
        votes = csr_matrix(
            (weights.ravel()[used], (rows[used], found.products.ravel()[used])), shape=size
        )
        return (votes @ self.voters[:, places]).toarray(), weights.sum(1) > 0

    def _vote(self, part: TagGroup) -> tuple[Neighbours, KnnVote]:
        """Return neighbours and voters for a part's view and k; kept, as grids share most."""
        view = tuple(sorted(part.view.items()))
        if view not in self._near:
            self._near[view] = self.near(part.view)
        found = self._near[view]
        if (view, part.k) not in self._votes:
            vote = knn_vote(found.scores, found.cosines, found.duplicates, part.k)
            self._votes[view, part.k] = vote
        return found, self._votes[view, part.k]

    def evidence(self, part: TagGroup, places: np.ndarray) -> TagEvidence:
        """Return votes and head probabilities of the tags at ``places``."""
        shares, voted = self.shares(part, places)
        return TagEvidence(
            shares, voted, self.probabilities[:, places], self.seen[places], self.voters.shape[0]
        )

    def places(self, rule: TagRule) -> list[np.ndarray]:
        """Return for each part of the rule the numbers of its tags in ``tags``."""
        number = {tag: place for place, tag in enumerate(self.tags)}
        groups = [_numbers(group.tags, number) for group in rule.groups]
        taken = np.concatenate([np.empty(0, np.int64), *groups])
        return [*groups, np.setdiff1d(np.arange(len(self.tags)), taken)]

    def confidence(self, rule: TagRule) -> np.ndarray:
        """Return confidences [P, T] in [0, 1] by ``rule``, as ``suggest_tags`` computes them."""
        out = np.zeros(self.actual.shape)
        counts = np.array([float(rule.seen.get(tag, 0)) for tag in self.tags])
        for part, places in zip(rule.parts, self.places(rule), strict=True):
            if len(places):
                evidence = self.evidence(part, places)
                evidence = replace(evidence, seen=counts[places], size=rule.size)
                out[:, places] = (
                    independent_confidence(evidence, part)
                    if part is rule.rest
                    else exclusive_confidence(evidence, part)
                )
        return out

    def suggested(self, confidence: np.ndarray, rule: TagRule) -> np.ndarray:
        """Mark what is suggested at these confidences, bool [P, T]: the best tag of each group."""
        bars = np.array([rule.bar(tag) for tag in self.tags])
        return (keep_best(confidence, self.places(rule)[:-1]) >= bars) & (confidence > 0)


def most_queries(tags: int) -> int:
    """How many products a rule for so many ``tags`` is fitted on, at most.

    >>> most_queries(100), most_queries(5000)
    (2000, 800)
    """
    return min(MAX_QUERIES, _PAIRS // max(tags, 1))


def no_neighbours(count: int) -> Neighbours:
    """Return ``count`` products on which nobody votes."""
    none = np.zeros((count, 0, 0))
    return Neighbours(np.zeros((count, 0), np.int64), np.zeros((count, 0)), none, none.astype(bool))


def tag_sample(
    queries: ProductPhotos,
    query_tags: Sequence[Sequence[str]],
    voters: ProductPhotos,
    voter_tags: Sequence[Sequence[str]],
    blocks: Sequence[Block],
    *,
    words: HeadWords | None = None,
    extra_tags: Iterable[str] = (),
) -> TagSample:
    """Build a sample: products of ``queries`` with those of ``voters`` as their neighbours.

    Tags and ``words`` (by heads) go product by product. The sample's tags are all that occur, those
    that heads know, and ``extra_tags``.
    """
    told = () if words is None else words.tags
    tags = sorted(
        set(chain.from_iterable((*query_tags, *voter_tags))) | set(told) | set(extra_tags)
    )
    number = {tag: place for place, tag in enumerate(tags)}
    by_head = np.full((len(query_tags), len(tags)), np.nan)
    if words is not None:
        by_head[:, [number[tag] for tag in words.tags]] = words.values
    return TagSample(
        tags=tags,
        actual=incidence_matrix(query_tags, number).toarray() > 0,
        probabilities=by_head,
        voters=incidence_matrix(voter_tags, number),
        near=lambda view: nearest_products(queries, voters, blocks, view),
        blocks=blocks,
    )


def keep_best(confidence: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Return confidences [P, T] with 0 for all but the best tag of each group."""
    out = confidence.copy()
    for places in groups:
        out[:, places] = np.where(best_mask(confidence[:, places]), confidence[:, places], 0.0)
    return out


def nearest_products(
    queries: ProductPhotos,
    voters: ProductPhotos,
    blocks: Sequence[Block],
    view: View,
    limit: int = NEAREST,
) -> Neighbours:
    """Find the ``limit`` products of ``voters`` nearest to each product of ``queries``, exactly.

    A score is the best over both products' photos. Product numbers of both sides are of one count:
    a product never votes on itself, nor does an exact copy of its photo. ``Neighbours.products``
    counts the products of ``voters`` from 0.
    """
    asked, starts = np.unique(queries.products, return_index=True)
    _, ends = np.unique(voters.products, return_index=True)
    limit = min(limit, len(ends))
    shape = (len(asked), limit)
    best = np.zeros(shape, np.int64)
    scores = np.full(shape, -np.inf, np.float32)
    photos = np.zeros(shape, np.int64)
    viewed = view_queries(queries.vectors, blocks, view)
    # Of each product's photos.
    bounds = np.append(starts, len(viewed))
    stops = np.append(ends[1:], len(voters.products))
    # Products at a time: as many as keep the scores small, however many photos vote.
    size = max(1, min(_CHUNK, _SCORES // max(len(voters.vectors), 1)))
    for part in _chunks(len(asked), size) if limit else ():
        rows = slice(bounds[part.start], bounds[part.stop])
        found = viewed[rows] @ voters.vectors.T
        banned = queries.pixels[rows, None] == voters.pixels[None]
        banned |= queries.products[rows, None] == voters.products[None]
        found[banned] = -np.inf
        found = np.maximum.reduceat(found, starts[part] - starts[part.start], axis=0)
        by_product = np.maximum.reduceat(found, ends, axis=1)
        top = np.argpartition(-by_product, limit - 1, axis=1)[:, :limit]
        values = np.take_along_axis(by_product, top, 1)
        order = np.lexsort((top, -values), axis=1)
        best[part] = np.take_along_axis(top, order, 1)
        scores[part] = np.take_along_axis(values, order, 1)
        photos[part] = ends[best[part]]
        if len(ends) < len(voters.products):
            for row, query in enumerate(range(part.start, part.stop)):
                ranges = zip(photos[query], stops[best[query]], strict=True)
                photos[query] = [start + found[row, start:stop].argmax() for start, stop in ranges]
    cosines, duplicates = _compare_neighbours(voters.vectors, photos, blocks, view)
    return Neighbours(best, scores, cosines, duplicates)


def _compare_neighbours(
    vectors: np.ndarray, photos: np.ndarray, blocks: Sequence[Block], view: View
) -> tuple[np.ndarray, np.ndarray]:
    """Return cosines float32 and near-duplicates bool, both [P, n, n], among ``photos`` [P, n]."""
    count, width = photos.shape
    cosines = np.empty((count, width, width), np.float32)
    duplicates = np.empty((count, width, width), bool)
    for row in range(count):
        matched = vectors[photos[row]]
        cosines[row] = view_queries(matched, blocks, view) @ matched.T
        duplicates[row] = matched @ matched.T >= COPY
    return cosines, duplicates


def find_tag_groups(
    tags: Sequence[Sequence[str]], values: Sequence[Mapping[str, str]], least: int = 2
) -> dict[str, tuple[str, ...]]:
    """Find the tags that are values of one attribute, where a product has one: attribute -> tags.

    ``tags`` and ``values`` (attribute -> value) of the same products. A tag belongs to the
    attribute one of whose values marks the same products (F1 >= 0.9, the best over attributes).
    Left out are attributes that 5% of products have several tags of, since these exclude nothing,
    and those with fewer than ``least`` tags.
    """
    names = sorted(set(chain.from_iterable(tags)))
    tagged = incidence_matrix(tags, {tag: place for place, tag in enumerate(names)})
    owner = _tag_owners(tagged, values)
    found: dict[str, tuple[str, ...]] = {}
    for attribute in sorted({name for name in owner if name is not None}):
        mine = [place for place, name in enumerate(owner) if name == attribute]
        carried = np.asarray(tagged[:, mine].sum(1)).ravel()
        if len(mine) >= least and (carried > 1).sum() <= _SEVERAL * (carried > 0).sum():
            found[attribute] = tuple(names[place] for place in mine)
    return found


def _tag_owners(tagged: csr_matrix, values: Sequence[Mapping[str, str]]) -> list[str | None]:
    """Return for each tag [T] of ``tagged`` [P, T] the attribute whose value it is, if any."""
    counts = np.asarray(tagged.sum(0)).ravel()
    best = np.zeros(tagged.shape[1])
    owner: list[str | None] = [None] * tagged.shape[1]
    for attribute in sorted(set(chain.from_iterable(values))):
        texts = [held.get(attribute) for held in values]
        known = sorted({text for text in texts if text is not None})
        if len(known) > _MAX_VALUES:
            continue
        number = {text: place for place, text in enumerate(known)}
        marked = incidence_matrix([[] if text is None else [text] for text in texts], number)
        both = (marked.T @ tagged).tocoo()
        marks = np.asarray(marked.sum(0)).ravel()
        f1 = 2 * both.data / (marks[both.row] + counts[both.col])
        for tag, value in zip(both.col.tolist(), f1.tolist(), strict=True):
            if value >= SAME and value > best[tag]:
                best[tag] = value
                owner[tag] = attribute
    return owner


def attribute_values(
    category: Sequence[str] | None, attributes: Mapping[str, Any]
) -> dict[str, str]:
    """Return what ``find_tag_groups`` takes of a product: category label, text and bool values."""
    values = {
        name: str(value) for name, value in attributes.items() if isinstance(value, str | bool)
    }
    return {**values, **({"category": category[-1]} if category else {})}


def incidence_matrix(carried: Sequence[Sequence[str]], number: Mapping[str, int]) -> csr_matrix:
    """Return float [rows, names]: 1 where a row carries a name; ``number``: name -> its place."""
    rows: list[int] = []
    places: list[int] = []
    for row, names in enumerate(carried):
        distinct = set(names)
        rows += [row] * len(distinct)
        places += [number[name] for name in distinct]
    return csr_matrix((np.ones(len(rows)), (rows, places)), shape=(len(carried), len(number)))


def _numbers(tags: Sequence[str], number: Mapping[str, int]) -> np.ndarray:
    return np.array([number[tag] for tag in tags if tag in number], np.int64)


def _chunks(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
