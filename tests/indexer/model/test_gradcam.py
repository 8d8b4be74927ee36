"""Heat maps lie where the thing is: drawn photos with one shape in a corner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.stats import spearmanr

from indexer.core.errors import BadRequestError
from indexer.core.native import torch
from indexer.imaging.decode import Photo
from indexer.model import backbones
from indexer.model.bundle import load_bundle
from indexer.model.decision_layer import Category, Decision
from indexer.model.gradcam import category_direction, category_map, overlay, pair_maps
from indexer.model.network import Network
from indexer.model.open_runtime import open_embedder
from indexer.model.preprocessing import inner_share, visible_box, with_look
from indexer.model.spec import FORMAT, Block, Head, ModelSpec
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.train import TrainReport

PLACES = ("top left", "top right", "bottom left", "bottom right")


def corner(kind: str, place: str, colour: tuple[int, int, int] = (170, 40, 40)) -> Photo:
    """A small shape in one corner of a plain photo."""
    image = Image.new("RGB", (224, 224), (235, 235, 235))
    pen = ImageDraw.Draw(image)
    left, top = (24 if "left" in place else 124), (24 if "top" in place else 124)
    if kind == "disc":
        pen.ellipse((left, top, left + 76, top + 76), fill=colour)
    else:
        for step in range(0, 76, 14):
            pen.rectangle((left, top + step, left + 76, top + step + 6), fill=colour)
    return Photo(image, "PNG", 224, 224, f"{kind} {place} {colour}")


def mass(heat: np.ndarray, place: str) -> float:
    """Share of the heat in the quarter of the photo that ``place`` names."""
    fine = np.asarray(Image.fromarray(heat).resize((224, 224), Image.Resampling.BILINEAR))
    rows = slice(0, 112) if "top" in place else slice(112, 224)
    columns = slice(0, 112) if "left" in place else slice(112, 224)
    return float(fine[rows, columns].sum() / fine.sum())


@pytest.fixture(scope="module")
def embedder(trained: TrainReport) -> TorchRuntime:
    return open_embedder(load_bundle(Path(trained.model)), device="cpu")


@pytest.fixture(scope="module")
def by_means() -> TorchRuntime:
    """The frozen network with a head made by hand: the mean of a kind's photos less the empty
    photo.

    A head trained on a few drawings may as well say "disc" for what has no edges, and no place
    shows that.
    """
    network = Network.frozen("efficientnet_lite0")
    spec = replace(network.spec, heads=(Head("category", (0, 1), several=False),))
    network = Network(spec, network.backbone)
    runtime = TorchRuntime(network, device="cpu")
    empty = Photo(Image.new("RGB", (224, 224), (235, 235, 235)), "PNG", 224, 224, "empty")
    means = [
        runtime.embed([corner(kind, place, (40, 90, 60)) for place in PLACES]).mean(0)
        - runtime.embed([empty])[0]
        for kind in ("disc", "stripes")
    ]
    with torch.no_grad():
        network.heads.linear[0].weight.copy_(torch.from_numpy(np.stack(means)))
    return runtime


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["disc", "stripes"])
def test_a_category_is_seen_where_its_shape_is(
    by_means: TorchRuntime, kind: str, place: str
) -> None:
    """Most of the heat for the shape's category lies in the corner that holds the shape."""
    decision = Decision(categories=(Category(0, ("disc",)), Category(1, ("stripes",))))
    [category] = [category for category in decision.categories if category.label == kind]
    direction = category_direction(by_means.network, decision, category)
    heat = category_map(by_means.network, by_means.inputs([corner(kind, place)]), direction)
    assert heat.shape == (7, 7)
    assert (heat.min(), heat.max()) == (0.0, 1.0)
    assert mass(heat, place) > 0.5  # a quarter by chance
    assert max(mass(heat, other) for other in PLACES if other != place) < 0.3


