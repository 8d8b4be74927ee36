"""Large JPEGs for ``decode``, ``http``, ``embed``: real photos upscaled, with grain."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tools.bench.harness.framework import real_data

SIZES = {"1200 px": (1200, 1200), "12 MP": (4000, 3000)}
_GRAIN, _QUALITY = 4.0, 85  # standard deviation of 255; of the JPEG


def real_photos(most: int, seed: int = 0) -> list[Path]:
    """``most`` photos drawn from clothing and fashion, half of each."""
    rng = np.random.default_rng(seed)
    folders = (real_data("clothing") / "test", real_data("fashion") / "images")
    found = [sorted(folder.rglob("*.jpg")) for folder in folders]
    halves = []
    for files in found:
        chosen = rng.permutation(len(files))[: (most + 1) // 2]
        halves.append([files[place] for place in chosen])
    return [photo for pair in zip(*halves, strict=True) for photo in pair][:most]


def enlarged(photo: Path, size: tuple[int, int], seed: int) -> bytes:
    """The photo upscaled (bicubic, its aspect given up) with grain, as a JPEG of quality 85; 1200
    px: about 250 kB."""
    width, height = size
    with Image.open(photo) as opened:
        large = opened.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    grain = np.random.default_rng(seed).normal(0, _GRAIN, (height, width, 1))
    pixels = np.clip(np.asarray(large, np.float32) + grain, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def enlarged_all(photos: Sequence[Path], size: tuple[int, int]) -> list[bytes]:
    """Each of ``photos`` enlarged, seeded by its place."""
    return [enlarged(photo, size, seed) for seed, photo in enumerate(photos)]
