"""Lists of opt-outs: whenever the triggerer is killed, every opt-out is in exactly one list."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from airflow.sdk import ObjectStoragePath
from upath import UPath

from airflow_provider_hubprefs.hubspot.api.contacts import LOOKS, Found, OptOut, find_opt_outs
from airflow_provider_hubprefs.hubspot.pacing.pacers import ProcessPacer
from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
from airflow_provider_hubprefs.hubspot.transport.client import Client, run
from airflow_provider_hubprefs.simulator import Simulator
from airflow_provider_hubprefs.watch.opt_outs import ListError, NewList, OptOutLists
from tests.helpers import LONG

START = 1_800_000_000.0
BEGIN = int(START * 1000)
OVERLAP = 60_000


class Clock:
    """Seconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Killed(BaseException):
    """Stands for SIGKILL: no code catches it."""


def opt_outs_in(folder: Path, connection: str = "portal", since: int = 0) -> OptOutLists:
    return OptOutLists(folder, connection=connection, overlap=OVERLAP, since=since)


@pytest.fixture(autouse=True)
def _no_limit_of_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator's clock stands still: searches need not wait for HubSpot's limit."""
    unlimited = ProcessPacer(limit=10_000)
    monkeypatch.setattr(
        "airflow_provider_hubprefs.hubspot.transport.sender.search_pacer", lambda _: unlimited
    )


class Watcher:
    """Searches the portal as the trigger does, and may be killed before or after anything it writes."""

    def __init__(self, hubspot: Simulator, folder: Path) -> None:
        self.client = Client(StaticToken(hubspot.token), host=hubspot.url, pacer=ProcessPacer(limit=10_000))
        self.folder = folder
        self.delivered: list[int] = []
        self.restart()

    def restart(self) -> None:
        self.lists = opt_outs_in(self.folder, since=BEGIN)
        self.seen: dict[int, int] = {}
        self.missed: dict[int, int] = {}

    def poll(self, kill: random.Random | None = None, chance: float = 0.0) -> None:
        client, floor = self.client, self.lists.cursor.floor
        assert floor is not None
        try:
            with killing(self.lists, kill, chance):
                past = {"seen": self.seen, "missed": self.missed}
                found = run(find_opt_outs(client.asend, client.calls.version, floor=floor, **past))
                self.seen, self.missed = found.seen, found.missed
                self.lists.take(found)
                for new in self.lists.undelivered():
                    self.delivered.append(new.number)
                    self.lists.mark_delivered(new)
        except Killed:
            self.restart()


class killing:  # noqa: N801 - reads as what it does
    """Kill before or after a list or the cursor is written."""

    def __init__(self, lists: OptOutLists, chance: random.Random | None, share: float) -> None:
        self.lists, self.chance, self.share = lists, chance, share

    def _perhaps(self) -> None:
        if self.chance is not None and self.chance.random() < self.share:
            raise Killed

    def _around(self, act: Any) -> Any:
        def acted(*arguments: Any) -> Any:
            self._perhaps()
            result = act(*arguments)
            self._perhaps()
            return result

        return acted

    def __enter__(self) -> None:
        self.lists._write = self._around(self.lists._write)  # type: ignore[method-assign]
        self.lists._place.save = self._around(self.lists._place.save)  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        del self.lists._write, self.lists._place.save


def lines(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for file in sorted(folder.glob("opt-outs-*.jsonl"))
        for line in file.read_text().splitlines()
    ]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def simulate(clock: Clock) -> Iterator[Any]:
    started: list[Simulator] = []

    def start(search_results: int = 10_000, search_page: int = 200, **portal: Any) -> Simulator:
        limits = {"search": 100_000, "burst": 10_000, "daily": 10_000_000}
        limits |= {"search_results": search_results, "search_page": search_page}
        started.append(Simulator(portal={"limits": limits, **portal}, clock=clock))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.mark.parametrize("seed", range(6 if LONG else 2))
def test_every_opt_out_is_in_one_list_whenever_the_watcher_is_killed(
    simulate: Any, clock: Clock, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    delay = chance.choice([0, 20, 59, 59])
    hubspot = simulate(
        indexing_seconds=[delay / 10, delay], subscribers={"before@x.example": {"opted_out": True}}
    )
    clock.now += 5
    watcher = Watcher(hubspot, tmp_path)
    expected: Counter[str] = Counter()
    names = iter(range(100_000))
    for _ in range(40):
        match chance.choice(["opt_out", "opt_out", "many", "touch", "wait", "poll", "poll", "kill"]):
            case "opt_out":
                named = [f"s{next(names)}@x.example" for _ in range(chance.randint(1, 5))]
                hubspot.opt_out(*named)
                expected.update(named)
            case "many":
                named = [f"s{next(names)}@x.example" for _ in range(chance.choice([199, 200, 450]))]
                hubspot.opt_out(*named)
                expected.update(named)
            case "touch":
                known = [*expected, "before@x.example"]
                for each in chance.sample(known, min(len(known), 7)):
                    hubspot.portal.contacts.touch(each)
            case "wait":
                clock.now += chance.choice([1, 30, 90, 7200])
            case "poll":
                watcher.poll(chance, 0.1)
            case "kill":
                watcher.restart()
        clock.now += chance.random() * 3
    clock.now += delay + 1
    for _ in range(3):
        watcher.poll()
    assert (
        Counter(row["subscriber"] for row in lines(tmp_path)) - Counter({"before@x.example": 1}) == expected
    )
    written = sorted(int(file.stem.rpartition("-")[2]) for file in tmp_path.glob("opt-outs-*.jsonl"))
    assert sorted(set(watcher.delivered)) == written == list(range(1, len(written) + 1))
    cursor = watcher.lists.cursor
    assert len(msgspec.json.encode(cursor)) < 200 + 25 * len(cursor.recent)


def test_more_at_the_same_moment_than_a_search_can_page_to(
    simulate: Any, clock: Clock, tmp_path: Path
) -> None:
    hubspot = simulate(search_results=100, search_page=50)
    clock.now += 1
    named = [f"s{number}@x.example" for number in range(230)]
    hubspot.opt_out(*named)
    watcher = Watcher(hubspot, tmp_path)
    watcher.poll()
    clock.now += 30
    hubspot.opt_out("late@x.example")
    watcher.restart()
    watcher.poll()
    assert [row["subscriber"] for row in lines(tmp_path)] == [*named, "late@x.example"]
    assert hubspot.stats["answers"]["search_contacts"] == {"200": 2 * (1 + 5)}


def test_a_contact_that_opts_in_and_out_again_is_listed_again(
    simulate: Any, clock: Clock, tmp_path: Path
) -> None:
    hubspot = simulate(resubscribe_clears_opt_out=True)
    watcher = Watcher(hubspot, tmp_path)
    for _ in range(2):
        clock.now += 1
        hubspot.opt_out("a@x.example")
        watcher.poll()
        clock.now += 1
        hubspot.portal.set_status("a@x.example", hubspot.portal.active[0], "SUBSCRIBED")
        watcher.poll()
    assert [row["opted_out_at"] for row in lines(tmp_path)] == [
        "2027-01-15T08:00:01.000Z",
        "2027-01-15T08:00:03.000Z",
    ]


def test_a_portal_where_nothing_happens_costs_one_request_a_search(
    simulate: Any, clock: Clock, tmp_path: Path
) -> None:
    hubspot = simulate()
    clock.now += 1
    hubspot.opt_out("a@x.example")
    watcher = Watcher(hubspot, tmp_path)
    for _ in range(5):
        watcher.poll()
    assert hubspot.stats["answers"] == {"search_contacts": {"200": 5}, "batch_read_contacts": {"200": 1}}


def test_a_list_whose_cursor_could_not_be_saved_is_written_again(tmp_path: Path) -> None:
    lists = opt_outs_in(tmp_path)
    first = Found([OptOut(1, "a@x.example", 5)], 5, 0, {})
    with pytest.raises(Killed), killing(lists, random.Random(), 1.0):
        lists.take(first)
    lists._place.save, save = lambda _: (_ for _ in ()).throw(OSError("full")), lists._place.save  # type: ignore
    with pytest.raises(OSError, match="full"):
        lists.take(first)
    lists._place.save = save  # type: ignore[method-assign]
    lists.take(first)
    lists.take(first)
    assert lists.cursor.next == 2
    assert [row["contact_id"] for row in lines(tmp_path)] == [1]


def test_a_watcher_without_a_time_begins_with_what_the_first_search_has_not_found(tmp_path: Path) -> None:
    lists = OptOutLists(tmp_path, connection="portal", overlap=OVERLAP)
    lists.take(Found([OptOut(1, None, 5)], 5, 0, {}))
    lists.take(Found([OptOut(1, None, 5), OptOut(2, None, 6)], 6, 0, {}))
    assert [row["contact_id"] for row in lines(tmp_path)] == [2]
    assert opt_outs_in(tmp_path).cursor == lists.cursor


def test_lists_are_delivered_until_that_is_saved(tmp_path: Path) -> None:
    lists = opt_outs_in(tmp_path)
    lists.take(Found([OptOut(1, None, 5)], 5, 0, {}))
    lists.take(Found([OptOut(2, None, 6), OptOut(3, None, 6)], 6, 0, {}))
    again = opt_outs_in(tmp_path)
    assert [(new.number, new.count) for new in again.undelivered()] == [(1, 1), (2, 2)]
    again.mark_delivered(again.undelivered()[0])
    assert [new.number for new in opt_outs_in(tmp_path).undelivered()] == [2]


def test_a_folder_is_for_one_watcher(tmp_path: Path) -> None:
    first, second = opt_outs_in(tmp_path), opt_outs_in(tmp_path)
    first.take(Found([OptOut(1, None, 5)], 5, 0, {}))
    with pytest.raises(ListError, match="another watcher writes"):
        second.take(Found([OptOut(2, None, 6)], 6, 0, {}))
    with pytest.raises(ListError, match="another watcher writes"):
        second.take(Found([], 7, 0, {}))
    with pytest.raises(ListError, match="are of connection 'portal', not of 'another portal'"):
        opt_outs_in(tmp_path, "another portal")
    assert [row["contact_id"] for row in lines(tmp_path)] == [1]
    first.take(Found([OptOut(3, None, 6)], 6, 0, {}))
    assert [row["contact_id"] for row in lines(tmp_path)] == [1, 3]


@pytest.mark.parametrize("state", [{"next": "many"}, {"connection": "portal", "floor": 1, "of_later": 2}])
def test_a_cursor_that_this_release_does_not_know_is_refused_and_kept(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    lists = opt_outs_in(tmp_path)
    lists._place.save(state)
    with pytest.raises(ListError, match="cannot be read"):
        opt_outs_in(tmp_path)
    assert lists._place.load() == state


@pytest.mark.parametrize(
    "left_out",
    [
        {"json": {"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [{"message": "?"}]}},
        {"json": {"status": "COMPLETE", "results": None}},
        {"stale": True},
    ],
    ids=["error", "nothing", "read before the search"],
)
def test_a_contact_that_a_read_leaves_out_is_looked_for_again(
    simulate: Any, clock: Clock, tmp_path: Path, left_out: dict[str, Any]
) -> None:
    hubspot = simulate()
    clock.now += 1
    hubspot.opt_out("jane@x.example")
    if left_out.pop("stale", False):
        old = {"id": "1001", "updatedAt": "2027-01-01T00:00:00Z", "properties": {"hs_email_optout": "false"}}
        left_out = {"json": {"status": "COMPLETE", "results": [old]}}
    hubspot.fault("answer", match={"endpoint": "batch_read_contacts"}, times=3, **left_out)
    watcher = Watcher(hubspot, tmp_path)
    watcher.poll()
    assert lines(tmp_path) == []
    assert watcher.lists.cursor.watermark < clock.now * 1000
    watcher.restart()  # the cursor did not pass her
    clock.now += 1
    hubspot.opt_out("bob@x.example")
    for _ in range(3):
        watcher.poll()
    assert [row["subscriber"] for row in lines(tmp_path)] == ["jane@x.example", "bob@x.example"]
    assert watcher.lists.cursor.watermark == clock.now * 1000


def test_a_contact_that_is_never_read_is_given_up_with_a_line_in_the_log(
    simulate: Any, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hubspot = simulate()
    clock.now += 1
    hubspot.opt_out("jane@x.example")
    nothing = {"status": "COMPLETE", "results": []}
    hubspot.fault("answer", match={"endpoint": "batch_read_contacts"}, times=None, json=nothing)
    watcher = Watcher(hubspot, tmp_path)
    for looks in range(LOOKS + 2):
        assert (watcher.lists.cursor.watermark == clock.now * 1000) is (looks >= LOOKS)
        watcher.poll()
    (said,) = [record.getMessage() for record in caplog.records if "given up" in record.getMessage()]
    assert "1001" in said
    assert "jane" not in said
    assert hubspot.stats["answers"]["batch_read_contacts"] == {"200": LOOKS}


def test_lists_that_a_reader_deletes_are_not_written_or_delivered_again(tmp_path: Path) -> None:
    found = Found([OptOut(1, "a@x.example", 5), OptOut(2, "b@x.example", 6)], 6, 0, {})
    lists = opt_outs_in(tmp_path)
    lists.take(found)
    for deleted_before_that_was_saved in (True, False):
        (tmp_path / "opt-outs-00000001.jsonl").unlink(missing_ok=True)
        again = opt_outs_in(tmp_path)
        again.take(found)
        assert again.undelivered() == []
        assert lines(tmp_path) == []
        if deleted_before_that_was_saved:
            lists.mark_delivered(NewList(number=1, name="", count=2, watermark=""))
    again.take(Found([OptOut(3, None, 7)], 7, 0, {}))
    assert [(new.number, new.count) for new in again.undelivered()] == [(2, 1)]


def test_a_folder_with_lists_and_no_cursor_is_refused(tmp_path: Path) -> None:
    lists = opt_outs_in(tmp_path)
    lists.take(Found([OptOut(1, None, 5)], 5, 0, {}))
    for state in tmp_path.glob("cursor*"):
        state.write_bytes(b"")
    with pytest.raises(ListError, match=r"has lists .* and no cursor: .* Give this watcher another output"):
        opt_outs_in(tmp_path)
    assert [row["contact_id"] for row in lines(tmp_path)] == [1]


class NotExclusive(type(Path())):  # type: ignore[misc]
    """A store that cannot create a file exclusively."""

    def open(self, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        if "x" in mode:
            raise ValueError(mode)
        return super().open(mode, *arguments, **more)


@pytest.mark.parametrize("kind", [Path, ObjectStoragePath, UPath, NotExclusive])
def test_a_list_that_another_watcher_has_written_stays(tmp_path: Path, kind: Any) -> None:
    folder = kind(f"memory://{tmp_path}" if kind is UPath else tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    opt_outs_in(folder).take(Found([], 1, 0, {}))
    first, second = opt_outs_in(folder), opt_outs_in(folder)
    write = second._write

    def both(number: int, rows: Any) -> None:
        first.take(Found([OptOut(1, None, 5)], 5, 0, {}))  # between the other's check and its list
        write(number, rows)

    second._write = both  # type: ignore[method-assign,assignment]
    for _ in range(2):
        with pytest.raises(ListError, match="another watcher"):
            second.take(Found([OptOut(2, None, 6)], 6, 0, {}))
        second._write = write  # type: ignore[method-assign]
    (only,) = [file for file in folder.iterdir() if file.name.startswith("opt-outs-")]
    assert b'"contact_id":1' in only.read_bytes()
    assert b'"contact_id":2' not in only.read_bytes()


def test_nothing_shows_an_address() -> None:
    assert "jane" not in repr(Found([OptOut(1, "jane@example.com", 5)], 5, 0, {}))
