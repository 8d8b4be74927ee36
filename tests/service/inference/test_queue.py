"""The queue in front of the network: order, batches, refusal, and one bad photo
that fails alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from service.inference.admission import AdmissionGate, DeadlineExceededError, OverloadedError
from service.inference.queue import InferenceQueue


class Slow:
    """An embedder of numbers: n -> [n, n]; it notes its batches and waits for ``gate``."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()

    def embed(self, photos: list[int]) -> np.ndarray:
        self.batches.append(list(photos))
        assert self.gate.wait(10)
        if -1 in photos:
            raise ValueError("bad photo")
        return np.array([[n, n] for n in photos], dtype=np.float32)


@pytest.fixture
def queue() -> Iterator[InferenceQueue]:
    made = InferenceQueue(max_batch=4, max_waiting=5)
    yield made
    made.close()


def together(calls: list[Any]) -> list[Any]:
    """Run the calls in threads, started in order; their answers or errors."""
    out: list[Any] = [None] * len(calls)

    def run(place: int) -> None:
        try:
            out[place] = calls[place]()
        except Exception as error:
            out[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    return [threads, out]


def test_what_waits_is_answered_in_one_batch(queue: InferenceQueue) -> None:
    """Photos that came while one was computed share passes of at most ``max_batch``; each gets its
    own rows."""
    slow: Any = Slow()
    threads, out = together([lambda n=n: queue.embed(slow, [n]) for n in range(6)])
    slow.gate.set()
    for thread in threads:
        thread.join()
    assert [answer.tolist() for answer in out] == [[[n, n]] for n in range(6)]
    assert slow.batches == [[0], [1, 2, 3, 4], [5]]


def test_a_bad_photo_fails_only_its_own_request(queue: InferenceQueue) -> None:
    slow: Any = Slow()
    threads, out = together([lambda n=n: queue.embed(slow, [n]) for n in (0, 1, -1, 3)])
    slow.gate.set()
    for thread in threads:
        thread.join()
    assert [out[0].tolist(), out[1].tolist(), out[3].tolist()] == [[[0, 0]], [[1, 1]], [[3, 3]]]
    assert isinstance(out[2], ValueError)


def test_a_full_queue_refuses_at_once(queue: InferenceQueue) -> None:
    """One is computed and five wait; the seventh hears so immediately, and the six are answered."""
    slow: Any = Slow()
    threads, out = together([lambda n=n: queue.embed(slow, [n]) for n in range(7)])
    assert isinstance(out[6], OverloadedError)
    slow.gate.set()
    for thread in threads:
        thread.join()
    assert [answer.tolist() for answer in out[:6]] == [[[n, n]] for n in range(6)]


def test_models_are_never_mixed_in_a_batch(queue: InferenceQueue) -> None:
    """During a switch both models answer, each its own photos; other work goes through the same
    owner."""
    first, second = Slow(), Slow()
    models: list[Any] = [first, first, second, first]
    threads, out = together([lambda n=n: queue.embed(models[n], [n]) for n in range(4)])
    threads2, out2 = together(
        [lambda: queue.work(models[2], lambda: first.batches + second.batches)]
    )
    first.gate.set()
    second.gate.set()
    for thread in (*threads, *threads2):
        thread.join()
    assert [answer.tolist() for answer in out] == [[[n, n]] for n in range(4)]
    assert out2[0] == [[0], [1], [3], [2]]
    assert (first.batches, second.batches) == ([[0], [1], [3]], [[2]])


def test_closing_answers_what_waits(queue: InferenceQueue) -> None:
    slow: Any = Slow()
    threads, out = together([lambda n=n: queue.embed(slow, [n]) for n in range(3)])
    slow.gate.set()
    queue.close()
    for thread in threads:
        thread.join()
    assert [answer.tolist() for answer in out] == [[[n, n]] for n in range(3)]
    with pytest.raises(OverloadedError):
        queue.embed(slow, [9])
    assert not queue.alive


def test_what_comes_too_late_is_never_computed(queue: InferenceQueue) -> None:
    """A request whose deadline passes while it waits hears so then, and the network does not spend
    time on it."""
    slow: Any = Slow()
    threads, out = together(
        [lambda: queue.embed(slow, [0]), lambda: queue.embed(slow, [1], within_s=0.2)]
    )
    threads[1].join(5)
    assert isinstance(out[1], DeadlineExceededError)
    slow.gate.set()
    threads[0].join()
    queue.close()
    assert slow.batches == [[0]]


def test_a_pass_waits_for_photos_on_their_way_and_for_nothing_else() -> None:
    """With a long delay allowed an idle queue answers at once; a photo that is being decoded joins
    the pass."""
    patient = InferenceQueue(max_batch=4, max_waiting=5, max_delay_s=5.0)
    ready: Any = Slow()
    ready.gate.set()
    started = time.monotonic()
    patient.embed(ready, [0])
    assert time.monotonic() - started < 2.0
    with patient.coming():
        threads, out = together(
            [lambda: patient.embed(ready, [1]), lambda: patient.embed(ready, [2])]
        )
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 4.0
    patient.close()
    assert [answer.tolist() for answer in out] == [[[1, 1]], [[2, 2]]]
    assert ready.batches == [[0], [1, 2]]


def test_questions_beyond_those_that_may_wait_are_refused_at_once_and_late_ones_in_time() -> None:
    """One works and one waits; the third hears so immediately, the second at its deadline; then all
    are free."""
    turns = AdmissionGate(working=1, max_waiting=1, deadline_s=0.5)

    def ask() -> str:
        with turns.turn():
            return "answered"

    with turns.turn():
        threads, out = together([ask, ask])
        threads[1].join(0.3)
        assert type(out[1]) is OverloadedError
        threads[0].join(5)
        assert isinstance(out[0], DeadlineExceededError)
    assert ask() == "answered"
    with pytest.raises(ValueError, match="mine"), turns.turn():
        raise ValueError("mine")
    assert ask() == "answered"
