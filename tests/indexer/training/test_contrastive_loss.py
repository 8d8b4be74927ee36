"""Metric-learning losses: lower where photos with one value lie together, silent about what nobody
knows."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.core.native import torch
from indexer.training.contrastive_loss import ContrastiveLosses, LabelledMemory
from indexer.training.targets import Target

CATEGORY = Target("category", ("hat", "shoe"), np.array([0, 0, 1, 1]))
COLOUR = Target("colour", ("blue", "red"), np.array([0, 1, 0, 1]), colour=True)
FIT = Target("fit", ("slim", "wide"), np.array([0, 1, 1, 0]))


def blocks(**rows: list[list[float]]) -> dict[str, torch.Tensor]:
    return {
        name: torch.nn.functional.normalize(torch.tensor(values, dtype=torch.float32), dim=1)
        for name, values in rows.items()
    }


APART = blocks(
    a=[[1, 0], [1, 0], [0, 1], [0, 1]], c=[[1, 0], [0, 1], [1, 0], [0, 1]], g=[[1, 0]] * 4
)
MIXED = blocks(
    a=[[1, 0], [0, 1], [1, 0], [0, 1]], c=[[1, 0], [1, 0], [0, 1], [0, 1]], g=[[1, 0]] * 4
)


def loss(parts: dict[str, torch.Tensor], *targets: Target, **weights: float) -> float:
    labels = [torch.from_numpy(target.labels) for target in targets]
    chosen = {"category": 0.0, "attributes": 0.0, "colour": 0.0, "both": 0.0, **weights}
    return float(ContrastiveLosses(**chosen).loss(parts, targets, labels))


@pytest.mark.parametrize("name", ["category", "colour"])
def test_each_loss_is_lower_where_the_alike_lie_together(name: str) -> None:
    """Khosla's loss by hand: with cosines of 1 within and 0 between, t the temperature, log(1 + 2
    exp(-1/t))."""
    temperature = (
        ContrastiveLosses().temperature
        if name == "category"
        else ContrastiveLosses().colour_temperature
    )
    low, high = (loss(parts, CATEGORY, COLOUR, **{name: 1.0}) for parts in (APART, MIXED))
    assert low == pytest.approx(np.log1p(2 * np.exp(-1 / temperature)), abs=1e-5)
    assert high > low + 1


def test_attributes_but_colour_shape_block_a() -> None:
    assert loss(APART, CATEGORY, COLOUR, attributes=1.0) == 0
    assert loss(APART, CATEGORY, FIT, attributes=1.0) > 1
    also = Target("length", FIT.values, FIT.labels)
    assert loss(APART, CATEGORY, FIT, also, attributes=1.0) == pytest.approx(
        loss(APART, CATEGORY, FIT, attributes=1.0)
    )


def test_unknown_values_teach_nothing() -> None:
    nobody = Target("category", CATEGORY.values, np.full(4, -1))
    assert loss(MIXED, nobody, COLOUR, category=1.0, both=1.0) == 0
    some = Target("category", CATEGORY.values, np.array([0, 0, 1, -1, -1]))
    near, far = (
        blocks(a=[[1, 0], [1, 1], [0, 1], last, [1, 0]], g=[[1, 0]] * 5)
        for last in ([1, 0.1], [-1, 0])
    )
    assert loss(near, some, category=1.0) == pytest.approx(loss(far, some, category=1.0)) != 0


def test_block_g_is_not_moved() -> None:
    parts = {name: part.clone().requires_grad_() for name, part in MIXED.items()}
    labels = [torch.from_numpy(target.labels) for target in (CATEGORY, COLOUR)]
    ContrastiveLosses().loss(parts, (CATEGORY, COLOUR), [labels[0], labels[0]]).backward()
    assert parts["a"].grad is not None
    assert float(parts["a"].grad.abs().sum()) > 0
    assert parts["g"].grad is None or float(parts["g"].grad.abs().sum()) == 0


def test_attributes_alone_teach_without_a_category() -> None:
    """A catalog may name colours and no category."""
    assert loss(APART, COLOUR, FIT, colour=1.0, attributes=1.0, both=1.0) == pytest.approx(
        loss(APART, CATEGORY, COLOUR, FIT, colour=1.0, attributes=1.0), abs=1e-6
    )


def test_a_small_batch_is_contrasted_with_the_photos_before() -> None:
    """Two halves, one after the other, find in memory what one batch of both holds; what is
    remembered learns nothing, and the oldest is forgotten."""
    labels = torch.from_numpy(CATEGORY.labels)
    only = ContrastiveLosses(category=1.0, attributes=0.0, colour=0.0, both=0.0)
    memory = LabelledMemory(2)
    halves = [slice(0, 4, 2), slice(1, 4, 2)]  # a hat and a shoe each
    parts = [{"a": APART["a"][half].clone().requires_grad_()} for half in halves]
    targets = [Target("category", CATEGORY.values, CATEGORY.labels[half]) for half in halves]
    first, second = (
        only.loss(part, [target], [labels[half]], memory=memory)
        for part, target, half in zip(parts, targets, halves, strict=True)
    )
    assert first.item() == 0
    # one of the same kind, two of the other
    assert second.item() == pytest.approx(np.log1p(2 * np.exp(-10)), abs=1e-5)
    second.backward()
    assert parts[0]["a"].grad is None or not parts[0]["a"].grad.any()
    kept = memory.recall("category")
    assert kept is not None
    assert torch.equal(kept[0], parts[1]["a"])
    memory.clear()
    assert memory.recall("category") is None


def test_the_loss_is_that_of_the_paper() -> None:
    """Against Khosla's formula, photo by photo, where some labels stand alone."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(9, 5, generator=generator), dim=1)
    labels = [0, 0, 0, 1, 1, 2, -1, 3, 3]
    target = Target("category", tuple("wxyz"), np.array(labels))
    losses = []
    known = [place for place, label in enumerate(labels) if label >= 0]
    for one in known:
        others = [other for other in known if other != one]
        score = {other: float(vectors[one] @ vectors[other]) / 0.1 for other in others}
        total = np.logaddexp.reduce(list(score.values()))
        same = [total - score[other] for other in others if labels[other] == labels[one]]
        losses += [np.mean(same)] if same else []
    assert loss({"a": vectors}, target, category=1.0) == pytest.approx(np.mean(losses), rel=1e-4)
