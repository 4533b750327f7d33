"""What this machine remembers of a run between two marks of its checkpoint.

A checkpoint's mark goes over the network, so it is kept once a second at most; what was done in that second a kill
would lose. A journal is a file of this machine, written after every batch in some microseconds. It belongs to
one run by a name that only the run's mark knows, and each record says which mark it follows: of another run, or of
before the last mark, it is never taken for more than it is. On another machine the mark alone counts.

It holds the dead letters of that second, too: the file is its user's alone, and it goes with the next mark but
for its name, and with the try's orderly end.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.hubspot.private_folder import make_private, private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_HEAD = struct.Struct("=II")  # length and checksum of the record that follows
_ENDING = ".run"
_KEPT = 30 * 86_400.0
"""Seconds until a journal of a run that nobody went on with is removed: as long as Airflow keeps a task's state."""

_log = logging.getLogger(__name__)


class Record(msgspec.Struct):
    """A run after one more batch.

    :param after: number of the mark it follows.
    :param report: state of the report.
    :param letters: dead letters that are in no part yet and in no record before of the same number of parts.
    """

    after: int
    report: dict[str, Any]
    letters: list[str]


class Journal:
    """The journal of one run; without one, where this machine has no room for it, the run goes on.

    :param run: the run's name, known to nobody else.
    """

    def __init__(self, run: str, *, folder: Path | None = None) -> None:
        self._folder = folder or private_folder()
        self._path = self._folder / f"{run}{_ENDING}"
        self._file: int | None = None
        self._end = 0
        self._told: tuple[int, int] = (0, 0)
        self._broken = False

    def read(self, after: int) -> tuple[dict[str, Any], list[str]] | None:
        """Return the newest state of the report that follows a mark, and the letters held then.

        :param after: the mark's number.
        """
        self._end = 0
        if not self._path.exists() or not self._open():
            return None
        found: dict[str, Any] | None = None
        held: list[str] = []
        for record, end in _records(self._file or 0):
            if record.after != after:
                break
            if found is not None and record.report["parts"] != found["parts"]:
                held = []
            held += record.letters
            found, self._end = record.report, end
        if found is None:
            return None
        self._told = (found["parts"], len(held))
        return found, held

    def write(self, after: int, report: dict[str, Any], held: Sequence[str]) -> None:
        """Add a record.

        :param held: all letters that are in no part yet.
        """
        if self._file is None and not self._open():
            return
        parts, known = self._told
        new = held[known:] if report["parts"] == parts else held
        body = msgspec.json.encode(Record(after, report, list(new)))
        record = _HEAD.pack(len(body), zlib.crc32(body)) + body
        try:
            if os.pwrite(self._file or 0, record, self._end) != len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - the same to whoever reads on
        except OSError as error:
            self._fail(error)
            return
        self._end += len(record)
        self._told = (report["parts"], len(held))

    def marked(self, parts: int) -> None:
        """A mark was kept that says all: begin anew.

        :param parts: of the dead letters, which are all in them.
        """
        self._end, self._told = 0, (parts, 0)
        if self._file is not None:
            try:
                os.ftruncate(self._file, 0)
            except OSError as error:
                self._fail(error)

    def remove(self) -> None:
        """Forget it; the mark says all."""
        self._close()
        self._end, self._told = 0, (0, 0)
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _open(self) -> bool:
        if self._broken:
            return False
        try:
            make_private(self._folder)
            self._sweep()
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
            fcntl.flock(
                self._file, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # a try that was given up may still be at work
        except OSError as error:
            self._fail(error)
            return False
        return True

    def _sweep(self) -> None:
        """Remove what nobody went on with: there may be addresses in it."""
        for old in self._folder.glob(f"*{_ENDING}"):
            with suppress(OSError):
                if old.lstat().st_mtime < time.time() - _KEPT:
                    old.unlink()

    def _fail(self, error: OSError) -> None:
        self._broken = True
        self._close()
        _log.warning(
            "This run goes on without a journal in %s (%s): should its worker be killed, a retry repeats "
            "up to a second's work",
            self._folder,
            error.strerror or error,
        )

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                os.close(file)


def _records(file: int) -> Iterator[tuple[Record, int]]:
    """Yield whole records and where each ends; what was cut off is none."""
    at = 0
    while len(head := os.pread(file, _HEAD.size, at)) == _HEAD.size:
        size, checksum = _HEAD.unpack(head)
        body = os.pread(file, size, at + _HEAD.size)
        if len(body) != size or zlib.crc32(body) != checksum or not body:
            return
        try:
            record = msgspec.json.decode(body, type=Record)
        except msgspec.DecodeError:
            return
        at += _HEAD.size + size
        yield record, at
