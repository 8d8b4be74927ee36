"""Options of a training: the recipe's numbers unless others are given, and only possible ones."""

from __future__ import annotations

from typing import Any

import pytest

from indexer.core.errors import BadRequestError
from indexer.training.options import RECIPES, FinetuneOptions, Schedule, TrainingOptions


def test_numbers_that_are_not_given_are_the_recipe_s() -> None:
    assert TrainingOptions().schedule == RECIPES["linear"]
    found = TrainingOptions(recipe="finetune", epochs=3).schedule
    assert found == Schedule(3, RECIPES["finetune"].lr, RECIPES["finetune"].batch_size)


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("lr", -1.0), ("batch_size", 0)])
def test_bad_numbers_are_named(name: str, value: Any) -> None:
    with pytest.raises(BadRequestError, match=f"{name} must be above 0, not {value}"):
        TrainingOptions(**{name: value})


def test_an_unknown_recipe_is_refused_with_those_on_offer() -> None:
    with pytest.raises(BadRequestError, match="'quick'; offered: linear, finetune"):
        TrainingOptions(recipe="quick")


@pytest.mark.parametrize(
    "chosen", [{"measure": "auc"}, {"finetuning": FinetuneOptions(kept="first")}]
)
def test_an_unknown_measure_or_choice_of_epochs_is_refused(chosen: Any) -> None:
    with pytest.raises(BadRequestError, match=r"unknown (measure 'auc'|kept 'first'); offered: "):
        TrainingOptions(**chosen)
