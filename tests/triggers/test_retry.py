"""What a watcher does when something fails."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from airflow_provider_hubprefs.triggers import opt_out
from airflow_provider_hubprefs.triggers.opt_out import HubPrefsOptOutTrigger
from airflow_provider_hubprefs.watch.opt_outs import ListError


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were rested; none of them passes."""
    rested: list[float] = []

    async def sleep(seconds: float) -> None:
        rested.append(seconds)

    monkeypatch.setattr(opt_out, "asyncio", SimpleNamespace(sleep=sleep))  # other threads go on sleeping
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


def retried(do: Failing, *, tolerated: int) -> str:
    watcher = HubPrefsOptOutTrigger(
        output="file:///lists", poll_interval=60, max_consecutive_failures=tolerated
    )
    return asyncio.run(watcher._retried(do))


def test_what_fails_is_repeated_after_rests_that_double_up_to_ten_minutes(rests: list[float]) -> None:
    do = Failing(6, OSError("disk full"))
    assert retried(do, tolerated=6) == "done"
    assert do.tries == 7
    for rest, shortest in zip(rests, [60, 120, 240, 480, 600, 600], strict=True):
        assert shortest <= rest <= shortest + 6


def test_after_too_many_failures_the_last_one_is_raised(rests: list[float]) -> None:
    do = Failing(99, OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        retried(do, tolerated=2)
    assert (do.tries, len(rests)) == (3, 2)


def test_another_watchers_folder_is_tolerated_for_one_rest(
    rests: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    do = Failing(99, ListError("another watcher's"))
    with pytest.raises(ListError):
        retried(do, tolerated=5)
    assert (do.tries, len(rests)) == (2, 1)
    assert "ListError: another watcher's (failure 1 in a row, 1 tolerated" in caplog.text
