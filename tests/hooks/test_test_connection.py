"""The button "Test": what it says, that it only reads, that it is quick, that Airflow can press it."""

from __future__ import annotations

import json
import logging
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.hooks import connection
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.simulator import Simulator

READ = "communication_preferences.read"
WRITE = "communication_preferences.write"
READ_WRITE = "communication_preferences.read_write"
BATCH_READ = "communication_preferences.statuses.batch.read"
BATCH_WRITE = "communication_preferences.statuses.batch.write"
UNKNOWN = "Can write: unknown, as HubSpot does not show this token's scopes, and the test writes nothing."
SLOW = {"retry_first_wait": 60, "retry_total": 3600, "migrating_max_wait": 3600}
"""Settings of a connection with which one failure would keep a person waiting for half a minute or more."""


def endpoints(hubspot: Simulator) -> list[str]:
    return [request.endpoint for request in hubspot.requests]


def test_it_says_what_the_token_can_first_then_portal_token_and_budget(
    hubspot: Simulator, hubprefs_default: str
) -> None:
    works, said = HubPrefsHook().test_connection()
    assert works
    assert said.splitlines() == [
        "Can read.",
        "Can write.",
        "Can batch.",
        "Portal 48120091, API 2026-09, 7 subscription types, 6 active.",
        "Token: private app or service key.",
        "Budget: 190 requests per 10 s, 999,999 of 1,000,000 left today.",
    ]


@pytest.mark.parametrize("token", ["good", "garbage"])
def test_the_log_has_it_too_in_one_line(
    hubspot: Simulator, connect: Callable[..., None], capsys: pytest.CaptureFixture[str], token: str
) -> None:
    """Airflow shows it for some seconds only."""
    connect(host=hubspot.url, password=hubspot.token if token == "good" else "pat-na1-garbage")
    said = HubPrefsHook().test_connection()[1]
    one_line = f"Connection test: {said}".replace("\n", " ")
    assert one_line in capsys.readouterr().out


def test_it_only_reads(hubspot: Simulator, hubprefs_default: str) -> None:
    HubPrefsHook().test_connection()
    assert [(request.endpoint, request.method) for request in hubspot.requests] == [
        ("definitions", "GET"),
        ("token_info", "POST"),  # HubSpot's way to ask what a token may do
    ]


@pytest.mark.parametrize("version", ["v4", "2026-03", "2026-09"])
def test_it_works_in_every_version(hubspot: Simulator, hubprefs_default: str, version: str) -> None:
    tested, said = HubPrefsHook(api_version=version).test_connection()
    assert tested
    assert f", API {version}, 7 subscription types" in said
    assert "Can batch." in said


@pytest.mark.filterwarnings("ignore::airflow_provider_hubprefs.hubspot.api.endpoints.UnknownVersionWarning")
def test_a_version_newer_than_the_package_is_said_to_be_taken_for_the_newest_known(
    hubspot: Simulator, hubprefs_default: str
) -> None:
    hubspot.fault("answer", json={"status": "COMPLETE", "results": []})
    tested, said = HubPrefsHook(api_version="2027-03").test_connection()
    assert tested
    assert "API 2027-03, used like 2026-09, 0 subscription types" in said


BATCHES = (
    "Cannot batch, so each subscriber takes a request: "
    f"grant the token {BATCH_READ} and {BATCH_WRITE} (Marketing Hub Enterprise has them)."
)
CANNOT_WRITE = f"Cannot write, so nothing would be opted out: grant the token {WRITE}."
CANNOT_READ = f"Cannot read: grant the token {READ}."


@pytest.mark.parametrize(
    ("scopes", "works", "says"),
    [
        ([READ, WRITE], True, ["Can read.", "Can write.", BATCHES]),
        ([READ_WRITE], True, ["Can read.", "Can write.", BATCHES]),
        (
            [READ, WRITE, BATCH_WRITE],
            True,
            ["Can read.", "Can write.", BATCHES.replace(f" and {BATCH_WRITE}", "")],
        ),
        ([READ], False, ["Can read.", CANNOT_WRITE, BATCHES]),
        ([WRITE], False, [CANNOT_READ, "Can write.", BATCHES]),
        (["crm.objects.contacts.read"], False, [CANNOT_READ, CANNOT_WRITE, BATCHES]),
    ],
    ids=["starter", "read_write", "half a batch", "read only", "write only", "another's"],
)
def test_a_token_that_cannot_read_or_write_fails_and_the_scope_to_grant_is_named(
    hubspot: Simulator, connect: Callable[..., None], scopes: list[str], *, works: bool, says: list[str]
) -> None:
    hubspot.load({"tokens": {"own": {"scopes": scopes}}})
    connect(host=hubspot.url, password=hubspot.tokens["own"])
    tested, said = HubPrefsHook().test_connection()
    assert tested is works
    assert said.splitlines()[:3] == says
    assert endpoints(hubspot) == ["definitions", "token_info"]


