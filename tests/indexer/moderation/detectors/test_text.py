"""The text detector around its reader: a stand-in for the package, lines in px of the photo."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.imaging.decode import Photo
from indexer.moderation.detectors import text
from indexer.moderation.text_pattern import PatternTime


class StandInReader:
    """Takes what ``RapidOCR`` takes, and reads one line wherever it is shown anything."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.shown: list[np.ndarray] = []
        StandInReader.made = self

    made: StandInReader

    def __call__(self, pixels: np.ndarray) -> SimpleNamespace:
        self.shown.append(pixels)
        corners = np.array([[10, 20], [110, 20], [110, 40], [10, 40]], float)
        return SimpleNamespace(txts=["WeChat 1"], scores=[0.75], boxes=[corners])


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package ``rapidocr`` with its three models; the loaded reader is forgotten afterwards."""
    models = tmp_path / "rapidocr" / "models"
    models.mkdir(parents=True)
    for part in ("det", "rec", "cls"):
        (models / f"any_{part}_model.onnx").touch()
    module = SimpleNamespace(__file__=str(models.parent / "__init__.py"), RapidOCR=StandInReader)
    monkeypatch.setitem(sys.modules, "rapidocr", module)
    text._load_reader.cache_clear()
    yield models
    text._load_reader.cache_clear()


def photo(width: int, height: int) -> Photo:
    pixels = Image.new("RGB", (width, height), (250, 120, 10))
    return Photo(pixels, "PNG", width, height, "content")


def test_lines_are_of_the_photo_whatever_it_was_read_on(package: Path) -> None:
    """A large photo is read on 1280 px as BGR by the packaged models on one thread; boxes are in px
    of the photo."""
    (line,) = text.TextDetector().run(photo(2560, 1000))
    assert (line.text, line.confidence) == ("WeChat 1", 0.75)
    assert line.box == (20, 40, 200, 40)
    (shown,) = StandInReader.made.shown
    assert shown.shape == (500, 1280, 3)
    assert shown[0, 0].tolist() == [10, 120, 250]
    params = StandInReader.made.params
    assert params["Det.model_path"] == str(package / "any_det_model.onnx")
    assert params["EngineConfig.onnxruntime.intra_op_num_threads"] == 1


def test_a_photo_too_thin_for_text_is_not_read(package: Path) -> None:
    """Below 32 px a side there is no line to read, and no reader is loaded."""
    assert text.TextDetector().run(photo(2000, 31)) == []
    assert text._load_reader.cache_info().currsize == 0


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("add W e C h a t now", "WeChat"),
        ("加 微 信", "微信"),
        ("call 138 0013 8000", r"\d{11}"),
        ("pure cotton", None),
        ("wechat 13800138000", "WeChat"),
    ],
)
def test_words_come_before_patterns(line: str, found: str | None) -> None:
    """A word counts in any case and spacing, a pattern as read and without spaces."""
    rule = text.TextRule.model_validate({"words": ["WeChat", "微信"], "patterns": [r"\d{11}"]})
    assert rule.find(line, PatternTime()) == found


@pytest.mark.parametrize("size", [(64_000, 32), (32, 64_000), (2000, 100)])
def test_a_strip_is_shown_on_a_ground(package: Path, size: tuple[int, int]) -> None:
    """The reader enlarges a short side, and the long one with it: a strip of two megapixels would
    become hundreds."""
    (line,) = text.TextDetector().run(photo(*size))
    (shown,) = StandInReader.made.shown
    assert min(shown.shape[:2]) * 8 >= max(shown.shape[:2])
    assert max(shown.shape[:2]) == 1280
    assert shown[0, 0].tolist() == [10, 120, 250]
    assert shown[-1, -1].tolist() == [255, 255, 255]
    scale = max(size) / 1280
    assert line.box[:2] == (round(10 * scale), round(20 * scale))
