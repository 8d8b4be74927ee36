"""Block weights: chosen by validation photos and their recaptures."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.training.block_weights import RecaptureQueries, choose_weights, instance_rate
from indexer.training.sampling import sample_indices
from indexer.training.targets import Target


def test_colour_gets_a_share_only_as_far_as_the_category_bears_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weights follow validation: useful colour is given weight, and c never drowns the category
    below g alone."""
    rng = np.random.default_rng(1)
    kind, paint = rng.integers(0, 6, 400), rng.integers(0, 5, 400)

    def block(labels: np.ndarray, count: int, noise: float) -> np.ndarray:
        vectors = np.eye(count, 16)[labels] + noise * rng.normal(size=(len(labels), 16))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    blocks = {"a": block(kind, 6, 0.25), "c": block(paint, 5, 0.1), "g": block(kind, 6, 0.3)}
    targets = [
        Target("category", tuple("abcdef"), kind.astype(np.int64)),
        Target("colour", tuple("rgbyw"), paint.astype(np.int64), colour=True),
    ]
    train = np.arange(400) < 300
    pixels = np.array([str(n) for n in range(400)], dtype=object)
    weights = choose_weights(blocks, targets, train, ~train, pixels)
    assert weights is not None
    assert sum(weights.values()) == pytest.approx(1.0)
    assert weights["c"] > 0.1
    scores = sum(
        weight * blocks[name][~train] @ blocks[name][train].T for name, weight in weights.items()
    )
    alone = blocks["g"][~train] @ blocks["g"][train].T
    first = [(kind[train][s.argmax(1)] == kind[~train]).mean() for s in (scores, alone)]
    assert first[0] >= first[1]
    for name, limit in (
        ("_QUERIES", 60),
        ("_GALLERY", 150),
    ):  # of many photos a draw decides much the same
        monkeypatch.setattr(f"indexer.training.block_weights.{name}", limit)
    taken: list[int] = []

    def noted(chosen: np.ndarray, limit: int) -> np.ndarray:
        taken.append(len(found := sample_indices(chosen, limit)))
        return found

    monkeypatch.setattr("indexer.training.block_weights.sample_indices", noted)
    some = choose_weights(blocks, targets, train, ~train, pixels)
    assert sorted(taken) == [60, 150]
    assert some == pytest.approx(weights, abs=0.2)
    two = choose_weights({"a": blocks["a"], "g": blocks["g"]}, targets[:1], train, ~train, pixels)
    assert two is not None
    assert list(two) == ["a", "g"]
    assert choose_weights({"g": blocks["g"]}, targets[:1], train, ~train, pixels) is None


def test_weights_keep_finding_the_same_photo_again() -> None:
    """Block a knows the kind and nothing of the photo: it gets weight only while g still finds
    re-shots."""
    rng = np.random.default_rng(3)
    kind = rng.integers(0, 4, 300)
    a = np.eye(4)[kind] + 0.05 * rng.normal(size=(300, 4))
    g = rng.normal(size=(300, 32)) + 0.8 * np.eye(4, 32)[kind]
    shot = g + 0.9 * rng.normal(size=g.shape)
    shot_a = np.eye(4)[rng.integers(0, 4, 300)]  # taken again, a sees another kind

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    blocks = {"a": unit(a), "g": unit(g)}
    train = np.arange(300) < 200
    pixels = np.array([str(n) for n in range(300)], dtype=object)
    places = np.flatnonzero(~train)
    target = Target("category", tuple("abcd"), kind.astype(np.int64))
    asked = {"a": unit(shot_a)[places], "g": unit(shot)[places]}
    frozen = instance_rate(asked["g"], blocks["g"], places, pixels) - 0.05
    free = choose_weights(blocks, [target], train, ~train, pixels)
    bound = choose_weights(
        blocks, [target], train, ~train, pixels, RecaptureQueries(places, asked, frozen)
    )
    assert free is not None
    assert bound is not None
    whole = {
        weights["a"]: sum(w * asked[n] @ blocks[n].T for n, w in weights.items())
        for weights in (free, bound)
    }
    found = [(scores.argmax(1) == places).mean() for scores in whole.values()]
    assert found[0] < frozen <= found[1]
