"""The budget is spent to the last request, and never beyond."""

from __future__ import annotations

import heapq
import itertools
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.hubspot.pacing.pacers import ProcessPacer, SharePacer, Ticket
from airflow_provider_hubprefs.hubspot.pacing.slots import Budget
from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
from airflow_provider_hubprefs.hubspot.transport.client import Client
from airflow_provider_hubprefs.simulator import Simulator

from .conftest import Clock
from .pacing_workers import free_now, headers, send

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_as_many_requests_as_the_limit_go_at_once(clock: Clock) -> None:
    assert free_now(ProcessPacer(limit=5, clock=clock)) == 5


def test_a_slot_is_free_again_one_interval_after_its_answer(clock: Clock) -> None:
    pacer = ProcessPacer(limit=1, interval=10, clock=clock)
    ticket = send(pacer)
    clock.now += 3  # the answer takes three seconds
    pacer.done(ticket, {})

    following = Ticket()

    assert pacer.wait(following) == 10
    clock.now += 9
    assert pacer.wait(following) == 1
    clock.now += 1
    assert pacer.wait(following) == 0


def test_while_every_slot_is_under_way_one_asks_again_soon(clock: Clock) -> None:
    pacer = ProcessPacer(limit=1, clock=clock)
    send(pacer)

    assert 0 < pacer.wait(Ticket()) < 1


def test_who_waits_has_a_slot_of_his_own(clock: Clock) -> None:
    pacer = ProcessPacer(limit=2, interval=10, clock=clock)
    first, second = send(pacer), send(pacer)
    pacer.done(first, {})
    clock.now += 4
    pacer.done(second, {})

    waiting = [Ticket(), Ticket()]

    assert [pacer.wait(ticket) for ticket in waiting] == [6, 1]  # the other asks again meanwhile
    clock.now += 1
    assert [pacer.wait(ticket) for ticket in waiting] == [5, 9]
    clock.now += 5
    assert [pacer.wait(ticket) for ticket in waiting] == [0, 4]


def test_a_request_that_was_never_sent_gives_its_slot_back(clock: Clock) -> None:
    pacer = ProcessPacer(limit=1, interval=10, clock=clock)
    pacer.done(send(pacer), {})
    waiting = Ticket()
    assert pacer.wait(waiting) == 10
    pacer.done(waiting, {})  # Ctrl-C, while it waited
    clock.now += 10

    assert free_now(pacer) == 1


def test_done_twice_or_without_a_slot_makes_no_new_slots(clock: Clock) -> None:
    pacer = ProcessPacer(limit=1, interval=10, clock=clock)
    ticket = send(pacer)
    pacer.done(ticket, {})
    pacer.done(ticket, {})
    pacer.done(Ticket(), {})
    clock.now += 10

    assert free_now(pacer) == 1


def test_a_higher_limit_in_the_headers_is_used_at_once(clock: Clock) -> None:
    pacer = ProcessPacer(limit=2, clock=clock)
    pacer.done(send(pacer), headers(190))

    assert free_now(pacer) == 189


def test_a_lower_limit_holds_when_the_slots_under_way_come_back(clock: Clock) -> None:
    pacer = ProcessPacer(limit=10, interval=10, clock=clock)
    under_way = [send(pacer) for _ in range(8)]
    for ticket in under_way:
        pacer.done(ticket, headers(3))

    waiting = Ticket()
    assert pacer.wait(waiting) == 10
    clock.now += 10
    assert pacer.wait(waiting) == 0
    assert free_now(pacer) == 2


def test_a_longer_interval_holds_for_slots_that_came_back_before(clock: Clock) -> None:
    pacer = ProcessPacer(limit=2, interval=10, clock=clock)
    first, second = send(pacer), send(pacer)
    pacer.done(first, {})
    pacer.done(second, headers(2, 20_000))
    clock.now += 19

    assert free_now(pacer) == 0


def test_a_pause_holds_for_all_also_for_those_who_wait_already(clock: Clock) -> None:
    pacer = ProcessPacer(limit=2, interval=10, clock=clock)
    waiting = send(pacer)

    pacer.pause(4)
    assert pacer.wait(waiting) == 4
    pacer.pause(1)  # a shorter one changes nothing
    assert pacer.wait(waiting) == 4
    pacer.pause()
    assert pacer.wait(Ticket()) == 10
    clock.now += 10
    assert pacer.wait(waiting) == 0


@pytest.mark.parametrize("limit", ["", "0", "-5", "1e3", "many", "190, 190", "10001", "9" * 5000, "1.5"])
def test_a_limit_that_makes_no_sense_changes_nothing(limit: str, clock: Clock) -> None:
    pacer = ProcessPacer(limit=3, interval=10, clock=clock)

    pacer.done(send(pacer), headers(limit))

    assert free_now(pacer) == 2


