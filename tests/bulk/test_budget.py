"""What a run may spend of the account's daily requests: compared before it starts, and kept to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint
from airflow_provider_hubprefs.bulk.report.folder import RunFolder
from airflow_provider_hubprefs.bulk.send import daily_budget as module
from airflow_provider_hubprefs.bulk.send.daily_budget import BudgetError
from airflow_provider_hubprefs.bulk.send.run import run_bulk
from airflow_provider_hubprefs.bulk.send.writes import SetStatus, UnsubscribeAll
from airflow_provider_hubprefs.bulk.source.options import ReadOptions
from airflow_provider_hubprefs.bulk.source.reader import reader_of
from airflow_provider_hubprefs.bulk.source.size import SourceSize
from airflow_provider_hubprefs.hubspot.errors import DailyLimitError, ValidationError
from airflow_provider_hubprefs.hubspot.transport.client import Client
from airflow_provider_hubprefs.simulator import Simulator
from airflow_provider_hubprefs.storage import ObjectPlace
from tests.helpers import people, writes

from .conftest import SameRun

ClientFor = Callable[..., Client]
NO_BATCHES = {"limited": {"scopes": ["communication_preferences.read_write"]}}
A_DAY = 86_400


@pytest.fixture
def portal(hubspot: Simulator) -> Callable[..., None]:
    def load(daily: int, *, used: int = 0, client: Client | None = None, **more: Any) -> None:
        hubspot.load({"limits": {"daily": daily, "burst": 10_000}, **more})
        hubspot.state.limits.day, hubspot.state.limits.used_today = "", 0
        if client is not None:
            for _ in range(used):
                client.send(client.calls.get_definitions())

    return load


def run(client: Client, source: Any, folder: Path | None = None, **options: Any) -> dict[str, Any]:
    source_size = SourceSize(source)
    checkpoint = None
    if folder is not None:
        checkpoint = Checkpoint(ObjectPlace(folder / "checkpoint"), SameRun(client, None, arguments={}))
    write = options.pop("write", UnsubscribeAll(client.calls))
    return run_bulk(
        client,
        write,
        reader_of(source_size.source, **options.pop("reading", {})),
        source_size=source_size,
        batch_size=options.pop("batch_size", 10),
        concurrency=4,
        folder=RunFolder(folder) if folder else None,
        checkpoint=checkpoint,
        **options,
    )


def used(hubspot: Simulator) -> int:
    return int(hubspot.stats["limits"]["used_today"])


def test_what_a_run_needs_is_said_before_its_first_write(
    hubspot: Simulator, portal: Any, client_for: ClientFor, caplog: pytest.LogCaptureFixture
) -> None:
    portal(1000)
    with caplog.at_level("INFO", logger=module.__name__):
        run(client_for(), people(300))
    (said,) = [record.getMessage() for record in caplog.records if "afford" in record.getMessage()]
    assert said == (
        "The account can afford this run (30 requests, more where batches are split or retried): the account has 999 "
        "of its 1,000 requests of the day left, and 50 of them are reserved for others"
    )
    assert len(hubspot.requests) == 31


def test_of_a_file_a_run_says_what_it_normally_takes_and_what_at_most(
    hubspot: Simulator, portal: Any, client_for: ClientFor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    portal(1000)
    (tmp_path / "people.csv").write_text("\n".join(["email", *people(210)]))
    with caplog.at_level("INFO", logger=module.__name__):
        run(client_for(), tmp_path / "people.csv")
    (said,) = [record.getMessage() for record in caplog.records if "afford" in record.getMessage()]
    assert said.startswith(
        "The account can afford this run (some 23 requests, at most 68): the account has 999 "
    )
    assert writes(hubspot) == 21


def test_a_run_that_the_account_cannot_afford_does_not_start(
    hubspot: Simulator, portal: Any, client_for: ClientFor
) -> None:
    portal(100)
    with pytest.raises(
        BudgetError, match=r"up to 96, .* has 99 of its 100 .* 5 of them are reserved"
    ) as raised:
        run(client_for(), people(960))
    assert "midnight in the account's time zone" in str(raised.value)
    assert writes(hubspot) == 0
    assert run(client_for(), people(930))["complete"]  # a look each and 93 batches: the reserve is untouched
    assert used(hubspot) == 95


@pytest.mark.parametrize(
    ("options", "times"),
    [({}, 1), ({"verify": True}, 2), ({"subscribe": True}, 2), ({"subscribe": True, "verify": True}, 3)],
)
def test_looking_first_and_reading_back_count(
    hubspot: Simulator, portal: Any, client_for: ClientFor, options: dict[str, Any], times: int
) -> None:
    portal(60)
    client = client_for()
    if options.pop("subscribe", None):
        number = hubspot.subscription_ids[0]
        options["write"] = SetStatus(client.calls, subscription_id=number, status="SUBSCRIBED")
    with pytest.raises(BudgetError, match=f"up to {100 * times},"):
        run(client, people(1000), **options)


def test_a_small_run_spends_no_request_on_the_figures(
    hubspot: Simulator, portal: Any, client_for: ClientFor
) -> None:
    portal(1000)
    run(client_for(), people(200))
    assert len(hubspot.requests) == 20


def test_a_run_of_an_app_without_a_daily_limit_logs_that_and_is_sent(
    hubspot: Simulator, portal: Any, client_for: ClientFor, caplog: pytest.LogCaptureFixture
) -> None:
    hubspot.load({"tokens": {"app": {"kind": "oauth", "burst": 10_000}}})
    with caplog.at_level("INFO", logger=module.__name__):
        assert run(client_for(token="app"), people(300))["complete"]
    assert [record.getMessage() for record in caplog.records if record.name == module.__name__] == [
        "HubSpot names no daily limit for this app: the run is not checked against one"
    ]


@pytest.mark.parametrize("begin", ["at once", "in the middle"])
def test_partial_sends_what_the_account_affords_and_a_later_try_the_rest(
    hubspot: Simulator, portal: Any, client_for: ClientFor, tmp_path: Path, begin: str
) -> None:
    portal(100)
    source: Any = people(1200)
    source_size = {"at once": source, "in the middle": (one for one in source)}[begin]
    where: dict[str, Any] = {"partial": True}
    first = run(client_for(), source_size, tmp_path, **where)
    assert first["complete"] is False
    assert "of its 100 requests of the day left, and 5 of them are reserved" in first["incomplete_because"]
    assert first["read"] == first["changed"] == writes(hubspot) * 10
    assert 90 <= used(hubspot) <= 98  # whether more came back meanwhile took a look or two
    hubspot.advance(A_DAY)
    second = run(client_for(), source, tmp_path, **where)
    assert (second["complete"], second["incomplete_because"], second["tries"]) == (True, None, 2)
    assert (second["read"], second["changed"]) == (1200, 1200)
    assert json.loads((tmp_path / "report.json").read_text())["complete"] is True


@pytest.mark.parametrize("kind", ["a list", "a file"])
def test_rows_that_are_not_sent_need_no_requests(
    hubspot: Simulator, portal: Any, client_for: ClientFor, tmp_path: Path, kind: str
) -> None:
    portal(100)
    source: Any = people(30) * 40
    options: dict[str, Any] = {}
    if kind == "a file":
        source = tmp_path / "people.csv"
        lines = [f"{one},{number < 30}" for number, one in enumerate(people(1200))]
        source.write_text("\n".join(["email,opted out", *lines]))
        options = {"reading": {"options": ReadOptions.of({"where": {"opted out": "true"}})}}
    summary = run(client_for(), source, **options)
    assert (summary["complete"], summary["changed"]) == (True, 30)


@pytest.mark.parametrize("mode", ["fail", "partial"])
def test_others_who_spend_the_day_meanwhile_end_the_run_as_its_author_said(
    hubspot: Simulator, portal: Any, client_for: ClientFor, tmp_path: Path, mode: str
) -> None:
    portal(1000)
    client = client_for()

    def others() -> None:
        while writes(hubspot) < 20:
            time.sleep(0.001)
        hubspot.state.limits.used_today = 1000

    meanwhile = threading.Thread(target=others)
    meanwhile.start()
    hubspot.fault("latency", ms=[5, 10], times=None)
    if mode == "fail":
        with pytest.raises(DailyLimitError):
            run(client, people(2000), tmp_path)
    else:
        summary = run(client, people(2000), tmp_path, partial=True)
        assert summary["complete"] is False
        assert summary["read"] < 2000
    meanwhile.join()
    hubspot.clear_faults()
    hubspot.advance(A_DAY)
    summary = run(client_for(), people(2000), tmp_path)
    assert summary["tries"] == 2
    assert summary["changed"] + summary["unchanged"] == 2000


def test_the_reserve_met_in_the_middle_stops_a_run_with_its_checkpoint(
    hubspot: Simulator, portal: Any, client_for: ClientFor, tmp_path: Path
) -> None:
    portal(100)
    generated = (one for one in people(2000))  # of unknown length
    with pytest.raises(BudgetError, match=r"has [3-9] of its 100 .*stopped after 9\d0 rows"):
        run(client_for(), generated, tmp_path)
    hubspot.advance(A_DAY)
    assert run(client_for(), people(1000), tmp_path)["tries"] == 2


@pytest.mark.parametrize("mode", ["fail", "partial"])
def test_without_the_batch_scopes_the_need_is_compared_again_after_the_first_batch(
    hubspot: Simulator, portal: Any, client_for: ClientFor, tmp_path: Path, mode: str
) -> None:
    portal(50, tokens=NO_BATCHES)
    client = client_for(token="limited")
    if mode == "fail":
        with pytest.raises(
            BudgetError, match=r"up to 90, .* stopped after 10 rows; .* One call per subscriber"
        ):
            run(client, people(100), tmp_path)
        assert sum(map(hubspot.is_opted_out, people(100))) == 10
    else:
        summary = run(client, people(100), tmp_path, partial=True)
        assert summary["complete"] is False
        assert summary["read"] == sum(map(hubspot.is_opted_out, people(100))) == 40
    assert used(hubspot) <= 48
    hubspot.advance(A_DAY)
    again = run(client_for(token="limited"), people(100), tmp_path, partial=True)
    assert again["read"] == (80 if mode == "partial" else 50)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"daily_reserve": 1}, "daily_reserve: expected at least 0 and less than 1"),
        ({"daily_reserve": -0.1}, "daily_reserve"),
        ({"daily_reserve": "5%"}, "daily_reserve"),
    ],
)
def test_what_cannot_be_is_refused(
    hubspot: Simulator, client_for: ClientFor, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValidationError, match=text):
        run(client_for(), people(3), **options)
    assert hubspot.requests == []
