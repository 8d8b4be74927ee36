"""Backbone + neck + heads: one pass gives the embedding (concatenated unit blocks) and the logits."""

from __future__ import annotations

from typing import Any

from indexer.model import backbones
from indexer.model.spec import ModelSpec
from indexer.native import torch

nn = torch.nn
functional = torch.nn.functional


def unit(vectors: Any) -> Any:
    """Rows of [N, F] scaled to length 1; a zero row, which has no direction, becomes the first axis."""
    length = vectors.norm(dim=1, keepdim=True)
    axis = functional.one_hot(torch.zeros(len(vectors), dtype=torch.long, device=vectors.device), vectors.shape[1])
    return torch.where(length > 1e-6, vectors / length.clamp_min(1e-6), axis.to(vectors.dtype))


class Neck(nn.Module):
    """Pooled features [N, F] -> embedding [N, D] = [sqrt(w_a) a ; sqrt(w_g) g], every block a unit vector.

    ``g`` (general): centred unit features, projected by PCA when the model was trained, else the features as they are.
    ``a`` (article and style): a small MLP on the same centred features, trained with labels; absent without labels.
    """

    HIDDEN = 512

    def __init__(self, spec: ModelSpec, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = spec.blocks
        width = {block.name: block.dim for block in spec.blocks}
        self.mean: Any
        self.spread: Any
        self.general: Any
        self.projected = width["g"] != spec.feature_dim
        if self.projected:
            self.register_buffer("mean", torch.zeros(spec.feature_dim))
            self.register_buffer("spread", torch.ones(()))
            self.register_buffer("general", torch.zeros(width["g"], spec.feature_dim))
        self.article: Any = None
        if "a" in width:
            self.article = nn.Sequential(
                nn.Dropout(dropout),
                nn.Linear(spec.feature_dim, self.HIDDEN),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(self.HIDDEN, width["a"]),
            )

    def forward(self, features: Any) -> Any:
        inputs = unit(features)
        if self.projected:
            inputs = (inputs - self.mean) / self.spread
        parts = []
        for block in self.blocks:
            part = self.article(inputs) if block.name == "a" else self._general(inputs)
            parts.append(unit(part) * block.weight**0.5)
        return torch.cat(parts, dim=1)

    def _general(self, inputs: Any) -> Any:
        return inputs @ self.general.T if self.projected else inputs


class Heads(nn.Module):
    """Embedding [N, D] -> {head: logits [N, C]}: one Linear each, so that stored vectors classify without a photo."""

    # A unit vector's coordinates are tiny; scaled up, the usual learning rates and initialisation fit.
    SCALE = 16.0

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.names = tuple(head.name for head in spec.heads)  # free text, so not fit for module names
        self.linear = nn.ModuleList([nn.Linear(spec.dim, len(head.classes)) for head in spec.heads])

    def forward(self, embedding: Any) -> dict[str, Any]:
        return {name: linear(embedding * self.SCALE) for name, linear in zip(self.names, self.linear, strict=True)}


class Network(nn.Module):
    """The whole model. ``forward``: float32 [N, 3, H, W] -> (embedding [N, D], {head: logits [N, C]})."""

    def __init__(self, spec: ModelSpec, backbone: Any) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = backbone
        self.neck = Neck(spec)
        self.heads = Heads(spec)

    @classmethod
    def empty(cls, spec: ModelSpec) -> Network:
        """The right shapes with weights still to be loaded."""
        return cls(spec, backbones.build(spec.backbone, random=True))

    def forward(self, photos: Any) -> tuple[Any, dict[str, Any]]:
        embedding = self.neck(self.backbone(photos))
        return embedding, self.heads(embedding)
