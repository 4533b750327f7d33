"""Files that a run writes line by line: every row once, whatever its tries meet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint, Identity
from airflow_provider_hubprefs.bulk.report.folder import RunFolder
from airflow_provider_hubprefs.bulk.report.outcome import Outcome, outcome_unknown
from airflow_provider_hubprefs.bulk.send.run import run_bulk
from airflow_provider_hubprefs.bulk.send.writes import Mixed, SetStatus, UnsubscribeAll, Write
from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.reader import reader_of
from airflow_provider_hubprefs.bulk.source.row import Row, Wanted
from airflow_provider_hubprefs.hubspot.errors import HubSpotError, ValidationError
from airflow_provider_hubprefs.storage import ObjectPlace
from tests.helpers import outcomes, people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from airflow_provider_hubprefs.hubspot.api.calls import Calls
    from airflow_provider_hubprefs.hubspot.transport.client import Client
    from airflow_provider_hubprefs.simulator import Simulator


class Seen:
    """Writes down what became of every row, and how many statuses HubSpot showed before."""

    kind = "seen"

    def __init__(self) -> None:
        self.finished: list[tuple[int, bool]] = []
        self.found: list[dict[str, Any]] = []

    def lines(self, outcomes: Sequence[Outcome]) -> list[str]:
        return [
            json.dumps(
                {
                    "row": one.row.number,
                    "outcome": one.outcome,
                    "shown": None if one.actual is None else len(one.actual),
                }
            )
            for one in outcomes
        ]

    def finish(self, lines: Iterator[bytes], counts: Mapping[str, int], *, complete: bool) -> None:
        self.found = [json.loads(line) for line in lines]
        self.finished.append((sum(counts.values()), complete))

    def reported(self) -> dict[str, Any]:
        return {"seen": len(self.found)}


class Look(Write):
    """Only reads: subscribers who have a status are unchanged, and the others are unknown."""

    def __init__(self, calls: Calls) -> None:
        read = SetStatus(calls, subscription_id=1, status="UNSUBSCRIBED").read
        super().__init__("look", "seen", write=None, read=read)

    def arguments(self) -> dict[str, Any]:
        return {"write": "none"}

    def reads_first(self, row: Row) -> bool:
        return True

    def before_writing(self, statuses: Sequence[Any] | None, row: Row) -> Outcome:
        return outcome_unknown(row, "not shown") if statuses is None else Outcome(row, "unchanged")


@pytest.fixture
def carry(client_for: Callable[..., Client], tmp_path: Path) -> Callable[..., tuple[dict[str, Any], Seen]]:
    def carry(source: Any, write: Callable[[Calls], Write], **arguments: Any) -> tuple[dict[str, Any], Seen]:
        client, seen, folder = client_for(), Seen(), RunFolder(tmp_path)
        wanted = write(client.calls)
        identity = Identity(client, source, arguments=wanted.arguments())
        try:
            summary = run_bulk(
                client,
                wanted,
                reader_of(source, check=wanted.row_check, **arguments),
                batch_size=10,
                folder=folder,
                checkpoint=Checkpoint(ObjectPlace(folder.checkpoint), identity),
                recorders=[seen],
            )
        except HubSpotError:
            summary = json.loads((tmp_path / "report.json").read_text())
        return summary, seen

    return carry


def test_every_row_is_recorded_once_over_all_tries(
    hubspot: Simulator, carry: Callable[..., tuple[dict[str, Any], Seen]]
) -> None:
    rows = [*people(95), "nothing", "person-3@example.com", *people(20, start=95)]
    hubspot.fault("daily", match={"body_contains": "person-61@"}, times=1)
    summary, seen = carry(rows, UnsubscribeAll)
    assert (seen.finished[-1][1], len(seen.found)) == (False, summary["read"])
    assert 0 < len(seen.found) < 70
    summary, seen = carry(rows, UnsubscribeAll)
    assert seen.finished == [(117, True)]
    assert [one["row"] for one in seen.found] == [*range(1, 118)]
    assert outcomes(summary)["invalid"] == outcomes(summary)["duplicate"] == 1
    assert {one["shown"] for one in seen.found} == {None}
    assert summary["seen"] == 117


def test_a_run_that_only_reads_shows_what_hubspot_has(
    hubspot: Simulator, carry: Callable[..., tuple[dict[str, Any], Seen]]
) -> None:
    summary, seen = carry(people(25), Look)
    assert outcomes(summary) == {"unchanged": 25}
    assert {one["shown"] for one in seen.found} == {len(hubspot.subscription_ids)}
    assert summary["requests"] == 3


def test_rows_that_were_unknown_are_read_again_and_recorded_again(
    hubspot: Simulator, carry: Callable[..., tuple[dict[str, Any], Seen]]
) -> None:
    hubspot.fault("answer", json={"status": "COMPLETE", "results": []}, times=None)
    summary, seen = carry(people(5), Look)
    assert outcomes(summary) == {"unconfirmed": 5}
    hubspot.clear_faults()
    summary, seen = carry(people(5), Look)
    assert outcomes(summary) == {"unchanged": 5}
    assert [one["outcome"] for one in seen.found] == ["unconfirmed"] * 5 + ["unchanged"] * 5


def test_whom_a_batch_names_is_refused_by_the_single_call_and_holds_up_no_one(
    hubspot: Simulator, carry: Callable[..., tuple[dict[str, Any], Seen]]
) -> None:
    names = [*people(10), "rejected@hubspot-rejects.example", *people(4, start=10)]
    summary, _ = carry(names, Look)
    assert outcomes(summary) == {"unchanged": 14, "rejected": 1}
    assert summary["reasons"] == {"rejected: VALIDATION_ERROR": 1}
    number = hubspot.subscription_ids[0]
    summary, _ = carry(names, lambda calls: SetStatus(calls, subscription_id=number, status="SUBSCRIBED"))
    assert outcomes(summary) == {"changed": 14, "rejected": 1}
    assert {hubspot.status_of(name, number) for name in people(14)} == {"SUBSCRIBED"}


def test_rows_about_everything_and_about_one_subscription_go_together(
    hubspot: Simulator, carry: Callable[..., tuple[dict[str, Any], Seen]]
) -> None:
    one = hubspot.subscription_ids[0]

    def mixed(calls: Calls) -> Write:
        return Mixed(SetStatus(calls, status="UNSUBSCRIBED"), UnsubscribeAll(calls))

    class Every(Columns):
        """Every second row is about everything."""

        def reader(self, status_values: Any) -> Any:
            return lambda cells: Wanted(subscription_id=None if cells[0] == "all" else int(cells[0]))

    rows = [{"email": name, "type": "all" if at % 2 else str(one)} for at, name in enumerate(people(40))]
    summary, seen = carry(rows, mixed, columns=Every(subscription="type"))
    assert outcomes(summary) == {"changed": 40}
    assert [one["row"] for one in seen.found] == [*range(1, 41)]
    last = hubspot.subscription_ids[-1]
    assert [hubspot.status_of(name, last) == "UNSUBSCRIBED" for name in people(4)] == [False, True] * 2
    assert {hubspot.status_of(name, one) for name in people(40)} == {"UNSUBSCRIBED"}
    assert summary["requests"] == 9  # the subscriptions, and two writes for each batch


def test_they_need_a_folder(client_for: Callable[..., Client]) -> None:
    client = client_for()
    with pytest.raises(ValidationError, match="output: expected a folder"):
        run_bulk(client, UnsubscribeAll(client.calls), reader_of(people(1)), recorders=[Seen()])
