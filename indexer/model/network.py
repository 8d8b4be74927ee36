"""Network of backbone, neck and heads: one pass gives the embedding and the logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from indexer.core.native import torch
from indexer.model import backbones
from indexer.model.color_features import ColourStatistics
from indexer.model.numpy_network import HEAD_SCALE
from indexer.model.spec import FORMAT, Block, ModelSpec

nn = torch.nn
functional = torch.nn.functional


def unit(vectors: Any) -> Any:
    """Scale the rows of [N, F] to length 1; a zero row becomes the first axis."""
    length = vectors.norm(dim=1, keepdim=True)
    axis = functional.one_hot(
        torch.zeros(len(vectors), dtype=torch.long, device=vectors.device), vectors.shape[1]
    )
    return torch.where(length > 1e-6, vectors / length.clamp_min(1e-6), axis.to(vectors.dtype))


class Neck(nn.Module):
    """Features [N, F (+ K)] to embedding [N, D] of unit blocks.

    For example [sqrt(w_a) a ; sqrt(w_c) c ; sqrt(w_g) g]. ``g`` (general): centred unit features,
    linearly projected when the model was trained, else the features as they are; no label shapes
    it. ``a`` (article and style): a small MLP on the same features, trained with labels. ``c``
    (colour): a small MLP on the colour statistics [N, K] beside them, trained with the colour
    attribute. ``t`` (text): the unit features as they are, where a text tower shares their space.
    """

    def __init__(self, spec: ModelSpec, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = spec.blocks
        self.features = spec.feature_dim
        width = {block.name: block.dim for block in spec.blocks}
        self.mean: Any
        self.spread: Any
        self.general: Any
        self.projected = width["g"] != spec.feature_dim
        if self.projected:
            self.register_buffer("mean", torch.zeros(spec.feature_dim))
            self.register_buffer("spread", torch.ones(()))
            self.general = nn.Parameter(torch.zeros(width["g"], spec.feature_dim))
        self.article: Any = None
        self.colour: Any = None
        self.colour_mean: Any
        self.colour_spread: Any
        if "a" in width:
            self.article = _mlp(spec.feature_dim, 512, width["a"], dropout)
        if "c" in width:
            self.register_buffer("colour_mean", torch.zeros(spec.colour_width))
            self.register_buffer("colour_spread", torch.ones(spec.colour_width))
            self.colour = _mlp(spec.feature_dim + spec.colour_width, 256, width["c"], dropout)

    def parts(self, features: Any) -> dict[str, Any]:
        """Return block name -> [N, dim] of length sqrt(weight), in the order of the embedding."""
        seen = inputs = unit(features[:, : self.features])
        if self.projected:
            inputs = (inputs - self.mean) / self.spread
        raw = {"g": inputs @ self.general.T if self.projected else inputs, "t": seen}
        if self.article is not None:
            raw["a"] = self.article(inputs)
        if self.colour is not None:
            statistics = (features[:, self.features :] - self.colour_mean) / self.colour_spread
            raw["c"] = self.colour(torch.cat([statistics, inputs], dim=1))
        return {block.name: unit(raw[block.name]) * block.weight**0.5 for block in self.blocks}

    def set_dropout(self, share: float) -> None:
        """Drop ``share`` of the inputs while training."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = share

    def take_general(self, other: Neck) -> None:
        """Copy block g of ``other``: centre, spread and projection."""
        with torch.no_grad():
            for name in ("mean", "spread", "general") if self.projected else ():
                getattr(self, name).copy_(getattr(other, name))

    def forward(self, features: Any) -> Any:
        return torch.cat(list(self.parts(features).values()), dim=1)


def _mlp(width: int, hidden: int, out: int, dropout: float) -> Any:
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, out),
    )


class Heads(nn.Module):
    """Embedding [N, D] to {head: logits [N, C]}.

    One Linear each, so that stored vectors classify without a photo.
    """

    SCALE = HEAD_SCALE

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        # Free text, so not fit for module names.
        self.names = tuple(head.name for head in spec.heads)
        self.linear = nn.ModuleList([nn.Linear(spec.dim, len(head.classes)) for head in spec.heads])
        # A single class has nothing to be told from: 0, against which few-shot rows stand.
        for head, linear in zip(spec.heads, self.linear, strict=True):
            if len(head.classes) == 1 and not head.several:
                for weight in linear.parameters():
                    nn.init.zeros_(weight)

    def forward(self, embedding: Any, only: str | None = None) -> Any:
        """Return the logits of every head by name; with ``only`` the logits of that one."""
        if only is not None:
            return self.linear[self.names.index(only)](embedding * self.SCALE)
        return {
            name: linear(embedding * self.SCALE)
            for name, linear in zip(self.names, self.linear, strict=True)
        }


class Network(nn.Module):
    """The whole model: float32 [N x V, 3, H, W] to (embedding [N, D], {head: logits [N, C]})."""

    def __init__(self, spec: ModelSpec, backbone: Any) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = backbone
        self.colour = ColourStatistics(spec.preprocess, spec.colours)
        self.neck = Neck(spec)
        self.heads = Heads(spec)

    @classmethod
    def empty(cls, spec: ModelSpec) -> Network:
        """Build the right shapes, with weights still to be loaded."""
        return cls(spec, backbones.build(spec.backbone, random=True))

    @classmethod
    def frozen(cls, backbone: str, *, weights: Path | None = None) -> Network:
        """Build the pretrained backbone without heads: its pooled features are the embedding."""
        spec = cls.frozen_spec(backbone, weights=weights)
        return cls(spec, backbones.build(spec.backbone, weights=weights))

    @staticmethod
    def frozen_spec(backbone: str, *, weights: Path | None = None) -> ModelSpec:
        """Return the spec of ``frozen``: its features are block g."""
        found = backbones.find(backbone, weights=weights)
        return ModelSpec(
            format=FORMAT,
            backbone=found.name,
            feature_dim=found.feature_dim,
            numeric="fp32",
            preprocess=found.preprocess,
            blocks=(Block("g", found.feature_dim, 1.0),),
            heads=(),
            colours=1,
        )

    def describe(self, photos: Any) -> Any:
        """Extract pooled features [N, F]; with a colour block [N, F + K], colours behind them.

        ``photos`` [N x V, 3, H, W]: the views of each photo stand together.
        """
        pooled = self.merge_views(self.backbone(photos))
        if self.spec.block("c") is None:
            return pooled
        colours = self.mean_of_views(self.colour(photos))
        return torch.cat([pooled, colours.to(pooled.dtype)], dim=1)

    def merge_views(self, pooled: Any) -> Any:
        """Merge features [N x V, F] to [N, F], as ``preprocessing.merge_views``."""
        if self.spec.preprocess.views == 1:
            return pooled
        return self.mean_of_views(pooled / pooled.norm(dim=1, keepdim=True).clamp_min(1e-6))

    def mean_of_views(self, rows: Any) -> Any:
        """Average [N x V, K] to [N, K]."""
        views = self.spec.preprocess.views
        return rows if views == 1 else rows.reshape(-1, views, rows.shape[1]).mean(dim=1)

    def forward(self, photos: Any) -> tuple[Any, dict[str, Any]]:
        embedding = self.neck(self.describe(photos))
        return embedding, self.heads(embedding)
