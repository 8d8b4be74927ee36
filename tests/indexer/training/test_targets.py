"""Heads are trained for what photos show; blocks are weighed by what validation says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.catalog.dataset import DatasetRow
from indexer.core.native import torch
from indexer.model import backbones
from indexer.model.network import Heads, Neck
from indexer.training import linear
from indexer.training.block_weights import RecaptureQueries, choose_weights, instance_rate
from indexer.training.sampling import sample_indices
from indexer.training.targets import Target, attribute_targets, colour_target


def rows_with(**columns: list[object]) -> list[DatasetRow]:
    count = len(next(iter(columns.values())))
    return [
        DatasetRow(
            f"row {n}",
            f"p{n}",
            Path(f"{n}.jpg"),
            None,
            ("c",),
            (),
            None,
            {k: v[n] for k, v in columns.items() if v[n] is not None},
        )  # type: ignore[misc]
        for n in range(count)
    ]


@pytest.fixture
def split() -> tuple[np.ndarray, np.ndarray]:
    train = np.arange(300) < 200
    return train, ~train


def test_an_attribute_that_photos_show_gets_a_head_and_others_say_why_not(
    split: tuple[np.ndarray, np.ndarray],
) -> None:
    rng = np.random.default_rng(0)
    shown, hidden = rng.integers(0, 3, 300), rng.integers(0, 2, 300)
    features = np.eye(3)[shown] + 0.1 * rng.normal(size=(300, 3))
    rows = rows_with(
        sleeve=["short" if v == 0 else "long" if v == 1 else None for v in shown],
        season=["summer" if v else "winter" for v in hidden],
        price=[float(n) for n in range(300)],
        note=[f"text {n}" for n in range(300)],
    )
    types = {"sleeve": "string", "season": "string", "price": "number", "note": "string"}
    kept, notes = attribute_targets(rows, features, *split, types)  # type: ignore[arg-type]
    assert [(target.name, target.values) for target in kept] == [("sleeve", ("long", "short"))]
    assert set(kept[0].labels[shown == 2]) == {-1}
    assert any("'season' is not read from photos" in note for note in notes)


def test_a_colour_is_known_by_its_column_s_name() -> None:
    other = Target("gender", ("a", "b"), np.array([0]))
    paint = Target("base_colour", ("red", "blue"), np.array([1]))
    assert colour_target([other, paint]) is paint
    assert colour_target([other]) is None


def test_only_a_head_s_own_block_learns_from_it() -> None:
    """Colour must not leak into a, nor the category into c or g: a query may re-weigh them."""
    targets = [
        Target("category", ("x", "y"), np.zeros(4, np.int64)),
        Target("colour", ("r", "b"), np.zeros(4, np.int64)),
    ]
    spec = linear.linear_spec(backbones.find("resnet18"), targets, 100)
    assert [block.name for block in spec.blocks] == ["a", "c", "g"]
    neck, heads = Neck(spec), Heads(spec)
    linear.fit_statistics(neck, torch.rand(40, 512 + 326))
    truth = torch.eye(2).repeat(2, 1)
    for only, silent in ((0, neck.colour), (1, neck.article)):
        neck.zero_grad()
        wanted = [truth if number == only else torch.zeros_like(truth) for number in range(2)]
        linear.heads_loss(heads, neck.parts(torch.rand(4, 512 + 326)), wanted, targets).backward()
        assert all(weight.grad is None or not weight.grad.any() for weight in silent.parameters())
        assert neck.general.grad is None or not neck.general.grad.any()
        loud = neck.article if only == 0 else neck.colour
        assert any(weight.grad is not None and weight.grad.any() for weight in loud.parameters())


def test_reweighing_changes_the_vectors_and_no_logit() -> None:
    targets = [
        Target("category", ("x", "y"), np.zeros(4, np.int64)),
        Target("colour", ("r", "b"), np.zeros(4, np.int64)),
    ]
    spec = linear.linear_spec(backbones.find("resnet18"), targets, 100)
    torch.manual_seed(0)
    neck, heads = Neck(spec).eval(), Heads(spec)
    fitted = linear.FittedModel(spec, neck, heads, 1.0, 1, [])
    changed = linear.reweigh(fitted, {"a": 0.6, "c": 0.15, "g": 0.25})
    features = torch.rand(5, 512 + 326)
    with torch.inference_mode():
        before, after = neck(features), changed.neck(features)
        torch.testing.assert_close(heads(before), changed.heads(after), atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(after[:, :192].norm(dim=1).numpy(), 0.6**0.5, rtol=1e-4)
    np.testing.assert_allclose(after.norm(dim=1).numpy(), 1.0, rtol=1e-4)


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
        Target("colour", tuple("rgbyw"), paint.astype(np.int64)),
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


def test_a_tag_is_told_by_the_head_that_marks_the_same_photos() -> None:
    from dataclasses import replace

    from indexer.training.tag_samples import tags_by_head

    rows = rows_with(colour=["red", "red", "blue", "blue", "red"])
    tags = (("Red", "new"), ("Red",), ("Blue",), ("Blue", "new"), ("Red",))
    rows = [replace(row, tags=mine) for row, mine in zip(rows, tags, strict=True)]
    paint = Target("colour", ("blue", "red"), np.array([1, 1, 0, 0, 1]))
    assert tags_by_head(rows, [paint]) == {"Red": ("colour", 1), "Blue": ("colour", 0)}
