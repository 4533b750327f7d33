"""Rows that can be had only once, kept so that a run can read them again: encrypted, and not in memory."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Any

from cryptography.fernet import Fernet

from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.items import named_values


class KeptRows(Sequence[Any]):
    """The rows of an iterable, in order. Memory does not depend on their number: a temporary file has them.

    The file has no name, and the key to it is in this process alone: what stays on a disk cannot be read.

    :param rows: see :mod:`.items`; rows of a database become dicts.
    :raises SourceError: a row holds something that cannot be kept.
    """

    def __init__(self, rows: Iterable[Any]) -> None:
        self._file = SpooledTemporaryFile(1 << 24)  # noqa: SIM115 - closed with this object
        self._key = Fernet(Fernet.generate_key())
        self._places: list[tuple[int, int]] = []
        self._length = 0
        left = iter(rows)
        while some := [_plain(row) for row in islice(left, 1000)]:
            try:
                content = self._key.encrypt(zlib.compress(pickle.dumps(some), 1))
            except Exception as error:  # noqa: BLE001 - what a driver's own objects raise
                raise SourceError(
                    f"rows {self._length + 1} to {self._length + len(some)}: one of them holds what cannot be kept "
                    f"({type(error).__name__}). Expected addresses, or mappings of text and numbers."
                ) from None
            self._places.append((self._file.tell(), len(content)))
            self._file.write(content)
            self._length += len(some)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        """Yield every row, as often as this is called."""
        for begin, length in self._places:
            self._file.seek(begin)
            yield from pickle.loads(zlib.decompress(self._key.decrypt(self._file.read(length))))  # noqa: S301

    def __getitem__(self, at: Any) -> Any:
        """Return one row, or some; a run reads from the beginning."""
        return list(self)[at]


def _plain(row: Any) -> Any:
    return row if type(row) in {str, dict, list, tuple} else dict(named_values(row) or {}) or row
