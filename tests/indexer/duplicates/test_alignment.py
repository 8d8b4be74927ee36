"""Alignment: copies agree with their picture, other pictures do not."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.duplicates.alignment import SAME, aligned_similarity, compare
from indexer.duplicates.perceptual_hash import (
    coarse_match,
    coarse_thumbnails,
)
from tests.indexer.duplicates.test_perceptual_hash import COPIES, drawn, thumbs


@pytest.mark.parametrize("kind", COPIES)
def test_copies_agree_both_ways(kind: str) -> None:
    """A copy agrees with its picture whichever comes first, whether mirrored is told, and others do
    not agree."""
    pictures = [drawn(seed) for seed in range(12)]
    originals, copied = thumbs(*pictures), thumbs(*map(COPIES[kind], pictures))
    for found in (compare(copied, originals), compare(originals, copied)):
        assert found.agreement.min() >= SAME
        assert found.mirrored.tolist() == ["mirrored" in kind] * 12
    others = compare(copied, np.roll(originals, 1, axis=0))
    assert others.agreement.max() < SAME - 0.1


def test_one_photo_against_many_agrees_as_pair_by_pair() -> None:
    """Two thumbnails over five, in one call, have the agreements of the ten pairs."""
    first, second = thumbs(drawn(1), COPIES["mirrored"](drawn(1))), thumbs(*map(drawn, range(5)))
    together = aligned_similarity(first[:, None], second)
    assert together.shape == (2, 5)
    for row, thumb in zip(together, first, strict=True):
        assert row == pytest.approx(
            [aligned_similarity(thumb[None], other[None])[0] for other in second], abs=1e-6
        )
    assert together[0, 1] == pytest.approx(1.0, abs=1e-6)
    rough = coarse_match(coarse_thumbnails(first)[:, None], coarse_thumbnails(second))
    assert rough.tolist() == [
        [bool(coarse_match(a[None], b[None])[0]) for b in coarse_thumbnails(second)]
        for a in coarse_thumbnails(first)
    ]
