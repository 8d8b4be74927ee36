"""Image towers of open_clip by name: what a name and a folder say, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from indexer.core.errors import BadModelError, BadRequestError, WeightsUnavailableError
from indexer.core.native import torch
from indexer.model import backbones
from indexer.model.hub_weights import HubWeights, fetch
from indexer.model.open_clip_networks import ImageTower
from tests.indexer.model.pair_folders import NAME, SIDE, random_pair

pytest.importorskip("open_clip")
CANONICAL = f"{NAME}?embed_dim=24&head_width=32&image_size=32&layers=2&patch_size=8&width=64"


@pytest.fixture(autouse=True)
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def changed(folder: Path, **changes: Any) -> Path:
    """Change entries of the description of a folder's network."""
    file = folder / "open_clip_config.json"
    found = json.loads(file.read_text())
    for key, value in changes.items():
        part = found["model_cfg"] if key in found["model_cfg"] else found["model_cfg"]["vision_cfg"]
        part[key] = value
    file.write_text(json.dumps(found))
    return folder


def test_a_folder_gives_the_image_tower_of_its_pair(tmp_path: Path) -> None:
    """Features are the published joint space; the name alone builds the same network again."""
    pair = random_pair(tmp_path / "pair")
    found = backbones.find(NAME, weights=tmp_path / "pair")
    assert found.name == CANONICAL
    assert (found.feature_dim, found.joint, found.preprocess.crop) == (24, True, SIDE)
    assert found.preprocess.mean == (0.5, 0.5, 0.5)
    photo = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    for weights in (tmp_path / "pair", tmp_path / "pair" / "open_clip_model.safetensors"):
        tower = backbones.build(NAME, weights=weights)
        with torch.inference_mode():
            assert torch.equal(tower(photo), pair.encode_image(photo))
    again = backbones.build(found.name, random=True)
    assert {key: one.shape for key, one in again.state_dict().items()} == {
        key: one.shape for key, one in tower.state_dict().items()
    }


def test_a_listed_name_says_how_photos_are_prepared_and_where_weights_are() -> None:
    """SigLIP 2 squashes photos to [-1, 1] and has one set of weights, which its name then holds."""
    found = backbones.find("open_clip:ViT-B-16-SigLIP2")
    assert found.name == "open_clip:ViT-B-16-SigLIP2.webli"
    assert (found.feature_dim, found.preprocess.crop) == (768, 224)
    assert (found.preprocess.mean, found.preprocess.keep_aspect) == ((0.5, 0.5, 0.5), False)
    with pytest.raises(WeightsUnavailableError, match=r"catalens model fetch .*tokenizer\.json"):
        backbones.build(found.name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("open_clip:ViT-B-33", r"no network 'ViT-B-33' \(did you mean open_clip:ViT-B-32"),
        ("open_clip:vit-b-32", r"did you mean open_clip:ViT-B-32"),
        ("open_clip:", "no network ''"),
        ("open_clip:coca_ViT-B-32", "no network 'coca_ViT-B-32'"),
        ("open_clip:ViT-B-32.laion", r"no weights 'laion' of ViT-B-32; there are: openai"),
        ("open_clip:ViT-B-32?depth=3", "takes no argument 'depth'; there are: embed_dim"),
        ("open_clip:ViT-B-32?layers=many", "layers='many' is no int"),
        ("open_clip:ViT-B-32?layers=9999", "layers=9999 is not from 1 to 256"),
        ("open_clip:ViT-B-32?width=8", "cannot be built"),
        ("open_clip:RN50?width=32", "has one size: it takes no argument 'width'"),
    ],
)
def test_a_name_that_is_none_says_what_is(name: str, words: str) -> None:
    """Near names, weights, arguments and their bounds are told."""
    with pytest.raises(BadRequestError, match=words):
        backbones.find(name)


def test_several_published_weights_are_listed() -> None:
    """Neither training nor fetching guesses which of them is meant."""
    with pytest.raises(WeightsUnavailableError, match=r"several: name one.*laion2b_s34b_b79k"):
        backbones.build("open_clip:ViT-B-32")
    source = backbones.find("open_clip:ViT-B-32").weights
    assert isinstance(source, HubWeights)
    with pytest.raises(BadRequestError, match=r"to fetch: there are several"):
        fetch(source)


def test_a_folder_of_another_network_is_refused_with_what_differs(tmp_path: Path) -> None:
    """In its description, and in its tensors."""
    random_pair(tmp_path / "pair")
    changed(tmp_path / "pair", pool_type="avg")
    with pytest.raises(BadModelError, match=r"another network.*pool_type is 'avg', not 'tok'"):
        backbones.find(NAME, weights=tmp_path / "pair")
    changed(tmp_path / "pair", pool_type="tok", layers=3)
    with pytest.raises(BadModelError, match=r"not the weights of .*resblocks\.2"):
        backbones.build(NAME, weights=tmp_path / "pair")
    changed(tmp_path / "pair", width=1024, layers=64)
    with pytest.raises(BadModelError, match=r"not the weights of .* which holds"):
        backbones.build(NAME, weights=tmp_path / "pair")
    changed(tmp_path / "pair", vision_cfg="no")
    with pytest.raises(BadModelError, match="describes no image tower"):
        backbones.find(NAME, weights=tmp_path / "pair")


def test_a_pickle_is_refused_by_name(tmp_path: Path) -> None:
    """In a folder and as a file."""
    random_pair(tmp_path / "pair")
    (tmp_path / "pair" / "open_clip_model.safetensors").unlink()
    (tmp_path / "pair" / "open_clip_pytorch_model.bin").write_bytes(b"code")
    with pytest.raises(WeightsUnavailableError, match=r"pytorch_model\.bin, which may hold code"):
        backbones.build(NAME, weights=tmp_path / "pair")
    with pytest.raises(BadModelError, match="may hold code and are not read"):
        backbones.build(NAME, weights=tmp_path / "pair" / "open_clip_pytorch_model.bin")


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("RN50", "visual.conv1.weight", "visual.attnpool.q_proj.weight"),
        (
            "ViT-B-16-SigLIP",
            "visual.trunk.patch_embed.proj.weight",
            "visual.trunk.attn_pool.latent",
        ),
        ("ViT-B-32", "visual.conv1.weight", "visual.proj"),
    ],
)
def test_layers_are_grouped_from_the_input_on(name: str, first: str, last: str) -> None:
    """Towers of open_clip's own and of timm alike: no tensor is left out."""
    from timm.models import group_parameters

    with torch.device("meta"):
        tower = backbones.find(f"open_clip:{name}").make()
    assert isinstance(tower, ImageTower)
    layer = group_parameters(tower, tower.group_matcher(), reverse=True)
    assert set(layer) == {key for key, _ in tower.named_parameters()}
    assert layer[first] == 0
    assert layer[last] == max(layer.values())
