"""Words and photos as one ranking: a product's score is a share of its cosines and a share of its keywords."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer.catalog.filters import Filter
from indexer.decisions.fusion import Question
from indexer.index.live import LiveIndex, ProductHits, by_product
from indexer.model.spec import Block

# Of a text's share: what its keywords get where any product holds one. From .3 on it matters little (validation titles
# whose article and colour words were removed: .968 at .3, .975 at .5, .976 at .7; rank fusion .949).
KEYWORDS = 0.5
# What the blocks weigh when a colour is asked for beside a photo: block g remembers the photo's own colour.
RECOLOURED = {"a": 0.5, "c": 0.45, "g": 0.05}


@dataclass(frozen=True)
class KeywordShare:
    """Products that hold words of the question, and how much of the score these make."""

    pids: np.ndarray  # int64 [n]
    scores: np.ndarray  # float32 [n] in (0, 1]
    share: float  # in (0, 1]

    def of(self, pid: int) -> float:
        """A product's keyword score, 0 where it holds none of the words."""
        place = np.flatnonzero(self.pids == pid)
        return float(self.scores[place[0]]) if len(place) else 0.0


def ranked(
    live: LiveIndex,
    sought: Question | None,
    keywords: KeywordShare | None,
    k: int,
    *,
    exclude: Iterable[int] = (),
    min_score: float | None = None,
    where: Filter | None = None,
    params: Any = None,
) -> ProductHits:
    """The ``k`` best products by (1 - share) * score of ``sought`` + share * keyword score, 0 without such words.

    Exact where the index is: products with words are scored one by one, the others searched for. Always min(k, those
    that pass ``where``, not excluded, not below ``min_score``) products; without ``sought`` only those with words.
    """
    if keywords is None:
        if sought is None:
            return ProductHits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        options: dict[str, Any] = {"params": params, "where": where, "together": True, "scale": sought.lengths}
        return live.search(sought.queries, k, exclude=exclude, min_score=min_score, **options)[0]
    hidden = np.unique(np.fromiter(exclude, np.int64))
    pids, photos, vectors = live.photos_of(keywords.pids, where)
    order = np.argsort(keywords.pids)
    scores = keywords.share * keywords.scores[order][np.searchsorted(keywords.pids[order], pids)]
    if sought is not None:
        scale = (1 - keywords.share) * sought.lengths
        scores = scores + (scale[:, None] * (sought.queries @ vectors.T)).max(axis=0)
        skipped = np.union1d(hidden, keywords.pids).tolist()
        (others,) = live.search(
            sought.queries, k, exclude=skipped, min_score=min_score, params=params, where=where, together=True,
            scale=scale,
        )  # fmt: skip
        pids = np.concatenate([pids, others.pids])
        photos = np.concatenate([photos, others.photo_ids])
        scores = np.concatenate([scores, others.scores])
    return by_product(pids, photos, np.clip(scores, -1.0, 1.0).astype(np.float32), k, hidden, min_score)


def recoloured(vectors: np.ndarray, colour: np.ndarray, blocks: Sequence[Block]) -> np.ndarray:
    """Embeddings [n, D] with the colour block of ``colour`` [D] in the place of their own; unit length stays."""
    out = np.array(vectors, np.float32)
    start = 0
    for block in blocks:
        if block.name == "c":
            part = colour[start : start + block.dim]
            out[:, start : start + block.dim] = part * np.sqrt(block.weight) / max(float(np.linalg.norm(part)), 1e-9)
        start += block.dim
    return out


def recolour_weights(blocks: Sequence[Block]) -> dict[str, float]:
    """How much each block counts once the colour was replaced."""
    return {block.name: RECOLOURED[block.name] for block in blocks if block.name in RECOLOURED and block.weight > 0}
