"""Linear recipe: general block, one block for each head, reweighing."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.core.native import torch
from indexer.model import backbones
from indexer.model.network import Heads, Neck
from indexer.training import linear
from indexer.training.block_weights import instance_rate
from indexer.training.contrastive_loss import ContrastiveLosses
from indexer.training.options import ACCURACY, MACRO_F1, NO_CONTRASTIVE, LinearOptions, Schedule
from indexer.training.targets import Target


def test_general_axes_are_the_principal_ones() -> None:
    """The g block keeps the directions of most spread, centred: checked against numpy's SVD."""
    from indexer.core.native import torch
    from indexer.model import backbones
    from indexer.model.network import Neck

    spec = linear.linear_spec(backbones.find("resnet18"), (), 41)
    rng = np.random.default_rng(0)
    features = (np.abs(rng.normal(size=(41, 512))) * np.linspace(3, 0.1, 512)).astype(np.float32)
    neck = Neck(spec)
    linear.fit_statistics(neck, torch.from_numpy(features))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    _, _, axes = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    cosine = np.abs((neck.general.detach().numpy()[:10] * axes[:10]).sum(1))
    np.testing.assert_allclose(cosine, 1.0, atol=1e-3)
    assert neck.general.shape == (40, 512)


def test_a_network_of_few_features_is_centred_too() -> None:
    """With at most 256 features block g is still centred and scaled: two strangers are not alike,
    as they are in plain features."""
    spec = linear.linear_spec(backbones.find("timm:test_vit"), (), 400)
    assert (spec.feature_dim, spec.blocks[0].dim) == (64, 63)
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(400, 64)) + 2).astype(np.float32)
    neck = Neck(spec)
    linear.fit_statistics(neck, torch.from_numpy(features[:300]))
    with torch.inference_mode():
        general = neck(torch.from_numpy(features[300:])).numpy()
    strangers = ~np.eye(100, dtype=bool)
    assert abs((general @ general.T)[strangers].mean()) < 0.05
    plain = features[300:] / np.linalg.norm(features[300:], axis=1, keepdims=True)
    assert (plain @ plain.T)[strangers].mean() > 0.7


def test_general_block_sees_through_what_taking_a_photo_again_changes() -> None:
    """Re-shots differ from their photos in a few strong directions: pressed, each finds its own
    photo again."""
    rng = np.random.default_rng(0)
    photos = np.abs(rng.normal(size=(200, 40))).astype(np.float32) + 1
    change = np.zeros((200, 40), np.float32)
    change[:, :4] = 6 * rng.normal(size=(200, 4))
    again = photos + change
    found = []
    for pairs in (None, linear.Pairs(photos[:100], again[:100])):
        mean, _, axes = linear.general_projection(photos[:100], 30, pairs)
        asked, known = (
            (rows / np.linalg.norm(rows, axis=1, keepdims=True) - mean) @ axes.T
            for rows in (again[100:], photos[100:])
        )
        found.append(instance_rate(asked, known, np.arange(100), np.arange(100)))
    assert found[1] > found[0] + 0.2


def test_only_a_head_s_own_block_learns_from_it() -> None:
    """Colour must not leak into a, nor the category into c or g: a query may re-weigh them."""
    targets = [
        Target("category", ("x", "y"), np.zeros(4, np.int64)),
        Target("colour", ("r", "b"), np.zeros(4, np.int64), colour=True),
    ]
    spec = linear.linear_spec(backbones.find("resnet18"), targets, 100)
    assert [block.name for block in spec.blocks] == ["a", "c", "g"]
    neck, heads = Neck(spec), Heads(spec)
    linear.fit_statistics(neck, torch.rand(40, 512 + spec.colour_width))
    truth = torch.eye(2).repeat(2, 1)
    for only, silent in ((0, neck.colour), (1, neck.article)):
        neck.zero_grad()
        wanted = [truth if number == only else torch.zeros_like(truth) for number in range(2)]
        linear.heads_loss(
            heads, neck.parts(torch.rand(4, 512 + spec.colour_width)), wanted, targets
        ).backward()
        assert all(weight.grad is None or not weight.grad.any() for weight in silent.parameters())
        assert neck.general.grad is None or not neck.general.grad.any()
        loud = neck.article if only == 0 else neck.colour
        assert any(weight.grad is not None and weight.grad.any() for weight in loud.parameters())


