"""A bundle ready to embed: photos -> unit vectors, vectors -> logits."""

from __future__ import annotations

import structlog

from indexer.errors import BadRequest, WeightsUnavailable
from indexer.model import compiled
from indexer.model.bundle import GRAPH, GRAPH_WEIGHTS, Bundle
from indexer.model.runtime import TorchRuntime, choose_device

log = structlog.get_logger(__name__)


def open_embedder(bundle: Bundle, *, device: str = "auto", engine: str = "auto") -> TorchRuntime:
    """The network of ``bundle``, run by ``engine``: ``torch``, ``openvino`` or ``auto``.

    ``auto`` runs an exported bundle as its graph on a processor, all else in torch. Where OpenVINO is not installed,
    or on a GPU, fp32 and bf16 run in torch with the same weights and int8, which is its graph, raises
    ``WeightsUnavailable``. Raises ``BadModel`` for a graph that gives other features here than where it was exported.
    """
    if engine not in ("auto", "torch", "openvino"):
        raise BadRequest(f"unknown engine {engine!r}: use auto, torch or openvino")
    numeric, device = bundle.spec.numeric, choose_device(device)
    if engine == "openvino" and not bundle.exported:
        raise BadRequest(f"model {bundle.path} holds no graph: make one with catalens model export")
    graph = bundle.exported and engine != "torch" and device == "cpu"
    if graph and (numeric == "int8" or compiled.openvino() is not None):
        model = compiled.read_graph(bundle.path / GRAPH)
        opened = compiled.Graph(model, numeric)
        if not opened.exact:
            log.warning("this processor has no bfloat16: the network runs in wider numbers, slower", model=bundle.path)
        name, digest = f"model {bundle.path}", bundle.checksums[GRAPH_WEIGHTS]
        return compiled.CompiledRuntime(bundle.network(), opened, bundle.probe_features(), name=name, digest=digest)
    if numeric == "int8":
        where = "on a GPU" if device == "cuda" else "in torch"
        raise WeightsUnavailable(f"model {bundle.path} is int8, which does not run {where}: use the model it came from")
    if graph:
        log.warning("OpenVINO is not installed: the network runs in torch, slower", model=bundle.path, how=compiled.HOW)
    return TorchRuntime(bundle.network(), device=device)
