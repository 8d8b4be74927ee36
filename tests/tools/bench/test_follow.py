"""``bench follow`` in small: its rows hold what its goals read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.bench import follow


@pytest.mark.long
def test_its_rows_hold_what_its_goals_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All answers are complete in the end; each goal finds its value."""
    for name, size in {"PRODUCTS": 300, "REVIEWS": 9, "PHOTOS": 6, "SECONDS": 1}.items():
        monkeypatch.setenv(f"CATALENS_BENCH_{name}", str(size))
    monkeypatch.setattr(follow, "_TIMES", 2)
    rows = [{"part": part, **follow.measure(part, tmp_path)} for part in follow.PARTS]
    assert None not in [goal.judge(rows)["value"] for goal in follow.GOALS]
    assert (rows[0]["products"], rows[0]["reviews"]) == (300, 9)
    assert rows[1]["searches"]["beside"] > 0
