"""Any network of timm is a backbone by its name; its own preprocessing and weights, or a refusal
that says why.

All weights here are random: they show that a network is built and filled, nothing of its quality.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from indexer.core.errors import BadModelError, BadRequestError, WeightsUnavailableError
from indexer.core.native import torch
from indexer.model import backbones
from tests.indexer.model.timm_folders import random_folder

TINY = {"test_vit": 64, "test_convnext": 64, "test_efficientnet": 256}


@pytest.fixture(autouse=True)
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights of the hub on this machine."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize("name", TINY)
def test_a_folder_gives_the_network_that_timm_itself_builds_of_it(
    name: str, tmp_path: Path
) -> None:
    """Pooled features of the folder's weights are those of timm's whole network before its
    classifier; width and preprocessing are its own."""
    import timm

    folder = random_folder(tmp_path / name, name)
    found = backbones.find(f"timm:{name}", weights=folder)
    assert found.name == f"timm:{name}.r160_in1k"
    assert (found.feature_dim, found.preprocess.crop, found.preprocess.resize) == (
        TINY[name],
        160,
        168,
    )
    whole = timm.create_model(name, pretrained=False).eval()
    timm.models.load_checkpoint(whole, str(folder / "model.safetensors"))
    cut = backbones.build(found.name, weights=folder)
    photos = torch.rand(2, 3, 160, 160)
    with torch.inference_mode():
        wanted = whole.forward_head(whole.forward_features(photos), pre_logits=True)
        np.testing.assert_allclose(cut(photos).numpy(), wanted.numpy(), atol=1e-5)


def test_a_name_with_arguments_is_canonical_and_changes_the_network(tmp_path: Path) -> None:
    """One network has one name; position embeddings are brought to the size asked for."""
    folder = random_folder(tmp_path / "vit", "test_vit")
    assert backbones.find("timm:test_vit?pool=avg").name == (
        "timm:test_vit.r160_in1k?global_pool=avg"
    )
    found = backbones.find("timm:timm/test_vit?img_size=96&drop_path_rate=.10")
    assert found.name == "timm:test_vit.r160_in1k?drop_path_rate=0.1&img_size=96"
    assert backbones.find(found.name) is found
    assert (found.preprocess.crop, found.preprocess.resize) == (96, 101)
    small = backbones.build(found.name, weights=folder)
    assert (
        small.pos_embed.shape[1] < backbones.build("timm:test_vit", random=True).pos_embed.shape[1]
    )
    assert small(torch.zeros(1, 3, 96, 96)).shape == (1, 64)


def test_what_a_folder_says_of_preprocessing_goes_before_the_registry(tmp_path: Path) -> None:
    """Mean, crop and squashing of ``config.json`` are in the row; its arguments in the name."""
    folder = random_folder(
        tmp_path / "m", "test_convnext", mean=[0.1, 0.2, 0.3], crop_pct=0.8, crop_mode="squash"
    )
    seen = backbones.find("timm:test_convnext", weights=folder).preprocess
    assert (seen.mean, seen.resize, seen.keep_aspect) == ((0.1, 0.2, 0.3), 200, False)
    config = json.loads((folder / "config.json").read_text())
    config["model_args"] = {"drop_path_rate": 0.1, "num_classes": 7}
    (folder / "config.json").write_text(json.dumps(config))
    assert backbones.find("timm:test_convnext", weights=folder).name.endswith("?drop_path_rate=0.1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"interpolation": "lanczos"}, "interpolation 'lanczos'"),
        ({"crop_mode": "border"}, "crop_mode 'border'"),
        ({"input_size": [1, 160, 160]}, "1 channels"),
        ({"input_size": [3, 160, 320]}, "160 x 320 px"),
        ({"std": [0.2, 0, 0.2]}, "no numbers to divide by"),
        ({"crop_pct": 1e-9}, "resize and crop must be 1 to"),
        ({"input_size": [3, 10**9, 10**9]}, "resize and crop must be 1 to"),
    ],
)
def test_preprocessing_that_cannot_be_had_is_refused_by_name(
    changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    """Never silently another preprocessing than the weights were made for."""
    folder = random_folder(tmp_path / "m", "test_convnext", **changes)
    with pytest.raises(BadRequestError, match=words):
        backbones.find("timm:test_convnext", weights=folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:convnext_nanoo", r"no network 'convnext_nanoo'.*timm:convnext_nano"),
        ("timm:test_vit.laion", r"no weights 'laion' of test_vit; there are: r160_in1k"),
        ("timm:test_vit?pretrained=true", "takes no argument 'pretrained'"),
        ("timm:test_vit?img_size=large", "img_size='large' is no int"),
        ("timm:test_vit?img_size=9999", "img_size=9999 is not from 16 to 2048"),
        ("timm:test_convnext?reg_tokens=4", "cannot be built.*reg_tokens"),
        ("timm:test_vit?pool=", "not one row of features"),
        ("timm:test_vit?patch_size=0", "cannot be built: .*zero"),
        ("timm:test_vit?window_size=1000000", "window_size=1000000 is not from 2 to 128"),
        ("timm:test_vit?drop_path_rate=nan", "drop_path_rate=nan is not from 0 to 1"),
        ("convnext_nano", r"unknown backbone 'convnext_nano'.*timm:convnext_nano"),
    ],
)
def test_a_name_that_is_none_says_what_is(name: str, words: str) -> None:
    """Networks, tags and arguments that do not exist are named, with near ones."""
    with pytest.raises(BadRequestError, match=words):
        backbones.find(name)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"pretrained_cfg": {"mean": [0.5]}}, r"mean of its config\.json is \[0\.5\], not three"),
        ({"pretrained_cfg": {"std": [[1], {}, "x"]}}, "std of its .* not three numbers"),
        ({"pretrained_cfg": {"crop_pct": "x"}}, "crop_pct of its .* not a number"),
        ({"pretrained_cfg": {"input_size": [3, 2.5, 2.5]}}, "input_size of its .* not channels"),
        ({"pretrained_cfg": {"interpolation": {}}}, "interpolation of its .* not a word"),
        ({"model_args": "x"}, "model_args of its .* no object"),
        ({"model_args": {"img_size": [{}, {}]}}, "img_size={} is no int"),
        ({"model_args": {"img_size": float("inf")}}, "Infinity in it is no finite number"),
        ({"model_args": {"patch_size": 0}}, "cannot be built"),
    ],
)
def test_a_strangers_description_is_refused_in_words(
    config: dict[str, object], words: str, tmp_path: Path
) -> None:
    """Whatever stands in a ``config.json``: never a traceback."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises((BadModelError, BadRequestError), match=words):
        backbones.find("timm:test_vit", weights=tmp_path)


