"""Many subscribers: where they come from, what is told of them, when the task fails."""

from __future__ import annotations

import gzip
import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from airflow.utils.types import DagRunType
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_hubprefs.bulk.send.pipeline import CONCURRENCY
from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)
from airflow_provider_hubprefs.simulator import Simulator
from tests.helpers import reported

pytestmark = pytest.mark.usefixtures("hubprefs_default")
Context = Any
REJECTED = "rejected@hubspot-rejects.example"
KEYS = [
    *("changed", "unchanged", "rejected", "invalid", "duplicate", "unconfirmed", "read"),
    *("reasons", "complete", "incomplete_because", "dead_letters", "report"),
]


def opt_out(context: Context, **arguments: Any) -> dict[str, Any]:
    return HubPrefsBatchUnsubscribeOperator(task_id="opt_out", **arguments).execute(context)


def set_status(context: Context, **arguments: Any) -> dict[str, Any]:
    return HubPrefsBatchSetStatusOperator(task_id="set_status", **arguments).execute(context)


def outcomes(summary: dict[str, Any]) -> dict[str, int]:
    names = ("changed", "unchanged", "rejected", "invalid", "duplicate", "unconfirmed")
    return {name: summary[name] for name in names if summary[name]}


class TestWhereSubscribersComeFrom:
    @pytest.mark.parametrize(
        "subscribers",
        [
            ["a@example.com", " B@example.com", "a@example.com"],
            ("a@example.com", "b@example.com", "A@EXAMPLE.COM"),
            [{"email": "a@example.com"}, {"email": "b@example.com"}, {"email": "a@example.com"}],
        ],
    )
    def test_a_list(self, hubspot: Simulator, context: Context, subscribers: Any) -> None:
        assert outcomes(opt_out(context, subscribers=subscribers)) == {"changed": 2, "duplicate": 1}
        assert hubspot.is_opted_out("b@example.com")

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            (
                "people.csv",
                b'\xef\xbb\xbfName,E-Mail\r\n"Doe, Jane",A@example.com\r\nBob, b@example.com \r\n',
            ),
            ("people.csv", b"E-Mail;Name\na@example.com;Jane\nb@example.com;Bob\n"),
            ("people.txt", b"a@example.com\n\nb@example.com\n"),
            ("people.jsonl", b'{"E-Mail": "a@example.com"}\n{"E-Mail": "b@example.com", "age": 3}\n'),
            ("people.csv.gz", gzip.compress(b"E-Mail\na@example.com\nb@example.com\n", mtime=0)),
        ],
    )
    def test_a_file(
        self, hubspot: Simulator, context: Context, tmp_path: Path, name: str, content: bytes
    ) -> None:
        (tmp_path / name).write_bytes(content)
        summary = opt_out(context, source=str(tmp_path / name), email_column="e-mail")
        assert outcomes(summary) == {"changed": 2}
        assert hubspot.is_opted_out("a@example.com")
        assert hubspot.is_opted_out("b@example.com")

    def test_an_object_in_a_store(self, hubspot: Simulator, context: Context) -> None:
        attach("memory", fs=MemoryFileSystem())
        path = ObjectStoragePath("memory://bucket/people.csv")
        path.write_text("email\na@example.com\n")
        assert outcomes(opt_out(context, source=path)) == {"changed": 1}
        summary = opt_out(context, source=str(path), output="memory://bucket/runs")
        assert outcomes(summary) == {"unchanged": 1}
        assert summary["report"] == "memory://bucket/runs/dag/run/opt_out/report.json"
        report = json.loads(ObjectStoragePath(summary["report"]).read_text())
        assert summary.items() <= report.items()
        assert summary["dead_letters"] is None

    def test_batches_are_as_large_as_asked(self, hubspot: Simulator, context: Context) -> None:
        people = [f"p{number}@example.com" for number in range(25)]
        opt_out(context, subscribers=people, batch_size=10)
        assert len(hubspot.requests) == 3

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (None, "(?i)no such file|does not exist|not found|no file"),
            (b"", "(?i)empty"),
            (b"name,phone\nJane,1\n", "name"),
        ],
    )
    def test_a_file_that_cannot_be_read_fails_the_task_and_nothing_is_sent(
        self, hubspot: Simulator, context: Context, tmp_path: Path, content: bytes | None, text: str
    ) -> None:
        path = tmp_path / "people.csv"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(HubPrefsException, match=text) as raised:
            opt_out(context, source=str(path))
        assert hubspot.requests == []
        assert "@" not in str(raised.value)

    @pytest.mark.parametrize(
        ("row", "why"), [(b"x" * 10_000_000, "long"), (b"jos\xe9@example.com", "{'encoding'"), (b"", "")]
    )
    def test_a_row_that_cannot_be_read_does_not_stop_the_others(
        self, hubspot: Simulator, context: Context, tmp_path: Path, row: bytes, why: str
    ) -> None:
        path = tmp_path / "people.csv"
        path.write_bytes(b"email\na@example.com\n" + row + b"\nb@example.com\n")
        summary = opt_out(context, source=str(path), output=str(tmp_path / "runs"), on_rejected="report")
        assert outcomes(summary) == ({"changed": 2, "invalid": 1} if why else {"changed": 2})
        assert (why in Path(summary["dead_letters"]).read_text()) if why else not summary["dead_letters"]

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({}, "expected one of subscribers, source and sql, got none"),
            ({"subscribers": ["a@example.com"], "source": "x.csv"}, "got subscribers and source"),
            ({"subscribers": "a@example.com"}, "(?i)list"),
            ({"subscribers": 7}, "subscribers: expected a list .*, got a int"),
            ({"subscribers": "['a@example.com']"}, "subscribers: expected a list .*, got a str"),
            (
                {"subscribers": ["a@example.com"], "on_rejected": "ignore"},
                "on_rejected: expected 'fail' or 'report'",
            ),
            (
                {"source": "s4://bucket/people.csv"},
                "(?i)s4.*: is the Airflow provider of that store installed",
            ),
            ({"subscribers": ["a@example.com"], "batch_size": 0}, "batch_size: expected a whole number"),
        ],
    )
    def test_arguments_that_cannot_work_are_named(
        self, hubspot: Simulator, context: Context, arguments: dict[str, Any], text: str
    ) -> None:
        with pytest.raises(HubPrefsException, match=text):
            opt_out(context, **arguments)
        assert hubspot.requests == []


