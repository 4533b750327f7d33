"""The simulator's own endpoint, its use in a process, and its command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import requests

from airflow_provider_hubprefs.simulator import Simulator

from .conftest import MARKETING, Api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Simulate

COMMAND = [sys.executable, "-m", "airflow_provider_hubprefs.simulator"]


class Control:
    def __init__(self, url: str) -> None:
        self.url = f"{url}/_simulator"

    def get(self, path: str) -> Any:
        return requests.get(f"{self.url}/{path}", timeout=10).json()

    def post(self, path: str, body: Any = None) -> requests.Response:
        return requests.post(f"{self.url}/{path}", json=body, timeout=10)


@pytest.fixture
def control(hubspot: Simulator) -> Control:
    return Control(hubspot.url)


def test_every_request_is_shown_without_its_token(control: Control, hubspot: Simulator, api: Api) -> None:
    api.batch("unsubscribe-all", ["a%2B@example.com"], verbose="true")
    api.get("statuses/a%2Bb@example.com", channel="EMAIL")
    shown = control.get("requests?endpoint=batch_unsubscribe_all")
    assert shown["total"] == 2
    (request,) = shown["requests"]
    assert (request["method"], request["status"], request["version"]) == ("POST", 200, "2026-09")
    assert request["query"] == "channel=EMAIL&verbose=true"
    assert request["headers"]["authorization"] == request["token"] == "all"
    assert hubspot.token not in json.dumps(control.get("requests"))
    assert hubspot.requests[0].json() == {"inputs": ["a%2B@example.com"]}
    assert hubspot.requests[1].path.endswith("/statuses/a%2Bb@example.com")


def test_what_is_remembered_of_requests_is_bounded(simulate: Simulate) -> None:
    hubspot = simulate(record=3)
    api = Api(hubspot)
    for _ in range(5):
        api.get("definitions")
    assert len(hubspot.requests) == 3
    assert hubspot.stats["requests"] == 5


def test_a_reset_begins_anew(control: Control, hubspot: Simulator, api: Api) -> None:
    api.opt_out("ada@example.com")
    hubspot.fault("status")
    token = hubspot.token
    assert control.post("reset").json()["requests"] == 0
    assert control.get("subscribers")["subscribers"] == 0
    assert hubspot.requests == []
    assert hubspot.token == token
    assert api.get("definitions").headers["X-HubSpot-RateLimit-Remaining"] == "189"


def test_a_portal_is_loaded(hubspot: Simulator) -> None:
    hubspot.load(
        {
            "portal_id": 77,
            "tokens": {"mine": {"value": "pat-eu1-mine", "scopes": ["communication_preferences.read"]}},
            "subscribers": {
                "Ada@example.com": {"statuses": {str(MARKETING): "SUBSCRIBED"}},
                "bob@example.com": {"opted_out": True},
            },
        }
    )
    assert hubspot.portal.settings.portal_id == 77
    assert hubspot.portal.counts() == {"subscribers": 2, "opted_out": 1}
    row, *_ = Api(hubspot, token="pat-eu1-mine").statuses("ADA@example.com").json()["results"]
    assert (row["status"], row["subscriptionId"]) == ("SUBSCRIBED", MARKETING)
    assert hubspot.is_opted_out("bob@example.com")


def test_faults_are_added_shown_and_forgotten(control: Control, api: Api) -> None:
    rule = {"match": {"endpoint": "definitions"}, "times": None, "fault": {"kind": "status", "status": 503}}
    control.post("faults", rule)
    assert api.get("definitions").status_code == 503
    assert [each["used"] for each in control.post("faults", rule).json()] == [1, 0]
    requests.delete(f"{control.url}/faults", timeout=10)
    assert api.get("definitions").status_code == 200


def test_counts_are_shown(control: Control, api: Api) -> None:
    api.get("definitions")
    api.get("nothing")
    stats = control.get("stats")
    assert stats["answers"] == {"definitions": {"200": 1}, "unknown": {"404": 1}}
    assert stats["limits"]["apps"]["all"]["highest_in_window"] == 1


@pytest.mark.parametrize("body", [{"fault": {"kind": "explode"}}, 3], ids=["unknown kind", "no rule"])
def test_a_rule_that_cannot_be_used_is_a_400_that_says_why(control: Control, body: Any) -> None:
    answer = control.post("faults", body)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("portal", "said"),
    [
        ({"colour": 1}, "colour"),
        ({"batch_maximum": "10"}, "batch_maximum"),
        ({"limits": {"burts": 1}}, "burts"),
        ({"tokens": {"t": {"kind": "magic"}}}, "magic"),
        ({"subscribers": {"a@b.example": {"statuses": {str(MARKETING): "ON"}}}}, "'ON'.*statuses"),
        ({"operations": {"seconds": "long"}}, "operations.seconds"),
    ],
)
def test_a_portal_that_cannot_be_loaded_says_why(portal: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        Simulator(portal=portal)


def test_a_simulator_runs_once_at_a_time() -> None:
    hubspot = Simulator()
    with pytest.raises(RuntimeError, match="not running"):
        _ = hubspot.url
    with hubspot, pytest.raises(RuntimeError, match="already"):
        hubspot.start()
    hubspot.stop()


def test_it_stands_alone() -> None:
    code = (
        "import sys, airflow_provider_hubprefs.simulator as s; "
        "assert 'airflow' not in sys.modules; "
        "assert not [m for m in sys.modules if m.startswith('airflow_provider_hubprefs.hubspot')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_the_extra_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['uvicorn'] = None\n"
    use = code + "from airflow_provider_hubprefs.simulator import Simulator"
    ended = subprocess.run(
        [sys.executable, "-c", use], capture_output=True, text=True, timeout=60, check=False
    )
    assert "pip install 'airflow-provider-hubprefs[simulator]'" in ended.stderr


class TestCommand:
    @pytest.fixture
    def started(self, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
        portal = tmp_path / "portal.json"
        portal.write_text(json.dumps({"limits": {"interval_ms": 5000}, "operations": {"seconds": 60}}))
        options = ["--port", "0", "--portal", str(portal), "--burst-limit", "7", "--seed", "3"]
        with subprocess.Popen(
            [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
            process.kill()

    @pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
    def test_it_prints_one_line_serves_and_ends_quietly(
        self, started: tuple[subprocess.Popen[str], dict[str, Any]], ending: signal.Signals
    ) -> None:
        process, ready = started
        assert set(ready) == {"url", "token", "subscription_ids"}
        headers = {"Authorization": f"Bearer {ready['token']}"}
        url = f"{ready['url']}/communication-preferences/2026-09"
        answer = requests.get(f"{url}/definitions", headers=headers, timeout=10)
        assert answer.headers["X-HubSpot-RateLimit-Max"] == "7"
        assert answer.headers["X-HubSpot-RateLimit-Interval-Milliseconds"] == "5000"
        listed = [int(each["id"]) for each in answer.json()["results"] if each["isActive"]]
        assert listed == ready["subscription_ids"]
        pending = requests.post(
            f"{url}/statuses/a@b.example/unsubscribe-all?channel=EMAIL", headers=headers, timeout=10
        )
        assert pending.json()["status"] == "PENDING"
        process.send_signal(ending)
        output, errors = process.communicate(timeout=20)
        assert (process.returncode, output, errors) == (0, "", "")

    @pytest.mark.parametrize(
        "options",
        [
            ["--portal", "/no/such/file.json"],
            ["--portal", __file__],
            ["--port", "99999999"],
            ["--host", "no-such-host.invalid"],
        ],
    )
    def test_it_says_why_it_cannot_start(self, options: list[str]) -> None:
        ended = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert "hubspot simulator:" in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_it_explains_itself(self) -> None:
        ended = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=60, check=True)
        assert "--latency-ms" in ended.stdout


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:80", "Origin": "http://evil.example:80"}, 403),
        ({"Origin": "https://evil.example", "Content-Type": "text/plain"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:8080"}, 200),
        ({"Host": "[::1]:8080"}, 200),
        ({"Host": "192.168.0.7"}, 200),
    ],
)
def test_no_web_page_can_use_the_control_endpoint(
    control: Control, headers: dict[str, str], status: int
) -> None:
    for method, path in (("POST", "reset"), ("POST", "faults"), ("DELETE", "faults"), ("GET", "requests")):
        rule = {"fault": {"kind": "empty"}}
        answer = requests.request(method, f"{control.url}/{path}", json=rule, headers=headers, timeout=10)
        assert answer.status_code == status


def test_no_secret_of_a_body_is_shown(control: Control, hubspot: Simulator) -> None:
    secrets = {"client_secret": "MY-SECRET", "refresh_token": "MY-REFRESH", "grant_type": "refresh_token"}
    requests.post(f"{hubspot.url}/oauth/2026-09/token", data=secrets, timeout=10)
    path = "oauth/v2/private-apps/get/access-token-info"
    requests.post(f"{hubspot.url}/{path}", json={"tokenKey": "MY-PAT"}, timeout=10)

    shown = json.dumps(control.get("requests"))

    assert "grant_type=refresh_token" in shown
    assert "MY-" not in shown


def test_a_reset_puts_the_clock_back(hubspot: Simulator) -> None:
    before = hubspot.state.clock.now()
    hubspot.advance(3600)
    hubspot.reset()
    assert hubspot.state.clock.now() - before < 60


@pytest.mark.parametrize(
    "portal",
    [
        {"limits": {"interval_ms": 0}},
        {"limits": {"burst": 0}},
        {"rejected": {"x@example.com": "no"}},
        {"missing": {"share": "x"}},
        {"operations": {"outcomes": {"a@example.com": 5}}},
        {"tokens": {"a": {"scopes": 5}}},
        {"subscribers": {"a@example.com": {"statuses": [1]}}},
    ],
)
def test_a_portal_that_cannot_work_is_refused(hubspot: Simulator, portal: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        hubspot.load(portal)


@pytest.mark.parametrize(
    "rule", [{"fault": {"kind": "latency", "ms": "x"}}, {"match": {"nth": "x"}, "fault": {"kind": "empty"}}]
)
def test_what_cannot_work_is_a_400(control: Control, rule: dict[str, Any]) -> None:
    assert control.post("faults", rule).status_code == 400
    assert requests.get(f"{control.url}/requests?limit=\u00b2", timeout=10).status_code == 400
