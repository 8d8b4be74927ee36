"""Products whose tags are known and the products that vote on them: what tag rules are fitted and
judged on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from indexer.index.near_duplicates import COPY
from indexer.index.query import view_queries
from indexer.model.spec import Block
from indexer.model.tag_rule import TagColumn, TagRule, View
from indexer.tagging.voting import (
    KnnVote,
    TagEvidence,
    column_confidence,
    knn_vote,
    only_best,
    rest_confidence,
    vote_weights,
)

MOST_ASKED, MOST_VOTERS = (
    2000,
    100_000,
)  # products a rule is fitted on; a draw of more, so that it stays quick
NEAREST = 60  # products kept per question: above the largest k, with room for near-duplicates
SAME = 0.9  # F1 at which a tag and a value are the same thing
_SEVERAL = 0.05  # share of products with several values from which they exclude nothing
_MOST_VALUES = 2000  # a column with more is a name, not an attribute
_CHUNK = 256
_SCORES = 2**25  # scores held at once


@dataclass(frozen=True)
class Side:
    """Photos of tagged products, all of one length N; products in one go (photos of one product
    stand together)."""

    vectors: np.ndarray  # float32 [N, D], unit
    products: np.ndarray  # int [N], product numbers, ascending
    pixels: np.ndarray  # [N], equal for exact copies


@dataclass(frozen=True)
class Neighbours:
    """The tagged products nearest to P products in one view, best first, n of them."""

    products: np.ndarray  # int [P, n], rows of ``TagSample.voters``
    scores: np.ndarray  # float32 [P, n], -inf behind the last
    alike: np.ndarray  # float32 [P, n, n]
    copies: np.ndarray  # bool [P, n, n]


@dataclass(frozen=True)
class TagSample:
    """P products whose tags are known, over T tags, and the G tagged products that vote on them."""

    tags: list[str]
    actual: np.ndarray  # bool [P, T]
    chances: np.ndarray  # float [P, T], by a head; nan where none knows the tag
    voters: csr_matrix  # bool [G, T]
    near: Callable[[View], Neighbours]
    blocks: Sequence[Block]
    _near: dict[Any, Neighbours] = field(default_factory=dict, init=False, repr=False)
    _ballots: dict[Any, KnnVote] = field(default_factory=dict, init=False, repr=False)

    @property
    def seen(self) -> np.ndarray:
        """How many voters carry each tag, float [T]."""
        return np.asarray(self.voters.sum(0), np.float64).ravel()

    def shares(self, part: TagColumn, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shares of the vote [P, m] of the tags at ``places``, and who got any vote at all, bool
        [P]."""
        found, cast = self._cast(part)
        weights = vote_weights(cast, part)
        rows = np.repeat(np.arange(len(weights)), weights.shape[1])
        used = weights.ravel() > 0
        size = (len(weights), self.voters.shape[0])
        votes = csr_matrix(
            (weights.ravel()[used], (rows[used], found.products.ravel()[used])), shape=size
        )
        return (votes @ self.voters[:, places]).toarray(), weights.sum(1) > 0

    def _cast(self, part: TagColumn) -> tuple[Neighbours, KnnVote]:
        """Neighbours and voters of a part's view and k; kept, since most parts of a grid share
        them."""
        view = tuple(sorted(part.view.items()))
        if view not in self._near:
            self._near[view] = self.near(part.view)
        found = self._near[view]
        if (view, part.k) not in self._ballots:
            self._ballots[view, part.k] = knn_vote(found.scores, found.alike, found.copies, part.k)
        return found, self._ballots[view, part.k]

    def said(self, part: TagColumn, places: np.ndarray) -> TagEvidence:
        """Votes and heads on the tags at ``places``."""
        shares, voted = self.shares(part, places)
        return TagEvidence(
            shares, voted, self.chances[:, places], self.seen[places], self.voters.shape[0]
        )

    def places(self, rule: TagRule) -> list[np.ndarray]:
        """For each part of the rule the numbers of its tags in ``tags``."""
        number = {tag: place for place, tag in enumerate(self.tags)}
        columns = [
            np.array([number[tag] for tag in column.tags if tag in number], np.int64)
            for column in rule.columns
        ]
        taken = np.concatenate([np.empty(0, np.int64), *columns])
        return [*columns, np.setdiff1d(np.arange(len(self.tags)), taken)]

    def confidence(self, rule: TagRule) -> np.ndarray:
        """Confidences [P, T] in [0, 1] by ``rule``, as ``suggest_tags`` has them."""
        out = np.zeros(self.actual.shape)
        counts = np.array([float(rule.seen.get(tag, 0)) for tag in self.tags])
        for part, places in zip(rule.parts, self.places(rule), strict=True):
            if len(places):
                said = replace(self.said(part, places), seen=counts[places], size=rule.size)
                out[:, places] = (
                    rest_confidence(said, part)
                    if part is rule.rest
                    else column_confidence(said, part)
                )
        return out

    def suggested(self, confidence: np.ndarray, rule: TagRule) -> np.ndarray:
        """Bool [P, T]: what is suggested at these confidences, of each column the
        best value only."""
        bars = np.array([rule.bar(tag) for tag in self.tags])
        return (allowed(confidence, self.places(rule)[:-1]) >= bars) & (confidence > 0)


