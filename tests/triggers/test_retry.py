"""What a watcher does when something fails."""

from __future__ import annotations

import asyncio
import logging

import pytest

from airflow_provider_hubprefs.triggers.retry import retried
from airflow_provider_hubprefs.watch.numbered_lists import ListError


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were rested; none of them passes."""
    rested: list[float] = []

    async def sleep(seconds: float) -> None:
        rested.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return rested


class Failing:
    """Fails so many times, then succeeds."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error, self.tries = times, error, 0

    async def __call__(self) -> str:
        self.tries += 1
        if self.left:
            self.left -= 1
            raise self.error
        return "done"


def test_what_passes_is_repeated_after_rests_that_double_up_to_ten_minutes(rests: list[float]) -> None:
    do = Failing(6, OSError("disk full"))
    assert asyncio.run(retried("It", do, rest=60.0, failures=6)) == "done"
    assert do.tries == 7
    for rest, longest in zip(rests, [60, 120, 240, 480, 600, 600], strict=True):
        assert longest / 2 <= rest <= longest


def test_after_too_many_failures_the_last_one_is_raised(rests: list[float]) -> None:
    do = Failing(99, OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        asyncio.run(retried("It", do, rest=60.0, failures=2))
    assert (do.tries, len(rests)) == (3, 2)


@pytest.mark.parametrize("error", [ListError("another watcher's"), TypeError("a defect")])
def test_what_does_not_pass_is_raised_after_one_rest(
    rests: list[float], error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    do = Failing(99, error)
    with caplog.at_level(logging.ERROR), pytest.raises(type(error)):
        asyncio.run(retried("It", do, rest=60.0, failures=5))
    assert (do.tries, rests) == (1, [60.0])
    assert f"It: {type(error).__name__}: {error}" in caplog.text
