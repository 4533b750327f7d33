"""Addresses planted wherever others write text: in names of files and folders, in HubSpot's words, in a user's name.

None of them is in what Airflow stores, logs, measures, traces or reports of a run.
"""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from airflow.sdk.lineage import HookLineageCollector

from airflow_provider_hubprefs.bulk.report.words import last_line
from airflow_provider_hubprefs.exceptions import HubPrefsFailException
from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)
from tests.conftest import RecordingTaskInstance
from tests.system.leaks import leaks

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_hubprefs.simulator import Simulator

PLACES = ("file", "folder", "category", "message", "user", "row", "refused")
PLANTED = {place: f"quokka{place}@numbat{place}.example" for place in PLACES}


class Instance(RecordingTaskInstance):
    """A task instance; Airflow allows no at sign in its ids."""

    task_id, try_number = "opt_out", 1


def attrs_of(lineage: Any) -> str:
    return str([lineage.inputs, lineage.outputs, [vars(one) for one in lineage.run_facets.values()]])


@pytest.mark.usefixtures("hubprefs_default")
@pytest.mark.parametrize("on_rejected", ["report", "fail"])
def test_no_planted_address_leaves_its_place(  # noqa: PLR0917 - fixtures
    hubspot: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    on_rejected: Any,
) -> None:
    collector = HookLineageCollector()  # type: ignore[no-untyped-call]
    monkeypatch.setattr("airflow.sdk.lineage.get_hook_lineage_collector", lambda: collector)
    caplog.set_level(logging.DEBUG)
    refusal = {"category": PLANTED["category"], "message": f"{{address}} of {PLANTED['message']} is refused"}
    hubspot.load({"rejected": {PLANTED["refused"]: refusal}})
    source = tmp_path / f"{PLANTED['file']}.csv"
    source.write_text(f"email\n{PLANTED['row']}\n{PLANTED['refused']}\nno address\n")
    ti = Instance()
    context = {"ti": ti, "dag_run": SimpleNamespace(triggering_user_name=PLANTED["user"], run_type="manual")}
    operator = HubPrefsBatchSetStatusOperator(
        task_id="opt_out",
        source=str(source),
        status="UNSUBSCRIBED",
        subscription_id=hubspot.subscription_ids[0],
        output=str(tmp_path / "out"),
        on_rejected=on_rejected,
    )
    told: list[object] = []
    try:
        told.append(operator.execute(cast("Any", context)))
    except Exception as error:  # noqa: BLE001 - its text is what is looked at
        told.append(str(error))
    (report,) = tmp_path.rglob("report.json")
    (page,) = tmp_path.rglob("report.html")
    places = {
        "XComs": ti.pushed,
        "result or error": told,
        "logs": [record.getMessage() for record in caplog.records],
        "output": list(capsys.readouterr()),
        "lineage": attrs_of(operator.get_openlineage_facets_on_complete(None)),
        "hook lineage": str(collector.collected_assets),
        "report": report.read_text(),
        "page": page.read_text(),
        "sentence": last_line(json.loads(report.read_text())),
    }
    words = [f"{animal}{name}" for name in PLACES for animal in ("quokka", "numbat")]
    found = {place: leaks(json.dumps(text, default=str).encode(), words) for place, text in places.items()}
    assert {place: leak for place, leak in found.items() if leak} == {}


@pytest.mark.usefixtures("hubprefs_default")
@pytest.mark.parametrize("output", ["{}/{address}", "{}/of-{encoded}/x", "memory://conn@bucket/{address}"])
def test_a_folder_s_name_has_no_address(
    hubspot: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, output: str
) -> None:
    address = PLANTED["folder"]
    output = output.format(tmp_path, address=address, encoded=address.replace("@", "%40"))
    operator = HubPrefsBatchUnsubscribeOperator(
        task_id="opt_out", subscribers=["a@example.com"], output=output
    )
    ti = Instance()
    with pytest.raises(HubPrefsFailException, match=r"^the name of output has an address in it") as caught:
        operator.execute(cast("Any", {"ti": ti}))
    assert not leaks(f"{ti.pushed} {caught.value} {caplog.text}".encode(), [address])
    assert list(tmp_path.iterdir()) == []
    assert not hubspot.is_opted_out("a@example.com")


@pytest.mark.usefixtures("hubprefs_default")
@pytest.mark.parametrize("name", ["@home", "v1.2", "a@b"])
def test_another_at_sign_is_none(hubspot: Simulator, tmp_path: Path, name: str) -> None:
    operator = HubPrefsBatchUnsubscribeOperator(
        task_id="opt_out", subscribers=["a@example.com"], output=f"{tmp_path}/{name}"
    )
    assert operator.execute(cast("Any", {"ti": Instance()}))["changed"] == 1


@pytest.mark.usefixtures("hubprefs_default")
@pytest.mark.parametrize("configured", ["out", "./out", "file://out", "../out"])
def test_a_relative_configured_folder_is_refused_before_anything_is_sent(
    hubspot: Simulator, monkeypatch: pytest.MonkeyPatch, configured: str
) -> None:
    monkeypatch.setenv("AIRFLOW__HUBPREFS__OUTPUT", configured)
    operator = HubPrefsBatchUnsubscribeOperator(task_id="opt_out", subscribers=["a@example.com"])
    with pytest.raises(HubPrefsFailException, match=r"^\[hubprefs\] output is relative"):
        operator.execute(cast("Any", {"ti": Instance()}))
    assert not hubspot.is_opted_out("a@example.com")
