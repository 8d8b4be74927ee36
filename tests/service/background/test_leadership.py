"""Leadership: one service of a home does its background work, and another takes over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from indexer.core.home import Home
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


def test_a_home_that_cannot_be_written_is_never_led(home: Home) -> None:
    """Nothing is made in a read-only home."""
    assert not Leadership(home, eligible=False).holds()
    assert not (home.path / "locks").exists()


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
