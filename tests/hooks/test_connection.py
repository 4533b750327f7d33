"""Connections in all the forms Airflow has for them, and those that cannot work."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest

from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.errors import SettingsError
from airflow_provider_hubprefs.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "pat-na1-0a1b2c3d-secret"
OAUTH = {"client_id": "id-1", "client_secret": "cs-5ecret", "refresh_token": "rt-5ecret"}


@pytest.fixture
def hubspot6(hubspot: Simulator) -> Iterator[Simulator]:
    """A local HubSpot at the loopback address of IPv6."""
    try:
        server = Simulator(host="::1")
        server.start()
    except OSError:
        pytest.skip("no IPv6 here")
    yield server
    server.stop()


def forms(hubspot: Simulator) -> dict[str, str]:
    """All the ways to say where the simulator is, and its token."""
    scheme, _, place = hubspot.url.partition("://")
    host, _, port = place.rpartition(":")
    bare, token = host.strip("[]"), quote(hubspot.token, safe="")

    def as_json(**members: Any) -> str:
        return json.dumps({"conn_type": "hubprefs", "password": hubspot.token, **members})

    return {
        "JSON, all in host": as_json(host=hubspot.url),
        "JSON, with a slash and spaces": as_json(host=f" {scheme}://{host}/ ", port=int(port)),
        "JSON, port apart": as_json(host=f"{scheme}://{host}", port=int(port)),
        "JSON, port apart and in host": as_json(host=hubspot.url, port=int(port)),
        "JSON, scheme apart": as_json(host=place, schema=scheme),
        "JSON, all apart": as_json(host=bare, schema=scheme.upper(), port=int(port)),
        "JSON, scheme apart and in host": as_json(host=hubspot.url, schema="https"),
        "URI, scheme as its path": f"hubprefs://:{token}@{place}/{scheme}",
        "URI, scheme before the host": f"hubprefs://{scheme}://:{token}@{place}",
        "URI, host encoded": f"hubprefs://:{token}@{quote(hubspot.url, safe='')}",
        "URI, host encoded, port apart": f"hubprefs://:{token}@{quote(f'{scheme}://{host}', safe='')}:{port}",
    }


FORMS = [
    "JSON, all in host",
    "JSON, with a slash and spaces",
    "JSON, port apart",
    "JSON, port apart and in host",
    "JSON, scheme apart",
    "JSON, all apart",
    "JSON, scheme apart and in host",
    "URI, scheme as its path",
    "URI, scheme before the host",
    "URI, host encoded",
    "URI, host encoded, port apart",
]


@pytest.mark.parametrize("form", FORMS)
def test_a_connection_works_in_every_form(
    hubspot: Simulator, connect: Callable[..., None], form: str
) -> None:
    connect(forms(hubspot)[form])
    assert HubPrefsHook().get_definitions().results
    assert [request.token for request in hubspot.requests] == ["all"]


@pytest.mark.parametrize("form", FORMS)
def test_a_connection_works_in_every_form_with_ipv6(
    hubspot6: Simulator, connect: Callable[..., None], form: str
) -> None:
    connect(forms(hubspot6)[form])
    assert HubPrefsHook().client.url == hubspot6.url
    assert HubPrefsHook().get_definitions().results


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"host": ""},
        {"schema": "https"},
        {"port": 443},
        {"host": "api.hubapi.com"},
        {"port": 443},
        {"host": "https://api.hubapi.com:443"},
        {"host": "api.hubapi.com", "schema": "https", "port": 443},
        {"host": "https://api.hubapi.com/"},
    ],
    ids=str,
)
def test_without_more_said_it_is_hubspot_by_https(
    connect: Callable[..., None], members: dict[str, Any]
) -> None:
    connect(password=TOKEN, **members)
    assert HubPrefsHook().client.url == "https://api.hubapi.com"


@pytest.mark.parametrize("as_text", [False, True], ids=["numbers", "text"])
@pytest.mark.parametrize("form", ["JSON", "URI"])
def test_the_extra_is_read_as_numbers_and_as_text(
    connect: Callable[..., None], form: str, as_text: bool
) -> None:
    given = {
        "api_version": "2026-03",
        "business_unit_id": 12,
        "connect_timeout": 2.5,
        "read_timeout": 40,
        "retry_total": 30,
        "retry_first_wait": 0.5,
        "migrating_max_wait": 0,
        "max_answer_bytes": 1_000_000,
    }
    extra = {name: str(value) if as_text else value for name, value in given.items()}
    if form == "JSON":
        connect(password=TOKEN, extra=extra)
    else:
        connect(f"hubprefs://:{TOKEN}@/?{urlencode(extra)}")
    hook = HubPrefsHook()
    client = hook.client
    read = {
        "api_version": client.calls.version,
        "business_unit_id": hook.business_unit_id,
        **{name: getattr(client.settings, name) for name in list(given)[2:]},
    }
    assert read == given
    assert isinstance(client.settings.max_answer_bytes, int)


def test_a_field_that_is_empty_is_not_set(
    connect: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    extra = {"api_version": "", "business_unit_id": "", "read_timeout": None, "client_id": ""}
    connect(password=TOKEN, extra=extra)
    hook = HubPrefsHook()
    assert (hook.client.calls.version, hook.business_unit_id) == ("2026-09", None)
    assert hook.client.settings.read_timeout == 110
    assert [record.name for record in caplog.records if "hubprefs" in record.name] == []


def test_the_argument_comes_before_the_connection_s_version(connect: Callable[..., None]) -> None:
    connect(password=TOKEN, extra={"api_version": "v4"})
    assert HubPrefsHook(api_version="2026-03").client.calls.version == "2026-03"
    assert HubPrefsHook().client.calls.version == "v4"


def test_an_extra_field_that_is_not_read_is_logged_once_without_its_value(
    connect: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    connect(password=TOKEN, extra={"bussiness_unit_id": "typo-value", "api_version": "v4"})
    hook = HubPrefsHook()
    _ = hook.client, hook.business_unit_id
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    said = warnings[0].getMessage()
    assert "'hubprefs_default': unknown fields in its extra: bussiness_unit_id; known ones: " in said
    assert ", business_unit_id, " in said
    assert "typo-value" not in said


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another type": (
        {"conn_type": "http", "password": TOKEN},
        "expected the type 'hubprefs', got 'http'; change its type",
    ),
    "no token": ({}, "expected either a token in the field Token .* or all of client_id, .* got neither"),
    "token as login": ({"login": TOKEN}, "in the field Token .* got a login, which is not read"),
    "token with a newline": ({"password": f"{TOKEN}\n"}, "token .* was a line break .* copied along"),
    "token with quotation marks": (
        {"password": f"“{TOKEN}”"},
        "token .* was a line break or a quote",
    ),
    "token and OAuth": (
        {"password": TOKEN, "extra": OAUTH},
        "expected either a token .* got a token, client_id, client_secret, refresh_token",
    ),
    "token and some of OAuth": (
        {"password": TOKEN, "extra": {"client_id": "id-1"}},
        "expected either a token .* got a token, client_id$",
    ),
    "some of OAuth": (
        {"extra": {"client_id": "id-1", "refresh_token": "rt-5ecret"}},
        "all of client_id, client_secret, refresh_token .OAuth.; got client_id, refresh_token",
    ),
    "OAuth with a newline": ({"extra": {**OAUTH, "client_secret": "cs-5ecret\n"}}, "client_secret: expected"),
    "host with a path": (
        {"password": TOKEN, "host": "https://api.hubapi.com/communication-preferences"},
        "host: expected no path",
    ),
    "URI with a path": (
        {"password": TOKEN, "host": "api.hubapi.com", "schema": "communication-preferences/v4"},
        "schema .* expected https or nothing",
    ),
    "plain http": (
        {"password": TOKEN, "host": "http://api.hubapi.com"},
        "host: expected https .* got http://api.hubapi.com",
    ),
    "plain http by schema": (
        {"password": TOKEN, "host": "api.hubapi.com", "schema": "http"},
        "host: expected https .* got http://api.hubapi.com",
    ),
    "not HubSpot's": (
        {"password": TOKEN, "host": "https://api.hubapi.com.evil.example"},
        "host: expected HubSpot's .* got 'api.hubapi.com.evil.example'; the token is sent nowhere else",
    ),
    "token as host": ({"password": TOKEN, "host": TOKEN}, "host: expected HubSpot's .* got something else"),
    "user in host": (
        {"password": TOKEN, "host": f"https://me:{TOKEN}@api.hubapi.com"},
        "host: expected no user or password in it; the token belongs in the field Token",
    ),
    "unreadable host": ({"password": TOKEN, "host": "https://[api"}, "host: .* something that is no URL"),
    "port that is none": ({"password": TOKEN, "port": 99999}, "host: .* something that is no URL"),
    "time-out that is no number": (
        {"password": TOKEN, "extra": {"read_timeout": "soon"}},
        "read_timeout: expected `float`, got `str`",
    ),
    "time-out that is a list": (
        {"password": TOKEN, "extra": {"read_timeout": [1]}},
        "read_timeout: expected `float`, got `array`",
    ),
    "time-out that is a switch": (
        {"password": TOKEN, "extra": {"read_timeout": True}},
        "read_timeout: expected `float`, got `bool`",
    ),
    "time-out below 0": (
        {"password": TOKEN, "extra": {"connect_timeout": -1}},
        "connect_timeout: expected `float` > 0.0 .times are seconds, at most a day",
    ),
    "time-out without end": (
        {"password": TOKEN, "extra": {"connect_timeout": "inf"}},
        "connect_timeout: expected `float` <= 86400.0",
    ),
    "no time at all": (
        {"password": TOKEN, "extra": {"read_timeout": 0}},
        "read_timeout: expected `float` > 0.0",
    ),
    "unknown version": (
        {"password": TOKEN, "extra": {"api_version": "v5"}},
        "api_version: 'v5' is not supported; expected v4, 2026-03, 2026-09 or a later YYYY-MM",
    ),
    "ended version": (
        {"password": TOKEN, "extra": {"api_version": "v3"}},
        "api_version: 'v3' is not supported; expected v4, 2026-03, 2026-09 or a later YYYY-MM",
    ),
    "version as a number": (
        {"password": TOKEN, "extra": {"api_version": 4}},
        "api_version: '4' is not supported",
    ),
    "extra that is no JSON": (
        {"password": TOKEN, "extra": "business_unit_id=7"},
        "expected a JSON object in its extra",
    ),
    "extra that is a list": ({"password": TOKEN, "extra": "[7]"}, "expected a JSON object in its extra"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_connection_that_cannot_work_is_refused_with_what_and_why_and_no_secret(
    connect: Callable[..., None], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    members, expected = WRONG[name]
    connect(**members)
    with pytest.raises(SettingsError, match=f"^connection 'hubprefs_default': .*{expected}") as refused:
        _ = HubPrefsHook().client
    tested, said = HubPrefsHook().test_connection()
    assert (tested, said) == (
        False,
        str(refused.value).replace("connection 'hubprefs_default'", "this connection"),
    )
    for text in (said, caplog.text):
        assert TOKEN not in text
        assert "5ecret" not in text


def test_a_brand_that_is_none_is_found_by_the_connection_test(
    hubspot: Simulator, connect: Callable[..., None]
) -> None:
    connect(host=hubspot.url, password=hubspot.token, extra={"business_unit_id": "main"})
    tested, said = HubPrefsHook().test_connection()
    assert not tested
    assert said.startswith("business_unit_id: expected a brand's whole number")


@pytest.mark.parametrize(
    ("members", "secrets"),
    [
        ({"password": TOKEN}, [TOKEN]),
        ({"extra": json.dumps(OAUTH)}, [OAUTH["client_secret"], OAUTH["refresh_token"]]),
        (
            {"password": TOKEN, "extra": json.dumps(OAUTH)},
            [TOKEN, OAUTH["client_secret"], OAUTH["refresh_token"]],
        ),
        ({"password": f"{TOKEN}\n"}, [f"{TOKEN}\n"]),
        (
            {"password": TOKEN, "extra": json.dumps({"budget_store": "redis://:5ecret%21@127.0.0.1:1/0"})},
            [TOKEN, "5ecret!"],
        ),
        ({"password": TOKEN, "extra": json.dumps({"budget_store": "redis://[:5ecret"})}, [TOKEN]),
    ],
    ids=[
        "token",
        "OAuth",
        "both, which is refused",
        "newline, which is refused",
        "a Redis with a password",
        "no URL, which is refused",
    ],
)
def test_every_secret_is_handed_over_for_masking_before_anything_can_fail(
    members: dict[str, Any], secrets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow masks a password, and extra fields by their names; that this package's are known does not rest on it."""
    from airflow.sdk import Connection

    from airflow_provider_hubprefs.hooks import connection as from_connection

    masked: list[str] = []
    monkeypatch.setattr(from_connection, "mask_secret", masked.append)
    hook = HubPrefsHook()
    hook.connection = Connection(conn_id="any", conn_type="hubprefs", **members)
    with contextlib.suppress(SettingsError):
        hook.client.close()
    assert masked == secrets


