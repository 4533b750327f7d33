"""Opt-outs as lists: whatever is restarted when, every opt-out is in one list, and in one only."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.bulk.feed import FeedError
from airflow_provider_hubprefs.bulk.opt_outs import OptOutFeed, OptOutMark
from airflow_provider_hubprefs.hubspot.auth import StaticToken
from airflow_provider_hubprefs.hubspot.client import Client
from airflow_provider_hubprefs.hubspot.crm import Found, OptOut, find_opt_outs, send_all
from airflow_provider_hubprefs.hubspot.pacing import ProcessPacer
from airflow_provider_hubprefs.simulator import Simulator

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
    """What a SIGKILL is to a test: nobody catches it."""


def opt_outs_in(folder: Path, about: str = "portal", kept: Any = ()) -> OptOutFeed:
    return OptOutFeed(folder, overlap=OVERLAP, arguments={"portal": about}, kept=kept)


class Watcher:
    """Looks at the portal as the trigger does, and may be killed before or after anything it writes."""

    def __init__(self, hubspot: Simulator, folder: Path) -> None:
        self.client = Client(StaticToken(hubspot.token), host=hubspot.url, pacer=ProcessPacer(limit=10_000))
        self.folder = folder
        self.told: list[int] = []
        self.restart()

    def restart(self) -> None:
        self.feed = opt_outs_in(self.folder)
        self.judged: dict[int, int] = {}
        if not self.feed.begun:
            self.feed.begin(floor=BEGIN)

    def poll(self, kill: random.Random | None = None, chance: float = 0.0) -> None:
        assert self.feed.mark is not None
        try:
            with killing(self.feed, kill, chance):
                found = send_all(
                    find_opt_outs(self.client.calls.version, floor=self.feed.mark.floor, judged=self.judged),
                    self.client.send,
                )
                self.judged = found.judged
                self.feed.take(found)
                for news in list(self.feed.untold()):
                    self.told.append(news.number)
                    self.feed.told(news)
        except Killed:
            self.restart()


class killing:  # noqa: N801 - reads as what it does
    """Kill before or after a list or the mark is written."""

    def __init__(self, feed: OptOutFeed, chance: random.Random | None, share: float) -> None:
        self.feed, self.chance, self.share = feed, chance, share

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
        self.feed._write = self._around(self.feed._write)  # type: ignore[method-assign]
        self.feed._place.save = self._around(self.feed._place.save)  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        del self.feed._write, self.feed._place.save


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

    def start(**portal: Any) -> Simulator:
        limits = {"search": 100_000, "burst": 10_000, "daily": 10_000_000}
        started.append(Simulator(portal={"limits": limits, **portal}, clock=clock))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.mark.parametrize("seed", range(6 if os.environ.get("HUBPREFS_TEST_LONG") else 2))
def test_every_opt_out_is_in_one_list_whatever_happens_when(
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
    assert sorted(set(watcher.told)) == written == list(range(1, len(written) + 1))
    assert len(json.dumps(watcher.feed.mark.state() if watcher.feed.mark else None)) < 200


def test_more_than_ten_thousand_at_the_same_moment(simulate: Any, clock: Clock, tmp_path: Path) -> None:
    hubspot = simulate()
    clock.now += 1
    named = [f"s{number}@x.example" for number in range(10_450)]
    hubspot.opt_out(*named)
    watcher = Watcher(hubspot, tmp_path)
    watcher.poll()
    clock.now += 30
    hubspot.opt_out("late@x.example")
    watcher.restart()
    watcher.poll()
    assert [row["subscriber"] for row in lines(tmp_path)] == [*named, "late@x.example"]
    assert hubspot.stats["answers"]["search_contacts"] == {"200": 2 * (1 + 53)}


def test_who_opts_in_and_out_again_is_told_of_again(simulate: Any, clock: Clock, tmp_path: Path) -> None:
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


def test_a_portal_where_nothing_happens_costs_one_request_a_look(
    simulate: Any, clock: Clock, tmp_path: Path
) -> None:
    hubspot = simulate()
    clock.now += 1
    hubspot.opt_out("a@x.example")
    watcher = Watcher(hubspot, tmp_path)
    for _ in range(5):
        watcher.poll()
    assert hubspot.stats["answers"] == {"search_contacts": {"200": 5}, "batch_read_contacts": {"200": 1}}


def test_a_list_that_could_not_be_kept_in_mind_is_written_again(tmp_path: Path) -> None:
    feed = opt_outs_in(tmp_path)
    feed.begin(floor=0)
    first = Found([OptOut(1, "a@x.example", 5)], 5, 0, {})
    with pytest.raises(Killed), killing(feed, random.Random(), 1.0):
        feed.take(first)
    feed._place.save, save = lambda _: (_ for _ in ()).throw(OSError("full")), feed._place.save  # type: ignore
    with pytest.raises(OSError, match="full"):
        feed.take(first)
    feed._place.save = save  # type: ignore[method-assign]
    assert feed.take(first)
    assert not feed.take(first)
    assert [row["contact_id"] for row in lines(tmp_path)] == [1]


def test_lists_are_told_of_until_that_is_kept(tmp_path: Path) -> None:
    feed = opt_outs_in(tmp_path)
    feed.begin(floor=0)
    feed.take(Found([OptOut(1, None, 5)], 5, 0, {}))
    feed.take(Found([OptOut(2, None, 6), OptOut(3, None, 6)], 6, 0, {}))
    again = opt_outs_in(tmp_path)
    assert [(news.number, news.count) for news in again.untold()] == [(1, 1), (2, 2)]
    again.told(next(again.untold()))
    assert [news.number for news in opt_outs_in(tmp_path).untold()] == [2]


def test_the_mark_that_came_furthest_counts(tmp_path: Path) -> None:
    feed = opt_outs_in(tmp_path)
    feed.begin(floor=7)
    assert feed.mark is not None
    elsewhere = OptOutMark(watermark=9, floor=8, next=4, first=4, told=3, arguments=feed.mark.arguments)
    of_others = {**elsewhere.state(), "next": 9, "arguments": "others"}
    later = {**elsewhere.state(), "format": 2, "next": 9}
    broken = {"format": 1, "next": "many"}
    found = opt_outs_in(tmp_path, kept=[None, "nonsense", broken, later, of_others, elsewhere.state()])
    assert found.mark == elsewhere


def test_a_folder_is_for_one_watcher(tmp_path: Path) -> None:
    opt_outs_in(tmp_path).begin(floor=0)
    with pytest.raises(FeedError, match=r"another watcher's, or of other arguments \(portal\)"):
        opt_outs_in(tmp_path, "another portal")
    first, second = opt_outs_in(tmp_path), opt_outs_in(tmp_path)
    first.take(Found([OptOut(1, None, 5)], 5, 0, {}))
    with pytest.raises(FeedError, match="another watcher writes"):
        second.take(Found([OptOut(2, None, 6)], 6, 0, {}))
    with pytest.raises(FeedError, match="another watcher writes"):
        second.take(Found([], 7, 0, {}))
    assert [row["contact_id"] for row in lines(tmp_path)] == [1]
    assert first.take(Found([OptOut(3, None, 6)], 6, 0, {}))


def test_nothing_shows_an_address() -> None:
    assert "jane" not in repr(Found([OptOut(1, "jane@example.com", 5)], 5, 0, {}))
