"""The simulator against the table of HubSpot's contract: what it serves, and the shape of its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests
from jsonschema import Draft202012Validator, FormatChecker

from airflow_provider_hubprefs.simulator import Simulator

from .table import OPERATIONS, VERSIONS, document, operation_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKETING = 348211900
ADA = "ada+tag@example.com"
WRITE = {"channel": "EMAIL", "statusState": "SUBSCRIBED", "subscriptionId": MARKETING}
LINK = {"subscriberIdString": ADA, "subscriptionId": MARKETING, "language": "en"}
GOOD, MIXED = {"inputs": [ADA]}, {"inputs": [ADA, "no-address"]}
CHANNEL = {"channel": "EMAIL"}
VERBOSE = {**CHANNEL, "verbose": "true"}

# What is asked of each operation: query and body, one per request.
CASES: dict[str, list[tuple[dict[str, str], Any]]] = {
    "GET definitions": [({}, None), ({"includeTranslations": "true"}, None)],
    "POST links/generate": [(CHANNEL, LINK)],
    "GET statuses/{subscriberIdString}": [(CHANNEL, None)],
    "POST statuses/{subscriberIdString}": [({}, WRITE)],
    "GET statuses/{subscriberIdString}/unsubscribe-all": [(CHANNEL, None)],
    "POST statuses/{subscriberIdString}/unsubscribe-all": [(CHANNEL, None), (VERBOSE, None)],
    "POST statuses/batch/read": [(CHANNEL, GOOD), (CHANNEL, MIXED)],
    "POST statuses/batch/write": [({}, {"inputs": [{**WRITE, "subscriberIdString": ADA}]})],
    "POST statuses/batch/unsubscribe-all": [(VERBOSE, MIXED)],
    "POST statuses/batch/unsubscribe-all/read": [(CHANNEL, GOOD), (CHANNEL, MIXED)],
}
each_operation = pytest.mark.parametrize(
    ("version", "name"), [(version, name) for version in VERSIONS for name in OPERATIONS]
)


@pytest.fixture(scope="module")
def hubspot() -> Iterator[Simulator]:
    with Simulator(portal={"limits": {"burst": 10_000}}) as simulator:
        yield simulator


def ask(
    hubspot: Simulator, version: str, name: str, query: dict[str, str], body: Any, *, token: str = "all"
) -> requests.Response:
    method, path = name.split(" ")
    filled = path.replace("{subscriberIdString}", quote(ADA, safe=""))
    return requests.request(
        method,
        f"{hubspot.url}/communication-preferences/{version}/{filled}",
        params=query,
        json=body,
        headers={"Authorization": f"Bearer {hubspot.tokens[token]}"},
        timeout=10,
    )


def check(version: str, declared: dict[str, Any], answer: requests.Response) -> None:
    """Fail unless an answer has the declared type, and a body that fits its schema."""
    content = declared["content"][answer.headers["Content-Type"].partition(";")[0]]
    schema = {**content["schema"], "components": document(version)["components"]}
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    problems = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(answer.json())]
    assert not problems, problems


@each_operation
def test_answers_are_as_declared(hubspot: Simulator, version: str, name: str) -> None:
    hubspot.reset()
    hubspot.portal.set_status(ADA, hubspot.portal.definition(MARKETING), "UNSUBSCRIBED")
    hubspot.portal.unsubscribe_all(ADA, None)  # so that wide statuses have rows
    responses = operation_of(version, name)["responses"]
    seen = set()
    for query, body in CASES[name]:
        answer = ask(hubspot, version, name, query, body)
        seen.add(str(answer.status_code))
        check(version, responses[str(answer.status_code)], answer)
    assert seen == set(responses) - {"default"}


@each_operation
@pytest.mark.parametrize("what", ["burst", "unauthorized", "forbidden", "invalid", "status"])
def test_errors_are_as_declared(hubspot: Simulator, version: str, name: str, what: str) -> None:
    hubspot.reset()
    hubspot.load({"tokens": {"none": {"scopes": []}}})
    if what in ("burst", "status"):
        hubspot.fault(what)
    token = {"unauthorized": "expired", "forbidden": "none"}.get(what, "all")
    answer = ask(hubspot, version, name, {"businessUnitId": "x", "channel": "SMS"}, {}, token=token)
    assert not answer.ok
    if what == "burst":
        assert "errorType" in answer.json()  # where the table requires category: HubSpot's 429s differ
        return
    check(version, operation_of(version, name)["responses"]["default"], answer)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_operation_is_served_and_nothing_else(hubspot: Simulator, version: str) -> None:
    hubspot.reset()
    paths = {name.split(" ")[1] for name in OPERATIONS} | {"resubscribe", "subscribe", "statuses"}
    served = set()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        for path in paths:
            ask(hubspot, version, f"{method} {path}", {}, None)
            if hubspot.requests[-1].endpoint:
                served.add(f"{method} {path}")
    assert served == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_version_answers_the_same(hubspot: Simulator, name: str) -> None:
    answers = []
    for version in VERSIONS:
        hubspot.load({})
        made = [ask(hubspot, version, name, query, body) for query, body in CASES[name]]
        answers.append([(each.status_code, shape(each.json())) for each in made])
    assert all(each == answers[0] for each in answers)


def shape(value: Any) -> Any:
    """Return a body with its values replaced by their kinds."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return [shape(each) for each in value] if isinstance(value, list) else type(value).__name__