def test_a_connection_that_does_not_exist_is_airflow_s_own_error() -> None:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    with pytest.raises(AirflowNotFoundException, match="nowhere"):
        _ = HubPrefsHook("nowhere").client


@pytest.mark.parametrize("extra", [{}, {"db": 3, "ssl": True}])
def test_the_budget_is_in_the_redis_of_a_connection_whose_password_is_masked(
    connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]
) -> None:
    from airflow_provider_hubprefs.hooks import connection as from_connection
    from airflow_provider_hubprefs.hubspot.pacing import store
    from airflow_provider_hubprefs.hubspot.pacing.pacers import Pacer

    pytest.importorskip("redis")
    masked: list[str] = []
    stores: list[str] = []
    make = store._make

    def noted(name: str, key: str) -> Pacer:
        stores.append(name)
        return make(name, key)

    monkeypatch.setattr(store, "_make", noted)
    monkeypatch.setattr(from_connection, "mask_secret", masked.append)
    redis = {
        "conn_type": "redis",
        "host": "127.0.0.1",
        "port": 1,
        "password": "5e/cret",
        "extra": json.dumps(extra),
    }
    monkeypatch.setenv("AIRFLOW_CONN_OUR_REDIS", json.dumps(redis))
    connect(password=f"{TOKEN}-{len(extra)}", extra={"budget_conn_id": "our_redis"})

    async def main() -> None:
        await (await HubPrefsHook().aget_client()).aclose()

    HubPrefsHook().client.close()
    asyncio.run(main())

    expected = "rediss://:5e%2Fcret@127.0.0.1:1/3" if extra else "redis://:5e%2Fcret@127.0.0.1:1/0"
    assert stores == [expected]  # one pacer for both clients
    assert "5e/cret" in masked


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"budget_store": "redis://:5ecret@127.0.0.1:1/0"}, "budget_store: has a password"),
        ({"budget_store": "redis://127.0.0.1:1/0?password=5ecret"}, "budget_store: has a password"),
        ({"budget_store": "file", "budget_conn_id": "no_redis"}, "one of budget_store and budget_conn_id"),
        ({"budget_conn_id": "no_redis"}, "expected a connection of the type redis, got 'http'"),
    ],
)
def test_a_budget_that_cannot_be_kept_safely_is_refused(
    connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], expected: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_NO_REDIS", json.dumps({"conn_type": "http", "host": "127.0.0.1"}))
    connect(password=TOKEN, extra=extra)

    with pytest.raises(SettingsError, match=expected) as refused:
        _ = HubPrefsHook().client
    assert "5ecret" not in str(refused.value)