@pytest.mark.parametrize("look", ["rect", "both", "both, squashed"])
@pytest.mark.parametrize("place", ["top right", "bottom left"])
@pytest.mark.parametrize("size", [(300, 480), (480, 300)])
def test_the_map_of_a_whole_photo_lies_on_it(
    by_means: TorchRuntime, size: tuple[int, int], place: str, look: str
) -> None:
    """Its grid has the form of what is seen, and the shape at the end of the long side is found
    there: the middle square would not hold all of it."""
    spec = by_means.spec
    shown = with_look(spec.preprocess, look.partition(",")[0])
    shown = replace(shown, keep_aspect="squashed" not in look)
    network = Network(spec.with_preprocess(shown), by_means.network.backbone)
    network.heads.load_state_dict(by_means.network.heads.state_dict())
    runtime = TorchRuntime(network, device="cpu")
    width, height = size
    image = Image.new("RGB", size, (235, 235, 235))
    left, top = width - 110 if "right" in place else 10, height - 110 if "bottom" in place else 10
    image.paste(corner("stripes", "top left").pixels.crop((24, 24, 101, 101)), (left, top))
    photo = Photo(image, "PNG", width, height, place)
    preprocess = runtime.spec.preprocess
    direction = network.heads.linear[0].weight[1].detach().numpy()
    share = inner_share(size, preprocess)
    heat = category_map(network, runtime.inputs([photo]), direction, share=share)
    grid = (8, 6) if height > width else (6, 8)
    assert heat.shape == (grid if look == "rect" else (14, 14))
    assert heat.max() == 1
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    start_x, start_y, end_x, end_y = visible_box(size, preprocess)
    x = start_x + (column + 0.5) * (end_x - start_x) / heat.shape[1]
    y = start_y + (row + 0.5) * (end_y - start_y) / heat.shape[0]
    # the middle view sees but the shape's near end
    slack = {"rect": 10, "both": 50}.get(look, 40)
    assert left - slack < x < left + 77 + slack
    assert top - slack < y < top + 77 + slack


def two_shapes(first: str, second: str) -> Photo:
    """One shape in the top left corner, another one in the bottom right."""
    image = corner(first, "top left").pixels.copy()
    image.paste(
        corner(second, "bottom right", (40, 90, 170)).pixels.crop((112, 112, 224, 224)), (112, 112)
    )
    return Photo(image, "PNG", 224, 224, f"{first} {second}")


@pytest.fixture(scope="module")
def randomised(by_means: TorchRuntime) -> Network:
    """The network with random weights in its backbone, and the head as it was."""
    torch.manual_seed(0)
    network = Network(by_means.spec, backbones.build("efficientnet_lite0", random=True))
    network.heads.load_state_dict(by_means.network.heads.state_dict())
    return network.eval()


def test_of_two_things_the_shared_one_is_warm(by_means: TorchRuntime) -> None:
    """A map that only lies on "not background" would give each of them half."""
    for shared, place, other in (
        ("disc", "top left", "bottom right"),
        ("stripes", "bottom right", "top left"),
    ):
        pair = [two_shapes("disc", "stripes"), corner(shared, "top right", (40, 120, 60))]
        [found] = pair_maps(by_means.network, *(by_means.inputs([photo]) for photo in pair))
        assert mass(found.first, place) > 2 * mass(found.first, other), shared
        assert mass(found.second, "top right") > 0.5, shared


def test_of_two_things_the_asked_kind_is_warm(by_means: TorchRuntime) -> None:
    """Each head row lights its own shape: the maps of two kinds of one photo are unlike."""
    inputs = by_means.inputs([two_shapes("disc", "stripes")])
    rows = by_means.network.heads.linear[0].weight.detach().numpy()
    disc, stripes = (
        category_map(by_means.network, inputs, row - rows.mean(0)) for row in (rows[0], rows[1])
    )
    assert mass(disc, "top left") > 2 * mass(disc, "bottom right")
    assert mass(stripes, "bottom right") > 2 * mass(stripes, "top left")
    assert spearmanr(disc.ravel(), stripes.ravel())[0] < 0.3


