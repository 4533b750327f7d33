"""Write new entries to numbered lists in a folder; deliver each list until its delivery is certain.

A list is written before the cursor moves, under the number that the cursor has. A triggerer that is killed in between
writes the same list again, with what is new since; it was not delivered yet. A triggerer that is killed after that,
and before the delivery is certain, delivers the same list again. So no entry is in two lists, and a reader who takes
each number once reads each entry once.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

from airflow_provider_hubprefs.hubspot.privacy import fingerprint
from airflow_provider_hubprefs.storage import ObjectPlace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_hubprefs.storage import Path

_FORMAT = 1


class ListError(Exception):
    """The folder belongs to another watcher. The text says what to do; waiting does not help."""


class NewList(msgspec.Struct, frozen=True, kw_only=True):
    """A list to deliver.

    :param number: of the list, from 1.
    :param name: of the object in the folder.
    :param count: its lines.
    """

    number: int
    name: str
    count: int


class Cursor(msgspec.Struct, kw_only=True):
    """Where a watcher resumes: a few numbers, however much has happened.

    :param watermark: HubSpot was read up to this time; milliseconds since 1970, like all times here.
    :param floor: entries before this time are all in lists, or are not wanted.
    :param next: number of the next list.
    :param first: lists from this number on may have entries that are not before the floor.
    :param delivered: all lists before this number were delivered.
    :param arguments: fingerprint of what the lists are about.
    """

    watermark: int
    floor: int
    next: int = 1
    first: int = 1
    delivered: int = 1
    arguments: str = ""

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {"format": _FORMAT, **msgspec.to_builtins(self)}

    @classmethod
    def of(cls, state: Any) -> Self | None:
        """Read :meth:`state`; None for anything else, and for what a later release wrote."""
        if not isinstance(state, dict) or state.get("format") != _FORMAT:
            return None
        try:
            return msgspec.convert(state, cls)
        except msgspec.ValidationError:
            return None


class ListWriter:
    """Numbered lists in a folder, and their cursor. One thread at a time.

    :param folder: of the lists and the cursor.
    :param arguments: what the lists are about; a folder with lists about something else is refused.
    :param kept: cursors kept elsewhere; those of other arguments are ignored, and the one that is furthest counts.
    :raises ListError: the folder belongs to another watcher.
    """

    NAME: ClassVar[str]
    """Of the lists, before their number."""

    def __init__(self, folder: Path, *, arguments: Mapping[str, Any], kept: Iterable[Any] = ()) -> None:
        self._folder = folder
        self._arguments = fingerprint(json.dumps(arguments, sort_keys=True), key="arguments")
        self._place = ObjectPlace(folder / "cursor")
        self._saved = self._tried = self._place.load()
        mine = Cursor.of(self._saved)
        if mine is not None and mine.arguments != self._arguments:
            raise ListError(
                f"the lists in {folder.name!r} belong to another watcher, or are of other arguments "
                f"({', '.join(arguments)}): give every watcher an output of its own"
            )
        elsewhere = [one for one in map(Cursor.of, kept) if one and one.arguments == self._arguments]
        self.cursor: Cursor | None = max(
            ([mine] if mine else []) + elsewhere,
            key=lambda one: (one.next, one.delivered, one.watermark),
            default=None,
        )

    def begin(self, *, floor: int, watermark: int = 0) -> None:
        """Begin with entries at a time and after it."""
        self._save(Cursor(watermark=watermark, floor=floor))

    def undelivered(self) -> Iterator[NewList]:
        """The lists whose delivery is not certain, oldest first."""
        cursor = self._begun
        for number in range(cursor.delivered, cursor.next):
            yield NewList(number=number, name=self._name(number), count=sum(1 for _ in self._lines(number)))

    def mark_delivered(self, new: NewList) -> None:
        """Note that the delivery of a list is certain.

        :raises ListError: another watcher writes to this folder.
        """
        delivered = max(self._begun.delivered, new.number + 1)
        self._save(msgspec.structs.replace(self._begun, delivered=delivered))

    @property
    def _begun(self) -> Cursor:
        if self.cursor is None:
            raise RuntimeError("these lists have not begun")
        return self.cursor

    def _save(self, cursor: Cursor) -> None:
        """Move the cursor. Safe to repeat when it fails."""
        self._check_alone()
        cursor.arguments = self._arguments
        self._tried = cursor.state()
        self._place.save(self._tried)
        self.cursor, self._saved = cursor, self._tried

    def _check_alone(self) -> None:
        """Check that no other watcher has moved the cursor: both would use the same numbers.

        :raises ListError: the cursor is neither what was saved last nor what a failed save may have written.
        """
        if self._place.load() not in (self._saved, self._tried):
            raise ListError(
                f"another watcher writes to {self._folder.name!r}, its cursor has moved: give every watcher an output "
                "of its own. Where one triggerer has just replaced another, this passes"
            )

    def _name(self, number: int) -> str:
        return f"{self.NAME}-{number:08}.jsonl"

    def _write(self, number: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a list. Until the cursor moves, the next write replaces it."""
        encode = msgspec.json.Encoder().encode
        with (self._folder / self._name(number)).open("wb") as file:
            for row in rows:
                file.write(encode(row) + b"\n")

    def _lines(self, number: int) -> Iterator[bytes]:
        """Lines of a list; a list that was deleted has none."""
        path = self._folder / self._name(number)
        if path.exists():
            with path.open("rb") as file:
                yield from file


def iso(milliseconds: int) -> str:
    """A time as text: ISO 8601, UTC."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"
