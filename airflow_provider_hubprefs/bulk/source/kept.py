"""Rows that can be had only once, kept so that a run can read them again: encrypted, and not in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Self

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airflow_provider_hubprefs.bulk.source.errors import SourceError, UnavailableError
from airflow_provider_hubprefs.bulk.source.items import named_values

AT_ONCE = 2000
"""So many rows are encrypted together, and in memory."""

_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_ROWS = (str, dict, list, tuple, int, float, bytes, type(None))
_INTEGERS = range(-(2**63), 2**64)


class KeptRows(Sequence[Any]):
    """The rows of an iterable, in order. Memory does not depend on their number: a temporary file has them.

    The file has no name, and the key to it is in this process alone: what stays on a disk cannot be read. Text, numbers
    up to 64 bits, yes and no, bytes, lists and aware times stay what they are; other times are ISO 8601, and all else
    is its text: decimals, UUIDs, a driver's own types.

    :param rows: see :mod:`.items`; rows of a database become dicts.
    :raises SourceError: a row holds something that cannot be kept.
    """

    header: Sequence[str] = ()
    """Names of the columns, where all rows are tuples."""
    name = ""
    """Of the table, as the report has it."""

    def __init__(self, rows: Iterable[Any]) -> None:
        left = iter(rows)
        self._keep(iter(lambda: list(islice(left, AT_ONCE)), []))

    @classmethod
    def table(cls, header: Sequence[str], blocks: Iterable[Sequence[tuple[Any, ...]]], *, name: str) -> Self:
        """Keep the rows of a table, which have no names of their own.

        :param header: name of each column.
        :param blocks: the rows, about :data:`AT_ONCE` at a time.
        :param name: of the table, for the report.
        """
        kept = cls.__new__(cls)
        kept.header, kept.name = tuple(header), name
        kept._keep(blocks)
        return kept

    def _keep(self, blocks: Iterable[Sequence[Any]]) -> None:
        self._decode = msgspec.msgpack.Decoder(list[tuple[Any, ...]] if self.header else list[Any]).decode
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
        self._key = AESGCM(AESGCM.generate_key(256))
        self._places: list[tuple[int, int]] = []
        self._length = self._end = 0
        kept: Future[None] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="hubprefs-keep") as thread:
            for rows in blocks:  # the next are fetched while these are encrypted
                if kept is not None:
                    kept.result()
                kept = thread.submit(self._keep_block, rows)
            if kept is not None:
                kept.result()
        with _writing(self._end):
            self._file.flush()

    def _keep_block(self, rows: Sequence[Any]) -> None:
        # A block's number is its nonce: no other file has this key.
        content = self._key.encrypt(_nonce(len(self._places)), self._encoded(rows), None)
        with _writing(self._end):
            self._file.write(content)
        self._places.append((self._end, len(content)))
        self._length += len(rows)
        self._end += len(content)

    def _encoded(self, rows: Sequence[Any]) -> bytes:
        try:
            plain = rows if self.header else [_plain(row) for row in rows]
            try:
                return _encode(plain)
            except (OverflowError, UnicodeEncodeError):  # a number of more than 64 bits, half a character
                return _encode([_as_text(row) for row in plain])
        except Exception as error:  # noqa: BLE001 - what a driver's own objects raise
            raise SourceError(
                f"rows {self._length + 1} to {self._length + len(rows)}: one of them holds what cannot be kept "
                f"({type(error).__name__}). Expected addresses, or mappings of text and numbers."
            ) from None

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        """Yield every row, as often as this is called."""
        return chain.from_iterable(map(self._block, range(len(self._places))))

    def _block(self, number: int) -> list[Any]:
        begin, length = self._places[number]
        content = os.pread(self._file.fileno(), length, begin)
        return self._decode(self._key.decrypt(_nonce(number), content, None))

    def __getitem__(self, at: Any) -> Any:
        """Return one row, or some; a run reads from the beginning."""
        return list(self)[at]


def _nonce(number: int) -> bytes:
    return number.to_bytes(12)


@contextmanager
def _writing(size: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"The temporary file for the rows cannot be written ({error.strerror}): it has {size // 1_000_000} MB. "
            "Free disk space, or set TMPDIR to a directory that has it."
        ) from None


def _plain(row: Any) -> Any:
    values = named_values(row)
    if values is None and not isinstance(row, _ROWS):
        raise TypeError(type(row).__name__)
    return row if values is None else dict(values)


def _as_text(value: Any) -> Any:
    """Return what can be encoded of a row: text for a number that is too large, half a character spelt out."""
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case int() if value not in _INTEGERS:
            return str(value)
        case dict():
            return {_as_text(key): _as_text(one) for key, one in value.items()}
        case list() | tuple():
            return [_as_text(one) for one in value]
    return value
