"""What a run logs while it goes on."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from airflow_provider_hubprefs.bulk.report.outcome import Outcome
from airflow_provider_hubprefs.bulk.report.progress import Progress
from airflow_provider_hubprefs.bulk.report.state import RunState
from airflow_provider_hubprefs.bulk.source.reader import reader_of
from airflow_provider_hubprefs.bulk.source.row import Row
from airflow_provider_hubprefs.bulk.source.size import SourceSize
from tests.helpers import people

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def take(state: RunState, rows: int) -> None:
    row = Row(1, "a@example.com")
    state.take([row] * rows, [Outcome(row, "changed")] * rows)


@pytest.mark.parametrize(
    ("known", "lines"),
    [
        (
            True,
            [
                "100 rows (10% of the source), 10 a second, about 0:01:30 left: 100 changed",
                "700 rows (70% of the source), 35 a second, about 0:00:09 left: 700 changed",
            ],
        ),
        (
            False,
            ["100 rows, 10 a second: 100 changed", "700 rows, 35 a second: 700 changed"],
        ),
    ],
    ids=["list", "generator"],
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
            take(state, rows)
            progress.log()
    assert [record.getMessage() for record in caplog.records] == lines


def test_where_nothing_changes_a_line_a_minute_says_so_and_none_while_hubspot_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, state = Clock(), RunState()
    progress = Progress(state, clock=clock)
    take(state, 1)
    with caplog.at_level("INFO"):
        for second in range(200):
            clock.now = second
            progress.log()
        state.all_sent = True
        for second in range(200, 10_000):
            clock.now = second
            progress.log()
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["1 row, 0 a second: 1 changed"] * 4


def test_the_first_estimate_is_right_although_a_file_is_read_ahead_and_a_part_was_done_before(
    tmp_path: Path,
) -> None:
    """Of 100,000 rows, 3.4 MB, an earlier try did 20,000; 1,900 more are in the sender's hands and 1,000 through."""
    (tmp_path / "people.csv").write_text("\n".join(["email", *people(100_000)]))
    clock, state = Clock(), RunState()
    source_size = SourceSize(tmp_path / "people.csv")
    progress = Progress(state, source_size, clock=clock)
    take(state, 20_000)
    rows = progress.reading(reader_of(source_size.source)(), lambda: None)
    deque(islice(rows, 20_000), maxlen=0)
    clock.now = 60  # passing over them took a minute
    progress.begin()
    assert progress.share == pytest.approx(0.2, rel=0.1)
    assert progress.seconds_left is None
    deque(islice(rows, 1_900), maxlen=0)
    take(state, 1_000)
    clock.now += 10
    assert progress.share == pytest.approx(0.21, rel=0.1)
    assert progress.seconds_left == pytest.approx(790, rel=0.1)


def test_the_estimate_is_of_the_last_minute() -> None:
    clock, state = Clock(), RunState()
    progress = Progress(state, SourceSize(range(100_000)), clock=clock)
    for second in range(0, 600, 5):  # an outage
        clock.now = second
        progress.sample()
    for _ in range(12):
        clock.now += 5
        take(state, 500)
        progress.sample()
    assert progress.seconds_left == pytest.approx(940, abs=1)


def test_what_is_read_ahead_is_not_through(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("\n".join(["email", *people(100_000)]))
    state, source_size = RunState(), SourceSize(tmp_path / "people.csv")
    progress = Progress(state, source_size)
    rows = progress.reading(reader_of(source_size.source)(), lambda: None)
    deque(islice(rows, 1_900), maxlen=0)
    take(state, 1_000)
    assert progress.share == pytest.approx(0.01, rel=0.3)
