"""Two processes that share a training reach what one process reaches, and one of them writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.core.errors import BadRequestError, TrainingError
from indexer.model.bundle import load_bundle
from indexer.training.distributed import ALONE, TrainingProcesses, team
from indexer.training.options import FinetuneOptions, TrainingOptions
from indexer.training.train import train

OPTIONS = TrainingOptions(
    recipe="finetune",
    epochs=1,
    batch_size=8,
    unfreeze=2,
    seed=1,
    device="cpu",
    finetuning=FinetuneOptions(dropout=0.0, mixed=0.0),
)
JOB = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
from indexer.training.distributed import team
from indexer.training.train import train
from tests.indexer.training.test_distributed import OPTIONS

data, out, cache = map(Path, sys.argv[1:])
with team("cpu") as members:
    report = train(data, out, replace(OPTIONS, cache=cache), team=members)
    line = json.dumps({"rank": members.rank, "size": members.size, "version": report.model_version})
    # In one piece: print lets the other process's line in before the end of this one.
    os.write(1, f"{line}\\n".encode())
"""


def train_in_two(arguments: list[Path], tmp_path: Path) -> list[dict[str, object]]:
    script = tmp_path / "job.py"
    script.write_text(JOB)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, str(script), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.long
def test_two_processes_reach_the_model_of_one(
    shapes: Path, feature_cache: Path, tmp_path: Path
) -> None:
    """With Gloo, each batch split in two: the same vectors within rounding, one bundle, known to
    both."""
    train(shapes, tmp_path / "one", replace(OPTIONS, cache=feature_cache))
    pair = train_in_two([shapes, tmp_path / "two", feature_cache], tmp_path)
    assert sorted((found["rank"], found["size"]) for found in pair) == [(0, 2), (1, 2)]  # type: ignore[type-var]
    assert len({found["version"] for found in pair}) == 1
    one, two = (load_bundle(tmp_path / name) for name in ("one", "two"))
    assert one.metrics["history"][-1]["loss"] == pytest.approx(
        two.metrics["history"][-1]["loss"], rel=0.02
    )
    start_of = load_bundle(tmp_path / "one").network().state_dict()
    end_of = two.network().state_dict()
    for name, value in start_of.items():
        if value.is_floating_point():
            assert float((value - end_of[name]).abs().max()) < 5e-3, name
    np.testing.assert_allclose(one.decision.temperature, two.decision.temperature, rtol=0.1)


def test_a_batch_is_shared_out_whole() -> None:
    for size, count in ((2, 8), (3, 8), (4, 3)):
        parts = [TrainingProcesses(rank, size).shard(count) for rank in range(size)]
        assert [number for part in parts for number in range(count)[part]] == list(range(count))


def test_an_incomplete_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(BadRequestError, match="RANK"), team("cpu"):
        pass
    monkeypatch.setenv("WORLD_SIZE", "1")
    with team() as members:
        assert members == ALONE


class Told(TrainingProcesses):
    """Processes whose messages are kept, or made up."""

    def broadcast(self, value: bool) -> bool:
        MESSAGES.append(value)
        return FIRST_DONE[0]


MESSAGES: list[bool] = []
FIRST_DONE = [True]


def test_an_error_of_the_first_process_lets_nobody_wait() -> None:
    """It says that it failed, and the others raise; they waited two hours for it."""
    MESSAGES.clear()
    with pytest.raises(ZeroDivisionError), Told(0, 2).first():
        raise ZeroDivisionError
    with Told(0, 2).first() as writes:
        assert writes
    assert MESSAGES == [False, True]
    with Told(1, 2).first() as writes:
        assert not writes
    FIRST_DONE[0] = False
    with pytest.raises(TrainingError, match="first process"), Told(1, 2).first():
        raise AssertionError("the body of the others does not begin")
    FIRST_DONE[0] = True
