"""The opt-outs of a portal as numbered lists: each opt-out is in exactly one list, whenever a triggerer is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from airflow_provider_hubprefs.watch.numbered_lists import ListWriter, iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_hubprefs.hubspot.api.contacts import Found, OptOut
    from airflow_provider_hubprefs.storage import Path


class OptOutLists(ListWriter):
    """Writes opt-outs that are in no list yet to a new list.

    An opt-out is new when it is not before the floor and in none of the lists since. The floor follows the watermark
    at a distance: HubSpot's search index lags, and what it shows late is no older than that.

    :param folder: of the lists and the cursor.
    :param overlap: that distance in milliseconds; the index must never lag more.
    :param arguments: see :class:`~.numbered_lists.ListWriter`.
    :param kept: see :class:`~.numbered_lists.ListWriter`.
    :raises ListError: the folder belongs to another watcher.
    """

    NAME: ClassVar[str] = "opt-outs"

    def __init__(
        self, folder: Path, *, overlap: int, arguments: Mapping[str, Any], kept: Iterable[Any] = ()
    ) -> None:
        super().__init__(folder, arguments=arguments, kept=kept)
        self._overlap = overlap
        # Contact and time of each listed opt-out that is not before the floor, and the last time in each such list.
        self._listed: set[tuple[int, int]] = set()
        self._last_times: list[tuple[int, int]] = []
        if self.cursor is not None:
            for number in range(self.cursor.first, self.cursor.next):
                keys = set(self._keys(number))
                self._listed |= {key for key in keys if key[1] >= self.cursor.floor}
                self._last_times.append((number, max((at for _, at in keys), default=0)))

    def take(self, found: Found) -> bool:
        """Write what is new in a search of the contacts to a list. Safe to repeat when it fails.

        :return: whether the cursor has moved.
        :raises ListError: another watcher writes to this folder.
        """
        cursor, last_times = msgspec.structs.replace(self._begun), list(self._last_times)
        new = [
            one
            for one in found.opt_outs
            if one.at >= cursor.floor and (one.contact_id, one.at) not in self._listed
        ]
        if new:
            self._check_alone()
            new.sort(key=lambda one: (one.at, one.contact_id))
            self._write(cursor.next, map(_row, new))
            last_times.append((cursor.next, new[-1].at))
            cursor.next += 1
        cursor.watermark = max(cursor.watermark, found.watermark)
        cursor.floor = max(cursor.floor, cursor.watermark - self._overlap)
        last_times = [one for one in last_times if one[1] >= cursor.floor]
        cursor.first = last_times[0][0] if last_times else cursor.next
        if cursor == self.cursor:
            return False
        self._save(cursor)
        self._last_times = last_times
        self._listed.update((one.contact_id, one.at) for one in new)
        self._listed = {key for key in self._listed if key[1] >= cursor.floor}
        return True

    def _keys(self, number: int) -> Iterator[tuple[int, int]]:
        """Contact and time of a list's lines."""
        for line in self._lines(number):
            row = msgspec.json.decode(line)
            yield row["contact_id"], row["opted_out_at_ms"]


def _row(one: OptOut) -> dict[str, Any]:
    return {
        "subscriber": one.subscriber,
        "contact_id": one.contact_id,
        "opted_out_at": iso(one.at),
        "opted_out_at_ms": one.at,
    }
