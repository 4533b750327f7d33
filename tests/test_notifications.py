"""The notifier: a sentence for each bulk run of a DAG run, in the log and in another notifier's message."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseNotifier

from airflow_provider_hubprefs.notifications.hubprefs import HubPrefsNotifier
from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator

sent: list[str] = []


class Sync(BaseNotifier):
    """Another provider's notifier, which cannot be awaited."""

    template_fields = ("text",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Any) -> None:
        sent.append(self.text)


class Async(Sync):
    """One that can."""

    async def async_notify(self, context: Any) -> None:
        sent.append(f"async {self.text}")


@pytest.fixture
def output(context: Any, hubprefs_default: str, tmp_path: Path) -> str:
    """The folder of a run that has ended, of the DAG run of the fixture ``context``."""
    sent.clear()
    HubPrefsBatchUnsubscribeOperator(
        task_id="opt_out",
        subscribers=["a@example.com", "A@example.com", "broken"],
        output=str(tmp_path),
        on_rejected="report",
    ).execute(context)
    return str(tmp_path)


def sentence(output: str) -> str:
    return (
        "dag/opt_out: 1 of 3 opted out (1 new), 1 duplicate, 1 not: 1 invalid -> "
        f"{output}/dag/run/opt_out/report.html"
    )


OF_A_TASK = {"ti": SimpleNamespace(dag_id="dag", run_id="run")}
OF_A_DEADLINE = {"dag_run": {"dag_id": "dag", "dag_run_id": "run"}, "deadline": {"id": "1"}}


@pytest.mark.parametrize("context_", [OF_A_TASK, OF_A_DEADLINE], ids=["a task", "a deadline"])
@pytest.mark.parametrize("kind", [Sync, Async], ids=["sync", "async"])
def test_a_callback_passes_the_sentence_to_another_notifier(
    output: str, context_: dict[str, Any], kind: type[Sync], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    text = "{{ hubprefs }}"
    HubPrefsNotifier(kind(text), output=output)({**context_})
    by_path = {"notifier": f"{__name__}.{kind.__name__}", "notifier_kwargs": {"text": text}}
    json.dumps(by_path)  # as it is stored with the DAG

    async def in_the_triggerer() -> None:
        await HubPrefsNotifier(**by_path, output=output, context={**context_})  # type: ignore[arg-type]

    asyncio.run(in_the_triggerer())
    begin = "async " if kind is Async else ""
    assert sent == [sentence(output), begin + sentence(output)]


def test_a_notifier_that_is_used_again_renders_again(output: str, tmp_path: Path) -> None:
    notifier = HubPrefsNotifier(Sync("{{ hubprefs }}"), output=output)
    notifier({**OF_A_TASK})
    notifier({"ti": SimpleNamespace(dag_id="dag", run_id="another")})
    assert sent == [sentence(output), f"dag: no bulk run has written a report to {output}/dag/another"]


def test_a_report_that_cannot_be_read_is_said_and_names_no_address(tmp_path: Path) -> None:
    sent.clear()
    HubPrefsNotifier(Sync("{{ hubprefs }}"))({**OF_A_TASK})
    HubPrefsNotifier(Sync("{{ hubprefs }}"), output="nostore://jane@example.com")({**OF_A_TASK})
    assert "expected output= here, or [hubprefs] output" in sent[0]
    assert all(text.startswith("the reports cannot be read (") for text in sent)
    assert len(sent) == 2
    assert "jane" not in str(sent)


def test_a_report_that_is_broken_or_old_hides_no_other(output: str) -> None:
    contents = {"cut": "{", "list": "[]", "old": '{"schema": 1, "read": 2, "changed": 2, "complete": true}'}
    for name, content in contents.items():
        (Path(output) / "dag" / "run" / name).mkdir()
        (Path(output) / "dag" / "run" / name / "report.json").write_text(content)
    HubPrefsNotifier(Sync("{{ hubprefs }}"), output=output)({**OF_A_TASK})
    folder = f"{output}/dag/run"
    assert sent[-1].splitlines() == [
        f"dag/cut: its report cannot be read (DecodeError): {folder}/cut/report.json",
        f"dag/list: its report cannot be read (ValidationError): {folder}/list/report.json",
        f"dag/old: 2 of 2 applied (2 new) -> {folder}/old/report.json",
        sentence(output),
    ]
