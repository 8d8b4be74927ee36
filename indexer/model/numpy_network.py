"""Neck and heads in numpy: all of a network but its backbone, for processes that do
not load torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import erf

from indexer.core.errors import BadModelError
from indexer.imaging.lab_color import WIDTH
from indexer.model.spec import ModelSpec

# a unit vector's coordinates are tiny; scaled up, the usual learning rates and initialisation fit
HEAD_SCALE = 16.0
_HIDDEN = {"article": 512, "colour": 256}  # widths of the two small MLPs


class NumpyNetwork:
    """What ``network.Neck`` and ``network.Heads`` compute, from the same tensors by the same names.

    ``tensors``: ``neck....`` and ``heads....``, float32; others are passed over. Raises
    ``BadModelError`` where one is missing or does not fit ``spec``. Any thread may call it at any
    time.
    """

    def __init__(
        self, spec: ModelSpec, tensors: Mapping[str, np.ndarray], *, where: str = "the model"
    ) -> None:
        self.spec = spec
        wanted = _shapes(spec)
        for name, shape in wanted.items():
            if name not in tensors:
                raise BadModelError(f"{where}: weights do not fit the spec: {name} is missing")
            if tuple(tensors[name].shape) != shape:
                raise BadModelError(
                    f"{where}: weights do not fit the spec: {name} is {list(tensors[name].shape)}, "
                    f"not {list(shape)}"
                )
        more = [
            name for name in tensors if name.startswith(("neck.", "heads.")) and name not in wanted
        ]
        if more:
            raise BadModelError(f"{where}: weights do not fit the spec: {more[0]} is not known")
        self._of = {name: np.asarray(tensors[name], np.float32) for name in wanted}
        self._heads = {
            head.name: (
                self._of[f"heads.linear.{place}.weight"].T,
                self._of[f"heads.linear.{place}.bias"],
            )
            for place, head in enumerate(spec.heads)
        }

    def neck(self, described: np.ndarray) -> np.ndarray:
        """Described photos float32 [N, F (+ K)] -> unit vectors [N, D]."""
        inputs = _unit(described[:, : self.spec.feature_dim])
        if "neck.general" in self._of:
            inputs = (inputs - self._of["neck.mean"]) / self._of["neck.spread"]
        parts = []
        for block in self.spec.blocks:
            if block.name == "a":
                raw = self._mlp("article", inputs)
            elif block.name == "c":
                statistics = described[:, self.spec.feature_dim :] - self._of["neck.colour_mean"]
                raw = self._mlp(
                    "colour",
                    np.concatenate([statistics / self._of["neck.colour_spread"], inputs], axis=1),
                )
            else:
                raw = inputs @ self._of["neck.general"].T if "neck.general" in self._of else inputs
            parts.append(_unit(raw) * np.float32(block.weight**0.5))
        return np.concatenate(parts, axis=1)

    def logits(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Unit vectors [N, D] -> {head name: float32 [N, C]}."""
        rows = np.asarray(vectors, np.float32) * np.float32(HEAD_SCALE)
        return {name: rows @ weight + bias for name, (weight, bias) in self._heads.items()}

    def _mlp(self, name: str, inputs: np.ndarray) -> np.ndarray:
        first, last = (
            (self._of[f"neck.{name}.{layer}.weight"].T, self._of[f"neck.{name}.{layer}.bias"])
            for layer in (1, 4)
        )
        hidden = inputs @ first[0] + first[1]
        hidden *= 0.5 * (1 + erf(hidden * np.float32(0.5**0.5)))  # GELU
        return np.asarray(hidden @ last[0] + last[1])


def _unit(rows: np.ndarray) -> np.ndarray:
    """As ``network.unit``: a zero row becomes the first axis."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    found = rows / np.maximum(length, np.float32(1e-6))
    nothing = length[:, 0] <= 1e-6
    if nothing.any():
        found[nothing] = np.eye(1, rows.shape[1], dtype=np.float32)
    return np.asarray(found)


def _shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Every tensor of neck and heads with its shape, as ``network.Network`` names them."""
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
            shapes |= {"neck.colour_mean": (WIDTH,), "neck.colour_spread": (WIDTH,)}
            shapes |= _mlp_shapes("colour", features + WIDTH, block.dim)
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
