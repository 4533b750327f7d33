"""The page of recent runs: bars, budgets and watchers, by few selects and without opening a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from airflow_provider_hubprefs.triggers.opt_out import NOTED, HubPrefsOptOutTrigger
from airflow_provider_hubprefs.ui.runs import MOST
from tests.browser import chromium, needs_browser
from tests.ui.conftest import many_runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = "/hubprefs/recent"
BROKEN_WORDS = """all => all.flatMap(one => [...one.childNodes]).filter(node => node.nodeType === 3).flatMap(node =>
  [...node.data.matchAll(/\\S+/g)].filter(word => {
    const range = document.createRange();
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    return range.getClientRects().length > 1;
  }).map(word => word[0]))"""
"""Words that stand on more than one line."""


@pytest.fixture
def selects(airflow_db: Path) -> Iterator[list[str]]:
    """What Airflow's database is asked."""
    from airflow import settings

    asked: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    event.listen(settings.engine, "before_cursor_execute", note)
    yield asked
    event.remove(settings.engine, "before_cursor_execute", note)


def test_runs_come_by_one_select_however_many_there_are(
    client: Any, record: Any, selects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "airflow_provider_hubprefs.ui.store.TaskFiles.open", lambda *_: pytest.fail("a file is opened")
    )
    counts = []
    for runs in (many_runs(1), many_runs(MOST + 50)[1:]):
        record(*runs)
        selects.clear()
        text = client("viewer").get(PAGE).text
        assert sum("FROM xcom" in one for one in selects) == 1
        counts.append(len(selects))
    assert counts[0] == counts[1]
    assert text.count("<tr><td><a ") == MOST


def test_a_run_has_its_bar_its_state_and_a_link_to_its_tab(client: Any, record: Any) -> None:
    known = {
        "state": "complete",
        "read": 4,
        "changed": 3,
        "rejected": 1,
        "portal": 4711,
        "connection": "emea",
    }
    record(state="failed", map_index=2, known=known)
    text = client("viewer").get(PAGE).text
    assert '<rect class="o-changed" x="0.0" width="75.0"' in text
    assert '<rect class="o-rejected" x="75.0" width="25.0"' in text
    run = "dags/mine/runs/manual__2026-11-25T10%3A00%3A00%2B00%3A00/tasks/opt_out/mapped/2/plugin/hubprefs"
    assert f'href="../{run}"' in text
    for part in ("failed", "4711", "emea"):
        assert part in text


@pytest.mark.parametrize(
    ("known", "label", "says"),
    [
        (
            {"kind": "plan", "changed": 12, "unchanged": 985, "rejected": 3, "kept": 2},
            "12 to change, 985 as wanted, 1 rejected, 2 left to HubSpot",
            "plan: 12 to change",
        ),
        ({"kind": "read", "unchanged": 998, "invalid": 2}, "998 read, 2 invalid", "only reads"),
        ({"kind": "write", "changed": 3}, "3 changed", None),
    ],
    ids=["plan", "export", "write"],
)
def test_runs_that_write_nothing_are_listed_as_such(
    client: Any, record: Any, known: dict[str, Any], label: str, says: str | None
) -> None:
    record(known={"state": "complete", "read": 1000, **known})
    text = client("viewer").get(PAGE).text
    assert f'aria-label="{label}"' in text
    assert [said for said in ("plan: 12 to change", "only reads") if said in text] == ([says] if says else [])
    assert ("Left to HubSpot" in text) == ("kept" in known)  # in the key


def test_the_budget_of_a_connection_is_that_of_its_newest_run(client: Any, record: Any) -> None:
    for number, left in enumerate((900, 1234567)):
        known = {
            "connection": "emea",
            "budget": {"daily": 2000000, "daily_remaining": left},
            "state": "complete",
        }
        record(run_id=f"run_{number}", known=known)
    record(run_id="later", known={"connection": "emea", "state": "running"})  # it does not know yet
    text = client("viewer").get(PAGE).text
    assert "1,234,567" in text
    assert ">900<" not in text


@pytest.fixture
def watched(session: Any) -> None:
    """Three watched assets: one works, one fails, one has never looked."""
    from airflow.models.asset import AssetModel, AssetWatcherModel
    from airflow.models.asset_state_store import AssetStateStoreModel
    from airflow.models.trigger import Trigger

    notes = [
        {"looked_at": "2026-11-26T02:07:06.613Z", "last_opt_out": "2026-11-25T02:06:39.169Z", "failures": 0},
        {"looked_at": "2026-11-26T01:00:00.000Z", "failures": 17},
        None,
    ]
    for number, noted in enumerate(notes):
        asset = AssetModel(name=f"asset_{number}", uri=f"x://{number}", group="asset")
        trigger = HubPrefsOptOutTrigger(output=f"s3://bucket/{number}", hubprefs_conn_id=f"conn_{number}")
        row = Trigger.from_object(trigger)
        session.add_all([asset, row])
        session.flush()
        session.add(AssetWatcherModel(name=f"watcher_{number}", asset_id=asset.id, trigger_id=row.id))
        if noted is not None:
            state = {"asset_id": asset.id, "key": NOTED, "value": json.dumps(noted)}
            session.add(AssetStateStoreModel(**state))
    session.commit()


@pytest.mark.usefixtures("watched")
def test_a_watcher_that_fails_or_never_looked_is_seen(client: Any) -> None:
    text = client("viewer").get(PAGE).text
    rows = [row.partition("</tr>")[0] for row in text.split("<tr><td>asset_")[1:]]
    assert [
        "26 Nov 2026, 02:07:06 UTC" in rows[0],
        "25 Nov 2026, 02:06:39 UTC" in rows[0],
        "bad" in rows[0],
    ] == [
        True,
        True,
        False,
    ]
    assert '<td class="n bad">17' in rows[1]
    assert "none yet" in rows[2]
    for number, row in enumerate(rows):
        assert f"conn_{number}" in row
        assert "bucket" not in row


@pytest.mark.usefixtures("watched")
def test_watchers_are_for_who_may_read_assets(client: Any) -> None:
    text = client("other-dag").get(PAGE).text
    assert "asset_" not in text
    assert "conn_" not in text


@needs_browser
@pytest.mark.usefixtures("watched")
def test_no_word_is_broken_and_nothing_sticks_out_of_a_narrow_window(client: Any, record: Any) -> None:
    known = {
        "connection": "hubprefs_default",
        "portal": 48120091,
        "state": "incomplete",
        "read": 9,
        "changed": 9,
    }
    record(run_id="manual__2026-11-26T02:49:08.461367+00:00", state="up_for_reschedule", known=known)
    text = client("viewer").get(PAGE).text
    with chromium() as browser:
        page = browser.new_page(
            viewport={"width": 730, "height": 900}
        )  # beside the navigation of a window of 800
        page.set_content(text)
        inside = "one => one.getBoundingClientRect().right > innerWidth + 1"
        assert page.locator("main *").evaluate_all(f"all => all.filter({inside}).length") == 0
        assert page.locator("th, a, td:not(:first-child)").evaluate_all(BROKEN_WORDS) == []
