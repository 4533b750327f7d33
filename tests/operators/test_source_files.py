"""The batch operators read a glob, a list or a folder as one source, and a retry resumes within it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)
from airflow_provider_hubprefs.simulator import Simulator
from tests.helpers import reported

pytestmark = pytest.mark.usefixtures("hubprefs_default")
REJECTED = "rejected@hubspot-rejects.example"


@pytest.fixture(params=["file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStoragePath]:
    attach("memory", fs=MemoryFileSystem())
    url = "memory://bucket/unload" if request.param == "memory" else f"file://{tmp_path}/unload"
    found = ObjectStoragePath(url)
    found.mkdir(parents=True, exist_ok=True)
    files = {
        "_SUCCESS": "",
        "part-1.csv": "email\na@example.com\nb@example.com\n",
        "part-2.csv": f"id,Email\n1,{REJECTED}\n2,A@example.com\n3,c@example.com\n",
        "part-3.csv": "email\n\nbroken\nd@example.com\n",
    }
    for name, content in files.items():
        (found / name).write_text(content)
    yield found
    MemoryFileSystem.store.clear()


def opt_out(context: Any, source: Any, **arguments: Any) -> dict[str, Any]:
    arguments = {"on_rejected": "report", **arguments}
    return HubPrefsBatchUnsubscribeOperator(task_id="opt_out", source=source, **arguments).execute(context)


def places(summary: dict[str, Any]) -> list[tuple[str | None, int]]:
    letters = ObjectStoragePath(summary["dead_letters"])
    found = [json.loads(line) for line in letters.read_text().splitlines()]
    return sorted((one.get("file"), one["row"]) for one in found)


@pytest.mark.parametrize("kind", ["folder", "glob", "list", "list of text"])
def test_as_one_source(hubspot: Simulator, context: Any, folder: ObjectStoragePath, kind: str) -> None:
    parts = [folder / f"part-{number}.csv" for number in (1, 2, 3)]
    source = {
        "folder": str(folder),
        "glob": f"{folder}/part-*.csv",
        "list": parts,
        "list of text": [str(part) for part in parts],
    }[kind]
    summary = opt_out(context, source, output=folder.parent / "runs")
    counts = {name: summary[name] for name in ("read", "changed", "duplicate", "rejected", "invalid")}
    assert counts == {"read": 7, "changed": 4, "duplicate": 1, "rejected": 1, "invalid": 1}
    assert places(summary) == [("part-2.csv", 2), ("part-3.csv", 3)]
    assert all(hubspot.is_opted_out(f"{name}@example.com") for name in "abcd")
    assert json.loads(ObjectStoragePath(summary["report"]).read_text())["complete"]


def test_one_file_has_dead_letters_without_its_name(context: Any, folder: ObjectStoragePath) -> None:
    summary = opt_out(context, folder / "part-3.csv", output=folder.parent / "runs")
    assert places(summary) == [(None, 3)]
    assert "file" not in ObjectStoragePath(summary["dead_letters"]).read_text()


def test_rows_that_contradict_each_other_in_two_files_stop_it_before_its_first_write(
    hubspot: Simulator, context: Any, folder: ObjectStoragePath
) -> None:
    (folder / "part-4.csv").write_text("status,email\nSUBSCRIBED,p299@example.com\n")
    many = "".join(f"p{number}@example.com,UNSUBSCRIBED\n" for number in range(300))
    (folder / "part-5.csv").write_text(f"email,status\n{many}")
    operator = HubPrefsBatchSetStatusOperator(
        task_id="set_status",
        source=f"{folder}/part-[45].csv",
        status_column="status",
        subscription_id=hubspot.subscription_ids[0],
    )
    with pytest.raises(HubPrefsFailException, match=r"row 2 of 'part-4.csv' and row 301 of 'part-5.csv'"):
        operator.execute(context)
    assert all(request.method == "GET" for request in hubspot.requests)


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        ("/x*/part-*.csv", HubPrefsException, r"x\*/part-\*\.csv': no files found"),
        ([], HubPrefsFailException, "source: expected a path, a glob, a folder or a list of them"),
        ("", HubPrefsFailException, "expected one of subscribers, source and sql, got none"),
        (
            ["part.csv", ""],
            HubPrefsFailException,
            "source: expected a path, a glob, a folder or a list of them",
        ),
    ],
)
def test_a_source_of_no_files_is_named(
    hubspot: Simulator, context: Any, source: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        opt_out(context, source)
    assert hubspot.requests == []


@pytest.fixture
def unload(tmp_path: Path) -> Path:
    folder = tmp_path / "unload"
    folder.mkdir()
    for part in range(4):
        rows = [f"person-{part}-{number}@example.com" for number in range(100)]
        rows[50] = f"broken-{part}"
        (folder / f"part-{part}.csv").write_text("\n".join(["email", *rows]) + "\n")
    return folder


@pytest.mark.parametrize("what", ["same", "added", "removed", "changed"])
def test_a_retry_resumes_in_the_file_where_the_try_before_stopped_unless_the_files_are_others(
    hubspot: Simulator, context: Any, unload: Path, tmp_path: Path, what: str
) -> None:
    files = {"output": str(tmp_path / "runs")}
    hubspot.fault("daily", match={"body_contains": "person-2-30@"}, times=None)
    with pytest.raises(HubPrefsException, match="midnight"):
        opt_out(context, str(unload), batch_size=10, **files)
    hubspot.clear_faults()
    part = unload / "part-3.csv"
    if what == "added":
        (unload / "part-4.csv").write_text("email\nx@example.com\n")
    elif what == "removed":
        part.unlink()
    elif what == "changed":
        part.write_text(part.read_text() + "x@example.com\n")
    if what != "same":
        with pytest.raises(HubPrefsFailException, match="source changed"):
            opt_out(context, str(unload), batch_size=10, **files)
        return
    before = len(hubspot.requests)
    summary = opt_out(context, str(unload), batch_size=10, **files)
    assert (summary["read"], summary["invalid"], reported(summary)["tries"]) == (400, 4, 2)
    assert summary["changed"] + summary["unchanged"] == 396
    assert len(hubspot.requests) - before < 30
    assert places(summary) == [(f"part-{number}.csv", 52) for number in range(4)]


WORKER = """
import sys
from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
HubPrefsBatchUnsubscribeOperator(
    task_id="opt_out", source=sys.argv[1] + "/part-*.csv", batch_size=10, on_rejected="report",
    output=sys.argv[2],
).execute({"params": {}, "run_id": "run"})
"""


def test_a_worker_killed_in_the_second_file_costs_no_row(
    hubspot: Simulator, context: Any, unload: Path, tmp_path: Path
) -> None:
    hubspot.fault("latency", ms=[150, 200], times=None)
    command = [sys.executable, "-c", WORKER, str(unload), str(tmp_path / "runs")]
    with subprocess.Popen(command, env=os.environ) as worker:
        until = time.monotonic() + 60
        while len(hubspot.requests) < 16 and time.monotonic() < until:
            time.sleep(0.01)
        worker.send_signal(signal.SIGKILL)
    assert worker.returncode == -signal.SIGKILL
    hubspot.clear_faults()
    files = {"output": str(tmp_path / "runs")}
    context["ti"].dag_id = HubPrefsBatchUnsubscribeOperator(task_id="opt_out").dag_id
    summary = opt_out(context, f"{unload}/part-*.csv", batch_size=10, **files)
    assert (summary["read"], summary["invalid"], reported(summary)["tries"]) == (400, 4, 2)
    assert summary["changed"] + summary["unchanged"] == 396
    assert places(summary) == [(f"part-{number}.csv", 52) for number in range(4)]
    people = [
        f"person-{part}-{number}@example.com" for part in range(4) for number in range(100) if number != 50
    ]
    assert all(hubspot.is_opted_out(one) for one in people)
