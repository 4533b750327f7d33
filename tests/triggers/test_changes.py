"""The watcher of a list of subscribers: over real HTTP, alone and in Airflow's shared streams."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.serde import deserialize, serialize

from airflow_provider_hubprefs.simulator import Simulator
from airflow_provider_hubprefs.triggers import watching
from airflow_provider_hubprefs.triggers.changes import HubPrefsPreferenceChangeTrigger
from tests.triggers.loop_guard import run_guarded
from tests.triggers.running import Running, Store, answers, asked, rows, subscribers

JANE, BOB, EVE = "jane@example.com", "bob@example.com", "eve@example.com"
READ = "batch_read_unsubscribe_all"


@pytest.fixture(autouse=True)
def _unlimited(hubspot: Simulator) -> None:
    hubspot.load({"limits": {"burst": 100_000, "daily": 10_000_000}})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    listed(path, JANE, BOB, EVE)
    return path


@pytest.fixture
def watcher(tmp_path: Path, source: Path, hubprefs_default: str) -> Any:
    def make(**more: Any) -> HubPrefsPreferenceChangeTrigger:
        defaults = {"source": str(source), "output": f"file://{tmp_path / 'lists'}", "poll_interval": 0.05}
        return HubPrefsPreferenceChangeTrigger(**{**defaults, "max_budget_share": 1, **more})

    return make


def listed(path: Path, *addresses: str) -> None:
    """Write a list, as one does: whole, then renamed."""
    whole = path.with_suffix(".new")
    whole.write_text("email\n" + "".join(f"{one}\n" for one in addresses))
    whole.replace(path)


def test_each_change_is_told_of_once(hubspot: Simulator, watcher: Any) -> None:
    async def story() -> list[dict[str, Any]]:
        hubspot.opt_out(EVE)
        running = Running(watcher())
        await asked(hubspot, READ, 3)
        hubspot.opt_out(JANE, "stranger@example.com")
        await running.until(1)
        hubspot.opt_out(BOB)
        await running.until(2)
        await asked(hubspot, READ, 4)
        await running.stop()
        return running.events

    first, second = run_guarded(story())
    assert [rows(event) for event in (first, second)] == [
        [{"subscriber": JANE, "before": False, "now": True, "seen_at": first["watermark"]}],
        [{"subscriber": BOB, "before": False, "now": True, "seen_at": second["watermark"]}],
    ]
    assert [(one["number"], one["count"]) for one in (first, second)] == [(1, 1), (2, 1)]
    assert set(first) == {"list", "number", "count", "watermark"}
    assert "example.com" not in json.dumps([first, second])


def test_or_changes_of_a_status(hubspot: Simulator, watcher: Any) -> None:
    newsletter, other = hubspot.subscription_ids[:2]

    async def story() -> list[dict[str, Any]]:
        running = Running(watcher(subscription_id=newsletter))
        await asked(hubspot, "batch_read", 3)
        definitions = hubspot.portal.settings.definitions
        hubspot.portal.set_status(BOB, definitions[other], "SUBSCRIBED")
        hubspot.portal.set_status(JANE, definitions[newsletter], "SUBSCRIBED")
        await running.until(1)
        hubspot.portal.set_status(JANE, definitions[newsletter], "UNSUBSCRIBED")
        await running.until(2)
        await running.stop()
        return running.events

    told = [
        [(row["subscriber"], row["before"], row["now"]) for row in rows(one)] for one in run_guarded(story())
    ]
    assert told == [[(JANE, "NOT_SPECIFIED", "SUBSCRIBED")], [(JANE, "SUBSCRIBED", "UNSUBSCRIBED")]]


def test_a_restart_goes_on_where_it_was(hubspot: Simulator, watcher: Any) -> None:
    async def story() -> list[dict[str, Any]]:
        running = Running(watcher())
        await asked(hubspot, READ, 3)
        hubspot.opt_out(JANE)
        await running.until(1)
        await asked(hubspot, READ, 3)
        await running.stop()
        hubspot.opt_out(BOB)
        again = Running(watcher())
        await again.until(1)
        await asked(hubspot, READ, 3)
        await again.stop()
        return again.events

    (only,) = run_guarded(story())
    assert (only["number"], subscribers(only)) == (2, [BOB])


def test_what_was_told_and_perhaps_did_not_arrive_is_told_again(
    hubspot: Simulator, watcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> tuple[list[Any], list[Any]]:
        monkeypatch.setattr(watching, "ARRIVES_WITHIN", 3600)
        running = Running(watcher())
        await asked(hubspot, READ, 3)
        hubspot.opt_out(JANE)
        await running.until(1)
        await running.stop()
        again = Running(watcher())
        await again.until(1)
        await again.stop()
        return running.events, again.events

    before, after = run_guarded(story())
    assert before == after


def test_a_list_that_is_missing_empty_or_changed_is_waited_for_and_read_anew(
    hubspot: Simulator, watcher: Any, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> list[dict[str, Any]]:
        source.unlink()
        running = Running(watcher(max_consecutive_failures=1000))
        await until(lambda: "there is no such file" in caplog.text)
        source.write_text("email\n")
        await until(lambda: "has no subscribers" in caplog.text)
        listed(source, JANE, "zoe@example.com")
        await asked(hubspot, READ, 3)
        hubspot.opt_out(EVE)  # nobody has seen her before: not told of
        listed(source, JANE, EVE, BOB)
        await asked(hubspot, READ, 3)
        hubspot.opt_out(BOB)
        await running.until(1)
        listed(source, JANE, EVE)
        await asked(hubspot, READ, 3)
        hubspot.opt_out(JANE)
        await running.until(2)
        await running.stop()
        return running.events

    first, second = run_guarded(story())
    assert (subscribers(first), subscribers(second)) == ([BOB], [JANE])
    assert "people.csv" in caplog.text
    assert "example.com" not in caplog.text


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def test_250_subscribers_are_3_requests_a_look(hubspot: Simulator, watcher: Any, source: Path) -> None:
    everybody = [f"s{number}@example.com" for number in range(250)]
    listed(source, "no address", everybody[0], *everybody)

    async def story() -> list[dict[str, Any]]:
        running = Running(watcher(poll_interval=0.5))
        await asked(hubspot, READ, 6)
        hubspot.opt_out(everybody[7], everybody[207])
        await running.until(1)
        await running.stop()
        return running.events

    (event,) = run_guarded(story())
    assert subscribers(event) == [everybody[207], everybody[7]]
    sizes = [len(request.json()["inputs"]) for request in hubspot.requests if request.endpoint == READ]
    looks = len(sizes) // 3
    assert [sum(sizes[3 * look : 3 * look + 3]) for look in range(looks)] == [250] * looks
    assert set(answers_of_all(hubspot)) == {READ}


def answers_of_all(hubspot: Simulator) -> dict[str, Any]:
    found: dict[str, Any] = hubspot.stats["answers"]
    return found


def test_three_watchers_of_a_list_are_one_poll(hubspot: Simulator, watcher: Any, tmp_path: Path) -> None:
    shared_stream = pytest.importorskip("airflow.triggers.shared_stream")

    async def story() -> tuple[list[list[Any]], float]:
        manager = shared_stream.SharedStreamManager(
            log=logging.getLogger("test"), max_subscriber_queue=1000, ack_timeout=60, cohort_grace_period=0
        )
        triggers = [watcher(output=f"file://{tmp_path / str(number)}") for number in range(3)]
        assert len({trigger.shared_stream_key() for trigger in triggers}) == 1
        running = [
            Running(
                trigger,
                manager.subscribe(trigger_id=number, trigger=trigger, key=trigger.shared_stream_key()),
            )
            for number, trigger in enumerate(triggers)
        ]
        await until(lambda: all((tmp_path / str(number) / "mark.1").exists() for number in range(3)))
        hubspot.opt_out(JANE)
        for one in running:
            await one.until(1)
        looks, begin = answers(hubspot, READ), asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        looked, took = answers(hubspot, READ) - looks, asyncio.get_running_loop().time() - begin
        for one in running:
            await one.stop()
        await manager.stop_all()
        return [one.events for one in running], round(looked * 0.05 * 0.9 / took, 3)

    told, pollers = run_guarded(story())
    assert [[subscribers(event) for event in events] for events in told] == [[[JANE]]] * 3
    assert pollers <= 1.1


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"output": "file:///elsewhere"}, True),
        ({"source": "file:///elsewhere"}, False),
        ({"subscription_id": 7}, False),
        ({"business_unit_id": 7}, False),
        ({"max_budget_share": 0.1}, False),
        ({"hubprefs_conn_id": "another"}, False),
    ],
)
def test_who_shares_a_poll(watcher: Any, other: dict[str, Any], same: bool) -> None:
    assert (watcher().shared_stream_key() == watcher(**other).shared_stream_key()) is same


def test_without_the_batch_scopes_it_asks_one_by_one(
    hubspot: Simulator, watcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.tokens["starter"]}
    connection["extra"] = json.dumps({"budget_store": "process"})
    monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps(connection))

    async def story() -> list[dict[str, Any]]:
        running = Running(watcher())
        await asked(hubspot, "get_unsubscribe_all", 6)
        hubspot.opt_out(JANE)
        await running.until(1)
        await running.stop()
        return running.events

    (event,) = run_guarded(story())
    assert subscribers(event) == [JANE]


def test_what_hubspot_does_not_tell_of_stays_as_it_was_seen(hubspot: Simulator, watcher: Any) -> None:
    async def story() -> list[dict[str, Any]]:
        running = Running(watcher())
        await asked(hubspot, READ, 3)
        hubspot.opt_out(JANE)
        await running.until(1)
        refused = {"endpoint": "get_unsubscribe_all"}
        hubspot.fault("status", status=400, match={"endpoint": READ}, times=20)
        hubspot.fault("status", status=400, match=refused, times=20)
        await asked(hubspot, READ, 20)
        hubspot.opt_out(BOB)
        await running.until(2)
        await running.stop()
        return running.events

    assert [subscribers(event) for event in run_guarded(story())] == [[JANE], [BOB]]


def test_failures_are_waited_for_and_then_raised(
    hubspot: Simulator, watcher: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow_provider_hubprefs.hubspot.errors import AuthenticationError

    hubspot.fault("status", status=401, message=f"{JANE} is not liked", times=None)

    async def story() -> None:
        await Running(watcher(max_consecutive_failures=2)).task

    with pytest.raises(AuthenticationError):
        run_guarded(story())
    assert "failure 2 in a row, 2 are tolerated" in caplog.text
    assert JANE not in caplog.text


def test_defects_are_not_waited_for(
    watcher: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("airflow_provider_hubprefs.bulk.changes.look_at", lambda *_, **__: 1 + None)  # type: ignore[operator]

    async def story() -> None:
        await Running(watcher()).task

    with pytest.raises(TypeError):
        run_guarded(story())
    assert "in a row" not in caplog.text


def test_a_folder_is_for_one_set_of_arguments(hubspot: Simulator, watcher: Any) -> None:
    from airflow_provider_hubprefs.bulk.feed import FeedError

    async def story() -> None:
        running = Running(watcher())
        await asked(hubspot, READ, 3)
        await running.stop()
        more_often = Running(watcher(poll_interval=0.02))
        await asked(hubspot, READ, 3)
        await more_often.stop()
        await Running(watcher(subscription_id=7)).task

    with pytest.raises(FeedError, match="Every watcher needs an output of its own"):
        run_guarded(story())


def test_a_lost_folder_begins_anew_with_the_next_number(
    hubspot: Simulator, watcher: Any, tmp_path: Path
) -> None:
    async def story() -> list[dict[str, Any]]:
        trigger = watcher()
        trigger.asset_state_store = store = Store()
        running = Running(trigger)
        await asked(hubspot, READ, 3)
        hubspot.opt_out(JANE)
        await running.until(1)
        await asked(hubspot, READ, 3)
        await running.stop()
        elsewhere = watcher(output=f"file://{tmp_path / 'elsewhere'}")
        elsewhere.asset_state_store = Store(store.state)
        again = Running(elsewhere)
        await asked(hubspot, READ, 3)
        hubspot.opt_out(BOB)
        await again.until(1)
        await again.stop()
        assert len(json.dumps(store.state)) < 200
        return again.events

    (event,) = run_guarded(story())
    assert (event["number"], subscribers(event)) == (2, [BOB])


def test_the_brand_is_the_connections(
    hubspot: Simulator, watcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hubspot.load({"limits": {"burst": 100_000, "daily": 10_000_000}, "brands": [7]})
    connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token}
    connection["extra"] = json.dumps({"budget_store": "process", "business_unit_id": 7})
    monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps(connection))

    async def story() -> None:
        running = Running(watcher())
        await asked(hubspot, READ, 1)
        await running.stop()

    run_guarded(story())
    assert {
        "businessUnitId=7" in request.query for request in hubspot.requests if request.endpoint == READ
    } == {True}


def test_no_address_is_kept_but_in_lists(
    hubspot: Simulator, watcher: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    trigger = watcher()

    async def story() -> None:
        running = Running(trigger)
        await asked(hubspot, READ, 3)
        hubspot.opt_out(JANE)
        await running.until(1)
        await running.stop()

    run_guarded(story())
    kept = {path.name: path.read_text() for path in (tmp_path / "lists").iterdir()}
    assert set(kept) == {"mark.0", "mark.1", "seen.0", "seen.1", "changes-00000001.jsonl"}
    assert [name for name, text in kept.items() if "example.com" in text] == ["changes-00000001.jsonl"]
    assert "example.com" not in repr(trigger) + str(trigger.serialize()) + caplog.text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"source": ""}, "source: expected a file"),
        ({"source": None}, "source: expected a file"),
        ({"output": " "}, "output: expected a folder"),
        ({"email_column": ""}, "email_column: expected"),
        ({"subscription_id": "7"}, "subscription_id: expected a whole number"),
        ({"business_unit_id": -1}, "business_unit_id: expected a whole number"),
        ({"poll_interval": 0}, "poll_interval: expected seconds"),
        ({"max_budget_share": 0}, "max_budget_share: expected more than 0"),
        ({"max_budget_share": 1.5}, "max_budget_share: expected more than 0"),
        ({"max_consecutive_failures": None}, "max_consecutive_failures: expected"),
    ],
)
def test_bad_arguments_are_refused_where_the_dag_is_written(
    watcher: Any, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        watcher(**arguments)


def test_it_can_be_stored_and_made_again(watcher: Any) -> None:
    classpath, kwargs = watcher(subscription_id=7).serialize()
    module, _, name = classpath.rpartition(".")
    stored: Any = deserialize(serialize(kwargs))
    made = getattr(importlib.import_module(module), name)(**stored)
    assert made.serialize() == (classpath, kwargs)
    assert json.loads(json.dumps(kwargs)) == kwargs


def test_triggers_of_released_versions_can_be_made() -> None:
    # The order of the arguments is a part of Airflow's name for the trigger: it must stay, new ones come last.
    golden = [
        ("source", "s3://bucket/vips.csv"),
        ("output", "s3://bucket/changes"),
        ("subscription_id", None),
        ("business_unit_id", None),
        ("email_column", "email"),
        ("poll_interval", 300.0),
        ("max_budget_share", 0.25),
        ("max_consecutive_failures", 10),
        ("hubprefs_conn_id", "hubprefs_default"),
        ("api_version", None),
    ]
    arguments: dict[str, Any] = dict(golden)
    assert list(HubPrefsPreferenceChangeTrigger(**arguments).serialize()[1].items()) == golden
