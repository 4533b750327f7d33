"""What the dated API and v4 say of subscribers, and what a write does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import ARCHIVED, MARKETING, NEWSLETTER, Api

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator

    from .conftest import Simulate


def test_ids_are_strings_in_definitions_and_numbers_in_statuses(api: Api) -> None:
    assert isinstance(api.get("definitions").json()["results"][0]["id"], str)
    assert isinstance(api.statuses("ada@example.com").json()["results"][0]["subscriptionId"], int)


def test_translations_come_only_when_asked_for(api: Api) -> None:
    def translated(**query: str) -> list[bool]:
        return [
            "subscriptionTranslations" in row for row in api.get("definitions", **query).json()["results"]
        ]

    assert not any(translated())
    assert all(translated(includeTranslations="true"))


def test_an_archived_definition_is_listed_but_has_no_statuses(api: Api, hubspot: Simulator) -> None:
    listed = {row["id"]: row["isActive"] for row in api.get("definitions").json()["results"]}
    assert listed[str(ARCHIVED)] is False
    assert ARCHIVED not in hubspot.subscription_ids
    assert ARCHIVED not in [row["subscriptionId"] for row in api.statuses("a@b.example").json()["results"]]


def test_an_unknown_subscriber_has_a_row_for_every_active_subscription(api: Api, hubspot: Simulator) -> None:
    answer = api.statuses("new@example.com").json()
    assert answer["status"] == "COMPLETE"
    assert [row["subscriptionId"] for row in answer["results"]] == hubspot.subscription_ids
    assert {(row["status"], row["source"]) for row in answer["results"]} == {
        ("NOT_SPECIFIED", "Not specified")
    }


def test_an_unknown_subscriber_can_be_a_404(simulate: Simulate) -> None:
    api = Api(simulate(portal={"unknown_subscriber": "not_found"}))
    answer = api.statuses("new@example.com")
    assert answer.status_code == 404
    assert answer.json()["category"] == "OBJECT_NOT_FOUND"


def test_read_rows_carry_nulls_and_envelopes_leave_out_what_is_empty(api: Api) -> None:
    answer = api.statuses("ada@example.com").json()
    assert set(answer) == {"completedAt", "results", "startedAt", "status"}
    row = answer["results"][0]
    assert row["legalBasis"] is row["legalBasisExplanation"] is row["setStatusSuccessReason"] is None
    for moment in (answer["startedAt"], answer["completedAt"], row["timestamp"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)


def test_each_write_says_why_it_succeeded(api: Api) -> None:
    def reason(status: str) -> str:
        return str(api.set("ada@example.com", status).json()["results"][0]["setStatusSuccessReason"])

    wanted = ["SUBSCRIBED", "SUBSCRIBED", "UNSUBSCRIBED", "SUBSCRIBED"]
    assert [reason(status) for status in wanted] == [
        "REQUESTED_CHANGE_OCCURRED",
        "NO_STATUS_CHANGE",
        "REQUESTED_CHANGE_OCCURRED",
        "RESUBSCRIBE_OCCURRED",
    ]


def test_the_legal_basis_is_kept(api: Api) -> None:
    given: dict[str, Any] = {
        "legalBasis": "CONSENT_WITH_NOTICE",
        "legalBasisExplanation": "signed up at the fair",
    }
    row = api.set("ada@example.com", "SUBSCRIBED", **given).json()["results"][0]
    assert {name: row[name] for name in given} == given


def test_an_address_is_the_same_in_upper_and_lower_case(api: Api, hubspot: Simulator) -> None:
    api.opt_out("Ada@Example.COM")
    assert hubspot.is_opted_out("ada@example.com")
    assert {row["status"] for row in api.statuses("ADA@example.com").json()["results"]} == {"UNSUBSCRIBED"}


def test_an_opt_out_without_verbose_answers_with_nothing(api: Api) -> None:
    assert api.opt_out("ada@example.com").json()["results"] == []
    assert api.batch("unsubscribe-all", ["bob@example.com"]).json()["results"] == []


def test_an_opt_out_with_verbose_answers_every_subscription(api: Api, hubspot: Simulator) -> None:
    rows = api.opt_out("ada@example.com", verbose="true").json()["results"]
    assert [row["subscriptionId"] for row in rows] == hubspot.subscription_ids
    assert {row["setStatusSuccessReason"] for row in rows} == {"UNSUBSCRIBE_FROM_ALL_OCCURRED"}
    again = api.opt_out("ada@example.com", verbose="true").json()["results"]
    assert {row["setStatusSuccessReason"] for row in again} == {"NO_STATUS_CHANGE"}


def test_after_an_opt_out_every_subscription_carries_its_time(api: Api) -> None:
    api.set("ada@example.com", "SUBSCRIBED", NEWSLETTER)
    assert api.opt_outs("ada@example.com").json()["results"] == []
    api.opt_out("ada@example.com")
    (wide,) = api.opt_outs("ada@example.com").json()["results"]
    assert (wide["status"], wide["wideStatusType"]) == ("UNSUBSCRIBED", "PORTAL_WIDE")
    assert "businessUnitId" not in wide
    rows = api.statuses("ada@example.com").json()["results"]
    assert {(row["status"], row["timestamp"]) for row in rows} == {("UNSUBSCRIBED", wide["timestamp"])}


@pytest.mark.parametrize("clears", [False, True])
def test_resubscribing_to_one_subscription_ends_the_opt_out_only_where_configured(
    simulate: Simulate, clears: bool
) -> None:
    hubspot = simulate(portal={"resubscribe_clears_opt_out": clears})
    api = Api(hubspot)
    api.opt_out("ada@example.com")
    row = api.set("ada@example.com", "SUBSCRIBED").json()["results"][0]
    assert row["setStatusSuccessReason"] == "RESUBSCRIBE_OCCURRED"
    assert hubspot.status_of("ada@example.com", MARKETING) == "SUBSCRIBED"
    assert hubspot.status_of("ada@example.com", NEWSLETTER) == "UNSUBSCRIBED"
    assert hubspot.is_opted_out("ada@example.com") is not clears
    reasons = [
        row["setStatusSuccessReason"]
        for row in api.opt_out("ada@example.com", verbose="true").json()["results"]
    ]
    assert "UNSUBSCRIBE_FROM_ALL_OCCURRED" in reasons
    assert hubspot.status_of("ada@example.com", MARKETING) == "UNSUBSCRIBED"


def test_links_belong_to_one_subscriber(api: Api) -> None:
    body = {"subscriberIdString": "ada@example.com", "subscriptionId": NEWSLETTER, "language": "de"}
    links = api.post("links/generate", body, channel="EMAIL").json()
    assert set(links) == {
        "subscriberIdString",
        "managePreferencesUrl",
        "unsubscribeAllUrl",
        "unsubscribeSingleUrl",
    }
    del body["subscriptionId"]
    assert "unsubscribeSingleUrl" not in api.post("links/generate", body, channel="EMAIL").json()


ADDRESSES = [
    "plus+tag@example.com",
    "slash/ed@example.com",
    "what?@example.com",
    "hash#tag@example.com",
    "per%cent@example.com",
    "per%2Fcent@example.com",
    "zoë@exämple.com",
    "用户@例子.公司",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_encoded_address_arrives_exactly(api: Api, hubspot: Simulator, address: str) -> None:
    assert api.set(address, "UNSUBSCRIBED").status_code == 200
    assert hubspot.status_of(address, MARKETING) == "UNSUBSCRIBED"
    assert list(hubspot.portal.preferences) == [address.lower()]


def test_a_bare_slash_ends_the_address_and_a_bare_plus_is_a_plus(api: Api, hubspot: Simulator) -> None:
    assert api.get("statuses/a/b@example.com", channel="EMAIL").status_code == 404
    assert api.post("statuses/a+b@example.com/unsubscribe-all", channel="EMAIL").status_code == 200
    assert hubspot.is_opted_out("a+b@example.com")


def test_brands_are_opted_out_of_one_by_one(simulate: Simulate) -> None:
    hubspot = simulate(portal={"brands": [1137, 1138]})
    api = Api(hubspot)
    refused = api.opt_out("ada@example.com")
    assert (refused.status_code, refused.json()["category"]) == (400, "VALIDATION_ERROR")
    rows = api.opt_out("ada@example.com", businessUnitId=1137, verbose="true").json()["results"]
    assert {row["businessUnitId"] for row in rows} == {1137}
    assert hubspot.is_opted_out("ada@example.com", brand=1137)
    assert not hubspot.is_opted_out("ada@example.com")
    (wide,) = api.opt_outs("ada@example.com").json()["results"]
    assert (wide["wideStatusType"], wide["businessUnitId"]) == ("BUSINESS_UNIT_WIDE", 1137)
    assert api.opt_outs("ada@example.com", businessUnitId=0).json()["results"] == []
    api.opt_out("ada@example.com", businessUnitId=0)
    (all_brands,) = api.batch("unsubscribe-all/read", ["ada@example.com"]).json()["results"]
    assert {row["businessUnitId"] for row in all_brands["wideStatuses"]} == {0, 1137}
    (one,) = api.batch("unsubscribe-all/read", ["ada@example.com"], businessUnitId=0).json()["results"]
    assert [row["businessUnitId"] for row in one["wideStatuses"]] == [0]
    assert {row["status"] for row in api.statuses("ada@example.com").json()["results"]} == {
        "UNSUBSCRIBED",
        "NOT_SPECIFIED",
    }


VALID = {"channel": "EMAIL", "statusState": "SUBSCRIBED", "subscriptionId": MARKETING}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({**VALID, "subscriptionId": 1}, "does not exist"),
        ({**VALID, "subscriptionId": ARCHIVED}, "not active"),
        ({**VALID, "subscriptionId": str(MARKETING)}, "Expected `int`, got `str` - at `$.subscriptionId`"),
        ({**VALID, "subscriptionId": True}, "Expected `int`, got `bool`"),
        ({**VALID, "statusState": "NOT_SUBSCRIBED"}, "statusState"),
        ({**VALID, "legalBasis": "BECAUSE"}, "legalBasis"),
        ({**VALID, "channel": "SMS"}, "channel"),
        ({"channel": "EMAIL"}, "missing required field `statusState`"),
        ([], "Expected `object`, got `array`"),
    ],
)
def test_a_wrong_body_is_a_validation_error(api: Api, body: object, said: str) -> None:
    answer = api.post("statuses/ada@example.com", body)
    assert answer.status_code == 400
    assert answer.json()["category"] == "VALIDATION_ERROR"
    assert said in answer.json()["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"not json", b"[" * 5000])
def test_a_body_that_is_not_json_is_a_validation_error(api: Api, body: bytes) -> None:
    answer = api.session.post(f"{api.base}/statuses/ada@example.com", data=body, timeout=10)
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("address", ["no-address", "a b@example.com", "a@b", "@example.com", "a@@b.example"])
def test_what_is_no_address_is_refused(api: Api, address: str) -> None:
    answer = api.statuses(address)
    assert answer.status_code == 400
    assert address in answer.json()["message"]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"channel": "SMS"},
        {"channel": "EMAIL", "businessUnitId": "x"},
        {"channel": "EMAIL", "businessUnitId": 77},
        {"channel": "EMAIL", "businessUnitId": "9" * 30},
        {"channel": "EMAIL", "verbose": "yes"},
    ],
)
def test_a_wrong_query_is_a_validation_error(api: Api, query: dict[str, object]) -> None:
    answer = api.get("statuses/ada@example.com/unsubscribe-all", **query)
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_data_privacy_asks_for_a_legal_basis(simulate: Simulate) -> None:
    api = Api(simulate(portal={"data_privacy": "strict"}))

    def write(**basis: Any) -> int:
        return api.set("ada@example.com", "SUBSCRIBED", **basis).status_code

    assert write() == write(legalBasis="NON_GDPR") == 400
    assert write(legalBasis="NON_GDPR", legalBasisExplanation="asked by phone") == 200


class TestOperations:
    def test_an_operation_is_pending_then_processing_then_complete(self, simulate: Simulate) -> None:
        hubspot = simulate(portal={"operations": {"seconds": 30}}, clock=lambda: 1_800_000_000.0)
        api = Api(hubspot)
        first = api.opt_out("ada@example.com", verbose="true").json()
        assert (first["status"], first["results"]) == ("PENDING", [])
        seen = []
        for _ in range(4):
            answer = api.opt_outs("ada@example.com").json()
            seen.append((answer["status"], bool(answer["results"])))
            hubspot.advance(10.5)
        assert seen == [("PENDING", False), ("PROCESSING", False), ("PROCESSING", False), ("COMPLETE", True)]
        assert api.statuses("ada@example.com").json()["results"][0]["status"] == "UNSUBSCRIBED"
        assert not hubspot.portal.operations

    def test_operations_may_take_different_times_the_same_for_each_subscriber_every_time(
        self, simulate: Simulate
    ) -> None:
        def ended(after: float) -> set[int]:
            hubspot = simulate(portal={"operations": {"seconds": [5, 20]}}, clock=lambda: 1_800_000_000.0)
            api = Api(hubspot)
            for number in range(20):
                api.opt_out(f"ada-{number}@example.com")
            hubspot.advance(after)
            return {number for number in range(20) if hubspot.is_opted_out(f"ada-{number}@example.com")}

        assert ended(4.9) == set()
        assert 0 < len(ended(12)) < 20
        assert ended(12) == ended(12)
        assert ended(20) == set(range(20))

    def test_a_canceled_operation_changes_nothing_and_says_so(self, simulate: Simulate) -> None:
        outcomes = {"canceled*@example.com": "CANCELED"}
        hubspot = simulate(portal={"operations": {"seconds": 30, "outcomes": outcomes}})
        api = Api(hubspot)
        assert api.set("canceled-1@example.com", "UNSUBSCRIBED").json()["status"] == "PENDING"
        hubspot.advance(31)
        answer = api.opt_outs("canceled-1@example.com").json()
        assert (answer["status"], answer["numErrors"], answer["results"]) == ("CANCELED", 1, [])
        assert answer["errors"][0]["context"] == {"subscriberIdString": ["canceled-1@example.com"]}
        assert hubspot.status_of("canceled-1@example.com", MARKETING) == "NOT_SPECIFIED"

    def test_an_operation_can_end_with_an_unknown_word(self, simulate: Simulate) -> None:
        hubspot = simulate(portal={"operations": {"outcomes": {"ada@example.com": "SUCCESS"}}})
        assert Api(hubspot).opt_out("ada@example.com").json()["status"] == "SUCCESS"
        assert Api(hubspot).opt_outs("ada@example.com").json()["status"] == "SUCCESS"
        assert hubspot.is_opted_out("ada@example.com")

    def test_a_batch_is_as_slow_as_its_slowest_part(self, simulate: Simulate) -> None:
        hubspot = simulate(portal={"operations": {"seconds": 30}})
        api = Api(hubspot)
        answer = api.batch("unsubscribe-all", ["a@example.com", "b@example.com"], verbose="true").json()
        assert (answer["status"], answer["results"]) == ("PENDING", [])
        hubspot.advance(31)
        assert hubspot.is_opted_out("b@example.com")

    @pytest.mark.parametrize("path", ["read", "unsubscribe-all/read"])
    def test_a_batch_read_has_rows_only_where_the_operation_is_over(
        self, simulate: Simulate, path: str
    ) -> None:
        outcomes = {"canceled@example.com": "CANCELED"}
        hubspot = simulate(
            portal={"operations": {"seconds": 30, "outcomes": outcomes}}, clock=lambda: 1_800_000_000.0
        )
        api = Api(hubspot)
        everyone = ["canceled@example.com", "idle@example.com", "slow@example.com"]

        def answered() -> tuple[str, list[str], list[Any]]:
            body = api.batch(path, everyone).json()
            rows = sorted(row["subscriberIdString"] for row in body["results"])
            errors = [(each["category"], each["context"]) for each in body.get("errors", [])]
            return body["status"], rows, errors

        assert answered() == ("COMPLETE", everyone, [])
        api.opt_out("canceled@example.com")
        hubspot.advance(15)
        api.opt_out("slow@example.com")
        assert answered() == ("PENDING", ["idle@example.com"], [])
        hubspot.advance(16)
        canceled = [("CANCELED", {"subscriberIdString": ["canceled@example.com"]})]
        assert answered() == ("PROCESSING", ["canceled@example.com", "idle@example.com"], canceled)
        hubspot.advance(15)
        assert answered() == ("COMPLETE", everyone, canceled)

    def test_a_batch_read_has_no_row_where_the_operation_ended_with_an_unknown_word(
        self, simulate: Simulate
    ) -> None:
        api = Api(simulate(portal={"operations": {"outcomes": {"ada@example.com": "SUCCESS"}}}))
        api.opt_out("ada@example.com")
        body = api.batch("unsubscribe-all/read", ["ada@example.com", "bob@example.com"]).json()
        assert body["status"] == "SUCCESS"
        assert [row["subscriberIdString"] for row in body["results"]] == ["bob@example.com"]

    def test_a_write_with_nothing_to_do_is_over_at_once(self, simulate: Simulate) -> None:
        hubspot = simulate(portal={"operations": {"seconds": 30}})
        api = Api(hubspot)
        assert api.opt_out("ada@example.com").json()["status"] == "PENDING"
        hubspot.advance(31)
        again = api.opt_out("ada@example.com", verbose="true").json()
        assert again["status"] == "COMPLETE"
        assert {row["setStatusSuccessReason"] for row in again["results"]} == {"NO_STATUS_CHANGE"}
