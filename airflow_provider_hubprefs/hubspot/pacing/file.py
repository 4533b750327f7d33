"""The store of a budget for all processes of one machine: a small file that each of them locks, reads and writes.

The lock is ``flock``: the kernel releases it when its process ends. The file may be damaged, deleted or truncated at
any time. (It is not mapped into memory: truncating a mapped file kills the process.) Times are the machine's monotonic
ones.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
import threading
import time
from contextlib import suppress
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


class FileStore:
    """A file in a folder that all processes name which share a budget.

    :param key: fingerprint of the credential: the file's name.
    :param folder: made if absent; by default a private folder of this user in the machine's temporary one.
    :param clock: monotonic seconds, the same for all processes.
    """

    def __init__(
        self, key: str, *, folder: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._private = folder is None
        self.path = (folder or private_folder()) / f"{key}.budget"
        self.name = str(self.path)
        self._clock = clock
        self._file: int | None = None
        self.begin()

    def begin(self) -> None:
        """See :class:`~.shared.Store`. A descriptor from before the fork shares the parent's lock."""
        self._lock = threading.Lock()
        self._close()

    def change(self, edit: Callable[[bytes, float], bytes], *, blocking: bool) -> None:
        """See :class:`~.shared.Store`."""
        until = time.monotonic() + _LONGEST_LOCKED
        while True:
            try:
                return self._try_change(edit, may_open=blocking)
            except BusyError:
                if not blocking:
                    raise
            if time.monotonic() > until:
                raise StoreError("another process keeps it locked")
            time.sleep(_NAP)

    def _try_change(self, edit: Callable[[bytes, float], bytes], *, may_open: bool) -> None:
        """Change the file.

        :raises BusyError: another process holds the lock, or the file is not open yet and must not be opened now.
        :raises StoreError: it cannot be opened, read or written.
        """
        with self._lock:  # a signal handler that raises cannot come between this and the release
            try:
                try:
                    file, size = self._acquire(may_open=may_open)
                    data = edit(os.pread(file, size, 0), self._clock())
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
        """Open the file, or make it: a plain file that only this user can read and write.

        :raises OSError: it cannot be made.
        :raises StoreError: it belongs to another user, or is no plain file.
        """
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if self._private and (
            not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022
        ):
            raise StoreError(f"{folder} is not a folder that only this user can write to")
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        file = os.open(self.path, flags, 0o600)
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
            os.close(file)
            raise StoreError("it is not a plain file of this user")
        os.fchmod(file, 0o600)
        return file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                os.close(file)


def private_folder() -> Path:
    """The folder of this user for budgets. Without any writable folder for it, its use fails later, as a StoreError."""
    try:
        temporary = tempfile.gettempdir()
    except FileNotFoundError:
        temporary = "/tmp"  # noqa: S108 - which cannot be written
    return Path(temporary) / f"hubprefs-{os.getuid()}"
