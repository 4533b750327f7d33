"""The arithmetic of the budget, against a server that counts exactly, in a time that costs nothing."""

from __future__ import annotations

import heapq
import itertools
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.hubspot.pacing.pacers import ProcessPacer, Ticket
from airflow_provider_hubprefs.hubspot.pacing.slots import LEASE, Slots

from .conftest import Clock
from .pacing_workers import headers

TICK = 1 / 1024  # seconds that floats can add without rounding


@dataclass
class Server:
    """HubSpot's rolling window: what arrives when it is full is refused."""

    limit: int
    interval: float
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def ask(self, now: float) -> tuple[bool, dict[str, str]]:
        used = len(self.accepted) - bisect_right(self.accepted, now - self.interval)
        if ok := used < self.limit:
            self.accepted.append(now)
        else:
            self.refused.append(now)
        return ok, {
            "x-hubspot-ratelimit-max": str(self.limit),
            "x-hubspot-ratelimit-remaining": str(max(0, self.limit - used - ok)),
            "x-hubspot-ratelimit-interval-milliseconds": str(round(self.interval * 1000)),
        }


Travel = Iterator[tuple[float, float]]
Step = tuple[float, int, Callable[[], None]]


class World:
    """Workers and other clients, in simulated time."""

    def __init__(self, server: Server, clock: Clock) -> None:
        self.server, self.clock = server, clock
        self._order = itertools.count()
        self._steps: list[Step] = []

    def at(self, time: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._steps, (time, next(self._order), do))

    def run(self, until: float) -> None:
        while self._steps and self._steps[0][0] <= until:
            self.clock.now, _, do = heapq.heappop(self._steps)
            do()
        self.clock.now = until


class Worker:
    """A thread that sends whenever its pacer lets it."""

    def __init__(self, world: World, pacer: ProcessPacer, travel: Travel) -> None:
        self.world, self.pacer, self.travel = world, pacer, travel
        self.ticket = Ticket()
        self.refused = 0
        self.served = 0
        world.at(world.clock.now, self.ask)

    def ask(self) -> None:
        now = self.world.clock.now
        if (wait := self.pacer.wait(self.ticket)) > 0:
            return self.world.at(now + wait, self.ask)
        there, back = next(self.travel)
        return self.world.at(now + there, lambda: self.arrive(back))

    def arrive(self, back: float) -> None:
        ok, headers = self.world.server.ask(self.world.clock.now)
        self.world.at(self.world.clock.now + back, lambda: self.answered(ok, headers))

    def answered(self, ok: bool, headers: dict[str, str]) -> None:
        self.pacer.done(self.ticket, headers)
        self.served += ok
        if not ok:
            self.refused += 1
            self.pacer.pause()
        self.ticket = Ticket()
        self.world.at(self.world.clock.now, self.ask)


class UnpacedClient:
    """A client of the same app that knows nothing of any budget; it sends so many a second and never retries."""

    def __init__(self, world: World, rate: float, begins: float) -> None:
        self.world, self.rate = world, rate
        self.asked = self.served = 0
        world.at(begins, self.ask)

    def ask(self) -> None:
        ok, _ = self.world.server.ask(self.world.clock.now)
        self.asked += 1
        self.served += ok
        self.world.at(self.world.clock.now + 1 / self.rate, self.ask)


class OneOfMany(ProcessPacer):
    """The pacer of one process of several: what they share is these slots."""

    def __init__(self, slots: Slots, clock: Clock) -> None:
        super().__init__(clock=clock)
        self._slots = slots


def processes(count: int, clock: Clock, slots: Slots | None = None) -> list[OneOfMany]:
    slots = slots or Slots()
    return [OneOfMany(slots, clock) for _ in range(count)]


def team(world: World, pacers: list[OneOfMany], threads: int, latency: float = 0.12) -> list[Worker]:
    luck = random.Random(1)

    def travel() -> Travel:
        while True:
            yield latency * luck.uniform(0.2, 0.9), latency * luck.uniform(0.1, 0.4)

    return [Worker(world, pacer, travel()) for pacer in pacers for _ in range(threads)]


def world(limit: int = 190, interval: float = 10.0) -> World:
    return World(Server(limit, interval), Clock())


