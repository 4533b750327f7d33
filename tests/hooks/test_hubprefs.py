"""The hook against the local HubSpot: every method in every version, brands, OAuth, use in a task."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from airflow.providers.common.compat.sdk import redact

from airflow_provider_hubprefs.arguments import choice, seconds, whole_number, yes_or_no
from airflow_provider_hubprefs.bulk.send.operation_wait import OperationWait
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.api.endpoints import ENDPOINTS, VERSIONS
from airflow_provider_hubprefs.hubspot.api.models import StatusChange
from airflow_provider_hubprefs.hubspot.errors import (
    HubSpotError,
    SettingsError,
    ValidationError,
)
from airflow_provider_hubprefs.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NEWSLETTER = 348211907
JANE, BOB = "jane@example.com", "bob@example.com"
PORTAL = {"subscribers": {JANE: {"statuses": {str(NEWSLETTER): "SUBSCRIBED"}}}}

# method -> what is called, what of the answer shows that it did its work
METHODS: Mapping[str, tuple[Callable[[HubPrefsHook], Any], Callable[[Any], Any], Any]] = {
    "get_definitions": (
        lambda hook: hook.get_definitions(),
        lambda answer: NEWSLETTER in {definition.id for definition in answer.results},
        True,
    ),
    "generate_links": (
        lambda hook: hook.generate_links(JANE, subscription_id=NEWSLETTER, language="de"),
        lambda answer: (answer.subscriber, answer.unsubscribe_single_url is not None),
        (JANE, True),
    ),
    "get_statuses": (
        lambda hook: hook.get_statuses(JANE),
        lambda answer: {row.subscription_id: row.status for row in answer.results}[NEWSLETTER],
        "SUBSCRIBED",
    ),
    "set_status": (
        lambda hook: hook.set_status(JANE, NEWSLETTER, "UNSUBSCRIBED"),
        lambda answer: [(row.subscription_id, row.status) for row in answer.results],
        [(NEWSLETTER, "UNSUBSCRIBED")],
    ),
    "get_unsubscribe_all": (
        lambda hook: hook.get_unsubscribe_all(JANE),
        lambda answer: answer.results,
        [],
    ),
    "unsubscribe_all": (
        lambda hook: hook.unsubscribe_all(JANE),
        lambda answer: {row.status for row in answer.results},
        {"UNSUBSCRIBED"},
    ),
    "batch_get_statuses": (
        lambda hook: hook.batch_get_statuses([JANE, BOB]),
        lambda answer: {row.subscriber for row in answer.results},
        {JANE, BOB},
    ),
    "batch_set_statuses": (
        lambda hook: hook.batch_set_statuses(
            [StatusChange(subscriber=BOB, subscription_id=NEWSLETTER, status="UNSUBSCRIBED")]
        ),
        lambda answer: [(row.subscriber, row.status) for row in answer.results],
        [(BOB, "UNSUBSCRIBED")],
    ),
    "batch_unsubscribe_all": (
        lambda hook: hook.batch_unsubscribe_all([JANE, BOB]),
        lambda answer: {row.subscriber for row in answer.results},
        {JANE, BOB},
    ),
    "batch_get_unsubscribe_all": (
        lambda hook: hook.batch_get_unsubscribe_all([JANE, BOB]),
        lambda answer: {row.subscriber: bool(row.wide_statuses) for row in answer.results},
        {JANE: False, BOB: False},
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", METHODS)
def test_a_method_works_in_every_version(
    hubspot: Simulator, hubprefs_default: str, name: str, version: str
) -> None:
    hubspot.load(PORTAL)
    call, seen, expected = METHODS[name]
    assert seen(call(HubPrefsHook(hubprefs_default, version))) == expected
    assert [(request.version, request.status // 100) for request in hubspot.requests] == [(version, 2)]


def test_what_methods_write_is_what_the_portal_has_afterwards(
    hubspot: Simulator, hubprefs_default: str
) -> None:
    hook = HubPrefsHook()
    hook.set_status(
        JANE,
        NEWSLETTER,
        "SUBSCRIBED",
        legal_basis="CONSENT_WITH_NOTICE",
        legal_basis_explanation="asked for it",
    )
    hook.unsubscribe_all(BOB)
    assert hubspot.status_of(JANE, NEWSLETTER) == "SUBSCRIBED"
    assert hubspot.is_opted_out(BOB)
    assert not hubspot.is_opted_out(JANE)


def test_every_endpoint_has_a_method_of_its_name() -> None:
    assert set(ENDPOINTS) == set(METHODS)
    assert all(callable(getattr(HubPrefsHook, name)) for name in METHODS)


# -- brands -------------------------------------------------------------------------------------------------

BRAND = 77
BRANDED: Mapping[str, Callable[..., Any]] = {
    "get_definitions": lambda hook, **brand: hook.get_definitions(**brand),
    "generate_links": lambda hook, **brand: hook.generate_links(JANE, **brand),
    "get_statuses": lambda hook, **brand: hook.get_statuses(JANE, **brand),
    "get_unsubscribe_all": lambda hook, **brand: hook.get_unsubscribe_all(JANE, **brand),
    "unsubscribe_all": lambda hook, **brand: hook.unsubscribe_all(JANE, **brand),
    "batch_get_statuses": lambda hook, **brand: hook.batch_get_statuses([JANE], **brand),
    "batch_unsubscribe_all": lambda hook, **brand: hook.batch_unsubscribe_all([JANE], **brand),
    "batch_get_unsubscribe_all": lambda hook, **brand: hook.batch_get_unsubscribe_all([JANE], **brand),
}


def asked_brands(hubspot: Simulator) -> list[str | None]:
    return [parse_qs(request.query).get("businessUnitId", [None])[0] for request in hubspot.requests]


@pytest.mark.parametrize("name", BRANDED)
def test_the_brand_comes_from_the_call_then_the_hook_then_the_connection(
    hubspot: Simulator, connect: Callable[..., None], name: str
) -> None:
    hubspot.load({"brands": [BRAND, 78, 79]})
    connect(host=hubspot.url, password=hubspot.token, extra={"business_unit_id": BRAND})
    BRANDED[name](HubPrefsHook(business_unit_id="78"), business_unit_id=79)
    BRANDED[name](HubPrefsHook(business_unit_id="78"))
    BRANDED[name](HubPrefsHook())
    assert asked_brands(hubspot) == ["79", "78", str(BRAND)]


@pytest.mark.parametrize("brand", [0, "0"])
def test_brand_0_is_the_account_s_own_and_not_none(
    hubspot: Simulator, connect: Callable[..., None], brand: int | str
) -> None:
    hubspot.load({"brands": [BRAND]})
    connect(host=hubspot.url, password=hubspot.token, extra={"business_unit_id": brand})
    HubPrefsHook().unsubscribe_all(JANE)
    assert asked_brands(hubspot) == ["0"]


def test_without_a_brand_anywhere_none_is_sent(hubspot: Simulator, hubprefs_default: str) -> None:
    HubPrefsHook().unsubscribe_all(JANE)
    HubPrefsHook(business_unit_id="").unsubscribe_all(JANE)
    assert asked_brands(hubspot) == [None, None]


@pytest.mark.parametrize("brand", ["brand 7", "7.5", -7, True, "1_000"])
def test_a_brand_that_is_no_whole_number_is_refused_before_any_request(
    hubspot: Simulator, hubprefs_default: str, brand: Any
) -> None:
    expected = f"business_unit_id: expected a brand's whole number .*got {brand!r}"
    with pytest.raises(SettingsError, match=expected):
        HubPrefsHook(business_unit_id=brand).unsubscribe_all(JANE)
    with pytest.raises(SettingsError, match=expected):
        HubPrefsHook().unsubscribe_all(JANE, business_unit_id=brand)
    assert hubspot.requests == []


# -- the client ---------------------------------------------------------------------------------------------


def test_the_hook_makes_one_client_and_can_be_used_again_after_it_was_closed(
    hubspot: Simulator, hubprefs_default: str
) -> None:
    hook = HubPrefsHook()
    hook.close()
    assert hook.get_conn() is hook.client
    hook.get_definitions()
    hook.close()
    hook.get_definitions()
    assert len(hubspot.requests) == 2


def test_settings_of_the_hook_override_the_connection_s(
    hubspot: Simulator, connect: Callable[..., None]
) -> None:
    connect(host=hubspot.url, password="pat-1", extra={"read_timeout": 50, "retry_total": 60})
    settings = HubPrefsHook(settings={"read_timeout": 7}).client.settings
    assert (settings.read_timeout, settings.retry_total, settings.connect_timeout) == (7, 60, 10)


def test_a_setting_that_does_not_exist_is_refused(hubprefs_default: str) -> None:
    with pytest.raises(SettingsError, match=r"settings: expected some of connect_timeout.*; got read_timeot"):
        _ = HubPrefsHook(settings={"read_timeot": 7}).client


@pytest.mark.parametrize(
    ("subscription_id", "says"), [(1, "348211907"), (348211919, "348211919")], ids=["unknown", "inactive"]
)
def test_a_subscription_that_is_unusable_is_refused_with_those_that_are_not(
    hubspot: Simulator, hubprefs_default: str, subscription_id: int, says: str
) -> None:
    HubPrefsHook().check_subscription(NEWSLETTER)
    with pytest.raises(ValidationError, match=says):
        HubPrefsHook().check_subscription(subscription_id)


def test_a_subscription_passes_unchecked_where_the_token_may_not_list_them(
    hubspot: Simulator, connect: Callable[..., None]
) -> None:
    hubspot.load({"tokens": {"batches": {"scopes": ["communication_preferences.statuses.batch.write"]}}})
    connect(host=hubspot.url, password=hubspot.tokens["batches"])
    HubPrefsHook().check_subscription(1)
    assert [(request.endpoint, request.status) for request in hubspot.requests] == [("definitions", 403)]


# -- OAuth, secrets -----------------------------------------------------------------------------------------


def test_an_oauth_app_gets_its_tokens_by_itself_and_none_of_them_is_ever_shown(
    connect: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    oauth = {
        "client_id": "client-of-a-test",
        "client_secret": "secret-of-a-test",
        "refresh_token": "refresh-of-a-test",
    }
    # A seed of its own makes tokens that no other test has had masked.
    with Simulator(portal={"oauth": {**oauth, "rotate": True, "expires_in": 1800}}, seed=90210) as hubspot:
        connect(host=hubspot.url, extra=oauth)
        hook = HubPrefsHook(settings={"retry_first_wait": 0.01, "retry_max_wait": 0.01})
        hubspot.fault("status", status=503)
        hook.get_definitions()
        hubspot.advance(3600)  # HubSpot's clock alone: the token ends before the client expects it
        hook.get_definitions()
        fresh = [token for name, token in hubspot.tokens.items() if name.startswith("oauth-")]
        secrets = [*fresh, *hubspot.state.tokens.refresh_tokens, *oauth.values()]
        statuses = [request.status for request in hubspot.requests if request.endpoint == "definitions"]

    assert statuses[-2:] == [401, 200]
    assert len(fresh) == 2
    assert oauth["refresh_token"] not in hubspot.state.tokens.refresh_tokens
    assert "attempt 1" in caplog.text
    for secret in secrets:
        assert secret not in caplog.text
        assert secret not in repr(vars(hook.client))
        if secret != oauth["client_id"]:  # an identifier, which HubSpot shows in links
            assert redact(f"log line with {secret} in it") == "log line with *** in it"


def test_a_static_token_is_masked_also_where_the_connection_is_wrong(connect: Callable[..., None]) -> None:
    connect(password="pat-wrong-1234", extra={"client_id": "abc"})
    with pytest.raises(SettingsError):
        _ = HubPrefsHook().client
    assert redact("Bearer pat-wrong-1234") == "Bearer ***"


# -- in Airflow ---------------------------------------------------------------------------------------------


def test_it_works_in_a_task(run_dag: Callable[..., Any], hubspot: Simulator) -> None:
    run = run_dag("hubprefs_hook_in_task")
    assert set(run.tasks.values()) == {"success"}
    answer, rows = run.xcom("answers")
    assert (answer["status"], rows[0]["wideStatusType"]) == ("COMPLETE", "PORTAL_WIDE")
    assert {row["subscriberIdString"] for row in [*answer["results"], *rows]} == {"j***@e***.com"}
    methods = {name for name in vars(HubPrefsHook) if not name.startswith(("_", "get_ui", "get_connection"))}
    answers = run.xcom("every_method")
    called = {name for name in methods if callable(getattr(HubPrefsHook, name))}
    assert called - set(answers) == {"aget_client", "check_subscription", "close", "get_conn"}
    assert JANE not in json.dumps(answers)
    assert answers["generate_links"]["managePreferencesUrl"] == "***"
    assert run.xcom("count_subscriptions") == len(hubspot.subscription_ids) + 1  # one is archived


def test_an_answer_is_a_model_and_plain_data(hubspot: Simulator, hubprefs_default: str) -> None:
    hook = HubPrefsHook()
    links = hook.generate_links(JANE)
    assert links.manage_preferences_url.startswith("http")
    assert "http" not in json.dumps(links)
    hubspot.opt_out(BOB)
    found = hook.find_opt_outs(datetime(2026, 1, 1, tzinfo=UTC))
    answers: list[Any] = [
        links,
        hook.get_definitions(include_translations=True),
        hook.set_status(JANE, hubspot.subscription_ids[0], "UNSUBSCRIBED"),
        hook.get_statuses(JANE),
        hook.batch_get_statuses([JANE, BOB]),
        *found,
    ]
    for answer in answers:
        for again in (answer, pickle.loads(pickle.dumps(answer)), copy.deepcopy(answer)):
            stored = json.dumps(again)
            assert len(stored) > 20
            assert "jane" not in f"{stored} {again}"
            assert not any(name in stored for name in ("jane", "bob"))
            assert repr(again) == repr(answer)
    assert answers[3].results[0].subscriber == JANE
    assert answers[4].complete
    assert [type(one.statuses) for one in answers[4].results] == [list, list]


def test_who_has_opted_out_since(hubspot: Simulator, hubprefs_default: str) -> None:
    hubspot.opt_out("early@example.com")
    since = datetime.fromtimestamp(hubspot.state.clock.now(), UTC) + timedelta(hours=1)
    hubspot.advance(7200)
    hubspot.portal.contacts.touch("early@example.com")
    HubPrefsHook().unsubscribe_all(JANE)
    hubspot.opt_out(BOB)
    assert [one.subscriber for one in HubPrefsHook().find_opt_outs(since)] == [JANE, BOB]


@pytest.mark.parametrize("since", [datetime(2027, 1, 1), "2027-01-01", None, 5])  # noqa: DTZ001
def test_since_when_takes_a_time_with_its_zone(hubprefs_default: str, since: Any) -> None:
    with pytest.raises(ValueError, match="with its zone"):
        HubPrefsHook().find_opt_outs(since)


def test_changes_of_another_form_are_refused_and_not_shown(hubspot: Simulator, hubprefs_default: str) -> None:
    changes: Any = [("jane@example.com", 1, "UNSUBSCRIBED")]
    with pytest.raises(ValidationError, match="changes: expected StatusChange objects, got tuple"):
        HubPrefsHook().batch_set_statuses(changes)
    assert hubspot.requests == []


def test_a_hook_can_be_copied_and_sent_to_another_process_after_its_use(
    hubspot: Simulator, hubprefs_default: str
) -> None:
    hook = HubPrefsHook(business_unit_id="0", max_budget_share=0.5)
    assert hook.get_unsubscribe_all(JANE).complete
    assert hook.business_unit_id == 0

    for again in (pickle.loads(pickle.dumps(hook)), copy.deepcopy(hook), copy.copy(hook)):
        assert again.client is not hook.client
        assert again.get_unsubscribe_all(JANE).complete
        assert (again.business_unit_id, again.hubprefs_conn_id) == (0, hook.hubprefs_conn_id)
    assert hook.get_unsubscribe_all(JANE).complete


@pytest.mark.parametrize("value", ["jane@example.com", ["jane@example.com"], "token jane@example.com"])
def test_an_address_in_another_argument_is_not_shown(hubprefs_default: str, value: Any) -> None:
    wrong: list[Callable[[], object]] = [
        lambda: HubPrefsHook(business_unit_id=value).business_unit_id,
        lambda: HubPrefsHook(api_version=value).client,
        lambda: HubPrefsHook(max_budget_share=value).client,
        lambda: HubPrefsHook(settings={"retry_total": value}).client,
        lambda: HubPrefsHook().set_status("x@example.com", value, "SUBSCRIBED"),
        lambda: HubPrefsHook().set_status("x@example.com", 1, value),
        lambda: HubPrefsHook().set_status("x@example.com", 1, "SUBSCRIBED", legal_basis=value),
        lambda: OperationWait(subscriber="x@example.com", expect=value).check(),
        lambda: whole_number("subscription_id", value),
        lambda: yes_or_no("allow_resubscribe", value),
        lambda: choice("fail", "continue")("on_rejected", value),
        lambda: seconds("poke_interval", value),
    ]
    for attempt in wrong:
        with pytest.raises((HubSpotError, TypeError)) as caught:
            attempt()
        assert "jane" not in str(caught.value)
