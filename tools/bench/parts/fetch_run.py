"""Import of a feed of photo URLs in a process of its own, which reports its time and its memory."""

from __future__ import annotations

import json
import resource
import sys
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.core.home import Home
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.importer import import_feed
from indexer.fetch.settings import FetchSettings
from indexer.operations.home_fetcher import home_fetcher

if TYPE_CHECKING:
    from indexer.operations.forget_photos import PhotoForgetter


@dataclass(frozen=True)
class FetchRun:
    """What to import. ``first``: only so many products, then an index and a search."""

    home: str
    feed: str
    endpoint: str
    first: int | None = None
    forget: bool = True
    backoff_s: float = 1.0


def run(asked: FetchRun) -> dict[str, float | int]:
    """Import, and search where that is asked; seconds, counts, and the process's peak memory."""
    started = time.perf_counter()
    home = Home.create(asked.home)
    options = ImportOptions(
        fetch=True, photos="forget" if asked.forget else "copy", only_first=asked.first
    )
    settings = FetchSettings(private=frozenset({asked.endpoint}), backoff_s=asked.backoff_s)
    with ExitStack() as stack:
        fetcher = stack.enter_context(home_fetcher(home, settings))
        keeper = stack.enter_context(_forgetting(home)) if asked.forget else None
        report = import_feed(home, Path(asked.feed), options, fetcher=fetcher, photo_keeper=keeper)
        fetched_s = time.perf_counter() - started
        progress = fetcher.progress()
    found = _search(home, keeper) if asked.first is not None else 0
    return {
        "seconds": time.perf_counter() - started,
        "fetched_s": fetched_s,
        "products": report.added,
        "left_out": len(report.skipped),
        "photos": progress.new,
        "failed": progress.failed,
        "requests": progress.requests,
        "results": found,
        "cpu_s": time.process_time(),
        "peak_mb": _peak_mb(resource.RUSAGE_SELF),
        # The largest process that it started and that ended: the one that exports the model.
        "export_peak_mb": _peak_mb(resource.RUSAGE_CHILDREN),
    }


def _peak_mb(of: int) -> float:
    return resource.getrusage(of).ru_maxrss * 1024 / 1e6


def _forgetting(home: Home) -> AbstractContextManager[PhotoForgetter]:
    # Here, as below: a process that only fetches loads no network.
    from indexer.operations.forget_photos import forgetting

    return forgetting(home)


def _search(home: Home, keeper: PhotoForgetter | None) -> int:
    """Build an index, and ask it once; how many products it finds."""
    from indexer.index_build.pipeline import build_index
    from indexer.model.registry import resolve
    from service.engine import Engine
    from service.settings import Settings

    version = keeper.report.model_version if keeper else None
    build_index(home, resolve(home, version), activate=True)
    with Engine(Settings(home=home.path), watch=False) as engine:
        product_id = next(iter(engine.catalog.iterate())).product_id
        return len(engine.similar(product_id, k=10).content.results)


def command(asked: FetchRun) -> list[str]:
    """The command line of a process that runs it."""
    return [sys.executable, "-m", "tools.bench.parts.fetch_run", json.dumps(asdict(asked))]


if __name__ == "__main__":
    print(json.dumps(run(FetchRun(**json.loads(sys.argv[1])))))
