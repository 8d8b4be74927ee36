"""What a fine-tuning trains and how fast: by stages of BatchNorm networks, by timm's own layers of
others."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from indexer.core.errors import BadRequestError
from indexer.core.native import torch
from indexer.model import backbones
from indexer.model.network import Network
from indexer.training.options import FinetuneOptions
from indexer.training.parameter_groups import (
    parameter_groups,
    set_training,
    stages,
    training_size,
    unfreeze_groups,
)


def network(name: str) -> Network:
    return Network(Network.frozen_spec(name), backbones.build(name, random=True))


def names(model: Network, group: dict[str, Any]) -> set[str]:
    chosen = set(map(id, group["params"]))
    return {name for name, weight in model.backbone.named_parameters() if id(weight) in chosen}


def test_learning_rates_of_the_shipped_network_fall_from_stage_to_stage() -> None:
    """As before there were others: 0.95 of the stage above, one decay for all."""
    model = network("efficientnet_lite0")
    groups = parameter_groups(model, 1.0, 3)
    assert [round(group["lr"], 6) for group in groups] == [1.0, 0.95, 0.9025, 0.857375]
    everything = parameter_groups(model, 1.0, 10**6)
    assert len(everything) == len(stages(model.backbone)) + 1
    assert not any("weight_decay" in group for group in everything)
    with pytest.raises(BadRequestError, match="unfreeze must not be negative: -1"):
        parameter_groups(model, 1.0, -1)


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_convnext"])
def test_layers_that_normalise_themselves_learn_slower_the_deeper_they_lie(name: str) -> None:
    """Every parameter is in one group; rates fall by 0.75 a layer from a tenth of the heads';
    norms, biases and position embeddings do not decay."""
    model = network(name)
    groups = parameter_groups(model, 1.0, 10**6)
    members = [names(model, group) for group in groups[1:]]
    everything = {parameter for parameter, _ in model.backbone.named_parameters()}
    assert sorted(parameter for group in members for parameter in group) == sorted(everything)
    rates = [group["lr"] for group in groups[1:]]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(0.1)
    distinct = sorted(set(rates), reverse=True)
    falls = [lower / upper for upper, lower in pairwise(distinct)]
    assert falls == pytest.approx([0.75] * len(falls))
    for group, found in zip(groups[1:], members, strict=True):
        weights = {key for key, value in model.backbone.named_parameters() if value.ndim > 1}
        still = {key for key in found if key not in weights or key in ("pos_embed", "cls_token")}
        assert still == (found if group.get("weight_decay") == 0.0 else set())


def test_fewer_layers_are_those_at_the_top() -> None:
    model = network("timm:test_vit")
    found = set().union(*(names(model, group) for group in parameter_groups(model, 1.0, 2)[1:]))
    assert {name.partition(".")[0] for name in found} <= {"blocks", "norm"}
    assert any(name.startswith("blocks.5.") for name in found)
    assert not any(name.startswith("blocks.0.") for name in found)


def test_the_upper_half_of_the_stages_is_trained_first() -> None:
    model = network("efficientnet_lite0")
    groups = parameter_groups(model, 1.0, 4)
    unfreeze_groups(groups, half=True)
    trained = [all(weight.requires_grad for weight in group["params"]) for group in groups]
    assert trained == [True, True, True, False, False]
    unfreeze_groups(groups, half=False)
    assert all(parameter.requires_grad for group in groups for parameter in group["params"])
    assert not next(model.backbone.parameters()).requires_grad


def test_stochastic_depth_acts_and_batchnorm_statistics_stay() -> None:
    """A network asked for drop-path has it while it is fine-tuned, and none while it is judged."""
    model = network("timm:test_resnet?drop_path_rate=0.5")
    for module in model.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)  # residual branches begin at nothing
    photos = torch.randn(4, 3, 64, 64)
    before = {key: value.clone() for key, value in model.backbone.named_buffers()}
    set_training(model, drops=True)
    with torch.no_grad():
        assert not torch.equal(model.backbone(photos), model.backbone(photos))
        for key, value in model.backbone.named_buffers():
            assert torch.equal(value, before[key])
        set_training(model, drops=False)
        assert torch.equal(model.backbone(photos), model.backbone(photos))
    assert model.neck.training


def test_photos_grow_and_stay_below_the_served_size() -> None:
    """In steps of the network's stride; a network of one size sees that alone."""
    sizes = FinetuneOptions().sizes

    def found(name: str, crop: int) -> list[int]:
        row = backbones.find(name)
        return [training_size(row, crop, epoch, 10, sizes) for epoch in (0, 5, 6, 9)]

    assert found("efficientnet_lite0", 224) == [160, 160, 192, 192]
    assert found("timm:test_vit", 160) == [112, 112, 144, 144]
    assert found("timm:mixer_s32_224", 224) == [224] * 4
    row = backbones.find("efficientnet_lite0")
    assert training_size(row, 224, 0, 1, ((1.0, 1.0),)) == 224
