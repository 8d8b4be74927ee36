"""Frozen backbone as an OpenVINO graph, several times as quick as torch on a processor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structlog
from PIL import Image

from indexer.imaging.decode import Photo
from indexer.imaging.lab_color import statistics
from indexer.model.openvino_runtime import Graph, convert, cosines, openvino, probes
from indexer.model.preprocessing import photos_to_pixels
from indexer.model.runtime_base import Runtime
from indexer.model.torch_runtime import TorchRuntime

log = structlog.get_logger(__name__)

# Photos; the graph of fewer takes longer to make than it saves.
WORTH_PHOTOS = 400
# Least cosine of its features to the network's own: they are kept as halves, which are coarser.
_LEAST_COSINE = 0.99999


class FrozenGraph:
    """Gives the features that ``Runtime.extract_features`` gives."""

    def __init__(self, graph: Graph, runtime: Runtime) -> None:
        self._graph = graph
        self._preprocess = runtime.spec.preprocess

    def extract_features(self, photos: Sequence[Photo]) -> np.ndarray:
        """Pool the backbone's features, colour statistics behind them: float32 [N, F + K]."""
        pixels = photos_to_pixels(photos, self._preprocess)
        return np.concatenate([self._graph.infer_batch(pixels), statistics(pixels)], axis=1)


def quicker_extractor(runtime: Runtime, photos: int) -> FrozenGraph | Runtime:
    """Return what gives the features of so many photos soonest: a graph, or ``runtime`` itself.

    A graph stands in for torch in float32 on a processor alone, and only where it gives the
    network's own features for two pictures.
    """
    if (
        photos < WORTH_PHOTOS
        or not isinstance(runtime, TorchRuntime)
        or runtime.engine != "torch"
        or runtime.device != "cpu"
        or runtime.spec.numeric != "fp32"
        or openvino() is None
    ):
        return runtime
    asked = [
        Photo(Image.fromarray(pixels), "PNG", pixels.shape[1], pixels.shape[0], "")
        for pixels in probes(runtime.spec.preprocess)
    ]
    try:
        quick = FrozenGraph(Graph(convert(runtime.network), "fp32"), runtime)
        alike = cosines(quick.extract_features(asked), runtime.extract_features(asked))
    except Exception as error:  # whatever a converter meets in a network of somebody else's
        log.debug("no graph of the frozen backbone", reason=str(error))
        return runtime
    return quick if np.all(alike >= _LEAST_COSINE) else runtime