def test_reweighing_changes_the_vectors_and_no_logit() -> None:
    targets = [
        Target("category", ("x", "y"), np.zeros(4, np.int64)),
        Target("colour", ("r", "b"), np.zeros(4, np.int64), colour=True),
    ]
    spec = linear.linear_spec(backbones.find("resnet18"), targets, 100)
    torch.manual_seed(0)
    neck, heads = Neck(spec).eval(), Heads(spec)
    fitted = linear.FittedModel(spec, neck, heads, 1.0, 1, [])
    changed = linear.set_block_weights(fitted, {"a": 0.6, "c": 0.15, "g": 0.25})
    features = torch.rand(5, 512 + spec.colour_width)
    with torch.inference_mode():
        before, after = neck(features), changed.neck(features)
        torch.testing.assert_close(heads(before), changed.heads(after), atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(after[:, :192].norm(dim=1).numpy(), 0.6**0.5, rtol=1e-4)
    np.testing.assert_allclose(after.norm(dim=1).numpy(), 1.0, rtol=1e-4)


def test_colours_are_read_of_a_photo_taken_again() -> None:
    """A number that another light changes is not what a colour is told by."""
    rng = np.random.default_rng(0)
    shade = rng.integers(0, 3, 360)
    target = Target("paint", ("r", "g", "b"), shade, colour=True)
    spec = linear.linear_spec(backbones.find("resnet18"), [target], 200)

    def seen(light: np.ndarray) -> np.ndarray:
        features = np.zeros((360, 512 + spec.colour_width), np.float32)
        features[:, :512] = 1 + rng.normal(size=(360, 1)) * np.linspace(-0.2, 0.2, 512)
        features[:, 512:515] = 1.5 * np.eye(3)[light]
        features[:, 520:523] = 1.2 * np.eye(3)[shade]
        features[:, 512:530] += 0.2 * rng.normal(size=(360, 18))
        return features

    photos, again = seen(shade), seen((shade + 1) % 3)
    places = np.arange(100)
    pairs = linear.Pairs(photos[places], again[places], places)
    train = np.arange(360) < 200
    # nobody judges, so the last epoch stays
    examples = linear.Examples(photos, [target], train, np.zeros(360, bool), pairs)
    right = []
    for weight in (0.0, 0.5):
        options = LinearOptions(0.0, ContrastiveLosses(0.0, 0.0, 0.0, 0.0), weight)
        found = linear.fit(spec, examples, Schedule(10, 4e-3, 20), seed=0, options=options)
        with torch.inference_mode():
            logits = found.heads(found.neck(torch.from_numpy(again[200:])))["paint"]
        right.append((logits.argmax(1).numpy() == shade[200:]).mean())

    assert right[1] > right[0] + 0.2


def test_logits_of_an_unequal_catalog_are_adjusted_by_frequency() -> None:
    """Of photos that show nothing, heads learn the frequency of kinds; adjusted, nothing."""
    labels = np.array([0] * 90 + [1] * 10 + [-1] * 5)
    targets = [Target("category", ("shirt", "hat"), labels)]
    pool = np.arange(105)
    assert linear.log_priors(targets, pool, 0.0) is None
    (found,) = linear.log_priors(targets, pool, 1.0) or ()
    np.testing.assert_allclose(found.exp().numpy(), [0.9, 0.1], rtol=1e-5)
    (half,) = linear.log_priors(targets, pool[:90], 0.5) or ()
    np.testing.assert_allclose(half.numpy(), 0.5 * np.log([90 / 91, 1 / 91]), rtol=1e-5)
    spec = linear.linear_spec(backbones.find("resnet18"), targets, 100)
    features = np.ones((105, 512), np.float32)
    examples = linear.Examples(features, targets, labels >= 0, labels >= 0)
    gap = {}
    for share in (0.0, 1.0):
        options = LinearOptions(mixed=0.0, contrastive=NO_CONTRASTIVE, adjustment=share)
        fitted = linear.fit(spec, examples, Schedule(60, 0.01, 100), seed=0, options=options)
        with torch.inference_mode():
            logits = fitted.heads(fitted.neck(torch.from_numpy(features[:1])))["category"][0]
        gap[share] = float(logits[0] - logits[1])
    assert gap[0.0] > 1.0
    assert gap[1.0] == pytest.approx(0.0, abs=0.4)


def test_macro_f1_prefers_the_epoch_that_knows_the_rare_kind() -> None:
    """Nine photos of ten are of one kind: to say it always is right nine times of ten."""
    labels = np.array([0] * 9 + [1])
    target = Target("category", ("common", "rare"), labels)
    everywhere = np.ones(10, bool)
    always = np.tile([[1.0, 0.0]], (10, 1))
    telling = np.where(np.arange(10)[:, None] >= 7, [[0.0, 1.0]], [[1.0, 0.0]])
    entries = [
        linear.validation_metrics({"category": logits}, [target], everywhere)
        for logits in (always, telling)
    ]
    by_accuracy, by_macro = (
        [linear.rank_of(entry, measure) for entry in entries] for measure in (ACCURACY, MACRO_F1)
    )
    assert [rank[0] for rank in by_accuracy if rank] == pytest.approx([0.9, 0.8])
    assert [rank[0] for rank in by_macro if rank] == pytest.approx([9 / 19, (14 / 16 + 0.5) / 2])
