"""The opt-outs of a portal as numbered lists: whatever is restarted when, each is in one list, and in one only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from airflow_provider_hubprefs.bulk.feed import Feed, Mark, iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_hubprefs.bulk.storage import Path
    from airflow_provider_hubprefs.hubspot.crm import Found, OptOut


class OptOutMark(Mark, kw_only=True):
    """Where the lists of opt-outs stand.

    :param floor: opt-outs before this time were all told of, or are not asked for; milliseconds since 1970.
    :param first: the lists from this number on may have opt-outs that are not before the floor.
    """

    floor: int
    first: int = 1


class OptOutFeed(Feed[OptOutMark]):
    """The opt-outs of a portal as lists.

    An opt-out is new when it is not before the floor and in none of the lists since. The floor follows the
    watermark at a distance: HubSpot's index is behind, and what it shows late is no older than that.

    :param folder: where the lists are, and the mark.
    :param overlap: that distance, in milliseconds; the index must never be further behind.
    :param arguments: see :class:`~.feed.Feed`.
    :param kept: see :class:`~.feed.Feed`.
    :raises FeedError: the folder is another watcher's.
    """

    MARK: ClassVar[type[Mark]] = OptOutMark
    NAME: ClassVar[str] = "opt-outs"

    def __init__(
        self, folder: Path, *, overlap: int, arguments: Mapping[str, Any], kept: Iterable[Any] = ()
    ) -> None:
        super().__init__(folder, arguments=arguments, kept=kept)
        self._overlap = overlap
        # Contact and time of what is in lists and not before the floor; those lists, each with its last time.
        self._seen: set[tuple[int, int]] = set()
        self._lists: list[tuple[int, int]] = []
        if self.mark is not None:
            self._remember(self.mark)

    def begin(self, *, floor: int, watermark: int = 0) -> None:
        """Begin with opt-outs at a time and after it, in milliseconds since 1970."""
        self._save(OptOutMark(watermark=watermark, floor=floor))

    def take(self, found: Found) -> bool:
        """Take what a look at the contacts gave, and write a list of what is new.

        When it fails, it may be asked again: nothing has moved.

        :return: whether the mark has moved.
        :raises FeedError: somebody else writes to this folder.
        """
        mark, lists = msgspec.structs.replace(self._mark), list(self._lists)
        new = [one for one in found.opt_outs if self._is_new(one)]
        if new:
            self._check_alone()
            new.sort(key=lambda one: (one.at, one.contact_id))
            self._write(mark.next, map(_row, new))
            lists.append((mark.next, max(one.at for one in new)))
            mark.next += 1
        mark.watermark = max(mark.watermark, found.watermark)
        mark.floor = max(mark.floor, mark.watermark - self._overlap)
        lists = [one for one in lists if one[1] >= mark.floor]
        mark.first = lists[0][0] if lists else mark.next
        if mark == self.mark:
            return False
        self._save(mark)
        self._lists = lists
        self._seen.update((one.contact_id, one.at) for one in new)
        self._seen = {key for key in self._seen if key[1] >= mark.floor}
        return True

    def _is_new(self, one: OptOut) -> bool:
        return one.at >= self._mark.floor and (one.contact_id, one.at) not in self._seen

    def _keys(self, number: int) -> Iterator[tuple[int, int]]:
        """Contact and time of a list's lines."""
        for line in self._lines(number):
            row = msgspec.json.decode(line)
            yield row["contact_id"], row["opted_out_at_ms"]

    def _remember(self, mark: OptOutMark) -> None:
        """Read again what is in lists and not before the floor."""
        for number in range(mark.first, mark.next):
            keys = set(self._keys(number))
            self._seen |= {key for key in keys if key[1] >= mark.floor}
            self._lists.append((number, max((at for _, at in keys), default=0)))


def _row(one: OptOut) -> dict[str, Any]:
    return {
        "subscriber": one.subscriber,
        "contact_id": one.contact_id,
        "opted_out_at": iso(one.at),
        "opted_out_at_ms": one.at,
    }
