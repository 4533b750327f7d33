"""The client's endpoints, bodies and models against HubSpot's OpenAPI documents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema
import msgspec
import pytest

from airflow_provider_hubprefs.hubspot import models
from airflow_provider_hubprefs.hubspot.calls import Calls
from airflow_provider_hubprefs.hubspot.endpoints import ENDPOINTS, VERSIONS, Endpoint
from airflow_provider_hubprefs.hubspot.models import StatusChange
from tests.hubspot.scenarios import SCENARIOS

from .documents import SPECS, document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_hubprefs.hubspot.calls import Call

pytestmark = pytest.mark.skipif(
    SPECS is None, reason="HubSpot's OpenAPI documents are not here; HUBPREFS_SPECS names their folder"
)

TABLE = [
    pytest.param(version, endpoint, id=f"{version} {endpoint.name}")
    for version in VERSIONS
    for endpoint in ENDPOINTS.values()
]
SUBSCRIBER = "jane@example.com"
CALLS: dict[str, tuple[Callable[[Calls], Call[Any]], ...]] = {
    "get_definitions": (
        lambda calls: calls.get_definitions(),
        lambda calls: calls.get_definitions(business_unit_id=3, include_translations=True),
    ),
    "generate_links": (
        lambda calls: calls.generate_links(SUBSCRIBER),
        lambda calls: calls.generate_links(SUBSCRIBER, subscription_id=7, language="en", business_unit_id=0),
    ),
    "get_statuses": (
        lambda calls: calls.get_statuses(SUBSCRIBER),
        lambda calls: calls.get_statuses(SUBSCRIBER, business_unit_id=3),
    ),
    "set_status": tuple(
        (lambda calls, status=status: calls.set_status(SUBSCRIBER, 7, status)) for status in models.STATUSES
    )
    + tuple(
        (
            lambda calls, basis=basis: calls.set_status(
                SUBSCRIBER, 7, "SUBSCRIBED", legal_basis=basis, legal_basis_explanation="asked"
            )
        )
        for basis in models.LEGAL_BASES
    ),
    "get_unsubscribe_all": (lambda calls: calls.get_unsubscribe_all(SUBSCRIBER, business_unit_id=3),),
    "unsubscribe_all": (lambda calls: calls.unsubscribe_all(SUBSCRIBER, business_unit_id=3),),
    "batch_get_statuses": (lambda calls: calls.batch_get_statuses([SUBSCRIBER], business_unit_id=3),),
    "batch_set_statuses": (
        lambda calls: calls.batch_set_statuses(
            [
                StatusChange(subscriber=SUBSCRIBER, subscription_id=7, status="UNSUBSCRIBED"),
                StatusChange(
                    subscriber=SUBSCRIBER,
                    subscription_id=7,
                    status="SUBSCRIBED",
                    legal_basis="NON_GDPR",
                    legal_basis_explanation="asked",
                ),
            ]
        ),
    ),
    "batch_unsubscribe_all": (lambda calls: calls.batch_unsubscribe_all([SUBSCRIBER], business_unit_id=3),),
    "batch_get_unsubscribe_all": (
        lambda calls: calls.batch_get_unsubscribe_all([SUBSCRIBER], business_unit_id=3),
    ),
}


def operation(version: str, endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = document(version)["paths"][f"/{endpoint.path}"][endpoint.method.lower()]
    return found


def parameters(version: str, endpoint: Endpoint, *, place: str) -> dict[str, dict[str, Any]]:
    listed = operation(version, endpoint).get("parameters", [])
    return {parameter["name"]: parameter for parameter in listed if parameter["in"] == place}


def schema_of(content: dict[str, Any]) -> str:
    (kind,) = content.values()
    reference: str = kind["schema"]["$ref"]
    return reference.rpartition("/")[2]


def validate(version: str, value: object, schema: dict[str, Any]) -> None:
    jsonschema.validate(value, {**schema, "components": document(version)["components"]})


@pytest.mark.parametrize(("version", "endpoint"), TABLE)
def test_an_endpoint_is_what_the_document_says(version: str, endpoint: Endpoint) -> None:
    said = operation(version, endpoint)
    query = parameters(version, endpoint, place="query")

    assert set(query) == set(endpoint.query)
    assert {name for name, each in query.items() if each.get("required")} == set(endpoint.required_query)
    assert {int(status) for status in said["responses"] if status != "default"} == endpoint.success
    body = said.get("requestBody")
    assert endpoint.body == (None if body is None else schema_of(body["content"]))


@pytest.mark.parametrize(("version", "endpoint"), TABLE)
def test_an_endpoint_needs_the_scopes_the_document_says(version: str, endpoint: Endpoint) -> None:
    said = {
        frozenset(scopes) for block in operation(version, endpoint)["security"] for scopes in block.values()
    }

    assert said == set(endpoint.scopes)


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_of_the_document_is_missing(version: str) -> None:
    said = {(path, method.upper()) for path, item in document(version)["paths"].items() for method in item}
    assert said == {(f"/{endpoint.path}", endpoint.method) for endpoint in ENDPOINTS.values()}


@pytest.mark.parametrize(("version", "endpoint"), TABLE)
def test_what_is_sent_is_what_the_document_asks_for(version: str, endpoint: Endpoint) -> None:
    body = operation(version, endpoint).get("requestBody")
    query = parameters(version, endpoint, place="query")

    for build in CALLS[endpoint.name]:
        call = build(Calls(version))
        assert call.endpoint.name == endpoint.name

        sent = dict(parse_qsl(urlsplit(call.path).query, strict_parsing=bool(urlsplit(call.path).query)))
        assert set(endpoint.required_query) <= set(sent) <= set(query)
        for name, text in sent.items():
            value = text if query[name]["schema"]["type"] == "string" else json.loads(text)
            validate(version, value, query[name]["schema"])
        if body is None:
            assert call.body is None
        else:
            assert call.body is not None
            content = json.loads(call.body)
            validate(version, content, body["content"]["application/json"]["schema"])
            assert not unknown(version, content, endpoint.body)


def unknown(version: str, content: dict[str, Any], schema: str | None) -> set[str]:
    """Members of a body, and of its inputs, that the schema does not have."""
    schemas = document(version)["components"]["schemas"]
    known = schemas[schema]["properties"]
    found = set(content) - set(known)
    for each in content.get("inputs", []):
        if isinstance(each, dict):
            found |= set(each) - set(
                schemas[known["inputs"]["items"]["$ref"].rpartition("/")[2]]["properties"]
            )
    return found


MODELS: dict[str, type[msgspec.Struct]] = {
    "PublicStatus": models.SubscriptionStatus,
    "PublicWideStatus": models.WideStatus,
    "PublicStatusBulkResponse": models.SubscriberStatuses,
    "PublicBulkOptOutFromAllResponse": models.SubscriberStatuses,
    "PublicWideStatusBulkResponse": models.SubscriberWideStatuses,
    "SubscriptionDefinition": models.Definition,
    "PublicSubscriptionTranslation": models.Translation,
    "LinkGenerationResponse": models.PreferenceLinks,
    "StandardError": models.BatchError,
    "PublicStatusRequest": models.StatusChange,
    "BatchResponsePublicStatus": models.Operation,
    "ActionResponseWithResultsPublicStatus": models.Operation,
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_the_fields_of_its_schema_and_needs_no_more_of_them(version: str, name: str) -> None:
    schema = document(version)["components"]["schemas"][name]
    fields = msgspec.structs.fields(MODELS[name])

    assert {field.encode_name for field in fields} == set(schema["properties"])
    assert {field.encode_name for field in fields if field.required} <= set(schema["required"])


@pytest.mark.parametrize("version", VERSIONS)
def test_enumerations_are_those_of_the_document(version: str) -> None:
    request = document(version)["components"]["schemas"]["PublicStatusRequest"]["properties"]

    assert set(models.STATUSES) == set(request["statusState"]["enum"])
    assert set(models.LEGAL_BASES) == set(request["legalBasis"]["enum"])


def sample(version: str, schema: dict[str, Any], *, whole: bool) -> Any:
    """A value of a schema: all of it, or only what is required."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return sample(version, document(version)["components"]["schemas"][name], whole=whole)
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "object":
            names = schema.get("properties", {}) if whole else schema.get("required", [])
            return {name: sample(version, schema["properties"][name], whole=whole) for name in names}
        case "array":
            return [sample(version, schema["items"], whole=whole)]
        case "integer":
            return 7
        case "boolean":
            return True
    return "2026-11-22T03:04:05.678Z" if schema.get("format") == "date-time" else "7"


