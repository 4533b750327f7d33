"""A run in shards, through real Airflow: split, mapped tasks, one report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from airflow_provider_hubprefs.bulk.source import read_rows
from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
from airflow_provider_hubprefs.operators.shards import HubPrefsMergeReportsOperator, HubPrefsSplitOperator
from airflow_provider_hubprefs.simulator import Simulator
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("hubprefs_default")
ROWS = 300
REJECTED = "rejected@hubspot-rejects.example"
PEOPLE = [f"person-{number}@example.com" for number in range(ROWS)]
PEOPLE[7], PEOPLE[150], PEOPLE[ROWS - 1] = "nobody", REJECTED, "nobody either"
RunDag = Callable[..., Run]


def csv_of(folder: Path, people: list[str]) -> Path:
    path = folder / "people.csv"
    path.write_text("email,name\r\n" + "\r\n".join(f'{one},"Doe, J"' for one in people))
    return path


def parquet_of(folder: Path, people: list[str]) -> Path:
    path = folder / "people.parquet"
    parquet.write_table(pa.table({"name": ["J"] * len(people), "email": people}), path, row_group_size=30)
    return path


def places(folder: Path) -> dict[str, str]:
    return {"dead_letters": str(folder / "letters.jsonl"), "report": str(folder / "report.json")}


@pytest.mark.parametrize(("write", "offset"), [(csv_of, 2), (parquet_of, 1)], ids=["csv", "parquet"])
def test_four_tasks_do_the_work_of_one(
    hubspot: Simulator, run_dag: RunDag, tmp_path: Path, write: Callable[..., Path], offset: int
) -> None:
    source = write(tmp_path, PEOPLE)
    run = run_dag("hubprefs_sharded", contacts=str(source), **places(tmp_path))
    assert run.state == "success"
    assert [run.tasks[f"opt_out[{number}]"] for number in range(4)] == ["success"] * 4
    summary = run.xcom("merge")
    assert {
        name: summary[name] for name in ("read", "changed", "invalid", "rejected", "shards", "throttled")
    } == {
        "read": ROWS,
        "changed": ROWS - 3,
        "invalid": 2,
        "rejected": 1,
        "shards": 4,
        "throttled": 0,
    }
    assert sum(app["violations"] for app in hubspot.stats["limits"]["apps"].values()) == 0
    assert summary["requests"] == len(hubspot.requests)
    rows = [row for row in read_rows(source) if row.problem is None and row.subscriber != REJECTED]
    assert len(rows) == ROWS - 3
    assert all(hubspot.is_opted_out(row.subscriber) for row in rows)
    letters = [json.loads(line) for line in (tmp_path / "letters.jsonl").read_text().splitlines()]
    assert [(letter["row"], letter["subscriber"]) for letter in letters] == [
        (at + offset, PEOPLE[at]) for at in (7, 150, ROWS - 1)
    ]
    assert json.loads((tmp_path / "report.json").read_text()) == summary
    assert not list(tmp_path.glob("letters.shard-*"))
    for task_id, map_index in (("split", -1), ("opt_out", 0), ("merge", -1)):
        assert "@" not in json.dumps(run.rendered(task_id, map_index=map_index))
        assert "@" not in json.dumps(run.xcom(task_id, map_index=map_index))


def test_a_shard_that_failed_goes_on_and_the_others_are_left_alone(
    hubspot: Simulator, run_dag: RunDag, tmp_path: Path
) -> None:
    people = [f"person-{number}@example.com" for number in range(1200)]
    hubspot.fault("daily", match={"body_contains": "person-800@"})
    run = run_dag("hubprefs_sharded", contacts=str(csv_of(tmp_path, people)), **places(tmp_path))
    assert run.state == "success"
    assert [run.xcom("opt_out", map_index=number)["tries"] for number in range(4)] == [1, 1, 2, 1]
    summary = run.xcom("merge")
    assert (summary["read"], summary["changed"] + summary["unchanged"], summary["tries"]) == (1200, 1200, 2)
    assert all(hubspot.is_opted_out(one) for one in people)
    # The shard that failed had come through 200 of its 300 rows; only what was under way was sent again.
    assert summary["unchanged"] < 200


def test_with_a_shard_that_keeps_failing_the_merge_does_not_run(
    hubspot: Simulator, run_dag: RunDag, tmp_path: Path
) -> None:
    hubspot.fault("daily", match={"body_contains": "person-290@"}, times=None)
    run = run_dag("hubprefs_sharded", contacts=str(csv_of(tmp_path, PEOPLE)), **places(tmp_path))
    assert run.state == "failed"
    assert (run.tasks["opt_out[3]"], run.tasks["merge"]) == ("failed", "upstream_failed")
    done = [run.xcom("opt_out", map_index=number) for number in range(3)]
    assert all(summary["complete"] for summary in done)
    with pytest.raises(HubPrefsFailException, match=r"of 4 shards, 1 did not come to an end: 4 "):
        HubPrefsMergeReportsOperator(task_id="merge", reports=done).execute({})


@pytest.mark.parametrize(
    ("content", "rows"), [("email\n", 0), ("email", 0), ("email\na@example.com\nb@example.com", 2)]
)
def test_hardly_any_lines(run_dag: RunDag, tmp_path: Path, content: str, rows: int) -> None:
    path = tmp_path / "people.csv"
    path.write_text(content)
    run = run_dag("hubprefs_sharded", contacts=str(path), shards=6, **places(tmp_path))
    assert (run.state, run.xcom("merge")["read"]) == ("success", rows)


def split(path: Path, shards: int = 4) -> list[dict[str, Any]]:
    return HubPrefsSplitOperator(task_id="split", source=str(path), shards=shards).execute({})


def opt_out(context: Any, path: Path | None, **arguments: Any) -> dict[str, Any]:
    source = str(path) if path else None
    return HubPrefsBatchUnsubscribeOperator(task_id="opt_out", source=source, **arguments).execute(context)


def test_an_empty_file_fails_the_split(tmp_path: Path) -> None:
    (tmp_path / "people.csv").touch()
    with pytest.raises(HubPrefsException, match="is empty"):
        split(tmp_path / "people.csv")


def test_a_file_that_changed_since_the_split_fails_before_anything_is_sent(
    hubspot: Simulator, context: Any, tmp_path: Path
) -> None:
    path = csv_of(tmp_path, PEOPLE)
    shards = split(path)
    csv_of(tmp_path, PEOPLE[::-1])
    with pytest.raises(HubPrefsException, match="has changed since it was split"):
        opt_out(context, path, shard=shards[1])
    assert hubspot.requests == []


def test_records_that_span_lines_fail_before_anything_is_sent(
    hubspot: Simulator, context: Any, tmp_path: Path
) -> None:
    path = tmp_path / "people.csv"
    inside = "".join(f"{one}\n" for one in PEOPLE)
    path.write_text(f'email,note\na@example.com,"{inside}"\n')
    with pytest.raises(HubPrefsException, match=r"a record spans lines.*without shards"):
        opt_out(context, path, shard=split(path)[2])
    assert hubspot.requests == []


@pytest.mark.parametrize(("shard", "says"), [({"number": 1}, "one of those a split returns"), ("3", "shard")])
def test_what_is_no_shard_is_refused(context: Any, tmp_path: Path, shard: Any, says: str) -> None:
    with pytest.raises(HubPrefsFailException, match=says):
        opt_out(context, csv_of(tmp_path, PEOPLE), shard=shard)


def test_a_shard_needs_its_source(context: Any, tmp_path: Path) -> None:
    (shard, *_) = split(csv_of(tmp_path, PEOPLE))
    with pytest.raises(HubPrefsFailException, match="shard: expected the source, too"):
        opt_out(context, None, subscribers=["a@example.com"], shard=shard)


def test_the_merge_may_fail_for_all_shards(context: Any, tmp_path: Path) -> None:
    path = csv_of(tmp_path, PEOPLE)
    reports = [opt_out(context, path, shard=shard, on_rejected="report") for shard in split(path)]
    merge = HubPrefsMergeReportsOperator(task_id="merge", reports=reports)
    with pytest.raises(HubPrefsFailException, match="of 300 rows, 1 rejected, 2 invalid"):
        merge.execute(context)
    assert context["ti"].pushed["return_value"]["changed"] == ROWS - 3