def fall(network: Network, photo: Any, direction: np.ndarray, heat: np.ndarray) -> float:
    """How much of a score is lost where the ten warmest of 49 cells are painted as the ground."""
    painted = photo.clone()
    for cell in np.argsort(-heat.ravel(), kind="stable")[:10].tolist():
        top, left = 32 * (cell // 7), 32 * (cell % 7)
        painted[:, :, top : top + 32, left : left + 32] = photo[:, :, :1, :1]
    with torch.no_grad():
        scores = [float(network(one)[0][0].numpy() @ direction) for one in (photo, painted)]
    return scores[0] - scores[1]


def test_painting_over_the_warm_cells_takes_the_score_away(by_means: TorchRuntime) -> None:
    """More than as many cells drawn at random, and more than those around the centre, take of it
    (deletion, Petsiuk et al. 2018): of a kind and of a pair."""
    network, rng = by_means.network, np.random.default_rng(0)
    disc, stripes = network.heads.linear[0].weight.detach().numpy()
    rows, columns = np.mgrid[:7, :7] - 3
    falls: dict[str, list[float]] = {"warm": [], "random": [], "centre": []}
    for place in PLACES:
        photo = by_means.inputs([corner("stripes", place)])
        other = by_means.inputs([corner("stripes", PLACES[PLACES.index(place) - 1])])
        beside = by_means.embed([corner("stripes", PLACES[PLACES.index(place) - 1])])[0]
        for direction, heat in (
            (stripes - disc, category_map(network, photo, stripes - disc)),
            (beside, pair_maps(network, photo, other)[0].first),
        ):
            chosen = {
                "warm": heat,
                "random": rng.random((7, 7)),
                "centre": -np.hypot(rows, columns),
            }
            for name, cells in chosen.items():
                falls[name].append(fall(network, photo, direction, cells))
    warm = np.array(falls["warm"])
    for name in ("random", "centre"):
        lead = warm - np.array(falls[name])
        assert lead[::2].mean() > 0.5 * warm[::2].mean(), name
        assert lead[1::2].mean() > 0.5 * warm[1::2].mean(), name


def test_a_randomised_network_gives_another_map(
    by_means: TorchRuntime, randomised: Network
) -> None:
    """A map that draws the photo's edges would stay (Adebayo et al. 2018): ranks of its cells agree
    no more than by chance, of a category and of a pair."""
    rows = by_means.network.heads.linear[0].weight.detach().numpy()
    pairs = {"category": [], "pair": []}  # type: dict[str, list[float]]
    for number, place in enumerate(PLACES[1:3]):
        shown = by_means.inputs([two_shapes("stripes", "disc")]).roll(
            (17 * number, 11 * number), (2, 3)
        )
        other = by_means.inputs([corner("stripes", place)])
        maps = [
            (category_map(network, shown, rows[1]), pair_maps(network, shown, other)[0].first)
            for network in (by_means.network, randomised)
        ]
        for name, one, again in zip(pairs, *maps, strict=True):
            pairs[name].append(float(spearmanr(one.ravel(), again.ravel())[0]))
    for name, found in pairs.items():
        assert np.mean(found) < 0.4, name


def test_a_pair_is_similar_where_the_same_thing_is(embedder: TorchRuntime) -> None:
    """One shape in two corners: in every block, each photo's heat lies in its own corner."""
    photos = [embedder.inputs([corner("stripes", place)]) for place in ("top left", "bottom right")]
    found = pair_maps(embedder.network, *photos)
    assert [entry.block for entry in found] == [block.name for block in embedder.spec.blocks]
    for entry in found:
        assert mass(entry.first, "top left") > 0.5, entry.block
        assert mass(entry.second, "bottom right") > 0.5, entry.block
    vectors = embedder.embed([corner("stripes", "top left"), corner("stripes", "bottom right")])
    weighted = sum(
        block.weight * entry.cosine
        for block, entry in zip(embedder.spec.blocks, found, strict=True)
    )
    assert weighted == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-4)