@pytest.mark.parametrize(("count", "threads"), [(1, 8), (1, 32), (4, 8), (4, 60)])
def test_without_other_clients_the_whole_budget_is_used_and_never_more(count: int, threads: int) -> None:
    there = world()
    workers = team(there, processes(count, there.clock), threads)

    there.run(1000 + 59)

    assert there.server.refused == []
    assert sum(worker.served for worker in workers) == 6 * 190


@pytest.mark.parametrize("limit", [100, 110, 190, 250])
def test_whatever_the_account_has_no_request_is_refused_from_the_first_on(limit: int) -> None:
    there = world(limit)
    team(there, processes(4, there.clock), 8)

    there.run(1000 + 39)

    assert there.server.refused == []
    assert len(there.server.accepted) == 4 * limit


def test_a_limit_that_was_learned_too_high_costs_nothing_after_the_first_answer() -> None:
    there = world(100)
    team(there, processes(4, there.clock, Slots(limit=190)), 8)

    there.run(1000 + 39)

    assert there.server.refused == []


def test_a_limit_that_falls_while_running_is_followed_and_one_that_rises_is_used() -> None:
    there = world(190)
    team(there, processes(2, there.clock), 8)

    there.run(1000 + 15)
    there.server.limit = 250
    there.run(1000 + 45)
    there.server.limit = 100
    there.run(1000 + 60)
    fallen = len(there.server.refused)
    there.run(1000 + 100)

    assert fallen < 40  # those in flight, and no more
    assert len(there.server.refused) == fallen


@pytest.mark.parametrize("begins", [-20, 0, 1, 5, 8, 13, 15, 19.5])
@pytest.mark.parametrize(("count", "threads"), [(1, 8), (4, 8)])
def test_beside_another_client_few_requests_are_refused_and_it_is_not_starved(
    begins: float, count: int, threads: int
) -> None:
    there = world()
    other = UnpacedClient(there, 5.7, 1000 + begins)
    there.run(1000)
    asked, served = other.asked, other.served
    workers = team(there, processes(count, there.clock), threads)

    there.run(1040)

    assert sum(worker.refused for worker in workers) <= 10
    # Its fair share is what it asks for: that is less than half of the budget.
    assert other.served - served >= (other.asked - asked) / 3
    assert sum(worker.served for worker in workers) >= 4 * (190 - 57) / 2


def test_when_the_other_client_has_gone_everything_is_used_again() -> None:
    there = world()
    other = UnpacedClient(there, 5.7, 980)
    there.run(1000)
    team(there, processes(1, there.clock), 8)
    there.run(1030)
    other.rate = 1e-9
    there.run(1160)
    before = len(there.server.accepted)

    there.run(1190)

    assert len(there.server.accepted) - before >= 3 * 190 - 3
    assert there.server.refused == []


def test_every_process_gets_its_share() -> None:
    there = world()
    teams = [team(there, [pacer], 8) for pacer in processes(4, there.clock)]

    there.run(1059)

    got = [sum(worker.served for worker in workers) for workers in teams]
    assert sum(got) == 6 * 190
    assert min(got) >= 0.8 * sum(got) / 4, got


@settings(deadline=None)
@given(
    limit=st.integers(1, 8),
    interval=st.integers(1, 16),
    count=st.integers(1, 3),
    threads=st.integers(1, 5),
    travels=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=1, max_size=40),
)
def test_without_other_clients_none_is_ever_seen(
    limit: int, interval: int, count: int, threads: int, travels: list[tuple[int, int]]
) -> None:
    """However requests and answers overtake each other."""
    there = world(limit, interval / 8)
    slots = Slots(limit=limit, interval=interval / 8, last_answer=1000.0)
    travel = itertools.cycle([(to * TICK, back * TICK) for to, back in travels])
    for pacer in processes(count, there.clock, slots):
        for _ in range(threads):
            Worker(there, pacer, travel)

    there.run(1000 + interval)

    assert there.server.refused == []
    assert slots.others.count(limit) == 0


def test_no_request_goes_before_the_probe_has_its_answer(clock: Clock) -> None:
    pacer = ProcessPacer(clock=clock)
    first, second = Ticket(), Ticket()
    assert pacer.wait(first) == 0
    assert 0 < pacer.wait(second) < 1

    pacer.done(first, {})

    assert pacer.wait(second) == 0


