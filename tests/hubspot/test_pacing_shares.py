"""Consumers of one budget: each with its share, and many in order."""

from __future__ import annotations

import pytest

from airflow_provider_hubprefs.hubspot.pacing.pacers import ProcessPacer, Ticket
from airflow_provider_hubprefs.hubspot.pacing.shares import FifoPacer, SharePacer

from .conftest import Clock
from .pacing_workers import free_now, headers, send


@pytest.mark.parametrize(("share", "most"), [(0.5, 10), (0.07, 2), (0.001, 1), (1, 20)])
def test_a_consumer_with_a_share_has_no_more_slots_in_any_window(share: float, most: int) -> None:
    whole = ProcessPacer(limit=20)
    consumer = SharePacer(whole, share)
    consumer.done(send(consumer), headers(20))

    assert [consumer.wait(Ticket()) > 0 for _ in range(20)].count(False) == most - 1
    assert whole.wait(Ticket()) == 0 or most == 20


def test_a_share_follows_the_limit_of_the_whole(clock: Clock) -> None:
    consumer = SharePacer(ProcessPacer(clock=clock), 0.5, clock=clock)
    consumer.done(send(consumer), headers(190))

    assert free_now(consumer) == 94


@pytest.mark.parametrize("share", [0, -0.5, 1.01, float("nan")])
def test_a_share_that_makes_no_sense_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="max_budget_share: expected more than 0"):
        SharePacer(ProcessPacer(), share)


def test_slots_go_in_the_order_of_asking(clock: Clock) -> None:
    pacer = FifoPacer(ProcessPacer(limit=1, interval=10, clock=clock), clock=clock)
    pacer.done(send(pacer), {})
    first, second, third = Ticket(), Ticket(), Ticket()
    assert [pacer.wait(ticket) for ticket in (first, second, third)] == [10, 10, 10]
    clock.now += 10

    assert 0 < pacer.wait(third) < 0.1  # the slot is free, and not for this one
    assert pacer.wait(first) == 0
    pacer.done(first, {})
    clock.now += 10
    pacer.done(second, {})  # cancelled while it waited

    assert pacer.wait(third) == 0
