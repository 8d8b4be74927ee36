"""Training with nothing cached, beside what the network alone takes for the same photos."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from indexer.imaging.parallel import decode_all
from indexer.model.feature_store import FeatureCache, cache_file, features_id
from indexer.model.openvino_runtime import Graph, convert
from indexer.model.preprocessing import LOOK_COST, photos_to_pixels, with_look
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.advise import frozen_runtime
from indexer.training.look import JUDGED
from indexer.training.problem import read_problem
from tools.bench.harness.framework import BenchRow
from tools.bench.spine import catalens
from tools.output import log

# photos that time the network, in batches of so many, so often
_TIMED, _BATCH, _TURNS = 256, 64, 5


def cold_training(data: Path, work: Path) -> BenchRow:
    """``train --recipe linear`` with nothing cached, against the frozen network's own time.

    The network's own time: how often it was run on a photo (photos x looks, counted from the cache
    that the training leaves; simulated recaptures are photos too) over the rate of the fp32 graph
    alone on ready pixels, the median of five turns before and after the training. Decoding,
    resampling, recaptures, the look's choice, neck, heads and calibration are what lies between.
    """
    runtime = frozen_runtime()
    before = _graph_rates(runtime, data)
    with tempfile.TemporaryDirectory(dir=work) as fresh:
        cache = Path(fresh, "cache")
        seconds, document = catalens(
            "train", data, "--out", Path(fresh, "model"), env={"CATALENS_CACHE": str(cache)}
        )
        passes = {look: _passes(runtime, look, cache) for look in JUDGED}
    rate = median(before + _graph_rates(runtime, data))
    network_s = sum(passes.values()) / rate
    log(
        f"train: {seconds:.1f} s; {sum(passes.values()):,.0f} photos x looks at {rate:.0f} a second"
    )
    return {
        "recipe": cold_training.__doc__,
        "data": data.name,
        "seconds": seconds,
        "look": document["look"],
        "passes": passes,
        "graph_photos_per_s": rate,
        "network_s": network_s,
        "ratio": seconds / network_s,
    }


def _graph_rates(runtime: TorchRuntime, data: Path) -> list[float]:
    """Photos per second of the fp32 graph alone, of each turn."""
    rows = read_problem(data, 0).of("train")[:_TIMED]
    size = runtime.shrink_to
    read = decode_all(rows, lambda row: row.image.read_bytes(), shrink_to=size)
    photos = [photo for _, photo in read if not isinstance(photo, Exception)]
    pixels = photos_to_pixels(photos, runtime.spec.preprocess)
    graph = Graph(convert(runtime.network), "fp32")
    graph.infer_batch(pixels[:_BATCH])
    rates = []
    for _ in range(_TURNS):
        started = time.perf_counter()
        for start in range(0, len(pixels), _BATCH):
            graph.infer_batch(pixels[start : start + _BATCH])
        rates.append(len(pixels) / (time.perf_counter() - started))
    return rates


def _passes(runtime: TorchRuntime, look: str, cache: Path) -> float:
    """How often the network saw a photo for one look, from what its cache holds."""
    spec = runtime.spec
    network = runtime.network
    shown = spec.with_preprocess(with_look(spec.preprocess, look))
    name = features_id(TorchRuntime(type(network)(shown, network.backbone), device="cpu"))
    if not cache_file(cache, name).is_file():
        return 0.0
    with closing(FeatureCache(cache, name)) as features:
        return len(features.contents()) * LOOK_COST[look]
