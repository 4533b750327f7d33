"""The simulator against HubSpot's published OpenAPI documents: what it serves, and the shape of its answers.

The documents lie beside the repository, or where ``HUBPREFS_SPECS`` points; without them this is skipped.
They are not taken at their word where recorded live answers say otherwise:

* HubSpot sends nulls for optional members although no schema is nullable: nulls are taken out first.
* ``StandardError`` requires ``context``, ``errors`` and ``links``, which HubSpot's own sample of an error
  inside a batch answer does not have: only the members of that sample are required.
* 2025-09 still lists v3's four operations and an unsecured ``resubscribe``, which no newer version has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests
from jsonschema import Draft202012Validator, FormatChecker

from airflow_provider_hubprefs.simulator import Simulator

from .documents import METHODS, NOT_SIMULATED, SPECS, VERSIONS, document

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKETING = 348211900
ADA = "ada+tag@example.com"
WRITE = {"channel": "EMAIL", "statusState": "SUBSCRIBED", "subscriptionId": MARKETING}
V3_WRITE = {"emailAddress": ADA, "subscriptionId": str(MARKETING)}
LINK = {"subscriberIdString": ADA, "subscriptionId": MARKETING, "language": "en"}
INPUTS = {"inputs": [ADA, "nobody"]}
CHANNEL = {"channel": "EMAIL"}

# What is asked of each operation, by its method and what follows the version: query and body, one per request.
# An opt-out comes between two reads, so that wide statuses have rows too.
CASES: dict[tuple[str, str], list[tuple[dict[str, str], Any]]] = {
    ("get", "/definitions"): [({}, None), ({"includeTranslations": "true"}, None)],
    ("post", "/links/generate"): [(CHANNEL, LINK)],
    ("get", "/statuses/{subscriberIdString}"): [(CHANNEL, None)],
    ("post", "/statuses/{subscriberIdString}"): [({}, WRITE)],
    ("get", "/statuses/{subscriberIdString}/unsubscribe-all"): [(CHANNEL, None)],
    ("post", "/statuses/{subscriberIdString}/unsubscribe-all"): [
        (CHANNEL, None),
        ({**CHANNEL, "verbose": "true"}, None),
    ],
    ("post", "/statuses/batch/read"): [(CHANNEL, {"inputs": [ADA]}), (CHANNEL, INPUTS)],
    ("post", "/statuses/batch/write"): [({}, {"inputs": [{**WRITE, "subscriberIdString": ADA}]})],
    ("post", "/statuses/batch/unsubscribe-all"): [({**CHANNEL, "verbose": "true"}, INPUTS)],
    ("post", "/statuses/batch/unsubscribe-all/read"): [(CHANNEL, {"inputs": [ADA]}), (CHANNEL, INPUTS)],
    ("get", "/status/email/{emailAddress}"): [({}, None)],
    ("post", "/subscribe"): [({}, V3_WRITE)],
    ("post", "/unsubscribe"): [({}, {**V3_WRITE, "emailAddress": "bob@example.com"})],
}
OPERATIONS = [
    pytest.param(version, method, path, id=f"{version}-{method}-{path}")
    for version in VERSIONS
    for method, path in CASES
    if SPECS
    and not (version == "2025-09" and path in NOT_SIMULATED)
    and path in document(version)["paths"]
    and method in document(version)["paths"][path]
]

pytestmark = pytest.mark.skipif(
    SPECS is None, reason="HubSpot's OpenAPI documents are not here; HUBPREFS_SPECS names their folder"
)


@pytest.fixture(scope="module")
def hubspot() -> Iterator[Simulator]:
    with Simulator(portal={"limits": {"burst": 10_000}}) as simulator:
        yield simulator


def call(
    hubspot: Simulator, version: str, method: str, path: str, *, query: dict[str, str], body: Any
) -> requests.Response:
    filled = path.replace("{subscriberIdString}", quote(ADA, safe="")).replace("{emailAddress}", quote(ADA))
    return requests.request(
        method,
        f"{hubspot.url}/communication-preferences/{version}{filled}",
        params=query,
        json=body,
        headers={"Authorization": f"Bearer {hubspot.token}"},
        timeout=10,
    )


def without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [without_nulls(each) for each in value]
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return value


def check(version: str, declared: dict[str, Any], answer: requests.Response) -> None:
    """Fail unless an answer has the declared type, and a body that fits its schema."""
    (media_type,) = declared["content"]
    assert media_type in ("*/*", answer.headers["Content-Type"].partition(";")[0])
    schema = {**declared["content"][media_type]["schema"], "components": document(version)["components"]}
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    problems = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(answer_body(answer))]
    assert not problems, problems


def answer_body(answer: requests.Response) -> Any:
    return without_nulls(answer.json())


@pytest.mark.parametrize(("version", "method", "path"), OPERATIONS)
def test_answers_are_as_declared(hubspot: Simulator, version: str, method: str, path: str) -> None:
    hubspot.reset()
    hubspot.portal.set_status(ADA, hubspot.portal.definition(MARKETING), "UNSUBSCRIBED")
    if path not in ("/subscribe", "/unsubscribe"):
        hubspot.portal.unsubscribe_all(ADA, None)
    elif path == "/subscribe":
        hubspot.reset()
    responses = document(version)["paths"][path][method]["responses"]
    seen = set()
    for query, body in CASES[method, path]:
        answer = call(hubspot, version, method, path, query=query, body=body)
        seen.add(str(answer.status_code))
        assert str(answer.status_code) in responses, answer.text
        check(version, responses[str(answer.status_code)], answer)
    assert seen == set(responses) - {"default"}


@pytest.mark.parametrize(("version", "method", "path"), OPERATIONS)
@pytest.mark.parametrize("what", ["burst", "unauthorized", "forbidden", "invalid", "status"])
def test_errors_are_as_declared(hubspot: Simulator, version: str, method: str, path: str, what: str) -> None:
    hubspot.reset()
    error = document(version)["components"]["responses"]["Error"]
    headers = {"Authorization": f"Bearer {hubspot.token}"}
    if what in ("unauthorized", "forbidden"):
        hubspot.load({"tokens": {"none": {"scopes": []}}})
        headers["Authorization"] = f"Bearer {hubspot.tokens['none' if what == 'forbidden' else 'expired']}"
    elif what in ("burst", "status"):
        hubspot.fault(what)
    url = f"{hubspot.url}/communication-preferences/{version}{path.replace('{', '').replace('}', '')}"
    answer = requests.request(method, url, headers=headers, timeout=10)
    if answer.ok:
        pytest.skip("nothing about this request is invalid")
    if what == "burst":
        # Known: HubSpot's 429s have errorType where the document requires category.
        assert "errorType" in answer.json()
        return
    check(version, error, answer)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_operation_is_served_and_nothing_else(hubspot: Simulator, version: str) -> None:
    declared = {
        (method, path)
        for path, methods in document(version)["paths"].items()
        for method in methods
        if method in METHODS and not (version == "2025-09" and path in NOT_SIMULATED)
    }
    every_path = {path for _, path in CASES} | NOT_SIMULATED
    served = {
        (method, path)
        for path in every_path
        for method in METHODS
        if call(hubspot, version, method, path, query={}, body=None).status_code != 405
        and method.upper() in {each.method for each in hubspot.requests[-1:] if each.endpoint}
    }
    assert served == declared
    assert len(declared) == (4 if version == "v3" else 10)


def test_2026_09_is_the_contract_of_2026_03(hubspot: Simulator) -> None:
    hubspot.reset()
    for method, path in sorted(CASES):
        if path in NOT_SIMULATED:
            continue
        for query, body in CASES[method, path]:
            answers = []
            for version in ("2026-03", "2026-09"):
                hubspot.load({})
                answers.append(call(hubspot, version, method, path, query=query, body=body))
            assert [shape(each.json()) for each in answers[:1]] == [
                shape(each.json()) for each in answers[1:]
            ]
            assert answers[0].status_code == answers[1].status_code


def shape(value: Any) -> Any:
    """Return a body with its values replaced by their kinds."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return [shape(each) for each in value] if isinstance(value, list) else type(value).__name__
