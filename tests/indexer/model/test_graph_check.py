"""Tests of ``indexer.model.graph_check`` on graphs that no export makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from indexer.core.errors import BadModelError
from indexer.model.graph_check import check_graph, check_graph_files
from indexer.model.network import Network
from indexer.model.open_runtime import open_embedder
from indexer.model.openvino_runtime import openvino

pytestmark = pytest.mark.skipif(openvino() is None, reason="OpenVINO is not installed")

SPEC = replace(Network.frozen_spec("mobilenet_v3_small"), feature_dim=3)


def graph(*, side: int = 224, kind: Any = np.uint8, tiles: int = 1, draws: bool = False) -> Any:
    """Mean colours of a photo, with what a stranger may add."""
    ops = __import__("openvino.opset13", fromlist=["x"])
    photo = ops.parameter([1, side, side, 3], kind)
    pixels = ops.convert(photo, "f32")
    if tiles > 1:
        pixels = ops.reduce_mean(ops.tile(pixels, [tiles, 1, 1, 1]), [0], keep_dims=True)
    if draws:
        noise = ops.random_uniform([1, 1, 1, 3], np.float32(0), np.float32(1), "f32")
        pixels = ops.add(pixels, noise)
    return openvino().Model([ops.reduce_mean(pixels, [1, 2])], [photo])


def test_a_graph_of_photos_to_features_passes() -> None:
    """One photo of bytes in, the features of the spec out."""
    check_graph(graph(), SPEC, where="m")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"side": 4000}, r"takes and gives \[\[1, 4000, 4000, 3\], \[1, 3\]\]"),
        ({"kind": np.float32}, "does not take bytes"),
        ({"tiles": 100_000}, "Tile in its graph gives .* more memory"),
        ({"draws": True}, "RandomUniform, which no exported network"),
    ],
)
def test_a_strangers_graph_is_refused_before_it_is_compiled(
    change: dict[str, Any], words: str
) -> None:
    """Other ends, what repeats or draws, and results without bounds."""
    with pytest.raises(BadModelError, match=words):
        check_graph(graph(**change), SPEC, where="m")


def test_more_weights_than_the_networks_are_refused(tmp_path: Path) -> None:
    """Sizes are compared before the graph is read; a sparse file takes no disk."""
    files = [tmp_path / name for name in ("graph.xml", "graph.bin", "embedding.safetensors")]
    for file in files:
        file.write_bytes(b"x")
    check_graph_files(*files)
    with files[1].open("r+b") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(BadModelError, match="more than the weights"):
        check_graph_files(*files)
    bundle: Any = SimpleNamespace(
        path=tmp_path, spec=SPEC, exported=True, checksums={"graph.xml": "", "graph.bin": ""}
    )
    with pytest.raises(BadModelError, match="more than the weights"):
        open_embedder(bundle, device="cpu")
