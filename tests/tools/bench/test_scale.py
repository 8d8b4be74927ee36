"""``bench scale``: growth recomputed from rows."""

from __future__ import annotations

import pytest

from tools.bench import scale


def test_scale_tells_how_figures_grow() -> None:
    """Ten times the entries at twice the latency grow with a power of log10 2; one size alone tells
    nothing."""
    sizes = [
        {"n": 1000, "p50_ms": 1.0, "cold_open_s": 0.2},
        {"n": 10_000, "p50_ms": 2.0, "cold_open_s": 0.4},
    ]
    rows = [{"part": "sizes", "sizes": sizes}]
    assert scale.growth(rows) == pytest.approx(0.30103)
    assert [goal.judge(rows)["met"] for goal in scale.GOALS] == [True, True]
    assert scale.GOALS[0].judge(rows)["value"] == 0.4
    assert scale.growth([{"part": "sizes", "sizes": sizes[:1]}]) is None
