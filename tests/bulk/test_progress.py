"""What a run logs while it goes on."""

from __future__ import annotations

import pytest

from airflow_provider_hubprefs.bulk.report.outcome import Outcome
from airflow_provider_hubprefs.bulk.report.progress import Progress
from airflow_provider_hubprefs.bulk.report.state import RunState
from airflow_provider_hubprefs.bulk.source.row import Row
from airflow_provider_hubprefs.bulk.source.size import SourceSize


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("known", "lines"),
    [
        (
            True,
            [
                "100 rows (10% of the source), 10 a second, about 0:01:30 left: {'changed': 100}",
                "700 rows (70% of the source), 35 a second, about 0:00:09 left: {'changed': 700}",
            ],
        ),
        (
            False,
            ["100 rows, 10 a second: {'changed': 100}", "700 rows, 35 a second: {'changed': 700}"],
        ),
    ],
)
def test_a_line_every_ten_seconds_says_how_far_how_fast_and_how_long(
    known: bool, lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    clock, state = Clock(), RunState()
    source_size = SourceSize(list(range(1000))) if known else SourceSize(iter(range(1000)))
    progress = Progress(state, source_size, clock=clock)
    with caplog.at_level("INFO"):
        for seconds, rows in ((5, 50), (10, 50), (15, 300), (20, 300)):
            clock.now = seconds
            row = Row(1, "a@example.com")
            state.take([row] * rows, [Outcome(row, "changed")] * rows)
            progress.log()
    assert [record.getMessage() for record in caplog.records] == lines