def test_the_brand_is_named_where_there_is_one(hubspot: Simulator, connect: Callable[..., None]) -> None:
    connect(host=hubspot.url, password=hubspot.token, extra={"business_unit_id": "0"})
    assert ", brand 0, " in HubPrefsHook().test_connection()[1]


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("expired", "has expired or was revoked"),
        ("garbage", "mistyped or cut off"),
    ],
)
def test_a_token_that_does_not_do_is_refused_with_what_to_do(
    hubspot: Simulator, connect: Callable[..., None], token: str, says: str
) -> None:
    value = {**hubspot.tokens, "garbage": "pat-na1-garbage"}[token]
    connect(host=hubspot.url, password=value)
    tested, said = HubPrefsHook().test_connection()
    assert not tested
    assert said.startswith(
        "the token is not accepted (401): check the field Token (the password) of the connection"
    )
    assert says in said
    assert value not in said
    assert endpoints(hubspot) == ["definitions"]


# -- kinds of tokens ----------------------------------------------------------------------------------------


def test_an_oauth_app_is_named_as_one(hubspot: Simulator, connect: Callable[..., None]) -> None:
    oauth = {"client_id": "id-1", "client_secret": "cs-5ecret", "refresh_token": "rt-5ecret"}
    hubspot.load({"oauth": {**oauth, "scopes": [READ, WRITE]}})
    connect(host=hubspot.url, extra=oauth)
    tested, said = HubPrefsHook().test_connection()
    assert tested
    assert said.startswith("Can read.\nCan write.\nCannot batch")
    assert "Portal 48120091, " in said
    assert "Token: OAuth app." in said
    assert "Budget: 190 requests per 10 s; no daily figure for this kind of token." in said
    assert endpoints(hubspot) == ["oauth_token", "definitions"]
    assert "5ecret" not in said


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("client_id", "unknown client id"),
        ("client_secret", "invalid client secret"),
        ("refresh_token", "refresh token is invalid"),
    ],
)
def test_wrong_oauth_fields_are_final(
    hubspot: Simulator, connect: Callable[..., None], wrong: str, says: str
) -> None:
    oauth = {"client_id": "id-1", "client_secret": "cs-5ecret", "refresh_token": "rt-5ecret"}
    hubspot.load({"oauth": oauth})
    connect(host=hubspot.url, extra={**oauth, wrong: "wrong-5ecret"})
    tested, said = HubPrefsHook().test_connection()
    assert not tested
    assert says in said
    assert said.startswith("the OAuth app is not accepted: check client_id, client_secret and refresh_token")
    assert "5ecret" not in said
    assert endpoints(hubspot) == ["oauth_token"]


def test_an_access_token_of_an_oauth_app_given_as_a_token_is_warned_of(
    hubspot: Simulator, connect: Callable[..., None]
) -> None:
    hubspot.load({"tokens": {"access": {"kind": "oauth"}}})
    connect(host=hubspot.url, password=hubspot.tokens["access"])
    tested, said = HubPrefsHook().test_connection()
    assert tested
    assert (
        "Token: perhaps an OAuth access token, which expires soon; fill in the OAuth fields instead." in said
    )
    assert UNKNOWN in said


def test_a_token_with_daily_figures_that_is_no_private_app_s_is_a_service_key(
    hubspot: Simulator, hubprefs_default: str
) -> None:
    hubspot.fault("status", status=404, match={"endpoint": "token_info"})
    tested, said = HubPrefsHook().test_connection()
    assert tested
    assert "Portal of unknown id, " in said
    assert "Token: service key." in said
    assert UNKNOWN in said


def test_it_succeeds_although_hubspot_says_nothing_of_the_token(
    hubspot: Simulator, hubprefs_default: str
) -> None:
    hubspot.fault("status", status=400, match={"endpoint": "token_info"})
    tested, said = HubPrefsHook().test_connection()
    assert tested
    assert UNKNOWN in said