class TestGreenMeansDone:
    @pytest.mark.parametrize("on_rejected", ["fail", "report"])
    def test_unconfirmed_fails_whatever_may_be_rejected(
        self, hubspot: Simulator, context: Context, on_rejected: str
    ) -> None:
        hubspot.load({"missing": {"addresses": ["a@example.com"], "applied": False}})
        with pytest.raises(HubPrefsException, match="of 3 rows, 1 rejected, 1 unconfirmed") as raised:
            opt_out(
                context, subscribers=["a@example.com", "b@example.com", REJECTED], on_rejected=on_rejected
            )
        assert not isinstance(raised.value, HubPrefsFailException)
        assert context["ti"].pushed["return_value"]["changed"] == 1

    def test_what_hubspot_has_not_finished_fails_where_nobody_waits(
        self, hubspot: Simulator, context: Context
    ) -> None:
        hubspot.load({"operations": {"seconds": 60}})
        with pytest.raises(HubPrefsException, match="1 unconfirmed"):
            opt_out(context, subscribers=["a@example.com"], on_rejected="report", wait_for_completion=False)

    def test_waiting_is_the_default(self, hubspot: Simulator, context: Context) -> None:
        hubspot.load({"operations": {"seconds": 0.3}})
        assert outcomes(opt_out(context, subscribers=["a@example.com"], poke_interval=0.1)) == {"changed": 1}

    def test_a_resubscription_by_race_fails_although_it_was_undone(
        self, hubspot: Simulator, context: Context
    ) -> None:
        number = hubspot.subscription_ids[0]
        hubspot.fault("race", addresses=["a@example.com"], match={"endpoint": "batch_write"})
        wanted = {"subscription_id": number, "status": "SUBSCRIBED", "on_rejected": "report"}
        with pytest.raises(HubPrefsFailException, match="RESUBSCRIBED_BY_RACE") as raised:
            set_status(context, subscribers=["a@example.com", "b@example.com"], **wanted)
        assert "@" not in str(raised.value)
        assert hubspot.status_of("a@example.com", number) == "UNSUBSCRIBED"
        assert hubspot.status_of("b@example.com", number) == "SUBSCRIBED"


