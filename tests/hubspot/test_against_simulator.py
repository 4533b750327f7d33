"""The client and the simulator, which were written apart from HubSpot's documents, understand each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.hubspot.api.endpoints import VERSIONS
from airflow_provider_hubprefs.hubspot.api.models import StatusChange
from airflow_provider_hubprefs.hubspot.errors import (
    AuthenticationError,
    DailyLimitError,
    MalformedAnswerError,
    MissingScopesError,
    ServerError,
)
from airflow_provider_hubprefs.hubspot.transport.auth import OAuthRefresh, StaticToken, token_info_call
from airflow_provider_hubprefs.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_hubprefs.hubspot.transport.client import Client

JANE = "jane+o'doe/1@example.com"
CONSENT: dict[str, Any] = {"legal_basis": "CONSENT_WITH_NOTICE", "legal_basis_explanation": "asked"}


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator(portal={"oauth": {"rotate": True}}) as simulator:
        yield simulator


@pytest.fixture
def hubspot(running: Simulator) -> Simulator:
    running.reset()
    return running


@pytest.fixture
def connect(hubspot: Simulator, client_of: Callable[..., Client]) -> Callable[..., Client]:
    def make(token: str = "all", **more: Any) -> Client:
        return client_of(hubspot.url, auth=StaticToken(hubspot.tokens[token]), **more)

    return make


@pytest.mark.parametrize("version", VERSIONS)
def test_a_subscriber_goes_out_of_everything_and_comes_back_to_one_subscription(
    version: str, hubspot: Simulator, connect: Callable[..., Client]
) -> None:
    client = connect(version=version)
    calls, subscription = client.calls, hubspot.subscription_ids[0]

    assert client.send(calls.get_unsubscribe_all(JANE)).results == []
    gone = client.send(calls.unsubscribe_all(JANE))
    assert {row.status for row in gone.results} == {"UNSUBSCRIBED"}
    assert {row.subscriber for row in gone.results} == {JANE}
    wide = client.send(calls.get_unsubscribe_all(JANE)).results
    assert [row.status for row in wide] == ["UNSUBSCRIBED"]
    assert hubspot.is_opted_out(JANE)

    back = client.send(calls.set_status(JANE, subscription, "SUBSCRIBED", **CONSENT)).results[0]

    assert back.set_status_success_reason == "RESUBSCRIBE_OCCURRED"
    assert back.subscription_id == subscription
    assert back.timestamp is not None
    again = client.send(calls.set_status(JANE, subscription, "SUBSCRIBED", **CONSENT)).results[0]
    assert again.set_status_success_reason == "NO_STATUS_CHANGE"
    statuses = {row.subscription_id: row.status for row in client.send(calls.get_statuses(JANE)).results}
    assert statuses[subscription] == "SUBSCRIBED"
    assert set(statuses) == set(hubspot.subscription_ids)


@pytest.mark.parametrize("version", VERSIONS)
def test_many_subscribers_at_once(version: str, hubspot: Simulator, connect: Callable[..., Client]) -> None:
    client = connect(version=version)
    calls, subscription = client.calls, hubspot.subscription_ids[0]
    others = [JANE, "bob@example.com"]

    client.send(
        calls.batch_set_statuses(
            [
                StatusChange(subscriber=each, subscription_id=subscription, status="UNSUBSCRIBED")
                for each in others
            ]
        )
    )
    client.send(calls.batch_unsubscribe_all([JANE]))

    read = {row.subscriber: row.statuses for row in client.send(calls.batch_get_statuses(others)).results}
    wide = {
        row.subscriber: bool(row.wide_statuses)
        for row in client.send(calls.batch_get_unsubscribe_all(others)).results
    }
    assert wide == {JANE: True, "bob@example.com": False}
    assert set(read) == set(others)
    bob = {row.subscription_id: row.status for row in read["bob@example.com"] or []}
    assert bob[subscription] == "UNSUBSCRIBED"


def test_a_refusal_inside_a_success_names_who_was_refused(connect: Callable[..., Client]) -> None:
    refused = "rejected1@hubspot-rejects.example"
    client = connect()

    operation = client.send(client.calls.batch_unsubscribe_all([JANE, refused]))

    assert [row.subscriber for row in operation.results] == [JANE]
    assert operation.num_errors == 1
    assert refused in operation.errors[0].names()
    assert operation.errors[0].category == "VALIDATION_ERROR"


@pytest.mark.parametrize("version", VERSIONS)
def test_definitions_have_numbers_and_times(
    version: str, hubspot: Simulator, connect: Callable[..., Client]
) -> None:
    client = connect(version=version)

    definitions = client.send(client.calls.get_definitions()).results

    assert {each.id for each in definitions if each.is_active} == set(hubspot.subscription_ids)
    assert all(each.created_at is not None and each.created_at.timezone_name == "UTC" for each in definitions)


def test_translations_come_when_asked_for(connect: Callable[..., Client]) -> None:
    client = connect()

    definitions = client.send(client.calls.get_definitions(include_translations=True)).results

    translations = [translation for each in definitions for translation in each.translations or []]
    assert all(each.created_at is None or each.created_at.year > 2000 for each in translations)


def test_links_are_made_for_one_subscriber(connect: Callable[..., Client]) -> None:
    client = connect()

    links = client.send(client.calls.generate_links(JANE, language="en"))

    assert links.subscriber == JANE
    assert links.manage_preferences_url.startswith("https://")


def test_a_token_without_batch_scopes_gets_an_error_that_names_the_scopes(
    connect: Callable[..., Client],
) -> None:
    client = connect("starter")

    with pytest.raises(MissingScopesError, match="Marketing Hub Enterprise") as caught:
        client.send(client.calls.batch_unsubscribe_all([JANE]))

    assert caught.value.scopes == ("communication_preferences.statuses.batch.write",)


def test_a_token_that_may_only_read_gets_an_error_that_names_the_scopes(
    connect: Callable[..., Client],
) -> None:
    client = connect("read_only")

    client.send(client.calls.get_statuses(JANE))
    with pytest.raises(MissingScopesError) as caught:
        client.send(client.calls.unsubscribe_all(JANE))

    assert "communication_preferences.write" in caught.value.scopes


def test_expired_and_unknown_tokens_are_distinguished(
    hubspot: Simulator, connect: Callable[..., Client], client_of: Callable[..., Client]
) -> None:
    expired, unknown = connect("expired"), client_of(hubspot.url, auth=StaticToken("pat-na1-none"))

    with pytest.raises(AuthenticationError) as of_expired:
        expired.send(expired.calls.get_definitions())
    with pytest.raises(AuthenticationError) as of_unknown:
        unknown.send(unknown.calls.get_definitions())

    assert of_expired.value.category == "EXPIRED_AUTHENTICATION"
    assert of_unknown.value.category == "INVALID_AUTHENTICATION"


def test_a_token_can_be_asked_about(hubspot: Simulator, connect: Callable[..., Client]) -> None:
    info = connect().send(token_info_call(hubspot.token))

    assert info.hub_id == hubspot.portal.settings.portal_id
    assert "communication_preferences.statuses.batch.write" in (info.scopes or [])


def test_an_app_renews_its_token_and_keeps_the_refresh_token_that_changed(
    hubspot: Simulator, client_of: Callable[..., Client]
) -> None:
    oauth = hubspot.portal.settings.oauth
    secrets: dict[str, Any] = {
        name: getattr(oauth, name) for name in ("client_id", "client_secret", "refresh_token")
    }
    client = client_of(hubspot.url, auth=OAuthRefresh(**secrets))

    for _ in range(3):
        client.send(client.calls.get_definitions())
        hubspot.advance(7200)  # of HubSpot's clock alone: ours believes that the token still holds

    asked = [request.status for request in hubspot.requests if request.path.endswith("/definitions")]
    assert asked == [200, 401, 200, 401, 200]
    assert hubspot.state.tokens.minted == 3
    with pytest.raises(AuthenticationError, match="check client_id"):
        late = client_of(hubspot.url, auth=OAuthRefresh(**secrets))
        late.send(late.calls.get_definitions())


def test_the_daily_limit_is_final(client_of: Callable[..., Client]) -> None:
    with Simulator(portal={"limits": {"daily": 2}}) as hubspot:
        client = client_of(hubspot.url, auth=StaticToken(hubspot.token))
        client.send(client.calls.get_definitions())
        client.send(client.calls.get_definitions())
        assert client.pacer.budget.daily_remaining == 0

        with pytest.raises(DailyLimitError):
            client.send(client.calls.get_definitions())
        assert client.usage.requests == 3


@pytest.mark.parametrize("applied", [True, False])
def test_a_write_whose_answer_was_lost_is_repeated_and_counts_once(
    applied: bool, hubspot: Simulator, connect: Callable[..., Client]
) -> None:
    hubspot.fault("drop", applied=applied)
    client = connect()

    operation = client.send(client.calls.set_status(JANE, hubspot.subscription_ids[0], "UNSUBSCRIBED"))

    expected = "NO_STATUS_CHANGE" if applied else "REQUESTED_CHANGE_OCCURRED"
    assert operation.results[0].set_status_success_reason == expected
    assert client.usage.requests == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "cloudflare", "status": 524},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 477, "retry_after": 30},
        {"kind": "status", "status": 423},
        {"kind": "burst"},
        {"kind": "empty"},
        {"kind": "truncate"},
        {"kind": "text", "text": "not JSON"},
        {"kind": "latency", "ms": 1},
    ],
    ids=lambda fault: f"{fault['kind']} {fault.get('status', '')}",
)
def test_what_passes_is_waited_for(
    fault: dict[str, Any], hubspot: Simulator, connect: Callable[..., Client]
) -> None:
    hubspot.fault(**fault)
    client = connect()

    assert client.send(client.calls.unsubscribe_all(JANE)).complete
    assert hubspot.is_opted_out(JANE)


def test_what_does_not_pass_is_an_error(hubspot: Simulator, connect: Callable[..., Client]) -> None:
    hubspot.fault("status", status=503, times=None)
    client = connect()

    with pytest.raises(ServerError):
        client.send(client.calls.get_definitions())


def test_an_answer_without_its_status_is_malformed(
    hubspot: Simulator, connect: Callable[..., Client]
) -> None:
    hubspot.fault("fields", missing=["status"])
    client = connect()

    with pytest.raises(MalformedAnswerError, match="status"):
        client.send(client.calls.get_unsubscribe_all(JANE))


def test_members_that_are_null_or_missing_do_no_harm(
    hubspot: Simulator, connect: Callable[..., Client]
) -> None:
    hubspot.fault("fields", missing=["startedAt", "completedAt"], null=["results"])
    client = connect()

    operation = client.send(client.calls.get_statuses(JANE))

    assert operation.results == []
    assert operation.started_at is None


def test_an_operation_that_takes_its_time_is_not_complete(client_of: Callable[..., Client]) -> None:
    portal = {"operations": {"seconds": 10, "outcomes": {JANE: "CANCELED"}}}
    with Simulator(portal=portal) as hubspot:
        client = client_of(hubspot.url, auth=StaticToken(hubspot.token))

        first = client.send(client.calls.unsubscribe_all(JANE))
        assert first.status in {"PENDING", "PROCESSING"}
        assert not first.complete
        hubspot.advance(60)
        assert client.send(client.calls.get_unsubscribe_all(JANE)).canceled
