"""Classes from a few photos: which block says how much of a kind."""

from __future__ import annotations

import numpy as np

from indexer.model.few_shot import background, category_shares, fit_category
from indexer.model.spec import Block

BLOCKS = (Block("a", 4, 0.5), Block("g", 4, 0.5))


def test_more_photos_lean_more_on_the_general_block() -> None:
    """From five photos on the block that labels bent counts half as much, in the row too."""
    assert [category_shares(count)["a"] for count in (1, 4, 5, 20)] == [0.2, 0.2, 0.1, 0.1]
    rng = np.random.default_rng(0)
    catalog = rng.normal(size=(200, 8))
    catalog /= np.linalg.norm(catalog, axis=1, keepdims=True)
    shown = catalog[:5]
    of_a = []
    for photos in (4, 5):
        behind = background(catalog, np.full(200, -1), BLOCKS, category_shares(photos))
        weight = fit_category(shown, behind, catalog).weight
        of_a.append(np.linalg.norm(weight[:4]) / np.linalg.norm(weight[4:]))
    assert 0.3 < of_a[1] / of_a[0] < 0.7
