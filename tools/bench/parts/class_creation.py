"""Time of a class made from 1, 5 and 20 photos in a running home."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from indexer.core.home import Home
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.importer import import_feed
from indexer.index_build.pipeline import build_index
from indexer.model.registry import pretrained
from service.engine import Engine
from service.settings import Settings
from tools.bench.harness.framework import BenchRow, real_data

PHOTOS = (1, 5, 20)
_REPEATED = 5


def adding(work: Path) -> BenchRow:
    """Seconds from a request's photos to a class that the next answer knows: the pretrained
    network, clothing's photos.

    Each time with photos that the service has not seen, of the test split; the class is removed
    again.
    """
    folder = work / "adding-home"
    if not (folder / "CURRENT").exists():
        home = Home.create(folder)
        import_feed(home, real_data("clothing") / "validation", ImportOptions(photos="reference"))
        build_index(home, bundle=pretrained(home), activate=True)
    files = iter(sorted((real_data("clothing") / "test").rglob("*.jpg")))
    samples: dict[str, list[float]] = {}
    with Engine(Settings(home=folder), watch=False) as engine:
        engine.classes.remove(
            number=engine.classes.add("warm", [next(files).read_bytes()]).content.id
        )
        for count in PHOTOS:
            for _ in range(_REPEATED):
                photos = [next(files).read_bytes() for _ in range(count)]
                began = time.perf_counter()
                made = engine.classes.add("new", photos)
                samples.setdefault(str(count), []).append(time.perf_counter() - began)
                engine.classes.remove(number=made.content.id)
    medians = {count: statistics.median(taken) for count, taken in samples.items()}
    return {
        "recipe": adding.__doc__,
        "samples": samples,
        "p50_s": medians,
        "slowest_p50_s": max(medians.values()),
    }
