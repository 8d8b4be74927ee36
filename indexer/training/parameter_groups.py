"""Which parameters a fine-tuning trains, how fast, and at which photo sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from indexer.core.errors import BadRequestError
from indexer.core.native import torch
from indexer.model.backbone import Backbone
from indexer.model.network import Network

# learning rate of each stage relative to the one above it
LAYER_DECAY = 0.95
# of the stages, from the input on: edges are the same for all photos, and cost most
FROZEN_SHARE = 0.1
# The same where layers are normalised by themselves (transformers, ConvNeXt): what ImageNet's
# fine-tuning recipes use (BEiT, Bao et al. 2021; ConvNeXt, Liu et al. 2022). Their layers are
# many, and a high rate undoes what pretraining found.
_NORMED_DECAY = 0.75
# of the rate of neck and heads, which begin at random
_NORMED_RATE = 0.1
_BATCH_NORMS = (
    torch.nn.BatchNorm1d,
    torch.nn.BatchNorm2d,
    torch.nn.BatchNorm3d,
    torch.nn.SyncBatchNorm,
)


def parameter_groups(network: Network, lr: float, unfreeze: int | None) -> list[dict[str, Any]]:
    """Group parameters for the optimiser: neck and heads at ``lr``, layers below at less.

    A network of BatchNorm alone: each unfrozen stage has 0.95 of the one above. Others: layers as
    timm groups them (``group_matcher``), else the stages, at a tenth of ``lr`` and .75 of the layer
    above; norms, biases and embeddings of positions do not decay. Frozen are the others.
    ``unfreeze``: stages or layers from the top (None: all but the first tenth).
    """
    if unfreeze is not None and unfreeze < 0:
        raise BadRequestError(f"unfreeze must not be negative: {unfreeze}")
    backbone = network.backbone
    for parameter in backbone.parameters():
        parameter.requires_grad_(False)
    heads = {"params": [*network.neck.parameters(), *network.heads.parameters()], "lr": lr}
    if _only_batch_norms(backbone):
        layers = [list(stage.parameters()) for stage in stages(backbone)]
        found = _unfrozen(layers, unfreeze)
        return [heads] + [
            {"params": layer, "lr": lr * LAYER_DECAY**depth} for depth, layer in enumerate(found, 1)
        ]
    groups = [heads]
    plain = _without_decay(backbone)
    for depth, layer in enumerate(_unfrozen(_layers(backbone), unfreeze)):
        rate = lr * _NORMED_RATE * _NORMED_DECAY**depth
        for decays in (True, False):
            chosen = [weight for weight in layer if (id(weight) in plain) is not decays]
            if chosen:
                group = {"params": chosen, "lr": rate}
                groups.append(group if decays else {**group, "weight_decay": 0.0})
    return groups


def stages(backbone: Any) -> list[Any]:
    """List the backbone's modules with parameters, in the order of the data.

    Sequences are opened once.
    """
    found = []
    for child in backbone.children():
        if isinstance(child, torch.nn.Sequential) and len(child) > 1:
            found += list(child.children())
        else:
            found.append(child)
    return [stage for stage in found if next(stage.parameters(), None) is not None]


def unfreeze_groups(groups: Sequence[dict[str, Any]], *, half: bool) -> None:
    """Unfreeze neck and heads, and the stages below: all, or with ``half`` the upper half."""
    until = 1 + (len(groups) // 2 if half else len(groups))
    for number, group in enumerate(groups):
        for parameter in group["params"]:
            parameter.requires_grad_(number < until)
            parameter.grad = None


def set_training(network: Network, *, drops: bool) -> None:
    """Let the neck train; BatchNorm keeps its statistics.

    ``drops``: the backbone's own dropout and stochastic depth act too.
    """
    network.eval()
    network.neck.train()
    if drops:
        network.backbone.train()
        for module in network.backbone.modules():
            if isinstance(module, _BATCH_NORMS):
                module.eval()


def training_size(
    backbone: Backbone, crop: int, epoch: int, epochs: int, sizes: Sequence[tuple[float, float]]
) -> int:
    """Choose the progressive size (Tan & Le 2021) in px, a multiple of the network's stride.

    ``crop``: what is served, px. It stays below that to the end: in a crop of a photo things look
    larger than in the whole (Touvron et al. 2019), so a smaller crop shows them at the size that
    the served network will see, and costs less. A network of one size sees that.
    """
    share = next(share for until, share in sizes if epoch < until * epochs or until >= 1)
    if share >= 1 or not backbone.any_shape:
        return crop
    step = max(backbone.stride, 1)
    return max(round(crop * share / step), 1) * step


def _unfrozen(layers: Sequence[list[Any]], unfreeze: int | None) -> list[list[Any]]:
    """Select the layers to train, from the top down."""
    count = len(layers) - round(FROZEN_SHARE * len(layers)) if unfreeze is None else unfreeze
    return list(reversed(layers[max(len(layers) - count, 0) :]))


def _only_batch_norms(backbone: Any) -> bool:
    """Whether no layer normalises a photo by itself."""
    return not any("norm" in name for name in map(_kind, backbone.modules()))


def _kind(module: Any) -> str:
    """Name the kind of a module in lower letters; nothing for a BatchNorm, one inside too."""
    inner = isinstance(module, _BATCH_NORMS) or any(
        isinstance(part, _BATCH_NORMS) for part in module.children()
    )
    return "" if inner else type(module).__name__.lower()


def _layers(backbone: Any) -> list[list[Any]]:
    """List the parameters of each layer, in the order of the data."""
    if not hasattr(backbone, "group_matcher"):
        return [list(stage.parameters()) for stage in stages(backbone)]
    from timm.models import group_parameters

    number = group_parameters(backbone, backbone.group_matcher(coarse=False), reverse=True)
    top = max(number.values(), default=0)
    found: dict[int, list[Any]] = {}
    for name, parameter in backbone.named_parameters():
        found.setdefault(number.get(name, top), []).append(parameter)
    return [found[place] for place in sorted(found)]


def _without_decay(backbone: Any) -> set[int]:
    """Identify the parameters that do not decay: vectors, and those that the network names."""
    named = set(backbone.no_weight_decay()) if hasattr(backbone, "no_weight_decay") else set()
    return {
        id(parameter)
        for name, parameter in backbone.named_parameters()
        if parameter.ndim <= 1 or name.endswith(".bias") or name in named
    }
