"""The vote of the nearest photos on a category, and its mix with the head."""

from __future__ import annotations

import numpy as np
import pytest

from tools.bench.parts.neighbour_vote import beside_head, vote_shares


def test_the_nearest_share_one_vote_by_their_cosines() -> None:
    gallery = np.eye(8)[[0, 0, 1, 2, 3, 4, 5]]
    shares = vote_shares(gallery[:1], gallery, np.array([1, 1, 0, 2, 2, 0, 0]), 3)
    assert shares.sum() == pytest.approx(1)
    assert shares[0, 1] > 0.999
    assert vote_shares(gallery[:1], gallery[:2], np.array([1, 0]), 2)[0] == pytest.approx([0.5] * 2)


def test_a_vote_turns_a_head_that_is_not_sure() -> None:
    """The more, the stronger it is; a head that is sure is not turned by one voice."""
    vote = np.array([[0.0, 1.0, 0.0]])
    doubtful, sure = np.array([[0.4, 0.35, 0.25]]), np.array([[0.999, 0.0005, 0.0005]])
    assert beside_head(doubtful, vote, 1.0).argmax() == 1
    assert beside_head(sure, vote, 1.0).argmax() == 0
    weak, strong = (beside_head(doubtful, vote, strength)[0, 1] for strength in (0.5, 1.0))
    assert 0.35 < weak < strong
    assert beside_head(doubtful, vote, 1.0).sum() == pytest.approx(1)
