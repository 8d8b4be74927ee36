"""Who may work, who waits and who is refused."""

from __future__ import annotations

import heapq
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from service.access.caller import Asker
from service.inference.admission import (
    AdmissionGate,
    DeadlineExceededError,
    OverloadedError,
    Waiter,
    WaitingLine,
    asking,
)

PLACES, MAX_WAITING, ANSWER_S = 3, 32, 0.1
FLOOD, JANE, JOE = Asker("flood"), Asker("jane"), Asker("joe")
PER_S = PLACES / ANSWER_S


@dataclass
class LineSimulation:
    """A line whose answers take ``ANSWER_S`` in the mean, and those who come to it; no time
    passes."""

    line: WaitingLine = field(default_factory=lambda: WaitingLine(PLACES, MAX_WAITING, 10.0))
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    # (moment it came, how long it waited), and the moments of refusals
    waits: list[tuple[float, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    # (moment, order, what happens, when it came)
    _events: list[tuple[float, int, str, float]] = field(default_factory=list)
    _inside: list[tuple[Waiter, float]] = field(default_factory=list)
    _clients: bool = False
    _count: int = 0

    def crowd(self, count: int, at: float = 0.0) -> None:
        """``count`` come at once."""
        for _ in range(count):
            self._add(at, "comes", at)

    def clients(self, count: int) -> None:
        """``count`` ask again as soon as they are answered, or a second after a refusal."""
        self._clients = True
        self.crowd(count)

    def stream(self, per_s: float, until: float) -> None:
        """Some come at random moments, whatever becomes of those before."""
        at = 0.0
        while (at := at + self.rng.expovariate(per_s)) < until:
            self._add(at, "comes", at)

    def run(self, until: float) -> None:
        """Let happen what happens before ``until``."""
        while self._events and self._events[0][0] < until:
            now, _, what, came = heapq.heappop(self._events)
            if what == "comes":
                try:
                    self._inside.append((self.line.enter(now), now))
                except OverloadedError:
                    self._refuse(now)
            else:
                self.line.leave(now - came)
                if self._clients:
                    self._add(now, "comes", now)
            self._call(now)

    def _call(self, now: float) -> None:
        """Begin the work of those who were let in, and send away who was refused."""
        for waiter, came in [one for one in self._inside if one[0].told.is_set()]:
            self._inside.remove((waiter, came))
            if waiter.granted:
                self.waits.append((came, now - came))
                self._add(now + ANSWER_S * self.rng.uniform(0.2, 1.8), "leaves", now)
            else:
                self._refuse(now)

    def _refuse(self, now: float) -> None:
        self.refused.append(now)
        if self._clients:
            self._add(now + 1.0, "comes", now)

    def _add(self, at: float, what: str, came: float) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, self._count, what, came))


@pytest.fixture
def simulation() -> LineSimulation:
    return LineSimulation()


def test_those_who_wait_are_served_in_their_order() -> None:
    """Nobody who comes later overtakes, so nobody waits for ever."""
    line = WaitingLine(1, 32, 10.0)
    first, *others = [line.enter(0.01 * number) for number in range(9)]
    assert first.granted
    for waiter in others:
        assert not waiter.told.is_set()
        line.leave(0.1)
        assert waiter.granted


def test_patient_clients_are_never_refused(simulation: LineSimulation) -> None:
    """As many as may work and wait ask on and on: none is refused, whatever an answer takes."""
    simulation.clients(PLACES + MAX_WAITING)
    simulation.run(60)
    assert simulation.refused == []
    assert len(simulation.waits) > 0.95 * 60 * PER_S


@pytest.mark.parametrize("count", [35, 55, 200])
def test_of_a_crowd_as_many_as_may_wait_are_worked_off(
    simulation: LineSimulation, count: int
) -> None:
    """Many at once are no overload: those who were let in are answered, and of the refused as many
    as come back for the places of these."""
    room = PLACES + MAX_WAITING
    simulation.crowd(count)
    simulation.crowd(min(count - room, 20), at=1.0)
    simulation.run(60)
    assert len(simulation.waits) == min(count, room + 20)
    assert simulation.refused == [0.0] * (count - room)


