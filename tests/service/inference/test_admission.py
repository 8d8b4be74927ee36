"""Who may work, who waits and who is refused."""

from __future__ import annotations

import threading
import time

import pytest

from service.inference import admission
from service.inference.admission import AdmissionGate, OverloadedError


def start(target: object, count: int) -> list[threading.Thread]:
    threads = [threading.Thread(target=target, args=(n,)) for n in range(count)]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
        time.sleep(0.005)
    return threads


def test_those_who_wait_are_served_in_their_order() -> None:
    """Nobody who comes later overtakes, so nobody waits for ever."""
    gate = AdmissionGate(working=1, max_waiting=32, deadline_s=10.0)
    order: list[int] = []

    def ask(number: int) -> None:
        with gate.turn():
            order.append(number)
            time.sleep(0.002)

    with gate.turn():
        threads = start(ask, 8)
    for thread in threads:
        thread.join()
    assert order == list(range(8))


def test_a_crowd_that_passes_is_worked_off() -> None:
    """Many at once are no overload: all of them are answered."""
    gate = AdmissionGate(working=2, max_waiting=32, deadline_s=10.0)
    answered = []

    def ask(number: int) -> None:
        with gate.turn():
            time.sleep(0.02)
            answered.append(number)

    for thread in start(ask, 30):
        thread.join()
    assert sorted(answered) == list(range(30))
    assert not gate.full


def test_where_more_comes_than_can_be_done_the_answered_wait_shortly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The places stay taken, those that are refused hear so soon, and after it all are free."""
    monkeypatch.setattr(admission, "_CROWD_S", 0.05)
    monkeypatch.setattr(admission, "_ANSWERS", 4)
    gate = AdmissionGate(working=1, max_waiting=16, deadline_s=10.0)
    ends = time.monotonic() + 1.0
    waits: list[tuple[float, float]] = []
    refused = []

    def client(_: int) -> None:
        while (asked := time.monotonic()) < ends:
            try:
                with gate.turn():
                    waits.append((asked, time.monotonic() - asked))
                    time.sleep(0.01)
            except OverloadedError:
                refused.append(asked)
                time.sleep(0.01)

    for thread in start(client, 14):
        thread.join()
    late = [wait for asked, wait in waits if asked > ends - 0.5]
    assert len(late) > 20
    assert sorted(late)[len(late) * 9 // 10] < 0.1, "of 14 that ask each would wait for 0.14 s"
    assert refused
    with gate.turn():
        pass


def test_the_first_answers_do_not_seem_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that has just started refuses nobody who waits no longer than later ones may."""
    monkeypatch.setattr(admission, "_CROWD_S", 0.0)
    gate = AdmissionGate(working=1, max_waiting=4, deadline_s=10.0)
    answered = []

    def client(number: int) -> None:
        for _ in range(4):
            with gate.turn():
                time.sleep(0.06)
                answered.append(number)

    for thread in start(client, 4):
        thread.join()
    assert len(answered) == 16
