"""One subscriber: what is written, what is refused, and what is told of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.operators.preferences import (
    HubPrefsSetStatusOperator,
    HubPrefsUnsubscribeAllOperator,
)
from airflow_provider_hubprefs.simulator import Simulator
from tests.helpers import ANSWER_PENDING

JANE = "jane+news@example.com"
pytestmark = pytest.mark.usefixtures("hubprefs_default")
Context = Any


def set_status(context: Context, **arguments: Any) -> dict[str, Any]:
    given = {"task_id": "set_status", "subscriber": JANE, "status": "UNSUBSCRIBED", **arguments}
    return HubPrefsSetStatusOperator(**given).execute(context)


def opt_out(context: Context, **arguments: Any) -> dict[str, Any]:
    given = {"task_id": "opt_out", "subscriber": JANE, **arguments}
    return HubPrefsUnsubscribeAllOperator(**given).execute(context)


@pytest.fixture
def newsletter(hubspot: Simulator) -> int:
    return hubspot.subscription_ids[0]


class TestSetStatus:
    @pytest.mark.parametrize("version", ["v4", "2026-03", "2026-09"])
    def test_sets_it_and_tells_so_without_the_address(
        self, hubspot: Simulator, context: Context, newsletter: int, version: str
    ) -> None:
        result = set_status(context, subscription_id=newsletter, api_version=version)
        assert result == {
            "subscriber": "j***@e***.com",
            "outcome": "changed",
            "operation": "COMPLETE",
            "subscription_id": newsletter,
            "status": "UNSUBSCRIBED",
        }
        assert hubspot.status_of(JANE, newsletter) == "UNSUBSCRIBED"

    def test_again_is_unchanged(self, context: Context, newsletter: int) -> None:
        set_status(context, subscription_id=newsletter)
        assert set_status(context, subscription_id=newsletter)["outcome"] == "unchanged"

    def test_the_address_is_normalised(self, hubspot: Simulator, context: Context, newsletter: int) -> None:
        set_status(context, subscription_id=str(newsletter), subscriber="  JANE+News@Example.COM ")
        assert hubspot.status_of(JANE, newsletter) == "UNSUBSCRIBED"

    @pytest.mark.parametrize("wanted", ["SUBSCRIBED", "NOT_SPECIFIED"])
    def test_a_subscriber_who_unsubscribed_is_not_written(
        self, hubspot: Simulator, context: Context, newsletter: int, wanted: str
    ) -> None:
        set_status(context, subscription_id=newsletter)
        with pytest.raises(HubPrefsFailException, match="allow_resubscribe=True and a legal_basis") as raised:
            set_status(context, subscription_id=newsletter, status=wanted)
        assert "Nothing was written" in str(raised.value)
        assert hubspot.status_of(JANE, newsletter) == "UNSUBSCRIBED"
        assert [request.method for request in hubspot.requests] == ["POST", "GET"]

    def test_nor_is_a_subscriber_who_opted_out_of_everything(self, context: Context, newsletter: int) -> None:
        opt_out(context)
        with pytest.raises(HubPrefsFailException, match="has unsubscribed"):
            set_status(context, subscription_id=newsletter, status="SUBSCRIBED")

    def test_a_status_that_hubspot_does_not_show_is_no_permission_to_write(
        self, hubspot: Simulator, context: Context, newsletter: int
    ) -> None:
        hubspot.fault(**ANSWER_PENDING, match={"method": "GET"}, times=None)
        with pytest.raises(HubPrefsException, match="did not show the actual status") as raised:
            set_status(context, subscription_id=newsletter, status="SUBSCRIBED")
        assert not isinstance(raised.value, HubPrefsFailException)
        assert hubspot.status_of(JANE, newsletter) == "NOT_SPECIFIED"

    def test_a_new_consent_resubscribes(self, hubspot: Simulator, context: Context, newsletter: int) -> None:
        set_status(context, subscription_id=newsletter)
        result = set_status(
            context,
            subscription_id=newsletter,
            status="SUBSCRIBED",
            allow_resubscribe=True,
            legal_basis="CONSENT_WITH_NOTICE",
            legal_basis_explanation="asked by phone",
        )
        assert result["outcome"] == "changed"
        assert hubspot.status_of(JANE, newsletter) == "SUBSCRIBED"

    def test_the_text_false_is_no_permission(self, context: Context, newsletter: int) -> None:
        set_status(context, subscription_id=newsletter)
        with pytest.raises(HubPrefsFailException, match="has unsubscribed"):
            set_status(
                context,
                subscription_id=newsletter,
                status="SUBSCRIBED",
                allow_resubscribe="False",
                legal_basis="CONSENT_WITH_NOTICE",
            )

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"status": "OPTED_OUT"}, "status: expected one of SUBSCRIBED, UNSUBSCRIBED, NOT_SPECIFIED"),
            ({"legal_basis": "BECAUSE"}, "legal_basis: expected one of CONSENT_WITH_NOTICE"),
            ({"status": "SUBSCRIBED", "allow_resubscribe": True}, "legal_basis: expected one"),
            (
                {"status": "SUBSCRIBED", "allow_resubscribe": "perhaps"},
                "allow_resubscribe: expected True or False",
            ),
            ({"subscription_id": "newsletter"}, "subscription_id: expected a whole number"),
            ({"subscriber": "jane.example.com"}, "subscriber: expected an e-mail address"),
            ({"subscriber": ""}, "subscriber: expected an e-mail address"),
            ({"subscriber": None}, "subscriber: expected an e-mail address, got nothing"),
            ({"api_version": "v7"}, "api_version: 'v7' is not supported"),
        ],
    )
    def test_what_cannot_work_is_said_before_any_request(
        self, hubspot: Simulator, context: Context, newsletter: int, arguments: dict[str, Any], text: str
    ) -> None:
        with pytest.raises(HubPrefsFailException, match=text) as raised:
            set_status(context, **{"subscription_id": newsletter, **arguments})
        assert hubspot.requests == []
        assert "jane" not in str(raised.value)

    @pytest.mark.parametrize("status", ["UNSUBSCRIBED", "SUBSCRIBED"])
    @pytest.mark.parametrize("number", [404404, None])
    def test_a_subscription_that_cannot_be_written_is_named_with_those_that_can(
        self, hubspot: Simulator, context: Context, newsletter: int, number: int | None, status: str
    ) -> None:
        definitions = hubspot.portal.definitions
        inactive = next(key for key, definition in definitions.items() if not definition.active)
        with pytest.raises(HubPrefsFailException, match="active ones are") as raised:
            set_status(context, subscription_id=number or inactive, status=status)
        assert str(newsletter) in str(raised.value)
        assert ("is not active" if number is None else "is not one of the portal's") in str(raised.value)

    def test_where_that_cannot_be_found_out_hubspots_word_stands(
        self, hubspot: Simulator, context: Context
    ) -> None:
        hubspot.fault("status", status=404, match={"endpoint": "definitions"}, times=None)
        with pytest.raises(HubPrefsFailException, match="400 VALIDATION_ERROR to set_status"):
            set_status(context, subscription_id=404404)

    def test_a_legal_basis_the_portal_asks_for_is_hubspots_word(
        self, hubspot: Simulator, context: Context, newsletter: int
    ) -> None:
        hubspot.load({"data_privacy": "strict"})
        with pytest.raises(HubPrefsFailException, match=r"(?i)legal.?basis"):
            set_status(context, subscription_id=newsletter, status="SUBSCRIBED")
        complete = {"legal_basis": "PROCESS_AND_STORE", "legal_basis_explanation": "signed up"}
        assert set_status(context, subscription_id=newsletter, status="SUBSCRIBED", **complete)


class TestUnsubscribeAll:
    @pytest.mark.parametrize("version", ["v4", "2026-03", "2026-09"])
    def test_opts_out_of_everything(self, hubspot: Simulator, context: Context, version: str) -> None:
        result = opt_out(context, api_version=version)
        assert result == {"subscriber": "j***@e***.com", "outcome": "changed", "operation": "COMPLETE"}
        assert hubspot.is_opted_out(JANE)
        assert opt_out(context)["outcome"] == "unchanged"

    def test_of_one_brand(self, hubspot: Simulator, context: Context) -> None:
        hubspot.load({"brands": [0, 77]})
        assert opt_out(context, business_unit_id="77")["outcome"] == "changed"
        assert hubspot.is_opted_out(JANE, 77)
        assert not hubspot.is_opted_out(JANE)

    @pytest.mark.parametrize("brand", [None, 999])
    def test_a_brand_that_is_missing_or_unknown_is_refused(
        self, hubspot: Simulator, context: Context, brand: int | None
    ) -> None:
        hubspot.load({"brands": [0, 77]})
        with pytest.raises(HubPrefsFailException, match=r"(?i)business ?unit") as raised:
            opt_out(context, business_unit_id=brand)
        assert raised.value.error.status == 400  # type: ignore[union-attr]

    def test_an_operation_under_way_is_unconfirmed(self, hubspot: Simulator, context: Context) -> None:
        hubspot.load({"operations": {"seconds": 60}})
        with pytest.raises(
            HubPrefsException, match=r"unconfirmed: .*PENDING.*wait_for_completion=True"
        ) as raised:
            opt_out(context, wait_for_completion=False)
        assert not isinstance(raised.value, HubPrefsFailException)

    def test_a_canceled_operation_fails(self, hubspot: Simulator, context: Context) -> None:
        hubspot.load({"operations": {"outcomes": {"*": "CANCELED"}}})
        with pytest.raises(HubPrefsException, match="canceled the operation") as raised:
            opt_out(context)
        assert "jane" not in str(raised.value)

    def test_an_empty_success_is_read_back(self, hubspot: Simulator, context: Context) -> None:
        hubspot.fault("fields", missing=["results"], match={"method": "POST"})
        assert opt_out(context)["outcome"] == "changed"

    def test_what_hubspot_says_of_the_address_is_masked(self, hubspot: Simulator, context: Context) -> None:
        with pytest.raises(HubPrefsFailException, match=r"r\*\*\*@h\*\*\*\.example cannot receive"):
            opt_out(context, subscriber="rejected@hubspot-rejects.example")

    def test_failures_that_stay_are_told_with_their_status(
        self, hubspot: Simulator, context: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token}
        connection["extra"] = json.dumps({"retry_total": 0})
        monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps(connection))
        hubspot.fault("cloudflare", status=502, times=None)
        with pytest.raises(HubPrefsException, match="502") as raised:
            opt_out(context)
        assert not isinstance(raised.value, HubPrefsFailException)
        assert "jane" not in str(raised.value)