def test_a_probe_that_takes_long_or_is_lost_does_not_hold_the_others_up(clock: Clock) -> None:
    pacer = ProcessPacer(clock=clock)
    assert pacer.wait(Ticket()) == 0
    waiting = Ticket()
    while (wait := pacer.wait(waiting)) > 0:
        clock.now += wait
    assert clock.now <= 1002
    assert [pacer.wait(Ticket()) for _ in range(20)] == [0] * 20


def test_after_a_pause_a_probe_goes(clock: Clock) -> None:
    pacer = ProcessPacer(limit=10, clock=clock)
    pacer.done(ticket := Ticket(), {})
    pacer.wait(ticket)
    pacer.pause(5)
    pacer.done(ticket, {})
    clock.now += 5

    assert pacer.wait(Ticket()) == 0
    assert pacer.wait(Ticket()) > 0


def test_a_slot_whose_answer_never_comes_is_back_after_the_lease_and_an_interval() -> None:
    slots = Slots(limit=2, interval=10.0, last_answer=0.0)
    assert slots.take(0.0, 1) == slots.take(0.0, 2) == 0.0

    assert slots.take(LEASE - 1, 3) is None
    assert slots.take(LEASE, 3) == LEASE + 10


WRONG_REMAINING: dict[str, Callable[[int, int], int]] = {
    "stuck at 0": lambda used, _: 0,
    "stuck at 9": lambda used, _: 9,
    "stuck at 50": lambda used, _: 50,
    "of one second": lambda _, in_a_second: max(0, 10 - in_a_second),
    "far too low": lambda used, _: max(0, 10 - used),
    "stuck where it was lowest": lambda used, _: max(0, 100 - max(used, 60)),
}


@pytest.mark.parametrize("threads", [8, 16])
@pytest.mark.parametrize("name", WRONG_REMAINING)
def test_a_remaining_that_contradicts_what_was_sent_is_believed_for_a_window_at_most(
    name: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = world(100)
    ask = there.server.ask

    def wrong(now: float) -> tuple[bool, dict[str, str]]:
        ok, said = ask(now)
        accepted = there.server.accepted
        counts = [len(accepted) - bisect_right(accepted, now - seconds) for seconds in (10, 1)]
        return ok, {**said, "x-hubspot-ratelimit-remaining": str(WRONG_REMAINING[name](*counts))}

    monkeypatch.setattr(there.server, "ask", wrong)
    team(there, processes(1, there.clock), threads)

    there.run(1060)

    assert there.server.refused == []
    assert len(there.server.accepted) >= 480  # of 600: one window's worth is missing


def test_of_answers_that_overtake_each_other_the_fewest_requests_left_of_the_day_count(clock: Clock) -> None:
    pacer = ProcessPacer(limit=100, clock=clock)
    tickets = [Ticket() for _ in range(4)]
    assert [pacer.wait(ticket) for ticket in tickets] == [0] * 4

    left = []
    for ticket, remaining in zip(tickets, [96, 97, 98, 99], strict=True):
        clock.sleep(0.1)
        pacer.done(ticket, headers(100, daily=1000, daily_remaining=remaining))
        left.append(pacer.budget.daily_remaining)

    assert left == [96] * 4
    for remaining in (98, 999):  # none has overtaken the next; and another day
        clock.sleep(0.1)
        pacer.wait(alone := Ticket())
        pacer.done(alone, headers(100, daily=1000, daily_remaining=remaining))
        assert pacer.budget.daily_remaining == remaining


@pytest.mark.parametrize(
    ("most", "interval", "wait"), [(1, 3_600_000, 10), (1, 60_000, 60), (10_001, 10**9, 0)]
)
def test_one_absurd_limit_stops_nobody_for_long_and_is_reported_once(
    most: int, interval: int, wait: float, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    pacer = ProcessPacer(clock=clock)
    for _ in range(2):
        ticket = Ticket()
        while (rest := pacer.wait(ticket)) > 0:
            clock.sleep(rest)
        pacer.done(ticket, headers(most, interval))

    assert pacer.wait(Ticket()) <= wait
    assert len(caplog.records) == 1
    pacer.pause(86_400)
    assert pacer.wait(Ticket()) <= 60
