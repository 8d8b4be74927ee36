"""Supervised contrastive losses of the blocks, by category, colour and attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from indexer.core.native import torch
from indexer.model.network import unit
from indexer.training.targets import CATEGORY, Target, colour_target

# name of the loss of category and colour at once; no column is called so
_BOTH = "category\ncolour"


class LabelledMemory:
    """Vectors of the last photos with their labels, by name of the loss.

    So a small batch is compared with as many photos as a large one (cross-batch memory, Wang et al.
    2020). ``size``: photos remembered; 0 for none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: dict[str, tuple[Any, Any]] = {}

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

    def recall(self, name: str) -> tuple[Any, Any] | None:
        """Return the vectors [M, dim] and labels [M] of that loss; None of nothing."""
        return self._kept.get(name)

    def remember(self, name: str, vectors: Any, labels: Any) -> None:
        """Add vectors [B, dim] with labels [B]; the oldest are dropped."""
        if not self._size:
            return
        vectors, labels = vectors.detach(), labels.detach()
        if name in self._kept:
            old, known = self._kept[name]
            vectors, labels = torch.cat([old, vectors]), torch.cat([known, labels])
        self._kept[name] = vectors[-self._size :], labels[-self._size :]


@dataclass(frozen=True)
class ContrastiveLosses:
    """Weights of the losses beside the heads' cross-entropy; 0 leaves one out."""

    category: float = 0.5  # in block a
    attributes: float = 0.3  # in block a, of all attributes but colour together
    colour: float = 0.5  # in block c
    both: float = 0.5  # category and colour at once, in the whole embedding, as search compares it
    temperature: float = 0.1
    colour_temperature: float = 0.2  # people disagree on colours: neighbours may be less alike

    @property
    def any(self) -> bool:
        """Whether there is a loss at all."""
        return any((self.category, self.attributes, self.colour, self.both))

    def loss(
        self,
        parts: Mapping[str, Any],
        targets: Sequence[Target],
        labels: Sequence[Any],
        *,
        memory: LabelledMemory | None = None,
    ) -> Any:
        """Compute the loss of blocks {name: [B, dim]} of photos.

        ``labels``: int64 [B] per target, -1 for unknown. Supervised contrastive (Khosla et al.
        2020): every other photo of the batch, and of ``memory``, with the same value is to be
        nearer than those with another one. Of a single value there is no other one, so it has no
        loss.
        """
        memory = memory or LabelledMemory(0)
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
                total = total + weight * _contrast(
                    unit(parts["a"]), values[name], self.temperature, memory, name
                )
        if colour is not None and "c" in parts:
            shades = values[colour.name]
            if self.colour:
                total = total + self.colour * _contrast(
                    unit(parts["c"]), shades, self.colour_temperature, memory, colour.name
                )
            if self.both and CATEGORY in values:
                pairs = values[CATEGORY] * len(colour.values) + shades
                pairs = torch.where((values[CATEGORY] >= 0) & (shades >= 0), pairs, -1)
                whole = torch.cat(
                    [part if name in ("a", "c") else part.detach() for name, part in parts.items()],
                    dim=1,
                )
                total = total + self.both * _contrast(
                    whole, pairs, self.colour_temperature, memory, _BOTH
                )
        return total


def _contrast(
    vectors: Any, labels: Any, temperature: float, memory: LabelledMemory, name: str
) -> Any:
    """Compute the mean loss of the photos that another one has the label of, 0 of none."""
    known = labels >= 0
    vectors, labels = vectors[known], labels[known]
    others, theirs = vectors, labels
    remembered = memory.recall(name)
    if remembered is not None:
        others = torch.cat([vectors, remembered[0]])
        theirs = torch.cat([labels, remembered[1]])
    memory.remember(name, vectors, labels)
    itself = torch.eye(len(vectors), len(others), dtype=torch.bool, device=vectors.device)
    same = (labels[:, None] == theirs[None]) & ~itself
    scores = (vectors @ others.T / temperature).masked_fill(itself, -torch.inf)
    chances = scores - torch.logsumexp(scores, dim=1, keepdim=True)
    count = same.sum(1)
    losses = -torch.where(same, chances, 0.0).sum(1) / count.clamp_min(1)
    taught = count > 0
    return losses[taught].mean() if taught.any() else vectors.sum() * 0.0
