"""Loss of the recipe ``finetune``: heads, block g against the frozen network, alike photos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from indexer.core.native import torch
from indexer.feeds.dataset import DatasetRow
from indexer.model.network import Network
from indexer.training.contrastive_loss import LabelledMemory
from indexer.training.cpu_kernels import quick_depthwise
from indexer.training.label_loss import labels_loss
from indexer.training.label_targets import LabelTarget
from indexer.training.linear import FittedModel, heads_loss, log_priors, one_hot
from indexer.training.options import FinetuneOptions
from indexer.training.targets import Target

# photos at most among which a changed photo is to find itself
BANK = 4096


class FrozenBank:
    """Blocks g and t of the training photos as the frozen network saw them.

    Block ``g`` learns to find, for a changed photo, the unchanged one among all others, so that it
    keeps what no label names and learns what a camera changes. Block ``t`` stays where it was.
    """

    def __init__(
        self,
        fitted: FittedModel,
        features: np.ndarray,
        rows: Sequence[DatasetRow],
        pool: np.ndarray,
        seed: int,
        device: str,
    ) -> None:
        chosen = pool
        if len(pool) > BANK:
            chosen = np.sort(np.random.default_rng(seed).choice(pool, BANK, replace=False))
        blocks = fitted.blocks(features)
        self.general = torch.from_numpy(blocks["g"]).to(device)  # [N, dim], unit
        # [N, dim], unit; of no width without block t
        joint = blocks.get("t", np.empty((len(features), 0), np.float32))
        self.joint = torch.from_numpy(joint).to(device)
        self.product = torch.from_numpy(product_numbers(rows)).to(device)
        self.others = torch.from_numpy(chosen).to(device)

    def drifts(self, joint: Any, chosen: Any) -> Any:
        """Vectors [B, dim] of block t of changed photos ``chosen`` [B] -> [B], 1 - cosine with that
        of the unchanged photo in the frozen network."""
        return 1 - torch.nn.functional.cosine_similarity(joint, self.joint[chosen], dim=1)

    def losses(self, general: Any, chosen: Any, sharpness: float) -> Any:
        """Unit vectors [B, dim] of changed photos ``chosen`` [B] -> [B], -log of the chance to find
        the unchanged one.

        InfoNCE (van den Oord et al. 2018) against the bank; other photos of the same product are no
        mistake.
        """
        own = (general * self.general[chosen]).sum(1, keepdim=True)
        same = self.product[chosen][:, None] == self.product[self.others][None]
        rest = (general @ self.general[self.others].T).masked_fill(same, -torch.inf)
        scores = torch.cat([own, rest], dim=1) / sharpness
        return torch.logsumexp(scores, dim=1) - scores[:, 0]


def product_numbers(rows: Sequence[DatasetRow]) -> np.ndarray:
    """Number the products of ``rows`` in the order of their first photo: int [N]."""
    number: dict[str, int] = {}
    return np.array([number.setdefault(row.product_id, len(number)) for row in rows], np.int64)


class Objective(torch.nn.Module):
    """Loss of a batch of changed photos: the heads' cross-entropy, InfoNCE for block g, and the
    contrastive losses of the other blocks."""

    def __init__(
        self,
        network: Network,
        targets: Sequence[Target],
        bank: FrozenBank,
        parts: FinetuneOptions,
        pool: np.ndarray,
        size: int = 1,
        labels: Sequence[LabelTarget] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self._targets = targets
        self._several = labels
        self._bank = bank
        self._parts = parts
        # of the team
        self._size = size
        self._priors = log_priors(targets, pool, parts.adjustment)
        weight = next(block.weight for block in network.spec.blocks if block.name == "g")
        self._length = weight**0.5
        self.memory = LabelledMemory(parts.memory)

    def forward(self, photos: Any, batch: np.ndarray, mine: slice, share: float = 1.0) -> Any:
        """``photos``: the changed photos ``batch[mine]``. The mean over all parts is the loss of
        the whole batch.

        With a ``share`` below 1 each photo is mixed with the next one, and so are the labels.
        Photos are contrasted with those of the same part, and those that it remembers.
        """
        device = photos.device
        chosen = batch[mine]
        if share < 1:
            photos = share * photos + (1 - share) * photos.roll(1, 0)
        with lower_precision(device.type):
            seen = self.network.describe(photos)
        blocks = self.network.neck.parts(seen.float())
        truth = [one_hot(target, chosen).to(device) for target in self._targets]
        if share < 1:
            truth = [share * target + (1 - share) * target.roll(1, 0) for target in truth]
        counts = [float((target.labels[batch] >= 0).sum()) / self._size for target in self._targets]
        heads = self.network.heads
        loss = heads_loss(heads, blocks, truth, self._targets, counts=counts, priors=self._priors)
        loss = loss + self._labels_loss(blocks, batch, mine, share)
        if share < 1:  # a mixture is no photo to be found again, and of no one kind
            # DistributedDataParallel wants a part of every parameter in each loss.
            return loss + 0.0 * blocks["g"].sum()
        places = torch.from_numpy(chosen).to(device)
        if self._parts.contrastive.any:
            labels = [
                torch.from_numpy(target.labels[chosen]).to(device) for target in self._targets
            ]
            loss = loss + self._parts.contrastive.loss(
                blocks, self._targets, labels, memory=self.memory
            )
        if self._parts.general:
            kept = self._bank.losses(blocks["g"] / self._length, places, self._parts.sharpness)
            kept = self._parts.general * kept
            if "t" in blocks:
                kept = kept + self._parts.joint * self._bank.drifts(blocks["t"], places)
            return loss + kept.sum() * self._size / len(batch)
        return loss + 0.0 * blocks["g"].sum()

    def _labels_loss(
        self, blocks: Mapping[str, Any], batch: np.ndarray, mine: slice, share: float
    ) -> Any:
        device = next(iter(blocks.values())).device
        truth = [one.truth(batch[mine]).to(device) for one in self._several]
        if share < 1:
            truth = [share * true + (1 - share) * true.roll(1, 0) for true in truth]
        counts = [float(one.weights[batch].sum()) / self._size for one in self._several]
        heads, shaping = self.network.heads, self._parts.shaping
        return labels_loss(heads, blocks, truth, self._several, shaping=shaping, counts=counts)


@contextmanager
def lower_precision(device: str) -> Iterator[None]:
    """Use bfloat16 where the hardware multiplies it, else change nothing."""
    with ExitStack() as stack:
        if device == "cuda":
            # Without the emulation of cards that cannot (T4, V100): it is slower than float32.
            if torch.cuda.is_bf16_supported(including_emulation=False):
                stack.enter_context(torch.autocast("cuda", torch.bfloat16))
        elif getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
            stack.enter_context(torch.autocast("cpu", torch.bfloat16))
            stack.enter_context(quick_depthwise())
        yield
