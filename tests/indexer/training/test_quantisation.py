"""Which layers of a graph stay out of int8: by the kind of network, and by what 8 bits blur."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from indexer.core.native import torch
from indexer.model import backbones
from indexer.model.network import Network
from indexer.model.openvino_runtime import Graph, convert, cosines, openvino
from indexer.training import quantisation
from indexer.training.quantisation import layers_by_noise, quantised_graphs

pytestmark = pytest.mark.skipif(
    openvino() is None, reason="OpenVINO is not installed (the extra openvino)"
)


def graph_of(name: str) -> tuple[Any, np.ndarray]:
    """A network of random weights as a graph, and drawings uint8 [8, S, S, 3]."""
    torch.manual_seed(0)
    network = Network(Network.frozen_spec(name), backbones.build(name, random=True)).eval()
    side = network.spec.preprocess.crop
    coarse = np.random.default_rng(0).integers(0, 256, (8, 10, 10, 3), np.uint8)
    return convert(network), coarse.repeat(side // 10, 1).repeat(side // 10, 2)


def test_a_layer_after_a_feature_far_beyond_the_others_is_blurred_most() -> None:
    """One feature a thousand times the others leaves these none of the 255 steps."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(8, 8, bias=False) for _ in range(3)]
    with torch.no_grad():
        layers[1].weight[3] *= 1000
        layers[2].weight[:, 3] /= 1000

    class Chain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList(layers)

        def forward(self, pixels: Any) -> Any:
            found = pixels.float()
            for layer in self.layers:
                found = layer(found)
            return found

    example = torch.zeros(1, 8, dtype=torch.uint8)
    model = openvino().convert_model(Chain(), example_input=example, input=[1, 8])
    photos = np.random.default_rng(0).integers(0, 256, (6, 8), np.uint8)
    order = layers_by_noise(model, photos)
    assert len(order) == 3
    assert "layers.2" in order[0]


@pytest.mark.parametrize(
    ("name", "transformer", "key"),
    [
        ("timm:test_vit", True, "noisiest_layers_left_out"),
        ("timm:test_convnext", False, "noisiest_layers_left_out"),
        ("timm:test_efficientnet", None, "convolutions_left_out"),
    ],
)
def test_each_kind_of_network_has_its_own_rule(
    name: str, transformer: bool | None, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transformer is quantised as one; convolutions with BatchNorm leave out those nearest to the
    photo. NNCF itself is stood in for."""
    asked: list[tuple[list[str], bool]] = []

    def stand_in(model: Any, _: Any, left_out: list[str], *, transformer: bool) -> Any:
        asked.append((left_out, transformer))
        return model

    monkeypatch.setattr(quantisation, "_quantised", stand_in)
    graph, pixels = graph_of(name)
    found = list(quantised_graphs(graph, pixels))
    assert all(list(entry.left_out) == [key] for entry in found)
    assert {kind for _, kind in asked} == {bool(transformer)}
    if transformer is None:
        counts = [len(names) for names, _ in asked]
        assert counts == [3, 8]
        assert asked[0][0] == asked[1][0][:3]
        assert "conv_stem" in asked[0][0][0] or "Multiply" in asked[0][0][0]
    else:
        assert asked[0][0] == []


@pytest.mark.long
def test_a_transformer_in_int8_gives_nearly_its_own_features() -> None:
    """By NNCF itself; more layers left out come no further away."""
    graph, pixels = graph_of("timm:test_vit")
    plain = Graph(graph, "fp32").infer_batch(pixels)
    found = [
        float(cosines(Graph(entry.model, "int8").infer_batch(pixels), plain).mean())
        for entry in quantised_graphs(graph, pixels)
    ]
    assert min(found) > 0.998
    assert found[-1] >= found[0] - 1e-4
