"""The ablation's variants: each changes something that the recipes really have."""

from __future__ import annotations

from dataclasses import fields

from indexer.training.linear import Examples
from indexer.training.options import FinetuneOptions, LinearOptions
from tools.bench.ablation import FINETUNE, LINEAR


def test_variants_of_linear_are_arguments_of_the_fit() -> None:
    names = {field.name for part in (LinearOptions, Examples) for field in fields(part)}
    for options in LINEAR.values():
        assert set(options) <= names


def test_variants_of_finetune_differ_from_the_recipe_as_it_is() -> None:
    assert FINETUNE["as it is"] == {}
    names = {field.name for field in fields(FinetuneOptions)}
    for variant, options in FINETUNE.items():
        assert set(options) <= names
        assert variant == "as it is" or FinetuneOptions(**options) != FinetuneOptions()