class TestLimitsOfARun:
    @pytest.mark.parametrize("most", [1, "1"])
    def test_max_changes_stops_it_before_its_first_write(
        self, hubspot: Simulator, context: Context, most: int | str
    ) -> None:
        with pytest.raises(HubPrefsFailException, match="max_changes is 1, and 2 rows would be written"):
            opt_out(context, subscribers=["a@example.com", "b@example.com"], max_changes=most)
        assert hubspot.requests == []

    @pytest.mark.parametrize("most", [None, "", "None", 2, "2"])
    def test_no_limit_or_one_that_is_kept(self, context: Context, most: int | str | None) -> None:
        people = ["a@example.com", "b@example.com"]
        assert outcomes(opt_out(context, subscribers=people, max_changes=most)) == {"changed": 2}
        assert "max_changes" in HubPrefsBatchUnsubscribeOperator.template_fields

    def test_a_source_that_can_be_read_once_is_refused_with_what_to_do(
        self, hubspot: Simulator, context: Context
    ) -> None:
        with pytest.raises(HubPrefsFailException, match="Give a list or a file"):
            opt_out(context, subscribers=iter(["a@example.com"]), max_changes=1, wait_for_completion=False)
        assert hubspot.requests == []

    def test_refused_alike_may_be_tolerated(self, context: Context) -> None:
        bad = [f"rejected{row}@hubspot-rejects.example" for row in range(12)]
        arguments = {
            "subscribers": bad,
            "on_rejected": "report",
            "batch_size": 10,
            "stop_when_refused_alike": False,
        }
        assert outcomes(opt_out(context, **arguments)) == {"rejected": 12}


