"""Training targets: a head for what photos show, and a note on what they do not."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.training.targets import attribute_targets
from tests.indexer.training.dataset_rows import rows_with


@pytest.fixture
def split() -> tuple[np.ndarray, np.ndarray]:
    train = np.arange(300) < 200
    return train, ~train


def test_an_attribute_that_photos_show_gets_a_head_and_others_say_why_not(
    split: tuple[np.ndarray, np.ndarray],
) -> None:
    """A description is none, though few of them repeat: nobody writes a shop's texts for it."""
    rng = np.random.default_rng(0)
    shown, hidden = rng.integers(0, 3, 300), rng.integers(0, 2, 300)
    features = np.eye(3)[shown] + 0.1 * rng.normal(size=(300, 3))
    rows = rows_with(
        sleeve=["short" if v == 0 else "long" if v == 1 else None for v in shown],
        season=["summer" if v else "winter" for v in hidden],
        price=[float(n) for n in range(300)],
        body=[f"Wear it in look {v} with whatever you like" for v in shown],
        note=[f"text {n}" for n in range(300)],
    )
    types = dict.fromkeys(("sleeve", "season", "note", "body"), "string") | {"price": "number"}
    kept, notes = attribute_targets(rows, features, *split, types)  # type: ignore[arg-type]
    assert [(target.name, target.values) for target in kept] == [("sleeve", ("long", "short"))]
    assert set(kept[0].labels[shown == 2]) == {-1}
    assert any("'season' is not read from photos" in note for note in notes)
