"""A run waits for pending rows when everything is sent, and sends nothing twice."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint, CheckpointError
from airflow_provider_hubprefs.bulk.report.folder import RunFolder
from airflow_provider_hubprefs.bulk.report.outcome import NOT_APPLIED, OUTCOMES
from airflow_provider_hubprefs.bulk.report.pending import PendingRows, rows_at, with_replaced
from airflow_provider_hubprefs.bulk.send.pending_wait import WaitEnd
from airflow_provider_hubprefs.bulk.send.run import run_bulk
from airflow_provider_hubprefs.bulk.send.writes import SetStatus, UnsubscribeAll
from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.reader import reader_of
from airflow_provider_hubprefs.bulk.source.row import Row
from airflow_provider_hubprefs.bulk.source.size import SourceSize
from airflow_provider_hubprefs.hubspot.errors import ServerError, StoppedError
from airflow_provider_hubprefs.simulator import Simulator
from airflow_provider_hubprefs.storage import ObjectPlace
from tests.helpers import PENDING, outcomes, people, writes

from .conftest import SameRun, lines_of

if TYPE_CHECKING:
    from airflow_provider_hubprefs.hubspot.transport.client import Client


class Waiting:
    """Waits here for a while, without asking."""

    def __init__(
        self,
        client: Client,
        *,
        interval: float = 0.1,
        timeout: float = 60,
        on_timeout: WaitEnd = WaitEnd.GIVEN_UP,
    ) -> None:
        self.waits: list[list[int]] = []
        self._client, self._interval = client, interval
        self._on_timeout = on_timeout
        self._end = time.monotonic() + timeout

    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def __call__(self, rows: Any, tick: Callable[[], None]) -> WaitEnd | None:
        if self.is_over():
            return self._on_timeout
        self.waits.append([row.number for row in rows])
        self.wait(rows)
        return None

    def wait(self, rows: Any) -> None:
        self._client.rest(self._interval)


class Leaving(Waiting):
    """Ends the try, for a later one to resume."""

    def wait(self, rows: Any) -> None:
        super().wait(rows)
        raise KeyboardInterrupt


class Trial:
    """Runs over one source, one after the other, with a checkpoint."""

    def __init__(self, folder: Path, client_for: Callable[..., Client]) -> None:
        self._folder, self._client_for = folder, client_for
        self.place = ObjectPlace(folder / "checkpoint")
        self.waiting: Waiting | None = None

    def __call__(
        self,
        source: Any,
        *,
        write: Callable[..., Any] = UnsubscribeAll,
        token: str = "all",
        kind: type[Waiting] | None = Waiting,
        columns: Columns | None = None,
        batch_size: int = 10,
        **waiting: Any,
    ) -> dict[str, Any]:
        client = self._client_for(token=token)
        self.waiting = kind(client, **waiting) if kind else None
        wanted = write(client.calls)
        source_size = SourceSize(source)
        return run_bulk(
            client,
            wanted,
            reader_of(source_size.source, columns=columns or Columns(), check=wanted.row_check),
            source_size=source_size,
            batch_size=batch_size,
            concurrency=4,
            wait=self.waiting,
            folder=RunFolder(self._folder),
            checkpoint=Checkpoint(self.place, SameRun(client, None, arguments={})),
        )

    def of(self, outcome: str) -> dict[str, str]:
        """Subscriber -> category."""
        letters = map(json.loads, lines_of(self._folder / "dead_letters.jsonl"))
        return {one["subscriber"]: one["category"] for one in letters if one["outcome"] == outcome}

    def reported(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._folder / "report.json").read_text())
        return found


@pytest.fixture
def run(tmp_path: Path, client_for: Callable[..., Client]) -> Trial:
    return Trial(tmp_path, client_for)


def test_rows_have_their_outcome_when_the_operation_is_over(hubspot: Simulator, run: Trial) -> None:
    hubspot.load({"operations": {"seconds": 0.7}})
    summary = run([*people(25), "no-address", *people(2)])
    assert outcomes(summary) == {"changed": 25, "invalid": 1, "duplicate": 2}
    assert summary["complete"]
    assert writes(hubspot) == 3
    assert summary["operations"]["PENDING"] >= 3
    assert run.waiting
    assert run.waiting.waits[0] == [10, 20, 25]  # one of each batch stands for it
    assert run.place.load() is None


def test_everything_is_sent_before_anything_is_waited_for(hubspot: Simulator, run: Trial) -> None:
    hubspot.load({"operations": {"seconds": 0.7}})
    run(people(60), batch_size=5)
    sent = [request.path.endswith("/read") for request in hubspot.requests]
    assert sent[:12] == [False] * 12
    assert all(sent[12:])
    assert run.waiting
    assert len(run.waiting.waits[0]) == 10  # of many batches not all are watched


def test_what_is_under_way_is_saved_before_a_wait_and_needs_no_second_reading(
    hubspot: Simulator, run: Trial
) -> None:
    hubspot.load({"operations": {"seconds": 3600}})
    read: list[int] = []

    class Source(list[str]):
        def __iter__(self) -> Any:
            read.append(len(self))
            return super().__iter__()

    class Killed(Waiting):
        def wait(self, rows: Any) -> None:
            state = run.place.load()
            assert state
            assert state["report"]["pending"] == [[0, 25, "OPERATION_PENDING"]]
            raise KeyboardInterrupt

    source = Source(people(25))
    for readings in (1, 2, 3):  # to send; then only to ask, each time
        with pytest.raises(KeyboardInterrupt):
            run(source, kind=Killed)
        assert len(read) == readings


def test_what_is_under_way_was_accepted(hubspot: Simulator, run: Trial) -> None:
    """Whom HubSpot refuses afterwards it refuses for their own sake."""
    hubspot.load({"operations": {"seconds": 0.3}, "batch_errors": "whole"})
    refused = [f"rejected-{number}@hubspot-rejects.example" for number in range(10)]
    assert outcomes(run([*people(10), *refused])) == {"changed": 10, "rejected": 10}


def test_several_rows_of_one_subscriber_are_one_question(hubspot: Simulator, run: Trial) -> None:
    hubspot.load({"operations": {"seconds": 0.7}})
    rows = [
        {"email": "jane@example.com", "subscription": str(number)} for number in hubspot.subscription_ids[:2]
    ]
    summary = run(
        rows,
        write=lambda calls: SetStatus(calls, status="UNSUBSCRIBED"),
        columns=Columns(email="email", subscription="subscription"),
    )
    assert outcomes(summary) == {"changed": 2}
    reads = [request for request in hubspot.requests if request.path.endswith("/read")]
    assert reads
    assert all(request.json() == {"inputs": ["jane@example.com"]} for request in reads)


@pytest.mark.parametrize("token", ["all", "starter"])
def test_what_is_canceled_meanwhile_is_rejected(hubspot: Simulator, run: Trial, token: str) -> None:
    hubspot.load({"operations": {"seconds": 0.7, "outcomes": {"person-1@*": "CANCELED"}}})
    assert outcomes(run(people(3), token=token)) == {"changed": 2, "rejected": 1}
    assert run.of("rejected") == {"person-1@example.com": "CANCELED"}


def test_which_operation_was_canceled_is_asked_where_an_answer_does_not_say(
    hubspot: Simulator, run: Trial
) -> None:
    hubspot.load({"operations": {"seconds": 0.3, "outcomes": {"person-1@*": "CANCELED"}}})
    canceled: dict[str, Any] = {"status": "CANCELED", "results": []}
    hubspot.fault("answer", json=canceled, match={"endpoint": "batch_read_unsubscribe_all"}, times=None)
    assert outcomes(run(people(3), interval=0.5)) == {"changed": 2, "rejected": 1}
    assert run.of("rejected") == {"person-1@example.com": "CANCELED"}


def test_what_is_not_over_in_time_is_unconfirmed_and_the_others_are_not(
    hubspot: Simulator, run: Trial
) -> None:
    hubspot.load({"operations": {"seconds": 3600}})
    hubspot.opt_out("person-0@example.com")
    summary = run(people(3), timeout=0.3)
    assert outcomes(summary) == {"changed": 1, "unconfirmed": 2}
    assert summary["reasons"] == {"unconfirmed: OPERATION_PENDING": 2}
    assert set(run.of("unconfirmed").values()) == {"OPERATION_PENDING"}
    assert summary["complete"]
    assert writes(hubspot) == 1
    assert run.place.load() is None


def test_what_is_over_without_the_preference_is_unconfirmed_at_once(hubspot: Simulator, run: Trial) -> None:
    hubspot.fault("answer", json=PENDING, match={"endpoint": "batch_unsubscribe_all"})
    run(people(3), timeout=3600)
    assert set(run.of("unconfirmed").values()) == {"NOT_SEEN"}
    assert len(hubspot.requests) == 2


def test_an_unknown_status_is_waited_on(hubspot: Simulator, run: Trial) -> None:
    unknown: dict[str, Any] = {"status": "HIBERNATING", "results": []}
    hubspot.fault("answer", json=unknown, match={"endpoint": "batch_unsubscribe_all"})
    hubspot.fault("answer", json=unknown, match={"endpoint": "batch_read_unsubscribe_all"}, times=2)
    run(people(2))
    assert set(run.of("unconfirmed").values()) == {"NOT_SEEN"}
    assert len(hubspot.requests) == 4


def test_without_the_scope_to_read_it_stays_unconfirmed(hubspot: Simulator, run: Trial) -> None:
    hubspot.fault("answer", json=PENDING, match={"endpoint": "batch_unsubscribe_all"})
    for endpoint in ("batch_read_unsubscribe_all", "get_unsubscribe_all"):
        body = {"category": "MISSING_SCOPES", "message": "This app hasn't been granted all required scopes"}
        hubspot.fault("answer", status=403, json=body, match={"endpoint": endpoint}, times=None)
    assert outcomes(run(people(2))) == {"unconfirmed": 2}
    assert set(run.of("unconfirmed").values()) == {"MISSING_SCOPES"}


def test_a_run_that_is_stopped_waits_no_longer_and_a_retry_waits_on(
    hubspot: Simulator, run: Trial, client_for: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    hubspot.load({"operations": {"seconds": 1.5}})
    client = client_for()
    monkeypatch.setattr(run, "_client_for", lambda **_: client)

    def stop() -> None:
        while run.waiting is None or not run.waiting.waits:
            time.sleep(0.01)
        client.stop()

    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(StoppedError):
        run([*people(3), "no-address"], interval=3600)
    stopping.join()
    assert outcomes(run.reported()) == {"unconfirmed": 3, "invalid": 1}  # as far as is known
    monkeypatch.setattr(run, "_client_for", client_for)
    summary = run([*people(3), "no-address"])
    assert outcomes(summary) == {"changed": 3, "invalid": 1}
    assert (summary["tries"], writes(hubspot)) == (2, 1)


def test_a_later_try_asks_first_and_sends_nothing_again(hubspot: Simulator, run: Trial) -> None:
    """However often: what is over in between has its outcome, what is not is waited for again."""
    hubspot.load({"operations": {"seconds": [1000, 9000]}})
    source = ["no-address", *people(30), "person-3@example.com", "rejected@hubspot-rejects.example"]
    over: list[int] = []
    while sum(over) < 15:
        with pytest.raises(KeyboardInterrupt):
            run(source, kind=Leaving)
        assert run.waiting
        assert run.waiting.waits[0]
        report = run.reported()
        assert report["read"] == 33 == sum(report[name] for name in OUTCOMES)
        assert (report["changed"], report["complete"]) == (sum(over), False)
        assert run.of("unconfirmed") == {}
        hubspot.advance(1000)
        over.append(sum(map(hubspot.is_opted_out, people(30))) - sum(over))
    assert sum(each > 0 for each in over) > 1
    summary = run(source, timeout=0.1)
    done = set(filter(hubspot.is_opted_out, people(30)))
    assert outcomes(summary) == {
        "changed": len(done),
        "unconfirmed": 30 - len(done),
        "rejected": 1,
        "invalid": 1,
        "duplicate": 1,
    }
    assert set(run.of("unconfirmed")) == {*people(30)} - done
    assert sum(len(run.of(name)) for name in NOT_APPLIED) == 30 - len(done) + 2
    assert (writes(hubspot), summary["tries"]) == (4, len(over) + 1)


def test_a_later_try_waits_on_for_what_was_given_up_where_that_is_wanted(
    hubspot: Simulator, run: Trial
) -> None:
    hubspot.load({"operations": {"seconds": 1.2}})
    source = [*people(12), "no-address"]
    first = run(source, timeout=0.2, on_timeout=WaitEnd.LEFT_TO_RETRY)
    assert outcomes(first) == {"unconfirmed": 12, "invalid": 1}
    assert len(run.of("unconfirmed")) == 12
    time.sleep(1.2)
    second = run(source, timeout=0.2, on_timeout=WaitEnd.LEFT_TO_RETRY)
    assert outcomes(second) == {"changed": 12, "invalid": 1}
    assert run.of("unconfirmed") == {}
    assert (second["tries"], writes(hubspot)) == (2, 2)
    assert run.place.load() is None


@pytest.mark.parametrize("over", [True, False])
def test_without_waiting_a_later_try_asks_once(hubspot: Simulator, run: Trial, over: bool) -> None:
    hubspot.load({"operations": {"seconds": 3600}})
    with pytest.raises(KeyboardInterrupt):
        run(people(3), kind=Leaving)
    hubspot.advance(3600 if over else 0)
    summary = run(people(3), kind=None)
    assert outcomes(summary) == {"changed" if over else "unconfirmed": 3}
    assert (summary["complete"], len(hubspot.requests)) == (True, 2)
    assert run.place.load() is None


def test_what_cannot_be_asked_is_asked_by_a_later_try(hubspot: Simulator, run: Trial) -> None:
    hubspot.load({"operations": {"seconds": 0.2}})
    match = {"endpoint": "batch_read_unsubscribe_all"}
    hubspot.fault("status", status=503, match=match, times=None)
    with pytest.raises(ServerError):
        run(people(3), interval=0.3)
    hubspot.clear_faults()
    assert outcomes(run(people(3))) == {"changed": 3}
    assert writes(hubspot) == 1


def test_a_file_that_changed_meanwhile_is_not_taken_for_the_one_that_was_sent(
    hubspot: Simulator, run: Trial, tmp_path: Path
) -> None:
    hubspot.load({"operations": {"seconds": 3600}})
    path = tmp_path / "people.csv"
    path.write_text("email\na@example.com\n")

    class Changing(Waiting):
        def wait(self, rows: Any) -> None:
            super().wait(rows)
            path.write_text("email\nb@example.com\nc@example.com\n")

    with pytest.raises(SourceError, match="changed while it was read"):
        run(path, kind=Changing)
    assert all("b@" not in str(request.json()) for request in hubspot.requests)


def test_rows_are_found_again_where_the_portal_has_other_subscriptions_by_now(
    hubspot: Simulator, run: Trial
) -> None:
    hubspot.load({"operations": {"seconds": 3600}})
    ids = hubspot.subscription_ids[:2]
    rows = [{"email": f"p{n}@example.com", "subscription": str(ids[n % 2])} for n in range(9)]

    def write(calls: Any) -> SetStatus:
        return SetStatus(calls, status="UNSUBSCRIBED")

    columns = Columns(email="email", subscription="subscription")
    with pytest.raises(KeyboardInterrupt):
        run(rows, write=write, columns=columns, kind=Leaving)
    one_less = {
        "status": "COMPLETE",
        "results": [{"id": str(ids[1]), "name": "the other one", "isActive": True}],
    }
    hubspot.fault("answer", json=one_less, match={"endpoint": "definitions"}, times=None)
    hubspot.advance(3600)
    assert outcomes(run(rows, write=write, columns=columns)) == {"changed": 9}
    again = run(rows, write=write, columns=columns)
    assert outcomes(again) == {"unchanged": 4, "invalid": 5}  # a run of its own asks the portal


def test_a_source_that_has_become_shorter_is_noticed(hubspot: Simulator, run: Trial) -> None:
    hubspot.load({"operations": {"seconds": 3600}})
    with pytest.raises(KeyboardInterrupt):
        run(people(30), kind=Leaving)
    with pytest.raises(CheckpointError, match="The source changed since"):
        run(people(20))
    assert writes(hubspot) == 3


def test_giving_up_may_be_interrupted_and_a_retry_waits_on_for_all(hubspot: Simulator, run: Trial) -> None:
    hubspot.load({"operations": {"seconds": 3600}})

    class Once(Waiting):
        def is_over(self) -> bool:
            return bool(self.waits)

    class Source(list[str]):
        def __iter__(self) -> Any:
            given = super().__iter__()
            if run.waiting is not None and run.waiting.waits:  # asked about for the last time, or given up
                asked.append(1)
                if len(asked) == 2:
                    return iter(list(given)[:15])
            return given

    asked: list[int] = []
    with pytest.raises(SourceError, match="The source changed since its rows were sent"):
        run(Source(people(30)), kind=Once, on_timeout=WaitEnd.LEFT_TO_RETRY)
    hubspot.advance(3600)
    assert outcomes(run(people(30))) == {"changed": 30}
    assert writes(hubspot) == 3


def test_what_cannot_be_read_is_not_waited_for(hubspot: Simulator, run: Trial) -> None:
    hubspot.load({"operations": {"seconds": 3600}})
    gone = {"status": "error", "category": "VALIDATION_ERROR", "message": "No such contact"}
    match = {"body_contains": "person-1@", "endpoint": "batch_read_unsubscribe_all"}
    hubspot.fault("answer", status=400, json=gone, match=match, times=None)
    summary = run(people(3), timeout=0.3)
    assert outcomes(summary) == {"unconfirmed": 3}
    assert run.of("unconfirmed")["person-1@example.com"] == "VALIDATION_ERROR"
    assert run.of("unconfirmed")["person-2@example.com"] == "OPERATION_PENDING"


def test_nothing_is_given_up_that_was_not_asked_about(hubspot: Simulator, run: Trial) -> None:
    """Not even where the time is over when everything is sent."""
    hubspot.fault("answer", json=PENDING, match={"endpoint": "batch_unsubscribe_all"})
    run(people(3), timeout=0)
    assert set(run.of("unconfirmed").values()) == {"NOT_SEEN"}
    assert run.waiting
    assert run.waiting.waits == []


# Places -----------------------------------------------------------------------------------------------

CATEGORIES = st.sampled_from([None, "A", "B"])


def spans_of(open_at: dict[int, str]) -> tuple[PendingRows, ...]:
    return with_replaced((), 0, 0, sorted(open_at.items()))


@given(
    st.lists(CATEGORIES, max_size=30),
    st.lists(CATEGORIES, max_size=12),
    st.integers(min_value=0, max_value=30),
)
def test_what_is_said_anew_of_some_places_leaves_the_others_as_they_are(
    before: list[str | None], anew: list[str | None], first: int
) -> None:
    known = {place: category for place, category in enumerate(before) if category}
    said = {place: category for place, category in enumerate(anew, first) if category}
    end = first + len(anew)
    spans = with_replaced(spans_of(known), first, end, sorted(said.items()))
    others = {place: category for place, category in known.items() if not first <= place < end}
    assert spans == spans_of({**others, **said})
    found = {place: one.category for one in spans for place in range(one.first, one.end)}
    assert found == {**others, **said}
    assert all(a.end < b.first or a.category != b.category for a, b in itertools.pairwise(spans))


@given(st.lists(st.tuples(CATEGORIES, st.booleans()), max_size=30))
def test_rows_are_found_again_by_their_places(rows: list[tuple[str | None, bool]]) -> None:
    source = [
        Row(number, f"p{number}@example.com", None if sent else "duplicate")
        for number, (_, sent) in enumerate(rows, 1)
    ]
    sendable = [(row, category) for row, (category, sent) in zip(source, rows, strict=True) if sent]
    spans = spans_of({place: category for place, (_, category) in enumerate(sendable) if category})
    assert list(rows_at(spans, source)) == [
        (place, category, row) for place, (row, category) in enumerate(sendable) if category
    ]
