"""What has changed between two looks at a list of subscribers, as numbered lists; each change once.

What was seen last of each subscriber is kept in the folder as a digest and the preference, under a key made for that
folder: no address is in it. It is written whole, to that one of two objects which the mark does not name, before the
mark moves on to it: whoever is killed at any time finds what belongs to the mark.

Memory does not grow with the list: what was seen is in a temporary database, a look in a temporary file once it is
large. Neither has a name anywhere, and both are gone with the process.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
import threading
import time
from contextlib import contextmanager
from hashlib import blake2b
from itertools import chain, islice
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from airflow_provider_hubprefs.bulk.feed import Feed, FeedError, Mark, iso
from airflow_provider_hubprefs.bulk.lines import SourceError, name_of
from airflow_provider_hubprefs.bulk.source import Columns, read_rows
from airflow_provider_hubprefs.bulk.writes import opted_out_of
from airflow_provider_hubprefs.hubspot.errors import ConflictError, NotFoundError, ValidationError
from airflow_provider_hubprefs.hubspot.models import Operation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from airflow_provider_hubprefs.bulk.lines import File
    from airflow_provider_hubprefs.bulk.source import Row
    from airflow_provider_hubprefs.bulk.storage import Path

Preference = bool | str
"""Whether a subscriber has opted out, or the status for one subscription."""

AT_ONCE = 800
"""Subscribers asked for together: as many batches of 100 as :mod:`..hubspot.polling` has under way."""

_IN_MEMORY = 8 << 20
"""Bytes of a look, some 150,000 subscribers, until it goes to a file."""

_PIECE = 1 << 18
_FORMAT = 1
_REFUSALS = (ValidationError, ConflictError)
_NOBODY: Operation[Any] = Operation(status="COMPLETE")


class Look:
    """What HubSpot showed of a list at one time; any number of threads may read it.

    :param at: when it began, in milliseconds since 1970.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.asked = 0
        self.untold = 0
        """Of whom HubSpot did not tell, for now: an operation under way, an address it refuses."""
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed with its last reader
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Look at {self.asked} subscribers, {iso(self.at)}>"

    def add(self, told: Iterable[tuple[str, Preference | None]]) -> None:
        """Take what was told of some, None for nothing."""
        encode = msgspec.json.Encoder().encode
        for subscriber, preference in told:
            self.asked += 1
            self.untold += preference is None
            self._file.write(encode((subscriber, preference)) + b"\n")

    def __iter__(self) -> Iterator[tuple[str, Preference | None]]:
        decode = msgspec.json.Decoder(tuple[str, bool | str | None]).decode
        place = 0
        while True:
            with self._lock:
                self._file.seek(place)
                lines = self._file.readlines(_PIECE)
            if not lines:
                return
            place += sum(map(len, lines))
            yield from map(decode, lines)


async def look_at(
    source: File,
    *,
    email_column: str,
    ask: Callable[[str], Awaitable[Operation[Any]]],
    read: Callable[[Operation[Any]], Preference | None],
) -> Look:
    """Ask for every subscriber of a list. Reading the list and the look are done in threads.

    :param source: see :func:`~.source.read_rows`; rows that are no address, and repetitions, are passed over.
    :param ask: for one subscriber; asked for many at once.
    :param read: makes a preference of an answer, see :func:`reader`.
    :raises SourceError: the list cannot be read, is empty, or changed meanwhile.
    :raises HubSpotError: HubSpot does not answer, or refuses for a reason that no subscriber is to blame for.
    """
    look = Look(round(time.time() * 1000))
    rows = read_rows(source, columns=Columns(email=email_column))
    while some := await asyncio.to_thread(_next, rows):
        answers = await asyncio.gather(*map(ask, some), return_exceptions=True)
        told = [(one, _told(answer, read)) for one, answer in zip(some, answers, strict=True)]
        await asyncio.to_thread(look.add, told)
    if not look.asked:
        raise SourceError(f"{name_of(source)}: has no subscribers. Was it written to its end?")
    return look


def _next(rows: Iterator[Row]) -> list[str]:
    return [row.subscriber for row in islice((row for row in rows if row.problem is None), AT_ONCE)]


def _told(
    answer: Operation[Any] | BaseException, read: Callable[[Operation[Any]], Preference | None]
) -> Preference | None:
    if isinstance(answer, NotFoundError):
        return read(_NOBODY)  # whoever HubSpot does not know has no preference yet
    if isinstance(answer, _REFUSALS):
        return None
    if isinstance(answer, BaseException):
        raise answer
    return read(answer)


def reader(
    *, subscription_id: int | None, business_unit_id: int | None
) -> Callable[[Operation[Any]], Preference | None]:
    """What an answer about one subscriber says; None where the operation is not COMPLETE.

    :param subscription_id: the status for it; otherwise the opt-out.
    :param business_unit_id: brand of the opt-out.
    """

    def read(operation: Operation[Any]) -> Preference | None:
        if not operation.complete:
            return None
        if subscription_id is None:
            return opted_out_of(business_unit_id, operation.results)
        mine = (one.status for one in operation.results if one.subscription_id == subscription_id)
        return next(mine, "NOT_SPECIFIED")

    return read


