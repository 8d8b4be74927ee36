"""Leadership: one service of a home does its background work, and another takes over."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from pathlib import Path

import pytest
from structlog.testing import CapturingLogger

from indexer.core.home import Home
from indexer.core.sqlite import Database, Schema
from service.background import leadership
from service.background.leadership import Leadership
from tests.service.state.test_snapshots import wait_for

ROOT = Path(__file__).parents[3]
HOLD = (
    "import sys, time; from indexer.core.home import Home; "
    "from service.background.leadership import Leadership; "
    "held = Leadership(Home(sys.argv[1])); print(held.holds(), flush=True); time.sleep(60)"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(leadership, "_RETRY_S", 0.05)
    return Home.create(tmp_path / "home")


def test_one_leads_and_another_follows(home: Home) -> None:
    """The first to ask leads until it lets go, and then for good."""
    one, two = Leadership(home), Leadership(home)
    assert [one.holds(), two.holds(), one.holds()] == [True, False, True]
    one.release()
    wait_for(two.holds)
    assert not one.holds()
    two.release()


def test_a_home_that_cannot_be_written_is_never_led(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made in a read-only home."""
    monkeypatch.setattr("indexer.core.sqlite.is_read_only", lambda _: True)
    assert not Leadership(home, Database(home.catalog_file, Schema(0))).holds()
    assert not (home.path / "locks").exists()


def test_a_lock_that_cannot_be_taken_is_logged_once(home: Home) -> None:
    """Whatever is no other leader is an error that names the lock and the reason, once of a kind;
    when the reason is gone, the service leads."""
    path = home.path / "locks" / "leader.lock"
    path.parent.write_text("no folder")
    log = CapturingLogger()
    one = Leadership(home, log=log)
    for _ in range(3):
        assert not one.holds()
        time.sleep(0.06)
    (call,) = log.calls
    assert (call.method_name, call.kwargs["lock"]) == ("error", str(path))
    assert "FileExistsError" in call.kwargs["error"]
    path.parent.unlink()
    wait_for(one.holds)
    follower = Leadership(home, log=log)
    assert not follower.holds()
    one.release()
    assert len(log.calls) == 1, "that another one leads is no failure"


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "denied"),
        OSError(errno.ENOLCK, "no locks"),
        NotImplementedError("no flock"),
    ],
)
def test_a_disk_without_locks_is_logged(
    home: Home, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The lock of another user, or a network mount: nobody leads, and the log says so."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(leadership.FileLock, "acquire", fail)
    log = CapturingLogger()
    one = Leadership(home, log=log)
    assert not one.holds()
    time.sleep(0.06)
    assert not one.holds()
    assert [(call.method_name, str(error) in call.kwargs["error"]) for call in log.calls] == [
        ("error", True)
    ]


def test_a_deleted_lock_makes_no_second_leader(home: Home) -> None:
    """Whoever takes the new file first leads; the other one notices and follows."""
    path = home.path / "locks" / "leader.lock"
    log = CapturingLogger()
    one, two = Leadership(home, log=log), Leadership(home, log=log)
    assert one.holds()
    path.unlink()
    assert one.holds(), "it takes the new file at once"
    assert not two.holds()
    path.unlink()
    wait_for(two.holds)
    assert not one.holds()
    assert [call.method_name for call in log.calls] == ["warning", "warning"]
    two.release()
    wait_for(one.holds)
    one.release()


def test_a_killed_leader_is_followed(home: Home) -> None:
    """SIGKILL leaves the lock free: the other process leads soon after."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        other = Leadership(home)
        assert not other.holds()
        process.kill()
        process.wait()
        wait_for(other.holds)
        other.release()
    finally:
        process.kill()
        process.wait()
