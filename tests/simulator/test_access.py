"""Who may ask what and how often: routes, tokens, scopes, OAuth, and limits."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
import requests

from .conftest import MARKETING, Api

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator

    from .conftest import Simulate

VERSIONS = ["v4", "2026-03", "2026-09", "2027-03", "2031-09"]
NOW = 1_800_000_000.0


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_has_definitions(hubspot: Simulator, version: str) -> None:
    assert Api(hubspot, version).get("definitions").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/communication-preferences/v3/definitions",
        "/communication-preferences/2025-09/definitions",
        "/communication-preferences/2026-06/definitions",
        "/communication-preferences/{version}/definitions",
        "/communication-preferences/2026-09/definitions/",
        "/communication-preferences/2026-09/statuses//unsubscribe-all",
        "/communication-preferences/2026-09/statuses/batch/unsubscribe-all",
        "/_simulator",
    ],
)
def test_another_path_is_a_404_in_hubspots_shape(hubspot: Simulator, path: str) -> None:
    answer = requests.get(hubspot.url + path, timeout=10)
    assert answer.status_code == 404
    assert answer.json()["status"] == "error"
    assert answer.json()["correlationId"] == answer.headers["X-HubSpot-Correlation-Id"]


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer wrong", "Basic {token}"])
def test_no_or_a_wrong_token_is_a_401(hubspot: Simulator, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.format(token=hubspot.token)}
    answer = requests.get(
        f"{hubspot.url}/communication-preferences/v4/definitions", headers=headers, timeout=10
    )
    assert answer.status_code == 401
    assert answer.json()["category"] == "INVALID_AUTHENTICATION"
    assert answer.headers["x-hubspot-auth-failure"] == "401 Unauthorized"


def test_an_expired_token_is_a_401_that_says_since_when(hubspot: Simulator) -> None:
    answer = Api(hubspot, token=hubspot.tokens["expired"]).get("definitions")
    assert (answer.status_code, answer.json()["category"]) == (401, "EXPIRED_AUTHENTICATION")
    assert answer.json()["context"]["expire time"][0].endswith("Z")


def test_missing_scopes_are_a_403_that_names_them(hubspot: Simulator) -> None:
    answer = Api(hubspot, token=hubspot.tokens["starter"]).batch("read", ["a@b.example"])
    assert answer.status_code == 403
    body = answer.json()
    assert body["category"] == "MISSING_SCOPES"
    assert body["errors"][0]["context"]["requiredGranularScopes"] == [
        "communication_preferences.statuses.batch.read"
    ]
    read_only = Api(hubspot, token=hubspot.tokens["read_only"])
    assert read_only.get("definitions").status_code == 200
    assert read_only.opt_out("a@b.example").status_code == 403
    assert read_only.post("links/generate", {}, channel="EMAIL").status_code == 403


def test_a_token_can_be_asked_about(hubspot: Simulator) -> None:
    def ask(body: Any) -> requests.Response:
        url = f"{hubspot.url}/oauth/v2/private-apps/get/access-token-info"
        return requests.post(url, json=body, timeout=10)

    info = ask({"tokenKey": hubspot.tokens["read_only"]}).json()
    assert set(info) == {"userId", "hubId", "appId", "scopes"}
    assert info["scopes"] == ["communication_preferences.read"]
    assert ask({"tokenKey": "unknown"}).status_code == 404
    assert ask({}).status_code == ask([]).status_code == 400


class TestOAuth:
    @staticmethod
    def ask(hubspot: Simulator, version: str = "2026-09", **form: str) -> requests.Response:
        wanted = {
            "grant_type": "refresh_token",
            "client_id": "simulated-client",
            "client_secret": "simulated-secret",
            "refresh_token": "simulated-refresh-token",
            **form,
        }
        return requests.post(f"{hubspot.url}/oauth/{version}/token", data=wanted, timeout=10)

    @pytest.mark.parametrize("version", ["2026-03", "2027-09"])
    def test_a_refresh_token_gives_an_access_token(self, hubspot: Simulator, version: str) -> None:
        answer = self.ask(hubspot, version).json()
        assert (answer["token_type"], answer["expires_in"]) == ("bearer", 1800)
        assert answer["refresh_token"] == "simulated-refresh-token"
        assert answer["hub_id"] == hubspot.portal.settings.portal_id
        headers = Api(hubspot, token=answer["access_token"]).get("definitions").headers
        assert "X-HubSpot-RateLimit-Max" in headers
        assert "X-HubSpot-RateLimit-Daily" not in headers

    def test_an_access_token_expires(self, simulate: Simulate) -> None:
        hubspot = simulate(portal={"oauth": {"expires_in": 60}}, clock=lambda: NOW)
        api = Api(hubspot, token=self.ask(hubspot).json()["access_token"])
        hubspot.advance(59)
        assert api.get("definitions").status_code == 200
        hubspot.advance(3)
        answer = api.get("definitions")
        assert answer.status_code == 401
        assert "expired 2 second(s) ago" in answer.json()["message"]

    def test_refresh_tokens_can_rotate(self, simulate: Simulate) -> None:
        hubspot = simulate(portal={"oauth": {"rotate": True}})
        new = self.ask(hubspot).json()["refresh_token"]
        assert self.ask(hubspot).json()["status"] == "BAD_REFRESH_TOKEN"
        assert self.ask(hubspot, refresh_token=new).status_code == 200

    @pytest.mark.parametrize(
        ("form", "status", "error"),
        [
            ({"refresh_token": "x"}, "BAD_REFRESH_TOKEN", "invalid_grant"),
            ({"client_id": "x", "refresh_token": "x"}, "BAD_CLIENT_ID", "invalid_request"),
            ({"client_secret": "x", "refresh_token": "x"}, "BAD_CLIENT_SECRET", "invalid_request"),
            ({"grant_type": "password"}, "BAD_GRANT_TYPE", "unsupported_grant_type"),
        ],
    )
    def test_refusals(self, hubspot: Simulator, form: dict[str, str], status: str, error: str) -> None:
        answer = self.ask(hubspot, **form)
        assert answer.status_code == 400
        assert (answer.json()["status"], answer.json()["error"]) == (status, error)


class TestLimits:
    def test_the_headers_count_down(self, hubspot: Simulator) -> None:
        api = Api(hubspot)
        headers = [api.get("definitions").headers for _ in range(3)]
        assert [each["X-HubSpot-RateLimit-Remaining"] for each in headers] == ["189", "188", "187"]
        assert headers[-1]["X-HubSpot-RateLimit-Interval-Milliseconds"] == "10000"
        assert headers[-1]["X-HubSpot-RateLimit-Daily-Remaining"] == "999997"
        assert headers[-1]["Content-Type"] == "application/json;charset=utf-8"
        uuid.UUID(headers[-1]["X-HubSpot-Correlation-Id"])

    def test_the_burst_window_rolls(self, simulate: Simulate) -> None:
        hubspot = simulate(portal={"limits": {"burst": 3}}, clock=lambda: NOW)
        api = Api(hubspot)
        for _ in range(3):
            assert api.get("definitions").status_code == 200
            hubspot.advance(2)
        refused = api.opt_out("ada@example.com")
        assert refused.status_code == 429
        assert refused.json()["policyName"] == "TEN_SECONDLY_ROLLING"
        assert refused.json()["errorType"] == "RATE_LIMIT"
        assert "category" not in refused.json()
        assert "Retry-After" not in refused.headers
        assert not hubspot.is_opted_out("ada@example.com")
        hubspot.advance(4.5)  # the first of the three is more than ten seconds old now, the second is not
        assert [api.get("definitions").status_code for _ in range(2)] == [200, 429]
        assert hubspot.stats["limits"]["apps"]["all"] == {"violations": 2, "highest_in_window": 5}

    def test_refused_requests_count_where_configured(self, simulate: Simulate) -> None:
        limits = {"burst": 1, "count_refused": True}
        hubspot = simulate(portal={"limits": limits}, clock=lambda: NOW)
        api = Api(hubspot)
        assert api.get("definitions").status_code == 200
        for _ in range(3):
            hubspot.advance(9)
            assert api.get("definitions").status_code == 429

    def test_each_app_has_its_own_burst_and_all_share_the_day(self, simulate: Simulate) -> None:
        hubspot = simulate(
            portal={
                "tokens": {"other": {"burst": 5}},
                "limits": {"burst": 2, "daily": 4},
            }
        )
        first, other = Api(hubspot), Api(hubspot, token=hubspot.tokens["other"])
        assert [first.get("definitions").status_code for _ in range(3)] == [200, 200, 429]
        assert [other.get("definitions").status_code for _ in range(3)] == [200, 200, 429]
        answer = other.get("definitions").json()
        assert (answer["policyName"], answer["errorType"]) == ("DAILY", "RATE_LIMIT")

    def test_the_day_ends_at_midnight_where_the_account_is(self, simulate: Simulate) -> None:
        # 2027-01-15 08:00 UTC is 03:00 in New York: 21 hours are left.
        hubspot = simulate(portal={"limits": {"daily": 1}}, clock=lambda: NOW)
        api = Api(hubspot)
        assert [api.get("definitions").status_code for _ in range(2)] == [200, 429]
        hubspot.advance(20.9 * 3600)
        assert api.get("definitions").status_code == 429
        hubspot.advance(0.2 * 3600)
        assert api.get("definitions").status_code == 200


def test_the_same_seed_gives_the_same_tokens(simulate: Simulate) -> None:
    first, second = simulate(), simulate()
    assert first.tokens == second.tokens
    assert first.token.startswith("pat-na1-")


def test_writes_of_two_apps_meet_in_one_portal(hubspot: Simulator) -> None:
    Api(hubspot, "2026-03").set("ada@example.com", "SUBSCRIBED")
    Api(hubspot, "v4", hubspot.tokens["starter"]).set("ada@example.com", "UNSUBSCRIBED")
    assert hubspot.status_of("ada@example.com", MARKETING) == "UNSUBSCRIBED"
