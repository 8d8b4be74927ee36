"""The ablation's variants: each changes something that the recipes really have."""

from __future__ import annotations

from dataclasses import fields
from inspect import signature

from indexer.training.finetune import FinetuneOptions
from indexer.training.linear import fit
from tools.bench.ablation import FINETUNE, LINEAR


def test_variants_of_linear_are_arguments_of_the_fit() -> None:
    for options in LINEAR.values():
        assert set(options) <= set(signature(fit).parameters)


def test_variants_of_finetune_differ_from_the_recipe_as_it_is() -> None:
    assert FINETUNE["as it is"] == {}
    names = {field.name for field in fields(FinetuneOptions)}
    for variant, options in FINETUNE.items():
        assert set(options) <= names
        assert variant == "as it is" or FinetuneOptions(**options) != FinetuneOptions()
