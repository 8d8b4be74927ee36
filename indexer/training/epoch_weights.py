"""Weights of the judged epochs of a training, and which of them stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from indexer.core.native import torch
from indexer.training.optimiser import Rank
from indexer.training.options import BEST, LAST, UNIFORM

# of the last judged epochs that ``UNIFORM`` averages
_LAST_EPOCHS = 4


class EpochWeights:
    """Averaged weights of each judged epoch, in the machine's memory."""

    def __init__(self) -> None:
        self._states: dict[int, dict[str, Any]] = {}

    def add(self, epoch: int, module: Any) -> None:
        """Keep the weights of ``module`` as those of ``epoch``."""
        self._states[epoch] = _in_memory(module.state_dict())

    def mean(self, epochs: Sequence[int]) -> dict[str, Any]:
        """Average the weights of ``epochs``; what counts something is the first one's."""
        first, *rest = (self._states[epoch] for epoch in epochs)
        mean = {name: value.clone() for name, value in first.items()}
        for name, value in mean.items():
            if value.is_floating_point():
                for state in rest:
                    value += state[name]
                value /= len(epochs)
        return mean

    def state(self) -> dict[int, dict[str, Any]]:
        """Return everything that a later process needs to go on, for ``torch.save``."""
        return self._states

    def load_state(self, state: Mapping[int, Mapping[str, Any]]) -> None:
        """Continue where ``state`` was taken."""
        self._states = {epoch: _in_memory(weights) for epoch, weights in state.items()}


def _in_memory(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.to("cpu", copy=True) for name, value in state.items()}


def choose_epochs(
    kept: str,
    ranks: Mapping[int, Rank | None],
    judge: Callable[[Sequence[int]], Rank | None],
) -> list[int]:
    """Choose the epochs whose weights stay, averaged, by ``kept`` (of ``options.KEPT``).

    ``ranks``: how validation ranks each judged epoch; ``judge`` ranks the mean of several. Greedy
    (Wortsman et al. 2022, "Model soups"): from the best epoch on, each next one is added where the
    mean ranks no lower. Without ranks the last epoch is the best.
    """
    epochs = sorted(ranks)
    if kept == LAST:
        return epochs[-1:]
    if kept == UNIFORM:
        return epochs[-_LAST_EPOCHS:]
    # of equal ones the earlier stands first
    order = sorted(epochs, key=lambda epoch: ranks[epoch] or (0.0, float(epoch)), reverse=True)
    chosen, best = order[:1], ranks[order[0]]
    if kept == BEST or best is None:
        return chosen
    for epoch in order[1:]:
        found = judge([*chosen, epoch])
        if found is not None and found >= best:
            chosen, best = [*chosen, epoch], found
    return chosen


def average_network(network: Any, weights: EpochWeights, epochs: Sequence[int]) -> None:
    """Give ``network`` the mean of the weights of ``epochs``."""
    with torch.no_grad():
        network.load_state_dict(weights.mean(epochs))
