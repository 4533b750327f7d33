"""What is new, as numbered lists in a folder of the user's, each told of once: no loss and no repetition on restarts.

A list is written before the mark moves, under a number that is the mark's. Whoever is killed in between writes the
same list again, with what has come since; nobody was told of it. Whoever is killed after, and before it is certain
that the news has arrived, tells the same again, of the same list. So lists never repeat anything, and a reader who
takes a list once reads everything once.

What is new is decided by whoever has such a feed: :mod:`.opt_outs` and :mod:`.changes`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import msgspec

from airflow_provider_hubprefs.bulk.storage import ObjectPlace
from airflow_provider_hubprefs.hubspot.privacy import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_hubprefs.bulk.storage import Path

_FORMAT = 1


class FeedError(Exception):
    """The folder is somebody else's, or what was in it is damaged. Says what to do; waiting does not help."""


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

    :param watermark: up to when HubSpot was looked at, in milliseconds since 1970.
    :param next: number of the next list.
    :param told: all lists before this number were told of.
    :param arguments: fingerprint of what the lists are about.
    """

    watermark: int
    next: int = 1
    told: int = 1
    arguments: str = ""

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {"format": _FORMAT, **msgspec.to_builtins(self)}

    @classmethod
    def of(cls, state: Any) -> Self | None:
        """The mark that was kept; None for what is no mark, or one of a later release."""
        if not isinstance(state, dict) or state.get("format") != _FORMAT:
            return None
        try:
            return msgspec.convert(state, cls)
        except msgspec.ValidationError:
            return None


M = TypeVar("M", bound=Mark)


class Feed(Generic[M]):
    """Numbered lists in a folder, and the mark. One thread at a time.

    :param folder: where the lists are, and the mark.
    :param arguments: what the lists are about: a folder where they are about something else is refused.
    :param kept: the mark as it is kept elsewhere, too; one of other arguments counts as not there.
    :raises FeedError: the folder is another watcher's.
    """

    MARK: ClassVar[type[Mark]]
    NAME: ClassVar[str]
    """Of the lists, before their number."""

    def __init__(self, folder: Path, *, arguments: Mapping[str, Any], kept: Iterable[Any] = ()) -> None:
        self._folder = folder
        self._arguments = fingerprint(json.dumps(arguments, sort_keys=True), key="arguments")
        self._place = ObjectPlace(folder / "mark")
        self._known = self._tried = self._place.load()
        mine = self._mark_of(self._known)
        if mine is not None and mine.arguments != self._arguments:
            raise FeedError(
                f"the lists in {folder.name!r} are another watcher's, or of other arguments "
                f"({', '.join(arguments)}). Every watcher needs an output of its own"
            )
        marks = [mine, *(one for one in map(self._mark_of, kept) if one and one.arguments == self._arguments)]
        self.mark: M | None = max(
            (one for one in marks if one), key=lambda one: (one.next, one.told, one.watermark), default=None
        )

    @property
    def begun(self) -> bool:
        """Whether there is a mark to go on from."""
        return self.mark is not None

    def untold(self) -> Iterator[News]:
        """The lists nobody was told of for certain, oldest first."""
        for number in range(self._mark.told, self._mark.next):
            yield News(number=number, name=self._name(number), count=sum(1 for _ in self._lines(number)))

    def told(self, news: News) -> None:
        """It is certain that the news has arrived.

        :raises FeedError: somebody else writes to this folder.
        """
        self._save(msgspec.structs.replace(self._mark, told=max(self._mark.told, news.number + 1)))

    # For those who decide what is new ----------------------------------------------------------------------

    @property
    def _mark(self) -> M:
        if self.mark is None:
            raise RuntimeError("this feed has not begun")
        return self.mark

    def _mark_of(self, state: Any) -> M | None:
        return self.MARK.of(state)  # type: ignore[return-value]

    def _save(self, mark: M) -> None:
        """Move the mark; when that fails, it may be tried again."""
        self._check_alone()
        mark.arguments = self._arguments
        self._tried = mark.state()
        self._place.save(self._tried)
        self.mark, self._known = mark, self._tried

    def _check_alone(self) -> None:
        """Two who write the same lists would take each other's numbers.

        :raises FeedError: the mark is not where it was left. What a save that failed has written is no stranger's.
        """
        if self._place.load() not in (self._known, self._tried):
            raise FeedError(
                f"another watcher writes to {self._folder.name!r}: its mark has moved. Every watcher needs an output "
                "of its own; where a triggerer was just replaced by another, this passes"
            )

    def _name(self, number: int) -> str:
        return f"{self.NAME}-{number:08}.jsonl"

    def _write(self, number: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a list. Its number is still the next one's: cut off, it is written again."""
        encode = msgspec.json.Encoder().encode
        with (self._folder / self._name(number)).open("wb") as file:
            for row in rows:
                file.write(encode(row) + b"\n")

    def _lines(self, number: int) -> Iterator[bytes]:
        """Lines of a list. One that somebody deleted has none."""
        path = self._folder / self._name(number)
        if path.exists():
            with path.open("rb") as file:
                yield from file


def iso(milliseconds: int) -> str:
    """A time as text: ISO 8601, UTC."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"