@pytest.mark.parametrize("times", [2, 3, 5])
def test_of_a_stream_beyond_what_can_be_done_the_answered_wait_shortly(
    simulation: LineSimulation, times: int
) -> None:
    """At several times the rate that can be answered all places stay at work, and 99 of 100 of the
    answered have waited for less than the long line takes, from the first second on."""
    simulation.stream(times * PER_S, until=60)
    simulation.run(70)
    assert len(simulation.waits) > 0.97 * 60 * PER_S
    waits = sorted(wait for _, wait in simulation.waits)
    assert waits[len(waits) * 99 // 100] < 0.85 * MAX_WAITING * ANSWER_S / PLACES
    assert waits[len(waits) // 2] < 0.45


def test_below_what_can_be_done_nobody_is_refused(simulation: LineSimulation) -> None:
    """At nine tenths of the rate that can be answered a long line passes."""
    simulation.stream(0.9 * PER_S, until=60)
    simulation.run(70)
    assert simulation.refused == []


def test_after_a_stream_patient_clients_are_let_in_again(simulation: LineSimulation) -> None:
    """The line is long again soon after the last who did not wait, also where it is never empty."""
    simulation.stream(3 * PER_S, until=20)
    simulation.run(20)
    assert simulation.refused
    simulation.clients(15)  # beside those of the stream who still wait, and ask again from now on
    simulation.run(60)
    assert max(simulation.refused) < 35


def test_who_would_wait_beyond_the_deadline_is_refused_at_once() -> None:
    """A line of slow answers is no longer than can be answered in time."""
    line = WaitingLine(1, 32, 10.0)
    line.enter(0.0)
    line.leave(3.0)
    for _ in range(5):
        line.enter(1.0)
    with pytest.raises(OverloadedError, match="4 questions are waiting"):
        line.enter(1.0)


def test_a_place_that_is_free_is_never_refused() -> None:
    """Answers that take longer than the deadline leave the service open."""
    line = WaitingLine(2, 4, 1.0)
    for _ in range(40):
        assert line.enter(0.0).granted
        line.leave(60.0)


def test_who_goes_away_leaves_room() -> None:
    """Nobody is called who waits no more."""
    line = WaitingLine(1, 1, 10.0)
    line.enter(0.0)
    gone = line.enter(0.0)
    with pytest.raises(OverloadedError):
        line.enter(0.0)
    line.give_up(gone)
    waiter = line.enter(0.0)
    line.leave(0.1)
    assert waiter.granted
    assert not gone.granted


def test_the_gate_answers_all_of_a_crowd_and_is_free_after_it() -> None:
    """Threads that come at once wait for their turn, and no more of them work than may."""
    gate = AdmissionGate(working=2, max_waiting=32, deadline_s=10.0)
    at_work, most, answered = [0], [0], []

    def ask(number: int) -> None:
        with gate.turn():
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
            time.sleep(0.002)
            at_work[0] -= 1
            answered.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answered) == list(range(30))
    assert most[0] == 2
    assert not gate.crowded
    assert not gate.refuses()


def test_who_is_not_called_before_the_deadline_gives_up() -> None:
    """The wait has an end, and what was waited for is as free as before."""
    gate = AdmissionGate(working=1, max_waiting=1, deadline_s=0.02)
    with gate.turn():
        with pytest.raises(DeadlineExceededError):
            gate.turn().__enter__()
        assert not gate.refuses()
    with gate.turn():
        pass


def test_one_who_floods_the_line_crowds_out_itself() -> None:
    """A newcomer takes the place of the last of whoever has most in the line, until they are even;
    one that has as many is refused, as one of a single asker is."""
    line = WaitingLine(1, 4, 10.0)
    line.enter(0.0, FLOOD)
    flood = [line.enter(0.0, FLOOD) for _ in range(4)]
    with pytest.raises(OverloadedError):
        line.enter(0.1, FLOOD)
    assert line.refuses(0.1, FLOOD)
    assert not line.refuses(0.1, JANE)
    jane = [line.enter(0.1, JANE) for _ in range(2)]
    assert [waiter.told.is_set() for waiter in flood] == [False, False, True, True]
    assert not any(waiter.granted for waiter in flood)
    with pytest.raises(OverloadedError):
        line.enter(0.2, JANE)
    joe = line.enter(0.2, JOE)
    assert flood[1].told.is_set()
    for waiter in (flood[0], jane[0], jane[1], joe):
        line.leave(0.1)
        assert waiter.granted


def test_a_stream_of_one_asker_refuses_nobody_else() -> None:
    """At ten times what can be answered, with a short line as with a long one: all of another's
    questions are answered, and soon."""
    line = WaitingLine(PLACES, MAX_WAITING, 10.0)
    rng = random.Random(1)
    events = [(number / (10 * PER_S), FLOOD) for number in range(int(600 * PER_S))]
    events += [(rng.uniform(1, 60), JANE) for _ in range(100)]
    working: list[float] = []
    waiting: list[tuple[Waiter, float]] = []
    waits: list[float] = []
    for now, asker in sorted(events, key=lambda event: event[0]):
        while working and working[0] <= now:
            done = heapq.heappop(working)
            line.leave(ANSWER_S)
            for waiter, came in [pair for pair in waiting if pair[0].granted]:
                heapq.heappush(working, done + ANSWER_S)
                if waiter.asker == JANE:
                    waits.append(done - came)
            waiting = [pair for pair in waiting if not pair[0].told.is_set()]
        with suppress(OverloadedError):
            waiter = line.enter(now, asker)
            if waiter.granted:
                heapq.heappush(working, now + ANSWER_S)
            else:
                waiting.append((waiter, now))
    assert len(waits) >= 99
    assert max(waits) < 2.0


def strangers(count: int) -> list[Asker]:
    return [Asker(f"address 10.0.0.{number}", stranger=True) for number in range(count)]


def test_strangers_of_many_addresses_take_half_of_the_line_from_those_who_are_known() -> None:
    """Each of them has one place, so none has more than a share: still whoever has a key of its own
    is let in, up to as many as they are, and they take none of those places back."""
    line = WaitingLine(1, 8, 10.0)
    line.enter(0.0)
    crowd = [line.enter(0.0, asker) for asker in strangers(8)]
    assert line.refuses(0.1, strangers(9)[-1])
    assert not line.refuses(0.1, JANE)
    known = [line.enter(0.1, asker) for asker in (JANE, JANE, JANE, JOE)]
    assert sum(waiter.told.is_set() for waiter in crowd) == 4
    for asker in (JANE, *strangers(9)):
        with pytest.raises(OverloadedError):
            line.enter(0.2, asker)
    assert not any(waiter.told.is_set() for waiter in known)


def test_where_strangers_are_few_known_ones_share_with_them() -> None:
    """A stranger takes its share from one with more than that, while all strangers have less than
    half."""
    line = WaitingLine(1, 8, 10.0)
    line.enter(0.0)
    jane = [line.enter(0.0, JANE) for _ in range(8)]
    crowd = [line.enter(0.1, asker) for asker in strangers(4)]
    assert [waiter.told.is_set() for waiter in jane] == [False] * 4 + [True] * 4
    with pytest.raises(OverloadedError):
        line.enter(0.2, strangers(5)[-1])
    assert not any(waiter.told.is_set() for waiter in crowd)


def test_a_line_that_becomes_short_sends_strangers_away_first(simulation: LineSimulation) -> None:
    """Of a stream of a thousand addresses none has two places; whoever is known stays."""
    line = simulation.line
    known = [line.enter(0.0, JANE) for _ in range(PLACES + 6)][PLACES:]
    crowd = [line.enter(0.0, asker) for asker in strangers(MAX_WAITING - 6)]
    for number in range(40):
        with suppress(OverloadedError):
            line.enter(1.0, Asker(f"address 10.1.0.{number}", stranger=True))
    for _ in range(8):
        line.leave(ANSWER_S)
    for number in range(40):
        with suppress(OverloadedError):
            line.enter(2.0, Asker(f"address 10.2.0.{number}", stranger=True))
    assert sum(waiter.told.is_set() and not waiter.granted for waiter in crowd) > 10
    assert all(waiter.granted or not waiter.told.is_set() for waiter in known)


def test_a_request_waits_for_whom_it_is_said_to_wait() -> None:
    gate = AdmissionGate(working=1, max_waiting=2, deadline_s=0.5)
    told: list[str] = []

    def ask(asker: Asker) -> None:
        try:
            with asking(asker), gate.turn():
                told.append(asker.name)
        except OverloadedError as error:
            told.append(f"{asker.name}: {type(error).__name__}")

    with gate.turn(), ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, FLOOD) for _ in range(2)]
        while not gate.refuses(FLOOD):
            time.sleep(0.001)
        asked.append(pool.submit(ask, JANE))
        while not told:
            time.sleep(0.001)
        assert told == ["flood: OverloadedError"]
    for one in asked:
        one.result()
