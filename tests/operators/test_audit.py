"""The audit of tasks: on wherever there is a folder, signed, private, the same in the report and the XCom."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_hubprefs.bulk.audit.verify import AuditResult, audits_at, records_of, verify_audit
from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.operators._audit import audit_keys
from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)
from airflow_provider_hubprefs.operators.preferences import (
    HubPrefsSetStatusOperator,
    HubPrefsUnsubscribeAllOperator,
)
from tests.helpers import ANSWER_PENDING, people, reported, writes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_hubprefs.simulator import Simulator

pytestmark = pytest.mark.usefixtures("hubprefs_default")
Context = Any
JANE = "jane@example.com"
REJECTED = "rejected@hubspot-rejects.example"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AIRFLOW__HUBPREFS__AUDIT_KEY", "the secret of these tests")
    return "the secret of these tests"


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("AIRFLOW__HUBPREFS__OUTPUT", str(tmp_path / "out"))
    return tmp_path / "out"


@pytest.fixture
def memory() -> Iterator[None]:
    attach("memory", fs=MemoryFileSystem())
    yield
    MemoryFileSystem.store.clear()


def opt_out(context: Context, **arguments: Any) -> dict[str, Any]:
    arguments = {"on_rejected": "report", "batch_size": 10, **arguments}
    return HubPrefsBatchUnsubscribeOperator(task_id="opt_out", **arguments).execute(context)


def set_one(context: Context, **arguments: Any) -> dict[str, Any]:
    given = {"task_id": "set_one", "subscriber": JANE, "status": "UNSUBSCRIBED", **arguments}
    return HubPrefsSetStatusOperator(**given).execute(context)


def proven(path: Any) -> AuditResult:
    found = verify_audit(path, audit_keys())
    assert found["state"] == "proven", found
    return found


def records(path: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_run_with_a_folder_has_an_audit(
    context: Context, output: Path, hubspot: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    context["dag_run"] = type(
        "DagRun", (), {"run_type": "manual", "triggering_user_name": "ann@example.com"}
    )()
    rows = [*people(12), REJECTED, "nothing", "person-3@example.com"]
    report = reported(opt_out(context, subscribers=rows))
    (path,) = audits_at(output)
    found = proven(path)
    assert (report["audit"], report["audit_head"]) == (str(path), found["head"])
    assert found["confirmed_by"] == ["signature", "report"]
    assert context["ti"].pushed["hubprefs_report"]["audit_head"] == found["head"]
    first, *_, end = records(path)
    expected = {
        "dag_id": "dag",
        "run_id": "run",
        "task_id": "opt_out",
        "started_by": "a***@e***.com",
        "connection": "hubprefs_default",
        "portal": hubspot.portal.settings.portal_id,
        "api_version": "2026-09",
        "plan": None,
        "same": {"after": "UNSUBSCRIBED"},
    }
    assert {name: first[name] for name in expected} == expected
    assert len(first["source"]) == 32
    assert end["rows"] == {"changed": 12, "rejected": 1, "invalid": 1, "duplicate": 1}
    assert sum("subscriber" in one for one in records(path)) == 13
    assert "@example" not in path.read_text() + caplog.text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_another_run_of_the_same_task_instance_has_a_file_of_its_own(context: Context, output: Path) -> None:
    for _ in range(2):
        opt_out(context, subscribers=people(3))
    first, second = map(records, audits_at(output))
    outcomes = sorted([first[1]["outcome"], second[1]["outcome"]])
    assert outcomes == ["changed", "unchanged"]
    assert first[0]["source"] == second[0]["source"]
    assert first[1]["subscriber"] == second[1]["subscriber"]


def test_a_retry_adds_to_the_file_of_the_try_before(
    context: Context, output: Path, hubspot: Simulator
) -> None:
    hubspot.fault("daily", match={"body_contains": "person-27@"}, times=1)
    context["ti"].try_number = 1
    with pytest.raises(HubPrefsException, match="midnight"):
        opt_out(context, subscribers=people(40))
    (path,) = audits_at(output)
    assert proven(path)["complete"] is False
    before = path.read_text().splitlines()[:-1]
    context["ti"].try_number = 2
    report = reported(opt_out(context, subscribers=people(40)))
    assert audits_at(output) == [path]
    assert proven(path)["head"] == report["audit_head"]
    assert path.read_text().splitlines()[: len(before)] == before
    tries = [one["try_number"] for one in records(path) if one.get("record") == "batch"]
    assert (tries[0], tries[-1]) == (1, 2)
    assert sum("subscriber" in one for one in records(path)) == 40


def test_what_columns_say_and_what_was_before_is_recorded(
    context: Context, output: Path, hubspot: Simulator
) -> None:
    number = hubspot.subscription_ids[0]
    rows = [{"email": JANE, "basis": "CONSENT_WITH_NOTICE", "why": f"{JANE} signed up"}]
    HubPrefsBatchSetStatusOperator(
        task_id="set",
        subscribers=rows,
        subscription_id=number,
        status="SUBSCRIBED",
        legal_basis_column="basis",
        legal_basis_explanation_column="why",
    ).execute(context)
    (path,) = audits_at(output)
    first, row, _ = records(path)
    assert first["same"] == {"subscription": number, "after": "SUBSCRIBED"}
    kept = {name: row[name] for name in ("outcome", "before", "legal_basis", "explanation")}
    assert kept == {
        "outcome": "changed",
        "before": "NOT_SPECIFIED",
        "legal_basis": "CONSENT_WITH_NOTICE",
        "explanation": "j***@e***.com signed up",
    }


@pytest.mark.parametrize(
    ("argument", "setting", "expected"),
    [(None, "", False), (True, "", True), (None, "True", True), (False, "True", False), ("True", "", True)],
    ids=["by default not", "by argument", "by setting", "argument first", "rendered"],
)
def test_addresses_are_recorded_only_where_that_is_asked_for(
    context: Context,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    argument: Any,
    setting: str,
    expected: bool,
) -> None:
    if setting:
        monkeypatch.setenv("AIRFLOW__HUBPREFS__AUDIT_ADDRESSES", setting)
    opt_out(context, subscribers=[JANE], audit_addresses=argument)
    (path,) = audits_at(output)
    assert (records(path)[1].get("address") == JANE) is expected
    assert (JANE in path.read_text()) is expected


class TestOneSubscriber:
    def test_a_write_is_recorded_as_in_a_run(
        self, context: Context, output: Path, hubspot: Simulator
    ) -> None:
        number = hubspot.subscription_ids[0]
        set_one(
            context,
            subscription_id=number,
            legal_basis="CONSENT_WITH_NOTICE",
            legal_basis_explanation="asked",
        )
        HubPrefsUnsubscribeAllOperator(task_id="opt_out", subscriber=JANE).execute(context)
        found = [one for path in audits_at(output) for one in records_of(path, JANE, audit_keys())]
        assert [(one["task_id"], one["outcome"], one["after"]) for one in found] == [
            ("opt_out", "changed", "UNSUBSCRIBED"),
            ("set_one", "changed", "UNSUBSCRIBED"),
        ]
        assert (found[1]["subscription"], found[1]["explanation"]) == (number, "asked")
        heads = [proven(path)["head"] for path in audits_at(output)]
        assert context["ti"].pushed["hubprefs_report"]["audit_head"] == heads[0]

    def test_so_is_what_a_guard_or_hubspot_refused(
        self, context: Context, output: Path, hubspot: Simulator
    ) -> None:
        number = hubspot.subscription_ids[0]
        set_one(context, subscription_id=number)
        with pytest.raises(HubPrefsFailException, match="allow_resubscribe"):
            set_one(context, subscription_id=number, status="SUBSCRIBED")
        with pytest.raises(HubPrefsFailException):
            set_one(context, subscription_id=number, subscriber=REJECTED)
        found = [records(path)[1] for path in audits_at(output)]
        assert sorted((one["outcome"], one.get("category")) for one in found) == [
            ("changed", None),
            ("rejected", "RESUBSCRIBE_NOT_ALLOWED"),
            ("rejected", "VALIDATION_ERROR"),
        ]

    @pytest.mark.parametrize(
        ("operations", "outcome"),
        [({"outcomes": {"*": "CANCELED"}}, "rejected"), ({"seconds": 0.2}, "changed"), ({}, "unconfirmed")],
        ids=["canceled", "waited for", "not in time"],
    )
    def test_so_is_how_a_wait_ended(
        self, context: Context, output: Path, hubspot: Simulator, operations: dict[str, Any], outcome: str
    ) -> None:
        hubspot.load({"operations": {"seconds": 0.1, **operations}})
        if not operations:
            hubspot.fault(**ANSWER_PENDING, times=None)
        try:
            set_one(context, subscription_id=hubspot.subscription_ids[0], timeout=0.6, poke_interval=0.1)
        except HubPrefsException:
            assert outcome != "changed"
        (path,) = audits_at(output)
        assert records(path)[1]["outcome"] == outcome
        proven(path)

    def test_without_a_folder_nothing_is(self, context: Context, hubspot: Simulator) -> None:
        set_one(context, subscription_id=hubspot.subscription_ids[0])
        assert "audit_head" not in context["ti"].pushed["hubprefs_report"]


class TestTheFolderOfAllAudits:
    @pytest.mark.usefixtures("output", "memory")
    def test_has_a_copy_of_each_by_portal(
        self, context: Context, hubspot: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW__HUBPREFS__AUDIT", "memory://bucket/audit")
        for task in range(2):
            opt_out(context, subscribers=people(3, start=task))
        set_one(context, subscription_id=hubspot.subscription_ids[0])
        copies = audits_at(ObjectStoragePath("memory://bucket/audit"))
        assert {path.parent.name for path in copies} == {str(hubspot.portal.settings.portal_id)}
        assert [path.name[10:].rpartition("-")[0] for path in copies] == ["-dag-run-opt_out"] * 2 + [
            "-dag-run-set_one"
        ]
        assert all(proven(path)["confirmed_by"] == ["signature"] for path in copies)
        assert [len([*records_of(path, "person-2@example.com", audit_keys())]) for path in copies].count(
            1
        ) == 2

    @pytest.mark.parametrize(
        ("audit", "out", "says"),
        [
            ("audit", "{}", r"\[hubprefs\] audit is relative"),
            ("/x/audit", "", r"no folder to write its audit"),
        ],
        ids=["relative", "without output"],
    )
    def test_that_cannot_work_is_said_before_anything_is_sent(
        self,
        context: Context,
        hubspot: Simulator,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        *,
        audit: str,
        out: str,
        says: str,
    ) -> None:
        monkeypatch.setenv("AIRFLOW__HUBPREFS__AUDIT", audit)
        monkeypatch.setenv("AIRFLOW__HUBPREFS__OUTPUT", out.format(tmp_path))
        with pytest.raises(HubPrefsFailException, match=says):
            opt_out(context, subscribers=people(1))
        with pytest.raises(HubPrefsFailException, match=says):
            set_one(context, subscription_id=hubspot.subscription_ids[0])
        assert writes(hubspot) == 0

    def test_that_cannot_be_written_fails_the_task_whose_retry_sends_nothing_again(
        self,
        context: Context,
        output: Path,
        hubspot: Simulator,
        *,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        in_the_way = tmp_path / "audit"
        in_the_way.write_text("a file")
        monkeypatch.setenv("AIRFLOW__HUBPREFS__AUDIT", str(in_the_way))
        with pytest.raises(HubPrefsException, match=r"Not a directory"):
            opt_out(context, subscribers=people(30))
        sent = writes(hubspot)
        in_the_way.unlink()
        report = reported(opt_out(context, subscribers=people(30)))
        assert (report["complete"], report["changed"], writes(hubspot)) == (True, 30, sent)
        (copy,) = audits_at(in_the_way)
        assert len(audits_at(output)) == 1
        assert proven(copy)["head"] == report["audit_head"]


class TestTheKey:
    @pytest.mark.parametrize("fernet", ["a" * 43 + "=", f"{'b' * 43}=,{'a' * 43}="], ids=["one", "rotated"])
    @pytest.mark.usefixtures("output")
    def test_is_made_of_airflows_by_default(
        self, context: Context, output: Path, monkeypatch: pytest.MonkeyPatch, fernet: str
    ) -> None:
        monkeypatch.setenv("AIRFLOW__HUBPREFS__AUDIT_KEY", "")
        monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "a" * 43 + "=")
        opt_out(context, subscribers=[JANE])
        monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", fernet)
        (path,) = audits_at(output)
        assert proven(path)["confirmed_by"] == ["signature", "report"]
        assert [one["outcome"] for one in records_of(path, JANE, audit_keys())] == ["changed"]

    @pytest.mark.parametrize("fernet", ["", "{FERNET_KEY}"], ids=["empty", "not set"])
    def test_that_is_missing_is_warned_of(
        self,
        context: Context,
        output: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        fernet: str,
    ) -> None:
        monkeypatch.setenv("AIRFLOW__HUBPREFS__AUDIT_KEY", "")
        monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", fernet)
        with caplog.at_level(logging.WARNING):
            opt_out(context, subscribers=[JANE])
        assert "set [hubprefs] audit_key" in caplog.text
        (path,) = audits_at(output)
        assert proven(path)["confirmed_by"] == ["report"]
        assert records(path)[0]["key"] is None

    @pytest.mark.usefixtures("output")
    def test_that_is_too_short_fails_before_anything_is_sent(
        self, context: Context, hubspot: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW__HUBPREFS__AUDIT_KEY", "hunter2")
        with pytest.raises(
            HubPrefsFailException, match="audit_key: expected secrets of at least 16"
        ) as error:
            opt_out(context, subscribers=people(1))
        assert "hunter2" not in str(error.value)
        assert writes(hubspot) == 0
