"""The watcher of opt-outs: over real HTTP, alone and in Airflow's shared streams."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.serde import deserialize, serialize

from airflow_provider_hubprefs.hubspot.api.contacts import Found
from airflow_provider_hubprefs.hubspot.pacing.pacers import ProcessPacer
from airflow_provider_hubprefs.simulator import Simulator
from airflow_provider_hubprefs.triggers import opt_out
from airflow_provider_hubprefs.triggers.opt_out import HubPrefsOptOutTrigger
from tests.triggers.loop_guard import run_guarded
from tests.triggers.running import Running, answers, asked, subscribers

JANE, BOB, EVE = "jane@example.com", "bob@example.com", "eve@example.com"


@pytest.fixture(autouse=True)
def _unlimited(hubspot: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the test about it waits for the limit of searches."""
    hubspot.load({"limits": {"search": 10_000}})
    monkeypatch.setattr(
        "airflow_provider_hubprefs.hubspot.transport.sender.search_pacer",
        lambda _: ProcessPacer(limit=10_000),
    )


@pytest.fixture
def watcher(tmp_path: Path, hubprefs_default: str) -> Any:
    def make(**more: Any) -> HubPrefsOptOutTrigger:
        return HubPrefsOptOutTrigger(
            **{"output": f"file://{tmp_path / 'lists'}", "poll_interval": 0.05, **more}
        )

    return make


async def searched(hubspot: Simulator, times: int) -> None:
    await asked(hubspot, "search_contacts", times)


def count(hubspot: Simulator) -> int:
    return answers(hubspot, "search_contacts")


def test_opt_outs_from_now_on_are_emitted(hubspot: Simulator, watcher: Any) -> None:
    async def story() -> list[dict[str, Any]]:
        hubspot.opt_out("before@example.com")
        running = Running(watcher())
        await searched(hubspot, 3)
        hubspot.opt_out(JANE, BOB)
        await running.until(1)
        hubspot.opt_out(EVE)
        await running.until(2)
        await searched(hubspot, 3)
        await running.stop()
        return running.events

    first, second = run_guarded(story())
    assert (first["number"], first["count"], subscribers(first)) == (1, 2, [BOB, JANE])
    assert (second["number"], second["count"], subscribers(second)) == (2, 1, [EVE])
    assert set(first) == {"list", "number", "count", "watermark"}
    assert datetime.fromisoformat(second["watermark"]) >= datetime.fromisoformat(first["watermark"])


def test_opt_outs_since_a_time_are_emitted(hubspot: Simulator, watcher: Any) -> None:
    async def story() -> list[dict[str, Any]]:
        hubspot.opt_out(JANE)
        since = datetime.fromtimestamp(hubspot.state.clock.now() + 30, UTC).isoformat()
        hubspot.advance(60)
        hubspot.opt_out(BOB)
        hubspot.portal.contacts.touch(JANE)
        running = Running(watcher(since=since))
        await running.until(1)
        await running.stop()
        return running.events

    (only,) = run_guarded(story())
    assert subscribers(only) == [BOB]


def test_a_restart_goes_on_where_it_was(hubspot: Simulator, watcher: Any) -> None:
    async def story() -> list[dict[str, Any]]:
        running = Running(watcher())
        await searched(hubspot, 3)
        hubspot.opt_out(JANE)
        await running.until(1)
        await searched(hubspot, 2)
        await running.stop()
        hubspot.advance(7200)
        hubspot.opt_out(BOB)
        hubspot.portal.contacts.touch(JANE)
        hubspot.advance(7200)
        hubspot.opt_out(EVE)
        again = Running(watcher())
        await again.until(1)
        await searched(hubspot, 3)
        await again.stop()
        return again.events

    (only,) = run_guarded(story())
    assert (only["number"], subscribers(only)) == (2, [BOB, EVE])