def test_a_description_takes_no_more_memory_than_its_weights(tmp_path: Path) -> None:
    """A number in a ``config.json`` can ask for a network of any size; it is compared with the
    weights before any of it is made."""
    folder = random_folder(tmp_path / "m", "test_vit")
    config = json.loads((folder / "config.json").read_text())
    config["model_args"] = {"reg_tokens": 4_000_000}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadModelError, match=r"holds 512,\d+,\d+ numbers: these are \d{3},\d{3}$"):
        backbones.build("timm:test_vit", weights=folder)


def test_weights_of_another_network_are_refused_with_what_differs(tmp_path: Path) -> None:
    """By the folder's own description, else by the first tensor that does not fit."""
    folder = random_folder(tmp_path / "m", "test_convnext")
    with pytest.raises(BadModelError, match=r"holds a test_convnext, not a test_vit.*--backbone"):
        backbones.build("timm:test_vit", weights=folder)
    with pytest.raises(BadModelError, match=r"not the weights of timm:test_vit.* unknown \(first"):
        backbones.build("timm:test_vit", weights=folder / "model.safetensors")
    wider = random_folder(tmp_path / "w", "test_vit3")
    with pytest.raises(BadModelError, match=r"is \[.*96.*\], not \[.*64.*\]"):
        backbones.build("timm:test_vit", weights=wider / "model.safetensors")


def test_a_pickle_is_refused_by_name(tmp_path: Path) -> None:
    """Also one that holds tensors alone, also in a folder without safetensors."""
    folder = random_folder(tmp_path / "m", "test_vit")
    (folder / "model.safetensors").unlink()
    network = backbones.build("timm:test_vit", random=True)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(BadModelError, match=r"pytorch_model\.bin is no safetensors file"):
        backbones.build("timm:test_vit", weights=folder / "pytorch_model.bin")
    with pytest.raises(WeightsUnavailableError, match=r"no model\.safetensors.*pytorch_model\.bin"):
        backbones.build("timm:test_vit", weights=folder)


def test_absent_weights_say_what_to_fetch_and_where_to_put_it() -> None:
    """Nothing is downloaded and nothing is random."""
    with pytest.raises(
        WeightsUnavailableError,
        match=r"catalens model fetch timm:test_vit\.r160_in1k.*config\.json and model\.safetensors"
        r".*timm/test_vit\.r160_in1k.*--weights DIR",
    ):
        backbones.build("timm:test_vit")
    with pytest.raises(WeightsUnavailableError, match="timm knows no published ones"):
        backbones.build("timm:test_mambaout")


@pytest.mark.parametrize(
    ("name", "any_shape", "stride"),
    [
        ("timm:test_vit", True, 16),
        ("timm:test_convnext", True, 32),
        ("timm:vit_small_patch14_dinov2", True, 14),
        ("timm:beitv2_base_patch16_224", False, 16),
        ("timm:mixer_s32_224", False, 32),
        ("efficientnet_lite0", True, 32),
    ],
)
def test_a_row_says_which_photos_the_network_takes(name: str, any_shape: bool, stride: int) -> None:
    """Found by trying on shapes alone, without memory for weights."""
    found = backbones.find(name)
    assert (found.any_shape, found.stride) == (any_shape, stride)
