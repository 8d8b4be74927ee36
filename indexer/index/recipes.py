"""Which recipes an index may get, the best first: by size, dimension, blocks, device and memory
budget."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from indexer.core.errors import BadRequestError

FLAT_BELOW = (
    20_000  # entries; below, the exact scan takes about a millisecond and there is nothing to lose
)
GPU_FLAT_BELOW = (
    1_000_000  # a GPU scans so many halves in a few milliseconds, and a batch for the same price
)
HNSW_BELOW = 300_000  # entries; beyond, the graph takes minutes to build
_HNSW_DIM = 256  # and it only pays where a hop's one distance is short
PART = 2  # dimensions of one 4-bit part: two bits a dimension
_GPU_PARTS = (
    96,
    64,
    56,
    48,
    40,
    32,
    28,
    24,
    20,
    16,
    12,
    8,
    4,
    2,
    1,
)  # counts that FAISS's GPU kernels know


def candidates(
    entries: int,
    dim: int,
    *,
    block_dims: Sequence[int] = (),
    device: str = "cpu",
    memory: int | None = None,
) -> list[str]:
    """Recipes worth trying for ``entries`` vectors of ``dim``, the best first; "Flat", which is
    always right, the last.

    ``block_dims`` are the lengths of the embedding's blocks: no part of a product quantiser
    straddles two of them. ``device`` "cuda" asks for recipes that have a GPU form. ``memory`` in
    bytes is what the opened index may keep resident; recipes above it are left out. Raises
    ``BadRequestError`` where nothing but a scan of the stored file is left and that does not fit
    either.
    """
    if memory is not None and memory <= 0:
        raise BadRequestError(f"the memory budget must be above 0 bytes, not {memory}")
    possible = (
        _gpu(entries, dim, block_dims) if device == "cuda" else _cpu(entries, dim, block_dims)
    )
    if memory is None:
        return possible
    # Without the 8-bit codes candidates are scored from the stored file: slower, and the least that
    # can be kept.
    spare = [
        recipe.removesuffix(",Refine(SQ8)")
        for recipe in possible
        if recipe.endswith(",Refine(SQ8)")
    ]
    fitting = [
        recipe for recipe in [*possible, *spare] if resident_bytes(recipe, entries, dim) <= memory
    ]
    if not fitting:
        least = min(possible + spare, key=lambda recipe: resident_bytes(recipe, entries, dim))
        raise BadRequestError(
            f"{entries} vectors of {dim} need {resident_bytes(least, entries, dim) / 2**20:.0f} "
            f"MiB ({least}), "
            f"the budget is {memory / 2**20:.0f} MiB"
        )
    return [
        *(recipe for recipe in fitting if recipe != "Flat"),
        *(["Flat"] if "Flat" in fitting else []),
    ]


def choose_recipe(
    entries: int,
    dim: int = 512,
    *,
    block_dims: Sequence[int] = (),
    device: str = "cpu",
    memory: int | None = None,
) -> str:
    """The first of ``candidates``: what a build tries first."""
    return candidates(entries, dim, block_dims=block_dims, device=device, memory=memory)[0]


def _cpu(entries: int, dim: int, block_dims: Sequence[int]) -> list[str]:
    if entries < FLAT_BELOW:
        return ["Flat"]
    found = [f"IVF{4 * math.isqrt(entries)},SQ8"]
    if aligned(dim, block_dims, PART):
        found.insert(0, f"IVF{math.isqrt(entries)},PQ{dim // PART}x4fsr,Refine(SQ8)")
    if entries < HNSW_BELOW and dim <= _HNSW_DIM:
        found.append("HNSW32,SQ8")
    return [*found, "Flat"]


def _gpu(entries: int, dim: int, block_dims: Sequence[int]) -> list[str]:
    if entries < GPU_FLAT_BELOW:
        return ["Flat"]
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
    return [*found, "Flat"]


def aligned(dim: int, block_dims: Sequence[int], part: int) -> bool:
    """Whether parts of ``part`` dimensions end where the blocks end."""
    return all(length % part == 0 for length in (*block_dims, dim))


def lists_of(recipe: str) -> int:
    """``nlist`` of an IVF recipe; 0 where it has none."""
    found = re.match(r"IVF(\d+)", recipe)
    return int(found[1]) if found else 0


def resident_bytes(recipe: str, entries: int, dim: int) -> int:
    """About what an opened index of this recipe keeps resident: codes, graph, centroids; halves
    that are scanned."""
    if recipe == "Flat":
        return 2 * dim * entries
    width = 8.0  # a row number
    if recipe.startswith("HNSW"):
        width = 4.0 * 2 * int(re.match(r"HNSW(\d+)", recipe)[1])  # type: ignore[index]
    if "SQ8" in recipe:
        width += dim
    elif "SQfp16" in recipe or recipe.endswith(",Flat"):
        width += 2 * dim if "SQ" in recipe else 4 * dim
    if parts := re.search(r"PQ(\d+)(x4)?", recipe):
        width += int(parts[1]) * (0.5 if parts[2] else 1.0)
    return int(entries * width) + 4 * dim * lists_of(recipe)
