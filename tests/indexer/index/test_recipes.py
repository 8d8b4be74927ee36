"""The recipes to try, by size, dimension, blocks, device and memory; and that a smaller budget
keeps less."""

from __future__ import annotations

import pytest

from indexer.core.errors import BadRequestError
from indexer.index.base import FLAT_BELOW
from indexer.index.recipes import candidates, choose_recipe, resident_bytes


def test_small_catalogs_are_scanned() -> None:
    """Below 20,000 entries there is one recipe, the exact one."""
    for n in (0, 1, FLAT_BELOW - 1):
        assert candidates(n, 512) == ["Flat"]


def test_large_ones_try_lists_first_and_end_with_the_exact_scan() -> None:
    """Four-bit lists, eight-bit lists, a graph where one hop is cheap; the exact scan is always the
    last resort."""
    assert candidates(100_000, 512) == ["IVF316,PQ256x4fsr,Refine(SQ8)", "IVF1264,SQ8", "Flat"]
    assert candidates(100_000, 64)[2:] == ["HNSW32,SQ8", "Flat"]
    assert choose_recipe(1_000_000) == "IVF1000,PQ256x4fsr,Refine(SQ8)"


def test_parts_never_straddle_blocks() -> None:
    """A block of odd length leaves no place for parts of two dimensions: eight-bit
    codes are taken."""
    assert choose_recipe(100_000, 512, block_dims=(192, 64, 256)).startswith("IVF316,PQ256x4fsr")
    assert choose_recipe(100_000, 512, block_dims=(191, 65, 256)) == "IVF1264,SQ8"
    assert choose_recipe(100_000, 511) == "IVF1264,SQ8"


def test_budget_leaves_out_what_does_not_fit() -> None:
    """With less memory the recipe keeps less; what is offered fits; below the least, the error
    names both numbers."""
    n, d = 1_000_000, 512
    last = None
    for memory in (2**31, 2**29 + 2**28, 2**28 + 2**27):
        found = candidates(n, d, memory=memory)
        assert all(resident_bytes(recipe, n, d) <= memory for recipe in found)
        assert last is None or set(found) <= last
        last = {*found, "IVF1000,PQ256x4fsr"}
    assert found == ["IVF1000,PQ256x4fsr"]
    with pytest.raises(
        BadRequestError, match=r"1000000 vectors of 512 need \d+ MiB .*the budget is 100 MiB"
    ):
        candidates(n, d, memory=100 * 2**20)
    with pytest.raises(BadRequestError, match="above 0"):
        candidates(n, d, memory=0)


def test_four_bit_lists_keep_less_than_half_of_float32() -> None:
    """The promise on memory: codes and their eight-bit companions together."""
    for n, d in ((100_000, 512), (1_000_000, 256)):
        assert resident_bytes(choose_recipe(n, d), n, d) <= 0.5 * 4 * n * d


def test_a_gpu_gets_recipes_that_it_can_hold() -> None:
    """Exact up to a million, lists beyond; product codes of a count that its kernels know, aligned
    to blocks."""
    assert candidates(100_000, 512, device="cuda") == ["Flat"]
    assert candidates(4_000_000, 512, device="cuda") == ["IVF8000,SQfp16", "IVF8000,PQ64", "Flat"]
    assert candidates(4_000_000, 512, device="cuda", memory=2**30 + 2**28) == ["IVF8000,PQ64"]
    assert "PQ" not in ",".join(candidates(4_000_000, 510, device="cuda", block_dims=(251, 259)))
