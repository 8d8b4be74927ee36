"""Frozen backbone as an OpenVINO graph, several times as quick as torch on a processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import structlog

from indexer.imaging.decode import Photo
from indexer.imaging.lab_color import statistics
from indexer.model.openvino_runtime import Graph, convert, cosines, openvino, probe_photos
from indexer.model.preprocessing import mean_of_views, merge_views, split_views, to_pixels
from indexer.model.runtime_base import Runtime
from indexer.model.spec import Preprocess
from indexer.model.torch_runtime import TorchRuntime

log = structlog.get_logger(__name__)

# Inputs of the network; the graph of fewer takes longer to make than it saves.
WORTH_INPUTS = 400
# Least cosine of its features to the network's own: they are kept as halves, which are coarser.
_LEAST_COSINE = 0.99999


@dataclass(frozen=True)
class _KeptGraph:
    """The graph of a backbone, and of which weights and normalisation it was made."""

    made_of: tuple[Any, ...]
    graph: Graph


# Making a graph takes as long as two hundred photos, and one training asks for it several times.
_KEPT: WeakKeyDictionary[Any, _KeptGraph] = WeakKeyDictionary()


class FrozenGraph:
    """Gives the features that ``extract_features`` of each runtime gives; they share a backbone.

    Any number of threads may call it; ``workers`` of them give most photos per second: while some
    decode, the others are in the network.
    """

    def __init__(self, graph: Graph, runtimes: Sequence[Runtime]) -> None:
        self._graph = graph
        self._runtimes = runtimes
        self.workers = graph.streams + 1

    def extract(self, shown: Mapping[int, Photo]) -> dict[int, np.ndarray]:
        """Features float32 [F + K] of one photo by each runtime (by its number) of ``shown``.

        What two looks have in common goes through the network once.
        """
        seen: dict[tuple[int, int, Preprocess], tuple[np.ndarray, np.ndarray]] = {}
        found: dict[int, np.ndarray] = {}
        for number, photo in shown.items():
            spec = self._runtimes[number].spec
            views = []
            for view in split_views(spec.preprocess):
                key = id(photo), spec.colours, view
                if key not in seen:
                    pixels = to_pixels(photo.pixels, view)[np.newaxis]
                    pooled = self._graph.infer_in_stream(pixels)
                    seen[key] = pooled, statistics(pixels, spec.colours)
                views.append(seen[key])
            pooled, colours = (np.concatenate(rows) for rows in zip(*views, strict=True))
            merged = merge_views(pooled, spec.preprocess)
            parts = merged, mean_of_views(colours, spec.preprocess)
            found[number] = np.concatenate(parts, axis=1)[0]
        return found

    def extract_features(self, photos: Sequence[Photo], number: int = 0) -> np.ndarray:
        """Features float32 [N, F + K] by one runtime, photo by photo."""
        return np.stack([self.extract({number: photo})[number] for photo in photos])


def frozen_graph(runtimes: Sequence[Runtime], inputs: int) -> FrozenGraph | None:
    """Return what gives the features of so many inputs sooner than the ``runtimes`` of one
    backbone; None where they are soonest themselves.

    A graph stands in for torch in float32 on a processor alone, and only where it gives the
    network's own features for two pictures.
    """
    if inputs < WORTH_INPUTS or openvino() is None:
        return None
    if not all(_replaceable(runtime) for runtime in runtimes):
        return None
    try:
        quick = FrozenGraph(_graph_of(runtimes[0]), runtimes)
        for number, runtime in enumerate(runtimes):
            asked = probe_photos(runtime.spec.preprocess)
            own = runtime.extract_features(asked)
            if np.any(cosines(quick.extract_features(asked, number), own) < _LEAST_COSINE):
                return None
    except Exception as error:  # whatever a converter meets in a network of somebody else's
        log.debug("no graph of the frozen backbone", reason=str(error))
        return None
    return quick


def _replaceable(runtime: Runtime) -> bool:
    return (
        isinstance(runtime, TorchRuntime)
        and runtime.engine == "torch"
        and runtime.device == "cpu"
        and runtime.spec.numeric == "fp32"
    )


def _graph_of(runtime: Runtime) -> Graph:
    """The graph of a runtime's backbone, kept as long as the backbone is there and unchanged."""
    backbone, preprocess = runtime.network.backbone, runtime.spec.preprocess
    made_of = (runtime.backbone_digest, preprocess.mean, preprocess.std)
    kept = _KEPT.get(backbone)
    if kept is None or kept.made_of != made_of:
        kept = _KeptGraph(made_of, Graph(convert(runtime.network), "fp32"))
        _KEPT[backbone] = kept
    return kept.graph
