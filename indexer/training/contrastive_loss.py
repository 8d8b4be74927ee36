"""Supervised contrastive losses of the blocks, by category, colour and attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from indexer.core.native import torch
from indexer.model.network import unit
from indexer.training.targets import CATEGORY, Target, colour_target


@dataclass(frozen=True)
class ContrastiveLosses:
    """Weights of the losses beside the heads' cross-entropy; 0 leaves one out."""

    category: float = 0.5  # in block a
    attributes: float = 0.3  # in block a, of all attributes but colour together
    colour: float = 0.5  # in block c
    both: float = 0.5  # category and colour at once, in the whole embedding, as search compares it
    temperature: float = 0.1
    colour_temperature: float = 0.2  # people disagree on colours: neighbours may be less alike

    def loss(
        self, parts: Mapping[str, Any], targets: Sequence[Target], labels: Sequence[Any]
    ) -> Any:
        """Compute the loss of blocks {name: [B, dim]} of photos.

        ``labels``: int64 [B] per target, -1 for unknown. Supervised contrastive (Khosla et al.
        2020): every other photo of the batch with the same value is to be nearer than those with
        another one. Of a single value there is no other one, so it has no loss.
        """
        told = [number for number, target in enumerate(targets) if len(target.values) > 1]
        targets, labels = [targets[n] for n in told], [labels[n] for n in told]
        colour = colour_target(targets)
        values = {target.name: own for target, own in zip(targets, labels, strict=True)}
        others = [target for target in targets if target.name != CATEGORY and target is not colour]
        weights = {target.name: self.attributes / len(others) for target in others}
        if CATEGORY in values:
            weights[CATEGORY] = self.category
        total: Any = 0.0
        for name, weight in weights.items():
            if weight:
                total = total + weight * _contrast(unit(parts["a"]), values[name], self.temperature)
        if colour is not None and "c" in parts:
            shades = values[colour.name]
            if self.colour:
                total = total + self.colour * _contrast(
                    unit(parts["c"]), shades, self.colour_temperature
                )
            if self.both and CATEGORY in values:
                pairs = values[CATEGORY] * len(colour.values) + shades
                pairs = torch.where((values[CATEGORY] >= 0) & (shades >= 0), pairs, -1)
                whole = torch.cat(
                    [part if name in ("a", "c") else part.detach() for name, part in parts.items()],
                    dim=1,
                )
                total = total + self.both * _contrast(whole, pairs, self.colour_temperature)
        return total


def _contrast(vectors: Any, labels: Any, temperature: float) -> Any:
    from pytorch_metric_learning.losses import SupConLoss

    known = labels >= 0
    return SupConLoss(temperature=temperature)(vectors[known], labels[known])
