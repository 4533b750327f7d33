"""Only knowledge permits: nobody is subscribed on the strength of an answer that does not say so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from airflow_provider_hubprefs.bulk.send import guarded_write
from airflow_provider_hubprefs.bulk.send.row_caller import RowCaller
from airflow_provider_hubprefs.bulk.send.single import write_one
from airflow_provider_hubprefs.bulk.send.writes import SetStatus, UnsubscribeAll
from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.row import Row
from airflow_provider_hubprefs.hubspot.api.answers import subscriber_key
from airflow_provider_hubprefs.hubspot.errors import (
    AuthenticationError,
    HubSpotError,
    MissingScopesError,
    ServerError,
    ValidationError,
)
from airflow_provider_hubprefs.hubspot.pacing.pacers import ProcessPacer
from airflow_provider_hubprefs.hubspot.transport.auth import OAuthRefresh
from airflow_provider_hubprefs.hubspot.transport.client import Client
from tests.helpers import people, writes

from .conftest import SHORT_RETRIES, Done

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator

Run = Callable[..., Done]
JANE = "jane@example.com"
MODES = ("batch", "batch without batch scopes", "one")
NAMES_HER = {"status": "error", "category": "INTERNAL_ERROR", "context": {"ids": ["JANE@example.com"]}}
NAMES_NONE = {"status": "error", "category": "INTERNAL_ERROR", "message": "could not read one"}


@pytest.fixture
def number(hubspot: Simulator) -> int:
    return hubspot.subscription_ids[0]


@pytest.fixture
def subscribe(run: Run, client_for: Callable[..., Client], number: int) -> Callable[..., str | None]:
    """Set a status for somebody who may have unsubscribed; return the outcome and its category."""

    def set_it(mode: str, subscriber: str = JANE, **options: Any) -> str:
        def write(calls: Any) -> SetStatus:
            return SetStatus(calls, subscription_id=number, status="SUBSCRIBED", **options)

        if mode == "one":
            client = client_for()
            try:
                return write_one(client, write(client.calls), subscriber)[0]
            except HubSpotError as error:
                return f"{'unconfirmed' if error.retryable else 'rejected'} {error.category}"
        done = run([subscriber], write, token="starter" if "without" in mode else "all")
        assert done.error is None
        (outcome,) = done.outcomes
        return " ".join([outcome, *(str(one["category"]) for one in done.letters)])

    return set_it


def strike_reads(hubspot: Simulator, kind: str, **fault: Any) -> None:
    for endpoint in ("batch_read", "get_statuses"):
        hubspot.fault(kind, **fault, match={"endpoint": endpoint}, times=None)


class TestWhatIsNotKnownIsNotWritten:
    @pytest.mark.parametrize(
        ("kind", "fault"),
        [
            *(("edit", {"json": {"status": word}}) for word in ("PENDING", "PROCESSING", "CANCELED", "NEW")),
            *(("edit", {"json": {"status": word, "results": []}}) for word in ("PENDING", "CANCELED", "NEW")),
            ("edit", {"json": {"errors": [NAMES_HER]}}),
            ("edit", {"json": {"errors": [NAMES_NONE]}}),
            ("edit", {"json": {"results": [], "errors": [NAMES_HER], "numErrors": 1}}),
            ("edit", {"json": {"numErrors": 1}}),
            ("edit", {"of": {"subscriptionId": 0}, "drop": True}),
            ("edit", {"of": {"subscriptionId": 0}, "row": {"status": "OPTED_OUT"}}),
            ("edit", {"of": {"subscriptionId": 0}, "row": {"status": ""}}),
            ("edit", {"row": {"subscriberIdString": "alice@example.com"}}),
            ("edit", {"of": {"channel": "EMAIL"}, "row": {"subscriberIdString": "alice@example.com"}}),
            ("fields", {"null": ["results", "statuses"]}),
            ("fields", {"missing": ["results", "statuses"]}),
        ],
    )
    @pytest.mark.parametrize("opted_out", [False, True])
    def test_whatever_the_truth_is(
        self,
        hubspot: Simulator,
        subscribe: Callable[..., str],
        number: int,
        kind: str,
        fault: dict[str, Any],
        *,
        opted_out: bool,
    ) -> None:
        if opted_out:
            hubspot.opt_out(JANE)
        if fault.get("of", {}).get("subscriptionId") == 0:
            fault = {**fault, "of": {"subscriptionId": number}}
        strike_reads(hubspot, kind, **fault)
        assert {mode: subscribe(mode) for mode in MODES} == dict.fromkeys(MODES, "unconfirmed STATUS_UNKNOWN")
        assert writes(hubspot) == 0

    def test_a_batch_that_has_no_row_for_a_subscriber_says_nothing_of_it(
        self, hubspot: Simulator, subscribe: Callable[..., str]
    ) -> None:
        hubspot.fault("edit", json={"results": []}, match={"endpoint": "batch_read"})
        assert subscribe("batch") == "unconfirmed STATUS_UNKNOWN"

    def test_words_are_known_in_any_case(
        self, hubspot: Simulator, subscribe: Callable[..., str], number: int
    ) -> None:
        hubspot.opt_out(JANE)
        strike_reads(hubspot, "edit", of={"subscriptionId": number}, row={"status": "unsubscribed"})
        assert {subscribe(mode) for mode in MODES} == {"rejected RESUBSCRIBE_NOT_ALLOWED"}
        assert writes(hubspot) == 0

    @pytest.mark.parametrize("mode", MODES)
    def test_no_rows_at_all_are_knowledge(
        self, hubspot: Simulator, subscribe: Callable[..., str], mode: str
    ) -> None:
        hubspot.fault("edit", json={"results": []}, match={"endpoint": "get_statuses"})
        hubspot.fault("edit", of={"channel": "EMAIL"}, drop=True, match={"endpoint": "batch_read"})
        assert subscribe(mode) == "changed"

    @pytest.mark.parametrize("mode", MODES)
    def test_an_opt_out_under_way_is_not_overtaken(
        self,
        hubspot: Simulator,
        subscribe: Callable[..., str],
        client_for: Callable[..., Client],
        number: int,
        mode: str,
    ) -> None:
        hubspot.load({"operations": {"seconds": 30}})
        client = client_for()
        client.send(client.calls.unsubscribe_all(JANE))
        assert subscribe(mode) == "unconfirmed STATUS_UNKNOWN"
        hubspot.advance(61)
        assert hubspot.status_of(JANE, number) == "UNSUBSCRIBED"

    @pytest.mark.parametrize("error", [{"status": "PENDING"}, {"errors": [NAMES_NONE]}, {"numErrors": 1}])
    def test_one_subscriber_that_is_not_clear_does_not_block_the_others_of_its_batch(
        self, hubspot: Simulator, run: Run, number: int, error: dict[str, Any]
    ) -> None:
        hubspot.opt_out("person-1@example.com")
        hubspot.fault("edit", json=error, match={"endpoint": "batch_read"})
        done = run(people(3), lambda calls: SetStatus(calls, subscription_id=number, status="SUBSCRIBED"))
        assert done.outcomes == {"changed": 2, "rejected": 1}
        assert hubspot.status_of("person-1@example.com", number) == "UNSUBSCRIBED"

    @pytest.mark.parametrize(
        "answer",
        [
            {"errors": [{"category": "OBJECT_NOT_FOUND", "context": {"ids": ["person-0@example.com"]}}]},
            {
                "errors": [
                    {"category": "OBJECT_NOT_FOUND", "context": {"ids": [JANE, "person-0@example.com"]}}
                ]
            },
            {"errors": [{"category": "OBJECT_NOT_FOUND", "message": "Not found"}]},
            {
                "errors": [{"category": "OBJECT_NOT_FOUND", "context": {"ids": ["person-1@example.com"]}}],
                "numErrors": 2,
            },
        ],
    )
    def test_an_error_about_another_makes_no_subscriber_unknown_to_hubspot(
        self, hubspot: Simulator, run: Run, number: int, answer: dict[str, Any]
    ) -> None:
        """Jane has unsubscribed, and the answer to the batch has no row for her."""
        hubspot.opt_out(JANE)
        fault = {"json": answer, "of": {"subscriberIdString": JANE}, "drop": True}
        hubspot.fault("edit", **fault, match={"endpoint": "batch_read"}, times=None)
        run([JANE, *people(1)], lambda calls: SetStatus(calls, subscription_id=number, status="SUBSCRIBED"))
        assert hubspot.status_of(JANE, number) == "UNSUBSCRIBED"
        assert not any(JANE in str(request.body) for request in hubspot.requests if "write" in request.path)

    def test_single_calls_for_many_who_are_not_clear_take_longer_than_a_reading_may_be_old(
        self, hubspot: Simulator, run: Run, number: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guarded_write, "MAX_AGE", 0.2)
        hubspot.fault("latency", ms=25, match={"endpoint": "get_statuses"}, times=None)
        hubspot.fault("edit", json={"numErrors": 1}, match={"endpoint": "batch_read"}, times=None)
        done = run(people(16), lambda calls: SetStatus(calls, subscription_id=number, status="SUBSCRIBED"))
        assert done.outcomes == {"changed": 16}


class TestAnswersAboutOthers:
    @pytest.mark.parametrize("mode", MODES)
    def test_confirm_no_write(
        self, hubspot: Simulator, run: Run, client_for: Callable[..., Client], mode: str
    ) -> None:
        for endpoint in ("batch_unsubscribe_all", "unsubscribe_all"):
            hubspot.fault("answer", match={"endpoint": endpoint}, json=_answer("alice@example.com"))
        if mode == "one":
            client = client_for()
            assert write_one(client, UnsubscribeAll(client.calls), JANE)[0] == "unconfirmed"
        else:
            done = run([JANE], token="starter" if "without" in mode else "all")
            assert done.outcomes == {"unconfirmed": 1}

    @pytest.mark.parametrize(
        ("asked", "answered"),
        [
            ("Jo@Example.COM", "jo@example.com"),
            ("jo@xn--mller-kva.example", "jo@MÜLLER.example"),
            ("jo@xn--mller-kva.example", "jo@mu\u0308ller.example"),
            ("jo@xn--strae-oqa.example", "jo@straße.example"),
        ],
    )
    def test_spellings_of_one_subscriber_are_the_same(self, asked: str, answered: str) -> None:
        assert subscriber_key(asked) == subscriber_key(answered)
        assert subscriber_key(asked) != subscriber_key(f"x{answered}")

    def test_an_answer_in_the_unicode_form_of_the_domain_counts(self, hubspot: Simulator, run: Run) -> None:
        answer = _answer("jo@müller.example")
        hubspot.fault("answer", json=answer, match={"endpoint": "batch_unsubscribe_all"})
        assert run(["jo@xn--mller-kva.example"]).outcomes == {"changed": 1}


def _answer(subscriber: str) -> dict[str, Any]:
    one = {"subscriberIdString": subscriber, "subscriptionId": 1, "status": "UNSUBSCRIBED"}
    return {"status": "COMPLETE", "results": [{**one, "statuses": [one]}]}


class TestAReadingIsMadeAgain:
    """Jane unsubscribes between the reading and the write."""

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "status", "status": 503},
            {"kind": "burst", "retry_after": 0.01},
            {"kind": "drop"},
            {"kind": "text"},
        ],
    )
    def test_after_an_attempt_that_failed(
        self,
        hubspot: Simulator,
        subscribe: Callable[..., str],
        number: int,
        fault: dict[str, Any],
        mode: str,
    ) -> None:
        for endpoint in ("batch_write", "set_status"):
            hubspot.fault(**fault, addresses=[JANE], match={"endpoint": endpoint})
        assert subscribe(mode) == "rejected RESUBSCRIBE_NOT_ALLOWED"
        assert hubspot.status_of(JANE, number) == "UNSUBSCRIBED"

    @pytest.mark.parametrize("mode", MODES)
    def test_after_a_wait_for_the_budget(
        self,
        hubspot: Simulator,
        subscribe: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        mode: str,
    ) -> None:
        monkeypatch.setattr(guarded_write, "MAX_AGE", 0.2)
        # The slots are used up when the write's turn comes: after the definitions, a try by batch, and the reading.
        slots = {"batch": 2, "batch without batch scopes": 3, "one": 1}[mode]
        hubspot.load({"limits": {"burst": slots, "interval_ms": 500}})

        def unsubscribe() -> None:
            while not any(request.endpoint in {"batch_read", "get_statuses"} for request in hubspot.requests):
                time.sleep(0.005)
            time.sleep(0.05)
            hubspot.opt_out(JANE)

        unsubscribing = threading.Thread(target=unsubscribe)
        unsubscribing.start()
        outcome = subscribe(mode)
        unsubscribing.join()
        assert outcome == "rejected RESUBSCRIBE_NOT_ALLOWED"
        assert hubspot.status_of(JANE, number) == "UNSUBSCRIBED"
        assert not any(
            request.endpoint in {"batch_write", "set_status"} and request.status == 200
            for request in hubspot.requests
        )

    def test_after_a_new_access_token_which_is_final_where_it_is_refused_as_well(
        self, hubspot: Simulator, client_for: Callable[..., Client], number: int
    ) -> None:
        """Jane unsubscribes while the token is renewed; then no token may write."""
        secrets = {
            name: getattr(hubspot.state.settings.oauth, name)
            for name in ("client_id", "client_secret", "refresh_token")
        }
        client = Client(
            OAuthRefresh(**secrets), host=hubspot.url, settings=SHORT_RETRIES, pacer=ProcessPacer()
        )
        write = SetStatus(client.calls, subscription_id=number, status="SUBSCRIBED")
        hubspot.fault("status", status=401, addresses=[JANE], match={"endpoint": "set_status"})
        with pytest.raises(HubSpotError) as error:
            write_one(client, write, JANE)
        assert error.value.category == "RESUBSCRIBE_NOT_ALLOWED"
        hubspot.fault("status", status=401, match={"endpoint": "set_status"}, times=None)
        with pytest.raises(AuthenticationError):
            write_one(client, write, "bob@example.com")
        client.close()

    def test_where_it_is_always_too_old_nothing_is_written(
        self, hubspot: Simulator, subscribe: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guarded_write, "MAX_AGE", -1.0)
        assert {subscribe(mode) for mode in MODES} == {"unconfirmed STATUS_UNKNOWN"}
        assert writes(hubspot) == 0

    def test_single_calls_are_read_and_written_one_by_one(
        self, hubspot: Simulator, run: Run, number: int
    ) -> None:
        def write(calls: Any) -> SetStatus:
            return SetStatus(calls, subscription_id=number, status="SUBSCRIBED")

        assert run(people(6), write, token="starter", batch_size=3).outcomes == {"changed": 6}
        order = [request.endpoint for request in hubspot.requests if "batch" not in (request.endpoint or "")]
        assert order[-6:] == ["get_statuses", "set_status"] * 3

    @pytest.mark.parametrize(("mode", "reads"), [("batch", True), ("one", True), ("batch", False)])
    def test_only_within_the_time_of_one_call(
        self,
        hubspot: Simulator,
        client_for: Callable[..., Client],
        number: int,
        mode: str,
        *,
        reads: bool,
    ) -> None:
        """Reads and writes fail alike, or only the writes."""
        if reads:
            strike_reads(hubspot, "status", status=503)
        for endpoint in ("batch_write", "set_status"):
            hubspot.fault("status", status=503, match={"endpoint": endpoint}, times=None)
        client, begin = client_for(), time.monotonic()
        write = SetStatus(client.calls, subscription_id=number, status="SUBSCRIBED")
        caller = RowCaller(client, singly=mode == "one")
        with pytest.raises(ServerError):
            guarded_write.write_rows(caller, write, [Row(1, JANE)])
        assert time.monotonic() - begin < client.settings.retry_total + 0.5


class TestAResubscriptionByRace:
    @pytest.mark.parametrize("mode", MODES)
    def test_is_undone_at_once_and_rejected(
        self, hubspot: Simulator, subscribe: Callable[..., str], number: int, mode: str
    ) -> None:
        for endpoint in ("batch_write", "set_status"):
            hubspot.fault("race", addresses=[JANE], match={"endpoint": endpoint})
        assert subscribe(mode) == "rejected RESUBSCRIBED_BY_RACE"
        assert hubspot.status_of(JANE, number) == "UNSUBSCRIBED"
        assert hubspot.status_of(JANE, hubspot.subscription_ids[1]) == "UNSUBSCRIBED"

    @pytest.mark.parametrize("mode", MODES[::2])
    @pytest.mark.parametrize(
        "odd",
        [
            {"subscriptionId": "x"},
            {"status": None},
            {"subscriberIdString": None},
            {"subscriberIdString": "x"},
        ],
    )
    def test_is_undone_where_its_row_cannot_be_read(
        self, hubspot: Simulator, subscribe: Callable[..., str], number: int, odd: dict[str, Any], mode: str
    ) -> None:
        for endpoint in ("batch_write", "set_status"):
            hubspot.fault("race", addresses=[JANE], match={"endpoint": endpoint})
            hubspot.fault("edit", row=odd, match={"endpoint": endpoint})
        assert subscribe(mode) == "rejected RESUBSCRIBED_BY_RACE"
        assert hubspot.status_of(JANE, number) == "UNSUBSCRIBED"

    def test_does_not_touch_the_others_of_its_batch(self, hubspot: Simulator, run: Run, number: int) -> None:
        hubspot.fault("race", addresses=["person-1@example.com"], match={"endpoint": "batch_write"})
        columns = Columns(status="status", subscription="id")
        rows = [{"email": one, "status": "SUBSCRIBED", "id": number} for one in people(4)]
        done = run(rows, SetStatus, columns=columns)
        assert done.outcomes == {"changed": 3, "rejected": 1}
        assert done.of("rejected") == {"person-1@example.com": "RESUBSCRIBED_BY_RACE"}
        assert [hubspot.status_of(one, number) for one in people(3)] == [
            "SUBSCRIBED",
            "UNSUBSCRIBED",
            "SUBSCRIBED",
        ]

    @pytest.mark.parametrize("fault", [{"kind": "status", "status": 500}, {"kind": "empty"}])
    def test_that_cannot_be_undone_is_never_called_undone(
        self, hubspot: Simulator, run: Run, number: int, fault: dict[str, Any]
    ) -> None:
        hubspot.fault("race", addresses=[JANE], match={"endpoint": "batch_write"})
        hubspot.fault(**fault, match={"endpoint": "batch_write"}, times=None)
        done = run([JANE], lambda calls: SetStatus(calls, subscription_id=number, status="SUBSCRIBED"))
        assert done.of("unconfirmed") == {JANE: "RESUBSCRIBED_BY_RACE"}
        assert "by hand" in done.letters[0]["message"]

    @pytest.mark.parametrize("mode", MODES)
    def test_with_permission_is_no_accident(
        self, hubspot: Simulator, subscribe: Callable[..., str], number: int, mode: str
    ) -> None:
        hubspot.opt_out(JANE)
        assert subscribe(mode, allow_resubscribe=True, legal_basis="CONSENT_WITH_NOTICE") == "changed"


class TestMaxChanges:
    def test_more_rows_stop_the_run_before_its_first_write(self, hubspot: Simulator, run: Run) -> None:
        rows = [*people(12), *people(3), "no-address"]
        done = run(rows, max_changes=11, batch_size=5)
        assert isinstance(done.error, ValidationError)
        assert str(done.error).startswith(
            "max_changes is 11, and 12 rows would be written. Nothing was sent."
        )
        assert "set max_changes to 12 or more" in str(done.error)
        assert hubspot.requests == []
        assert run(rows, max_changes=12, batch_size=5).outcomes == {
            "changed": 12,
            "duplicate": 3,
            "invalid": 1,
        }

    def test_a_source_that_can_be_read_once_is_refused(self, hubspot: Simulator, run: Run) -> None:
        done = run(iter(people(3)), max_changes=11)
        assert "max_changes needs a source that can be read twice" in str(done.error)
        assert hubspot.requests == []


class TestRefusedAlike:
    BAD = tuple(f"rejected{row:03}@hubspot-rejects.example" for row in range(30))

    @pytest.mark.parametrize("mode", ["batch", "starter", "guarded"])
    def test_a_row_from_further_on_that_is_accepted_lets_the_run_go_on(
        self, hubspot: Simulator, run: Run, number: int, mode: str
    ) -> None:
        hubspot.load({"batch_errors": "whole", "limits": {"burst": 10_000}})
        rows = [*self.BAD[:20], "no-address", *people(25)]
        write: Any = UnsubscribeAll
        if mode == "guarded":
            write = lambda calls: SetStatus(calls, subscription_id=number, status="SUBSCRIBED")  # noqa: E731
        done = run(rows, write, batch_size=10, token="starter" if mode == "starter" else "all")
        assert done.error is None
        assert done.outcomes == {"changed": 25, "rejected": 20, "invalid": 1}

    def test_a_row_that_is_refused_as_well_stops_it_unless_it_may_not_stop(
        self, hubspot: Simulator, run: Run
    ) -> None:
        hubspot.load({"batch_errors": "whole", "limits": {"burst": 10_000}})
        done = run(self.BAD, batch_size=10)
        assert "refused all 10 subscribers of a batch alike" in str(done.error)
        assert "stop_when_refused_alike=False goes on" in str(done.error)
        assert done.summary["read"] == 0
        assert run(self.BAD, batch_size=10, stop_when_refused_alike=False).outcomes == {"rejected": 30}

    def test_what_is_wrong_further_on_in_the_source_does_not_hold_up_the_rows_before(
        self, hubspot: Simulator, run: Run
    ) -> None:
        def rows() -> Any:
            yield from people(60)
            raise SourceError("the disk is gone")

        class Source(list[str]):
            def __iter__(self) -> Any:
                return rows()

        done = run(Source(people(60)), batch_size=5)
        assert "the disk is gone" in str(done.error)
        assert done.outcomes["changed"] >= 10  # a batch that has not begun when the run stops is left


class TestScopes:
    WRITES = ("communication_preferences.statuses.batch.write", "communication_preferences.write")

    def test_to_read_back_are_missed_before_the_first_write(self, hubspot: Simulator, run: Run) -> None:
        hubspot.load({"tokens": {"writer": {"scopes": self.WRITES}}})
        done = run(people(5), token="writer", verify=True)
        assert isinstance(done.error, MissingScopesError)
        assert writes(hubspot) == 0
        assert run(people(5), token="writer").outcomes == {"changed": 5}

    def test_to_read_before_a_later_row_is_written_are_missed_before_the_first(
        self, hubspot: Simulator, run: Run, number: int
    ) -> None:
        hubspot.load({"tokens": {"writer": {"scopes": self.WRITES}}})
        wanted = ["UNSUBSCRIBED"] * 10 + ["SUBSCRIBED"]
        rows = [{"email": one, "status": status} for one, status in zip(people(11), wanted, strict=True)]
        done = run(
            rows,
            lambda calls: SetStatus(calls, subscription_id=number),
            token="writer",
            batch_size=5,
            columns=Columns(status="status"),
        )
        assert isinstance(done.error, MissingScopesError)
        assert writes(hubspot) == 0


class TestOptOutsOfOneBrand:
    ROW: ClassVar = {"channel": "EMAIL", "status": "UNSUBSCRIBED", "subscriberIdString": JANE}

    @pytest.mark.parametrize(
        ("brand", "row", "counts"),
        [
            (None, {"wideStatusType": "BUSINESS_UNIT_WIDE", "businessUnitId": 5}, False),
            (None, {"wideStatusType": "BUSINESS_UNIT_WIDE"}, False),
            (None, {"wideStatusType": "CHANNEL_WIDE"}, False),
            (5, {"wideStatusType": "CHANNEL_WIDE", "businessUnitId": 5}, False),
            (None, {"businessUnitId": 5}, False),
            (None, {"wideStatusType": "PORTAL_WIDE"}, True),
            (None, {"wideStatusType": "PORTAL_WIDE", "businessUnitId": 0}, True),
            (None, {}, True),
            (5, {"wideStatusType": "BUSINESS_UNIT_WIDE", "businessUnitId": 5}, True),
            (5, {"wideStatusType": "BUSINESS_UNIT_WIDE", "businessUnitId": 6}, False),
            (5, {"wideStatusType": "PORTAL_WIDE"}, True),
        ],
    )
    def test_confirm_no_opt_out_of_everything(
        self,
        hubspot: Simulator,
        run: Run,
        client_for: Callable[..., Client],
        brand: int | None,
        row: dict[str, Any],
        *,
        counts: bool,
    ) -> None:
        silent = {"status": "COMPLETE", "results": []}
        row = {**self.ROW, **row}
        single, batch = [row], [{"subscriberIdString": JANE, "wideStatuses": [row]}]
        for endpoint in ("unsubscribe_all", "batch_unsubscribe_all"):
            hubspot.fault("answer", json=silent, match={"method": "POST", "endpoint": endpoint}, times=None)
        for endpoint, results in (("get_unsubscribe_all", single), ("batch_read_unsubscribe_all", batch)):
            hubspot.fault(
                "answer", json={**silent, "results": results}, match={"endpoint": endpoint}, times=None
            )

        def write(calls: Any) -> UnsubscribeAll:
            return UnsubscribeAll(calls, business_unit_id=brand)

        client, expected = client_for(), "changed" if counts else "unconfirmed"
        assert write_one(client, write(client.calls), JANE)[0] == expected
        assert run([JANE], write).outcomes == {expected: 1}


class TestAnOddRow:
    @pytest.mark.parametrize(
        "odd",
        [
            {"subscriberIdString": None},
            {"statuses": [None]},
            {
                "statuses": [
                    {"subscriberIdString": "person-7@example.com", "subscriptionId": 1, "status": None}
                ]
            },
            {"statuses": "none"},
        ],
    )
    def test_of_an_answer_does_not_stop_the_run(
        self, hubspot: Simulator, run: Run, odd: dict[str, Any]
    ) -> None:
        hubspot.fault(
            "edit", of={"subscriberIdString": "person-7@example.com"}, row=odd, times=None,
            match={"endpoint": "batch_unsubscribe_all"},
        )  # fmt: skip
        done = run(people(25), batch_size=10)
        assert done.error is None
        assert done.outcomes == {"changed": 25}
