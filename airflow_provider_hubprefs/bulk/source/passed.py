"""Which rows a run has passed: a digest of their content. A later reading is compared with it."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from airflow_provider_hubprefs.bulk.source.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_hubprefs.bulk.source.row import Row

_encode = msgspec.json.Encoder().encode


CHANGED_WHILE_READ = "The source changed while it was read. Run it again when nothing writes to it."


class SourceChangedError(SourceError):
    """The source is not what it was when it was read before."""


class PassedRows:
    """Makes digests of rows in order; a digest does not depend on how the rows are divided into batches.

    A row counts with what the source says: its place, its address, its other cells. What is wrong with it may
    depend on the portal, too, and does not count.

    :param secret: keys the digests; without it, anyone could find an address by trying.
    """

    def __init__(self, secret: str) -> None:
        self._keyed = blake2b(key=secret.encode()[:64], digest_size=16)

    def after(self, digest: str, rows: Iterable[Row]) -> str:
        """Return the digest of the rows before and of these."""
        value = bytes.fromhex(digest)
        for row in rows:
            one = self._keyed.copy()
            one.update(value)
            one.update(_encode((row.number, row.subscriber, row.wanted)))
            value = one.digest()
        return value.hex()

    def checked(self, rows: Iterable[Row], *, count: int, digest: str) -> Iterator[Row]:
        """Yield the first rows of a source, and check in the end that they are those of a digest.

        :raises SourceChangedError: they are not.
        """
        now = ""
        some: list[Row] = []
        reading = iter(rows)
        for number, row in zip(range(1, count + 1), reading, strict=False):
            some.append(row)
            if len(some) == 100 or number == count:
                now, some = self.after(now, some), []
            yield row
        if now != digest or some:
            raise SourceChangedError(
                "The source changed since its rows were sent: others are in their place now. Nothing was sent again; "
                "run it again when nothing writes to the source any more"
            )
