"""Every offered backbone learns, is stored, and takes published weights; all on random weights,
which mean nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.core.atomic_files import sha256_file
from indexer.core.home import Home
from indexer.core.native import torch
from indexer.feeds.importer import import_feed
from indexer.imaging.decode import decode_photo
from indexer.index_build.pipeline import build_index
from indexer.model import backbones
from indexer.model.bundle import load_bundle, write_bundle
from indexer.model.decision_layer import Category, Decision
from indexer.model.gradcam import category_direction, category_map
from indexer.model.network import Network
from indexer.model.open_runtime import open_embedder
from indexer.model.pretrained_weights import TorchvisionWeights
from indexer.model.registry import register_model
from indexer.model.spec import FORMAT, Block, Head, ModelSpec
from indexer.training.export import export
from indexer.training.options import TrainingOptions
from indexer.training.train import train
from service.engine import Engine
from service.query.query import Query
from service.settings import Settings
from tests.indexer.model.pair_folders import NAME as PAIR
from tests.indexer.model.pair_folders import random_pair
from tests.indexer.model.timm_folders import random_folder
from tests.service.pair_home import thing

DECISION = Decision(categories=(Category(0, ("cup",)), Category(1, ("mug",))))
TORCHVISION = {
    name: found.weights.entry
    for name, found in backbones.BACKBONES.items()
    if isinstance(found.weights, TorchvisionWeights)
}
BIG = {"vgg16": pytest.mark.long}  # half a gigabyte of weights


def every(names: Any = backbones.BACKBONES) -> list[Any]:
    return [pytest.param(name, marks=BIG.get(name, ())) for name in names]


def tiny(name: str, count: int = 2) -> Any:
    """A batch at the smallest size the architecture takes, float32 [count, 3, side, side]."""
    side = 75 if name == "inception_v3" else 32
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def settle(network: Any, batch: Any) -> None:
    """Let BatchNorm see the batch: random layers otherwise lose all signal on the way up."""
    network.eval()
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the batch's own statistics
        norm.train()
    with torch.no_grad():
        network(batch)
    network.eval()


def random_model(name: str) -> Network:
    found = backbones.find(name)
    blocks, heads = (
        (Block("a", 24, 0.5), Block("g", 16, 0.5)),
        (Head("category", (0, 1), several=False),),
    )
    spec = ModelSpec(FORMAT, name, found.feature_dim, "fp32", found.preprocess, blocks, heads, 1)
    torch.manual_seed(0)
    network = Network(spec, backbones.build(name, random=True))
    settle(network.backbone, tiny(name, 4))
    with torch.no_grad():
        network.neck.general.normal_()
    return network.eval()


@pytest.mark.parametrize("name", every())
def test_a_backbone_trains_a_step_and_round_trips(name: str, tmp_path: Path) -> None:
    """One step lowers the loss and moves the first and the last layer; the stored folder gives
    equal embeddings.

    Weights are random: this shows that the network learns and is kept, nothing about its quality.
    """
    network, batch, truth = random_model(name), tiny(name), torch.tensor([0, 1])
    layers = [weight for weight in network.backbone.parameters() if weight.ndim > 1]
    before = [layers[0].detach().clone(), layers[-1].detach().clone()]

    def loss() -> Any:
        return torch.nn.functional.cross_entropy(network(batch)[1]["category"], truth)

    optimiser = torch.optim.SGD(network.parameters(), lr=1e-4)
    first = loss()
    first.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)  # random layers are steep
    optimiser.step()
    with torch.inference_mode():
        assert loss() < first.detach()
    for old, new in zip(before, (layers[0], layers[-1]), strict=True):
        assert torch.isfinite(new).all()
        assert not torch.equal(old, new)
    with torch.inference_mode():
        embedding, logits = network(batch)
    written = write_bundle(tmp_path / "model", network, DECISION, metrics={}, training={})
    with torch.inference_mode():
        again, decided = load_bundle(written.path).network()(batch)
    np.testing.assert_array_equal(again.numpy(), embedding.numpy())
    np.testing.assert_array_equal(decided["category"].numpy(), logits["category"].numpy())
    assert np.linalg.norm(again[0].numpy() - again[1].numpy()) > 1e-4


def published(name: str) -> tuple[Any, Callable[[Any], Any]]:
    """The full network as its library makes it, random weights, and its last layer on features."""
    if name in TORCHVISION:
        models = pytest.importorskip("torchvision.models")
        extra = {"transform_input": True, "init_weights": False} if name == "inception_v3" else {}
        whole = getattr(models, name)(weights=None, **extra)
    else:
        whole = pytest.importorskip("timm").create_model(f"tf_{name}", pretrained=False)
    return whole, [module for module in whole.modules() if isinstance(module, torch.nn.Linear)][-1]


@pytest.mark.parametrize("name", every())
def test_a_published_state_dict_gives_the_published_network(name: str, tmp_path: Path) -> None:
    """``--weights FILE`` with a full network's state dict: features under its last layer are its
    own logits.

    The same pixels go in, each normalised as the network wants them. The weights in the file are
    random.
    """
    torch.manual_seed(1)
    whole, last = published(name)
    settle(whole, tiny(name, 4))
    file = tmp_path / f"{name}.pth"
    torch.save(whole.state_dict(), file)
    cut, pixels = backbones.build(name, weights=file), tiny(name).sigmoid()
    ours = backbones.find(name).preprocess
    theirs = (ours.mean, ours.std)
    if name in TORCHVISION:
        theirs = (backbones.IMAGENET_MEAN, backbones.IMAGENET_STD)

    def normalised(mean: Any, std: Any) -> Any:
        return (pixels - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)

    with torch.inference_mode():
        wanted = whole(normalised(*theirs)).numpy()
        features = cut(normalised(ours.mean, ours.std))
        found = last(features).numpy()
    assert features.shape == (2, backbones.find(name).feature_dim)
    assert np.ptp(wanted[0] - wanted[1]) > 0
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("name", TORCHVISION)
def test_photos_are_prepared_as_the_weights_were_published(name: str) -> None:
    """Sizes and interpolation are those of torchvision's own entry for these weights."""
    models = pytest.importorskip("torchvision.models")
    found = backbones.find(name)
    entry = models.get_weight(TORCHVISION[name]).transforms()
    ours = found.preprocess
    assert ([ours.resize], [ours.crop]) == (entry.resize_size, entry.crop_size)
    assert ours.interpolation == entry.interpolation.value
    if (
        name != "inception_v3"
    ):  # there the network itself changes them: see the test of its state dict
        assert (list(ours.mean), list(ours.std)) == (entry.mean, entry.std)


