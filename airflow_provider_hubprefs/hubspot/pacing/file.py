"""A budget for all processes of one machine: a small file that each of them locks, reads, changes and writes.

The lock is ``flock``: the kernel releases it when its process ends. The state is one write with a checksum, so a kill
leaves the old state, the new one, or a damaged one. A budget whose file is damaged, deleted, truncated or of before a
reboot begins anew, with a probe whose answer says what is used. (The file is not mapped into memory: truncating a
mapped file kills the process.) Times are the machine's monotonic ones.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import struct
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import msgspec

from airflow_provider_hubprefs.hubspot.pacing.pacers import BusyError, ProcessPacer, StoreError
from airflow_provider_hubprefs.hubspot.pacing.private_folder import make_private, private_folder
from airflow_provider_hubprefs.hubspot.pacing.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

_HEAD = struct.Struct("=II")  # checksum and length of the rest
_decoder = msgspec.msgpack.Decoder(tuple[float, Slots])

_LONGEST_LOCKED = 2.0
"""Seconds after which the process that holds the lock counts as stopped: it needs some microseconds."""

_NAP = 0.00005
"""Seconds between two tries to lock."""

_log = logging.getLogger(__name__)


class FilePacer(ProcessPacer):
    """A budget shared by all processes of this machine that name the same folder.

    :param key: fingerprint of the credential: the file's name.
    :param folder: made if absent; by default a private folder of this user in the machine's temporary one.
    :param clock: monotonic seconds, the same for all processes.
    """

    def __init__(
        self, key: str, *, folder: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._private = folder is None
        self.path = (folder or private_folder()) / f"{key}.budget"
        self._file: int | None = None
        super().__init__(clock=clock)

    def begin(self) -> None:
        """See :class:`Forkable`. A descriptor from before the fork shares the parent's lock."""
        super().begin()
        self._close()

    def _change(self, step: Callable[[Slots], T], *, blocking: bool = True) -> T:
        until = time.monotonic() + _LONGEST_LOCKED
        while True:
            try:
                return self._try_change(step, may_open=blocking)
            except BusyError:
                if not blocking:
                    raise
            if time.monotonic() > until:
                raise StoreError("another process keeps it locked")
            time.sleep(_NAP)

    def _try_change(self, step: Callable[[Slots], T], *, may_open: bool) -> T:
        """Change the slots in the file.

        :raises BusyError: another process holds the lock, or the file is not open yet and must not be opened now.
        :raises StoreError: it cannot be opened, read or written.
        """
        with self._lock:  # a signal handler that raises cannot come between this and the release
            try:
                try:
                    file, size = self._acquire(may_open=may_open)
                    self._slots = slots = self._read(file, size)
                    result = step(slots)
                    self._write(file, slots)
                    return result
                finally:
                    if self._file is not None:
                        fcntl.flock(self._file, fcntl.LOCK_UN)
            except BlockingIOError:
                raise BusyError from None
            except OSError as error:
                self._close()
                raise StoreError(error.strerror or str(error)) from error

    def _acquire(self, *, may_open: bool) -> tuple[int, int]:
        """Lock the file and return it with its size; after a deletion or replacement, open the new one."""
        while True:
            if self._file is None:
                if not may_open:
                    raise BusyError
                self._file = self._open()
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(self._file)
            if found.st_nlink:
                return self._file, found.st_size
            self._close()

    def _open(self) -> int:
        """Open the file, or make it: a plain file that only this user can read and write.

        :raises OSError: it cannot be made.
        :raises StoreError: it belongs to another user, or is no plain file.
        """
        if self._private:
            make_private(self.path.parent)
        else:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        file = os.open(self.path, flags, 0o600)
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
            os.close(file)
            raise StoreError("it is not a plain file of this user")
        os.fchmod(file, 0o600)
        return file

    def _read(self, file: int, size: int) -> Slots:
        """The slots in the file; new ones if it is empty, damaged, or of before a reboot."""
        data = os.pread(file, size, 0)
        if not data:
            return Slots()
        try:
            written, slots = _decode(data)
        except ValueError:
            _log.warning("The budget in %s was damaged and begins anew", self.path)
            return Slots()
        return slots if written <= self._clock() else Slots()

    def _write(self, file: int, slots: Slots) -> None:
        body = msgspec.msgpack.encode((self._clock(), slots))
        data = _HEAD.pack(zlib.crc32(body), len(body)) + body
        if os.pwrite(file, data, 0) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                os.close(file)


def _decode(data: bytes) -> tuple[float, Slots]:
    """When the slots were written, and the slots.

    :raises ValueError: it is damaged.
    """
    if len(data) < _HEAD.size:
        raise ValueError("too short")
    checksum, length = _HEAD.unpack_from(data)
    body = data[_HEAD.size : _HEAD.size + length]
    if zlib.crc32(body) != checksum:
        raise ValueError("wrong checksum")
    return _decoder.decode(body)
