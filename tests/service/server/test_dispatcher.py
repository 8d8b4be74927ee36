"""Threads are shared among those who ask."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from service.access.caller import Asker
from service.server.dispatcher import FairDispatcher

THREADS = 10
FLOOD, JANE, PAGE = Asker("flood"), Asker("jane"), Asker("10.0.0.1", stranger=True)


@dataclass
class HeldRequest:
    asker: Asker


@dataclass(eq=False)
class HeldTask:
    """A request that is answered once it is let go."""

    asker: Asker
    log: list[Asker]
    requests: list[HeldRequest] = field(init=False)
    begun: threading.Event = field(default_factory=threading.Event)
    free: threading.Event = field(default_factory=threading.Event)
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.requests = [HeldRequest(self.asker)]

    def service(self) -> None:
        self.log.append(self.asker)
        self.begun.set()
        self.free.wait(10)

    def cancel(self) -> None:
        self.cancelled = True


class Desk:
    """A dispatcher, and the tasks that were given to it."""

    def __init__(self, threads: int) -> None:
        self.begun: list[Asker] = []
        self.tasks: list[HeldTask] = []
        self.dispatcher = FairDispatcher()
        self.dispatcher.set_thread_count(threads)

    def ask(self, asker: Asker, count: int = 1) -> list[HeldTask]:
        tasks = [HeldTask(asker, self.begun) for _ in range(count)]
        self.tasks += tasks
        for task in tasks:
            self.dispatcher.add_task(task)
        return tasks

    def begin(self, tasks: list[HeldTask], count: int) -> None:
        """Wait until so many of them have begun."""
        for _ in range(2000):
            if sum(task.begun.is_set() for task in tasks) >= count:
                return
            threading.Event().wait(0.002)
        raise AssertionError([task.begun.is_set() for task in tasks])


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(THREADS)
    yield made
    for task in made.tasks:
        task.free.set()
    made.dispatcher.shutdown(timeout=5)


def test_one_asker_leaves_threads_for_others(desk: Desk) -> None:
    """Requests of one that all wait inside leave a thread, where others are answered at once."""
    flood = desk.ask(FLOOD, 30)
    desk.begin(flood, 9)
    for asker in (JANE, PAGE):
        (task,) = desk.ask(asker)
        assert task.begun.wait(5)
        task.free.set()
    assert desk.begun.count(FLOOD) == 9


def test_strangers_of_many_addresses_leave_threads_for_those_who_are_known(desk: Desk) -> None:
    """Each of them asks once."""
    crowd = [task for number in range(30) for task in desk.ask(Asker(f"a{number}", stranger=True))]
    desk.begin(crowd, 9)
    (jane,) = desk.ask(JANE)
    assert jane.begun.wait(5)
    assert len(desk.begun) == 10


def test_who_holds_least_is_next(desk: Desk) -> None:
    """A free thread goes to the side with fewer, then to the asker with fewer, then in turn; all of
    one are answered in their order."""
    flood = desk.ask(FLOOD, 12)
    desk.begin(flood, 9)
    first = desk.ask(JANE, 2)
    desk.begin(first, 1)  # all threads are taken
    page = desk.ask(PAGE, 2)
    desk.begun.clear()
    for done in range(4):
        flood[done].free.set()
        desk.begin([*page, *first, *flood[9:]], done + 2)
    assert desk.begun == [PAGE, PAGE, JANE, FLOOD]
    assert flood[9].begun.is_set()


def test_at_the_end_what_waits_is_given_up() -> None:
    desk = Desk(1)
    first, second = desk.ask(JANE, 2)
    assert first.begun.wait(5)
    first.free.set()
    assert second.begun.wait(5)
    (third,) = desk.ask(FLOOD)
    assert desk.dispatcher.shutdown(timeout=0.05)
    assert third.cancelled
    second.free.set()