def two_colours(folder: Path) -> Path:
    """Ten photos each of a red and of a blue thing, in class folders.

    Of the size that is shown, so that quick and plain preprocessing give the same pixels: networks
    of random weights make much of little.
    """
    for kind, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (folder / kind).mkdir(parents=True)
        for number in range(10):
            picture = Image.new("RGB", (168, 168), (250, 250, 250))
            picture.paste(
                tuple(value + number for value in colour), (14 + 3 * number, 16, 120, 154)
            )
            picture.save(folder / kind / f"{number}.png")
    return folder


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("timm:test_vit", "finetune"),
        ("timm:test_convnext", "linear"),
        ("timm:test_efficientnet", "linear"),
        (PAIR, "finetune"),
    ],
)
def test_a_network_of_timm_or_open_clip_goes_all_the_way(
    name: str, recipe: str, tmp_path: Path
) -> None:
    """From a folder of random weights: trained, bundled, loaded, exported, explained, indexed, and
    searched by photo and by text, and always the same network.

    Two colours are learnt on random weights too; nothing else is claimed of them.
    """
    if name == PAIR:
        pytest.importorskip("open_clip")
        pytest.importorskip("tokenizers")
    data, folder = weighed_photos(name, tmp_path)
    options = TrainingOptions(
        backbone=name,
        weights=folder,
        recipe=recipe,
        epochs=2,
        batch_size=4,
        device="cpu",
        cache=tmp_path / "cache",
    )
    report = train(data, tmp_path / "model", options)
    bundle = load_bundle(report.model)
    assert bundle.spec.backbone.startswith(name if name == PAIR else f"{name}.r160_in1k")
    # A step does not teach a random transformer of 32 px.
    assert report.validation["accuracy"] == 1.0 or name == PAIR
    (weights,) = folder.glob("*model.safetensors")
    assert bundle.training["weights_origin"]["sha256"] == sha256_file(weights)
    start = backbones.build(bundle.spec.backbone, weights=folder).state_dict()
    now = bundle.network().backbone.state_dict()
    moved = {key for key in start if not torch.equal(start[key], now[key])}
    assert bool(moved) is (recipe == "finetune")
    plain = open_embedder(bundle, device="cpu")
    photos = [decode_photo(file.read_bytes()) for file in sorted(data.rglob("*.png"))]
    vectors = plain.embed(photos)
    exported = export(tmp_path / "model", data, tmp_path / "fast", numeric="fp32")
    served = load_bundle(exported["model"])
    fast = open_embedder(served, device="cpu")
    assert fast.engine == "openvino"
    assert (vectors * fast.embed(photos)).sum(1).mean() > 0.99
    direction = category_direction(plain.network, bundle.decision, bundle.decision.categories[0])
    heat = category_map(plain.network, plain.inputs(photos[:1]), direction)
    assert heat.shape == {"timm:test_vit": (10, 10), PAIR: (4, 4)}.get(name, (5, 5))
    assert np.isfinite(heat).all()
    home = Home.create(tmp_path / "home")
    import_feed(home, data)
    build_index(home, bundle=register_model(home, served.path), activate=True)
    first = sorted(data.rglob("*.png"))[0]
    with Engine(Settings(home=home.path), watch=False) as engine:
        answer = engine.describe(Query(image=first.read_bytes()), k=3).content
        told = engine.search(Query(text="red"), k=8).content
    assert len(answer.results) == 3
    assert answer.results[0].product_id == "blue/0"
    assert {row.product_id.partition("/")[0] for row in told.results} == {"red"}
    asked = ["keywords", "text", "text_t"] if name == PAIR else ["keywords", "text"]
    assert told.text_signals == asked


def weighed_photos(name: str, folder: Path) -> tuple[Path, Path]:
    """Photos of two colours, of the size that the network sees, and its random weights."""
    if name != PAIR:
        architecture = name.removeprefix("timm:")
        return two_colours(folder / "photos"), random_folder(folder / "weights", architecture)
    for colour in ("red", "blue"):
        (folder / "photos" / colour).mkdir(parents=True)
        for number in range(10):
            thing(colour, number).save(folder / "photos" / colour / f"{number}.png")
    random_pair(folder / "weights")
    return folder / "photos", folder / "weights"
