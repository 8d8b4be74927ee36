"""Budget of memory: never more than all of it, and nobody waits for ever."""

from __future__ import annotations

import gc
import threading
import time

import pytest

from indexer.core.errors import NoMemoryError
from indexer.core.memory_budget import MemoryBudget, decoding_budget, photo_memory


class Thing:
    """Something that can be dropped."""


def test_no_more_is_taken_than_there_is() -> None:
    """Many threads at once never hold more than the total, and all are served."""
    budget = MemoryBudget(100)
    most = 0
    served = []

    def work(size: int) -> None:
        nonlocal most
        for _ in range(20):
            with budget.hold(size):
                most = max(most, budget.taken)
                time.sleep(0.0002)
        served.append(size)

    threads = [threading.Thread(target=work, args=(size,)) for size in (10, 30, 50, 60, 90)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(served) == [10, 30, 50, 60, 90]
    assert 0 < most <= 100
    assert budget.taken == 0


def test_who_waits_too_long_is_told_and_takes_nothing() -> None:
    """The message says what is needed and what is taken; afterwards there is as much as before."""
    budget = MemoryBudget(100)
    lease = budget.take(70)
    with pytest.raises(NoMemoryError, match=r"50 bytes .* take 70 of 100"):
        budget.take(50, within_s=0.01)
    assert budget.taken == 70
    lease.release()
    lease.release()
    assert budget.taken == 0
    assert budget.roomy


def test_a_wish_larger_than_all_is_granted_alone() -> None:
    """A limit on what is done at once makes nothing impossible."""
    budget = MemoryBudget(100)
    with budget.hold(1000):
        assert not budget.roomy
        with pytest.raises(NoMemoryError):
            budget.take(1, within_s=0.0)
    with budget.hold(1), pytest.raises(NoMemoryError):
        budget.take(1000, within_s=0.0)


def test_small_wishes_do_not_overtake_a_large_one() -> None:
    """First come, first served: a large one is not starved by a stream of small ones."""
    budget = MemoryBudget(100)
    order = []
    first = budget.take(60)

    def want(size: int) -> None:
        with budget.hold(size):
            order.append(size)

    large = threading.Thread(target=want, args=(90,))
    large.start()
    while not budget._waiting:
        time.sleep(0.001)
    small = threading.Thread(target=want, args=(10,))
    small.start()
    time.sleep(0.02)
    assert order == []
    first.release()
    large.join(5)
    small.join(5)
    assert order == [90, 10]


def test_bytes_come_back_with_the_thing_that_held_them() -> None:
    """Whoever drops a photo gives its memory back, without a word."""
    budget = MemoryBudget(100)
    thing = Thing()
    budget.take(80).follow(thing)
    assert budget.taken == 80
    del thing
    gc.collect()
    assert budget.taken == 0


def test_the_share_of_photos_is_a_quarter_of_the_memory_at_most() -> None:
    """One budget of a process, made once."""
    assert decoding_budget() is decoding_budget()
    assert decoding_budget().total == photo_memory() // 2
    assert photo_memory() >= 2**26
