"""The benchmarks' frame: goals come from rows, and what cannot run says why."""

from __future__ import annotations

import types
from pathlib import Path

import pytest

from indexer.core.errors import BadDataError, BadRequestError
from tools.bench import spine
from tools.bench.harness import framework


def test_goal_is_judged_from_the_rows() -> None:
    """A goal's value is what its row holds; ``met`` follows operator and goal, at
    the border too."""
    rows = [{"part": "a", "ms": 60.0}, {"part": "b", "share": 0.895}]
    below = framework.Goal("a ms", "<", 60, framework.figure("a", "ms")).judge(rows)
    assert below == {"name": "a ms", "op": "<", "goal": 60, "value": 60.0, "met": False}
    assert (
        framework.Goal("b", ">=", 0.895, framework.figure("b", "share")).judge(rows)["met"] is True
    )


def test_goal_that_was_not_measured_is_neither_met_nor_missed() -> None:
    """Without its row a goal has no value and no verdict."""
    found = framework.Goal("x", "<", 1, framework.figure("absent", "x")).judge([])
    assert found["value"] is None
    assert found["met"] is None


def test_run_gives_the_document(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``run`` measures the parts asked for, in a folder that is there, and lists every goal."""
    fake = types.SimpleNamespace(
        PARTS=("one", "two"),
        GOALS=(framework.Goal("one", "<", 5, framework.figure("one", "n")),),
        measure=lambda part, work: {"n": 3, "there": work.is_dir()},
    )
    monkeypatch.setattr(framework, "import_module", lambda name: fake)
    monkeypatch.setitem(framework.BENCHMARKS, "fake", "for this test")
    found = framework.run("fake", only=("one",), work=tmp_path / "kept")
    assert found["bench"] == "fake"
    assert found["rows"] == [{"part": "one", "n": 3, "there": True}]
    assert found["goals"] == [{"name": "one", "op": "<", "goal": 5, "value": 3, "met": True}]
    assert found["machine"]["cores"] >= 1
    assert [row["part"] for row in framework.run("fake")["rows"]] == ["one", "two"]


def test_unknown_names_are_refused() -> None:
    """An unknown benchmark and an unknown part are named, with those there are."""
    with pytest.raises(BadRequestError, match=r"'nope'.*spine"):
        framework.run("nope")
    with pytest.raises(BadRequestError, match=r"'nope'.*train"):
        framework.run("spine", only=("nope",))


def test_missing_photos_say_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the real photos the error names the variable and the folder."""
    monkeypatch.delenv("CATALENS_DATA", raising=False)
    with pytest.raises(BadDataError, match="CATALENS_DATA"):
        framework.run("spine", only=("train",))
    monkeypatch.setenv("CATALENS_DATA", str(tmp_path))
    with pytest.raises(BadDataError, match="clothing"):
        framework.run("spine", only=("train",))


def test_spine_carries_every_goal_of_its_parts() -> None:
    """Each goal reads a part that exists, and each part but the plain figures of tags
    has a goal."""
    read = {
        part
        for part in spine.PARTS
        for goal in spine.GOALS
        if goal.read([{"part": part, **_everything()}]) is not None
    }
    assert read == set(spine.PARTS) - {"tags"}


def _everything() -> dict[str, float]:
    return dict.fromkeys(
        ("seconds", "cold_s", "warm_s", "accuracy", "hit_rate_at_1", "p50_ms"), 1.0
    )


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 3.0), (0.95, 5.0), (1.0, 5.0)])
def test_percentile_is_a_sample(share: float, value: float) -> None:
    """A percentile is one of the samples, by rank."""
    assert framework.percentile([5.0, 1.0, 3.0, 2.0, 4.0], share) == value
