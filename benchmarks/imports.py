"""What the provider costs where it does nothing: imports, ``airflow`` commands, DAG files.

    python benchmarks/imports.py    # --help says more

Pairs are measured in turn, in processes of their own, and compared by the medians of their CPU time. "Without the
provider" is the same interpreter with the package hidden from ``importlib.metadata``, where Airflow looks for providers
and plugins.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import statistics
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

OWN = "airflow_provider_hubprefs"
FACE = ("hooks", "operators", "sensors", "decorators", "links")
IMPORTS = """
import time
from airflow.sdk import DAG, BaseOperator
begin = time.process_time()
{code}
print((time.process_time() - begin) * 1000)
"""
COMMAND = """
import importlib.metadata, sys, time
all_of_them = importlib.metadata.distributions
importlib.metadata.distributions = lambda **which: (
    one for one in all_of_them(**which) if one.metadata["Name"] != {hidden!r}
)
begin = time.process_time()
sys.argv = ["airflow", "version"]
from airflow.__main__ import main
main()
print((time.process_time() - begin) * 1000)
"""
DAG_FILE = """
from airflow.sdk import DAG
{code}
with DAG("hundred", schedule=None):
    for number in range(100):
        {operator}
"""
PARSE = """
import time
from airflow.dag_processing.dagbag import DagBag
import airflow.sdk
begin = time.process_time()
bag = DagBag({file!r})
end = time.process_time()
assert len(bag.dags["hundred"].tasks) == 100, bag.import_errors
print((end - begin) * 1000)
"""
OPERATORS = {
    "BaseOperator": ("from airflow.sdk import BaseOperator", 'BaseOperator(task_id=f"t{number}")'),
    "HubPrefsBatchUnsubscribeOperator": (
        f"from {OWN}.operators.bulk import HubPrefsBatchUnsubscribeOperator",
        'HubPrefsBatchUnsubscribeOperator(task_id=f"t{number}", source="/data/list.csv")',
    ),
    "HubPrefsBatchSetStatusOperator": (
        f"from {OWN}.operators.bulk import HubPrefsBatchSetStatusOperator",
        'HubPrefsBatchSetStatusOperator(task_id=f"t{number}", source="/data/list.csv", subscription_id=1, '
        'status="UNSUBSCRIBED")',
    ),
    "HubPrefsUnsubscribeAllOperator": (
        f"from {OWN}.operators.preferences import HubPrefsUnsubscribeAllOperator",
        'HubPrefsUnsubscribeAllOperator(task_id=f"t{number}", subscriber="{{ params.who }}")',
    ),
    "HubPrefsOperationSensor": (
        f"from {OWN}.sensors.operation import HubPrefsOperationSensor",
        'HubPrefsOperationSensor(task_id=f"t{number}", subscriber="{{ params.who }}")',
    ),
}


def face() -> list[str]:
    """Public modules that a DAG file imports, as far as they are there."""
    found = []
    for part in FACE:
        module = import_module(f"{OWN}.{part}")
        inside = pkgutil.iter_modules(getattr(module, "__path__", []), f"{module.__name__}.")
        found += [module.__name__, *(one.name for one in inside if "._" not in one.name)]
    return sorted(set(found) - {f"{OWN}.hooks.connection", f"{OWN}.hooks.plain"})


def measured(code: str, env: dict[str, str]) -> float:
    """Run code that prints how many milliseconds of CPU something took."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


def side_by_side(codes: dict[str, str], env: dict[str, str], rounds: int) -> dict[str, float]:
    """Medians in milliseconds, measured in turn."""
    taken: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(rounds):
        for name, code in codes.items():
            taken[name].append(measured(code, env))
    return {name: statistics.median(each) for name, each in taken.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20, help="of each; 20 by default")
    parser.add_argument("--only", choices=("imports", "command", "dags"), help="one of the tables")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        left_out = (
            "AIRFLOW",
            "PYTHONDONTWRITEBYTECODE",
        )  # without its bytecode a module takes ten times as long
        env = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        env |= {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": home,
        }
        measured(COMMAND.format(hidden=""), env)  # makes Airflow's files, and the bytecode
        if given.only in (None, "imports"):
            code = "\n".join(f"import {name}" for name in face())
            found = side_by_side({"all": IMPORTS.format(code=code)}, env, given.rounds)
            print(
                f"hooks, operators, sensors, decorators, links over BaseOperator: {found['all']:.1f} ms (most: 5)"
            )
        if given.only in (None, "command"):
            codes = {
                name: COMMAND.format(hidden=hidden)
                for name, hidden in (("with", ""), ("without", "airflow-provider-hubprefs"))
            }
            found = side_by_side(codes, env, given.rounds)
            more = found["with"] - found["without"]
            print(f"airflow version: {found['without']:.0f} ms, with the provider {more:+.1f} ms (most: +5)")
        if given.only in (None, "dags"):
            files = {}
            for name, (code, operator) in OPERATORS.items():
                file = Path(home) / f"{name}.py"
                file.write_text(DAG_FILE.format(code=code, operator=operator))
                files[name] = PARSE.format(file=str(file))
            found = side_by_side(files, env, given.rounds)
            base = found["BaseOperator"]
            for name, took in found.items():
                print(f"a DAG file with 100 {name}: {took:.1f} ms, {took / base:.2f} x (most: 1.20)")


if __name__ == "__main__":
    main()
