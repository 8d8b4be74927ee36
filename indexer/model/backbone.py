"""One backbone: a network that turns pixels into pooled features, and its preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from indexer.model.pretrained_weights import State, WeightSource
from indexer.model.spec import Preprocess

Rgb = tuple[float, float, float]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def unchanged(_: Any, state: State) -> State:
    """Return the state dict as it is."""
    return state


@dataclass(frozen=True)
class Backbone:
    """One row of the registry: all that the rest of the program knows of a network."""

    name: str
    # Width of the pooled features.
    feature_dim: int
    preprocess: Preprocess
    # Makes the nn.Module: float32 [N, 3, crop, crop] -> [N, feature_dim], with random weights.
    make: Callable[[], Any]
    weights: WeightSource
    # Whether it takes photos of any height and width that are multiples of ``stride``, as networks
    # do that pool their last map; else ``crop`` x ``crop`` alone.
    any_shape: bool = True
    # Px of the input to a cell of the last map.
    stride: int = 32
    # Whether its own dropout and stochastic depth act while it is fine-tuned.
    drops: bool = False
    # Numbers that the network holds, parameters and buffers; 0 for a row of the program's own. A
    # name can ask for any number of them.
    elements: int = 0
    # Brings a published state dict to this very network (module, state): position embeddings of
    # another size, names of other code bases.
    convert: Callable[[Any, State], State] = unchanged
    # Whether its features lie in a space that a text tower shares: block t.
    joint: bool = False


def preprocessing(
    crop: int,
    resize: int,
    *,
    mean: Rgb = IMAGENET_MEAN,
    std: Rgb = IMAGENET_STD,
    interpolation: str = "bicubic",
    keep_aspect: bool = True,
) -> Preprocess:
    """Return the preprocessing of a row: sides in px; draft JPEG decoding.

    Without ``keep_aspect`` a photo is squashed into a square.
    """
    return Preprocess(
        "draft3", resize, crop, interpolation, mean, std, keep_aspect, shapes=(), both=False
    )
