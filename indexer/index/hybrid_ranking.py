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


@dataclass(frozen=True)
class KeywordShare:
    """Products that hold words of the question, and how much of the score these make."""

    pids: np.ndarray  # int64 [n]
    scores: np.ndarray  # float32 [n] in (0, 1]
    # In (0, 1].
    share: float

    def score(self, pid: int) -> float:
        """Look up a product's keyword score, 0 where it holds none of the words."""
        place = np.flatnonzero(self.pids == pid)
        return float(self.scores[place[0]]) if len(place) else 0.0


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
    index is: products with words are scored one by one, the others searched for. Always min(k,
    those that pass ``where``, not excluded, not below ``min_score``) products; without ``query``
    only those with words.
    """
    if keywords is None:
        if query is None:
            return ProductHits(
                np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
            )
        options: dict[str, Any] = {
            "params": params,
            "where": where,
            "together": True,
            "scale": query.lengths,
        }
        return live.search(query.queries, k, exclude=exclude, min_score=min_score, **options)[0]
    excluded = np.unique(np.fromiter(exclude, np.int64))
    pids, photos, vectors = live.photos_of(keywords.pids, where)
    order = np.argsort(keywords.pids)
    scores = keywords.share * keywords.scores[order][np.searchsorted(keywords.pids[order], pids)]
    if query is not None:
        scale = (1 - keywords.share) * query.lengths
        scores = scores + (scale[:, None] * (query.queries @ vectors.T)).max(axis=0)
        # A product without words that is among the best k is among the best k by the question
        # alone: words only add.
        (others,) = live.search(
            query.queries,
            k,
            exclude=excluded.tolist(),
            min_score=min_score,
            params=params,
            where=where,
            together=True,
            scale=scale,
        )
        new = ~np.isin(others.pids, pids)
        pids = np.concatenate([pids, others.pids[new]])
        photos = np.concatenate([photos, others.photo_ids[new]])
        scores = np.concatenate([scores, others.scores[new]])
    return by_product(
        pids, photos, np.clip(scores, -1.0, 1.0).astype(np.float32), k, excluded, min_score
    )


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
