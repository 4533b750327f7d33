"""What errors carry beyond what the scenario table shows."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hubprefs.hubspot import errors
from airflow_provider_hubprefs.hubspot.api.endpoints import ENDPOINTS, Endpoint
from airflow_provider_hubprefs.hubspot.api.models import Reply
from airflow_provider_hubprefs.hubspot.api.refusals import error_from
from airflow_provider_hubprefs.hubspot.errors import (
    ForeignAnswerError,
    HubSpotError,
    MissingScopesError,
    NotFoundError,
    SettingsError,
    ValidationError,
)

GET = ENDPOINTS["get_statuses"]
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HubSpotError)]


def said(status: int, body: object, **headers: str) -> HubSpotError:
    return error_from(Reply(status, headers, json.dumps(body).encode()), GET, call="get_statuses")


@given(status=st.integers(100, 999).filter(lambda status: not 200 <= status < 300), body=st.binary())
def test_every_status_and_body_is_an_error_that_names_the_status(status: int, body: bytes) -> None:
    error = error_from(Reply(status, {}, body), GET, call="get_statuses")

    assert f"HubSpot answered {status}" in str(error)
    assert error.status == status


@pytest.mark.parametrize("kind", KINDS)
def test_errors_survive_being_pickled_and_copied(kind: type[HubSpotError]) -> None:
    error = kind("text", status=400, category="X", retry_after=3.0, retryable=True)

    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert str(again) == "text"
        assert vars(again) == vars(error)


def test_every_error_says_of_itself_whether_a_human_is_needed() -> None:
    assert {kind.__name__ for kind in KINDS if kind.permanent} == {
        "SettingsError",
        "AuthenticationError",
        "MissingScopesError",
        "ValidationError",
        "NotFoundError",
    }


def test_hubspots_words_are_on_one_line_and_not_endless() -> None:
    error = said(400, {"message": "a\r\nb\tc " + "x" * 5000, "category": "VALIDATION\nERROR"})

    assert "\n" not in str(error)
    assert "a b c xxx" in str(error)
    assert len(str(error)) < 1000
    assert error.category == "VALIDATION ERROR"


def test_an_address_cut_off_by_the_length_of_a_message_is_masked_all_the_same() -> None:
    error = said(400, {"message": "x" * 490 + " jane.doe@example.com"})

    assert "jane" not in str(error)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_error_of_every_endpoint_names_the_scopes_it_needs(name: str) -> None:
    error = error_from(Reply(403, {}, b'{"category":"MISSING_SCOPES"}'), ENDPOINTS[name], call="get_statuses")

    assert isinstance(error, MissingScopesError)
    assert error.scopes
    assert all(scope in str(error) for scope in error.scopes)
    assert ("Enterprise" in str(error)) == ("batch" in name)


def test_an_error_about_unknown_scopes_still_says_something() -> None:
    other = Endpoint(name="token_info", method="POST", path="/oauth/x")
    error = error_from(Reply(403, {}, b'{"category":"MISSING_SCOPES"}'), other, call="token_info")

    assert "the scopes this call needs" in str(error)


@pytest.mark.parametrize(
    "said",
    [
        {"error": "invalid_grant", "error_description": "bad token"},
        {"status": "BAD_CLIENT_ID", "message": "bad token"},
    ],
)
def test_an_oauth_error_says_what_hubspot_describes(said: object) -> None:
    body = json.dumps(said).encode()
    endpoint = Endpoint(name="refresh_token", method="POST", path="/oauth/2026-09/token", paced=False)

    error = error_from(Reply(400, {}, body), endpoint, call="refresh_token")

    assert isinstance(error, ValidationError)
    assert "bad token" in str(error)


def test_the_ray_of_cloudflare_stands_in_for_a_correlation_id() -> None:
    assert said(502, {}, **{"cf-ray": "8f-FRA"}).correlation_id == "8f-FRA"


HTML = b"<html><title>Blocked</title></html>"
NOT_HUBSPOTS = {
    "HTML": (HTML, "text/html"),
    "empty": (b"", ""),
    "a gateway's JSON": (b'{"message": "Forbidden"}', "application/json"),
    "a gateway's JSON with a word": (b'{"status": "FORBIDDEN", "message": "no"}', "application/json"),
    "a filter's JSON": (b'{"status": 403, "category": "gambling", "error": "blocked"}', "application/json"),
    "a login's JSON": (b'{"error": "invalid_token", "error_description": "no session"}', "application/json"),
    "JSON, but no object": (b'["Forbidden"]', "application/json"),
    "text": (b"Forbidden", "text/plain"),
}


@pytest.mark.parametrize(("body", "content_type"), NOT_HUBSPOTS.values(), ids=NOT_HUBSPOTS)
def test_a_4xx_without_hubspots_error_body_is_nobodys_verdict(body: bytes, content_type: str) -> None:
    for status in {*range(400, 500)} - {401, 423, 429, 477}:
        for endpoint in ENDPOINTS.values():
            error = error_from(Reply(status, {"content-type": content_type}, body), endpoint, call="x")

            assert type(error) is ForeignAnswerError
            assert not error.permanent
            assert error.retryable or status not in {403, 404, 408, 421, 425, 451}
            assert str(error).startswith(f"A proxy or firewall before HubSpot answered {status}")
            assert content_type in str(error)
            assert "token" not in str(error)
            assert body == b"" or f"{len(body)} bytes" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        {"category": "FORBIDDEN"},
        {"correlationId": "c-1"},
        {"status": "error", "message": "No."},
        {"errorType": "RATE_LIMIT"},
    ],
)
def test_any_part_of_hubspots_error_body_makes_it_hubspots(body: object) -> None:
    assert isinstance(said(400, body), ValidationError)


@pytest.mark.parametrize(
    "message",
    [
        "Unable to find GET /communication-preferences/2027-03/statuses/jane%40example.com",
        "No such route",
        "The requested URL was not found",
        "Business unit 99 does not exist",
    ],
)
def test_a_404_about_the_path_is_not_about_the_subscriber(message: str) -> None:
    error = said(404, {"category": "OBJECT_NOT_FOUND", "message": message})

    assert isinstance(error, SettingsError)
    assert "api_version" in str(error)
    assert "jane" not in str(error)


def test_a_404_in_a_version_hubspot_may_not_have_yet_says_so_first() -> None:
    body = {"status": "error", "message": "Unable to find GET /communication-preferences/2027-03/definitions"}
    reply = Reply(404, {}, json.dumps(body).encode())
    text = str(error_from(reply, ENDPOINTS["get_definitions"], call="get_definitions", version="2027-03"))
    assert text.startswith(
        "HubSpot answered 404 to get_definitions: no API 2027-03 yet? Newest known: 2026-09"
    )
    text = str(error_from(reply, ENDPOINTS["get_definitions"], call="get_definitions", version="2026-09"))
    assert "yet" not in text


def test_a_404_about_the_subscriber_is_so_whatever_the_address() -> None:
    message = (
        "jane/path@example.com either has no subscriptions associated with this portal or does not exist"
    )

    assert isinstance(said(404, {"category": "OBJECT_NOT_FOUND", "message": message}), NotFoundError)
    for odd in ({"category": "NOT_FOUND"}, {"correlationId": "c-1", "message": "resource not found"}):
        assert isinstance(said(404, odd), SettingsError)
    definitions = error_from(
        Reply(404, {}, b'{"category":"OBJECT_NOT_FOUND"}'), ENDPOINTS["get_definitions"], call="x"
    )
    assert isinstance(definitions, SettingsError)
