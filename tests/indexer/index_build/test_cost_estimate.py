"""Costs of a build: sizes as people write them, estimates from earlier builds."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from indexer.core.errors import BadRequestError
from indexer.core.home import Home
from indexer.index_build.cost_estimate import CostRates, estimate, library_bytes, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("500 MB", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("123", 123), ("4k", 4000)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "two", "0", "1ib", "5 apples"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(BadRequestError, match="is no size"):
        parse_size(text)


def test_estimates_scale_what_was_measured(tmp_path: Path) -> None:
    """Twice the entries take twice as long, far more are not guessed at, and another dimension is
    another thing."""
    home = Home.create(tmp_path)
    rates = CostRates.load(home)
    measured = {"build": 4.0, "tags": 1.0, "publish": 2.0, "memory_bytes": 1e6, "disk_bytes": 1e6}
    rates.record("Flat", {"entries": 10_000, "dim": 64, **measured})
    asked = {"recipe": "Flat", "dim": 64, "to_embed": 100, "photos_per_s": 50.0, "base_bytes": 7}
    found = estimate(CostRates.load(home), entries=20_000, **asked)  # type: ignore[arg-type]
    assert found.seconds == {"embed": 2.0, "build": 8.0, "tags": 2.0, "publish": 4.0, "total": 16.0}
    assert (found.memory_bytes, found.disk_bytes, found.basis) == (2_000_007, 2_000_000, "measured")
    for other in (
        {"entries": 200_000},
        {"entries": 20_000, "dim": 128},
        {"entries": 20_000, "photos_per_s": None},
    ):
        unknown = estimate(CostRates.load(home), **{**asked, **other})  # type: ignore[arg-type]
        assert (unknown.basis, unknown.seconds["total"]) == ("unknown", None)
    (home.indexes / "RATES").write_text("nonsense")
    assert CostRates.load(home).builds == {}


def test_torch_counts_where_a_build_loads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four-bit codes are chosen by torch: 82 MB were told and 665 taken. In the process already, it
    takes nothing more; other recipes do without."""
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    assert library_bytes("IVF158,PQ128x4fsr,Refine(SQ8)") == 0
    monkeypatch.delitem(sys.modules, "torch")
    assert library_bytes("IVF158,PQ128x4fsr,Refine(SQ8)") == 480_000_000
    assert library_bytes("Flat") == library_bytes("HNSW32,SQ8") == 0


def test_the_network_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries, weights and photos: as measured in this home, else as they usually are; what is in
    the process already is not counted twice. The peak of embedding is not added to the build's."""
    monkeypatch.setattr("indexer.index_build.cost_estimate.is_loaded", lambda _engine: False)
    rates = CostRates.load(Home.create(tmp_path))
    assert rates.opened_bytes("torch") > 5 * rates.opened_bytes("openvino") > 10**8
    assert rates.working_bytes("torch", 10**9) == 1_100_000_000
    rates.record_network("torch", 500_000_000, 50_000_000)
    rates.record_network("openvino", None, 40_000_000)
    measured = {"build": 4.0, "tags": 1.0, "publish": 2.0, "memory_bytes": 1e6, "disk_bytes": 1e6}
    rates.record("Flat", {"entries": 10_000, "dim": 64, **measured})
    again = CostRates.load(Home(tmp_path))
    assert again.opened_bytes("torch") == 500_000_000
    assert again.opened_bytes("openvino") == CostRates(tmp_path).opened_bytes("openvino")
    assert again.working_bytes("torch", 10**9) == 50_000_000
    asked = {"recipe": "Flat", "dim": 64, "to_embed": 9, "photos_per_s": 5.0, "base_bytes": 7}
    found = estimate(again, entries=10_000, working_bytes=50_000_000, **asked)  # type: ignore[arg-type]
    assert found.memory_bytes == 50_000_007
    monkeypatch.setattr("indexer.index_build.cost_estimate.is_loaded", lambda _engine: True)
    assert again.opened_bytes("torch") < 500_000_000