def nobody(count: int) -> Neighbours:
    """``count`` products on which nobody votes."""
    none = np.zeros((count, 0, 0))
    return Neighbours(np.zeros((count, 0), np.int64), np.zeros((count, 0)), none, none.astype(bool))


def tag_sample(
    asked: Side,
    asked_tags: Sequence[Sequence[str]],
    voters: Side,
    voter_tags: Sequence[Sequence[str]],
    blocks: Sequence[Block],
    *,
    chances: Sequence[Mapping[str, float]],
    also: Iterable[str] = (),
) -> TagSample:
    """The products of ``asked`` before those of ``voters``; tags and ``chances`` (by heads) go
    product by product.

    Its tags are all that occur, those that heads know, and ``also``.
    """
    known = {tag for said in chances for tag in said}
    tags = sorted({tag for held in (*asked_tags, *voter_tags) for tag in held} | known | set(also))
    number = {tag: place for place, tag in enumerate(tags)}
    by_head = np.full((len(asked_tags), len(tags)), np.nan)
    for row, said in zip(by_head, chances, strict=True):
        row[[number[tag] for tag in said]] = list(said.values())
    return TagSample(
        tags=tags,
        actual=tag_table(asked_tags, number).toarray() > 0,
        chances=by_head,
        voters=tag_table(voter_tags, number),
        near=lambda view: nearest(asked, voters, blocks, view),
        blocks=blocks,
    )


def allowed(confidence: np.ndarray, columns: Sequence[np.ndarray]) -> np.ndarray:
    """Confidences [P, T] with 0 for all but the best value of each column."""
    out = confidence.copy()
    for places in columns:
        out[:, places] = np.where(only_best(confidence[:, places]), confidence[:, places], 0.0)
    return out


