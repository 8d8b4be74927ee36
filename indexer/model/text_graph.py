"""Text tower of a pair as an OpenVINO graph: made at an export, run without torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.core.errors import BadModelError, NotAlikeError
from indexer.core.native import THREADS
from indexer.model.bundle import (
    TEXT,
    TEXT_GRAPH,
    TEXT_GRAPH_WEIGHTS,
    TEXT_PROBES,
    Bundle,
)
from indexer.model.graph_check import check_graph_files, check_operations, ends_of
from indexer.model.openvino_runtime import cosines, openvino, read_graph

if TYPE_CHECKING:
    from indexer.model.joint_encoder import JointEncoder

# Texts whose vectors a model folder keeps, to know the graph again on another processor.
PROBES = ("a photo of a red shirt", "shoes", "two pieces of furniture, seen from above", "")
# Least cosine of the graph's vectors to the tower's own.
LEAST_COSINE = 0.9999


class TextGraph:
    """A compiled tower: pieces int64 [N, L] to unit vectors [N, D]; of one thread at a time."""

    def __init__(self, model: Any) -> None:
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": max(1, THREADS)}
        self._compiled = openvino().Core().compile_model(model, "CPU", options)
        self._request = self._compiled.create_infer_request()

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [N, D], text by text."""
        found = np.concatenate([self._request.infer([row[np.newaxis]])[0].copy() for row in rows])
        length = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.maximum(length, np.float32(1e-12)), np.float32)


def write_text_graph(encoder: JointEncoder, folder: Path) -> None:
    """Write the tower of ``encoder``, which runs in torch, as a graph into a model folder.

    Raises ``NotAlikeError`` where the graph gives other vectors than the tower.
    """
    from safetensors.numpy import save_file

    rows = encoder.probe_rows()
    model = _convert(encoder.network, rows[:1])
    own = encoder.encode_rows(rows)
    alike = cosines(TextGraph(model).encode(rows), own)
    if not np.all(alike >= LEAST_COSINE):
        raise NotAlikeError(
            f"the graph of the text tower gives other vectors than the tower (cosine "
            f"{float(np.min(alike)):.4f}, at least {LEAST_COSINE} is needed): train with "
            "--no-text-tower, or serve the model that was trained as it is"
        )
    openvino().save_model(model, folder / TEXT_GRAPH, compress_to_fp16=False)
    save_file({"vectors": own}, folder / TEXT_PROBES)


def open_text_graph(bundle: Bundle, length: int, width: int) -> TextGraph | None:
    """Open the graph of a model folder, of texts of ``length`` pieces and vectors of ``width``.

    None where it has none, or OpenVINO is not installed. Raises ``BadModelError``.
    """
    if TEXT_GRAPH not in bundle.checksums or openvino() is None:
        return None
    where = f"model {bundle.path}"
    files = (bundle.path / name for name in (TEXT_GRAPH, TEXT_GRAPH_WEIGHTS, TEXT))
    check_graph_files(*files)
    model = read_graph(bundle.path / TEXT_GRAPH)
    if ends_of(model) != [[1, length], [1, width]]:
        raise BadModelError(
            f"{where}: the graph of its text tower takes and gives {ends_of(model)}, not one text "
            f"of {length} pieces and its {width:,} numbers"
        )
    if model.inputs[0].get_element_type().get_type_name() != "i64":
        raise BadModelError(f"{where}: the graph of its text tower does not take whole numbers")
    check_operations(model, where)
    return TextGraph(model)


def _convert(network: Any, row: np.ndarray) -> Any:
    from indexer.core.native import torch

    with torch.no_grad(), warnings.catch_warnings():
        # OpenVINO traces by torch.jit, which torch would rather not have used.
        warnings.simplefilter("ignore")
        example = torch.from_numpy(row)
        return openvino().convert_model(network, example_input=example, input=list(row.shape))
