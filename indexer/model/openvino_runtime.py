"""Runtime of the backbone as an OpenVINO graph on a CPU, in fp32, bf16 or int8.

Several times as fast as torch. The graph takes uint8 pixels [1, H, W, 3] and gives pooled features
[1, F]; colours, neck and heads are in numpy, where they cost little, so that serving needs no
torch. OpenVINO is a dependency where it has wheels.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from indexer.core.errors import BadModelError, WeightsUnavailableError
from indexer.core.native import THREADS
from indexer.imaging.decode import Photo
from indexer.imaging.lab_color import statistics
from indexer.model.numpy_network import NumpyNetwork
from indexer.model.preprocessing import group_pixels, input_sizes, mean_of_views, merge_views
from indexer.model.runtime_base import ParallelRuntime
from indexer.model.spec import Preprocess

if TYPE_CHECKING:
    from indexer.model.network import Network

HOW = "pip install 'catalens[openvino]'"
# Inputs whose features a bundle keeps, to know its graph again on another processor.
PROBES = 2
# Numeric class -> least cosine of a probe's features to the kept ones.
PROBE_COSINE = {"fp32": 0.9999, "bf16": 0.99, "int8": 0.99}


@cache
def openvino() -> Any:
    """Import the package; None where it is not installed."""
    # It and nncf report their use to their makers through this package, and do without where it is
    # absent.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError:
        return None
    return openvino


@cache
def capabilities() -> frozenset[str]:
    """List the numeric types of this CPU (``FP32``, ``BF16``, ...); empty without OpenVINO."""
    found = openvino()
    if not found:
        return frozenset()
    return frozenset(found.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


@cache
def sums_overflow() -> bool:
    """Whether this CPU adds products of 8 bits in 16, as x86 without VNNI does: sums of large
    weights are cut off there."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return "avx2" in flags and not {"avx512_vnni", "avx_vnni"} & set(flags)


def probes(preprocess: Preprocess) -> list[np.ndarray]:
    """Draw smooth random pictures uint8 [PROBES, H, W, 3] of each size of input, the same on every
    machine."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (PROBES, 3, 9, 9), dtype=np.uint8)
    return [_enlarged(coarse, size) for size in input_sizes(preprocess)]


def probe_photos(preprocess: Preprocess) -> list[Photo]:
    """Return ``probes`` as photos, one of each form that an input may have."""
    return [
        Photo(Image.fromarray(rows), "PNG", rows.shape[1], rows.shape[0], "")
        for pixels in probes(preprocess)
        for rows in pixels
    ]


def _enlarged(coarse: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge [N, 3, 9, 9] to [N, H, W, 3], bilinear, corner to corner."""
    large = coarse
    for axis, side in zip((3, 2), size, strict=True):
        place = np.linspace(0, coarse.shape[axis] - 1, side)
        low = np.minimum(place.astype(np.int64), coarse.shape[axis] - 2)
        share = (place - low).astype(np.float32).reshape([-1] + [1] * (3 - axis))
        large = large.take(low, axis) * (1 - share) + large.take(low + 1, axis) * share
    return np.ascontiguousarray(np.rint(large).astype(np.uint8).transpose(0, 2, 3, 1))