class ChangeMark(Mark, kw_only=True):
    """Where the lists of changes stand.

    :param slot: of two objects, the one with what was seen last.
    """

    slot: int = 0


class ChangeFeed(Feed[ChangeMark]):
    """Changes of preferences as lists.

    A change is a preference other than the one seen last. Of whom nothing was seen before, because this is the first
    look or somebody is new on the list, there is none.

    :param folder: where the lists are, the mark, and what was seen.
    :param arguments: see :class:`~.feed.Feed`.
    :param kept: see :class:`~.feed.Feed`.
    :raises FeedError: the folder is another watcher's, or what was seen is damaged.
    """

    MARK: ClassVar[type[Mark]] = ChangeMark
    NAME: ClassVar[str] = "changes"

    def __init__(self, folder: Path, *, arguments: Mapping[str, Any], kept: Iterable[Any] = ()) -> None:
        super().__init__(folder, arguments=arguments, kept=kept)
        self._seen = _Seen()
        path = self._slot(self.mark.slot) if self.mark is not None else None
        if path is not None and path.exists():  # where the folder was lost, the next look is like the first
            self._seen.read(path)

    def take(self, look: Look) -> bool:
        """Compare a look with what was seen before, and write a list of what has changed.

        When it fails, it may be asked again: nothing has moved.

        :return: whether the mark has moved.
        :raises FeedError: somebody else writes to this folder.
        """
        mark = msgspec.structs.replace(self.mark or ChangeMark(watermark=0), watermark=look.at)
        self._check_alone()
        with self._seen.change():
            changes = self._seen.compare(look)
            first = next(changes, None)
            if first is not None:
                self._write(mark.next, chain([first], changes))
                mark.next += 1
            if not self._seen.forget_others() and self.begun:
                return False
            mark.slot = 1 - mark.slot
            self._seen.write(self._slot(mark.slot))
            self._save(mark)
        return True

    def _slot(self, number: int) -> Path:
        return self._folder / f"seen.{number}"


class _Seen:
    """The preference seen last of each subscriber, by digest."""

    def __init__(self) -> None:
        # "" is SQLite's private temporary database: a file without a name, once it is large.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for setting in ("synchronous = OFF", "cache_size = -8000"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(
            "CREATE TABLE seen (digest BLOB PRIMARY KEY, now TEXT NOT NULL, look INTEGER NOT NULL) WITHOUT ROWID"
        )
        self._key = secrets.token_bytes(32)
        self._look = 0
        self._moved = False

    @contextmanager
    def change(self) -> Iterator[None]:
        """Change it, or not at all where the block raises."""
        self._look += 1
        self._moved = False
        self._database.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def compare(self, look: Look) -> Iterator[Mapping[str, Any]]:
        """Take a look; give what has changed, as rows of a list."""
        for subscriber, preference in look:
            digest = blake2b(subscriber.encode(), key=self._key, digest_size=16).digest()
            found = self._database.execute("SELECT now FROM seen WHERE digest = ?", (digest,)).fetchone()
            before, now = found and found[0], json.dumps(preference)
            if preference is None or before == now:
                self._database.execute("UPDATE seen SET look = ? WHERE digest = ?", (self._look, digest))
                continue
            self._moved = True
            self._database.execute("REPLACE INTO seen VALUES (?, ?, ?)", (digest, now, self._look))
            if before is not None:
                yield {
                    "subscriber": subscriber,
                    "before": json.loads(before),
                    "now": preference,
                    "seen_at": iso(look.at),
                }

    def forget_others(self) -> bool:
        """Forget who is not on the list any more; tell whether this look has moved anything."""
        gone = self._database.execute("DELETE FROM seen WHERE look <> ?", (self._look,)).rowcount
        return self._moved or gone > 0

    def write(self, path: Path) -> None:
        """Write all of it."""
        (count,) = self._database.execute("SELECT count(*) FROM seen").fetchone()
        with path.open("wb") as file:
            head = {"format": _FORMAT, "key": self._key.hex(), "subscribers": count}
            file.write(json.dumps(head).encode() + b"\n")
            for digest, now in self._database.execute("SELECT digest, now FROM seen ORDER BY digest"):
                file.write(f"{digest.hex()} {now}\n".encode())

    def read(self, path: Path) -> None:
        """Read what was written.

        :raises FeedError: it is damaged.
        """
        with path.open("rb") as file, self.change():
            try:
                head = json.loads(file.readline())
                self._key = bytes.fromhex(head["key"])
                rows = (line.decode().rstrip("\n").split(" ", 1) for line in file)
                added = self._database.executemany(
                    "INSERT INTO seen VALUES (?, ?, 0)",
                    ((bytes.fromhex(digest), now) for digest, now in rows),
                ).rowcount
                whole = head["format"] == _FORMAT and max(added, 0) == head["subscribers"]
            except (ValueError, LookupError, TypeError, sqlite3.IntegrityError):
                whole = False
            if not whole:
                raise FeedError(
                    f"{path.name} is damaged or of a later release: what was seen of the subscribers cannot be told. "
                    "Remove it and the next look is like the first; what changed meanwhile is not told of"
                )
