"""The frozen backbone as an OpenVINO graph."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.core.native import torch
from indexer.imaging.decode import ImageLimits, Photo, decode_photo
from indexer.model.network import Network
from indexer.model.preprocessing import with_look
from indexer.model.torch_runtime import TorchRuntime
from indexer.training import frozen_graph as module
from indexer.training.frozen_graph import WORTH_INPUTS, frozen_graph

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def runtime() -> TorchRuntime:
    return TorchRuntime(Network.frozen("efficientnet_lite0"), device="cpu")


def _photo(seed: int, form: tuple[int, int] = (6, 5)) -> Photo:
    coarse = np.random.default_rng(seed).integers(0, 256, (*form, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.kron(coarse, np.ones((50, 50, 1), np.uint8))).save(file, "PNG")
    return decode_photo(file.getvalue(), limits=ImageLimits())


def test_a_graph_gives_the_networks_own_features(runtime: TorchRuntime) -> None:
    """Many photos take the graph, whose features are torch's as far as they are kept; a few stay
    with torch."""
    quick = frozen_graph([runtime], WORTH_INPUTS)
    assert quick is not None
    photos = [_photo(seed) for seed in range(3)]
    own, found = runtime.extract_features(photos), quick.extract_features(photos)
    assert found.shape == own.shape
    np.testing.assert_allclose(found, own, atol=2e-3)
    assert frozen_graph([runtime], WORTH_INPUTS - 1) is None


@pytest.mark.parametrize("look", ["rect", "both"])
def test_a_graph_gives_the_networks_own_features_of_every_form(
    runtime: TorchRuntime, look: str
) -> None:
    """One graph, reshaped: wide, tall and square photos, each in its place."""
    network = Network(
        runtime.spec.with_preprocess(with_look(runtime.spec.preprocess, look)),
        runtime.network.backbone,
    )
    own = TorchRuntime(network, device="cpu")
    quick = frozen_graph([own], WORTH_INPUTS)
    assert quick is not None
    forms = [(4, 4), (6, 4), (4, 6), (9, 4), (4, 4)]
    photos = [_photo(seed, form) for seed, form in enumerate(forms)]
    np.testing.assert_allclose(
        quick.extract_features(photos), own.extract_features(photos), atol=2e-3
    )


def test_a_graph_that_is_not_the_network_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other features than the network's, or none: torch goes on as before."""
    runtime = TorchRuntime(Network.frozen("efficientnet_lite0"), device="cpu")
    rng = np.random.default_rng(2)

    class OtherGraph:
        streams = 1

        def __init__(self, *_: Any) -> None:
            pass

        def infer_in_stream(self, pixels: np.ndarray) -> np.ndarray:
            return rng.random((len(pixels), runtime.spec.feature_dim), np.float32)

    monkeypatch.setattr(module, "convert", lambda _: None)
    monkeypatch.setattr(module, "Graph", OtherGraph)
    assert frozen_graph([runtime], WORTH_INPUTS) is None
    monkeypatch.setattr(OtherGraph, "infer_in_stream", lambda *_: 1 / 0)
    assert frozen_graph([runtime], WORTH_INPUTS) is None


def test_one_graph_serves_a_backbone_until_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks and calls share the graph of one backbone; other weights get one of their own."""
    network = Network.frozen("efficientnet_lite0")
    looks = [
        TorchRuntime(
            Network(
                network.spec.with_preprocess(with_look(network.spec.preprocess, look)),
                network.backbone,
            ),
            device="cpu",
        )
        for look in ("crop", "whole", "both")
    ]
    made: list[Any] = []
    convert = module.convert
    monkeypatch.setattr(module, "convert", lambda one: made.append(one) or convert(one))
    quick = frozen_graph(looks, WORTH_INPUTS)
    assert quick is not None
    assert frozen_graph(looks[1:2], WORTH_INPUTS) is not None
    assert len(made) == 1
    photo = _photo(1)
    asked: list[np.ndarray] = []
    infer = quick._graph.infer_in_stream
    monkeypatch.setattr(
        quick._graph, "infer_in_stream", lambda pixels: asked.append(pixels) or infer(pixels)
    )
    found = quick.extract(dict.fromkeys(range(3), photo))
    # The middle square of "both" is that of "crop".
    assert len(asked) == 3
    for number, runtime in enumerate(looks):
        own = runtime.extract_features([photo])[0]
        np.testing.assert_allclose(found[number], own, atol=2e-3)
    with torch.no_grad():
        next(iter(network.backbone.parameters())).mul_(0.5)
    changed = frozen_graph(looks[:1], WORTH_INPUTS)
    assert changed is not None
    assert len(made) == 2
    np.testing.assert_allclose(
        changed.extract_features([photo]), looks[0].extract_features([photo]), atol=2e-3
    )
