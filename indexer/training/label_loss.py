"""Loss and validation figures of heads of which several labels may be true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from indexer.core.native import torch
from indexer.model.network import Heads
from indexer.training.label_targets import LabelTarget
from indexer.training.metrics import tag_map
from indexer.training.sampling import sample_indices

functional = torch.nn.functional
# Labels of a head that an epoch is judged by.
_JUDGED = 300
# Pairs of product and label that are judged at once: 160 MB.
_PAIRS = 20_000_000


def start_labels(heads: Heads, labels: Sequence[LabelTarget], pool: np.ndarray) -> None:
    """Start each label at its frequency among the training photos ``pool``: rare ones have their
    bias from the first step on, and learn what photos say beside it (Lin et al. 2017, 4.1)."""
    for target in labels:
        weights = target.weights[pool]
        carried = np.asarray(target.carried[pool].T @ weights).ravel()
        share = (carried + 0.5) / (weights.sum() + 1)
        linear: Any = heads.linear[heads.names.index(target.name)]
        with torch.no_grad():
            linear.weight.zero_()
            linear.bias.copy_(torch.from_numpy(np.log(share / (1 - share))))


def labels_loss(
    heads: Heads,
    parts: Mapping[str, Any],
    truth: Sequence[Any],
    labels: Sequence[LabelTarget],
    *,
    shaping: float = 1.0,
    counts: Sequence[float] | None = None,
) -> Any:
    """Sum the binary cross-entropy of the heads on ``truth`` (``LabelTarget.truth``, [B, L + 1]).

    Each head's is the mean over its known products, per label that a product carries, so that it
    weighs as another head's whatever the number of labels; ``counts`` are those products where B is
    a part of a batch only. Block a learns the share ``shaping`` of it, the others nothing.
    """
    total: Any = 0.0
    if not labels:
        return total
    own = {name: part if name == "a" else part.detach() for name, part in parts.items()}
    if "a" in own and shaping < 1:
        own["a"] = shaping * own["a"] + (1 - shaping) * own["a"].detach()
    embedding = torch.cat(list(own.values()), dim=1)
    for number, (target, true) in enumerate(zip(labels, truth, strict=True)):
        hot, weight = true[:, :-1], true[:, -1:]
        logits = heads(embedding, target.name)
        losses = (weight * functional.softplus(logits) - hot * logits).sum()
        known = float(weight.sum()) if counts is None else counts[number]
        total = total + losses / max(known * target.mean_labels, 1e-6)
    return total


def label_metrics(
    logits: Mapping[str, np.ndarray], labels: Sequence[LabelTarget], validation_mask: np.ndarray
) -> dict[str, float]:
    """Mean average precision over the labels of each head, by validation products that have a
    list; of many labels a draw. Heads without such a product are left out."""
    found = {}
    for target in labels:
        scores, actual = judged_products(logits[target.name], target, validation_mask)
        drawn = sample_indices(np.asarray(actual.any(0)), _JUDGED)
        value = tag_map(actual[:, drawn], scores[:, drawn])
        if value is not None:
            found[target.name] = value
    return found


def judged_products(
    logits: np.ndarray, target: LabelTarget, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean logits [P, L] and labels bool [P, L] of the products whose photos ``mask`` marks.

    ``logits`` [n, L] are of those photos. Photos of one product count alike, as when it is asked.
    Of many products and labels it is a draw of the products.
    """
    places = np.flatnonzero(mask)
    known = target.known[places]
    names = np.unique(target.product[places[known]])
    limit = max(_PAIRS // max(len(target.values), 1), 1)
    drawn = names[sample_indices(np.ones(len(names), bool), limit)]
    known &= np.isin(target.product[places], drawn)
    places = places[known]
    _, first, number = np.unique(target.product[places], return_index=True, return_inverse=True)
    together = np.zeros((len(first), logits.shape[1]))
    np.add.at(together, number, logits[known])
    together /= np.bincount(number, minlength=len(first))[:, None]
    return together, target.carried[places[first]].toarray() > 0