def test_a_photo_paired_with_itself_still_shows_what_it_has(embedder: TorchRuntime) -> None:
    """The cosine's own gradient is zero there; the map is not."""
    photo = embedder.inputs([corner("disc", "top right")])
    for entry in pair_maps(embedder.network, photo, photo):
        assert entry.cosine == pytest.approx(1.0, abs=1e-5)
        assert mass(entry.first, "top right") > 0.5, entry.block
        np.testing.assert_allclose(entry.first, entry.second, atol=1e-5)


def test_explaining_changes_nothing(embedder: TorchRuntime) -> None:
    """Embeddings before and after are equal, no hook stays, no gradient is kept."""
    photo = corner("disc", "top left")
    before = embedder.embed([photo])
    batch = embedder.inputs([photo])
    pair_maps(embedder.network, batch, batch)
    np.testing.assert_array_equal(embedder.embed([photo]), before)
    assert all(parameter.grad is None for parameter in embedder.network.parameters())
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in embedder.network.modules()
    )


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "convnext_tiny"])
def test_the_last_feature_map_is_found_in_other_families(name: str) -> None:
    """Random weights: only that there is a map of the network's own grid, finite and in [0, 1]."""
    found = backbones.find(name)
    blocks, heads = (
        (Block("g", found.feature_dim, 1.0),),
        (Head("category", (0, 1), several=False),),
    )
    spec = ModelSpec(FORMAT, name, found.feature_dim, "fp32", found.preprocess, blocks, heads, 1)
    torch.manual_seed(0)
    network = Network.empty(spec).eval()
    direction = np.ones(spec.dim, np.float32)
    heat = category_map(network, torch.rand(1, 3, 224, 224), direction)
    assert heat.shape == (7, 7)
    assert np.isfinite(heat).all()
    assert 0 <= heat.min() <= heat.max() <= 1


@pytest.mark.parametrize(
    ("name", "grid"), [("timm:test_vit", (10, 10)), ("timm:test_mambaout", (5, 5))]
)
def test_maps_of_transformers_and_of_channels_behind_lie_where_the_shape_is(
    name: str, grid: tuple[int, int]
) -> None:
    """A transformer's tokens and a map [1, h, w, C] are laid out as the photo is.

    Weights are random; what speaks for the shape is what it changes of an empty photo.
    """
    torch.manual_seed(0)
    network = Network(Network.frozen_spec(name), backbones.build(name, random=True))
    runtime = TorchRuntime(network, device="cpu")
    empty = Photo(Image.new("RGB", (224, 224), (235, 235, 235)), "PNG", 224, 224, "empty")
    for place in PLACES:
        photo = corner("disc", place)
        direction = runtime.embed([photo])[0] - runtime.embed([empty])[0]
        heat = category_map(network, runtime.inputs([photo]), direction)
        assert heat.shape == grid
        assert mass(heat, place) > 0.5, place
    pair = [runtime.inputs([corner("disc", place)]) for place in ("top left", "bottom right")]
    [found] = pair_maps(network, *pair)
    assert mass(found.first, "top left") > 0.5
    assert mass(found.second, "bottom right") > 0.5


def test_a_network_without_a_map_says_so() -> None:
    """Tokens that no longer lie as the photo does are shown as nothing, not as a wrong map."""
    name = "timm:levit_128s"
    torch.manual_seed(0)
    network = Network(Network.frozen_spec(name), backbones.build(name, random=True))
    with pytest.raises(BadRequestError, match="a LevitDistilled has no map of a photo"):
        category_map(network, torch.rand(1, 3, 224, 224), np.ones(384, np.float32))


def test_the_overlay_glows_where_the_heat_is() -> None:
    heat = np.zeros((7, 7), np.float32)
    heat[1, 1] = 1
    shown = overlay(np.full((70, 70, 3), 128, np.uint8), heat)
    assert shown.shape == (70, 70, 3)
    assert shown[15, 15].astype(int).sum() > shown[60, 60].astype(int).sum() + 100
