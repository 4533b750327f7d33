"""The store of a budget for all processes of one machine: a small file that each of them locks, reads and writes.

"One machine" is one running kernel: processes in containers share a file if they mount the same folder. The lock is
``flock``: the kernel releases it when its process ends. The file may be damaged, deleted or truncated at any time. (It
is not mapped into memory: truncating a mapped file kills the process.) Times are the machine's monotonic ones, which
mean nothing on another machine.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
import stat
import struct
import tempfile
import threading
import time
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.hubspot.pacing.pacers import BusyError
from airflow_provider_hubprefs.hubspot.pacing.shared import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_LOCKED = 2.0
"""Seconds after which the process that holds the lock counts as stopped: it needs some microseconds."""

_NAP = 0.00005
"""Seconds between two tries to lock."""

_STILL_THERE = 10.0
"""Seconds after which a machine that wrote the file no longer counts as using it (it may be this one, rebooted)."""

_WRITER = struct.Struct("=16sd")  # which machine, and when by its wall clock
_HEAD_SIZE = _WRITER.size + 4  # with a checksum

_MEMORY = Path("/dev/shm")  # noqa: S108 - what is made there is checked
"""Linux' folder in memory: writable in read-only containers, the same for every ``TMPDIR`` and ``PrivateTmp``."""


class FileStore:
    """A file in a folder that all processes name which share a budget.

    :param key: fingerprint of the credential: the file's name.
    :param folder: made if absent, for this user alone. Users share a budget in a folder that all of them may write
        to: like ``/tmp`` (mode 1777), or a group's (2770). By default a private folder of this user, in memory where
        there is such a place, else in the temporary folder.
    :param clock: monotonic seconds, the same for all processes.
    """

    def __init__(
        self, key: str, *, folder: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._key, self._folder, self._private = key, folder, folder is None
        self._clock = clock
        self._file: int | None = None
        self.begin()

    @property
    def path(self) -> Path:
        """Where the file is.

        :raises FileNotFoundError: there is no temporary folder to write to.
        """
        return (self._folder or private_folder()) / f"{self._key}.budget"

    @property
    def name(self) -> str:
        """For people."""
        try:
            return str(self.path)
        except FileNotFoundError:
            return "a temporary folder"

    def begin(self) -> None:
        """See :class:`~.shared.Store`. A descriptor from before the fork shares the parent's lock."""
        self._lock = threading.Lock()
        self._close()

    def change(self, edit: Callable[[bytes, float], bytes], *, blocking: bool) -> None:
        """See :class:`~.shared.Store`."""
        until = time.monotonic() + _LONGEST_LOCKED
        while True:
            try:
                return self._try_change(edit, blocking=blocking)
            except BusyError:
                if not blocking:
                    raise
            if time.monotonic() > until:
                raise StoreError("another process keeps it locked")
            time.sleep(_NAP)

    def _try_change(self, edit: Callable[[bytes, float], bytes], *, blocking: bool) -> None:
        """Change the file.

        :raises BusyError: it is locked, or it is not open yet and must not be opened now.
        :raises StoreError: it cannot be opened, read or written.
        """
        if not blocking and self._lock.locked():
            raise BusyError  # a thread is at it, perhaps on a disk that does not answer
        with self._lock:  # a signal handler that raises cannot come between this and the release
            try:
                try:
                    file, size = self._acquire(may_open=blocking)
                    data = _pack(edit(_unpack(os.pread(file, size, 0)), self._clock()))
                    if os.pwrite(file, data, 0) != len(data):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
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
        """Open the file, or make it: a plain file for those who may write to its folder.

        :raises OSError: it cannot be made.
        :raises StoreError: it belongs to another user and is not theirs to share, or is no plain file.
        """
        path = self.path
        folder = path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if self._private and (
            not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022
        ):
            raise StoreError(f"{folder} is not a folder that only this user can write to")
        # Who may write to the folder, may write to the file.
        mode = 0o600 | (0o060 if found.st_mode & 0o020 else 0) | (0o006 if found.st_mode & 0o002 else 0)
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:  # without O_CREAT, which Linux refuses for files of other users in a folder as /tmp
            file = os.open(path, flags)
        except FileNotFoundError:
            file = os.open(path, flags | os.O_CREAT, 0o600)
        found = os.fstat(file)
        mine = found.st_uid == os.geteuid()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or not (mine or mode != 0o600):
            os.close(file)
            raise StoreError("it is not a plain file of this user")
        if mine:
            os.fchmod(file, mode)
        return file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                os.close(file)


def private_folder() -> Path:
    """The folder of this user for budgets.

    :raises FileNotFoundError: there is no temporary folder to write to.
    """
    place = _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    return place / f"hubprefs-{os.getuid()}"


@cache
def _boot() -> bytes:
    """What this machine, since it was started, has of its own."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return bytes.fromhex(text.strip().replace("-", ""))
    except (OSError, ValueError):
        return hashlib.blake2b(socket.gethostname().encode(), digest_size=16).digest()


def _pack(data: bytes) -> bytes:
    writer = _WRITER.pack(_boot(), time.time())
    return writer + zlib.crc32(writer).to_bytes(4, "big") + data


def _unpack(data: bytes) -> bytes:
    """The bytes that this machine wrote; none if another one did, some time ago; damaged ones as they are.

    :raises StoreError: another machine uses the file.
    """
    writer = data[: _WRITER.size]
    if len(data) < _HEAD_SIZE or zlib.crc32(writer) != int.from_bytes(data[_WRITER.size : _HEAD_SIZE], "big"):
        return data
    machine, written = _WRITER.unpack(writer)
    if machine == _boot():
        return data[_HEAD_SIZE:]
    if abs(time.time() - written) < _STILL_THERE:
        raise StoreError(
            "another machine uses this folder; several share a budget by a Redis, see budget_conn_id"
        )
    return b""