class TestTheSummary:
    def test_the_summary_adds_up_and_holds_no_address(self, context: Context) -> None:
        people = ["a@example.com", "A@example.com", "nobody", REJECTED]
        summary = opt_out(context, subscribers=people, on_rejected="report")
        assert list(summary) == KEYS
        assert summary["read"] == sum(outcomes(summary).values()) == 4
        assert summary["reasons"] == {"invalid: INVALID_ADDRESS": 1, "rejected: VALIDATION_ERROR": 1}
        assert "@" not in json.dumps(summary)

    def test_dead_letters_say_which_row_and_why(self, context: Context, tmp_path: Path) -> None:
        path = tmp_path / "new folder" / "dag" / "run" / "opt_out" / "dead_letters.jsonl"
        people = ["a@example.com", "nobody", REJECTED]
        for _ in range(2):  # an older file is replaced
            opt_out(context, subscribers=people, on_rejected="report", output=str(tmp_path / "new folder"))
        letters = [json.loads(line) for line in path.read_text().splitlines()]
        assert [(one["row"], one["subscriber"], one["outcome"]) for one in letters] == [
            (2, "nobody", "invalid"),
            (3, REJECTED, "rejected"),
        ]
        assert all(one["message"] and one["category"] for one in letters)

    def test_by_default_the_task_fails_when_all_other_rows_are_done(
        self, hubspot: Simulator, context: Context, tmp_path: Path
    ) -> None:
        with pytest.raises(HubPrefsException, match="of 2 rows, 1 rejected") as raised:
            opt_out(context, subscribers=["a@example.com", REJECTED], output=str(tmp_path))
        assert f"they are in {tmp_path}/dag/run/opt_out/dead_letters.jsonl" in str(raised.value)
        assert hubspot.is_opted_out("a@example.com")
        assert context["ti"].pushed["return_value"]["changed"] == 1

    def test_a_report_is_written_also_when_the_run_ends_early(
        self, hubspot: Simulator, context: Context, tmp_path: Path
    ) -> None:
        path = tmp_path / "dag" / "run" / "opt_out" / "report.json"
        hubspot.fault("daily", match={"body_contains": "p150@"}, times=None)
        people = [f"p{number}@example.com" for number in range(200)]
        with pytest.raises(HubPrefsException, match="midnight in the account's time zone"):
            opt_out(context, subscribers=people, output=str(tmp_path))
        assert json.loads(path.read_text())["changed"] == 100

    def test_429s_are_counted(self, hubspot: Simulator, context: Context, tmp_path: Path) -> None:
        hubspot.fault("burst", retry_after=0.01, match={"endpoint": "batch_unsubscribe_all"})
        report = reported(opt_out(context, subscribers=["a@example.com"], output=str(tmp_path)))
        assert (report["throttled"], report["retries"], report["requests"]) == (1, 1, 2)

    def test_the_last_words_of_a_task_say_what_became_of_all_rows_and_where_to_look(
        self, hubspot: Simulator, context: Context, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A failed task ends with its error; the sentence stands before it."""
        arguments: dict[str, Any] = {"subscribers": ["a@example.com", REJECTED], "output": str(tmp_path)}
        page = tmp_path / "dag" / "run" / "opt_out" / "report.html"
        said = f"1 of 2 opted out (1 new), 1 not: 1 refused -> {page}"
        with pytest.raises(HubPrefsFailException) as raised:
            opt_out(context, **arguments)
        assert caplog.records[-1].getMessage() == said
        assert str(raised.value) == (
            f"of 2 rows, 1 rejected: 1 VALIDATION_ERROR; they are in {page.parent}/dead_letters.jsonl. All other "
            "rows are done; on_rejected='report' would succeed."
        )
        caplog.clear()
        opt_out(context, **arguments, on_rejected="report")
        assert caplog.records[-1].getMessage() == said.replace("(1 new)", "(0 new)")
        assert caplog.records[-1].levelname == "WARNING"
        caplog.clear()
        number = hubspot.subscription_ids[0]
        set_status(context, subscribers=["a@example.com"], subscription_id=number, status="UNSUBSCRIBED")
        assert (
            caplog.records[-1].getMessage()
            == "1 of 1 set to UNSUBSCRIBED (0 new) -> set output to keep a report"
        )

    @pytest.mark.parametrize(
        ("dag_run", "name"),
        [
            ({"triggering_user_name": "jane", "run_type": DagRunType.MANUAL}, "jane"),
            ({"triggering_user_name": "jane@example.com", "run_type": "manual"}, "j***@e***.com"),
            ({"triggering_user_name": None, "run_type": DagRunType.SCHEDULED}, "scheduled"),
            ({"run_type": "asset_triggered"}, "asset_triggered"),
            (None, None),
        ],
        ids=["user", "address", "schedule", "2.11", "none"],
    )
    def test_says_who_or_what_has_started_the_dag_run(
        self, context: Context, tmp_path: Path, dag_run: dict[str, Any] | None, name: str | None
    ) -> None:
        context["dag_run"] = SimpleNamespace(**dag_run) if dag_run else None
        report = reported(opt_out(context, subscribers=["a@example.com"], output=str(tmp_path)))
        assert report["run"] == {
            "dag_id": "dag",
            "run_id": "run",
            "task_id": "opt_out",
            "map_index": None,
            "try_number": None,
            "started_by": name,
        }
        assert (report["connection"], report["write"]) == ("hubprefs_default", "opt out of everything")
        assert report["portal"] == 48120091


class TestSetStatus:
    def test_sets_it_for_everybody_who_has_not_unsubscribed(
        self, hubspot: Simulator, context: Context
    ) -> None:
        number = hubspot.subscription_ids[0]
        people = ["a@example.com", "b@example.com", "c@example.com"]
        set_status(context, subscribers=people[:1], subscription_id=number, status="UNSUBSCRIBED")
        summary = set_status(
            context,
            subscribers=people,
            subscription_id=str(number),
            status="SUBSCRIBED",
            on_rejected="report",
        )
        assert outcomes(summary) == {"changed": 2, "rejected": 1}
        assert summary["reasons"] == {"rejected: RESUBSCRIBE_NOT_ALLOWED": 1}
        permitted = {"allow_resubscribe": "True", "legal_basis": "CONSENT_WITH_NOTICE"}
        again = set_status(
            context, subscribers=people, subscription_id=number, status="SUBSCRIBED", **permitted
        )
        assert outcomes(again) == {"changed": 1, "unchanged": 2}

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"subscription_id": 404404}, "404404 is not one of the portal's; active ones are: "),
            ({"subscription_id": "news"}, "subscription_id: expected a whole number"),
            ({"status": "CHECKPOINT_MISSING"}, "status: expected one of"),
            ({"status": "SUBSCRIBED", "allow_resubscribe": True}, "legal_basis: expected one"),
        ],
    )
    def test_what_cannot_work_is_said_before_anything_is_written(
        self, hubspot: Simulator, context: Context, arguments: dict[str, Any], text: str
    ) -> None:
        given = {"subscription_id": hubspot.subscription_ids[0], "status": "UNSUBSCRIBED", **arguments}
        with pytest.raises(HubPrefsFailException, match=text):
            set_status(context, subscribers=["a@example.com"], **given)
        assert all(request.method == "GET" for request in hubspot.requests)


COLUMNS: dict[str, Any] = {
    "email_column": "e-mail",
    "status_column": "wanted",
    "subscription_column": "type",
    "legal_basis_column": "basis",
    "legal_basis_explanation_column": "words",
}


class TestWhatRowsSayThemselves:
    @pytest.fixture
    def people(self, hubspot: Simulator, tmp_path: Path) -> str:
        first, second = hubspot.subscription_ids[:2]
        rows = [
            "E-Mail;Wanted;Type;Basis;Words",
            f"a@example.com;unsubscribed;{first};;",
            f"a@example.com;SUBSCRIBED;{second};LEGITIMATE_INTEREST_OTHER;Asked by phone",
            f"b@example.com;subscribed;{first};;",
            f"B@example.com;SUBSCRIBED;{first};;",
            f"c@example.com;off;{first};;",
            "d@example.com;UNSUBSCRIBED;404404;;",
            f"nobody;UNSUBSCRIBED;{first};;",
        ]
        (tmp_path / "people.csv").write_text("\n".join(rows) + "\n")
        return str(tmp_path / "people.csv")

    def test_is_done_and_what_cannot_be_read_is_told_apart(
        self, hubspot: Simulator, context: Context, people: str, tmp_path: Path
    ) -> None:
        summary = set_status(
            context, source=people, **COLUMNS, on_rejected="report", output=str(tmp_path / "runs")
        )
        letters = Path(summary["dead_letters"])
        assert outcomes(summary) == {"changed": 3, "duplicate": 1, "invalid": 3}
        assert summary["reasons"] == {
            "invalid: INVALID_ADDRESS": 1,
            "invalid: INVALID_STATUS": 1,
            "invalid: INVALID_SUBSCRIPTION": 1,
        }
        first, second = hubspot.subscription_ids[:2]
        assert hubspot.status_of("a@example.com", first) == "UNSUBSCRIBED"
        assert hubspot.status_of("a@example.com", second) == "SUBSCRIBED"
        assert hubspot.status_of("b@example.com", first) == "SUBSCRIBED"
        assert [json.loads(line)["row"] for line in letters.read_text().splitlines()] == [6, 7, 8]
        assert reported(summary)["requests"] == 3  # the definitions, one look, one write

    @pytest.mark.parametrize("missing", ["status", "subscription", "legal_basis"])
    def test_a_column_that_is_not_there_is_named_before_any_write(
        self, hubspot: Simulator, context: Context, people: str, missing: str
    ) -> None:
        columns = {**COLUMNS, f"{missing}_column": "nowhere"}
        with pytest.raises(HubPrefsException, match=r'"nowhere".*"Wanted", "Type"'):
            set_status(context, source=people, **columns)
        assert {request.endpoint for request in hubspot.requests} <= {"definitions"}

    @pytest.mark.parametrize(
        ("on_conflict", "seen"), [("error", None), ("last", "SUBSCRIBED"), ("opt_out_wins", "UNSUBSCRIBED")]
    )
    def test_rows_that_contradict_each_other(
        self, hubspot: Simulator, context: Context, on_conflict: Any, seen: str | None
    ) -> None:
        number = hubspot.subscription_ids[0]
        people = [{"email": "a@example.com", "status": status} for status in ("UNSUBSCRIBED", "SUBSCRIBED")]
        arguments: dict[str, Any] = {
            "subscribers": people,
            "subscription_id": number,
            "status_column": "status",
            "on_conflict": on_conflict,
        }
        if seen is None:
            with pytest.raises(HubPrefsFailException, match=r"1 times rows contradict .*: row 1 and row 2\."):
                set_status(context, **arguments)
            assert all(request.method == "GET" for request in hubspot.requests)
        else:
            assert outcomes(set_status(context, **arguments)) == {"changed": 1, "duplicate": 1}
            assert hubspot.status_of("a@example.com", number) == seen

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({}, "expected either subscription_id or subscription_column, got neither"),
            ({"subscription_id": 1}, "expected either status or status_column, got neither"),
            (
                {"subscription_id": 1, "subscription_column": "x"},
                "either subscription_id or subscription_column, got both",
            ),
            (
                {"subscription_id": 1, "status": "SUBSCRIBED", "status_column": "x"},
                "either status or status_column, got both",
            ),
            (
                {
                    "subscription_id": 1,
                    "status_column": "x",
                    "legal_basis": "NON_GDPR",
                    "legal_basis_column": "y",
                },
                "either legal_basis or legal_basis_column, got both",
            ),
            (
                {"subscription_id": 1, "status_column": "x", "on_conflict": "first"},
                "on_conflict: expected 'error' or 'last' or 'opt_out_wins', got 'first'",
            ),
            (
                {"subscription_id": 1, "status_column": "x", "allow_resubscribe": True},
                "legal_basis: expected one with allow_resubscribe=True",
            ),
        ],
    )
    def test_one_way_of_saying_it_is_enough(
        self, hubspot: Simulator, context: Context, arguments: dict[str, Any], text: str
    ) -> None:
        with pytest.raises(HubPrefsException, match=text):
            set_status(context, subscribers=[{"email": "a@example.com"}], **arguments)
        assert hubspot.requests == []

    def test_a_retry_with_other_columns_is_another_run(
        self, hubspot: Simulator, context: Context, people: str, tmp_path: Path
    ) -> None:
        arguments: dict[str, Any] = {**COLUMNS, "source": people, "output": str(tmp_path / "runs")}
        hubspot.fault("daily", match={"endpoint": "batch_write"})
        with pytest.raises(HubPrefsException, match="midnight"):
            set_status(context, **arguments)
        with pytest.raises(HubPrefsException, match="arguments changed"):
            set_status(context, **{**arguments, "legal_basis_column": None})
        with pytest.raises(HubPrefsException, match="arguments changed"):
            set_status(context, **arguments, on_conflict="last")
        assert outcomes(set_status(context, **arguments, on_rejected="report"))["changed"] == 3


def test_a_closed_port_is_reported_without_an_address(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    connection = {"conn_type": "hubprefs", "host": f"http://127.0.0.1:{port}", "password": "token"}
    monkeypatch.setenv(
        "AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps({**connection, "extra": '{"retry_total": 0}'})
    )
    with pytest.raises(HubPrefsException, match="no connection to") as raised:
        opt_out(context, subscribers=["a@example.com"])
    assert "a@example" not in str(raised.value)


def test_a_retry_of_airflows_goes_on_where_the_first_try_stopped(
    hubspot: Simulator, run_dag: Any, tmp_path: Path
) -> None:
    people = [f"p{number}@example.com" for number in range(300)]
    people[40] = people[240] = REJECTED
    (tmp_path / "people.csv").write_text("\n".join(["email", *people]) + "\n")
    hubspot.fault("daily", match={"body_contains": "p200@"})
    run = run_dag("hubprefs_retried", contacts=str(tmp_path / "people.csv"), output=str(tmp_path / "runs"))
    summary = run.xcom("opt_out")
    letters = Path(summary["dead_letters"])
    report = reported(summary)
    assert (run.state, report["tries"], summary["read"]) == ("success", 2, 300)
    assert summary["changed"] + summary["unchanged"] == 298
    assert summary["unchanged"] <= CONCURRENCY * 10
    assert [json.loads(line)["row"] for line in letters.read_text().splitlines()] == [42]
    # 30 batches, one of them halved, those in flight again, and one request for the day's figures; each try asks
    # which portal it is for.
    assert report["requests"] == len(hubspot.requests) - 2 <= 32 + CONCURRENCY
    assert 0 < summary["unchanged"] <= report["resent"] <= CONCURRENCY * 10


def test_what_takes_hubspot_its_time_is_waited_for(hubspot: Simulator, context: Context) -> None:
    hubspot.load({"operations": {"seconds": 0.7}})
    people = [f"p{number}@example.com" for number in range(5)]
    summary = opt_out(context, subscribers=people, wait_for_completion=True, poke_interval=0.1)
    assert outcomes(summary) == {"changed": 5}
    with pytest.raises(
        HubPrefsFailException, match="timeout: expected seconds, more than 0, or a timedelta, got 0"
    ):
        opt_out(context, subscribers=people, wait_for_completion=True, timeout=0)


class TestTheBudget:
    def test_a_run_takes_no_more_than_its_share(
        self, hubspot: Simulator, context: Context, tmp_path: Path
    ) -> None:
        hubspot.load({"limits": {"burst": 20, "interval_ms": 1000}})
        people = [f"p{number}@example.com" for number in range(30)]
        summary = opt_out(
            context, subscribers=people, batch_size=1, max_budget_share=0.5, output=str(tmp_path)
        )
        assert outcomes(summary) == {"changed": 30}
        assert reported(summary)["throttled"] == 0

    @pytest.mark.parametrize("share", [0, -1, 1.5])
    def test_a_share_that_is_none_is_refused(self, context: Context, share: float) -> None:
        with pytest.raises(HubPrefsFailException, match="max_budget_share: expected more than 0"):
            opt_out(context, subscribers=["a@example.com"], max_budget_share=share)

    def test_processes_of_a_machine_share_one_budget(
        self, hubspot: Simulator, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token}
        connection["extra"] = json.dumps({"budget_store": f"file://{tmp_path}/budget"})
        monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps(connection))
        opt_out(context, subscribers=["a@example.com"])
        (file,) = (tmp_path / "budget").iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        assert hubspot.token.encode() not in file.read_bytes()

    def test_a_store_that_is_none_is_refused(
        self, hubspot: Simulator, context: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token}
        connection["extra"] = json.dumps({"budget_store": "memcached://here"})
        monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps(connection))
        with pytest.raises(HubPrefsFailException, match="budget_store: expected process"):
            opt_out(context, subscribers=["a@example.com"])
