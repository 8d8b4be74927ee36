"""Worker processes: one thread each, our modules at hand, output kept, no survivor."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from indexer.core import process_limits
from indexer.core.errors import NoMemoryError
from indexer.core.process_limits import OVER_MEMORY, MemoryWatch
from indexer.index.version import Versions
from indexer.operations import compaction, erasure, jobs, sync
from indexer.operations.jobs import JobProblem, Jobs, run
from service.background import worker_process
from service.background.worker_process import WorkerProcess
from service.engine import Engine
from service.settings import Settings
from tests.service.state.test_snapshots import wait_for

PROBE = """
import json, os, sys
import indexer
print(json.dumps([sys.argv[1:], os.environ["OMP_NUM_THREADS"], os.environ["CATALENS_THREADS"]]))
print("first\\nlast", file=sys.stderr)
sys.exit(3)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("ready", "w").close()
time.sleep(60)
"""
LASTING = """
import os, time
from indexer.core.parent_process import end_with_parent
end_with_parent()
open("child", "w").write(str(os.getpid()))
time.sleep(60)
"""
SERVICE = """
import time
from service.background.worker_process import WorkerProcess
process = WorkerProcess("lasting")
time.sleep(60)
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder from which our packages cannot be found but by their path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CATALENS_THREADS", "7")
    return tmp_path


def test_a_worker_has_one_thread_and_finds_our_modules(elsewhere: Path) -> None:
    """Wherever the service was started; its exit code, output and last words are kept."""
    (elsewhere / "probe.py").write_text(PROBE)
    process = WorkerProcess("probe", "a", "b c")
    wait_for(lambda: process.poll() is not None, seconds=30)
    assert process.poll() == 3
    printed, reason = process.finish()
    assert json.loads(printed) == [["a", "b c"], "1", "1"]
    assert reason == "last"


def test_a_worker_that_does_not_end_is_killed(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked first, then killed; none outlives its service."""
    monkeypatch.setattr(worker_process, "_PATIENCE_S", 0.2)
    (elsewhere / "stubborn.py").write_text(STUBBORN)
    process = WorkerProcess("stubborn")
    wait_for((elsewhere / "ready").exists, seconds=30)
    process.stop()
    assert process.poll() == -9
    with pytest.raises(ProcessLookupError):
        os.kill(process._process.pid, 0)


def test_no_worker_outlives_a_service_that_was_killed(elsewhere: Path) -> None:
    """A service that can end nothing any more leaves no process that goes on rewriting the home."""
    (elsewhere / "lasting.py").write_text(LASTING)
    path = os.pathsep.join([str(elsewhere), str(Path(__file__).parents[3])])
    service = subprocess.Popen(
        [sys.executable, "-c", SERVICE], env={**os.environ, "PYTHONPATH": path}
    )
    child = elsewhere / "child"
    wait_for(lambda: child.exists() and child.read_text() != "", seconds=30)
    number = int(child.read_text())
    os.kill(number, 0)
    service.kill()
    service.wait()
    wait_for(lambda: not _runs(number), seconds=10)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


@pytest.mark.parametrize("module", [compaction, erasure, jobs, sync])
def test_each_worker_ends_with_its_service(module: ModuleType) -> None:
    assert "end_with_parent()" in inspect.getsource(module.main)


@pytest.mark.parametrize(
    ("module", "limit"),
    [
        (compaction, "limit_worker()"),
        (erasure, "limit_worker()"),
        (jobs, "limit_worker()"),
        (jobs, "limit_import()"),
        (sync, "limit_import()"),
    ],
)
def test_each_worker_has_a_limit_of_memory(module: ModuleType, limit: str) -> None:
    assert limit in inspect.getsource(module.main)


def test_the_setting_reaches_every_worker(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Jobs, compaction and erasure are started with what ``job_memory`` allows."""
    told: list[tuple[str, str]] = []
    real = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        told.append((command[2].rpartition(".")[2], options["env"][process_limits.JOB_MEMORY]))
        return real([sys.executable, "-c", "print()"], **options)

    monkeypatch.setattr(worker_process.subprocess, "Popen", start)
    with Engine(Settings(home=own_home, job_memory=7_000_000_000, max_delta=1), watch=False) as own:
        own.products.delete("cross-red")
        own.jobs.add_build()
        own.eraser.poll()
        own.folding._start(own.ready(), "a test asks")
    assert sorted(told) == [(name, "7000000000") for name in ("compaction", "erasure", "jobs")]


def test_work_that_needs_more_than_a_worker_may_changes_nothing(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build, a compaction and an erasure say what needs how much, of how much, by which setting;
    versions, products and what serves stay as they are."""
    own.products.delete("cross-red")
    monkeypatch.setattr(process_limits, "_watch", MemoryWatch(1_000_000))
    told = Jobs(own.home)
    job_id = told.add("build", {"activate": True, "device": "cpu"}).job_id
    run(own.home, job_id)
    problem = told.get(job_id).problem
    assert problem is not None
    assert problem.code == "no-memory"
    said = [problem.detail]
    with pytest.raises(NoMemoryError) as caught:
        compaction.compact(own.home, "v000001", device="cpu")
    said.append(str(caught.value))
    said.append(erasure.erase(own.home).failed["v000001"])
    for text, what in zip(
        said, ("the index build", "the index build", "the rewrite of index version v000001"),
        strict=True,
    ):  # fmt: skip
        assert text.startswith(f"{what} is estimated to take ")
        assert "a worker may take 0.00 GB" in text
        assert "job_memory" in text
    assert Versions(own.home).names() == ["v000001"]
    assert own.home.active().index_version == "v000001"  # type: ignore[union-attr]
    monkeypatch.setattr(process_limits, "_watch", None)
    assert erasure.erase(own.home).rewritten == {"v000001": "v000002"}


def test_a_job_that_was_ended_for_its_memory_says_so(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not ``worker-died``: the last words of the process are the problem."""
    script = f"import sys; sys.stderr.write('no-memory: it took 9 GB'); sys.exit({OVER_MEMORY})"
    real = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return real([sys.executable, "-c", script], **options)

    monkeypatch.setattr(worker_process.subprocess, "Popen", start)
    job_id = own.jobs.add_build().job_id
    wait_for(lambda: own.jobs.get(job_id).state == "failed")
    assert own.jobs.get(job_id).problem == JobProblem("no-memory", "it took 9 GB")


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="the system has no files in memory")
def test_a_full_temporary_folder_stops_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says is kept in memory, however much that is."""
    (tmp_path / "chatty.py").write_text("print('x' * 3_000_000)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(worker_process.tempfile, "TemporaryFile", None)
    worker = WorkerProcess("chatty")
    wait_for(lambda: worker.poll() is not None)
    assert len(worker.finish()[0]) == 3_000_001
