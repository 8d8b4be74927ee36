"""The background runner: every task is polled, whatever becomes of the others."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import CapturingLogger

from indexer.core.home import Home
from service.background.leadership import Leadership
from service.background.runner import BackgroundRunner
from tests.service.state.test_snapshots import wait_for


class Counting:
    """A task that counts its polls, and may fail."""

    def __init__(self, name: str, *, fails: bool = False) -> None:
        self.name = name
        self.polls = 0
        self.closed = False
        self._fails = fails

    def poll(self) -> None:
        self.polls += 1
        if self._fails:
            raise RuntimeError("broken")

    def close(self) -> None:
        self.closed = True


def test_a_task_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    """Its failure is logged under its name; it is polled again, as are the tasks behind it; closing
    ends all and frees the home."""
    home, log = Home.create(tmp_path / "home"), CapturingLogger()
    leadership = Leadership(home)
    assert leadership.holds()
    tasks = [Counting("bad", fails=True), Counting("good")]
    runner = BackgroundRunner(tasks, leadership, poll_s=0.01, log=log)
    runner.start()
    wait_for(lambda: all(task.polls > 2 for task in tasks))
    runner.close()
    polls = [task.polls for task in tasks]
    assert {call.kwargs["task"] for call in log.calls} == {"bad"}
    assert all(task.closed for task in tasks)
    assert Leadership(home).holds()
    assert [task.polls for task in tasks] == polls


def test_what_never_started_is_closed_all_the_same(tmp_path: Path) -> None:
    """An engine that is not watched may have started work by a question."""
    task = Counting("one")
    home = Home.create(tmp_path / "home")
    BackgroundRunner([task], Leadership(home), poll_s=0.01, log=CapturingLogger()).close()
    assert (task.polls, task.closed) == (0, True)
