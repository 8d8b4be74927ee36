"""Worker processes: one thread each, our modules at hand, output kept, no survivor."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

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
