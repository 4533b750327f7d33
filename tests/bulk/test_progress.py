"""What is told of a run while it goes on."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_hubprefs.bulk.extent import Extent
from airflow_provider_hubprefs.bulk.progress import Progress
from airflow_provider_hubprefs.bulk.report import Outcome, Report
from airflow_provider_hubprefs.bulk.source import Row
from airflow_provider_hubprefs.simulator import Simulator


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
                "100 rows (10% of the source), 10 a second, about 2 min left: {'changed': 100}",
                "700 rows (70% of the source), 35 a second, about 9 s left: {'changed': 700}",
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
    clock, report = Clock(), Report()
    extent = Extent(list(range(1000))) if known else Extent(iter(range(1000)))
    with caplog.at_level("INFO"), Progress(report, extent, bar=False, clock=clock) as progress:
        for seconds, rows in ((5, 50), (10, 50), (15, 300), (20, 300)):
            clock.now = seconds
            report.take(rows, [Outcome(Row(1, "a@example.com"), "changed")] * rows)
            progress.tell()
    assert [record.getMessage() for record in caplog.records] == lines


SCRIPT = """
import sys
from pathlib import Path
from airflow_provider_hubprefs.bulk.extent import Extent
from airflow_provider_hubprefs.bulk.run import run_bulk
from airflow_provider_hubprefs.bulk.source import reader_of
from airflow_provider_hubprefs.bulk.writes import UnsubscribeAll
from airflow_provider_hubprefs.hubspot.auth import StaticToken
from airflow_provider_hubprefs.hubspot.client import Client

extent = Extent(Path(sys.argv[3]))
client = Client(StaticToken(sys.argv[2]), host=sys.argv[1])
run_bulk(client, UnsubscribeAll(client.calls), reader_of(extent.source), extent=extent)
print("rich" in sys.modules)
"""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_drawn_where_somebody_looks_on_and_nowhere_else(
    hubspot: Simulator, tmp_path: Path, terminal: bool
) -> None:
    path = tmp_path / "people.csv"
    path.write_text("\n".join(["email", *(f"person-{number}@example.com" for number in range(300))]))
    controller, side = pty.openpty()
    command = [sys.executable, "-c", SCRIPT, hubspot.url, hubspot.token, str(path)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    errors = side if terminal else subprocess.PIPE
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, env=environment, check=True)
    os.close(side)
    shown = os.read(controller, 1 << 16).decode() if terminal else done.stderr.decode()
    os.close(controller)
    assert done.stdout.decode().strip() == str(terminal)
    assert ("300 rows" in shown and "100%" in shown) is terminal
    assert "@" not in shown
