"""The folder of a run: its own, apart from its source, private, and true whatever its tries meet."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_hubprefs.bulk.report.folder import name_of
from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)
from tests.helpers import Store, outcomes, people, reported, writes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_hubprefs.simulator import Simulator

pytestmark = pytest.mark.usefixtures("hubprefs_default")
Context = Any


@pytest.fixture(autouse=True)
def quick(hubspot: Simulator) -> None:
    hubspot.load({"limits": {"burst": 10_000}})


REJECTED = "rejected@hubspot-rejects.example"


def opt_out(context: Context, **arguments: Any) -> dict[str, Any]:
    arguments = {"on_rejected": "report", "batch_size": 10, **arguments}
    return HubPrefsBatchUnsubscribeOperator(task_id="opt_out", **arguments).execute(context)


def letters_of(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ObjectStoragePath(summary["dead_letters"]).read_text().splitlines()]


def with_letters(count: int) -> list[str]:
    """Every tenth row is refused by HubSpot."""
    return [
        f"rejected-{n}@hubspot-rejects.example" if n % 10 == 5 else f"p{n}@example.com" for n in range(count)
    ]


@pytest.fixture
def store(context: Context) -> Store:
    context["task_state_store"] = Store()
    return context["task_state_store"]  # type: ignore[no-any-return]


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    fs = MemoryFileSystem()
    attach("memory", fs=fs)
    yield fs
    MemoryFileSystem.store.clear()


class TestWhereItIs:
    def test_every_id_has_one_safe_name(self) -> None:
        ids = ["a", "A", "a.b", "a/b", "a%2Fb", ".", "..", ".a", "~", "", "%", "é", "é" * 300, "é" * 299]
        ids += ["manual__2026-11-25T10:00:00+00:00", "x" * 250, "x" * 249, "x" * 250 + "/", "a\\b", "a*[b]?"]
        names = [name_of(one) for one in ids]
        assert len(set(names)) == len(ids)
        for name in names:
            assert name.isascii()
            assert 0 < len(name) <= 200
            assert not set(name) & set("/\\:+*?[]")
            assert not name.startswith(".")

    def test_it_is_named_after_dag_run_task_and_map_index(self, context: Context, tmp_path: Path) -> None:
        context["ti"].dag_id, context["ti"].run_id = "../dag", "manual__2026-11-25T10:00:00+00:00"
        context["ti"].map_index = 3
        os.chdir(tmp_path)
        summary = opt_out(context, subscribers=[REJECTED], output="runs")
        folder = tmp_path / "runs/%2E.%2Fdag/manual__2026-11-25T10%3A00%3A00%2B00%3A00/opt_out/3"
        assert summary["report"] == str(folder / "report.json")
        assert summary["dead_letters"] == str(folder / "dead_letters.jsonl")
        assert sorted(path.name for path in folder.iterdir()) == [
            *(path.name for path in folder.glob("*.audit.jsonl")),
            "dead_letters.jsonl",
            "report.html",
            "report.json",
        ]

    def test_airflows_configuration_names_it_by_default(
        self, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert opt_out(context, subscribers=people(1))["report"] is None
        monkeypatch.setenv("AIRFLOW__HUBPREFS__OUTPUT", str(tmp_path))
        for empty in (None, "", "None"):
            assert opt_out(context, subscribers=people(1), output=empty)["report"].startswith(str(tmp_path))

    def test_only_its_owner_can_read_it(self, context: Context, tmp_path: Path, hubspot: Simulator) -> None:
        hubspot.fault("daily", match={"body_contains": "p27@"})
        before = os.umask(0o022)
        try:
            with pytest.raises(HubPrefsException, match="midnight"):
                opt_out(context, subscribers=with_letters(40), output=f"file://{tmp_path}/new/runs")
            while_stopped = list((tmp_path / "new").rglob("*"))
            opt_out(context, subscribers=with_letters(40), output=f"file://{tmp_path}/new/runs")
        finally:
            os.umask(before)
        assert any(path.name.startswith("checkpoint") for path in while_stopped)
        for path in {tmp_path / "new", *while_stopped, *(tmp_path / "new").rglob("*")}:
            if path.exists():
                assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


class TestItIsApartFromTheSource:
    @pytest.mark.parametrize(
        ("source", "output"),
        [
            ("{w}/data", "{w}/data"),
            ("{w}/data/", "file://{w}/data/runs"),
            ("file://{w}/data", "{w}/data//runs/"),
            ("{w}/data", "{w}/x/../data/runs"),
            ("{w}/data", "{w}/link/runs"),
            ("{w}/link", "{w}/data/runs"),
            ("data", "{w}/data/runs"),
            ("{w}/data/**/*.jsonl", "data"),
            ("{w}/data/dag/run/opt_out/*", "{w}/link"),
            ("{w}/data/dag/run/opt_out/dead_letters.jsonl", "{w}/data"),
            ("{w}/data/a.csv", "{w}/data/a.csv"),
            (["{w}/other.csv", "{w}/link/dag/run/opt_out/dead_letters.jsonl"], "data"),
            ("memory://bucket/data", "memory://bucket/data/runs"),
            ("memory://other@bucket/data/", "memory://bucket/data"),
            ("memory://bucket/data//dag/run/opt_out/report.json", "memory://other@bucket/data/"),
        ],
    )
    def test_however_paths_are_spelt(  # noqa: PLR0917 - fixtures
        self, hubspot: Simulator, context: Context, tmp_path: Path, memory: object, source: Any, output: str
    ) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "data")
        (tmp_path / "data" / "a.csv").write_text("email\na@example.com\n")
        os.chdir(tmp_path)
        attach("memory", conn_id="other", fs=MemoryFileSystem())
        of_list = isinstance(source, list)
        paths = [each.format(w=tmp_path) for each in (source if of_list else [source])]
        with pytest.raises(HubPrefsFailException, match="source and output overlap"):
            opt_out(
                context, source=paths if of_list else paths[0], output=output.format(w=tmp_path), resume=False
            )
        assert hubspot.requests == []
        assert (tmp_path / "data" / "a.csv").read_text() == "email\na@example.com\n"
        assert [path.name for path in (tmp_path / "data").iterdir()] == ["a.csv"]

    def test_files_beside_each_other_are_apart(self, context: Context, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("email\na@example.com\n")
        for source in (tmp_path / "a.csv", f"{tmp_path}/*.csv"):
            assert opt_out(context, source=str(source), output=str(tmp_path))["read"] == 1

    def test_dead_letters_are_sent_again(self, hubspot: Simulator, context: Context, tmp_path: Path) -> None:
        first, second = hubspot.subscription_ids[:2]
        (tmp_path / "people.csv").write_text(
            "email,status,type\n"
            f"jane@example.com,UNSUBSCRIBED,{first}\njane@example.com,UNSUBSCRIBED,{second}\nnobody,SUBSCRIBED,{first}\n"
        )
        hubspot.fault("status", status=400, match={"body_contains": "jane@"}, times=3)
        columns: Any = {"status_column": "status", "subscription_column": "type"}
        arguments: dict[str, Any] = {"output": str(tmp_path / "runs"), "on_rejected": "report"}
        first_run = HubPrefsBatchSetStatusOperator(
            task_id="set", source=str(tmp_path / "people.csv"), **columns, **arguments
        ).execute(context)
        assert outcomes(first_run) == {"rejected": 2, "invalid": 1}
        context["ti"].run_id = "another run"
        columns = {"status_column": "status", "subscription_column": "subscription_id"}
        again = HubPrefsBatchSetStatusOperator(
            task_id="set", source=first_run["dead_letters"], email_column="subscriber", **columns, **arguments
        ).execute(context)
        assert outcomes(again) == {"changed": 2, "invalid": 1}
        assert {hubspot.status_of("jane@example.com", one) for one in (first, second)} == {"UNSUBSCRIBED"}
        assert len(letters_of(first_run)) == 3


class TestSeveralAtOnce:
    def test_mapped_tasks_and_runs_touch_only_their_own(
        self, hubspot: Simulator, context: Context, tmp_path: Path
    ) -> None:
        hubspot.fault("latency", ms=[5, 30], times=None)
        done: dict[Any, dict[str, Any]] = {}

        def carry(index: int, run_id: str) -> None:
            ti = type(context["ti"])()
            ti.map_index, ti.run_id = index, run_id
            rows = [one.replace("@", f"-{run_id}-{index}@") for one in with_letters(120)]
            done[index, run_id] = opt_out({"ti": ti}, subscribers=rows, output=str(tmp_path))

        threads = [threading.Thread(target=carry, args=(index, run)) for index in (0, 1) for run in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(done) == 4
        for (index, run_id), summary in done.items():
            found = [one["subscriber"] for one in letters_of(summary)]
            assert len(found) == len(set(found)) == summary["rejected"] == 12
            assert all(f"-{run_id}-{index}@" in one for one in found)
        assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 16

    @pytest.mark.parametrize("ms", [100, 20], ids=["slow", "quick"])
    def test_an_old_try_that_still_runs_stops_and_leaves_the_later_ones_files_alone(
        self, hubspot: Simulator, context: Context, store: Store, tmp_path: Path, ms: int
    ) -> None:
        rows = with_letters(200)
        done: dict[str, Any] = {}
        of_writes: dict[str, Any] = {"match": {"endpoint": "batch_unsubscribe_all"}, "times": None}
        hubspot.fault("latency", ms=[20, 20], **of_writes)

        def carry(name: str) -> None:
            try:
                done[name] = opt_out(
                    dict(context), subscribers=rows, output=str(tmp_path), max_budget_share=0.5
                )
            except HubPrefsException as error:
                done[name] = error

        def begun_by() -> Any:
            return next((one["writer"] for one in list(store.values()) if "writer" in one), None)

        old, new = (threading.Thread(target=carry, args=(name,)) for name in ("old", "new"))
        old.start()
        while writes(hubspot) < 6:
            time.sleep(0.005)
        hubspot.fault("latency", ms=[1000, 1000], **of_writes)  # the old try must not be done before
        first = begun_by()
        new.start()
        while begun_by() == first:
            time.sleep(0.005)
        hubspot.clear_faults()
        hubspot.fault("latency", ms=[ms, ms], **of_writes)
        for thread in (old, new):
            thread.join()
        assert "A later try of this task has begun" in str(done["old"])
        summary: Any = done["new"]
        assert (summary["read"], summary["rejected"], reported(summary)["tries"]) == (200, 20, 2)
        assert len({one["row"] for one in letters_of(summary)}) == len(letters_of(summary)) == 20
        names = sorted(path.name for path in Path(summary["report"]).parent.iterdir())
        assert names == [
            Path(reported(summary)["audit"]).name,
            "dead_letters.jsonl",
            "report.html",
            "report.json",
        ]
        assert json.loads(Path(summary["report"]).read_text())["rejected"] == 20
        assert not store


class TestATryThatFindsLess:
    @pytest.mark.parametrize("lost", ["all", "one", "cut"])
    def test_begins_again_and_says_so_where_letters_are_gone(  # noqa: PLR0917 - fixtures
        self,
        hubspot: Simulator,
        context: Context,
        store: Store,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        lost: str,
    ) -> None:
        """A retry on another machine does not have the first one's local files."""
        hubspot.fault("daily", match={"body_contains": "p52@"})
        with pytest.raises(HubPrefsException, match="midnight"):
            opt_out(context, subscribers=with_letters(200), output=str(tmp_path / "pod 1"))
        parts = sorted((tmp_path / "pod 1").rglob("_part-*"))
        assert parts
        if lost == "one":
            parts[0].unlink()
        elif lost == "cut":
            parts[0].write_bytes(parts[0].read_bytes()[:-5])
        caplog.clear()
        output = str(tmp_path / ("pod 2" if lost == "all" else "pod 1"))
        summary = opt_out(context, subscribers=with_letters(200), output=output)
        assert "The run begins again from the first row" in caplog.text
        assert len([one for one in caplog.records if "begins again" in one.getMessage()]) == 1
        assert (summary["read"], summary["rejected"], reported(summary)["tries"]) == (200, 20, 2)
        assert 40 <= summary["unchanged"] <= reported(summary)["resent"] < 200
        assert len(letters_of(summary)) == 20
        assert [path for path in (tmp_path).rglob("_part-*") if str(path).startswith(output)] == []

    def test_letters_of_an_earlier_run_stay_until_there_are_new_ones(
        self, hubspot: Simulator, context: Context, tmp_path: Path
    ) -> None:
        first = opt_out(context, subscribers=[*people(3), REJECTED], output=str(tmp_path))
        with pytest.raises(HubPrefsException, match="subscribers: expected a list"):
            opt_out(context, subscribers=7, output=str(tmp_path))
        (tmp_path / "a.csv").write_text("nothing\nhere\n")
        with pytest.raises(HubPrefsException, match="no column"):
            opt_out(context, source=str(tmp_path / "a.csv"), output=str(tmp_path))
        clean = opt_out(context, subscribers=people(3), output=str(tmp_path))
        assert clean["dead_letters"] is None
        assert len(letters_of(first)) == 1
        other = opt_out(context, subscribers=["nobody"], output=str(tmp_path))
        assert [one["subscriber"] for one in letters_of(other)] == ["nobody"]

    @pytest.mark.parametrize("kind", ["private app", "service key", "another portal"])
    def test_goes_on_with_another_token_of_the_same_portal_only(
        self, hubspot: Simulator, context: Context, store: Store, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        """HubSpot does not say which portal a service key is for: host and connection stand for it."""
        if kind == "service key":
            hubspot.fault("status", status=404, match={"endpoint": "token_info"}, times=None)
        hubspot.fault("status", status=401, match={"body_contains": "person-150@"})
        with pytest.raises(HubPrefsFailException):
            opt_out(context, subscribers=people(200))
        assert hubspot.token not in json.dumps(store)
        connection = json.loads(os.environ["AIRFLOW_CONN_HUBPREFS_DEFAULT"])
        token = {"password": hubspot.tokens["starter"]}
        monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps({**connection, **token}))
        sent = writes(hubspot)
        if kind == "another portal":
            other: dict[str, Any] = {"json": {"hubId": 1, "scopes": []}, "match": {"endpoint": "token_info"}}
            hubspot.fault("answer", **other, times=None)
            with pytest.raises(HubPrefsFailException, match="The portal changed since an earlier try"):
                opt_out(context, subscribers=people(200))
            assert writes(hubspot) == sent
            return
        summary = opt_out(context, subscribers=people(200))
        assert (summary["read"], summary["rejected"]) == (200, 0)
        assert writes(hubspot) - sent < 200  # that token sends single calls

    def test_a_folder_that_fails_in_the_middle_leaves_a_true_report(
        self, hubspot: Simulator, context: Context, memory: MemoryFileSystem
    ) -> None:
        class Failing(MemoryFileSystem):  # type: ignore[misc]
            cachable = False

            def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
                if "_part-" in path and path.endswith("000001") and mode == "wb":
                    raise OSError(28, "No space left on device", path)
                return super()._open(path, mode, **options)

        attach("memory", conn_id="full", fs=Failing())
        with pytest.raises(HubPrefsException, match="No space left"):
            opt_out(context, subscribers=with_letters(100), output="memory://full@bucket/runs")
        report = json.loads(ObjectStoragePath("memory://bucket/runs/dag/run/opt_out/report.json").read_text())
        assert report["incomplete_because"] == "OSError"
        assert report["read"] == sum(outcomes(report).values()) > 0
        assert report["changed"] == sum(map(hubspot.is_opted_out, with_letters(100)[: report["read"]]))


