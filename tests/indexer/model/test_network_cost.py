"""Tests of ``indexer.model.network_cost``: a stranger's name or number takes no memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.core.errors import BadModelError
from indexer.model import backbones, network_cost
from indexer.model.bundle import write_bundle
from indexer.model.decision_layer import Decision
from indexer.model.network import Network
from indexer.model.network_cost import check_network
from tests.indexer.model.test_bundle import make_network


def test_a_name_of_another_network_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tensors are compared one by one with the file's before the network is made."""
    network = make_network(backbone="efficientnet_lite0")
    made = write_bundle(tmp_path / "m", network, Decision(), metrics={}, training={})
    monkeypatch.setattr(Network, "empty", lambda spec: pytest.fail("it was made"))
    other = replace(made, spec=replace(made.spec, backbone="mobilenet_v3_large"))
    with pytest.raises(BadModelError, match="of mobilenet_v3_large is"):
        other.network()


def test_an_input_that_takes_too_much_is_refused() -> None:
    """A spec may ask for 4,096 px; what a photo takes there is counted on shapes alone."""
    found = backbones.find("mobilenet_v3_small")
    stored = make_network().backbone.state_dict()
    own = {name: value for name, value in stored.items() if "num_batches" not in name}
    check_network(found, found.preprocess, own, where="m")
    large = replace(found.preprocess, resize=4096, crop=4096)
    with pytest.raises(BadModelError, match="4096 x 4096 px than any network needs"):
        check_network(backbones.find("convnext_tiny"), large, tensors("convnext_tiny"), where="m")
    cut = {**own, "features.0.0.weight": np.zeros((16, 3, 3, 1))}
    with pytest.raises(BadModelError, match=r"features.0.0.weight is \[16, 3, 3, 1\], not"):
        check_network(found, found.preprocess, cut, where="m")


def test_a_network_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened again, it is compared with its tensors and not run again on shapes; one that is made
    otherwise under the same name, or sees a larger photo, is."""
    found = backbones.find("mobilenet_v3_small")
    own = tensors("mobilenet_v3_small")
    check_network(found, found.preprocess, own, where="m")
    runs: list[object] = []
    real = network_cost._Results
    monkeypatch.setattr(network_cost, "_Results", lambda: runs.append(1) or real())
    check_network(found, found.preprocess, own, where="m")
    assert runs == []
    with pytest.raises(BadModelError, match="is missing"):
        check_network(found, found.preprocess, {}, where="m")
    check_network(found, replace(found.preprocess, resize=320, crop=320), own, where="m")
    assert len(runs) == 1
    other = replace(found, make=lambda: found.make())
    check_network(other, found.preprocess, own, where="m")
    assert len(runs) == 2


def tensors(name: str) -> dict[str, object]:
    return {
        key: value
        for key, value in backbones.find(name).make().state_dict().items()
        if "num_batches" not in key
    }