def convert(network: Network) -> Any:
    """Convert the backbone of ``network`` with its normalisation to an OpenVINO model, float32."""
    from indexer.core.native import torch

    preprocess = network.spec.preprocess

    class ProbedNetwork(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = network.backbone
            self.register_buffer("mean", torch.tensor(preprocess.mean).view(1, 3, 1, 1) * 255)
            self.register_buffer("std", torch.tensor(preprocess.std).view(1, 3, 1, 1) * 255)

        def forward(self, pixels: Any) -> Any:
            return self.backbone((pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std)

    side = preprocess.crop
    with torch.no_grad(), warnings.catch_warnings():
        # OpenVINO traces by torch.jit, which torch would rather not have used.
        warnings.simplefilter("ignore")
        example = torch.zeros(1, side, side, 3, dtype=torch.uint8)
        return openvino().convert_model(
            ProbedNetwork().eval(), example_input=example, input=[1, side, side, 3]
        )


class _CompiledGraph:
    """A graph of one input size, compiled for one photo at a time and for several side by side."""

    def __init__(self, model: Any, common: dict[str, Any], streams: int) -> None:
        core = openvino().Core()
        self.whole = core.compile_model(model, "CPU", {**common, "NUM_STREAMS": 1})
        self.wide = core.compile_model(model, "CPU", {**common, "NUM_STREAMS": streams})
        self.queue = openvino().AsyncInferQueue(self.wide, streams)
        self.queue.set_callback(_keep)
        self.local = threading.local()

    def request(self, name: str) -> Any:
        """This thread's own request to ``whole`` or ``wide``."""
        if not hasattr(self.local, name):
            setattr(self.local, name, getattr(self, name).create_infer_request())
        return getattr(self.local, name)


class Graph:
    """A compiled model: uint8 [N, H, W, 3] -> float32 [N, F], from up to ``streams`` threads at
    once.

    A single photo is computed by all threads together, which is quickest for the one who waits;
    several go side by side through streams of one thread each, which is most per second.
    ``numeric`` int8 leaves to bf16 what the graph does not quantise, where the processor has it.
    Other sizes than the model's own are compiled when they are first met: who opens one shows it
    ``probes`` of each.
    """

    def __init__(self, model: Any, numeric: str, *, threads: int = THREADS) -> None:
        self.streams = max(1, threads)
        precision = "f32" if numeric == "fp32" or "BF16" not in capabilities() else "bf16"
        # False: wider numbers stand in for absent bf16.
        self.exact = precision == "bf16" or numeric == "fp32"
        self._common = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": self.streams,
        }
        self._model = model
        self._compiled: dict[tuple[int, ...], _CompiledGraph] = {}
        self._compiling = threading.Lock()
        own = self._of(tuple(model.input(0).shape)[1:3])
        self.width = int(own.whole.output(0).partial_shape[1].get_length())
        self._together = threading.Lock()

    def infer_one(self, pixels: np.ndarray) -> np.ndarray:
        """Compute one photo [1, H, W, 3] with all threads."""
        return self._of(pixels.shape[1:3]).request("whole").infer([pixels])[0].copy()

    def infer_in_stream(self, pixels: np.ndarray) -> np.ndarray:
        """Compute one photo [1, H, W, 3] with one thread, beside other callers."""
        return self._of(pixels.shape[1:3]).request("wide").infer([pixels])[0].copy()

    def infer_batch(self, pixels: np.ndarray) -> np.ndarray:
        """Compute several photos of one caller, side by side."""
        out = np.empty((len(pixels), self.width), np.float32)
        queue = self._of(pixels.shape[1:3]).queue
        with self._together:
            for number in range(len(pixels)):
                queue.start_async([pixels[number : number + 1]], (out, number))
            queue.wait_all()
        return out

    def infer_probes(self, preprocess: Preprocess) -> np.ndarray:
        """Compute the features [P, F] of all ``probes``."""
        return np.concatenate([self.infer_batch(pixels) for pixels in probes(preprocess)])

    def _of(self, size: tuple[int, ...]) -> _CompiledGraph:
        """The graph for inputs of ``size`` (height, width)."""
        found = self._compiled.get(size)
        if found is None:
            with self._compiling:
                found = self._compiled.get(size)
                if found is None:
                    found = _CompiledGraph(self._reshaped(size), self._common, self.streams)
                    self._compiled[size] = found
        return found

    def _reshaped(self, size: tuple[int, ...]) -> Any:
        if tuple(self._model.input(0).shape)[1:3] == size:
            return self._model
        model = self._model.clone()
        model.reshape([1, *size, 3])
        return model


def _keep(request: Any, place: tuple[np.ndarray, int]) -> None:
    out, number = place
    out[number] = request.get_output_tensor(0).data[0]


def read_graph(file: Path) -> Any:
    """Read an OpenVINO model from ``graph.xml`` (``graph.bin`` beside it).

    Raises ``WeightsUnavailableError``, ``BadModelError``.
    """
    if openvino() is None:
        raise WeightsUnavailableError(
            f"the int8 model {file.parent} runs in OpenVINO, which is not installed: {HOW}"
        )
    try:
        return openvino().Core().read_model(file)
    except RuntimeError as error:
        raise BadModelError(
            f"{file} cannot be read by OpenVINO: {str(error).splitlines()[-1].strip()[:200]}"
        ) from error


class OpenVinoRuntime(ParallelRuntime):
    """The backbone as a ``Graph``, the rest in numpy.

    ``whole`` gives the network with its backbone when that is first asked for: heat maps need it.
    It, torch, and what they import take 600 MB and some seconds.

    Raises ``BadModelError`` where the graph gives other features for the probes than at its export.
    """

    engine = "openvino"

    def __init__(
        self,
        plain: NumpyNetwork,
        graph: Graph,
        kept: np.ndarray,
        *,
        name: str,
        digest: str,
        whole: Callable[[], Network],
    ) -> None:
        super().__init__(plain.spec, "cpu")
        self._plain = plain
        self._graph = graph
        self._digest = digest
        self._load = whole
        self._loaded: Network | None = None
        self._single_threaded = False
        # While one half is in the network, the other half decodes.
        self.workers = 2 * graph.streams
        least = PROBE_COSINE[self.spec.numeric]
        found = cosines(graph.infer_probes(self.spec.preprocess), kept)
        if not np.all(found >= least):
            raise BadModelError(
                f"{name} was exported on another kind of processor: its graph gives other features "
                f"here (cosine {float(np.min(found)):.4f}, at least {least} is needed): export it "
                "again with catalens model export"
            )

    @property
    def network(self) -> Any:
        """The network, as ``Runtime.network``; loaded when first asked for."""
        if self._loaded is None:
            self._loaded = self._load().eval()
            if self._single_threaded:  # torch's team of threads would wait beside OpenVINO's
                from indexer.core.native import torch

                torch.set_num_threads(1)
        return self._loaded

    @property
    def backbone_digest(self) -> str:
        """SHA-256 of the graph, which the weights and calibration made."""
        return hashlib.sha256(
            f"{self.spec.backbone} {self.spec.numeric} {self._digest}".encode()
        ).hexdigest()

    def configure_threads(self) -> None:
        """Give torch one thread, should it be loaded for a heat map."""
        self._single_threaded = True

    def embed(self, photos: Sequence[Photo]) -> np.ndarray:
        if not photos:
            return np.empty((0, self.spec.dim), np.float32)
        return self._plain.neck(self._extract(photos, self.spec.block("c") is not None))

    def extract_features(self, photos: Sequence[Photo]) -> np.ndarray:
        if not photos:
            return np.empty((0, self.feature_width), np.float32)
        return self._extract(photos, True)

    def extract_photo_features(self, pixels: np.ndarray) -> np.ndarray:
        """Return the features of uint8 [V, H, W, 3]: [F], or [F + K] with a colour block."""
        views = [self._graph.infer_in_stream(view[np.newaxis]) for view in pixels]
        pooled = np.concatenate(views)
        return np.asarray(self._with_colours(pooled, pixels, self.spec.block("c") is not None)[0])

    def embed_features(self, features: np.ndarray) -> np.ndarray:
        return self._plain.neck(np.asarray(features, np.float32))

    def logits(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        return self._plain.logits(vectors)

    def _extract(self, photos: Sequence[Photo], with_colours: bool) -> np.ndarray:
        inputs = len(photos) * self.spec.preprocess.views
        infer = self._graph.infer_batch if inputs > 1 else self._graph.infer_one
        out = np.empty(
            (len(photos), self.feature_width if with_colours else self.spec.feature_dim), np.float32
        )
        for places, pixels in group_pixels(photos, self.spec.preprocess):
            out[places] = self._with_colours(infer(pixels), pixels, with_colours)
        return out

    def _with_colours(
        self, pooled: np.ndarray, pixels: np.ndarray, with_colours: bool
    ) -> np.ndarray:
        """Merge the views of each photo, colour statistics behind them: [N, F] or [N, F + K]."""
        preprocess = self.spec.preprocess
        merged = merge_views(pooled, preprocess)
        if not with_colours:
            return merged
        colours = mean_of_views(statistics(pixels, self.spec.colours), preprocess)
        return np.concatenate([merged, colours], axis=1)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosine of each row of [N, F] with its counterpart, float64 [N]."""
    a, b = (np.asarray(rows, np.float64) for rows in (one, other))
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / np.maximum(length, 1e-12))
