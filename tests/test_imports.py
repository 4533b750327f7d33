"""Importing costs nothing: a DAG file pays for what it defines, HTTP and JSON libraries load when a task runs."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest

OWN = "airflow_provider_hubprefs"
BASE = "from airflow.sdk import DAG, BaseOperator"
# Airflow's own way to one code base for 2.11 and 3; importing it is all that an operator costs.
COMPAT = "airflow.providers"
LATER = (
    "requests",
    "urllib3",
    "email_validator",
    "starlette",
    "uvicorn",
    "pyarrow",
    f"{OWN}.hubspot.client",
    f"{OWN}.hubspot.aio",
    f"{OWN}.hubspot.sending",
    f"{OWN}.hubspot.models",
    f"{OWN}.hubspot.settings",
    f"{OWN}.bulk",
    f"{OWN}.simulator",
    f"{OWN}.testing",
    f"{OWN}.hooks.connection",
)
"""What loads when a task runs, or never in a DAG file."""


def new_modules(code: str, *, on_top_of: str = "import json, sys") -> set[str]:
    """Modules that code loads in a fresh interpreter that has loaded others already."""
    script = f"""
import json, sys
{on_top_of}
before = set(sys.modules)
{code}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def dag_file_modules() -> list[str]:
    """Every public module that a DAG file imports."""
    found: list[str] = []
    for part in ("hooks", "operators", "sensors"):
        package = import_module(f"{OWN}.{part}")
        found += [module.name for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
    return sorted(set(found) - {f"{OWN}.hooks.connection"})


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """What a DAG file with all of them loads beyond Airflow's own."""
    return new_modules("\n".join(f"import {name}" for name in dag_file_modules()), on_top_of=BASE)


def test_a_dag_file_with_every_hook_operator_and_sensor_loads_no_library(loaded: set[str]) -> None:
    top = {name.partition(".")[0] for name in loaded}
    assert top <= {"airflow", OWN}, sorted(top)


def test_what_of_airflow_it_loads_is_small_and_named(loaded: set[str]) -> None:
    of_airflow = {name for name in loaded if name.startswith("airflow.")}
    unexpected = {
        name for name in of_airflow if not name.startswith((COMPAT, "airflow.sdk.bases", "airflow.sdk.log"))
    }
    assert unexpected == set()
    assert len(of_airflow) <= 20, sorted(of_airflow)


def test_what_of_this_package_it_loads_is_its_face_only(loaded: set[str]) -> None:
    own = {name for name in loaded if name.startswith(OWN)}
    assert set(dag_file_modules()) <= own
    assert {name for name in own if name.startswith(LATER)} == set()


@pytest.mark.parametrize("name", dag_file_modules())
def test_each_of_them_can_be_imported_alone_and_first(name: str) -> None:
    found = new_modules(f"import {name}")
    assert name in found
    assert not {f"{OWN}.hubspot.client", f"{OWN}.hooks.connection"} & found


def test_the_package_itself_costs_nothing() -> None:
    assert new_modules(f"import {OWN}") == {OWN}


def test_a_hook_that_is_only_made_loads_nothing_more() -> None:
    code = f"from {OWN}.hooks.hubprefs import HubPrefsHook"
    assert new_modules('HubPrefsHook("other", "v4", business_unit_id=1)', on_top_of=code) == set()


def test_the_api_can_be_used_without_airflow() -> None:
    found: Any = new_modules(f"import {OWN}.hubspot.client, {OWN}.bulk.pipeline")
    assert "requests" in found
    assert {name for name in found if name.partition(".")[0] == "airflow"} == set()
