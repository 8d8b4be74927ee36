"""Weights are the published ones and never come silently from nowhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.core.errors import BadModelError, BadRequestError, WeightsUnavailableError
from indexer.core.native import torch
from indexer.model import backbones


def test_packaged_weights_give_the_published_network() -> None:
    """The shipped EfficientNet-Lite0 is timm's full network with the package's weights, its
    classifier cut off."""
    timm = pytest.importorskip("timm")
    state = backbones.find("efficientnet_lite0").weights.load("efficientnet_lite0")
    full = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    full.load_state_dict(dict(zip(full.state_dict(), state.values(), strict=True)), strict=True)
    cut = backbones.build("efficientnet_lite0")
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32))
    with torch.inference_mode():
        pooled = full.global_pool(full.forward_features(x))
        np.testing.assert_allclose(cut(x).numpy(), pooled.numpy(), atol=1e-5)
    stem = next(iter(state.values()))
    np.testing.assert_array_equal(cut.conv_stem.weight.detach().numpy(), stem.numpy())


def test_weights_may_be_a_safetensors_file(tmp_path: Path) -> None:
    """The tensors that are in the file are the network's; a pickle by that name is refused."""
    from safetensors.torch import save_file

    torch.manual_seed(5)
    whole = pytest.importorskip("torchvision").models.resnet18(weights=None)
    file = tmp_path / "resnet18.safetensors"
    save_file(whole.state_dict(), file)
    loaded = backbones.build("resnet18", weights=file).state_dict()
    assert set(whole.state_dict()) - set(loaded) == {"fc.weight", "fc.bias"}
    for name, tensor in loaded.items():
        np.testing.assert_array_equal(tensor.numpy(), whole.state_dict()[name].numpy())
    torch.save(whole.state_dict(), file)
    with pytest.raises(
        BadModelError, match=r"resnet18\.safetensors is not a state dict that can be loaded safely"
    ):
        backbones.build("resnet18", weights=file)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    file = tmp_path / "r18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), file)
    with pytest.raises(BadModelError, match="not the weights of mobilenet_v3_small"):
        backbones.build("mobilenet_v3_small", weights=file)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (print, ("pwned",))

    file = tmp_path / "evil.pth"
    file.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(BadModelError, match="state dict"):
        backbones.build("resnet18", weights=file)


def test_a_failed_download_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never silent random weights: the error names the file, the option and a backbone that needs
    no download.

    What torch says while it downloads stays off stdout.
    """

    def offline(*_: object, **__: object) -> None:
        print("Downloading")
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(
        WeightsUnavailableError, match=r"https://.*resnet50.*--weights FILE.*efficientnet_lite0"
    ):
        backbones.build("resnet50")
    assert capsys.readouterr().out == ""


def test_an_unknown_backbone_lists_the_offered_ones() -> None:
    with pytest.raises(BadRequestError, match=r"'resnet5000'.*resnet50"):
        backbones.build("resnet5000")


def test_a_name_is_registered_once() -> None:
    """A second row of one name is refused, so that no model changes its network unseen."""
    with pytest.raises(ValueError, match="'resnet18' is registered already"):
        backbones.register_backbone(backbones.find("resnet18"))
