"""Hybrid ranking: a share of a product's cosines and a share of its keywords' score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer.catalog.filters import Filter
from indexer.core.vectors import unit_rows
from indexer.index.live import LiveIndex
from indexer.index.product_hits import ProductHits, by_product
from indexer.index.query_weighting import VectorQuery
from indexer.model.spec import Block
from indexer.text.keyword_index import KeywordHits

# Of a text's share: what its keywords get where any product holds one. From .3 on it matters little
# (validation titles whose article and colour words were removed: .968 at .3, .975 at .5, .976 at
# .7; rank fusion .949).
KEYWORDS = 0.5
# Once a colour was asked for beside a photo: what the blocks weigh, how much of block g stays the
# photo's own (g remembers colour too; article and style stand in a), and how far a turns to what
# the tower says of the kind of product in that colour. Chosen on fashion's validation photos
# (docs/design/text.md).
RECOLOURED = {"a": 0.45, "c": 0.45, "g": 0.1}
_OWN = 0.1
_TURNED = 0.4


# Products with words that are scored together first; then as many as were scored so far, up to
# the second number.
_PORTION, _LARGEST = 2048, 16384
# Of scores of float32.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class KeywordShare:
    """Products that hold words of the question, and how much of the score these make."""

    hits: KeywordHits
    # In (0, 1].
    share: float


@dataclass(frozen=True)
class _Ranking:
    """One ranking by words, as ``rank_hybrid`` takes it."""

    live: LiveIndex
    keywords: KeywordShare
    k: int
    excluded: np.ndarray
    min_score: float | None
    where: Filter | None
    params: Any

    def by_words(self) -> ProductHits:
        """The best that pass, by their words alone."""
        pids, scores = self._passing()
        if self.min_score is not None:
            pids = pids[scores >= self.min_score]
        pids, photos, _ = self.live.photos_of(pids[: self.k])
        return self._best(pids, photos, self.keywords.share * self.keywords.hits.scores_of(pids))

    def by_both(self, query: VectorQuery) -> ProductHits:
        """The best that pass, by words and vectors: the threshold algorithm (Fagin, 2003) over the
        ranking by words and the one by vectors."""
        pids, scores = self._passing()
        scale = (1 - self.keywords.share) * query.lengths
        # A product without words that is among the best k is among the best k by the question
        # alone: words only add.
        (others,) = self.live.search(
            query.queries,
            self.k,
            exclude=self.excluded.tolist(),
            min_score=self.min_score,
            params=self.params,
            where=self.where,
            together=True,
            scale=scale,
        )
        # What is not among the others scores no more than this by vectors.
        outside = -np.inf if self.min_score is None else self.min_score
        if len(others) == self.k:
            outside = max(outside, float(others.scores[-1]))
        share = self.keywords.share * self.keywords.hits.scores_of(others.pids)
        best = self._best(others.pids, others.photo_ids, others.scores + share)
        start = 0
        while start < len(pids) and (start == 0 or self._may_add(best, outside + scores[start])):
            stop = start + min(max(start, _PORTION), _LARGEST)
            found, photos, vectors = self.live.photos_of(pids[start:stop])
            both = self.keywords.share * self.keywords.hits.scores_of(found)
            both = both + (scale[:, None] * (query.queries @ vectors.T)).max(axis=0)
            best = self._best(
                np.concatenate([best.pids, found]),
                np.concatenate([best.photo_ids, photos]),
                np.concatenate([best.scores, both]),
            )
            start = stop
        return best

    def _passing(self) -> tuple[np.ndarray, np.ndarray]:
        """The products with words that a search can find and that pass, best first, and what their
        words make of the score."""
        hits = self.keywords.hits
        passes = self.live.passing(hits.pids, self.where) & ~np.isin(hits.pids, self.excluded)
        return hits.pids[passes], self.keywords.share * hits.scores[passes]

    def _may_add(self, best: ProductHits, bound: float) -> bool:
        """Whether a product that scores at most ``bound`` may be among the best."""
        if self.min_score is not None and bound < self.min_score:
            return False
        return len(best) < self.k or bound >= best.scores[-1] - _ROUNDING

    def _best(self, pids: np.ndarray, photos: np.ndarray, scores: np.ndarray) -> ProductHits:
        clipped = np.clip(scores, -1.0, 1.0).astype(np.float32)
        return by_product(pids, photos, clipped, self.k, self.excluded, self.min_score)


def rank_hybrid(
    live: LiveIndex,
    query: VectorQuery | None,
    keywords: KeywordShare | None,
    k: int,
    *,
    exclude: Iterable[int] = (),
    min_score: float | None = None,
    where: Filter | None = None,
    params: Any = None,
) -> ProductHits:
    """Rank the ``k`` best products by vector score and keyword score.

    (1 - share) * score of ``query`` + share * keyword score, 0 without such words. Exact where the
    index is: products with words are scored one by one until no other can be among the best, the
    others searched for. Always min(k, those that pass ``where``, not excluded, not below
    ``min_score``) products; without ``query`` only those with words.
    """
    if keywords is None and query is None:
        nothing = np.empty(0, np.int64)
        return ProductHits(nothing, nothing, np.empty(0, np.float32))
    if keywords is None:
        assert query is not None
        options: dict[str, Any] = {
            "params": params,
            "where": where,
            "together": True,
            "scale": query.lengths,
        }
        return live.search(query.queries, k, exclude=exclude, min_score=min_score, **options)[0]
    excluded = np.unique(np.fromiter(exclude, np.int64))
    ranking = _Ranking(live, keywords, k, excluded, min_score, where, params)
    return ranking.by_words() if query is None else ranking.by_both(query)


def replace_colour(
    vectors: np.ndarray,
    colour: np.ndarray,
    blocks: Sequence[Block],
    *,
    kind: np.ndarray | None = None,
    only_colour: bool = False,
) -> np.ndarray:
    """Replace the colour of embeddings [n, D] by that of ``colour`` [D], a text's vector.

    Block c becomes the text's; where there is a block a, block g keeps a tenth of its own and takes
    nine from the text. Block a stays, or with ``kind`` [D], a text's vector too, turns to it by
    four tenths: a photo's own article is easily misread for its neighbour's, and the words "blue
    shirts" are not. ``only_colour``: nothing but block c changes. Unit length stays.
    """
    out = np.array(vectors, np.float32)
    start = 0
    turns = {"c": (0.0, colour)}
    if has_block(blocks, "a") and not only_colour:
        turns["g"] = (_OWN, colour)
    if kind is not None:
        turns["a"] = (1 - _TURNED, kind)
    for block in blocks:
        mine = slice(start, start + block.dim)
        start += block.dim
        if block.name in turns:
            share, other = turns[block.name]
            turned = share * unit_rows(out[:, mine]) + (1 - share) * unit_rows(other[mine])
            out[:, mine] = np.sqrt(block.weight) * unit_rows(turned)
    return out


def has_block(blocks: Sequence[Block], name: str) -> bool:
    """Check that the embedding has such a block, and that any of it is stored."""
    return any(block.name == name and block.weight > 0 for block in blocks)


def recolour_weights(blocks: Sequence[Block]) -> dict[str, float]:
    """Return how much each block counts once the colour was replaced."""
    return {name: weight for name, weight in RECOLOURED.items() if has_block(blocks, name)}
