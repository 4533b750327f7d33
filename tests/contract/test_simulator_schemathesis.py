"""Requests made up from the table of HubSpot's contract: the simulator never fails, and answers as declared."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from airflow_provider_hubprefs.simulator import Simulator

from .table import VERSIONS, document, sent_types

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = 8
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
# What this portal has, so that requests succeed too.
KNOWN: dict[str, dict[str, Any]] = {
    "subscriberIdString": {"format": "email"},
    "subscriptionId": {"enum": [348211900]},
    "businessUnitId": {"enum": [0]},
}


def narrowed() -> Any:
    """Return the newest version's document, in which requests ask for what this portal has."""
    made = copy.deepcopy(document(VERSIONS[-1]))
    for item in made["paths"].values():
        for operation in item.values():
            for parameter in operation["parameters"]:
                parameter["schema"].update(KNOWN.get(parameter["name"], {}))
    for name in sent_types():
        properties = made["components"]["schemas"][name]["properties"]
        for member in properties.keys() & KNOWN.keys():
            properties[member].update(KNOWN[member])
        if name == "BatchInputString":
            properties["inputs"]["items"]["format"] = "email"
    return schemathesis.openapi.from_dict(made)


OPERATIONS = [
    pytest.param(operation.ok(), id=operation.ok().label) for operation in narrowed().get_all_operations()
]


@pytest.fixture(scope="module")
def hubspot() -> Iterator[Simulator]:
    with Simulator(seed=4, portal={"limits": {"burst": 1_000_000}}) as simulator:
        yield simulator


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_made_up_requests_get_declared_answers(hubspot: Simulator, operation: Any, mode: str) -> None:
    generation = schemathesis.GenerationMode(mode)
    headers = {"Authorization": f"Bearer {hubspot.token}"}

    @given(case=operation.as_strategy(generation_mode=generation))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case: Any) -> None:
        answer = case.call_and_validate(base_url=hubspot.url, headers=headers, checks=CHECKS)
        statuses.add(answer.status_code)

    statuses: set[int] = set()
    run()
    if mode == "positive":
        assert statuses & {200, 207}, statuses
