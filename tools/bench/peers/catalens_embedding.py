"""Our side of ``bench embed``: rates of the whole way, of decoding and of the network.

A process of its own: MODEL FILE as arguments, photo paths on stdin; prints rates and, asked for,
vectors.

The whole way, decoding alone and the network alone, one after another over the same photos, ROUNDS
times.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from indexer.core.errors import CatalensError
from indexer.core.timer import StageTimer
from indexer.imaging.decode import Photo, decode_photo
from indexer.imaging.parallel import in_order
from indexer.model.bulk_embedding import embed_all
from indexer.model.bundle import load_bundle
from indexer.model.open_runtime import open_embedder
from indexer.model.preprocessing import photos_to_pixels
from indexer.model.runtime_base import ParallelRuntime

_NETWORK_PHOTOS = 600  # decoded ones that are held for the network alone


def main(model: str, rounds: int, vectors_file: str, files: list[str]) -> dict[str, Any]:
    bundle = load_bundle(Path(model))
    embedder = open_embedder(bundle, device="cpu")
    embedder.configure_threads()
    paths = [Path(name) for name in files]
    workers = embedder.workers if isinstance(embedder, ParallelRuntime) else 2

    def pixels(path: Path) -> np.ndarray:
        photo = decode_photo(path.read_bytes(), shrink_to=embedder.shrink_to)
        return photos_to_pixels([photo], embedder.spec.preprocess)

    held = [
        decode_photo(path.read_bytes(), shrink_to=embedder.shrink_to)
        for path in paths[:_NETWORK_PHOTOS]
    ]
    ready = [photos_to_pixels([photo], embedder.spec.preprocess) for photo in held]
    timer = StageTimer()
    found: dict[str, list[float]] = {"whole": [], "decode": [], "network": []}
    rows: list[np.ndarray] = []

    def whole() -> None:
        rows.clear()
        for path, vector in embed_all(paths, Path.read_bytes, embedder, timer=timer):
            if isinstance(vector, CatalensError):
                raise CatalensError(f"{path}: {vector}")
            rows.append(vector)

    def network() -> None:
        if not isinstance(embedder, ParallelRuntime):
            embedder.embed(held)
            return
        with ThreadPoolExecutor(workers) as pool:
            seen = list(pool.map(embedder.extract_photo_features, ready))
        for start in range(0, len(seen), 16):
            embedder.embed_features(np.stack(seen[start : start + 16]))

    def decoding() -> None:
        for _ in in_order(paths, pixels, workers=workers):
            pass

    network()  # warms up
    for _ in range(rounds):
        found["whole"].append(_rate(whole, len(paths)))
        found["decode"].append(_rate(decoding, len(paths)))
        found["network"].append(_rate(network, len(ready)))
    if vectors_file:
        np.save(vectors_file, np.stack(rows))
    return {
        "rates": found,
        "work": timer.seconds(),
        "bottleneck": timer.bottleneck(),
        "photos": len(paths),
    }


def _rate(work: Callable[[], None], photos: int) -> float:
    started = time.perf_counter()
    work()
    return photos / (time.perf_counter() - started)


def reference(model: str, files: list[str]) -> np.ndarray:
    """The vectors float32 [N, D] of the model as trained, by torch."""
    bundle = load_bundle(Path(model))
    embedder = open_embedder(bundle, device="cpu")
    held: list[Photo] = []
    parts: list[np.ndarray] = []
    for name in files:
        held.append(decode_photo(Path(name).read_bytes(), shrink_to=embedder.shrink_to))
        if len(held) == 64:
            parts.append(embedder.embed(held))
            held.clear()
    if held:
        parts.append(embedder.embed(held))
    return np.concatenate(parts)


if __name__ == "__main__":
    listed = sys.stdin.read().splitlines()
    print(
        json.dumps(
            main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "", listed)
        )
    )
