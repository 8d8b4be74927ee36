"""The shared optimiser: the best epoch comes back, a killed run goes on, no loss is infinite."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from indexer.core.errors import TrainingError
from indexer.core.native import torch
from indexer.training.optimiser import Optimiser, average_share, decay_for


def make(module: Any) -> Optimiser:
    groups = [{"params": list(module.parameters()), "lr": 0.1}]
    return Optimiser(module, groups, lr=0.1, steps=8, average_decay=0.5, clip=5.0)


def step(optimiser: Optimiser, module: Any, epoch: int) -> float:
    inputs = torch.arange(6.0).reshape(3, 2)
    return optimiser.step((module(inputs) - 1).square().mean(), epoch)


def weights(module: Any) -> list[Any]:
    return [value.clone() for value in module.state_dict().values()]


@pytest.fixture
def module() -> Any:
    torch.manual_seed(0)
    return torch.nn.Linear(2, 1)


def test_the_averaged_weights_of_the_best_epoch_come_back(module: Any) -> None:
    optimiser = make(module)
    kept: list[Any] = []
    for epoch, rank in enumerate([(0.5, -1.0), (0.7, -2.0), (0.7, -3.0), (0.6, 0.0)]):
        step(optimiser, module, epoch)
        if epoch == 1:
            kept = weights(optimiser.average)
        optimiser.keep_if_better(rank, epoch)
    assert optimiser.best_epoch == 1
    assert optimiser.restore_best() == 1
    assert all(map(torch.equal, weights(module), kept))


def test_without_validation_the_last_epoch_is_the_best(module: Any) -> None:
    optimiser = make(module)
    for epoch in range(3):
        step(optimiser, module, epoch)
        optimiser.keep_if_better(None, epoch)
    assert optimiser.best_epoch == 2


def test_a_run_goes_on_from_its_state_as_if_unbroken(module: Any) -> None:
    optimiser = make(module)
    step(optimiser, module, 0)
    optimiser.keep_if_better((0.5, 0.0), 0)
    state = copy.deepcopy(optimiser.state())
    step(optimiser, module, 1)
    other = torch.nn.Linear(2, 1)
    resumed = make(other)
    resumed.load_state(state)
    step(resumed, other, 1)
    assert resumed.best_epoch == 0
    assert all(map(torch.equal, weights(module), weights(other)))
    assert all(map(torch.equal, weights(optimiser.average), weights(resumed.average)))


def test_a_loss_that_is_not_finite_names_epoch_and_rate(module: Any) -> None:
    optimiser = make(module)
    before = weights(module)
    with pytest.raises(TrainingError, match=r"the loss is nan in epoch 3: .*--lr than 0\.1"):
        optimiser.step(module(torch.full((1, 2), torch.inf)).sum() * 0 + torch.inf, 2)
    assert all(map(torch.equal, weights(module), before))


def test_a_short_training_averages_nothing_of_its_start() -> None:
    """With a fixed decay of .98 two thirds of 20 steps' average were the weights of the start."""
    start = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        start.weight.fill_(100.0)
    groups = [{"params": list(start.parameters()), "lr": 1e-9}]
    optimiser = Optimiser(start, groups, lr=1e-9, steps=20, average_decay=0.98)
    for number in range(20):
        optimiser.step(start(torch.zeros(1, 1)).sum(), 0)
        with torch.no_grad():
            start.weight.fill_(float(number))
    # after step n the average took in what step n - 1 left: 100, 0, 1, ..., 18
    expected = [0.6 ** (19 - number) * value for number, value in enumerate((100.0, *range(19)))]
    total = sum(0.6**number for number in range(20))
    average = optimiser.average.weight.item()
    assert average == pytest.approx(sum(expected) / total, rel=1e-4)
    assert average > 16
    assert 0.6**19 / total < 1e-4


def test_a_long_training_averages_by_the_decay_it_was_given() -> None:
    assert decay_for(1000, 0.98) == 0.98
    assert average_share(1000, 0.98) == pytest.approx(0.02)
    assert average_share(1, 0.0) == 1.0
