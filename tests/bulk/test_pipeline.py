"""Every row ends in exactly one outcome, whatever HubSpot answers."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.bulk.report.outcome import ConservationError, Outcome
from airflow_provider_hubprefs.bulk.report.state import RunState
from airflow_provider_hubprefs.bulk.send.writes import SetStatus, UnsubscribeAll
from airflow_provider_hubprefs.bulk.source.reader import read_rows
from airflow_provider_hubprefs.hubspot.errors import (
    AuthenticationError,
    DailyLimitError,
    ServerError,
    ValidationError,
)
from tests.helpers import PENDING, people

from .conftest import Done

if TYPE_CHECKING:
    from airflow_provider_hubprefs.hubspot.api.calls import Calls
    from airflow_provider_hubprefs.simulator import Simulator

Run = Callable[..., Done]


def posts(hubspot: Simulator) -> int:
    """How often HubSpot was asked about subscribers, or to write them."""
    return sum(request.method == "POST" for request in hubspot.requests)


def set_status(hubspot: Simulator, status: str, **options: Any) -> Callable[[Calls], SetStatus]:
    number = hubspot.subscription_ids[0]
    return lambda calls: SetStatus(calls, subscription_id=number, status=status, **options)


class TestWhatBecomesOfRows:
    def test_everybody_is_opted_out_by_as_few_requests_as_possible(
        self, hubspot: Simulator, run: Run
    ) -> None:
        done = run(people(250))
        assert done.outcomes == {"changed": 250}
        assert all(hubspot.is_opted_out(one) for one in people(250))
        assert len(hubspot.requests) == 3

    def test_a_second_run_changes_nothing_and_reports_that(self, run: Run) -> None:
        run(people(30))
        assert run(people(30)).outcomes == {"unchanged": 30}

    def test_invalid_rows_and_duplicates_are_counted_and_not_sent(self, hubspot: Simulator, run: Run) -> None:
        done = run([" A@Example.com", "a@example.COM ", "no-address", ""])
        assert done.outcomes == {"changed": 1, "duplicate": 1, "invalid": 2}
        assert done.summary["read"] == 4
        assert [letter["row"] for letter in done.letters] == [3, 4]
        assert len(hubspot.requests) == 1

    def test_a_brand_is_opted_out_of_and_no_other(self, hubspot: Simulator, run: Run) -> None:
        hubspot.load({"brands": [0, 77]})
        done = run(people(3), lambda calls: UnsubscribeAll(calls, business_unit_id=77))
        assert done.outcomes == {"changed": 3}
        assert hubspot.is_opted_out("person-1@example.com", 77)
        assert not hubspot.is_opted_out("person-1@example.com", 0)

    def test_a_status_is_set_for_everybody(self, hubspot: Simulator, run: Run) -> None:
        assert run(people(5), set_status(hubspot, "UNSUBSCRIBED")).outcomes == {"changed": 5}
        assert hubspot.status_of("person-4@example.com", hubspot.subscription_ids[0]) == "UNSUBSCRIBED"
        assert hubspot.status_of("person-4@example.com", hubspot.subscription_ids[1]) == "NOT_SPECIFIED"

    @pytest.mark.parametrize("version", ["v4", "2026-03", "2026-09"])
    def test_in_every_version_that_has_batches(self, run: Run, version: str) -> None:
        assert run([*people(3), "rejected@hubspot-rejects.example"], version=version).outcomes == {
            "changed": 3,
            "rejected": 1,
        }


class TestWhatHubSpotRefuses:
    @pytest.mark.parametrize("mode", ["context", "no_context", "whole"])
    @pytest.mark.parametrize("bad", [1, 3])
    def test_bad_rows_never_block_the_others(self, hubspot: Simulator, run: Run, mode: str, bad: int) -> None:
        hubspot.load({"batch_errors": mode})
        refused = [f"rejected-{number}@hubspot-rejects.example" for number in range(bad)]
        rows = people(100 - bad)
        for position, address in enumerate(refused):
            rows.insert(position * 31 + 7, address)
        done = run(rows)
        assert done.error is None
        assert done.outcomes == {"changed": 100 - bad, "rejected": bad}
        assert done.of("rejected") == dict.fromkeys(refused, "VALIDATION_ERROR")
        assert all(hubspot.is_opted_out(one) for one in people(100 - bad))

    @pytest.mark.parametrize("bad", [1, 3, 50])
    def test_finding_them_costs_about_two_requests_a_halving(
        self, hubspot: Simulator, run: Run, bad: int
    ) -> None:
        hubspot.load({"batch_errors": "whole", "limits": {"burst": 10_000}})
        rows = people(100)
        refused = {f"rejected-{number}@hubspot-rejects.example" for number in range(bad)}
        for number, address in enumerate(sorted(refused)):
            rows[(number * 33 + 5) % 100 if bad < 50 else 2 * number] = address
        done = run(rows)
        assert done.outcomes == {"changed": 100 - bad, "rejected": bad}
        assert done.of("rejected").keys() == refused
        assert all(hubspot.is_opted_out(one) for one in rows if one not in refused)
        # 2 n log2(100) more, and never more than two for every row: a tree of halves has no more.
        assert len(hubspot.requests) - 1 <= min(2 * bad * math.ceil(math.log2(100)), 2 * 100)

    def test_a_batch_too_large_for_hubspot_is_halved_until_it_fits(
        self, hubspot: Simulator, run: Run
    ) -> None:
        hubspot.load({"batch_maximum": 25})
        assert run(people(100)).outcomes == {"changed": 100}

    def test_everybody_refused_alike_stops_the_run(self, hubspot: Simulator, run: Run) -> None:
        hubspot.load({"brands": [0, 77]})
        done = run(people(1000), lambda calls: UnsubscribeAll(calls, business_unit_id=999), batch_size=20)
        assert isinstance(done.error, ValidationError)
        assert "refused all 20" in str(done.error)
        assert posts(hubspot) == 40  # one batch halved to its rows, and one row from further on

    def test_a_message_of_hubspots_with_an_address_goes_to_the_dead_letters_only(self, run: Run) -> None:
        done = run(["rejected@hubspot-rejects.example", *people(2)])
        assert "rejected@" in done.letters[0]["message"]
        assert "@" not in str(done.summary)

    def test_a_category_is_not_trusted_to_hold_no_address(self, hubspot: Simulator, run: Run) -> None:
        why = {"category": "BAD person-9@example.com", "message": "no"}
        hubspot.load({"rejected": {"rejected@*": why}})
        done = run(["rejected@hubspot-rejects.example", *people(2)])
        assert done.summary["reasons"] == {"rejected: BAD p***@e***.com": 1}


class TestWhatAnswersLeaveOpen:
    def test_who_is_missing_in_a_200_and_was_written_is_confirmed_by_reading_back(
        self, hubspot: Simulator, run: Run
    ) -> None:
        hubspot.fault("fields", missing=["results"], match={"endpoint": "batch_unsubscribe_all"})
        assert run(people(5)).outcomes == {"changed": 5}
        assert len(hubspot.requests) == 2

    def test_who_is_missing_and_was_not_written_is_unconfirmed(self, hubspot: Simulator, run: Run) -> None:
        hubspot.load({"missing": {"addresses": ["person-3@example.com"], "applied": False}})
        done = run(people(5))
        assert done.outcomes == {"changed": 4, "unconfirmed": 1}
        assert done.of("unconfirmed") == {"person-3@example.com": "NOT_IN_ANSWER"}

    def test_an_operation_that_is_pending_is_unconfirmed_until_it_is_seen(
        self, hubspot: Simulator, run: Run
    ) -> None:
        hubspot.load({"operations": {"seconds": 60}})
        done = run(people(3))
        assert done.outcomes == {"unconfirmed": 3}
        assert set(done.of("unconfirmed").values()) == {"OPERATION_PENDING"}
        hubspot.advance(61)
        assert run(people(3)).outcomes == {"unchanged": 3}

    def test_who_is_done_is_confirmed_although_another_one_of_the_batch_is_not(
        self, hubspot: Simulator, run: Run
    ) -> None:
        hubspot.load({"operations": {"seconds": 60}})
        run(people(1, start=2))
        hubspot.opt_out(*people(2))
        silence: dict[str, Any] = {"status": "COMPLETE", "results": []}
        hubspot.fault("answer", json=silence, match={"endpoint": "batch_unsubscribe_all"})
        done = run(people(3))
        assert done.outcomes == {"changed": 2, "unconfirmed": 1}
        assert done.of("unconfirmed") == {"person-2@example.com": "NOT_IN_ANSWER"}

    @pytest.mark.parametrize("status", ["PENDING", "CANCELED", "FINISHED"])
    def test_that_a_subscriber_has_no_status_is_believed_of_a_complete_answer_only(
        self, hubspot: Simulator, run: Run, status: str
    ) -> None:
        number = hubspot.subscription_ids[0]
        row = {"subscriberIdString": "person-0@example.com", "statuses": []}
        hubspot.fault("answer", json={"status": status, "results": [row]}, match={"endpoint": "batch_read"})
        done = run(people(1), set_status(hubspot, "SUBSCRIBED"))
        assert done.of("unconfirmed") == {"person-0@example.com": "STATUS_UNKNOWN"}
        assert hubspot.status_of("person-0@example.com", number) == "NOT_SPECIFIED"

    def test_nor_is_it_believed_of_the_answer_to_a_single_call(self, hubspot: Simulator, run: Run) -> None:
        hubspot.fault("answer", json=PENDING, match={"endpoint": "get_statuses"}, times=None)
        done = run(people(1), set_status(hubspot, "SUBSCRIBED"), token="starter")
        assert done.of("unconfirmed") == {"person-0@example.com": "STATUS_UNKNOWN"}
        assert hubspot.status_of("person-0@example.com", hubspot.subscription_ids[0]) == "NOT_SPECIFIED"

    def test_an_operation_that_is_canceled_is_rejected(self, hubspot: Simulator, run: Run) -> None:
        hubspot.load({"operations": {"outcomes": {"*": "CANCELED"}}})
        done = run(people(3))
        assert done.outcomes == {"rejected": 3}
        assert not hubspot.is_opted_out("person-0@example.com")

    def test_an_unknown_status_is_not_taken_for_success_but_read_back(
        self, hubspot: Simulator, run: Run
    ) -> None:
        answer: dict[str, Any] = {"status": "FINISHED", "results": [], "startedAt": None}
        hubspot.fault("answer", json=answer, match={"endpoint": "batch_unsubscribe_all"})
        done = run(people(3))
        assert sum(done.outcomes.values()) == 3
        assert "changed" not in done.outcomes

    @pytest.mark.parametrize("status", ["PENDING", "PROCESSING", "FINISHED"])
    def test_results_of_an_operation_that_is_not_over_are_no_success(
        self, hubspot: Simulator, run: Run, status: str
    ) -> None:
        one = {"subscriberIdString": "person-0@example.com", "subscriptionId": 1, "status": "UNSUBSCRIBED"}
        row = {"subscriberIdString": "person-0@example.com", "statuses": [one]}
        hubspot.fault("answer", json={"status": status, "results": [row]})
        done = run(people(1))
        assert done.of("unconfirmed") == {"person-0@example.com": f"OPERATION_{status}"}

    def test_empty_results_of_a_200_are_no_success(self, hubspot: Simulator, run: Run) -> None:
        answer = {"status": "COMPLETE", "results": [], "numErrors": 0}
        hubspot.fault("answer", json=answer, times=1)
        assert run(people(3)).outcomes == {"unconfirmed": 3}

    def test_an_answer_lost_after_the_write_is_asked_for_again(self, hubspot: Simulator, run: Run) -> None:
        hubspot.fault("drop", applied=True)
        assert run(people(3)).outcomes == {"unchanged": 3}
        assert len(hubspot.requests) == 2


class TestDefinitions:
    """HubSpot is asked for the portal's subscriptions before the source is read, and only where they decide."""

    def test_are_fetched_once_before_the_first_row_is_read(self, hubspot: Simulator, run: Run) -> None:
        asked_when_read: list[list[str | None]] = []

        class Source(list[str]):
            def __iter__(self) -> Any:
                asked_when_read.append([request.endpoint for request in hubspot.requests])
                return super().__iter__()

        assert run(Source(people(3)), set_status(hubspot, "UNSUBSCRIBED")).outcomes == {"changed": 3}
        assert asked_when_read == [["definitions"]]
        assert [request.endpoint for request in hubspot.requests] == ["definitions", "batch_write"]

    def test_are_not_fetched_for_an_opt_out(self, hubspot: Simulator, run: Run) -> None:
        run(people(3))
        assert [request.endpoint for request in hubspot.requests] == ["batch_unsubscribe_all"]

    def test_refuse_a_subscription_before_the_source_is_read(self, hubspot: Simulator, run: Run) -> None:
        done = run(
            iter(people(3)), lambda calls: SetStatus(calls, subscription_id=404404, status="SUBSCRIBED")
        )
        assert "404404 is not one of the portal's" in str(done.error)
        assert (done.summary["read"], posts(hubspot)) == (0, 0)


