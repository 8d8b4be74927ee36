"""What exported models compute in numpy is what their network computes in torch, from a photo's
pixels on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from indexer.core.errors import BadModelError
from indexer.core.native import torch
from indexer.core.vectors import to_float32
from indexer.model.network import Network, unit
from indexer.model.numpy_network import NumpyNetwork
from indexer.model.spec import Block, ModelSpec
from tests.indexer.model.test_bundle import make_network


def arrays(network: Network) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


@pytest.fixture(scope="module")
def network() -> Network:
    """With every block and a projection, all numbers drawn."""
    torch.manual_seed(0)
    small = make_network()
    spec = replace(
        small.spec, blocks=(Block("a", 24, 0.5), Block("c", 8, 0.2), Block("g", 16, 0.3))
    )
    made = Network(spec, small.backbone).eval()
    for tensor in (*made.neck.parameters(), *made.neck.buffers()):
        with torch.no_grad():
            tensor.uniform_(0.05, 0.2) if tensor.ndim < 2 else tensor.normal_(0, 0.05)
    return made


def described(spec: ModelSpec, count: int = 3) -> np.ndarray:
    width = spec.feature_dim + spec.colour_width
    return np.random.default_rng(1).normal(size=(count, width)).astype(np.float32)


def test_neck_and_heads_give_what_torch_gives(network: Network) -> None:
    rows = described(network.spec)
    plain = NumpyNetwork(network.spec, arrays(network))
    with torch.inference_mode():
        embedding = network.neck(torch.from_numpy(rows))
        logits = network.heads(embedding)
    np.testing.assert_allclose(plain.neck(rows), embedding.numpy(), atol=2e-6)
    for name, values in plain.logits(embedding.numpy()).items():
        np.testing.assert_allclose(values, logits[name].numpy(), atol=1e-4)


def test_a_network_of_the_second_colours_gives_what_torch_gives(network: Network) -> None:
    """Its block c reads 196 numbers more."""
    spec = network.spec.with_colours(2)
    assert spec.colour_width == network.spec.colour_width + 196
    torch.manual_seed(1)
    made = Network(spec, network.backbone).eval()
    rows = described(spec)
    with torch.inference_mode():
        wanted = made.neck(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(NumpyNetwork(spec, arrays(made)).neck(rows), wanted, atol=2e-6)


def test_a_photo_without_features_gets_the_first_axis_as_in_torch(network: Network) -> None:
    rows = np.zeros_like(described(network.spec, 1))
    with torch.inference_mode():
        wanted = network.neck(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(
        NumpyNetwork(network.spec, arrays(network)).neck(rows), wanted, atol=2e-6
    )
    assert float(unit(torch.zeros(1, 4))[0, 0]) == 1.0


@pytest.mark.parametrize(
    ("change", "said"), [("cut", "not"), ("gone", "is missing"), ("more", "is not known")]
)
def test_weights_that_do_not_fit_are_named(network: Network, change: str, said: str) -> None:
    held = arrays(network)
    name = next(key for key in held if key.startswith("neck.") and held[key].ndim == 2)
    if change == "cut":
        held[name] = held[name][:-1]
    elif change == "gone":
        del held[name]
    else:
        name = "neck.extra"
        held[name] = np.zeros(1, np.float32)
    with pytest.raises(
        BadModelError,
        match=f"shop: weights do not fit the spec: {name} "
        f"{'is .*' if change == 'cut' else ''}{said}",
    ):
        NumpyNetwork(network.spec, held, where="shop")


def test_halves_become_the_same_floats_as_numpy_makes() -> None:
    """All 65,536 of them: subnormal, infinite and no numbers too."""
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)].reshape(2, -1)
    assert to_float32(finite).tobytes() == finite.astype(np.float32).tobytes()
    np.testing.assert_array_equal(to_float32(halves), halves.astype(np.float32))
    assert to_float32(halves[:0]).shape == (0,)