def test_an_event_that_airflow_may_not_have_stored_is_emitted_again(
    hubspot: Simulator, watcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> tuple[list[Any], list[Any]]:
        monkeypatch.setattr(opt_out, "STORED_WITHIN", 3600)
        running = Running(watcher())
        await searched(hubspot, 3)
        hubspot.opt_out(JANE)
        await running.until(1)
        await running.stop()
        again = Running(watcher())
        await again.until(1)
        await again.stop()
        return running.events, again.events

    before, after = run_guarded(story())
    assert before == after


def test_watchers_of_a_portal_share_one_search(
    hubspot: Simulator, watcher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_stream = pytest.importorskip("airflow.triggers.shared_stream")

    streams = 0
    open_stream = HubPrefsOptOutTrigger.open_shared_stream

    def counted(kwargs: dict[str, Any]) -> Any:
        nonlocal streams
        streams += 1
        return open_stream(kwargs)

    monkeypatch.setattr(HubPrefsOptOutTrigger, "open_shared_stream", counted)

    async def story() -> list[list[Any]]:
        manager = shared_stream.SharedStreamManager(
            log=logging.getLogger("test"), max_subscriber_queue=1000, ack_timeout=60, cohort_grace_period=0
        )
        triggers = [watcher(output=f"file://{tmp_path / str(number)}") for number in range(3)]
        keys = {trigger.shared_stream_key() for trigger in triggers}
        assert len(keys) == 1
        running = [
            Running(
                trigger,
                manager.subscribe(trigger_id=number, trigger=trigger, key=trigger.shared_stream_key()),
            )
            for number, trigger in enumerate(triggers)
        ]
        await searched(hubspot, 3)
        hubspot.opt_out(JANE)
        for one in running:
            await one.until(1)
        late = watcher(output=f"file://{tmp_path / 'late'}", since="2020-01-01T00:00:00Z")
        running.append(
            Running(late, manager.subscribe(trigger_id=9, trigger=late, key=late.shared_stream_key()))
        )
        await running[-1].until(1)
        for one in running:
            await one.stop()
        await manager.stop_all()
        return [one.events for one in running]

    emitted = run_guarded(story())
    assert [[subscribers(event) for event in events] for events in emitted] == [[[JANE]]] * 4
    assert len({event["list"] for events in emitted for event in events}) == 4
    assert streams == 1


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"output": "file:///elsewhere", "since": "2027-01-01"}, True),
        ({"poll_interval": 7}, False),
        ({"overlap": 7}, False),
        ({"hubprefs_conn_id": "another"}, False),
        ({"api_version": "v4"}, False),
    ],
)
def test_watchers_that_differ_in_output_and_since_alone_share_a_search(
    watcher: Any, other: dict[str, Any], same: bool
) -> None:
    assert (watcher().shared_stream_key() == watcher(**other).shared_stream_key()) is same


