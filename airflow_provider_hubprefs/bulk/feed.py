"""What is new, as numbered lists in a folder of the user's, each told of once: no loss and no repetition on restarts.

A list is written before the mark moves, under a number that is the mark's. Whoever is killed in between writes the
same list again, with what has come since; nobody was told of it. Whoever is killed after, and before it is certain
that the news has arrived, tells the same again, of the same list. So lists never repeat anything, and a reader who
takes a list once reads everything once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.bulk.checkpoint import ObjectPlace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_hubprefs.bulk.dead_letters import Path
    from airflow_provider_hubprefs.hubspot.crm import Found, OptOut

_FORMAT = 1


class News(msgspec.Struct, frozen=True, kw_only=True):
    """A list that is there to be read.

    :param number: of the list, from 1.
    :param name: of the object in the folder.
    :param count: its lines.
    """

    number: int
    name: str
    count: int


class Mark(msgspec.Struct, kw_only=True):
    """Where a feed stands: a few numbers, whatever has happened.

    :param watermark: the latest change that was seen, in milliseconds since 1970.
    :param floor: opt-outs before this time were all told of, or are not asked for.
    :param next: number of the next list.
    :param first: the lists from this number on may have opt-outs that are not before the floor.
    :param told: all lists before this number were told of.
    """

    watermark: int
    floor: int
    next: int = 1
    first: int = 1
    told: int = 1

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {"format": _FORMAT, **msgspec.to_builtins(self)}

    @classmethod
    def latest(cls, states: Iterable[Any]) -> Mark | None:
        """The one that has come furthest, of those kept in several places; None where there is none.

        What is no mark, or one of a later release, counts as not there.
        """
        marks = []
        for state in states:
            if isinstance(state, dict) and state.get("format") == _FORMAT:
                try:
                    marks.append(msgspec.convert(state, cls))
                except msgspec.ValidationError:
                    continue
        return max(marks, key=lambda mark: (mark.next, mark.told, mark.watermark), default=None)


class OptOutFeed:
    """The opt-outs of a portal as lists.

    An opt-out is new when it is not before the floor and in none of the lists since. The floor follows the
    watermark at a distance: HubSpot's index is behind, and what it shows late is no older than that.

    :param folder: where the lists are, and the mark.
    :param overlap: that distance, in milliseconds; the index must never be further behind.
    :param kept: the mark as it is kept elsewhere, too.
    """

    def __init__(self, folder: Path, *, overlap: int, kept: Iterable[Any] = ()) -> None:
        self._folder = folder
        self._overlap = overlap
        self._place = ObjectPlace(folder / "mark")
        self._seen: set[tuple[int, int]] = (
            set()
        )  # contact and time of what is in lists and not before the floor
        self._lists: list[tuple[int, int]] = []  # those lists, each with the last of its times
        self.mark = Mark.latest([self._place.load(), *kept])
        if self.mark is not None:
            self._remember(self.mark)

    @property
    def begun(self) -> bool:
        """Whether there is a mark to go on from."""
        return self.mark is not None

    def begin(self, *, floor: int, watermark: int = 0) -> None:
        """Begin with opt-outs at a time and after it, in milliseconds since 1970."""
        mark = Mark(watermark=watermark, floor=floor)
        self._place.save(mark.state())
        self.mark = mark

    def take(self, found: Found) -> bool:
        """Take what a look at the contacts gave, and write a list of what is new.

        When it fails, it may be asked again: nothing has moved.

        :return: whether the mark has moved.
        """
        mark, lists = msgspec.structs.replace(self._mark), list(self._lists)
        new = [one for one in found.opt_outs if self._is_new(one)]
        if new:
            self._write(mark.next, new)
            lists.append((mark.next, max(one.at for one in new)))
            mark.next += 1
        mark.watermark = max(mark.watermark, found.watermark)
        mark.floor = max(mark.floor, mark.watermark - self._overlap)
        lists = [one for one in lists if one[1] >= mark.floor]
        mark.first = lists[0][0] if lists else mark.next
        if mark == self.mark:
            return False
        self._place.save(mark.state())
        self.mark, self._lists = mark, lists
        self._seen.update((one.contact_id, one.at) for one in new)
        self._seen = {key for key in self._seen if key[1] >= mark.floor}
        return True

    def untold(self) -> Iterator[News]:
        """The lists nobody was told of for certain, oldest first."""
        for number in range(self._mark.told, self._mark.next):
            yield News(number=number, name=self._name(number), count=sum(1 for _ in self._read(number)))

    def told(self, news: News) -> None:
        """It is certain that the news has arrived."""
        mark = msgspec.structs.replace(self._mark, told=max(self._mark.told, news.number + 1))
        self._place.save(mark.state())
        self.mark = mark

    @property
    def _mark(self) -> Mark:
        if self.mark is None:
            raise RuntimeError("this feed has not begun")
        return self.mark

    def _is_new(self, one: OptOut) -> bool:
        return one.at >= self._mark.floor and (one.contact_id, one.at) not in self._seen

    # The lists ----------------------------------------------------------------------------------------------

    def _name(self, number: int) -> str:
        return f"opt-outs-{number:08}.jsonl"

    def _write(self, number: int, opt_outs: list[OptOut]) -> None:
        """Write a list. Its number is still the next one's: cut off, it is written again."""
        with (self._folder / self._name(number)).open("wb") as file:
            for one in sorted(opt_outs, key=lambda one: (one.at, one.contact_id)):
                file.write(msgspec.json.encode(_line(one)) + b"\n")

    def _read(self, number: int) -> Iterator[tuple[int, int]]:
        """Contact and time of a list's lines. A list that somebody deleted has none."""
        path = self._folder / self._name(number)
        if path.exists():
            with path.open("rb") as file:
                for line in file:
                    row = msgspec.json.decode(line)
                    yield row["contact_id"], row["opted_out_at_ms"]

    def _remember(self, mark: Mark) -> None:
        """Read again what is in lists and not before the floor."""
        for number in range(mark.first, mark.next):
            keys = set(self._read(number))
            self._seen |= {key for key in keys if key[1] >= mark.floor}
            self._lists.append((number, max((at for _, at in keys), default=0)))


def _line(one: OptOut) -> dict[str, Any]:
    return {
        "subscriber": one.subscriber,
        "contact_id": one.contact_id,
        "opted_out_at": iso(one.at),
        "opted_out_at_ms": one.at,
    }


def iso(milliseconds: int) -> str:
    """A time as text: ISO 8601, UTC."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"