class TestReadingEverybodyBack:
    def test_costs_one_request_a_batch_and_agrees(self, hubspot: Simulator, run: Run) -> None:
        assert run(people(25), batch_size=10, verify=True).outcomes == {"changed": 25}
        assert (
            len(hubspot.requests) == 7
        )  # one more finds out before the first write whether the token may read

    def test_shows_who_was_not_written_after_all(self, hubspot: Simulator, run: Run) -> None:
        one = {"subscriberIdString": "person-0@example.com", "subscriptionId": 1, "status": "UNSUBSCRIBED"}
        row = {"subscriberIdString": "person-0@example.com", "statuses": [one]}
        match = {"endpoint": "batch_unsubscribe_all"}
        hubspot.fault("answer", json={"status": "COMPLETE", "results": [row]}, match=match)
        assert run(people(1), verify=True).of("unconfirmed") == {"person-0@example.com": "NOT_SEEN"}


class TestWithoutBatchScopes:
    def test_single_calls_are_made_and_it_is_said_once(
        self, hubspot: Simulator, run: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            done = run([*people(30), "rejected@hubspot-rejects.example"], token="starter", batch_size=10)
        assert done.outcomes == {"changed": 30, "rejected": 1}
        logged = [record for record in caplog.records if "one call per subscriber" in record.getMessage()]
        assert len(logged) == 1
        assert "Marketing Hub Enterprise" in logged[0].getMessage()

    def test_a_status_is_set_by_single_calls(self, hubspot: Simulator, run: Run) -> None:
        assert run(people(3), set_status(hubspot, "SUBSCRIBED"), token="starter").outcomes == {"changed": 3}

    def test_a_token_that_may_only_read_fails_clearly(self, run: Run) -> None:
        done = run(people(3), token="read_only")
        assert "communication_preferences.write" in str(done.error)


class TestNoSubscriberIsResubscribedByAccident:
    def test_a_subscriber_who_unsubscribed_is_left_alone(self, hubspot: Simulator, run: Run) -> None:
        number = hubspot.subscription_ids[0]
        run(people(2), set_status(hubspot, "UNSUBSCRIBED"))
        done = run(people(5), set_status(hubspot, "SUBSCRIBED"))
        assert done.outcomes == {"changed": 3, "rejected": 2}
        assert set(done.of("rejected").values()) == {"RESUBSCRIBE_NOT_ALLOWED"}
        assert hubspot.status_of("person-0@example.com", number) == "UNSUBSCRIBED"
        assert hubspot.status_of("person-4@example.com", number) == "SUBSCRIBED"

    def test_nor_is_a_subscriber_who_opted_out_of_everything(self, hubspot: Simulator, run: Run) -> None:
        run(people(2))
        assert run(people(2), set_status(hubspot, "SUBSCRIBED")).outcomes == {"rejected": 2}
        assert run(people(2), set_status(hubspot, "NOT_SPECIFIED")).outcomes == {"rejected": 2}

    def test_with_permission_and_a_legal_basis_it_is_done_without_looking(
        self, hubspot: Simulator, run: Run
    ) -> None:
        run(people(2), set_status(hubspot, "UNSUBSCRIBED"))
        before = posts(hubspot)
        write = set_status(hubspot, "SUBSCRIBED", allow_resubscribe=True, legal_basis="CONSENT_WITH_NOTICE")
        assert run(people(2), write).outcomes == {"changed": 2}
        assert posts(hubspot) == before + 1

    def test_permission_without_a_legal_basis_is_refused_before_any_request(
        self, hubspot: Simulator, run: Run
    ) -> None:
        done = run(people(2), set_status(hubspot, "SUBSCRIBED", allow_resubscribe=True))
        assert "legal_basis" in str(done.error)
        assert hubspot.requests == []

    def test_a_subscriber_who_has_the_status_already_is_not_written(
        self, hubspot: Simulator, run: Run
    ) -> None:
        run(people(2), set_status(hubspot, "SUBSCRIBED"))
        before = posts(hubspot)
        assert run(people(2), set_status(hubspot, "SUBSCRIBED")).outcomes == {"unchanged": 2}
        assert posts(hubspot) == before + 1

    def test_whose_status_hubspot_does_not_tell_is_not_written(self, hubspot: Simulator, run: Run) -> None:
        answer: dict[str, Any] = {"status": "COMPLETE", "results": []}
        hubspot.fault("answer", json=answer, match={"endpoint": "batch_read"})
        done = run(people(2), set_status(hubspot, "SUBSCRIBED"))
        assert done.outcomes == {"unconfirmed": 2}
        assert hubspot.status_of("person-0@example.com", hubspot.subscription_ids[0]) == "NOT_SPECIFIED"


class TestWhatNoRowIsToBlameFor:
    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ({"kind": "status", "status": 503}, ServerError),
            ({"kind": "daily"}, DailyLimitError),
            ({"kind": "status", "status": 401}, AuthenticationError),
        ],
    )
    def test_stops_the_run_and_what_was_done_stays_in_the_report(
        self, hubspot: Simulator, run: Run, fault: dict[str, Any], error: type[Exception]
    ) -> None:
        kind = fault.pop("kind")
        hubspot.fault(kind, match={"body_contains": "person-250@"}, times=None, **fault)
        done = run(people(500))
        assert isinstance(done.error, error)
        assert done.outcomes["changed"] >= 200
        assert "@" not in str(done.error)

    def test_a_429_is_waited_for(self, hubspot: Simulator, run: Run) -> None:
        hubspot.fault("burst", retry_after=0.05)
        assert run(people(3)).outcomes == {"changed": 3}

    @pytest.mark.parametrize("argument", ["batch_size", "concurrency"])
    @pytest.mark.parametrize("value", [0, -1, True, 1.5])
    def test_a_batch_size_that_cannot_be_is_refused(
        self, hubspot: Simulator, run: Run, argument: str, value: Any
    ) -> None:
        done = run(people(1), **{argument: value})
        assert isinstance(done.error, ValidationError)
        assert f"{argument}: expected a whole number of at least 1" in str(done.error)
        assert hubspot.requests == []


def test_rows_and_outcomes_that_do_not_add_up_raise() -> None:
    state = RunState()
    row = next(iter(read_rows(["a@example.com"])))
    state.take([row, row], [Outcome(row, "changed")])
    with pytest.raises(ConservationError, match="2 rows were read and 1 outcomes"):
        state.check()