def answers(version: str, endpoint: Endpoint) -> Iterator[tuple[int, dict[str, Any]]]:
    for status in sorted(endpoint.success):
        (content,) = operation(version, endpoint)["responses"][str(status)]["content"].values()
        yield status, content["schema"]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("version", "endpoint"), TABLE)
def test_answers_of_the_documents_shape_are_read(version: str, endpoint: Endpoint, whole: bool) -> None:
    call = CALLS[endpoint.name][0](Calls(version))

    for status, schema in answers(version, endpoint):
        value = sample(version, schema, whole=whole)
        validate(version, value, schema)
        result = call.conclude(models.Reply(status, {}, json.dumps(value).encode()))
        if isinstance(result, models.Operation):
            assert len(result.results) == 1


def without_nulls(value: Any) -> Any:
    """HubSpot sends null for what is not set, which the document does not allow."""
    if isinstance(value, list):
        return [without_nulls(each) for each in value]
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return value


@pytest.mark.parametrize(
    "scenario",
    [scenario for scenario in SCENARIOS if scenario.bodies and scenario.error is None],
    ids=lambda scenario: scenario.name,
)
def test_the_bodies_of_the_scenarios_are_of_the_documents_shape(scenario: Any) -> None:
    call = scenario.call(Calls(scenario.version))
    body = operation(scenario.version, call.endpoint).get("requestBody")

    for sent in scenario.bodies:
        if body is None:
            assert sent is None
        else:
            validate(scenario.version, without_nulls(sent), body["content"]["application/json"]["schema"])
