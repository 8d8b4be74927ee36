"""Arithmetic of FAISS factory strings: which fit a catalog, and what they take."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from indexer.core.errors import BadRequestError
from indexer.index.base import EXACT, FLAT_BELOW

# A GPU scans so many halves in a few milliseconds, and a batch for the same price.
GPU_FLAT_BELOW = 1_000_000
# Entries; beyond, the graph takes minutes to build.
HNSW_BELOW = 300_000
# A graph only pays where a hop's one distance is short.
_HNSW_DIM = 256
# Dimensions of one 4-bit part: two bits a dimension.
PART = 2
# Counts of parts that FAISS's GPU kernels know.
_GPU_PARTS = (96, 64, 56, 48, 40, 32, 28, 24, 20, 16, 12, 8, 4, 2, 1)
# Vectors for each list: a tenth of them may train nothing.
_PER_LIST = 1.25
_REFINED = ",Refine(SQ8)"
# Build time grows as entries ** this: lists and graphs a little faster than the entries.
_GROWTH = 1.15
# Queries by which recall is measured, about.
_QUERIES = 512


def kind_of(recipe: str) -> str:
    """ "flat", "ivf" or "hnsw". Raises ``BadRequestError`` for another recipe."""
    if recipe == EXACT:
        return "flat"
    for kind in ("ivf", "hnsw"):
        if recipe.upper().startswith(kind.upper()):
            return kind
    raise BadRequestError(
        f"unknown index recipe {recipe!r}: give Flat, or a FAISS factory string starting with IVF "
        "or HNSW"
    )


def cpu_recipes(entries: int, dim: int, block_dims: Sequence[int]) -> list[str]:
    """Recipes for so many entries, the best first; an exact scan, always right, the last."""
    if entries < FLAT_BELOW:
        return [EXACT]
    found = [f"IVF{4 * math.isqrt(entries)},SQ8"]
    if aligned(dim, block_dims, PART):
        found.insert(0, f"IVF{math.isqrt(entries)},PQ{dim // PART}x4fsr,Refine(SQ8)")
    if entries < HNSW_BELOW and dim <= _HNSW_DIM:
        found.append("HNSW32,SQ8")
    return [*found, EXACT]


def gpu_recipes(entries: int, dim: int, block_dims: Sequence[int]) -> list[str]:
    """The same, of recipes that FAISS has a GPU form of."""
    if entries < GPU_FLAT_BELOW:
        return [EXACT]
    lists = 4 * math.isqrt(entries)
    found = [f"IVF{lists},SQfp16"]
    parts = next(
        (
            count
            for count in _GPU_PARTS
            if dim % count == 0 and aligned(dim, block_dims, dim // count)
        ),
        None,
    )
    if parts is not None and parts >= 8:
        found.append(f"IVF{lists},PQ{parts}")
    return [*found, EXACT]


def aligned(dim: int, block_dims: Sequence[int], part: int) -> bool:
    """Whether parts of ``part`` dimensions end where the blocks end."""
    return all(length % part == 0 for length in (*block_dims, dim))


def between(tuned: Mapping[str, Any], k: float) -> float:
    """What was tuned for 10 and for 100 hits, for ``k`` of them."""
    low = float(tuned["10"])
    high = float(tuned["100"])
    if k <= 10:
        return low
    step = max(high, low) / low
    return low * step ** math.log10(k / 10) if k <= 100 else low * step * math.sqrt(k / 100)


def lists_of(recipe: str) -> int:
    """``nlist`` of an IVF recipe; 0 where it has none."""
    found = re.match(r"IVF(\d+)", recipe)
    return int(found[1]) if found else 0


def resident_bytes(recipe: str, entries: int, dim: int) -> int:
    """About what an opened index of this recipe keeps resident: codes, graph, centroids; halves
    that are scanned."""
    if recipe == EXACT:
        return 2 * dim * entries
    # A row number.
    width = 8.0
    if recipe.startswith("HNSW"):
        width = 4.0 * 2 * int(re.match(r"HNSW(\d+)", recipe)[1])  # type: ignore[index]
    if "SQ8" in recipe:
        width += dim
    elif "SQfp16" in recipe or recipe.endswith(",Flat"):
        width += 2 * dim if "SQ" in recipe else 4 * dim
    if parts := re.search(r"PQ(\d+)(x4)?", recipe):
        width += int(parts[1]) * (0.5 if parts[2] else 1.0)
    return int(entries * width) + 4 * dim * lists_of(recipe)


def fewest_entries(recipe: str) -> int:
    """With fewer entries than this its lists are too many."""
    return math.ceil(_PER_LIST * lists_of(recipe))


def without_refinement(recipe: str) -> str | None:
    """The recipe whose candidates are scored from the stored file, not from 8-bit codes: slower,
    and the least that can be kept. None where it has no such codes."""
    return recipe.removesuffix(_REFINED) if recipe.endswith(_REFINED) else None


def build_bytes(recipe: str, entries: int, dim: int) -> tuple[int, int]:
    """(memory, disk) that vectors and index take while it is built, and then."""
    part = 0.0 if recipe == EXACT else dim * 1.0
    if kind_of(recipe) == "hnsw":
        part = dim * (1.0 if "SQ8" in recipe else 4.0) + 2 * 4 * 32
    elif match := re.search(r"PQ(\d+)x4", recipe):
        part = int(match.group(1)) / 2
    disk = int(entries * (2 * dim + 16 + part + (8 if part else 0)))
    sample = 0 if recipe == EXACT else 256 * math.isqrt(entries) * dim * 4
    # a portion in float32, and its scores for the queries by which recall is measured
    portion = min(entries, 65536) * (dim + _QUERIES) * 4
    return int(entries * (2 * dim + part + 24) + portion + sample), disk


def loads_torch(recipe: str) -> bool:
    """Whether building it loads torch: four-bit codes are chosen by it."""
    return "x4fsr" in recipe


def build_growth(recipe: str) -> float:
    """g where building takes time in proportion to entries ** g."""
    return 1.0 if recipe == EXACT else _GROWTH


def scaled(recipe: str, share: float) -> str:
    """The recipe for a ``share`` of the entries: as many lists as it would have there."""

    def lists(match: re.Match[str]) -> str:
        return f"IVF{max(1, round(int(match[1]) * math.sqrt(share)))}"

    return re.sub(r"IVF(\d+)", lists, recipe)