@pytest.mark.parametrize("interval", ["", "0", "-5", "soon", "3600001", "9" * 5000])
def test_an_interval_that_makes_no_sense_changes_nothing(interval: str, clock: Clock) -> None:
    pacer = ProcessPacer(limit=1, interval=10, clock=clock)

    pacer.done(send(pacer), headers(1, interval))

    assert pacer.wait(Ticket()) == 10


def test_the_budget_is_what_hubspot_said_last(clock: Clock) -> None:
    pacer = ProcessPacer(clock=clock)
    assert pacer.budget == Budget()

    pacer.done(send(pacer), headers(100, remaining=99, daily=250_000, daily_remaining=0))
    pacer.done(send(pacer), {})

    assert pacer.budget == Budget(
        burst=100, burst_remaining=99, interval=10.0, daily=250_000, daily_remaining=0
    )


@pytest.mark.parametrize(("share", "most"), [(0.5, 10), (0.07, 1), (0.001, 1), (1, 20)])
def test_a_consumer_with_a_share_has_no_more_slots_in_any_window(share: float, most: int) -> None:
    whole = ProcessPacer(limit=20)
    consumer = SharePacer(whole, share)
    consumer.done(send(consumer), headers(20, remaining=19))

    assert [consumer.wait(Ticket()) > 0 for _ in range(20)].count(False) == most - 1
    assert whole.wait(Ticket()) == 0 or most == 20


def test_a_share_follows_the_limit_of_the_whole(clock: Clock) -> None:
    consumer = SharePacer(ProcessPacer(clock=clock), 0.5, clock=clock)
    consumer.done(send(consumer), headers(190))

    assert free_now(consumer) == 94


def test_requests_outside_a_share_take_nothing_from_it(clock: Clock) -> None:
    consumer = SharePacer(ProcessPacer(limit=20, clock=clock), 0.5, clock=clock)
    consumer.done(send(consumer), headers(20, remaining=8))  # 11 others

    assert consumer._own._slots.others.count(20) == 0


@pytest.mark.parametrize("share", [0, -0.5, 1.01, float("nan")])
def test_a_share_that_makes_no_sense_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="max_budget_share: expected more than 0"):
        SharePacer(ProcessPacer(), share)


TICK = 1 / 1024  # seconds that floats can add without rounding


def most_in_a_window(times: Sequence[float], interval: float) -> int:
    ordered = sorted(times)
    return max(
        sum(start <= time < start + interval for time in ordered[index:])
        for index, start in enumerate(ordered)
    )


@settings(deadline=None)
@given(
    limit=st.integers(1, 6),
    first=st.integers(1, 6),
    interval=st.integers(1, 2000),
    workers=st.integers(1, 12),
    travels=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=1, max_size=40),
    interrupted=st.sets(st.integers(0, 60)),
)
def test_no_window_of_the_servers_ever_holds_more_than_the_limit(  # noqa: PLR0917 - hypothesis names them
    limit: int,
    first: int,
    interval: int,
    workers: int,
    travels: list[tuple[int, int]],
    interrupted: set[int],
) -> None:
    """Workers that send without a rest; requests and answers that travel as long as they like."""
    clock = Clock()
    pacer = ProcessPacer(limit=min(first, limit), interval=interval * TICK, clock=clock)
    said = {"x-hubspot-ratelimit-max": str(limit)}
    arrived: list[float] = []
    order = itertools.count()
    travel = itertools.cycle(travels)
    events: list[tuple[float, int, Ticket, bool]] = []
    for _ in range(workers):
        heapq.heappush(events, (clock.now, next(order), Ticket(), False))

    for step in range(60):
        clock.now, _, ticket, answered = heapq.heappop(events)
        if answered:
            pacer.done(ticket, said)
            heapq.heappush(events, (clock.now, next(order), ticket, False))
        elif (wait := pacer.wait(ticket)) > 0:
            if step in interrupted:
                pacer.done(ticket, {})
            heapq.heappush(events, (clock.now + wait, next(order), ticket, False))
        else:
            there, back = next(travel)
            arrived.append(clock.now + there * TICK)
            heapq.heappush(events, (clock.now + (there + back) * TICK, next(order), ticket, True))

    assert arrived
    assert most_in_a_window(arrived, interval * TICK) <= limit


def test_threads_that_share_a_budget_never_meet_a_429() -> None:
    limits = {"burst": 20, "interval_ms": 100, "count_refused": True}
    with (
        Simulator(portal={"limits": limits}) as hubspot,
        Client(
            StaticToken(hubspot.token), host=hubspot.url, pacer=ProcessPacer(limit=20, interval=0.1)
        ) as client,
    ):

        def work() -> None:
            for _ in range(10):
                client.send(client.calls.get_unsubscribe_all("jane@example.com"))

        threads = [threading.Thread(target=work) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert client.usage.requests == 100
        assert client.usage.throttled == 0
        assert {request.status for request in hubspot.requests} == {200}
        assert len(hubspot.requests) == 100
