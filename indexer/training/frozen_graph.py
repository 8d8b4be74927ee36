"""Frozen backbone as an OpenVINO graph, several times as quick as torch on a processor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structlog

from indexer.imaging.decode import Photo
from indexer.imaging.lab_color import statistics
from indexer.model.openvino_runtime import Graph, convert, cosines, openvino, probe_photos
from indexer.model.preprocessing import group_pixels, mean_of_views, merge_views
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
        self._colours = runtime.spec.colours
        self._width = runtime.feature_width

    def extract_features(self, photos: Sequence[Photo]) -> np.ndarray:
        """Pool the backbone's features, colour statistics behind them: float32 [N, F + K]."""
        out = np.empty((len(photos), self._width), np.float32)
        for places, pixels in group_pixels(photos, self._preprocess):
            pooled = merge_views(self._graph.infer_batch(pixels), self._preprocess)
            colours = mean_of_views(statistics(pixels, self._colours), self._preprocess)
            out[places] = np.concatenate([pooled, colours], axis=1)
        return out


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
    asked = probe_photos(runtime.spec.preprocess)
    try:
        quick = FrozenGraph(Graph(convert(runtime.network), "fp32"), runtime)
        alike = cosines(quick.extract_features(asked), runtime.extract_features(asked))
    except Exception as error:  # whatever a converter meets in a network of somebody else's
        log.debug("no graph of the frozen backbone", reason=str(error))
        return runtime
    return quick if np.all(alike >= _LEAST_COSINE) else runtime
