"""Write a portal's opt-outs to numbered lists in a folder; deliver each list until its delivery is certain.

A list is written before the cursor moves, under the number that the cursor has. A triggerer that is killed in between
writes the same list again, with what is new since; it was not delivered yet. A triggerer that is killed after that,
and before the delivery is certain, delivers the same list again. So no opt-out is in two lists, and a reader who takes
each number once reads each opt-out once. The cursor itself remembers the last opt-outs: a reader may delete lists.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.hubspot.api.times import text_of
from airflow_provider_hubprefs.storage import ObjectPlace, lines_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.hubspot.api.contacts import Found, OptOut
    from airflow_provider_hubprefs.storage import File, Path


class ListError(Exception):
    """The folder belongs to another watcher. The text says what to do; waiting does not help."""


class NewList(msgspec.Struct, frozen=True, kw_only=True):
    """A list to deliver.

    :param number: of the list, from 1.
    :param name: of the object in the folder.
    :param count: its lines.
    :param watermark: HubSpot was read up to this time; ISO 8601, UTC.
    """

    number: int
    name: str
    count: int
    watermark: str


class Cursor(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Where a watcher resumes: a few numbers, and the opt-outs of the last minutes.

    :param connection: whose opt-outs are in the lists.
    :param floor: opt-outs before this time are all in lists, or are not wanted; milliseconds since 1970, like all
        times here. None before the first search.
    :param watermark: HubSpot was read up to this time.
    :param next: number of the next list.
    :param recent: contact and time of each listed opt-out that is not before the floor.
    :param delivered: all lists before this number were delivered.
    """

    connection: str
    floor: int | None
    watermark: int = 0
    next: int = 1
    recent: list[list[int]] = []
    delivered: int = 1


class OptOutLists:
    """Numbered lists in a folder, and their cursor. One thread at a time.

    An opt-out is new when it is not before the floor and in none of the lists since. The floor follows the watermark
    at a distance: HubSpot's search index lags, and what it shows late is no older than that.

    :param folder: of the lists and the cursor.
    :param connection: whose opt-outs these are.
    :param overlap: that distance in milliseconds; the index must never lag more.
    :param since: floor where there is no cursor yet; None: what is later than all that the first search finds.
    :raises ListError: the folder belongs to another watcher, or its cursor is gone.
    """

    def __init__(self, folder: Path, *, connection: str, overlap: int, since: int | None = None) -> None:
        self._folder = folder
        self._overlap = overlap
        self._place = ObjectPlace(folder / "cursor")
        self._saved = self._tried = self._place.load()
        self.cursor = Cursor(connection=connection, floor=since)
        if self._saved is not None:
            self.cursor = self._resume(self._saved, connection)
        elif (found := next(iter(folder.glob("opt-outs-*.jsonl")), None)) is not None:
            raise ListError(
                f"{folder.name!r} has lists ({found.name!r}) and no cursor: it cannot be known what is in them. Give "
                "this watcher another output, or move the lists away, and set since to the time of the last one"
            )
        # A list that the cursor does not count was left by a watcher that was killed while it wrote.
        self._unfinished = self.cursor.next if self._path(self.cursor.next).exists() else 0

    def take(self, found: Found) -> None:
        """Write what is new in a search of the contacts to a list. Safe to repeat when it fails.

        :raises ListError: another watcher writes to this folder.
        """
        if self._saved is None:
            self._save(self.cursor)  # from now on a list without a cursor is not this watcher's
        cursor = msgspec.structs.replace(self.cursor)
        floor = found.watermark + 1 if cursor.floor is None else cursor.floor
        recent = {(contact, at) for contact, at in cursor.recent}
        new = [one for one in found.opt_outs if one.at >= floor and (one.contact_id, one.at) not in recent]
        if new:
            new.sort(key=lambda one: (one.at, one.contact_id))
            self._check_alone()
            self._write(cursor.next, new)
            recent.update((one.contact_id, one.at) for one in new)
            cursor.next += 1
        cursor.watermark = max(cursor.watermark, found.watermark)
        cursor.floor = floor = max(floor, cursor.watermark - self._overlap)
        cursor.recent = sorted([contact, at] for contact, at in recent if at >= floor)
        if cursor != self.cursor:
            self._save(cursor)

    def undelivered(self) -> list[NewList]:
        """The lists whose delivery is not certain, oldest first; a list that was deleted has been read."""
        return [
            NewList(
                number=number,
                name=self._path(number).name,
                count=self._count(number),
                watermark=iso(self.cursor.watermark),
            )
            for number in range(self.cursor.delivered, self.cursor.next)
            if self._path(number).exists()
        ]

    def mark_delivered(self, new: NewList) -> None:
        """Note that the delivery of a list is certain.

        :raises ListError: another watcher writes to this folder.
        """
        self._save(msgspec.structs.replace(self.cursor, delivered=new.number + 1))

    def _resume(self, saved: dict[str, Any], connection: str) -> Cursor:
        try:
            cursor = msgspec.convert(saved, Cursor)
        except msgspec.ValidationError as error:
            raise ListError(
                f"the cursor in {self._folder.name!r} cannot be read ({error}): another release or program wrote it; "
                "give this watcher another output"
            ) from None
        if cursor.connection != connection:
            raise ListError(
                f"the lists in {self._folder.name!r} are of connection {cursor.connection!r}, not of {connection!r}: "
                "give every watcher an output of its own"
            )
        return cursor

    def _save(self, cursor: Cursor) -> None:
        """Move the cursor. Safe to repeat when it fails."""
        self._check_alone()
        self._tried = msgspec.to_builtins(cursor)
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

    def _path(self, number: int) -> Path:
        return self._folder / f"opt-outs-{number:08}.jsonl"

    def _write(self, number: int, opt_outs: Sequence[OptOut]) -> None:
        """Write a list. Until the cursor moves, this watcher may write it again, and no other may.

        :raises ListError: another watcher has written it.
        """
        path = self._path(number)
        if number == self._unfinished:
            path.unlink(missing_ok=True)
        try:
            with _created(path) as file:
                self._unfinished = number
                for one in opt_outs:
                    row = {
                        "subscriber": one.subscriber,
                        "contact_id": one.contact_id,
                        "opted_out_at": iso(one.at),
                        "opted_out_at_ms": one.at,
                    }
                    file.write(msgspec.json.encode(row) + b"\n")
        except FileExistsError:
            self._unfinished = 0
            raise ListError(
                f"another watcher has written {path.name!r} to {self._folder.name!r}: give every watcher an output of "
                "its own. Where one triggerer has just replaced another, this passes"
            ) from None

    def _count(self, number: int) -> int:
        return sum(1 for _ in lines_in(self._path(number)))


def _created(path: Path) -> File:
    """Create a file, where there is none.

    :raises FileExistsError: there is one.
    """
    try:
        return path.open("xb")
    except (ValueError, NotImplementedError):  # a store that cannot create exclusively
        if path.exists():
            raise FileExistsError(path.name) from None
        return path.open("wb")


def iso(milliseconds: float) -> str:
    """A time as text: ISO 8601, UTC."""
    return text_of(datetime.fromtimestamp(milliseconds / 1000, UTC))
