"""The frozen backbone as an OpenVINO graph."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.imaging.decode import ImageLimits, Photo, decode_photo
from indexer.model.network import Network
from indexer.model.preprocessing import with_look
from indexer.model.torch_runtime import TorchRuntime
from indexer.training import frozen_graph
from indexer.training.frozen_graph import WORTH_PHOTOS, FrozenGraph, quicker_extractor

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
    quick = quicker_extractor(runtime, WORTH_PHOTOS)
    assert isinstance(quick, FrozenGraph)
    photos = [_photo(seed) for seed in range(3)]
    own, found = runtime.extract_features(photos), quick.extract_features(photos)
    assert found.shape == own.shape
    np.testing.assert_allclose(found, own, atol=2e-3)
    assert quicker_extractor(runtime, WORTH_PHOTOS - 1) is runtime


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
    quick = quicker_extractor(own, WORTH_PHOTOS)
    assert isinstance(quick, FrozenGraph)
    forms = [(4, 4), (6, 4), (4, 6), (9, 4), (4, 4)]
    photos = [_photo(seed, form) for seed, form in enumerate(forms)]
    np.testing.assert_allclose(
        quick.extract_features(photos), own.extract_features(photos), atol=2e-3
    )


def test_a_graph_that_is_not_the_network_is_not_used(
    runtime: TorchRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other features than the network's, or none: torch goes on as before."""
    rng = np.random.default_rng(2)

    class OtherGraph:
        def __init__(self, *_: Any) -> None:
            pass

        def infer_batch(self, pixels: np.ndarray) -> np.ndarray:
            return rng.random((len(pixels), runtime.spec.feature_dim), np.float32)

    monkeypatch.setattr(frozen_graph, "convert", lambda _: None)
    monkeypatch.setattr(frozen_graph, "Graph", OtherGraph)
    assert quicker_extractor(runtime, WORTH_PHOTOS) is runtime
    monkeypatch.setattr(OtherGraph, "infer_batch", lambda *_: 1 / 0)
    assert quicker_extractor(runtime, WORTH_PHOTOS) is runtime
