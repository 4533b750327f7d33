"""`read_options` of the batch operators: templated, refused before the first request, and what the report counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)
from airflow_provider_hubprefs.operators.preferences import HubPrefsUnsubscribeAllOperator
from tests.helpers import outcomes, reported, writes

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_hubprefs.simulator import Simulator

pytestmark = pytest.mark.usefixtures("hubprefs_default")

JANE, BOB, CY = "jane@example.com", "bob@example.com", "cy@example.com"


def opt_out(context: Context, **arguments: Any) -> dict[str, Any]:
    return HubPrefsBatchUnsubscribeOperator(task_id="opt_out", **arguments).execute(context)


def set_status(context: Context, **arguments: Any) -> dict[str, Any]:
    return HubPrefsBatchSetStatusOperator(task_id="set_status", **arguments).execute(context)


def test_only_the_rows_that_where_takes_are_sent_and_the_others_are_counted(
    hubspot: Simulator, context: Context, tmp_path: Path
) -> None:
    path = tmp_path / "export.csv"
    path.write_text(f'Mail,Unsubscribed,Note\n{JANE},TRUE,"a\nb"\n{BOB},,x\n{CY}, true,x\n')
    summary = opt_out(
        context,
        source=str(path),
        email_column="Mail",
        read_options={"where": {"unsubscribed": ["TRUE", 1]}},
        output=str(tmp_path / "runs"),
    )
    assert outcomes(summary) == {"changed": 2}
    report = reported(summary)
    assert (report["read"], report["skipped"], report["multiline_records"]) == (2, 1, 1)
    assert not hubspot.is_opted_out(BOB)


def test_a_try_that_resumes_counts_what_was_left_out_once(
    hubspot: Simulator, context: Context, tmp_path: Path
) -> None:
    path = tmp_path / "export.csv"
    rows = [f"p{number}@example.com,{number % 2}" for number in range(400)]
    path.write_text("\n".join(["email,x", *rows]))
    arguments: dict[str, Any] = {
        "source": str(path),
        "read_options": {"where": {"x": 1}},
        "output": str(tmp_path / "runs"),
    }
    hubspot.fault("status", status=401, match={"body_contains": "p399@"}, times=1)
    with pytest.raises(HubPrefsFailException):
        opt_out(context, **arguments)
    (report,) = (tmp_path / "runs").rglob("report.json")
    assert json.loads(report.read_text())["skipped"] > 0
    summary = opt_out(context, **arguments)
    assert (summary["read"], reported(summary)["skipped"]) == (200, 200)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"read_options": {"colour": 1}}, "read_options: expected format, .*, got 'colour'"),
        ({"read_options": {"format": "xlsx"}}, "read_options: format: expected csv"),
        ({"read_options": {"header": False}}, "email_column: expected a column's number from 1"),
        ({"read_options": {"status_values": {"x": "UNSUBSCRIBED"}}}, "only with status_column"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_request(
    hubspot: Simulator, context: Context, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(HubPrefsFailException, match=text):
        opt_out(context, source="list.csv", **arguments)
    assert hubspot.requests == []


@pytest.mark.parametrize("native", [False, True])
def test_texts_of_the_dag_author_are_templates_and_results_of_tasks_are_not(*, native: bool) -> None:
    options = {
        "delimiter": "{{ params.d }}",
        "skip_lines": "{{ params.n }}",
        "where": {"x": ["{{ params.x }}"]},
    }
    with DAG("options", render_template_as_native_obj=native):
        operator = HubPrefsBatchUnsubscribeOperator(task_id="a", source="a.csv", read_options=options)
    operator.render_template_fields({"params": {"d": ";", "n": 2, "x": "{{ y }}"}})
    reading = operator._reading()["options"]
    assert (reading.delimiter, reading.skip_lines, reading.where) == (";", 2, (("x", ("{{ y }}",)),))


def test_nothing_inside_subscribers_is_a_template(hubspot: Simulator, context: Context) -> None:
    text = "{{ conn.hubprefs_default.password }}{% raw %}"
    people: list[Any] = [{"email": JANE, "why": text, "more": [{"deep": text}]}, {"email": BOB, "why": text}]
    with DAG("data"):
        operator = HubPrefsBatchSetStatusOperator(
            task_id="data",
            subscribers=people,
            subscription_id=hubspot.subscription_ids[0],
            status="SUBSCRIBED",
            legal_basis="CONSENT_WITH_NOTICE",
            legal_basis_explanation_column="why",
        )
    operator.render_template_fields(context)
    assert outcomes(operator.execute(context)) == {"changed": 2}
    inputs = [one for request in hubspot.requests if request.body for one in request.json()["inputs"]]
    assert [one["legalBasisExplanation"] for one in inputs if isinstance(one, dict)] == [text, text]


def test_results_of_mapped_tasks_and_rows_of_a_query_are_read(hubspot: Simulator, context: Context) -> None:
    assert outcomes(opt_out(context, subscribers=[[JANE, BOB], [CY]])) == {"changed": 3}
    rows = [(7, "ed@example.com"), (8, "fay@example.com")]
    with pytest.raises(HubPrefsException, match="'header': False"):
        opt_out(context, subscribers=rows)
    summary = opt_out(context, subscribers=rows, email_column=2, read_options={"header": False})
    assert outcomes(summary) == {"changed": 2}


@pytest.mark.parametrize("on_conflict", ["error", "opt_out_wins", "last"])
@pytest.mark.parametrize("said", ["unsubscribed,withdrawn by phone", "unsubscribe,", ","])
def test_an_opt_out_that_cannot_be_read_is_never_overruled(
    hubspot: Simulator, context: Context, said: str, on_conflict: Any
) -> None:
    number = hubspot.subscription_ids[0]
    status, basis = said.split(",")
    opts_out = {"email": JANE, "status": status, "basis": basis}
    summary: dict[str, Any] = {}

    def carry_out() -> None:
        summary.update(
            set_status(
                context,
                subscribers=[
                    opts_out,
                    {"email": JANE, "status": "subscribed", "basis": "CONSENT_WITH_NOTICE"},
                    {"email": BOB, "status": "subscribed", "basis": ""},
                ],
                subscription_id=number,
                status_column="status",
                legal_basis_column="basis",
                on_conflict=on_conflict,
                on_rejected="report",
            )
        )

    if basis and on_conflict == "error":
        with pytest.raises(HubPrefsException, match="rows contradict each other"):
            carry_out()
        assert writes(hubspot) == 0
    elif basis:
        carry_out()
        assert hubspot.status_of(JANE, number) == ("SUBSCRIBED" if on_conflict == "last" else "UNSUBSCRIBED")
    else:
        carry_out()
        assert hubspot.status_of(JANE, number) == "NOT_SPECIFIED"
        assert hubspot.status_of(BOB, number) == "SUBSCRIBED"
        assert summary["reasons"] == {
            "invalid: INVALID_STATUS": 1,
            "invalid: CONTRADICTED_BY_INVALID_ROW": 1,
        }


@pytest.mark.parametrize("damaged", [f"\u2018{JANE}", f"Jane <{JANE}>", f"%20{JANE}"])
@pytest.mark.parametrize("said", ["opted out", "?", "opted in"])
def test_an_opt_out_whose_address_is_damaged_keeps_who_is_meant_from_being_subscribed(
    hubspot: Simulator, context: Context, tmp_path: Path, damaged: str, said: str
) -> None:
    number = hubspot.subscription_ids[0]
    rows = [{"email": JANE, "status": "opted in"}, {"email": damaged, "status": said}]
    arguments: dict[str, Any] = {
        "subscription_id": number,
        "status_column": "status",
        "on_rejected": "report",
    }
    summary = set_status(context, subscribers=rows, output=str(tmp_path), **arguments)
    opts_in = said == "opted in"
    assert outcomes(summary) == ({"changed": 1, "invalid": 1} if opts_in else {"invalid": 2})
    assert (hubspot.status_of(JANE, number) == "SUBSCRIBED") == opts_in
    letters = [json.loads(line) for line in Path(summary["dead_letters"]).read_text().splitlines()]
    if said == "opted out":  # the letter says what was wanted: with the address mended it can be sent again
        assert [one["status"] for one in letters if one["subscriber"] == damaged] == ["UNSUBSCRIBED"]


@pytest.mark.parametrize(
    "line",
    [
        f'"{JANE},opted out,x',
        f'"{JANE},opted out,x"',
        f"{JANE};opted out;x",
        f'"{JANE}; {CY}",opted out,x',
        f"{CY} {JANE},opted out,x",
        f'{CY},unsubscribed,"a\nnote\n{JANE},opted out,x"',
    ],
)
def test_nobody_who_stands_in_a_row_that_cannot_be_read_is_subscribed(
    hubspot: Simulator, context: Context, tmp_path: Path, line: str
) -> None:
    path = tmp_path / "export.csv"
    path.write_text(f"email,status,note\n{JANE},opted in,x\n{line}\n{BOB},opted in,x\n")
    number = hubspot.subscription_ids[0]
    summary = set_status(
        context, source=str(path), subscription_id=number, status_column="status", on_rejected="report"
    )
    assert summary["reasons"] == {"invalid: INVALID_ADDRESS": 1, "invalid: CONTRADICTED_BY_INVALID_ROW": 1}
    assert (hubspot.status_of(JANE, number), hubspot.status_of(BOB, number)) == (
        "NOT_SPECIFIED",
        "SUBSCRIBED",
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ('"bob@example.com"', "quotation marks"),
        ("o\u2019neil@example.com", "word processors"),
        ("'bob@example.com", "spreadsheets"),
        ("Bob <bob@example.com>", "beside the address"),
    ],
)
def test_one_subscriber_is_refused_for_the_same_reasons_and_the_error_shows_no_address(
    hubspot: Simulator, context: Context, given: str, why: str
) -> None:
    with pytest.raises(HubPrefsFailException, match=why) as caught:
        HubPrefsUnsubscribeAllOperator(task_id="one", subscriber=given).execute(context)
    assert "bob" not in str(caught.value).lower()
    assert "neil" not in str(caught.value)
    assert hubspot.requests == []


def test_what_an_address_may_mean_is_in_the_dead_letter_and_nowhere_else(
    hubspot: Simulator, context: Context, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    summary = opt_out(
        context, subscribers=["o\u2019neil@example.com"], on_rejected="report", output=str(tmp_path)
    )
    assert summary["reasons"] == {"invalid: INVALID_ADDRESS": 1}
    assert "is o'neil@example.com meant?" in Path(summary["dead_letters"]).read_text()
    assert "neil" not in json.dumps(summary) + caplog.text
    assert writes(hubspot) == 0
