"""When a failed call is sent again, and how long that waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as of_hypothesis
from hypothesis import strategies as st

from airflow_provider_hubprefs.hubspot.errors import (
    BurstLimitError,
    HubSpotError,
    LockedError,
    MalformedAnswerError,
    MigratingError,
    ServerError,
)
from airflow_provider_hubprefs.hubspot.transport.client import run
from airflow_provider_hubprefs.hubspot.transport.retry import retrying, wait_before
from airflow_provider_hubprefs.hubspot.transport.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = Settings()


def attempts(error: Callable[[], Exception], **settings: float) -> tuple[int, list[float]]:
    """How often a call that always fails is tried, and the waits between."""
    made = 0
    waits: list[float] = []

    async def fail() -> None:
        nonlocal made
        made += 1
        raise error()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    policy = retrying(Settings(**settings), sleep=sleep, before_sleep=lambda _: None)  # type: ignore[arg-type]
    with pytest.raises(type(error())):
        run(policy(fail))
    return made, waits


@given(attempt=st.integers(1, 2000))
def test_waits_double_up_to_a_maximum_with_jitter_on_the_upper_half(attempt: int) -> None:
    full = min(60.0, 2.0 ** min(attempt - 1, 10))

    assert full / 2 <= wait_before(ServerError(""), attempt, SETTINGS) <= full


def test_many_who_fail_together_do_not_come_back_together() -> None:
    assert len({wait_before(ServerError(""), 3, SETTINGS) for _ in range(50)}) > 40
    assert len({wait_before(BurstLimitError("", retry_after=5), 1, SETTINGS) for _ in range(50)}) > 40


@given(asked=st.floats(0, 1e6), attempt=st.integers(1, 50))
def test_what_hubspot_asks_for_is_the_least(asked: float, attempt: int) -> None:
    assert (
        asked
        <= wait_before(BurstLimitError("", retry_after=asked), attempt, SETTINGS)
        <= max(asked * 1.1, 60)
    )


def test_a_lock_is_given_two_seconds() -> None:
    assert wait_before(LockedError(""), 1, SETTINGS) == 2.0
    assert wait_before(LockedError(""), 10, SETTINGS) > 2.0
    assert 1.0 <= wait_before(LockedError("", retry_after=1), 1, SETTINGS) < 2.0


@of_hypothesis(deadline=None)
@given(total=st.floats(0, 86_400), asked=st.none() | st.floats(0, 1e5))
def test_the_time_of_all_waits_is_bounded(total: float, asked: float | None) -> None:
    made, waits = attempts(
        lambda: ServerError("", retryable=True, retry_after=asked),
        retry_total=total,
        retry_first_wait=max(1.0, total / 100),
    )

    assert sum(waits) <= total
    assert made == len(waits) + 1


def test_a_total_of_nothing_means_one_attempt() -> None:
    assert attempts(lambda: ServerError("", retryable=True), retry_total=0) == (1, [])


@pytest.mark.parametrize("error", [ServerError("", not_applied=True), ValueError()])
def test_what_does_not_pass_is_tried_once(error: Exception) -> None:
    assert attempts(lambda: error) == (1, [])


def test_a_migration_is_waited_for_up_to_its_own_maximum() -> None:
    def migrating(asked: float) -> Callable[[], HubSpotError]:
        return lambda: MigratingError("", retryable=True, retry_after=asked)

    assert attempts(migrating(901)) == (1, [])
    assert attempts(migrating(900))[0] == 2
    assert attempts(migrating(400))[0] == 3
    assert attempts(migrating(86_400), migrating_max_wait=86_400)[0] == 2


def test_an_unreadable_answer_is_tried_three_times() -> None:
    assert attempts(lambda: MalformedAnswerError("", retryable=True))[0] == 3
    assert attempts(lambda: MalformedAnswerError(""))[0] == 1


def test_a_gateway_is_given_a_few_seconds() -> None:
    for status in (502, 504):
        assert 2.0 <= wait_before(ServerError("", status=status), 1, SETTINGS) <= 4.0
    assert wait_before(ServerError("", status=503), 1, SETTINGS) <= 1.0


def test_failures_after_a_migration_have_their_own_time() -> None:
    errors = iter(
        [MigratingError("", retryable=True, retry_after=800)]
        + [ServerError("", retryable=True, retry_after=140) for _ in range(5)]
    )
    last: list[HubSpotError] = []

    def next_error() -> HubSpotError:
        last.append(next(errors, last[-1] if last else ServerError("")))
        return last[-1]

    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def fail() -> None:
        raise next_error()

    with pytest.raises(ServerError):
        run(retrying(SETTINGS, sleep=sleep, before_sleep=lambda _: None)(fail))

    assert len(waits) == 2 or len(waits) == 3
    assert sum(waits[1:]) <= SETTINGS.retry_total
