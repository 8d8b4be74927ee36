"""Opens a bundle as the runtime that fits the device: OpenVINO, torch or torch.compile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog

from indexer.core.errors import BadRequestError, WeightsUnavailableError
from indexer.model.bundle import EMBEDDING, GRAPH, GRAPH_WEIGHTS, Bundle
from indexer.model.graph_check import check_graph, check_graph_files
from indexer.model.openvino_runtime import (
    HOW,
    PROBE_COSINE,
    PROBES,
    Graph,
    OpenVinoRuntime,
    cosines,
    openvino,
    probe_photos,
    read_graph,
)
from indexer.model.runtime_base import Runtime

if TYPE_CHECKING:
    from indexer.model.torch_runtime import TorchRuntime

log = structlog.get_logger(__name__)

ENGINES = ("auto", "torch", "compiled", "openvino")
# Linux: no GPU that torch knows without one of these.
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


def open_embedder(bundle: Bundle, *, device: str = "auto", engine: str = "auto") -> Runtime:
    """Open the network of ``bundle``, run by ``engine``.

    ``engine`` is ``torch``, ``compiled``, ``openvino`` or ``auto``. ``compiled`` is
    ``torch.compile``, which needs a C++ compiler (on a GPU Triton) and a minute at the start.
    ``auto`` runs an exported bundle as its graph on a processor, all else in torch. Where OpenVINO
    is not installed, or on a GPU, fp32 and bf16 run in torch with the same weights. Int8 is its
    graph: it keeps to the processor unless a GPU is asked for, and raises
    ``WeightsUnavailableError`` there and without OpenVINO. Raises ``BadModelError`` for a graph
    that gives other features here than where it was exported.
    """
    if engine not in ENGINES:
        raise BadRequestError(f"unknown engine {engine!r}: use {', '.join(ENGINES)}")
    numeric = bundle.spec.numeric
    if device == "auto" and (numeric == "int8" or (bundle.exported and without_gpu())):
        # Without asking torch, which need not be loaded for an exported model.
        device = "cpu"
    if device != "cpu":
        from indexer.model.torch_runtime import choose_device

        device = choose_device(device)
    if engine == "openvino" and not bundle.exported:
        raise BadRequestError(
            f"model {bundle.path} holds no graph: make one with catalens model export"
        )
    graph = bundle.exported and engine in ("auto", "openvino") and device == "cpu"
    if graph and (numeric == "int8" or openvino() is not None):
        return _open_graph(bundle)
    if numeric == "int8":
        where = "on a GPU" if device == "cuda" else "in torch"
        raise WeightsUnavailableError(
            f"model {bundle.path} is int8, which does not run {where}: use the model it came from"
        )
    if graph:
        log.warning(
            "OpenVINO is not installed: the network runs in torch, slower",
            model=bundle.path,
            how=HOW,
        )
    from indexer.model.torch_runtime import TorchRuntime

    plain = TorchRuntime(bundle.network(), device=device)
    return _compiled(bundle, plain) if engine == "compiled" else plain


def _open_graph(bundle: Bundle) -> OpenVinoRuntime:
    check_graph_files(bundle.path / GRAPH, bundle.path / GRAPH_WEIGHTS, bundle.path / EMBEDDING)
    model = read_graph(bundle.path / GRAPH)
    check_graph(model, bundle.spec, where=f"model {bundle.path}")
    graph = Graph(model, bundle.spec.numeric)
    if not graph.exact:
        log.warning(
            "this processor has no bfloat16: the network runs in wider numbers, slower",
            model=bundle.path,
        )
    return OpenVinoRuntime(
        bundle.numpy_network(),
        graph,
        bundle.probe_features(),
        name=f"model {bundle.path}",
        digest=f"{bundle.checksums[GRAPH]} {bundle.checksums[GRAPH_WEIGHTS]}",
        whole=bundle.network,
    )


def expected_engine(bundle: Bundle, device: str) -> str:
    """The engine that ``open_embedder`` is going to choose by itself, without loading any."""
    on_processor = device == "cpu" or (device == "auto" and without_gpu())
    return "openvino" if bundle.exported and on_processor else "torch"


def without_gpu() -> bool:
    """Whether this machine surely has no GPU that torch knows; torch is not loaded for it."""
    return sys.platform == "linux" and not any(Path(driver).exists() for driver in _GPU_DRIVERS)


def _compiled(bundle: Bundle, plain: TorchRuntime) -> TorchRuntime:
    """Compile the network; ``plain`` with a warning where that fails or gives other vectors.

    All shapes that it will run are compiled and compared here.
    """
    from indexer.model.torch_runtime import TorchRuntime

    photos = probe_photos(bundle.spec.preprocess)
    try:
        compiled = TorchRuntime(bundle.network(), device=plain.device, compile=True)
        alone = photos[::PROBES]
        found = np.concatenate([compiled.embed(photos), *map(compiled.embed, zip(alone))])
        expected = np.concatenate([plain.embed(photos), plain.embed(alone)])
        least = float(cosines(found, expected).min())
        if least >= PROBE_COSINE[bundle.spec.numeric]:
            return compiled
        reason = f"its vectors differ: cosine {least:.4f}"
    # A missing compiler, an unsupported operation: it raises whatever it likes.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    log.warning(
        "torch.compile cannot be used: the network runs uncompiled",
        model=bundle.path,
        reason=reason,
    )
    return plain
