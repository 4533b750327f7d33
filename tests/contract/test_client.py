"""The client's endpoints, bodies and models against the table of HubSpot's contract."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema
import msgspec
import pytest

from airflow_provider_hubprefs.hubspot.api import models
from airflow_provider_hubprefs.hubspot.api.calls import Calls
from airflow_provider_hubprefs.hubspot.api.models import StatusChange
from tests.hubspot.scenarios import SCENARIOS

from .table import OPERATIONS, TABLE, VERSIONS, document, operation_of, scopes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.hubspot.api.calls import Call

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
    "set_status": (
        *((lambda calls, one=one: calls.set_status(SUBSCRIBER, 7, one)) for one in models.STATUSES),
        *(
            (
                lambda calls, basis=basis: calls.set_status(
                    SUBSCRIBER, 7, "SUBSCRIBED", legal_basis=basis, legal_basis_explanation="asked"
                )
            )
            for basis in models.LEGAL_BASES
        ),
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
each_call = pytest.mark.parametrize(
    ("version", "name"), [(version, name) for version in VERSIONS for name in CALLS]
)


def operation_name(call: Call[Any]) -> str:
    return f"{call.endpoint.method} {call.endpoint.path}"


def validate(version: str, value: object, schema: dict[str, Any]) -> None:
    jsonschema.validate(value, {**schema, "components": document(version)["components"]})


def schema_in(content: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = content["content"]["application/json"]["schema"]
    return schema


def test_every_operation_of_the_table_has_a_call_and_no_other() -> None:
    public = {name for name, _ in inspect.getmembers(Calls, inspect.isfunction) if not name.startswith("_")}
    assert public == set(CALLS)
    assert {operation_name(build(Calls())) for builds in CALLS.values() for build in builds} == set(
        OPERATIONS
    )


@each_call
def test_an_endpoint_is_what_the_table_says(version: str, name: str) -> None:
    call = CALLS[name][0](Calls(version))
    endpoint, said = call.endpoint, OPERATIONS[operation_name(call)]

    assert (endpoint.name, call.version) == (name, version)
    assert call.path.startswith(f"/communication-preferences/{version}/")
    assert set(endpoint.scopes) == scopes_of(said)


@each_call
def test_what_is_sent_is_what_the_table_asks_for(version: str, name: str) -> None:
    for build in CALLS[name]:
        call = build(Calls(version))
        said = operation_of(version, operation_name(call))
        query = {each["name"]: each for each in said["parameters"] if each["in"] == "query"}

        text = urlsplit(call.path).query
        sent = dict(parse_qsl(text, strict_parsing=bool(text)))
        assert {name for name, each in query.items() if each["required"]} <= set(sent) <= set(query)
        for parameter, value in sent.items():
            schema = query[parameter]["schema"]
            validate(version, value if schema["type"] == "string" else json.loads(value), schema)
        assert (call.body is None) == ("requestBody" not in said)
        if call.body is not None:
            content = json.loads(call.body)
            validate(version, content, schema_in(said["requestBody"]))
            assert not unknown(content, OPERATIONS[operation_name(call)]["body"])


def unknown(content: dict[str, Any], kind: str) -> set[str]:
    """Members of a body, and of its inputs, that the table does not have."""
    members = TABLE["types"][kind]
    found = set(content) - set(members)
    for each in content.get("inputs", []):
        if isinstance(each, dict):
            found |= unknown(each, members["inputs"].removesuffix("[]"))
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
    "Results": models.Operation,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_the_fields_of_its_type_and_needs_no_more_of_them(name: str) -> None:
    said = {**TABLE["types"][name], **({"results": "object[]"} if name == "Results" else {})}
    fields = msgspec.structs.fields(MODELS[name])

    assert {field.encode_name for field in fields} == set(said)
    assert all(not said[field.encode_name].endswith("?") for field in fields if field.required)


def test_enumerations_are_those_of_the_table() -> None:
    assert set(models.STATUSES) == set(TABLE["words"]["status"])
    assert set(models.LEGAL_BASES) == set(TABLE["words"]["basis"])


def sample(version: str, schema: dict[str, Any], *, whole: bool) -> Any:
    """A value of a schema: all of it, or only what is required."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return sample(version, document(version)["components"]["schemas"][name], whole=whole)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
    match kind:
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


@pytest.mark.parametrize("whole", [True, False])
@each_call
def test_answers_of_the_tables_shape_are_read(version: str, name: str, whole: bool) -> None:
    call = CALLS[name][0](Calls(version))

    for status, content in operation_of(version, operation_name(call))["responses"].items():
        if status == "default":
            continue
        value = sample(version, schema_in(content), whole=whole)
        validate(version, value, schema_in(content))
        result = call.conclude(models.Reply(int(status), {}, json.dumps(value).encode()))
        if isinstance(result, models.Operation):
            assert len(result.results) == 1


@pytest.mark.parametrize(
    "scenario",
    [each for each in SCENARIOS if each.bodies and each.error is None and each.version in VERSIONS],
    ids=lambda scenario: scenario.name,
)
def test_the_bodies_of_the_scenarios_are_of_the_tables_shape(scenario: Any) -> None:
    said = operation_of(scenario.version, operation_name(scenario.call(Calls(scenario.version))))

    for sent in scenario.bodies:
        if "requestBody" in said:
            validate(scenario.version, sent, schema_in(said["requestBody"]))
        else:
            assert sent is None
