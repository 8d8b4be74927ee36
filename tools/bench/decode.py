"""Benchmark ``decode``: a photo's bytes to network input, beside Pillow's plain path."""

from __future__ import annotations

import importlib
import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from indexer.core.native import torch
from indexer.imaging.decode import decode_photo
from indexer.model.backbones import DEFAULT_BACKBONE, find
from indexer.model.preprocessing import QUICK, shrink_to, to_pixels
from tools.bench.data.enlarged_photos import SIZES, enlarged_all, real_photos
from tools.bench.harness.framework import BenchRow, Goal, figure
from tools.doctor import installed
from tools.output import log

PARTS = ("as they are", *SIZES)
_PHOTOS = {"as they are": 48, "1200 px": 24, "12 MP": 12}
_ROUNDS = 7

GOALS = (
    Goal("1200 px: times as fast as Pillow's plain path", ">=", 3.0, figure("1200 px", "ratio")),
    Goal("12 MP: times as fast as Pillow's plain path", ">=", 5.0, figure("12 MP", "ratio")),
)


def measure(part: str, _: Path) -> BenchRow:
    """Milliseconds per photo of each way on one thread, interleaved photo by photo; medians over
    photos and rounds."""
    log(f"bench decode: {part}")
    photos = real_photos(_PHOTOS[part])
    files = (
        enlarged_all(photos, SIZES[part])
        if part in SIZES
        else [photo.read_bytes() for photo in photos]
    )
    ways = _ways()
    samples: dict[str, list[float]] = {name: [] for name in ways}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    limit = threadpool_limits(1, "blas")
    try:
        for turn in range(_ROUNDS + 1):
            for data in files:
                for name, way in ways.items():
                    started = time.perf_counter()
                    way(data)
                    if turn:  # the first one warms up
                        samples[name].append(round((time.perf_counter() - started) * 1000, 4))
    finally:
        limit.restore_original_limits()
        torch.set_num_threads(before)
    plain, ours = median(samples["plain"]), median(samples["ours, exported models"])
    log(f"{part}: plain {plain:.2f} ms, ours {ours:.2f} ms, {plain / ours:.2f} times as fast")
    return {
        "recipe": "real photos as they are, or upscaled with grain, JPEG quality 85; one thread; "
        "256 px, crop 224",
        "peer": "Pillow's plain path: Image.open, convert RGB, resize to 256 px bicubic, centre "
        "crop 224",
        "peer_version": installed("pillow"),
        "photos": len(files),
        "bytes_mean": sum(map(len, files)) / len(files),
        "median_ms": {name: median(found) for name, found in samples.items()},
        "ratio": plain / ours,
        "ratio_full_models": plain / median(samples["ours, models as trained"]),
        "samples_ms": samples,
    }


def _ways() -> dict[str, Callable[[bytes], Any]]:
    trained = find(DEFAULT_BACKBONE).preprocess
    quick = replace(trained, interpolation=QUICK[trained.interpolation])
    side, crop = trained.resize, trained.crop

    def plain(data: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        scale = side / min(image.size)
        image = image.resize(
            (round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC
        )
        left, top = (image.width - crop) // 2, (image.height - crop) // 2
        return np.asarray(image.crop((left, top, left + crop, top + crop)))

    ways: dict[str, Callable[[bytes], Any]] = {
        "plain": plain,
        "ours, models as trained": lambda data: to_pixels(
            decode_photo(data, shrink_to=shrink_to(trained)).pixels, trained
        ),
        "ours, exported models": lambda data: to_pixels(
            decode_photo(data, shrink_to=shrink_to(quick)).pixels, quick
        ),
        "ours, decoding alone": lambda data: decode_photo(data, shrink_to=shrink_to(quick)),
    }
    try:
        library: Any = importlib.import_module("simplejpeg")
    except ImportError:
        return ways
    least = 2 * side
    ways["simplejpeg, decoding alone"] = lambda data: library.decode_jpeg(
        data, min_height=least, min_width=least, min_factor=1
    )
    return ways
