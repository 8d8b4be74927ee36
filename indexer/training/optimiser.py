"""AdamW with a one-cycle rate, a moving average of the weights and the best epoch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from indexer.core.errors import TrainingError
from indexer.core.native import torch

WEIGHT_DECAY = 1e-2
# how often the average of the weights spans its memory in a training
_SPANS = 8.0
STATES = ("network", "average", "optimiser", "schedule")

Rank = tuple[float, float]  # mean validation accuracy, then -NLL of the category


def decay_for(steps: int, most: float) -> float:
    """Choose the decay of the weights' average for a training of ``steps``: it spans an eighth.

    >>> decay_for(20, 0.98), decay_for(1000, 0.98)
    (0.6, 0.98)
    """
    return min(most, max(1 - _SPANS / steps, 0.0)) if steps else most


def average_share(step: int, decay: float) -> float:
    """Return the share of the weights after ``step`` (from 1) in their moving average.

    Unbiased (Kingma and Ba 2015): the average of ``step`` weights is by powers of ``decay`` alone,
    so nothing of the first ones is left over.

    >>> average_share(1, 0.98), round(average_share(2, 0.98), 3), round(average_share(999, 0.98), 3)
    (1.0, 0.505, 0.02)
    """
    return (1 - decay) / (1 - decay**step)


class Optimiser:
    """Trains the parameters ``groups`` of ``module`` and remembers its best epoch.

    The learning rate of each group rises to its ``lr`` within the share ``warm_up`` of ``steps``
    and falls to nothing (Smith and Topin 2018). Validation judges ``average``, an exponential
    moving average of the weights that holds nothing of the random start (``average_share``), and
    the best epoch's average is what ``restore_best`` gives back. ``average_decay``: the largest; a
    short training has less (``decay_for``). ``clip``: largest norm of a step's gradient.
    """

    def __init__(
        self,
        module: Any,
        groups: Sequence[Any],
        *,
        lr: float,
        steps: int,
        average_decay: float,
        warm_up: float = 0.3,
        fused: bool | None = None,
        clip: float | None = None,
    ) -> None:
        swa = torch.optim.swa_utils
        self._module = module
        self._lr = lr
        self._clip = clip
        self._optimiser = torch.optim.AdamW(groups, lr=lr, weight_decay=WEIGHT_DECAY, fused=fused)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser,
            [group["lr"] for group in self._optimiser.param_groups],
            total_steps=max(steps, 2),
            pct_start=warm_up,
        )
        decay = decay_for(steps, average_decay)

        def average(averaged: Any, current: Any, seen: Any) -> None:
            torch._foreach_lerp_(averaged, current, average_share(int(seen) + 1, decay))

        self._average: Any = swa.AveragedModel(module, multi_avg_fn=average, use_buffers=False)
        self._best: tuple[Rank, int, Any] | None = None

    @property
    def average(self) -> Any:
        """``module`` with the averaged weights."""
        return self._average.module

    @property
    def best_epoch(self) -> int | None:
        """Number of the best epoch, from 0; None before the first was judged."""
        return None if self._best is None else self._best[1]

    def step(self, loss: Any, epoch: int) -> float:
        """Step down the gradient of ``loss``; returns its value.

        Raises ``TrainingError`` for a loss that is not finite.
        """
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} in epoch {epoch + 1}: try a smaller --lr than "
                f"{self._lr}"
            )
        self._optimiser.zero_grad()
        loss.backward()
        if self._clip is not None:
            torch.nn.utils.clip_grad_norm_(self._module.parameters(), self._clip)
        self._optimiser.step()
        self._schedule.step()
        self._average.update_parameters(self._module)
        return float(loss.item())

    def keep_if_better(self, rank: Rank | None, epoch: int) -> None:
        """Remember the averaged weights where validation prefers them; without a rank always."""
        rank = rank or (0.0, float(epoch))
        if self._best is None or rank > self._best[0]:
            self._best = rank, epoch, copy.deepcopy(self.average.state_dict())

    def restore_best(self) -> int:
        """Give ``module`` the weights of the best epoch; returns its number."""
        if self._best is None:
            raise RuntimeError("no epoch was judged")
        self._module.load_state_dict(self._best[2])
        return self._best[1]

    def state(self) -> dict[str, Any]:
        """Return everything that a later process needs to go on, for ``torch.save``."""
        modules = (self._module, self._average, self._optimiser, self._schedule)
        states = {name: module.state_dict() for name, module in zip(STATES, modules, strict=True)}
        return {**states, "best": self._best}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken."""
        modules = (self._module, self._average, self._optimiser, self._schedule)
        for name, module in zip(STATES, modules, strict=True):
            module.load_state_dict(state[name])
        self._best = state["best"]
