"""Versions, addresses in paths, hosts."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.hubspot.api.calls import Calls
from airflow_provider_hubprefs.hubspot.api.endpoints import (
    DEFAULT_VERSION,
    ENDPOINTS,
    VERSIONS,
    UnknownVersionWarning,
    check_version,
    path_of,
    query_of,
)
from airflow_provider_hubprefs.hubspot.errors import SettingsError, ValidationError
from airflow_provider_hubprefs.hubspot.transport.host import base_url, is_loopback

from . import server as answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.hubspot.transport.client import Client

    from .server import Server


def sent_path(subscriber: str) -> str:
    return path_of(ENDPOINTS["get_statuses"], version=DEFAULT_VERSION, subscriber=subscriber)


def test_a_version_of_the_future_warns_and_is_spoken_to_as_the_newest_known() -> None:
    with pytest.warns(UnknownVersionWarning, match="2027-03"):
        call = Calls("2027-03").get_unsubscribe_all("jane@example.com")

    assert call.path.startswith("/communication-preferences/2027-03/statuses/")
    assert call.endpoint is ENDPOINTS["get_unsubscribe_all"]


def test_the_warning_points_at_the_line_that_chose_the_version() -> None:
    with pytest.warns(UnknownVersionWarning) as caught:
        Calls("2027-03")

    assert caught[0].filename == __file__


@pytest.mark.parametrize("version", VERSIONS)
def test_known_versions_do_not_warn(version: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_version(version)


@pytest.mark.parametrize(
    "version",
    [
        "v1",
        "v2",
        "v3",
        "v5",
        "2025-09",
        "2026-06",
        "2027-01",
        "V4",
        "4",
        "",
        "2026-13",
        "2026-00",
        "2026-9",
        "26-09",
        "2026-09/..",
        " 2026-09",
        "\uff12\uff10\uff12\uff17-03",
        None,
        4,
    ],
)
def test_a_version_that_has_ended_or_cannot_exist_is_refused_with_those_that_are_supported(
    version: str,
) -> None:
    with pytest.raises(
        SettingsError, match="is not supported; expected v4, 2026-03, 2026-09 or a later YYYY-MM"
    ):
        check_version(version)


@pytest.mark.parametrize(
    ("subscriber", "segment"),
    [
        ("jane+news@example.com", "jane%2Bnews%40example.com"),
        ("a/b@example.com", "a%2Fb%40example.com"),
        ("a?b@example.com", "a%3Fb%40example.com"),
        ("a#b@example.com", "a%23b%40example.com"),
        ("a%b@example.com", "a%25b%40example.com"),
        ("a%40b@example.com", "a%2540b%40example.com"),
        ('"a@b"@example.com', "%22a%40b%22%40example.com"),
        ("a;b&c=d:e@example.com", "a%3Bb%26c%3Dd%3Ae%40example.com"),
        ("zoë@exämple.com", "zo%C3%AB%40ex%C3%A4mple.com"),
        ("用户@例子.广告", "%E7%94%A8%E6%88%B7%40%E4%BE%8B%E5%AD%90.%E5%B9%BF%E5%91%8A"),
        ("../x@y.z", "..%2Fx%40y.z"),
        ("..@y", "..%40y"),
        ("..\\x@y.z", "..%5Cx%40y.z"),
        ("a\r\nHost: b@y.z", "a%0D%0AHost%3A%20b%40y.z"),
        ("~a-b_c.d@y.z", "~a-b_c.d%40y.z"),
    ],
)
def test_an_address_is_percent_encoded_to_the_last_character_on_the_wire(
    subscriber: str, segment: str, server: Server, client_of: Callable[..., Client]
) -> None:
    server.script.append(answers.json(200, {"status": "COMPLETE"}))
    client = client_of(server)

    client.send(client.calls.get_statuses(subscriber))

    assert server.lines == [f"GET /communication-preferences/2026-09/statuses/{segment}?channel=EMAIL"]


anything = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text == text.strip()
)


domains = anything.filter(lambda text: "@" not in text)


@given(anything, domains)
def test_no_address_leaves_its_path_segment(local: str, domain: str) -> None:
    subscriber = f"{local}@{domain}"

    *before, segment = sent_path(subscriber).split("/")

    assert before == ["", "communication-preferences", DEFAULT_VERSION, "statuses"]
    assert re.fullmatch(r"[A-Za-z0-9._~-]+|([A-Za-z0-9._~-]|%[0-9A-F]{2})+", segment)
    assert segment not in {".", ".."}
    assert unquote(segment) == subscriber


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(local=anything, domain=domains)
def test_the_server_gets_the_address_that_was_meant(
    local: str, domain: str, server: Server, client_of: Callable[..., Client]
) -> None:
    server.requests.clear()
    server.script[:] = [answers.json(200, {"status": "COMPLETE"})]
    client = client_of(server)

    client.send(client.calls.get_unsubscribe_all(f"{local}@{domain}"))

    path, _, query = server.requests[0].target.partition("?")
    assert unquote(path.split("/")[4]) == f"{local}@{domain}"
    assert path.split("/")[5:] == ["unsubscribe-all"]
    assert query == "channel=EMAIL&verbose=true"


@pytest.mark.parametrize(
    "subscriber", ["", "@", "a@", "@b", "jane", " a@b.c", "a@b.c\n", None, 7, b"a@b.c", "\ud800@b"]
)
def test_what_cannot_be_an_address_is_refused_without_being_shown(subscriber: str) -> None:
    with pytest.raises(ValidationError, match="subscriber: expected") as caught:
        sent_path(subscriber)

    assert "a@b.c" not in str(caught.value)


def test_a_query_has_what_is_set() -> None:
    assert query_of({"channel": "EMAIL", "businessUnitId": 0, "verbose": True}) == (
        "?channel=EMAIL&businessUnitId=0&verbose=true"
    )
    assert query_of({"channel": "E&F", "businessUnitId": None}) == "?channel=E%26F"
    assert query_of({"businessUnitId": None}) == ""


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (None, "https://api.hubapi.com"),
        ("", "https://api.hubapi.com"),
        ("api.hubapi.com", "https://api.hubapi.com"),
        (" https://API.HubAPI.com/ ", "https://api.hubapi.com"),
        ("api-eu1.hubapi.com:443", "https://api-eu1.hubapi.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.1.2.3", "http://127.1.2.3"),
        ("https://localhost:8443", "https://localhost:8443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_hubspot_is_spoken_to_by_https_and_loopback_also_by_http(host: str | None, url: str) -> None:
    assert base_url(host) == url


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("https://api.hubapi.com/crm/v3", "no path"),
        ("api.hubapi.com?x=1", "no path"),
        ("api.hubapi.com#x", "no path"),
        ("http://api.hubapi.com", "expected https"),
        ("ftp://api.hubapi.com", "expected https"),
        ("ftp://localhost", "expected https"),
        ("https://user:secret@api.hubapi.com", "no user or password"),
        ("https://user@api.hubapi.com", "no user or password"),
        ("example.com", "example.com"),
        ("hubapi.com.example.com", "nowhere else"),
        ("evilhubapi.com", "nowhere else"),
        ("api.hubapi.com.", "nowhere else"),
        ("https://evil.example\\.hubapi.com", "nowhere else"),
        ("https://evil.example\\@api.hubapi.com", "no user or password"),
        ("https://evil.example%2f.hubapi.com", "nowhere else"),
        ("https://evil.example;.hubapi.com", "nowhere else"),
        ("https://evil.example .hubapi.com", "nowhere else"),
        ("https://\u0430pi.hubapi.com", "nowhere else"),
        ("http://127.0.0.1.example.com", "nowhere else"),
        ("http://127.0.0.999", "nowhere else"),
        ("http://0.0.0.0", "nowhere else"),
        ("http://[::2]", "nowhere else"),
        ("http://[::1", "no URL"),
        ("api.hubapi.com:port", "no URL"),
        ("https://", "nowhere else"),
    ],
)
def test_the_token_is_sent_nowhere_else(host: str, says: str) -> None:
    with pytest.raises(SettingsError, match="host: ") as caught:
        base_url(host)

    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_token_pasted_into_the_host_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        base_url("pat-na1-1234")

    assert "pat-na1" not in str(caught.value)


def test_loopback_is_distinguished_from_hubspot() -> None:
    assert is_loopback(base_url("http://[::1]:1"))
    assert is_loopback(base_url("http://localhost:1"))
    assert not is_loopback(base_url(None))
