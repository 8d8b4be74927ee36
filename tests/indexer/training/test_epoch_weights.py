"""Weights of judged epochs: which stay, and that their mean is one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from indexer.core.native import torch
from indexer.training.epoch_weights import EpochWeights, average_network, choose_epochs
from indexer.training.optimiser import Rank
from indexer.training.options import BEST, GREEDY, LAST, UNIFORM

RANKS: dict[int, Rank | None] = {
    5: (0.90, -0.3),
    6: (0.93, -0.3),
    7: (0.93, -0.2),
    8: (0.91, -0.1),
    9: (0.93, -0.2),
}


def never(epochs: Sequence[int]) -> Rank | None:
    raise AssertionError(f"{epochs} judged")


@pytest.mark.parametrize(("kept", "expected"), [(BEST, [7]), (LAST, [9]), (UNIFORM, [6, 7, 8, 9])])
def test_what_stays_is_what_was_asked_for(kept: str, expected: list[int]) -> None:
    assert choose_epochs(kept, RANKS, never) == expected


def test_an_epoch_joins_the_soup_only_where_validation_ranks_it_no_lower() -> None:
    asked = []

    def judge(epochs: Sequence[int]) -> Rank:
        asked.append(list(epochs))
        return (0.94, -0.2) if epochs[-1] in (9, 8) else (0.92, -0.1)

    assert choose_epochs(GREEDY, RANKS, judge) == [7, 9, 8]
    assert asked == [[7, 9], [7, 9, 6], [7, 9, 8], [7, 9, 8, 5]]


def test_without_labels_the_last_epoch_stays() -> None:
    nothing: dict[int, Rank | None] = dict.fromkeys(range(3))
    for kept in (BEST, LAST, GREEDY):
        assert choose_epochs(kept, nothing, never) == [2]


def test_the_mean_is_of_the_weights_as_they_were_and_counts_nothing() -> None:
    network = torch.nn.BatchNorm1d(1)
    weights = EpochWeights()
    for epoch, value in enumerate((1.0, 2.0, 6.0)):
        torch.nn.init.constant_(network.weight, value)
        network.num_batches_tracked.fill_(epoch + 7)
        weights.add(epoch, network)
    later = EpochWeights()
    later.load_state(weights.state())
    average_network(network, later, [0, 1, 2])
    assert network.weight.item() == pytest.approx(3.0)
    assert int(network.num_batches_tracked) == 7
    assert later.mean([2])["weight"].item() == 6.0
