"""Neck and heads in numpy, for processes that do not load torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import erf

from indexer.core.errors import BadModelError
from indexer.model.spec import ModelSpec

# A unit vector's coordinates are tiny; scaled up, the usual learning rates and initialisation fit.
HEAD_SCALE = 16.0
# Widths of the two small MLPs.
_HIDDEN = {"article": 512, "colour": 256}


class NumpyNetwork:
    """The same functions as ``network.Neck`` and ``network.Heads``, from the same tensors.

    ``tensors``: ``neck....`` and ``heads....``, float32; others are passed over. Raises
    ``BadModelError`` where one is missing or does not fit ``spec``. Any thread may call it at any
    time.
    """

    def __init__(
        self, spec: ModelSpec, tensors: Mapping[str, np.ndarray], *, where: str = "the model"
    ) -> None:
        self.spec = spec
        shapes = check_tensors(spec, tensors, where=where)
        self._tensors = {name: np.asarray(tensors[name], np.float32) for name in shapes}
        self._heads = {
            head.name: (
                self._tensors[f"heads.linear.{place}.weight"].T,
                self._tensors[f"heads.linear.{place}.bias"],
            )
            for place, head in enumerate(spec.heads)
        }

    def neck(self, features: np.ndarray) -> np.ndarray:
        """Map features float32 [N, F (+ K)] to unit vectors [N, D]."""
        tensors = self._tensors
        seen = inputs = _unit(features[:, : self.spec.feature_dim])
        if "neck.general" in tensors:
            inputs = (inputs - tensors["neck.mean"]) / tensors["neck.spread"]
        parts = []
        for block in self.spec.blocks:
            if block.name == "a":
                raw = self._mlp("article", inputs)
            elif block.name == "c":
                statistics = features[:, self.spec.feature_dim :] - tensors["neck.colour_mean"]
                statistics = statistics / tensors["neck.colour_spread"]
                raw = self._mlp("colour", np.concatenate([statistics, inputs], axis=1))
            elif block.name == "t":
                raw = seen
            elif "neck.general" in tensors:
                raw = inputs @ tensors["neck.general"].T
            else:
                raw = inputs
            parts.append(_unit(raw) * np.float32(block.weight**0.5))
        return np.concatenate(parts, axis=1)

    def logits(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Map unit vectors [N, D] to {head name: float32 [N, C]}."""
        rows = np.asarray(vectors, np.float32) * np.float32(HEAD_SCALE)
        return {name: rows @ weight + bias for name, (weight, bias) in self._heads.items()}

    def _mlp(self, name: str, inputs: np.ndarray) -> np.ndarray:
        tensors = self._tensors
        hidden = inputs @ tensors[f"neck.{name}.1.weight"].T + tensors[f"neck.{name}.1.bias"]
        hidden *= 0.5 * (1 + erf(hidden * np.float32(0.5**0.5)))  # GELU
        out = hidden @ tensors[f"neck.{name}.4.weight"].T + tensors[f"neck.{name}.4.bias"]
        return np.asarray(out)


def check_tensors(
    spec: ModelSpec, tensors: Mapping[str, np.ndarray], *, where: str
) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors of neck and heads, which ``tensors`` has.

    A spec takes memory by its numbers, and so is asked about before a network is made of it. Raises
    ``BadModelError``.
    """
    shapes = _shapes(spec)
    for name, shape in shapes.items():
        if name not in tensors:
            raise BadModelError(f"{where}: weights do not fit the spec: {name} is missing")
        if tuple(tensors[name].shape) != shape:
            raise BadModelError(
                f"{where}: weights do not fit the spec: {name} is {list(tensors[name].shape)}, "
                f"not {list(shape)}"
            )
    for name, tensor in tensors.items():
        if name.startswith(("neck.", "heads.")) and name not in shapes:
            raise BadModelError(f"{where}: weights do not fit the spec: {name} is not known")
        if name in shapes and tensor.dtype.kind != "f":
            raise BadModelError(f"{where}: weights do not fit the spec: {name} is {tensor.dtype}")
        # Of a backbone some are whole numbers.
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise BadModelError(f"{where}: {name!a} holds what is no finite number")
    return shapes


def _unit(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length 1, as ``network.unit``: a zero row becomes the first axis."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    found = rows / np.maximum(length, np.float32(1e-6))
    nothing = length[:, 0] <= 1e-6
    if nothing.any():
        found[nothing] = np.eye(1, rows.shape[1], dtype=np.float32)
    return np.asarray(found)


def _shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """List every tensor of neck and heads with its shape, as ``network.Network`` names them."""
    features = spec.feature_dim
    shapes: dict[str, tuple[int, ...]] = {}
    for block in spec.blocks:
        if block.name == "g" and block.dim != features:
            shapes |= {
                "neck.mean": (features,),
                "neck.spread": (),
                "neck.general": (block.dim, features),
            }
        if block.name == "c":
            width = spec.colour_width
            shapes |= {"neck.colour_mean": (width,), "neck.colour_spread": (width,)}
            shapes |= _mlp_shapes("colour", features + width, block.dim)
        if block.name == "a":
            shapes |= _mlp_shapes("article", features, block.dim)
    for place, head in enumerate(spec.heads):
        shapes |= {f"heads.linear.{place}.weight": (len(head.classes), spec.dim)}
        shapes |= {f"heads.linear.{place}.bias": (len(head.classes),)}
    return shapes


def _mlp_shapes(name: str, width: int, out: int) -> dict[str, tuple[int, ...]]:
    hidden = _HIDDEN[name]
    return {
        f"neck.{name}.1.weight": (hidden, width),
        f"neck.{name}.1.bias": (hidden,),
        f"neck.{name}.4.weight": (out, hidden),
        f"neck.{name}.4.bias": (out,),
    }
