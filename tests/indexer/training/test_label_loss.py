"""Loss of heads of several labels: what is unknown teaches nothing, rare labels are learned."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from indexer.core.native import torch
from indexer.model import backbones
from indexer.model.network import Heads
from indexer.training import linear
from indexer.training.label_loss import judged_products, label_metrics, labels_loss, start_labels
from indexer.training.label_targets import LabelTarget
from indexer.training.options import Schedule

RNG = np.random.default_rng(0)


def target(
    carried: np.ndarray, known: np.ndarray, product: np.ndarray | None = None
) -> LabelTarget:
    numbers = np.arange(len(carried)) if product is None else product
    names = tuple(f"t{place}" for place in range(carried.shape[1]))
    return LabelTarget("tags", names, csr_matrix(carried.astype(float)), known, numbers)


def test_a_head_starts_at_the_frequency_of_each_label() -> None:
    """And what is unknown counts neither for nor against it."""
    carried = np.zeros((40, 2), bool)
    carried[:10, 0] = True
    known = np.arange(40) < 20
    spec = linear.linear_spec(backbones.find("resnet18"), (), 40, [target(carried, known)])
    heads = Heads(spec)
    start_labels(heads, [target(carried, known)], np.arange(40))
    logits = heads(torch.zeros(1, spec.dim), "tags")
    np.testing.assert_allclose(logits.sigmoid().detach()[0], [10.5 / 21, 0.5 / 21], rtol=1e-5)


def test_the_loss_is_the_binary_cross_entropy_of_known_products() -> None:
    """Checked against torch's own over the known photos, per label that one carries."""
    carried = RNG.random((6, 3)) < 0.5
    carried[:, 0] = True
    known = np.array([True, True, False, True, True, False])
    one = target(carried, known)
    spec = linear.linear_spec(backbones.find("resnet18"), (), 6, [one])
    heads = Heads(spec)
    parts = {block.name: torch.randn(6, block.dim, requires_grad=True) for block in spec.blocks}
    loss = labels_loss(heads, parts, [one.truth(np.arange(6))], [one])
    logits = heads(torch.cat(list(parts.values()), dim=1), "tags")[torch.from_numpy(known)]
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.from_numpy(carried[known]).float(), reduction="sum"
    )
    per_label = carried[known].sum() / known.sum()
    assert abs(float(loss.detach()) - float(wanted.detach()) / known.sum() / per_label) < 1e-5
    loss.backward()
    shaped = {name: part.grad for name, part in parts.items()}
    assert shaped["g"] is None
    assert shaped["a"] is not None
    assert not shaped["a"][torch.from_numpy(~known)].any()


def test_rare_labels_are_learned_from_photos() -> None:
    """Three of a hundred products: the recipe ranks those of a label first, though a tenth of the
    lists are missing."""
    carried = RNG.random((400, 4)) < np.array([0.5, 0.3, 0.1, 0.03])
    features = np.concatenate([carried, RNG.normal(scale=0.3, size=(400, 60))], axis=1)
    known = carried.any(1) | (RNG.random(400) < 0.9)
    train = np.arange(400) < 300
    one = target(carried, known)
    wide = np.concatenate([features, RNG.normal(scale=0.1, size=(400, 448))], axis=1)
    examples = linear.Examples(wide.astype(np.float32), [], train, ~train, labels=[one])
    spec = linear.linear_spec(backbones.find("resnet18"), (), 300, [one])
    fitted = linear.fit(spec, examples, Schedule(20, 4e-3, 64), seed=0)
    found = fitted.history[fitted.best_epoch - 1]["validation_labels"]["tags"]
    assert found > 0.8
    assert fitted.rank is not None


def test_a_product_is_judged_by_all_its_photos() -> None:
    """Their logits count alike, and a product without a list is left out."""
    carried = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], bool)
    one = target(carried, np.array([True, True, True, False]), np.array([0, 0, 1, 2]))
    logits = np.array([[1.0, 0.0], [3.0, 2.0], [0.0, 1.0], [9.0, 9.0]])
    scores, actual = judged_products(logits, one, np.ones(4, bool))
    assert scores.tolist() == [[2.0, 1.0], [0.0, 1.0]]
    assert actual.tolist() == [[True, False], [False, True]]
    assert label_metrics({"tags": logits}, [one], np.ones(4, bool))["tags"] == 0.75