def nearest(
    questions: Side, voters: Side, blocks: Sequence[Block], view: View, most: int = NEAREST
) -> Neighbours:
    """The ``most`` products of ``voters`` nearest to each product of ``questions``, exactly, by
    place among them.

    A score is the best over both products' photos. Product numbers of both sides are of one count:
    a product never votes on itself, nor does an exact copy of its photo. ``Neighbours.products``
    counts the products of ``voters`` from 0.
    """
    asked, starts = np.unique(questions.products, return_index=True)
    _, ends = np.unique(voters.products, return_index=True)
    names = voters.products[ends] if len(ends) else np.empty(0, np.int64)
    most = min(most, len(names))
    shape = (len(asked), most)
    best = np.zeros(shape, np.int64)
    scores = np.full(shape, -np.inf, np.float32)
    photos = np.zeros(shape, np.int64)
    queries = view_queries(questions.vectors, blocks, view)
    bounds = np.append(starts, len(queries))  # of each product's photos
    stops = np.append(ends[1:], len(voters.products))
    # Products at a time: as many as keep the scores small, however many photos vote.
    for part in (
        _chunks(len(asked), max(1, min(_CHUNK, _SCORES // max(len(voters.vectors), 1))))
        if most
        else ()
    ):
        rows = slice(bounds[part.start], bounds[part.stop])
        found = queries[rows] @ voters.vectors.T
        banned = questions.pixels[rows, None] == voters.pixels[None]
        banned |= questions.products[rows, None] == voters.products[None]
        found[banned] = -np.inf
        found = np.maximum.reduceat(found, starts[part] - starts[part.start], axis=0)
        by_product = np.maximum.reduceat(found, ends, axis=1)
        top = np.argpartition(-by_product, most - 1, axis=1)[:, :most]
        values = np.take_along_axis(by_product, top, 1)
        order = np.lexsort((top, -values), axis=1)
        best[part] = np.take_along_axis(top, order, 1)
        scores[part] = np.take_along_axis(values, order, 1)
        photos[part] = ends[best[part]]
        for row, one in (
            enumerate(range(part.start, part.stop)) if len(names) < len(voters.products) else ()
        ):
            ranges = zip(photos[one], stops[best[one]], strict=True)
            photos[one] = [start + found[row, start:stop].argmax() for start, stop in ranges]
    alike = np.empty((*shape, most), np.float32)
    copies = np.empty((*shape, most), bool)
    for one in range(len(asked)):
        matched = voters.vectors[photos[one]]
        alike[one] = view_queries(matched, blocks, view) @ matched.T
        copies[one] = matched @ matched.T >= COPY
    return Neighbours(best, scores, alike, copies)


def find_columns(
    tags: Sequence[Sequence[str]], values: Sequence[Mapping[str, str]], least: int = 2
) -> dict[str, tuple[str, ...]]:
    """Which tags are values of one column: column name -> its tags, where a product carries one of
    them.

    ``tags`` and ``values`` (column -> value) of the same products. A tag belongs to the column one
    of whose values marks the same products (F1 >= 0.9, the best over columns). Columns that 5% of
    products have several tags of exclude nothing and are left out, and so are those with fewer than
    ``least`` tags.
    """
    names = sorted({tag for held in tags for tag in held})
    number = {tag: place for place, tag in enumerate(names)}
    tagged = tag_table(tags, number)
    counts = np.asarray(tagged.sum(0)).ravel()
    best = np.zeros(len(names))
    owner: list[str | None] = [None] * len(names)
    for column in sorted({name for held in values for name in held}):
        texts = [held.get(column) for held in values]
        known = sorted({text for text in texts if text is not None})
        if len(known) > _MOST_VALUES:
            continue
        places = {text: place for place, text in enumerate(known)}
        marked = tag_table([[] if text is None else [text] for text in texts], places)
        both = (marked.T @ tagged).tocoo()
        marks = np.asarray(marked.sum(0)).ravel()
        f1 = 2 * both.data / (marks[both.row] + counts[both.col])
        for tag, value in zip(both.col.tolist(), f1.tolist(), strict=True):
            if value >= SAME and value > best[tag]:
                best[tag], owner[tag] = value, column
    found: dict[str, tuple[str, ...]] = {}
    for column in sorted({name for name in owner if name is not None}):
        mine = [place for place, name in enumerate(owner) if name == column]
        held = np.asarray(tagged[:, mine].sum(1)).ravel()
        if len(mine) >= least and (held > 1).sum() <= _SEVERAL * (held > 0).sum():
            found[column] = tuple(names[place] for place in mine)
    return found


def column_values(category: Sequence[str] | None, attributes: Mapping[str, Any]) -> dict[str, str]:
    """What ``find_columns`` compares a product's tags with: its category's label, and text and bool
    attributes."""
    values = {
        name: str(value) for name, value in attributes.items() if isinstance(value, str | bool)
    }
    return {**values, **({"category": category[-1]} if category else {})}


def tag_table(held: Sequence[Sequence[str]], number: Mapping[str, int]) -> csr_matrix:
    """Float [rows, names]: 1 where a row holds a name."""
    rows = [row for row, names in enumerate(held) for _ in set(names)]
    places = [number[name] for names in held for name in set(names)]
    return csr_matrix((np.ones(len(rows)), (rows, places)), shape=(len(held), len(number)))


def _chunks(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
