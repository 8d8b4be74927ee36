"""The queue in front of the network: order, batches, refusal, and one bad photo
that fails alone."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from service.inference.admission import AdmissionGate, DeadlineExceededError, OverloadedError
from service.inference.queue import InferenceQueue


class Slow:
    """An embedder of numbers: n -> [n, n]; it notes its batches and waits for ``gate``."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = threading.Event()
        self.gate = threading.Event()

    def embed(self, photos: list[int]) -> np.ndarray:
        self.batches.append(list(photos))
        self.begun.set()
        assert self.gate.wait(10)
        if -1 in photos:
            raise ValueError("bad photo")
        return np.array([[n, n] for n in photos], dtype=np.float32)


@pytest.fixture
def queue() -> Iterator[InferenceQueue]:
    made = InferenceQueue(max_batch=4, max_waiting=5)
    yield made
    made.close()


class Calls:
    """Calls in threads of their own, with their answers or errors in ``answers``."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.ended: list[int] = []  # the calls by number, in the order they ended
        self.threads: list[threading.Thread] = []

    def start(self, call: Callable[[], Any]) -> threading.Thread:
        number = len(self.threads)
        self.answers.append(None)

        def run() -> None:
            try:
                self.answers[number] = call()
            except Exception as error:
                self.answers[number] = error
            self.ended.append(number)

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()
        return self.threads[-1]

    def join(self) -> list[Any]:
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        return self.answers


def line_up(queue: InferenceQueue, slow: Slow, calls: list[Callable[[], Any]]) -> Calls:
    """Start the calls: the first is computed by ``slow`` and the others stand in the queue in their
    order, or were refused."""
    started = Calls()
    for call in calls:
        waiting = queue.waiting
        thread = started.start(call)
        if len(started.threads) == 1:
            assert slow.begun.wait(10)
        while queue.waiting == waiting and thread.is_alive() and len(started.threads) > 1:
            thread.join(0.001)
    return started


def test_what_waits_is_answered_in_one_batch(queue: InferenceQueue) -> None:
    """Photos that came while one was computed share passes of at most ``max_batch``; each gets its
    own rows."""
    slow: Any = Slow()
    calls = line_up(queue, slow, [lambda n=n: queue.embed(slow, [n]) for n in range(6)])
    slow.gate.set()
    assert [answer.tolist() for answer in calls.join()] == [[[n, n]] for n in range(6)]
    assert slow.batches == [[0], [1, 2, 3, 4], [5]]


def test_a_bad_photo_fails_only_its_own_request(queue: InferenceQueue) -> None:
    slow: Any = Slow()
    calls = line_up(queue, slow, [lambda n=n: queue.embed(slow, [n]) for n in (0, 1, -1, 3)])
    slow.gate.set()
    out = calls.join()
    assert [out[0].tolist(), out[1].tolist(), out[3].tolist()] == [[[0, 0]], [[1, 1]], [[3, 3]]]
    assert isinstance(out[2], ValueError)


def test_a_full_queue_refuses_at_once(queue: InferenceQueue) -> None:
    """One is computed and five wait; the seventh hears so immediately, and the six are answered."""
    slow: Any = Slow()
    calls = line_up(queue, slow, [lambda n=n: queue.embed(slow, [n]) for n in range(7)])
    assert isinstance(calls.answers[6], OverloadedError)
    slow.gate.set()
    assert [answer.tolist() for answer in calls.join()[:6]] == [[[n, n]] for n in range(6)]


@dataclasses.dataclass(frozen=True)
class AllBatches:
    """Reads what models were given, as the one owner of the network."""

    models: tuple[Any, ...]

    def run(self) -> list[Any]:
        return [batch for model in self.models for batch in model.batches]


def test_models_are_never_mixed_in_a_batch(queue: InferenceQueue) -> None:
    """During a switch both models answer, each its own photos; other work goes through the same
    owner."""
    first, second = Slow(), Slow()
    models: list[Any] = [first, first, second, first]
    asked: list[Callable[[], Any]] = [lambda n=n: queue.embed(models[n], [n]) for n in range(4)]
    every = AllBatches((first, second))
    asked.append(lambda: queue.run_exclusive(models[2], every, within_s=30))
    calls = line_up(queue, first, asked)
    first.gate.set()
    second.gate.set()
    *vectors, seen = calls.join()
    assert [answer.tolist() for answer in vectors] == [[[n, n]] for n in range(4)]
    assert seen == [[0], [1], [3], [2]]
    assert (first.batches, second.batches) == ([[0], [1], [3]], [[2]])


def test_other_work_has_a_deadline_too(queue: InferenceQueue) -> None:
    """What is not begun by then is not begun at all."""
    slow: Any = Slow()
    calls = Calls()
    calls.start(lambda: queue.embed(slow, [1]))
    assert slow.begun.wait(10)
    late = AllBatches((slow,))
    began = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        queue.run_exclusive(slow, late, within_s=0.05)
    assert time.monotonic() - began < 10
    slow.gate.set()
    calls.join()


def test_closing_answers_what_waits(queue: InferenceQueue) -> None:
    slow: Any = Slow()
    calls = line_up(queue, slow, [lambda n=n: queue.embed(slow, [n]) for n in range(3)])
    slow.gate.set()
    queue.close()
    assert [answer.tolist() for answer in calls.join()] == [[[n, n]] for n in range(3)]
    with pytest.raises(OverloadedError):
        queue.embed(slow, [9])
    assert not queue.alive


def test_a_network_that_hangs_holds_up_no_end() -> None:
    """The end is told even where nothing more can be queued."""
    queue = InferenceQueue(max_batch=1, max_waiting=1, timeout_s=0.1)
    model: Any = Slow()
    calls = Calls()
    for _ in range(2):
        calls.start(lambda: queue.embed(model, [1], within_s=5))
        assert model.begun.wait(5)
    until = time.monotonic() + 5
    while queue.waiting < 1 and time.monotonic() < until:
        time.sleep(0.01)
    ending = threading.Thread(target=queue.close)
    ending.start()
    ending.join(3)
    try:
        assert not ending.is_alive()
    finally:
        model.gate.set()
        for thread in [ending, *calls.threads]:
            thread.join(10)


def test_what_comes_too_late_is_never_computed(queue: InferenceQueue) -> None:
    """A request whose deadline passes while it waits hears so then, and the network does not spend
    time on it."""
    slow: Any = Slow()
    calls = line_up(queue, slow, [lambda: queue.embed(slow, [0])])
    with pytest.raises(DeadlineExceededError):
        queue.embed(slow, [1], within_s=0.05)
    slow.gate.set()
    calls.join()
    queue.close()
    assert slow.batches == [[0]]


def test_a_pass_waits_for_photos_on_their_way_and_for_nothing_else() -> None:
    """With a delay of minutes allowed an idle queue answers; a photo that is being decoded joins
    the pass, and one that could not be decoded is not waited for."""
    patient = InferenceQueue(max_batch=2, max_waiting=5, max_delay_s=200.0)
    ready: Any = Slow()
    ready.gate.set()
    patient.embed(ready, [0], within_s=30)
    calls = Calls()
    with patient.expecting():
        calls.start(lambda: patient.embed(ready, [1], within_s=30))
        assert patient.embed(ready, [2], within_s=30).tolist() == [[2, 2]]
    with patient.expecting():
        calls.start(lambda: patient.embed(ready, [3], within_s=30))
    assert [answer.tolist() for answer in calls.join()] == [[[1, 1]], [[3, 3]]]
    patient.close()
    assert [sorted(batch) for batch in ready.batches] == [[0], [1, 2], [3]]


def test_questions_beyond_those_that_may_wait_are_refused_at_once_and_late_ones_in_time() -> None:
    """One works and one waits; the third hears so immediately, the second at its deadline; then all
    are free."""
    turns = AdmissionGate(working=1, max_waiting=1, deadline_s=1.0)

    def ask() -> str:
        with turns.turn():
            return "answered"

    calls = Calls()
    with turns.turn():
        for _ in range(2):
            calls.start(ask)
        calls.join()
    refused, late = (calls.answers[number] for number in calls.ended)
    assert type(refused) is OverloadedError
    assert isinstance(late, DeadlineExceededError)
    assert ask() == "answered"
    with pytest.raises(ValueError, match="mine"), turns.turn():
        raise ValueError("mine")
    assert ask() == "answered"