class TestAFewUnconfirmed:
    def test_a_retry_asks_about_them_alone_and_keeps_what_was_proven(
        self, hubspot: Simulator, context: Context, store: Store, tmp_path: Path
    ) -> None:
        rows = [*with_letters(100), "person-3@example.com", "person-7@example.com"]
        hubspot.load({"missing": {"addresses": rows[-2:]}, "limits": {"burst": 10_000}})
        arguments: dict[str, Any] = {"subscribers": rows, "output": str(tmp_path), "on_rejected": "fail"}
        with pytest.raises(HubPrefsException, match="2 unconfirmed") as raised:
            opt_out(context, **arguments)
        assert not isinstance(raised.value, HubPrefsFailException)
        first = context["ti"].pushed["return_value"]
        assert (first["changed"], first["rejected"], first["unconfirmed"]) == (90, 10, 2)
        assert len(letters_of(first)) == 12
        with pytest.raises(HubPrefsException, match="2 unconfirmed"):
            opt_out(context, **arguments)
        assert len(letters_of(first)) == 12
        hubspot.load({"missing": {"addresses": []}, "limits": {"burst": 10_000}})
        before = len(hubspot.requests)
        with pytest.raises(HubPrefsFailException, match="10 rejected"):
            opt_out(context, **arguments)
        summary = context["ti"].pushed["return_value"]
        assert outcomes(summary) == {"changed": 92, "rejected": 10}
        report = reported(summary)
        assert (report["read"], report["tries"], report["resent"]) == (102, 3, 0)
        assert summary["reasons"] == {"rejected: VALIDATION_ERROR": 10}
        bodies = [request.json().get("inputs") for request in hubspot.requests[before:]]
        assert [body for body in bodies if body] == [["person-3@example.com", "person-7@example.com"]] * 2
        assert len(letters_of(summary)) == 10
        assert not store

    def test_of_another_source_nothing_is_sent_and_of_lost_letters_all_is_sent_again(
        self, hubspot: Simulator, context: Context, store: Store, tmp_path: Path
    ) -> None:
        rows = [*with_letters(100), "person-3@example.com"]
        hubspot.load({"missing": {"addresses": rows[-1:]}, "limits": {"burst": 10_000}})
        with pytest.raises(HubPrefsException, match="1 unconfirmed"):
            opt_out(context, subscribers=rows, output=str(tmp_path))
        sent = writes(hubspot)
        with pytest.raises(
            HubPrefsFailException, match="The source changed since an earlier try stopped after 101"
        ):
            opt_out(context, subscribers=[*rows, "new@example.com"], output=str(tmp_path))
        assert writes(hubspot) == sent
        for part in tmp_path.rglob("_part-*-final-*"):
            part.unlink()
        hubspot.load({"missing": {"addresses": []}, "limits": {"burst": 10_000}})
        summary = opt_out(context, subscribers=rows, output=str(tmp_path))
        assert outcomes(summary) == {"changed": 91, "rejected": 10}
        assert reported(summary)["resent"] == 101


def test_mapped_tasks_of_a_real_dag_run_have_folders_of_their_own(
    hubspot: Simulator, run_dag: Any, tmp_path: Path
) -> None:
    run = run_dag("hubprefs_mapped_output", output=str(tmp_path))
    assert run.state == "success", run.tasks
    for index in (0, 1):
        summary = run.xcom("opt_out", map_index=index)
        folder = Path(summary["report"]).parent
        assert folder.parent.parent.parent == tmp_path / "hubprefs_mapped_output"
        assert (folder.name, folder.parent.name) == (str(index), "opt_out")
        assert reported(summary)["run"] == {
            "dag_id": "hubprefs_mapped_output",
            "run_id": unquote(folder.parent.parent.name),
            "task_id": "opt_out",
            "map_index": index,
            "try_number": 1,
            "started_by": "dag_test",
        }
        assert ":" not in folder.parent.parent.name
        assert [one["subscriber"] for one in letters_of(summary)] == [f"nobody-{index}"]
