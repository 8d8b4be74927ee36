"""Search among kinds never taught: asked and searched are photos of these kinds alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tools.bench.parts import unseen_kinds
from tools.bench.parts.unseen_kinds import judge


def test_photos_of_the_split_asked_are_judged_against_train_photos_of_the_same_kinds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two kinds of three: a is told at once, of b the second is the first of its kind."""
    kinds = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.6, 0.8]}
    rows: list[Any] = []
    split = {}
    for part, names in {"train": "abc", "validation": "ab", "test": "c"}.items():
        for name in names:
            product = f"{part}-{name}"
            split[product] = part
            rows.append(SimpleNamespace(product_id=product, category=(name,), image=product))
    problem: Any = SimpleNamespace(
        split=split, of=lambda part: [row for row in rows if split[row.product_id] == part]
    )

    def features(chosen: list[Any], runtime: object) -> Any:
        values = np.array([kinds[row.category[0]] for row in chosen], np.float32)
        # The photo of b is taken for an a.
        values[[row.product_id == "validation-b" for row in chosen]] = [0.8, 0.6]
        return SimpleNamespace(
            rows=chosen, values=values, pixels=np.array([row.image for row in chosen])
        )

    monkeypatch.setattr(unseen_kinds, "photo_features", features)
    runtime: Any = SimpleNamespace(embed_features=lambda values: values)
    photos, found = judge(problem, runtime, ["a", "b"], "validation")
    assert photos == ["validation-a", "validation-b"]
    np.testing.assert_allclose(found, [[1, 1], [0, 0.5]])
