"""Share of a pair's text tower beside the catalog's own, chosen on titles that were held back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import structlog

from indexer.core.errors import CatalensError
from indexer.model.bundle import Bundle
from indexer.text.fit_text_tower import Described, fit
from indexer.text.open_words import default_share, joint_place
from indexer.text.text_tower import TextTower

if TYPE_CHECKING:
    from indexer.model.joint_encoder import JointEncoder

log = structlog.get_logger(__name__)

# Above 0: what a catalog's own words cannot tell, open words may. At most .9, so that the words of
# a title and numbers, which a pair cannot read, keep their say.
_SHARES = (0.2, 0.4, 0.6, 0.75, 0.83, 0.9)
# Titles held back: of fewer nothing is chosen, of more a draw.
_LEAST, _MOST = 30, 300
_HELD = 0.2
# Products that the own tower learns from for the choice, and photos among which a title is to find
# its own.
_TAUGHT = 5_000
_GALLERY = 10_000
_NEAREST = 10


def with_joint_share(
    tower: TextTower | None, told: Sequence[Described], bundle: Bundle, *, seed: int = 0
) -> TextTower | None:
    """``tower`` with the share of block t that finds most photos by titles it did not learn.

    0 where the pair alone finds no more than chance would. As it is without a block t, of too few
    titles, and where the pair's text tower cannot be used here.
    """
    block = bundle.spec.block("t")
    if tower is None or block is None or block.weight <= 0:
        return tower
    titled = [place for place, product in enumerate(told) if product.title]
    drawn = np.random.default_rng(seed).permutation(titled).tolist()
    held = drawn[: min(_MOST, int(len(titled) * _HELD))]
    if len(held) < _LEAST:
        return tower
    try:
        from indexer.model.joint_encoder import JointEncoder

        encoder = JointEncoder(bundle)
    except CatalensError as error:
        log.warning("a pair's text tower is not weighed", reason=str(error))
        return tower
    others = sorted(set(range(len(told))).difference(held))
    taught = [told[place] for place in others[:_TAUGHT]]
    own = fit(taught, colours=bool(tower.colours), seed=seed)
    if own is None:
        return tower
    photos = np.stack([told[place].vector for place in [*held, *others][:_GALLERY]])
    titles = [told[place].title for place in held]
    return replace(tower, joint_share=_best_share(encoder, own, titles, photos, bundle))


def _best_share(
    encoder: JointEncoder,
    own: TextTower,
    titles: Sequence[str],
    photos: np.ndarray,
    bundle: Bundle,
) -> float:
    """Of photos [P, D], the first are those of ``titles``; the share with most hits@10."""
    place, weight = joint_place(bundle.spec.blocks)
    by_pair = encoder.encode(titles) @ photos[:, place].T / np.sqrt(weight)
    chance = _NEAREST / len(photos)
    if _hits(by_pair) <= chance + 2 * (chance * (1 - chance) / len(titles)) ** 0.5:
        return 0.0
    told = np.zeros((len(titles), photos.shape[1]), np.float32)
    for row, title in zip(told, titles, strict=True):
        found = own.encode(title)
        if found is not None:
            row[:] = found
    by_tower = told @ photos.T
    hits = {share: _hits(share * by_pair + (1 - share) * by_tower) for share in _SHARES}
    # Of equals the one nearest to what is taken where nothing is known.
    usual = default_share(encoder.scale)
    return max(_SHARES, key=lambda share: (hits[share], -abs(share - usual)))


def _hits(scores: np.ndarray) -> float:
    """Share of the rows of [T, P] whose own photo, the one of the same number, is among the ten
    best; of equal scores it is the last."""
    own = np.diagonal(scores)[:, None]
    return float(((scores >= own).sum(1) <= _NEAREST).mean())
