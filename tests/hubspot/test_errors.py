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
from airflow_provider_hubprefs.hubspot.errors import HubSpotError, MissingScopesError

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


def test_an_oauth_error_says_what_hubspot_describes() -> None:
    assert "bad token" in str(said(400, {"error": "invalid_grant", "error_description": "bad token"}))


def test_the_ray_of_cloudflare_stands_in_for_a_correlation_id() -> None:
    assert said(502, {}, **{"cf-ray": "8f-FRA"}).correlation_id == "8f-FRA"