# -- quick, and alone ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503, "retry_after": 60},
        {"kind": "status", "status": 477, "retry_after": 60},
        {"kind": "burst", "retry_after": 60},
        {"kind": "daily"},
        {"kind": "cloudflare"},
        {"kind": "drop"},
    ],
    ids=lambda fault: f"{fault['kind']} {fault.get('status', '')}".strip(),
)
def test_it_does_not_wait_as_long_as_the_connection_would(
    hubspot: Simulator, connect: Callable[..., None], fault: dict[str, Any]
) -> None:
    hubspot.fault(**fault, times=None)
    # A token of its own, for its pause after a 429 is not that of other tests.
    hubspot.load({"tokens": {"own": {"value": f"pat-na1-{'-'.join(map(str, fault.values()))}"}}})
    connect(host=hubspot.url, password=hubspot.tokens["own"], extra=SLOW)
    tested, said = HubPrefsHook().test_connection()
    assert not tested
    assert said
    assert endpoints(hubspot) == ["definitions"]


def test_it_tries_once_where_nothing_listens_and_the_wait_would_be_long(
    connect: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    connect(host=url, password="pat-na1-none", extra=SLOW)
    tested, said = HubPrefsHook().test_connection()
    assert (tested, said) == (
        False,
        f"get_definitions (2026-09): no connection to {url} (refused, unreachable or timed out)",
    )
    assert "attempt" not in caplog.text  # the client logs every failure it waits for


def test_the_hook_s_own_settings_still_come_first(hubspot: Simulator, hubprefs_default: str) -> None:
    hubspot.fault("status", status=503, times=2)
    hook = HubPrefsHook(settings={"retry_total": 0.0})
    assert not hook.test_connection()[0]
    assert endpoints(hubspot) == ["definitions"]


def test_the_hooks_own_client_stays_as_it_is(hubspot: Simulator, connect: Callable[..., None]) -> None:
    connect(host=hubspot.url, password=hubspot.token, extra={"read_timeout": 77})
    hook = HubPrefsHook()
    client = hook.client
    assert hook.test_connection()[0]
    assert hook.client is client
    assert client.settings.read_timeout == 77

    fresh = HubPrefsHook()
    assert fresh.test_connection()[0]
    assert fresh.client.settings.read_timeout == 77


# -- by Airflow ---------------------------------------------------------------------------------------------


def test_a_worker_can_test_a_connection_that_is_not_saved(hubspot: Simulator) -> None:
    from airflow.sdk import Connection

    connection = Connection(
        conn_id="not_saved", conn_type="hubprefs", host=hubspot.url, password=hubspot.token
    )
    tested, said = connection.test_connection()
    assert tested
    assert "Portal 48120091, " in said


def test_the_ui_can_test_a_connection_that_is_not_saved(
    hubspot: Simulator, airflow_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over Airflow's own API, as the button does it; the environment gives the connection on by URI."""
    from airflow.api_fastapi.app import create_app
    from fastapi.testclient import TestClient

    monkeypatch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "Enabled")
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")
    with TestClient(create_app(apps="core"), base_url="http://testserver") as api:
        token = api.get("/auth/token").json()["access_token"]
        form = {
            "connection_id": "from_the_form",
            "conn_type": "hubprefs",
            "host": hubspot.url,
            "password": hubspot.tokens["starter"],
            "extra": json.dumps({"api_version": "v4", "business_unit_id": 0, "read_timeout": None}),
        }
        answer = api.post(
            "/api/v2/connections/test", json=form, headers={"Authorization": f"Bearer {token}"}
        ).json()
    assert answer["status"] is True
    assert BATCH_WRITE in answer["message"]
    assert "Portal 48120091, brand 0, API v4, " in answer["message"]


@pytest.mark.parametrize("silent", ["connects and says nothing", "a budget that rests"])
def test_it_is_given_up_in_time_whatever_it_waits_for(
    hubspot: Simulator, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    assert connection.TEST_SECONDS < 20
    monkeypatch.setattr(connection, "TEST_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if silent == "a budget that rests":
            host = hubspot.url
        extra = {"budget_store": "process"}
        connect(host=host, password=f"pat-{silent.replace(' ', '-')}", extra=json.dumps(extra))
        if silent == "a budget that rests":
            HubPrefsHook().client.pacer.pause(8)
        began = time.monotonic()

        tested, said = HubPrefsHook().test_connection()

    assert not tested
    assert "did not answer in" in said
    assert time.monotonic() - began < 5
