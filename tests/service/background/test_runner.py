"""The background runner: every task is polled, whatever becomes of the others."""

from __future__ import annotations

import math
import threading
from pathlib import Path

from structlog.testing import CapturingLogger

from indexer.core.home import Home
from service.background.leadership import Leadership
from service.background.runner import BackgroundRunner
from tests.service.state.test_snapshots import wait_for


class Counting:
    """A task that counts its polls, and may fail."""

    def __init__(self, name: str, *, fails: bool = False, longest_wait_s: float = math.inf) -> None:
        self.name = name
        self.longest_wait_s = longest_wait_s
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
    assert [call.kwargs["task"] for call in log.calls] == ["bad"], "said once, not at each poll"
    assert all(task.closed for task in tasks)
    assert Leadership(home).holds()
    assert [task.polls for task in tasks] == polls


class Blocking(Counting):
    """A task whose first poll lasts until it is let go."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.go = threading.Event()

    def poll(self) -> None:
        super().poll()
        self.go.wait(30)


def test_a_long_poll_holds_up_no_other_task(tmp_path: Path) -> None:
    """A refresh that embeds for minutes does not keep the eraser from what is due."""
    slow, other = Blocking("slow"), Counting("other")
    leadership = Leadership(Home.create(tmp_path / "home"))
    runner = BackgroundRunner([slow, other], leadership, poll_s=0.01, log=CapturingLogger())
    runner.start()
    try:
        wait_for(lambda: slow.polls == 1 and other.polls > 3)
    finally:
        slow.go.set()
        runner.close()


def test_a_task_may_be_due_before_the_poll_is(tmp_path: Path) -> None:
    """With a minute between polls, what must be done within a second is polled in time."""
    rare, soon = Counting("rare"), Counting("soon", longest_wait_s=0.01)
    leadership = Leadership(Home.create(tmp_path / "home"))
    runner = BackgroundRunner([rare, soon], leadership, poll_s=60, log=CapturingLogger())
    runner.start()
    wait_for(lambda: soon.polls > 2)
    runner.close()
    assert rare.polls == 0


def test_what_never_started_is_closed_all_the_same(tmp_path: Path) -> None:
    """An engine that is not watched may have started work by a question."""
    task = Counting("one")
    home = Home.create(tmp_path / "home")
    BackgroundRunner([task], Leadership(home), poll_s=0.01, log=CapturingLogger()).close()
    assert (task.polls, task.closed) == (0, True)
