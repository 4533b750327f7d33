"""Importing costs nothing: HTTP and JSON libraries load when a task runs, not when a DAG file is parsed."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

OWN = "airflow_provider_hubprefs"
BASE = "from airflow.sdk import DAG, BaseOperator"
# Bases of operators and hooks, and their errors; no provider.
BASES = ("airflow.sdk.bases", "airflow.sdk.exceptions", "airflow.sdk.configuration", "airflow.sdk.log")
LATER = (
    "requests",
    "urllib3",
    "email_validator",
    "starlette",
    "uvicorn",
    "pyarrow",
    f"{OWN}.hubspot.api",
    f"{OWN}.hubspot.transport",
    f"{OWN}.hubspot.pacing",
    f"{OWN}.bulk",
    f"{OWN}.simulator",
    f"{OWN}.testing",
    f"{OWN}.hooks.connection",
    f"{OWN}.telemetry",
    "openlineage",
    "msgspec",
    "httpx",
    "jinja2",
    "pygal",
    "rich",
)
"""What loads when a task runs, or never in a DAG file."""


FORKS = """
import json, os, sys, traceback
on_top_of, cases = json.load(sys.stdin)
exec(on_top_of)
before = set(sys.modules)
for code in cases:
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            exec(code, {})
            print(json.dumps(sorted(set(sys.modules) - before)), flush=True)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
"""


OPERATOR = {"arguments", "compat", "task", "operators", "operators._waiting"}
FACE = {
    "operators.bulk": {*OPERATOR, "operators._source", "operators._bulk", "operators.bulk"},
    "operators.preferences": {*OPERATOR, "operators.preferences"},
    "sensors.operation": {"arguments", "compat", "task", "sensors", "sensors.operation"},
    "hooks.hubprefs": {"compat", "hooks", "hooks.hubprefs"},
    "links": {"compat", "links"},
    "decorators.hubprefs": {"decorators", "decorators.hubprefs"},
}
"""Modules of this package that each of them loads. One more costs every DAG file 0.2 ms, each time it is read."""

FROM = """
from airflow.sdk import DAG, BaseOperator
from airflow_provider_hubprefs.operators.bulk import *
from airflow_provider_hubprefs.operators.preferences import *
from airflow_provider_hubprefs.sensors.operation import *
"""
MAKE = """
with DAG("dag"):
    HubPrefsBatchUnsubscribeOperator(task_id="1", source="list.csv")
    HubPrefsBatchSetStatusOperator(task_id="2", source="list.csv", subscription_id=1, status="SUBSCRIBED")
    HubPrefsUnsubscribeAllOperator(task_id="3", subscriber="{{ params.subscriber }}")
    HubPrefsSetStatusOperator(task_id="4", subscriber="{{ params.subscriber }}", subscription_id=1, status="SUBSCRIBED")
    HubPrefsOperationSensor(task_id="5", subscriber="{{ params.subscriber }}")
"""


def new_modules(*cases: str, on_top_of: str = "") -> list[set[str]]:
    """Modules that each of these pieces of code loads in a fresh interpreter that has loaded others already.

    The interpreter is started once, and forked for each of them.
    """
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        input=json.dumps([on_top_of, cases]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [set(json.loads(line)) for line in done.stdout.splitlines()[-len(cases) :]]


def dag_file_modules() -> list[str]:
    """Every public module that a DAG file imports."""
    found: list[str] = []
    for part in ("hooks", "operators", "sensors", "decorators", "notifications", "links", "assets"):
        package = import_module(f"{OWN}.{part}")
        inside = pkgutil.iter_modules(getattr(package, "__path__", []), f"{package.__name__}.")
        found += [package.__name__, *(module.name for module in inside)]
    return sorted(set(found) - {f"{OWN}.hooks.connection"})


@pytest.fixture(scope="module")
def loaded_by_each() -> dict[str, set[str]]:
    """What each of them loads beyond Airflow's own, alone; and all of them together, by ``all``."""
    imports = {name: f"import {name}" for name in dag_file_modules()}
    imports["all"] = "\n".join(imports.values())
    return dict(zip(imports, new_modules(*imports.values(), on_top_of=BASE), strict=True))


@pytest.fixture
def loaded(loaded_by_each: dict[str, set[str]]) -> set[str]:
    """What a DAG file with all of them loads beyond Airflow's own."""
    return loaded_by_each["all"]


def test_a_dag_file_with_every_hook_operator_and_sensor_loads_no_library(loaded: set[str]) -> None:
    top = {name.partition(".")[0] for name in loaded}
    assert top <= {"airflow", OWN}, sorted(top)


def test_what_of_airflow_it_loads_is_small_and_named(loaded: set[str]) -> None:
    of_airflow = {name for name in loaded if name.startswith("airflow.")}
    assert {name for name in of_airflow if not name.startswith(BASES)} == set()
    assert len(of_airflow) <= 10, sorted(of_airflow)


def test_what_of_this_package_it_loads_is_its_face_only(loaded: set[str]) -> None:
    own = {name for name in loaded if name.startswith(OWN)}
    assert set(dag_file_modules()) <= own
    assert {name for name in own if name.startswith(LATER)} == set()


@pytest.mark.parametrize("name", dag_file_modules())
def test_each_of_them_can_be_imported_alone(name: str, loaded_by_each: dict[str, set[str]]) -> None:
    assert name in loaded_by_each[name]
    assert {found for found in loaded_by_each[name] if found.startswith(LATER)} == set()


@pytest.mark.parametrize("name", FACE)
def test_each_loads_these_modules_of_this_package_and_no_other(
    name: str, loaded_by_each: dict[str, set[str]]
) -> None:
    own = {
        found.removeprefix(f"{OWN}.") for found in loaded_by_each[f"{OWN}.{name}"] if found.startswith(OWN)
    }
    assert own == FACE[name]


def test_operators_that_are_only_made_load_nothing_more() -> None:
    """Links, retry policy and lineage are for Airflow's scheduler and for the task."""
    others = 'with DAG("other"):\n    BaseOperator(task_id="one")'
    assert new_modules(FROM + MAKE, on_top_of=FROM + others) == [set()]


def test_they_can_be_imported_before_airflow() -> None:
    (found,) = new_modules("\n".join(f"import {name}" for name in dag_file_modules()))
    assert {"airflow.sdk", *dag_file_modules()} <= found


def test_the_package_itself_costs_nothing() -> None:
    assert new_modules(f"import {OWN}") == [{OWN}]


def test_a_hook_that_is_only_made_loads_nothing_more() -> None:
    code = f"from {OWN}.hooks.hubprefs import HubPrefsHook"
    made = f"{code}; HubPrefsHook('other', 'v4', business_unit_id=1)"
    assert new_modules(made, on_top_of=code) == [set()]


def test_the_api_can_be_used_without_airflow() -> None:
    (found,) = new_modules(f"import {OWN}.hubspot.transport.client, {OWN}.bulk.send.run")
    assert "requests" in found
    assert {name for name in found if name.partition(".")[0] == "airflow"} == set()
