"""Threads and line fit together, on whatever machine."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

import pytest

from service.access.caller import Asker
from service.inference.admission import AdmissionGate, OverloadedError, asking
from service.server.dispatcher import FairDispatcher
from service.settings import Capacity, Settings, own_share
from service.settings.capacity import MOST_THREADS

FLOOD, JANE = Asker("flood"), Asker("jane")
CORES = (1, 2, 8, 64)


@dataclass
class AskedOnce:
    asker: Asker


@dataclass(eq=False)
class Question:
    """Waits for its turn, and holds it until all may go."""

    asker: Asker
    gate: AdmissionGate
    go: threading.Event
    outcomes: Counter[str]
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.requests = [AskedOnce(self.asker)]

    def service(self) -> None:
        try:
            with asking(self.asker), self.gate.turn():
                self.go.wait(20)
            self.outcomes["answered"] += 1
        except OverloadedError:
            self.outcomes["refused"] += 1
        self.over.set()

    def cancel(self) -> None:
        self.over.set()


@dataclass(eq=False)
class Look(Question):
    """Needs no turn."""

    def service(self) -> None:
        self.over.set()


@pytest.mark.parametrize("cores", CORES)
def test_who_fills_the_line_is_refused_and_others_find_a_thread(cores: int) -> None:
    """All that may work and wait have threads, the next one of the same asker has one that refuses
    it, and who needs no turn is answered meanwhile."""
    capacity = Capacity.of(Settings(), cores)
    assert (capacity.working, capacity.waiting) == (cores + 1, 32)
    gate = AdmissionGate(capacity.working, capacity.waiting, 20.0)
    dispatcher = FairDispatcher()
    dispatcher.set_thread_count(capacity.threads)
    go = threading.Event()
    outcomes: Counter[str] = Counter()
    try:
        many = capacity.working + capacity.waiting + 3
        flood = [Question(FLOOD, gate, go, outcomes) for _ in range(many)]
        for question in flood:
            dispatcher.add_task(question)
        look = Look(JANE, gate, go, outcomes)
        dispatcher.add_task(look)
        assert look.over.wait(5), "a free thread"
        for _ in range(1000):
            if outcomes["refused"] == 3:
                break
            threading.Event().wait(0.005)
        assert outcomes == {"refused": 3}, "nobody waits unseen"
        go.set()
        assert all(question.over.wait(10) for question in flood)
        assert outcomes == {"refused": 3, "answered": many - 3}
    finally:
        go.set()
        dispatcher.shutdown(timeout=5)


def test_two_cores_have_the_threads_that_were_measured() -> None:
    """The figures of the guides were taken with 40."""
    assert Capacity.of(Settings(), 2) == Capacity(working=3, waiting=32, threads=40)


@pytest.mark.parametrize("cores", CORES)
@pytest.mark.parametrize("threads", [1, 2, 4, 40, 256])
@pytest.mark.parametrize(("working", "waiting"), [(0, 32), (8, 1), (256, 4096)])
def test_fewer_threads_let_fewer_wait(cores: int, threads: int, working: int, waiting: int) -> None:
    """Where the threads are set, the line is as long as they allow, and never empty."""
    settings = Settings(threads=threads, working=working, max_waiting=waiting)
    found = Capacity.of(settings, cores)
    assert found.threads == threads
    assert 1 <= found.working <= (working or cores + 1)
    assert 1 <= found.waiting <= waiting
    if threads >= 4:
        assert found.working + found.waiting < own_share(threads)


def test_a_long_line_has_no_more_threads_than_a_process_should() -> None:
    found = Capacity.of(Settings(max_waiting=4096), 8)
    assert found.threads == MOST_THREADS
    assert found.working == 9
    assert found.working + found.waiting < own_share(MOST_THREADS)
