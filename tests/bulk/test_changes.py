"""Changes as lists: whatever is killed when, each is in one list, and in one only; memory does not grow."""

from __future__ import annotations

import asyncio
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.bulk.changes import ChangeFeed, Look, look_at, reader
from airflow_provider_hubprefs.bulk.feed import FeedError
from airflow_provider_hubprefs.bulk.source_errors import SourceError
from airflow_provider_hubprefs.hubspot.errors import (
    ConnectionFailedError,
    NotFoundError,
    ValidationError,
)
from airflow_provider_hubprefs.hubspot.models import Operation, SubscriptionStatus, WideStatus, decode


class Killed(BaseException):
    """What a SIGKILL is to a test: nobody catches it."""


def feed_in(folder: Path) -> ChangeFeed:
    return ChangeFeed(folder, arguments={"list": "vips"})


def look(preferences: dict[str, Any], at: int = 1) -> Look:
    made = Look(at)
    made.add(preferences.items())
    return made


def lines(folder: Path, upto: int) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for number in range(1, upto)
        for line in (folder / f"changes-{number:08}.jsonl").read_text().splitlines()
    ]


class kills:  # noqa: N801 - reads as what it does
    """Kill before, in the middle of, or after a write: what was being written is cut off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, chance: random.Random) -> None:
        self.on = False
        opened = Path.open
        outer = self

        def open_(path: Path, mode: str = "r", *more: Any, **others: Any) -> Any:
            file = opened(path, mode, *more, **others)
            if outer.on and "w" in mode:
                write, close = file.write, file.close

                class Cut:
                    def __enter__(self) -> Cut:
                        if chance.random() < 0.1:
                            raise Killed
                        return self

                    def __exit__(self, *_: object) -> None:
                        close()
                        if chance.random() < 0.1:
                            raise Killed

                    def write(self, data: bytes) -> None:
                        if chance.random() < 0.05:
                            write(data[: len(data) // 2])
                            raise Killed
                        write(data)

                return Cut()
            return file

        monkeypatch.setattr(Path, "open", open_)


@pytest.mark.parametrize("seed", range(10))
def test_every_change_is_told_once_whatever_is_killed_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    killing = kills(monkeypatch, chance)
    people: dict[str, bool] = {f"s{number}@x.example": chance.random() < 0.5 for number in range(30)}
    feed = feed_in(tmp_path)
    feed.take(look(people))
    first, told, deaths = dict(people), set(), 0
    for at in range(2, 60):
        for one in chance.sample(sorted(people), chance.randint(0, 3)):
            people[one] = not people[one]
        shown = {one: None if chance.random() < 0.1 else now for one, now in people.items()}
        killing.on = True
        try:
            feed.take(look(shown, at))
            for news in list(feed.untold()):
                told.add(news.number)
                feed.told(news)
        except Killed:
            deaths += 1
            killing.on = False
            feed = feed_in(tmp_path)
        killing.on = False
    feed.take(look(people, 100))
    told |= {news.number for news in feed.untold()}
    assert deaths > 5
    assert feed.mark is not None
    assert told == set(range(1, feed.mark.next))
    so_far = first
    for row in lines(tmp_path, feed.mark.next):
        assert (so_far[row["subscriber"]], row["now"]) == (row["before"], not row["before"])
        so_far[row["subscriber"]] = row["now"]
    assert so_far == people


def test_a_failed_write_may_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = feed_in(tmp_path)
    feed.take(look({"a@x.example": False}))
    changed = look({"a@x.example": True}, at=2)
    with monkeypatch.context() as broken:
        broken.setattr(feed._place, "save", lambda _: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            feed.take(changed)
    assert feed.take(changed)
    assert not feed.take(changed)
    assert [(row["before"], row["now"]) for row in lines(tmp_path, 2)] == [(False, True)]


def test_a_look_without_news_writes_nothing(tmp_path: Path) -> None:
    feed = feed_in(tmp_path)
    feed.take(look({"a@x.example": False}))
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert not feed.take(look({"a@x.example": None}, at=2))
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_who_leaves_the_list_and_comes_back_is_new(tmp_path: Path) -> None:
    feed = feed_in(tmp_path)
    for at, people in enumerate(
        [{"a@x.example": False, "b@x.example": True}, {"b@x.example": True}], start=1
    ):
        assert feed.take(look(people, at))
    feed.take(look({"a@x.example": True, "b@x.example": True}, at=3))
    assert list(feed.untold()) == []


def test_damage_is_said(tmp_path: Path) -> None:
    feed = feed_in(tmp_path)
    feed.take(look({"a@x.example": False, "b@x.example": True}))
    assert feed.mark is not None
    seen = tmp_path / f"seen.{feed.mark.slot}"
    whole = seen.read_bytes()
    for damaged in (whole[:-60], whole[:20], b"", whole.replace(b'"format": 1', b'"format": 2')):
        seen.write_bytes(damaged)
        with pytest.raises(FeedError, match=r"seen\.1 is damaged or of a later release"):
            feed_in(tmp_path)


def test_what_was_seen_has_another_key_in_every_folder(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        feed_in(tmp_path / name).take(look({"a@x.example": False}))
    one, other = ((tmp_path / name / "seen.1").read_text().splitlines()[1] for name in ("one", "other"))
    assert one.split()[1] == other.split()[1] == "false"
    assert one != other


def test_memory_does_not_grow_with_the_list(tmp_path: Path) -> None:
    def take(number: int, *, opted_out: bool) -> int:
        feed = feed_in(tmp_path)
        made = Look(1)
        for begin in range(0, number, 800):
            made.add((f"s{one}@x.example", opted_out) for one in range(begin, begin + 800))
        tracemalloc.start()
        feed.take(made)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    take(32_000, opted_out=False)
    small = take(32_000, opted_out=True)
    large = take(64_000, opted_out=False)
    assert large < small + 500_000


def wide(*statuses: dict[str, Any]) -> Operation[Any]:
    body = {
        "status": "COMPLETE",
        "results": [{"channel": "EMAIL", "subscriberIdString": "a", **one} for one in statuses],
    }
    return decode(json.dumps(body).encode(), Operation[WideStatus])


def test_what_answers_say() -> None:
    opt_out = reader(subscription_id=None, business_unit_id=None)
    branded = reader(subscription_id=None, business_unit_id=7)
    status = reader(subscription_id=5, business_unit_id=None)
    of_8 = wide({"wideStatusType": "BUSINESS_UNIT_WIDE", "status": "UNSUBSCRIBED", "businessUnitId": 8})
    assert (opt_out(of_8), branded(of_8), opt_out(wide())) == (True, False, False)
    assert opt_out(Operation(status="PROCESSING")) is None
    assert status(Operation(status="CANCELED")) is None
    row = {"subscriptionId": 5, "status": "A_LATER_ONE", "channel": "EMAIL", "subscriberIdString": "a"}
    body = json.dumps({"status": "COMPLETE", "results": [row]}).encode()
    assert status(decode(body, Operation[SubscriptionStatus])) == "A_LATER_ONE"
    assert status(wide()) == "NOT_SPECIFIED"


def test_who_is_refused_stops_nobody_else(tmp_path: Path) -> None:
    source = tmp_path / "list.txt"
    source.write_text("a@x.example\nb@x.example\nc@x.example\n")
    answers: dict[str, Any] = {"a@x.example": NotFoundError("no"), "b@x.example": ValidationError("no")}

    async def ask(subscriber: str) -> Operation[Any]:
        if subscriber in answers:
            raise answers[subscriber]
        return wide()

    async def seen() -> dict[str, Any]:
        read = reader(subscription_id=None, business_unit_id=None)
        return dict(await look_at(source, email_column="email", ask=ask, read=read))

    assert asyncio.run(seen()) == {"a@x.example": False, "b@x.example": None, "c@x.example": False}
    answers["c@x.example"] = ConnectionFailedError("no")
    with pytest.raises(ConnectionFailedError):
        asyncio.run(seen())
    source.write_text("email\n")
    with pytest.raises(SourceError, match="has no subscribers"):
        asyncio.run(seen())
