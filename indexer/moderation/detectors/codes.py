"""Detector of QR and bar codes, read by zxing-cpp."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import AfterValidator, Field

from indexer.imaging.decode import Photo
from indexer.imaging.geometry import Box, box_around, scaled_size
from indexer.moderation.detector import (
    DETECTORS,
    Detector,
    DetectorConfig,
    Evidence,
    PatternList,
    PhotoContext,
    Text,
)
from indexer.moderation.text_pattern import PatternTime, TextPattern
from indexer.moderation.thresholds import Bounds

# px of the long side on which codes are looked for: the cheap pass first
_SIDES = (640, 1600)
# px below which a side is too short for a code
_MIN_SIDE = 32
# Formats as zxing-cpp names them.
_FORMATS = (
    "QRCode",
    "MicroQRCode",
    "RMQRCode",
    "DataMatrix",
    "Aztec",
    "PDF417",
    "MicroPDF417",
    "MaxiCode",
    "EAN13",
    "EAN8",
    "UPCA",
    "UPCE",
    "ISBN",
    "Code39",
    "Code93",
    "Code128",
    "ITF",
    "ITF14",
    "Codabar",
    "DataBar",
    "DataBarExp",
    "DataBarLtd",
)
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
_SURE_SCORE = 1.0
_DOUBTFUL_SCORE = 0.6
_BOUNDS = Bounds(0.5, 0.9)


@dataclass(frozen=True)
class ScannedCode:
    """A QR or bar code with its place in px of ``Photo.pixels``.

    ``sure``: whether the format protects itself against misreading.
    """

    format: str
    text: str
    box: Box
    sure: bool


def _check_format(name: str) -> str:
    known = {one.casefold(): one for one in _FORMATS}
    if name.casefold() not in known:
        raise ValueError(f"{str(name)!r} is none of {', '.join(_FORMATS)}")
    return known[name.casefold()]


class CodesRule(DetectorConfig):
    """All codes count but those of an allowed format or whose whole text an allowed pattern is."""

    allow_formats: Annotated[
        frozenset[Annotated[Text, AfterValidator(_check_format)]], Field(min_length=1)
    ] = frozenset()
    allow_text: PatternList = ()

    def patterns_used(self) -> Iterable[TextPattern]:
        """Those of texts that are allowed."""
        return self.allow_text


class CodesDetector(Detector[CodesRule, list[ScannedCode]]):
    """Reads QR and bar codes."""

    name = "codes"
    config = CodesRule
    package = "zxingcpp"
    extra = "moderation"
    counted = True
    place = 50
    limits = "codes that a phone would read; not those that are too small, blurred or cut off"

    def run(self, photo: Photo) -> list[ScannedCode]:
        """All codes of a photo: on a reduced grey copy, then where it has none on a larger one."""
        import zxingcpp

        grey = photo.pixels.convert("L")
        longest = max(grey.size)
        if min(grey.size) < _MIN_SIDE:
            return []
        found: list[ScannedCode] = []
        for side in _SIDES:
            scale = min(1.0, side / longest)
            size = scaled_size(grey.size, scale)
            shown = grey.resize(size, Image.Resampling.BOX) if scale < 1 else grey
            found = [_to_code(code, scale) for code in zxingcpp.read_barcodes(np.asarray(shown))]
            if found or scale == 1:
                break
        return found

    def judge(
        self, config: CodesRule, seen: list[ScannedCode], context: PhotoContext
    ) -> list[Evidence]:
        """Every code that is not allowed."""
        found = []
        left = PatternTime()
        for code in seen:
            if code.format in config.allow_formats:
                continue
            if any(pattern.fullmatch(code.text, left) for pattern in config.allow_text):
                continue
            score = _SURE_SCORE if code.sure else _DOUBTFUL_SCORE
            details = {"format": code.format, "text": code.text, "box": context.upright(code.box)}
            found.append(Evidence(score, _BOUNDS, details))
        return found


def _to_code(code: Any, scale: float) -> ScannedCode:
    """A code of zxing-cpp, found on a copy scaled by ``scale``."""
    position = code.position
    corners = (
        position.top_left,
        position.top_right,
        position.bottom_right,
        position.bottom_left,
    )
    box = box_around([(corner.x, corner.y) for corner in corners], scale)
    return ScannedCode(code.format.name, code.text, box, code.format.name in _SURE)


DETECTORS.register(CodesDetector())
