"""Worker processes: one thread each, our modules at hand, output kept, no survivor."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from indexer.operations import compaction, erasure, jobs, sync
from service.background import worker_process
from service.background.worker_process import WorkerProcess
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