def test_it_searches_again_after_failures(
    hubspot: Simulator, watcher: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> list[Any]:
        running = Running(watcher())
        await searched(hubspot, 3)
        hubspot.fault("status", status=400, times=3, message=f"{JANE} is not liked")
        hubspot.opt_out(JANE)
        await running.until(1)
        await running.stop()
        return running.events

    assert len(run_guarded(story())) == 1
    assert "failure 3 in a row, 10 tolerated" in caplog.text
    assert JANE not in caplog.text


def test_it_fails_after_too_many_failures(hubspot: Simulator, watcher: Any) -> None:
    from airflow_provider_hubprefs.hubspot.errors import MissingScopesError

    hubspot.fault("status", status=403, category="MISSING_SCOPES", times=None)

    async def story() -> None:
        await Running(watcher(max_consecutive_failures=2)).task

    with pytest.raises(MissingScopesError, match=r"crm\.objects\.contacts\.read"):
        run_guarded(story())
    assert count(hubspot) == 3


def test_a_connection_that_is_not_there_is_looked_up_again(
    hubspot: Simulator,
    watcher: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    airflow_db: None,
) -> None:
    async def story() -> list[Any]:
        import os

        found = os.environ["AIRFLOW_CONN_HUBPREFS_DEFAULT"]
        running = Running(watcher(hubprefs_conn_id="made_later"))
        await asyncio.sleep(0.3)
        monkeypatch.setenv("AIRFLOW_CONN_MADE_LATER", found)
        await searched(hubspot, 3)
        hubspot.opt_out(JANE)
        await running.until(1)
        await running.stop()
        return running.events

    assert len(run_guarded(story())) == 1
    assert "made_later" in caplog.text


def test_the_limit_of_searches_is_kept(
    hubspot: Simulator, watcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_hubprefs.hubspot.pacing import store as pacing_store

    hubspot.load({"limits": {"search": 5}})
    monkeypatch.setattr(
        "airflow_provider_hubprefs.hubspot.transport.sender.search_pacer", pacing_store.search_pacer
    )
    hubspot.fault("answer", status=429, json={"policyName": "SECONDLY", "errorType": "RATE_LIMIT"})
    hubspot.opt_out(*(f"s{number}@example.com" for number in range(600)))

    async def story() -> list[Any]:
        running = Running(watcher(since="2020-01-01T00:00:00Z"))
        await running.until(1)
        await running.stop()
        return running.events

    (event,) = run_guarded(story())
    assert event["count"] == 600
    assert hubspot.stats["limits"]["search"]["violations"] == 0
    assert hubspot.stats["limits"]["search"]["highest_in_second"] <= 5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"output": ""}, "output: expected a path, got nothing"),
        ({"output": None}, "output: expected a path, got nothing"),
        ({"poll_interval": 0}, "poll_interval: expected seconds"),
        ({"poll_interval": -5}, "poll_interval: expected seconds"),
        ({"poll_interval": "often"}, "poll_interval: expected seconds"),
        ({"output": 5}, "output: expected a path, got 5"),
        ({"output": "{{ var.value.folder }}/lists"}, "output: expected a text without a template"),
        ({"since": "{{ ds }}"}, "since: expected a text without a template"),
        ({"hubprefs_conn_id": "{{ params.portal }}"}, "hubprefs_conn_id: expected a text without"),
        ({"hubprefs_conn_id": ""}, "hubprefs_conn_id: expected a text, got nothing"),
        ({"poll_interval": float("nan")}, "poll_interval: expected seconds"),
        ({"overlap": -1}, "overlap: expected seconds"),
        ({"since": "yesterday"}, "since: expected a time"),
        ({"max_consecutive_failures": -1}, "max_consecutive_failures: expected"),
    ],
)
def test_bad_arguments_are_refused_where_the_dag_is_written(
    watcher: Any, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        watcher(**arguments)


def test_output_is_required() -> None:
    with pytest.raises(TypeError, match="output"):
        HubPrefsOptOutTrigger()  # type: ignore[call-arg]


def test_it_can_be_stored_and_made_again(watcher: Any) -> None:
    trigger = watcher(since="2027-01-15T08:00:00Z")
    classpath, kwargs = trigger.serialize()
    module, _, name = classpath.rpartition(".")
    stored: Any = deserialize(serialize(kwargs))
    made = getattr(importlib.import_module(module), name)(**stored)
    assert made.serialize() == (classpath, kwargs)
    assert json.loads(json.dumps(kwargs)) == kwargs


def test_a_time_may_be_a_datetime(tmp_path: Path) -> None:
    trigger = HubPrefsOptOutTrigger(output=tmp_path, since=datetime(2027, 1, 1, tzinfo=UTC))
    assert trigger.serialize()[1]["since"] == "2027-01-01T00:00:00+00:00"


def test_a_folder_may_be_a_path_object(tmp_path: Path) -> None:
    from airflow.sdk import ObjectStoragePath

    outputs = [
        tmp_path / "my lists",
        ObjectStoragePath(f"file://{tmp_path}/my lists"),
        f"file://{tmp_path}/my lists",
    ]
    assert {HubPrefsOptOutTrigger(output=each).output for each in outputs} == {outputs[2]}
    stored = ObjectStoragePath("s3://bucket/lists", conn_id="store")
    assert HubPrefsOptOutTrigger(output=stored).output == "s3://store@bucket/lists"


def test_own_opt_outs_are_left_out_where_hubspot_tells_whose_they_are(
    hubspot: Simulator, watcher: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(**more: Any) -> list[str]:
        running = Running(watcher(output=f"file://{tmp_path / str(more)}", **more))
        await searched(hubspot, 3)
        hubspot.portal.unsubscribe_all(f"own-{more}@example.com", None)
        hubspot.opt_out(f"other-{more}@example.com")
        await running.until(1)
        await searched(hubspot, 3)
        await running.stop()
        return [each.partition("-")[0] for event in running.events for each in subscribers(event)]

    assert run_guarded(story()) == ["other", "own"]
    assert run_guarded(story(ignore_own=True)) == ["other"]
    hubspot.fault("status", status=404, match={"endpoint": "token_info"}, times=None)  # a service key
    assert run_guarded(story(ignore_own="True")) == ["other", "own"]
    assert (
        len([record for record in caplog.records if "HubSpot does not tell which app" in record.getMessage()])
        == 1
    )


def test_a_contact_that_the_shared_search_has_read_already_is_read_again_for_a_watcher_that_comes_later(
    hubspot: Simulator, watcher: Any, tmp_path: Path
) -> None:
    async def story() -> list[dict[str, Any]]:
        lists = tmp_path / "lists"
        begun = Running(watcher())
        await searched(hubspot, 2)
        hubspot.opt_out(JANE)
        await begun.until(1)
        await begun.stop()
        for state in lists.iterdir():
            state.unlink()
        late = watcher(since="2026-01-01")
        await asyncio.to_thread(lambda: late._open_lists().take(Found([], 1, 0, {})))
        everything = await late._search(0, {}, {})
        nothing = {"status": "COMPLETE", "results": []}
        hubspot.fault("answer", match={"endpoint": "batch_read_contacts"}, times=1, json=nothing)

        async def shared() -> Any:
            for _ in range(3):
                yield Found([], everything.watermark, 0, everything.seen)
            await asyncio.sleep(60)

        running = Running(late, shared())
        await running.until(1)
        await running.stop()
        return running.events

    (only,) = run_guarded(story())
    assert subscribers(only) == [JANE]


def test_a_token_that_is_replaced_in_the_connection_is_used_by_the_next_search(
    hubspot: Simulator, watcher: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hubspot.load({"tokens": {"second": {"value": "pat-second-000000000000"}}})

    async def story() -> None:
        running = Running(watcher())
        await searched(hubspot, 2)
        connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": "pat-revoked-00000000000"}
        monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps(connection))
        await searched(hubspot, 2)
        connection["password"] = "pat-second-000000000000"
        monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps(connection))
        await searched(hubspot, 3)
        await running.stop()

    with caplog.at_level("INFO"):
        run_guarded(story())
    assert hubspot.requests[-1].token == "second"
    said = [record.getMessage() for record in caplog.records if record.name == opt_out.__name__]
    (failing, *_), (works,) = (
        [text for text in said if "sees no opt-outs since 20" in text],
        [text for text in said if "works again" in text],
    )
    assert "for file://" in failing
    assert "hubprefs_default" in works


class Notes(dict[str, Any]):
    """Airflow's asset state store (3.3), which the triggerer gives to a watcher."""

    async def aget(self, key: str) -> Any:
        return self.get(key)

    async def aset(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


def test_it_notes_for_people_what_it_does(hubspot: Simulator, watcher: Any) -> None:
    notes = Notes(hubprefs_watch={"last_opt_out": "2026-01-01T00:00:00.000Z", "failures": 7})
    while_failing: dict[str, Any] = {}

    async def story() -> None:
        trigger = watcher()
        trigger.asset_state_store = notes
        running = Running(trigger)
        await searched(hubspot, 3)
        assert notes["hubprefs_watch"]["failures"] == 0
        assert notes["hubprefs_watch"]["last_opt_out"] == "2026-01-01T00:00:00.000Z"
        hubspot.fault("status", status=400, times=4)
        async with asyncio.timeout(15):
            while notes["hubprefs_watch"]["failures"] < 2:
                await asyncio.sleep(0.001)
        while_failing.update(notes["hubprefs_watch"])
        hubspot.opt_out(JANE)
        await running.until(1)
        await running.stop()

    run_guarded(story())
    now = datetime.now(UTC)
    assert while_failing["failures"] >= 2
    noted = notes["hubprefs_watch"]
    assert noted["failures"] == 0
    for name in ("looked_at", "last_opt_out"):
        assert (now - datetime.fromisoformat(noted[name])).total_seconds() < 30
    assert JANE not in json.dumps(notes)


def test_it_goes_on_where_it_cannot_note_anything(hubspot: Simulator, watcher: Any) -> None:
    async def story() -> list[Any]:
        trigger = watcher()
        trigger.asset_state_store = object()
        running = Running(trigger)
        await searched(hubspot, 3)
        hubspot.opt_out(JANE)
        await running.until(1)
        await running.stop()
        return running.events

    assert len(run_guarded(story())) == 1
