"""A run says what it does to HubSpot, and what is left to HubSpot by rule is nothing to warn of."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.bulk.report.folder import RunFolder
from airflow_provider_hubprefs.bulk.report.outcome import HUBSPOT_WINS, Outcome
from airflow_provider_hubprefs.bulk.send.run import run_bulk
from airflow_provider_hubprefs.bulk.send.writes import Mixed, SetStatus, UnsubscribeAll, Write
from airflow_provider_hubprefs.bulk.source.reader import reader_of
from airflow_provider_hubprefs.hubspot.api.calls import Calls
from tests.helpers import people

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_hubprefs.bulk.source.row import Row
    from airflow_provider_hubprefs.hubspot.transport.client import Client


class Plan(Write):
    """Rejects every row for one reason."""

    kind = "plan"

    def __init__(self, calls: Calls, category: str) -> None:
        read = SetStatus(calls, subscription_id=1, status="UNSUBSCRIBED").read
        super().__init__("compare with HubSpot", "compared", write=None, read=read)
        self.category = category

    def arguments(self) -> dict[str, Any]:
        return {}

    def reads_first(self, row: Row) -> bool:
        return True

    def before_writing(self, statuses: object, row: Row) -> Outcome:
        return Outcome(row, "rejected", self.category)


@pytest.mark.parametrize("category", [*HUBSPOT_WINS, "OTHER"])
def test_only_what_is_a_failure_is_warned_of(
    client_for: Callable[..., Client], tmp_path: Path, caplog: pytest.LogCaptureFixture, category: str
) -> None:
    wins = category in HUBSPOT_WINS
    level, left = (logging.INFO, "5 left to HubSpot") if wins else (logging.WARNING, "5 refused")
    caplog.set_level(logging.INFO)
    client = client_for()
    run_bulk(
        client,
        Plan(client.calls, category),
        reader_of(people(5)),
        folder=RunFolder(tmp_path),
        stop_when_refused_alike=False,
    )
    last = caplog.records[-1]
    assert (last.levelno, last.message) == (level, f"0 of 5 would change, {left} -> {tmp_path}/report.html")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["kind"] == "plan"
    assert "0 of 5 would change" in (tmp_path / "report.html").read_text()


def test_writes_write_and_two_kinds_of_rows_do_what_their_parts_do() -> None:
    statuses, opt_outs = Plan(Calls(), "OTHER"), UnsubscribeAll(Calls())
    assert (opt_outs.kind, SetStatus(Calls()).kind, Mixed(statuses, opt_outs).kind) == (
        "write",
        "write",
        "plan",
    )
