"""What all tests share: the real photos, where they are there, and a clean environment."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from filelock import FileLock

from indexer.core.sqlite_library import ALLOW_OLD, LIBRARY

# Two test processes share two cores: with a thread for each core in both, OpenMP's threads spin
# and wait for each other, which doubles the processor time. Set before torch or faiss is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_OWN_VARIABLES = (
    "CATALENS_CACHE",
    "CATALENS_DATA",
    "CATALENS_KILLS",
    "CATALENS_THREADS",
)
_OWN_PREFIXES = ("CATALENS_BENCH_", "CATALENS_LIVE_")


def foreign_variables(environ: Iterable[str]) -> list[str]:
    """Variables that are a developer's own: a home, settings of a service, the debug switch."""
    return [
        name
        for name in environ
        if name.startswith("CATALENS_")
        and name not in _OWN_VARIABLES
        and not name.startswith(_OWN_PREFIXES)
    ]


# Until all tests are collected, hardly anything is made that ends before they do.
gc.disable()

# Here, and not in a fixture: those of a whole session run before any of a single test.
for _name in foreign_variables(os.environ):
    del os.environ[_name]
# Where there is no other SQLite than an old one, its fault is no reason to test nothing.
if not LIBRARY.sound:
    os.environ[ALLOW_OLD] = "true"

ROOT = Path(__file__).parents[1]
REAL_DATA = ROOT / os.environ.get("CATALENS_DATA", "../shared/data")


# Files of many seconds, the longest first: two test processes take whole files in turn, so one that
# started last would leave the other process idle at the end.
LONGEST_FIRST = (
    "contracts/test_quickstart.py",
    "indexer/training/test_distributed.py",
    "indexer/training/test_bad_input.py",
    "indexer/training/test_export.py",
    "indexer/training/test_look.py",
    "indexer/training/test_train.py",
    "indexer/training/test_finetune.py",
    "indexer/index/test_tuning.py",
    "contracts/test_kills.py",
    "contracts/test_journey.py",
    "contracts/test_parity.py",
    "contracts/test_cli.py",
    "indexer/model/test_every_backbone.py",
    "service/state/test_snapshots.py",
    "service/background/test_jobs.py",
    "service/test_two_processes.py",
    "service/background/test_compaction.py",
    "service/web/test_page.py",
    "service/web/test_search_view.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; skip what needs the real photos on a machine that has none."""
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
    if (REAL_DATA / "clothing").is_dir() and (REAL_DATA / "fashion").is_dir():
        return
    skip = pytest.mark.skip(reason=f"no real photos at {REAL_DATA} (set CATALENS_DATA)")
    for item in items:
        if "realdata" in item.keywords:
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    """What was loaded and collected stays to the end: some million objects, which no search for
    rubbish need go through again. In all that took a tenth of the processor time."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def clothing() -> Path:
    """The real photos in class folders under train, validation and test; use with the marker
    ``realdata``."""
    return REAL_DATA / "clothing"


@pytest.fixture(scope="session")
def fashion() -> Path:
    """The real products with a manifest; use with the marker ``realdata``."""
    return REAL_DATA / "fashion" / "products.csv"


def build_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A folder that ``build`` fills once for all test processes of a run; nobody writes to it."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / f"shared-{name}"
    with FileLock(shared / f"shared-{name}.lock"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            (folder / "complete").touch()
    return folder
