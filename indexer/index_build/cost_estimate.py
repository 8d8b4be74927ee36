"""Cost estimate of an index build, from earlier builds in the home, else from a trial."""

from __future__ import annotations

import math
import re
import resource
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexer.core import native
from indexer.core.atomic_files import make_folder, write_json
from indexer.core.errors import BadRequestError
from indexer.core.home import Home
from indexer.core.regular_files import read_json
from indexer.index.registry import engine_of
from indexer.index.tuning import build_tuned

STAGES = ("embed", "build", "tags", "publish")
_SMALL = 2000  # entries; below, a build takes as long as its fixed costs
_FAR = 8.0  # a measured build says nothing about one that is so many times larger or smaller
_DISK_RATE = 150e6  # bytes per second written, flushed and checksummed, before it was measured
_TRIAL = 20_000  # vectors of the larger trial build, at most
# Bytes that a network takes once its runtime is loaded and open, before that was measured in this
# home: most of it are the libraries. Measured; torch without its CUDA part takes a third less.
_OPEN = {"torch": 760_000_000, "openvino": 110_000_000}
# The same where the libraries are in the process already.
_LOADED = 240_000_000
# What the runtime takes beside photos while it embeds.
_WORKING = 100_000_000
_LIBRARY = {"torch": "torch._dynamo", "openvino": "openvino"}
# A petabyte, and characters of a wrong size that are said again.
_LARGEST, _SHOWN = 2**50, 40
_UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}


@dataclass(frozen=True)
class Estimate:
    """What a build will take. ``seconds`` by stage, None where nothing is known, with ``total``."""

    seconds: dict[str, float | None]
    memory_bytes: int  # of the whole process at its peak
    disk_bytes: int  # of the new version
    # "measured" in this home; "trial": on a few photos and generated vectors; "unknown"
    basis: str = "measured"


@dataclass
class CostRates:
    """Measured cost of builds in a home, by kind of recipe: ``indexes/RATES``.

    Lost or damaged, it is measured anew.
    """

    path: Path
    builds: dict[str, dict[str, float]] = field(default_factory=dict)
    # by engine: bytes of the open network, and what embedding takes beside it
    networks: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def load(cls, home: Home) -> CostRates:
        path = home.indexes / "RATES"
        try:
            stored = read_json(path)
            builds = _numbers(stored.get("builds", {}))
            networks = _numbers(stored.get("networks", {}))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(path)
        return cls(path, builds, networks)

    def record(self, recipe: str, measured: dict[str, float]) -> None:
        """Remember what a build took: ``entries``, ``dim``, seconds by stage, ``memory_bytes``,
        ``disk_bytes``."""
        self.builds[kind_of(recipe)] = measured
        # a full or read-only disk: the next estimate is as good as this one
        with suppress(OSError):
            make_folder(self.path.parent, below=self.path.parent.parent)
            write_json(self.path, {"builds": self.builds, "networks": self.networks})

    def record_network(self, engine: str, opened: int | None, working: int) -> None:
        """Remember, for the next ``record``, what a network took: bytes when it was opened (None:
        its libraries were there already) and beside that while it embedded."""
        known = self.networks.setdefault(engine, {})
        known["working"] = working
        if opened is not None:
            known["opened"] = opened

    def opened_bytes(self, engine: str) -> int:
        """What opening the network of a model is going to take, libraries included."""
        usual = _OPEN.get(engine, max(_OPEN.values()))
        found = int(self.networks.get(engine, {}).get("opened", usual))
        return min(found, _LOADED) if is_loaded(engine) else found

    def working_bytes(self, engine: str, photo_bytes: int) -> int:
        """What embedding is going to take beside the open network; ``photo_bytes``: of the photos
        that are decoded at once."""
        found = self.networks.get(engine, {}).get("working")
        return _WORKING + photo_bytes if found is None else int(found)

    def comparable(self, recipe: str, entries: int, dim: int) -> dict[str, float] | None:
        """The last build of this kind, if it says something about one of this size."""
        found = self.builds.get(kind_of(recipe))
        if found is None or found.get("dim") != dim:
            return None
        ratio = max(entries, _SMALL) / max(found["entries"], _SMALL)
        return found if 1 / _FAR <= ratio <= _FAR else None


