"""Errors for people: one line, the cause first, no chain; what no retry mends fails at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException, airflow_errors
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)
from airflow_provider_hubprefs.simulator import Simulator

FILES = {
    "list.csv": b"email,phone\na@example.com,1\n",
    "empty.csv": b"",
    "array.json": b'[{"email": "a@example.com"}]',
    "list.xlsx": b"PK\x03\x04" + b"\0" * 100,
    "columns.csv": b"email,email\na,b\n",
    "broken.csv.gz": b"no gzip at all",
    "cut.parquet": b"PAR1" + b"\0" * 100,
}
Raised = tuple[type[Exception], str, str]


def raised(operator: Any) -> Raised:
    with pytest.raises(HubPrefsException) as caught:
        operator.execute({})
    error = caught.value
    assert "\n" not in str(error)
    assert error.__suppress_context__
    assert error.__cause__ is None
    return type(error), str(error)[:70], str(error)


@pytest.mark.usefixtures("hubprefs_default")
@pytest.mark.parametrize(
    ("name", "arguments", "final", "cause"),
    [
        ("list.csv", {"email_column": "mail"}, True, 'no column is called "mail"'),
        ("columns.csv", {}, True, "2 columns are called"),
        ("list.csv", {"read_options": {"encoding": "klingon"}}, True, "encoding"),
        ("list.csv", {"read_options": {"delimiter": ";;"}}, True, "delimiter"),
        ("array.json", {}, True, "is a JSON array"),
        ("list.xlsx", {}, True, "Excel"),
        ("broken.csv.gz", {}, True, "named as compressed"),
        ("empty.csv", {}, False, "is empty"),
        ("missing.csv", {}, False, "there is no such file"),
        ("missing/*.csv", {}, False, "no files found"),
        ("folder/", {}, False, "no files found"),
        ("list.csv/more.csv", {}, False, "cannot be read (NotADirectoryError: Not a directory)"),
    ],
)
def test_an_error_about_a_source_is_final_unless_the_source_may_still_come(
    hubspot: Simulator, tmp_path: Path, name: str, arguments: dict[str, Any], *, final: bool, cause: str
) -> None:
    (tmp_path / "folder").mkdir()
    for one, content in FILES.items():
        (tmp_path / one).write_bytes(content)
    operator = HubPrefsBatchUnsubscribeOperator(task_id="t", source=str(tmp_path / name), **arguments)
    kind, beginning, text = raised(operator)
    assert cause in beginning
    assert issubclass(kind, HubPrefsFailException) is final
    if "no such file" in text or "no files" in text:
        assert str(tmp_path) in text
        assert "Check the path on the worker" in text
    assert hubspot.requests == []


def test_a_relative_path_is_named_whole(
    hubprefs_default: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = raised(HubPrefsBatchUnsubscribeOperator(task_id="t", source="nothere.csv"))[2]
    assert f"'nothere.csv': there is no such file: '{tmp_path}/nothere.csv'" in text.replace("file://", "")
    assert "a relative one starts in the folder in which the worker was started" in text


def test_a_missing_object_names_the_connection_of_its_store(
    hubprefs_default: str,
) -> None:
    attach("memory", conn_id="my_store", fs=MemoryFileSystem())
    text = raised(
        HubPrefsBatchUnsubscribeOperator(task_id="t", source="memory://my_store@bucket/nothere.csv")
    )[2]
    assert "there is no such file: 'memory:///bucket/nothere.csv'" in text
    assert "the connection 'my_store' of its store (not HubSpot's)" in text


@pytest.mark.parametrize(
    ("fault", "final", "cause"),
    [
        ({"kind": "status", "status": 401}, True, "the token is not accepted (401): check the field Token"),
        ({"kind": "daily"}, False, "the day's requests are used up: run it again after midnight"),
    ],
)
def test_an_error_of_hubspots_says_what_to_do_first(
    hubspot: Simulator, hubprefs_default: str, fault: dict[str, Any], *, final: bool, cause: str
) -> None:
    hubspot.fault(**fault, match={"method": "POST"}, times=None)
    kind, beginning, text = raised(
        HubPrefsBatchUnsubscribeOperator(task_id="t", subscribers=["a@example.com"])
    )
    assert cause in beginning
    assert issubclass(kind, HubPrefsFailException) is final
    assert final or "run it again after midnight in the account's time zone" in text[:200]


def test_the_daily_limit_says_when_to_run_again(hubspot: Simulator, hubprefs_default: str) -> None:
    hubspot.load({"limits": {"daily": 100}})
    people = [f"p{number}@example.com" for number in range(500)]
    operator = HubPrefsBatchSetStatusOperator(
        task_id="t",
        subscribers=people,
        batch_size=1,
        subscription_id=hubspot.subscription_ids[0],
        status="UNSUBSCRIBED",
    )
    kind, beginning, text = raised(operator)
    assert beginning.startswith("too few of the day's requests are left")
    assert "Run it again (clear the task) after midnight in the account's time zone" in text
    assert not issubclass(kind, HubPrefsFailException)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device", "/x/jane@example.com"), "No space left on device: /x/j***"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("the store is gone"), "the store is gone"),
        (TimeoutError(), "TimeoutError"),
        (ValidationError("status: expected one"), "status: expected one"),
    ],
)
def test_an_error_without_a_file_names_none(error: Exception, text: str) -> None:
    with pytest.raises(HubPrefsException) as caught, airflow_errors():
        raise error from KeyError("inner")
    assert str(caught.value).startswith(text)
    assert "None" not in str(caught.value)
    assert "jane" not in str(caught.value)
    assert caught.value.error is error


def test_a_connection_test_names_no_transient_id(monkeypatch: pytest.MonkeyPatch) -> None:
    for broken in (
        {"password": ""},
        {"password": "x", "extra": "[]"},
        {"conn_type": "http", "password": "x"},
    ):
        connection = {"conn_type": "hubprefs", **broken}
        monkeypatch.setenv("AIRFLOW_CONN_U7EVLYAK", json.dumps(connection))
        tested, text = HubPrefsHook("u7evlyak").test_connection()
        assert not tested
        assert text.startswith("this connection: ")
        assert "u7evlyak" not in text.lower()
