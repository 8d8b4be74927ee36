"""Detector of text: Chinese and Latin lines read by RapidOCR."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image
from pydantic import model_validator

from indexer.imaging.decode import Photo
from indexer.imaging.geometry import Box, box_around, scaled_size
from indexer.moderation.detector import (
    DETECTORS,
    BoundedConfig,
    Detector,
    Evidence,
    PatternList,
    PhotoContext,
    TextList,
)
from indexer.moderation.text_pattern import PatternTime, TextPattern

# px of the long side on which text is read
_LONG_SIDE = 1280
# px below which a side is too short for a line of text
_MIN_SIDE = 32
# Of the long side, what the short one has at least: the reader enlarges the short side of a strip,
# and the long one with it, to gigabytes.
_NARROWEST = 1 / 8
_GROUND = (255, 255, 255)
_loading = threading.RLock()


@dataclass(frozen=True)
class TextLine:
    """A line of text as read; ``confidence`` in [0, 1], ``box`` in px of ``Photo.pixels``."""

    text: str
    confidence: float
    box: Box


class TextRule(BoundedConfig):
    """Banned words and patterns, and the reader's confidence in the line that counts.

    Words are found in any case, spaces aside; patterns anywhere in a line, in any case.
    """

    words: TextList = ()
    patterns: PatternList = ()

    @model_validator(mode="after")
    def _require_some(self) -> Self:
        if not self.words and not self.patterns:
            raise ValueError("needs words or patterns")
        return self

    def patterns_used(self) -> Iterable[TextPattern]:
        """Those of banned texts."""
        return self.patterns

    def find(self, line: str, left: PatternTime) -> str | None:
        """The first banned word or pattern of a line. Raises ``PatternTimeoutError``."""
        bare = "".join(line.split())
        for word in self.words:
            if "".join(word.split()).casefold() in bare.casefold():
                return word
        for pattern in self.patterns:
            if pattern.search(line, left) or pattern.search(bare.casefold(), left):
                return pattern.pattern
        return None


class TextDetector(Detector[TextRule, list[TextLine]]):
    """Reads text, upright or upside down."""

    name = "text"
    config = TextRule
    package = "rapidocr"
    extra = "ocr"
    place = 60
    limits = (
        "printed Chinese and Latin words of your list; not handwriting, other scripts or words as "
        "pictures"
    )

    def run(self, photo: Photo) -> list[TextLine]:
        """All lines of text of a photo."""
        pixels = photo.pixels
        if min(pixels.size) < _MIN_SIDE:
            return []
        scale = min(1.0, _LONG_SIDE / max(pixels.size))
        if scale < 1:
            pixels = pixels.resize(scaled_size(pixels.size, scale), Image.Resampling.BOX)
        pixels = _widened(pixels)
        bgr = np.ascontiguousarray(np.asarray(pixels)[:, :, ::-1])
        with _loading:
            reader, lock = _load_reader()
        # The reader keeps the state of a call in itself.
        with lock:
            read = reader(bgr)
        if read.txts is None:
            return []
        return [
            TextLine(str(text), float(confidence), box_around(corners.tolist(), scale))
            for text, confidence, corners in zip(read.txts, read.scores, read.boxes, strict=True)
        ]

    def judge(
        self, config: TextRule, seen: list[TextLine], context: PhotoContext
    ) -> list[Evidence]:
        """Every line that holds a banned word or pattern."""
        found = []
        left = PatternTime()
        for line in seen:
            name = config.find(line.text, left)
            if name is not None:
                details = {"name": name, "text": line.text, "box": context.upright(line.box)}
                found.append(Evidence(line.confidence, config.bounds, details))
        return found


def _widened(pixels: Image.Image) -> Image.Image:
    """A strip laid on a wider ground, at its left and top; any other photo as it is."""
    least = math.ceil(_NARROWEST * max(pixels.size))
    if min(pixels.size) >= least:
        return pixels
    ground = Image.new("RGB", (max(pixels.width, least), max(pixels.height, least)), _GROUND)
    ground.paste(pixels)
    return ground


@lru_cache(maxsize=1)
def _load_reader() -> tuple[Any, threading.Lock]:
    """Load RapidOCR on one thread.

    The models inside its package are named by path: what it does not find it downloads.
    """
    import rapidocr

    folder = Path(str(rapidocr.__file__)).parent / "models"
    params: dict[str, Any] = {"Global.log_level": "critical"}
    for kind in ("intra", "inter"):
        params[f"EngineConfig.onnxruntime.{kind}_op_num_threads"] = 1
    for part in ("Det", "Rec", "Cls"):
        (file,) = [file for file in folder.glob("*.onnx") if f"_{part.lower()}_" in file.name]
        params[f"{part}.model_path"] = str(file)
    return rapidocr.RapidOCR(params=params), threading.Lock()


DETECTORS.register(TextDetector())