def _numbers(stored: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Measured numbers by kind, as they are stored. Raises ``ValueError``, ``TypeError``."""
    found: dict[str, dict[str, float]] = {}
    for kind, entry in stored.items():
        found[str(kind)] = {name: float(value) for name, value in entry.items()}
    return found


def library_bytes(recipe: str) -> int:
    """What a build takes for a library that its index loads; 0 where it is in the process."""
    return native.torch_bytes() if engine_of(recipe).loads_torch(recipe) else 0


def is_loaded(engine: str) -> bool:
    """Whether the libraries of a network's engine are in this process already."""
    return _LIBRARY.get(engine, engine) in sys.modules


def kind_of(recipe: str) -> str:
    """ "IVF" of "IVF894,SQ8"."""
    match = re.match(r"[A-Za-z]+", recipe)
    return match.group() if match else recipe


def parse_size(text: str) -> int:
    """Bytes of "2GB", "500 MB", "1.5GiB" or a plain number. Raises ``BadRequestError``."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if match is None or match.group(2) == "i" or float(match.group(1)) <= 0:
        raise BadRequestError(f"{text[:_SHOWN]!a} is no size: write it like 2GB, 500MB or 1.5GiB")
    size = float(match.group(1)) * _UNITS[match.group(2)]
    if size > _LARGEST:
        raise BadRequestError(
            f"a size of {text[:_SHOWN]} is more than any machine has: 1024TiB at most"
        )
    return int(size)


def estimate(
    rates: CostRates,
    *,
    recipe: str,
    entries: int,
    dim: int,
    to_embed: int,
    photos_per_s: float | None,
    base_bytes: int,
    working_bytes: int = 0,
) -> Estimate:
    """From measured builds; ``base_bytes`` is what the process holds before it reads a vector, its
    open network included, and ``working_bytes`` what it takes beside that while it embeds."""
    found = rates.comparable(recipe, entries, dim)
    seconds: dict[str, float | None] = {"embed": None}
    if not to_embed or photos_per_s:
        seconds["embed"] = to_embed / photos_per_s if photos_per_s else 0.0
    memory, disk = engine_of(recipe).build_bytes(recipe, entries, dim)
    if found is None:
        seconds |= {"build": None, "tags": None, "publish": None}
    else:
        growth = max(entries, _SMALL) / max(found["entries"], _SMALL)
        seconds["build"] = found["build"] * growth ** engine_of(recipe).build_growth(recipe)
        seconds |= {stage: found[stage] * growth for stage in ("tags", "publish")}
        memory, disk = (int(found[name] * growth) for name in ("memory_bytes", "disk_bytes"))
    known = [value for value in seconds.values() if value is not None]
    seconds["total"] = sum(known) if len(known) == len(STAGES) else None
    return Estimate(
        seconds,
        base_bytes + max(memory, working_bytes),
        disk,
        "unknown" if seconds["total"] is None else "measured",
    )


def try_build(rates: CostRates, *, recipe: str, entries: int, dim: int, recall: float) -> None:
    """Build two small indexes of generated vectors and note what one of ``entries`` would take."""
    sizes = sorted({min(entries, _TRIAL // 4), min(entries, _TRIAL)})
    took = []
    for size in sizes:
        vectors = _generated(size, dim)
        started = time.monotonic()
        build_tuned(vectors, recall=recall, recipe=engine_of(recipe).scaled(recipe, size / entries))
        took.append(max(time.monotonic() - started, 1e-3))
    power = engine_of(recipe).build_growth(recipe)
    if len(sizes) == 2 and sizes[0] >= _SMALL:
        power = min(max(math.log(took[1] / took[0]) / math.log(sizes[1] / sizes[0]), 0.9), 1.4)
    seconds = took[-1] * (entries / max(sizes[-1], 1)) ** power
    memory, disk = engine_of(recipe).build_bytes(recipe, entries, dim)
    measured = {"build": seconds, "tags": 0.0, "publish": 0.2 + disk / _DISK_RATE}
    rates.record(
        recipe,
        {"entries": entries, "dim": dim, **measured, "memory_bytes": memory, "disk_bytes": disk},
    )


def _generated(count: int, dim: int) -> np.ndarray:
    """float16 [count, dim]: unit vectors around one centre for each hundred."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(count // 100, 10), dim), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = centres[rng.integers(0, len(centres), count)]
    noise = rng.standard_normal((count, dim), dtype=np.float32)
    vectors += 0.6 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


class Peak:
    """Peak memory of this process since ``start``, where the system reports it."""

    def start(self) -> int:
        """Begin anew; returns what is held now, in bytes."""
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far
        return _status("VmRSS") or self.bytes()

    def bytes(self) -> int:
        """The peak in bytes."""
        unit = 1 if sys.platform == "darwin" else 1024
        return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = next((line.split() for line in lines if line.startswith(f"{name}:")), None)
    return int(found[1]) * 1024 if found else None
