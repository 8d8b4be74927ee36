"""Training with nothing cached, beside what the network alone takes for the same photos."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from indexer.core.errors import CatalensError
from indexer.core.native import THREADS
from indexer.feeds.dataset import DatasetRow
from indexer.imaging.decode import Photo, decode_photo
from indexer.imaging.parallel import decode_all
from indexer.imaging.recapture import recapture
from indexer.model.feature_store import FeatureCache, cache_file, features_id
from indexer.model.openvino_runtime import Graph, convert
from indexer.model.preprocessing import LOOK_COST, photos_to_pixels
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.advise import frozen_runtime
from indexer.training.frozen_graph import WORTH_INPUTS, FrozenGraph, frozen_graph
from indexer.training.look import JUDGED, show_frozen
from indexer.training.problem import read_problem
from tools.bench.harness.framework import BenchRow
from tools.bench.spine import catalens
from tools.output import log

# photos that time the network, in batches of so many, so often
_TIMED, _BATCH, _TURNS = 256, 64, 5
# photos that time all that a photo needs, and their recaptures
_WHOLE, _TAKEN_AGAIN = 64, 32


def cold_training(data: Path, work: Path) -> BenchRow:
    """``train --recipe linear`` with nothing cached, against the frozen network's own time.

    The network's own time: how often it is asked for a photo (photos x looks, counted from the
    cache that the training leaves; simulated recaptures are photos too) over the rate of the fp32
    graph alone on ready pixels, the median of five turns before and after the training. Decoding,
    resampling, recaptures, the look's choice, neck, heads and calibration are what lies between.
    ``inputs``: what the network is really run on, since looks share the middle square, and
    ``ratio_of_inputs`` by them. ``limit_s``: the processor time of all that a photo needs before
    anything is learned from it (decode, hash, resample, network, colours; recaptures made),
    measured in this run on a few photos, over all threads; no order of work is sooner.
    """
    runtime = frozen_runtime()
    looks = [show_frozen(runtime.network, look, "cpu") for look in JUDGED]
    before = _graph_rates(runtime, data)
    with tempfile.TemporaryDirectory(dir=work) as fresh:
        cache = Path(fresh, "cache")
        seconds, document = catalens(
            "train", data, "--out", Path(fresh, "model"), env={"CATALENS_CACHE": str(cache)}
        )
        held = {look: _contents(one, cache) for look, one in zip(JUDGED, looks, strict=True)}
    rate = median(before + _graph_rates(runtime, data))
    passes = {look: len(held[look]) * LOOK_COST[look] for look in JUDGED}
    inputs = len(held["crop"] | held["both"]) + len(held["whole"]) + len(held["both"])
    network_s = sum(passes.values()) / rate
    costs = _photo_costs(looks, JUDGED.index(document["look"]), data)
    photos = document["photos"]["train"] + document["photos"]["validation"]
    judged = min(map(len, held.values()))
    again = len(held[document["look"]]) - photos
    needed = judged * costs["judged"] + (photos - judged) * costs["photo"]
    limit_s = (needed + again * costs["recapture"]) / THREADS
    log(
        f"train: {seconds:.1f} s; {sum(passes.values()):,.0f} photos x looks at {rate:.0f} a "
        f"second; the photos alone {limit_s:.1f} s"
    )
    return {
        "recipe": cold_training.__doc__,
        "data": data.name,
        "seconds": seconds,
        "seconds_of": document["seconds"],
        "look": document["look"],
        "passes": passes,
        "inputs": inputs,
        "graph_photos_per_s": rate,
        "network_s": network_s,
        "ratio": seconds / network_s,
        "ratio_of_inputs": seconds / (inputs / rate),
        "processor_s_a_photo": costs,
        "limit_s": limit_s,
        "ratio_of_limit": seconds / limit_s,
        "limit_ratio": limit_s / network_s,
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


def _contents(runtime: TorchRuntime, cache: Path) -> set[str]:
    """The photos of which the cache holds features of this look."""
    name = features_id(runtime)
    if not cache_file(cache, name).is_file():
        return set()
    with closing(FeatureCache(cache, name)) as features:
        return set(features.contents())


def _photo_costs(looks: Sequence[TorchRuntime], chosen: int, data: Path) -> dict[str, float]:
    """Processor seconds of a photo: by all looks, by the chosen one, and of a recapture of it."""
    graph = frozen_graph(looks, WORTH_INPUTS)
    if graph is None:
        raise CatalensError("the frozen network has no graph on this machine")
    size = looks[chosen].shrink_to
    rows = read_problem(data, 0).of("train")[:_WHOLE]

    def by(numbers: Sequence[int]) -> Callable[[DatasetRow], Any]:
        return lambda row: _extract(
            graph, decode_photo(row.image.read_bytes(), shrink_to=size), numbers
        )

    def again(row: DatasetRow) -> Any:
        return _extract(graph, recapture(decode_photo(row.image.read_bytes())), [chosen])

    return {
        "judged": _processor_s(by(range(len(looks))), rows),
        "photo": _processor_s(by([chosen]), rows),
        "recapture": _processor_s(again, rows[:_TAKEN_AGAIN]),
    }


def _extract(graph: FrozenGraph, photo: Photo, numbers: Sequence[int]) -> Any:
    return hashlib.sha256(photo.pixels.tobytes()), graph.extract(dict.fromkeys(numbers, photo))


def _processor_s(work: Callable[[DatasetRow], Any], rows: Sequence[DatasetRow]) -> float:
    """Mean processor time of ``work``, all threads together, after one turn that is not counted."""
    work(rows[0])
    started = time.process_time()
    for row in rows:
        work(row)
    return (time.process_time() - started) / len(rows)
