"""A budget for all processes of one machine: a small file that whoever asks reads, changes and writes back.

``flock`` keeps them apart, and the kernel ends it with the process that had it: no lock is ever stale. The whole
state is one write of a few pages with a checksum, so a kill leaves the old state, the new one or one that is
noticed. (It is not mapped into memory: a mapped file that somebody truncates, or that a full disk cannot back,
kills the process.) Times are the machine's monotonic ones, which every boot begins anew.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import stat
import struct
import time
import zlib
from array import array
from contextlib import suppress
from dataclasses import astuple
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from airflow_provider_hubprefs.hubspot.pacing import BusyError, ProcessPacer, SteadyPacer, StoreError
from airflow_provider_hubprefs.hubspot.pacing_slots import Budget, Slots
from airflow_provider_hubprefs.hubspot.private_folder import make_private, private_folder

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_MAGIC = b"hubpref1"
_HEAD = struct.Struct("=8sII")  # magic, length and checksum of what follows
_BODY = struct.Struct("=16s q5d2q 2qd2q 2q")  # boot; figures; HubSpot's; how many free and held slots follow
_PAGE = 4096
_ROOM = (
    4 * _PAGE
)  # for 250 slots and many more; taken when the file is made, so that the disk can be full later
_UNKNOWN = -1
_LONGEST_LOCKED = 2.0
"""Seconds after which whoever has the lock is taken for stopped: it is had for some microseconds."""

_YIELDS, _NAP = 3, 0.00005
"""How often to let others go on while the lock is taken, before sleeping for so many seconds between."""

_log = logging.getLogger(__name__)


def file_pacer(store: str, key: str) -> SteadyPacer:
    """A budget in a file; this process' own while there can be none.

    :param store: ``file`` or ``file:///folder``.
    :param key: fingerprint of the credential.
    :raises ValueError: the folder is not absolute, or the key is not fit for a file's name.
    """
    url = urlsplit(store)
    folder = Path(unquote(url.path)) if url.scheme == "file" and url.path else None
    if url.netloc or url.query or url.fragment or (folder and not folder.is_absolute()):
        raise ValueError(f"budget_store: expected file:///an/absolute/folder, got {store!r}")
    pacer = FilePacer(key, folder=folder)
    return SteadyPacer(pacer, str(pacer.path))


class FilePacer(ProcessPacer):
    """A budget shared by all processes of this machine that name the same folder.

    :param key: fingerprint of the credential: the file's name.
    :param folder: made if it is not there; by default a folder of the user's alone in the machine's temporary one.
    :param clock: monotonic seconds, the same for all processes.
    :raises ValueError: the key is not fit for a file's name.
    """

    blocks = True
    quick = True

    def __init__(
        self, key: str, *, folder: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not re.fullmatch(r"[\w-]{1,100}", key, re.ASCII):
            raise ValueError("the key of a budget: expected letters, digits, _ and -")
        self._private = folder is None
        self.path = (folder or private_folder()) / f"{key}.budget"
        self._path = str(self.path)  # looked at each time, and quicker as text
        self._file = _UNKNOWN
        self._identity = (0, 0)
        self._boot = _boot()
        super().__init__(clock=clock)

    def begin(self) -> None:
        """See :class:`SlotPacer`. A descriptor of before the fork shares the parent's lock."""
        super().begin()
        self._close()

    def _change(self, step: Callable[[Slots], T], *, patient: bool = True) -> T:
        if patient:
            with self._lock:  # which no signal comes between
                return self._changed(step, patient=True)
        if not self._lock.acquire(blocking=False):
            raise BusyError
        try:
            return self._changed(step, patient=False)
        finally:
            self._lock.release()

    def _changed(self, step: Callable[[Slots], T], *, patient: bool) -> T:
        try:
            self._acquire(patient=patient)
            try:
                before = self._read()
                self._slots = slots = self._decode(before)
                result = step(slots)
                if (after := _encode(slots, self._boot)) != before:
                    self._write(after)
                return result
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError as error:
            self._close()
            raise StoreError(error.strerror or str(error)) from error

    def _acquire(self, *, patient: bool) -> None:
        """Lock the file that has the name now: the one at hand may have been removed, by whoever cleans up.

        One removed between the look and the lock is used once more: what is under way then has a lease.

        :raises BusyError: it is locked, or has to be made, and nobody is to wait for that.
        """
        if self._file != _UNKNOWN and _identity(self._path) == self._identity:
            return _lock(self._file, patient=patient)
        if not patient:
            raise BusyError
        if self._file == _UNKNOWN:
            self._make()
        if _identity(self._path) == self._identity:
            return _lock(self._file)
        _lock(self._file)
        # Others may still find their way with the old one: its state is the new one's, unless that has one.
        kept = self._read()
        self._close()
        self._make()
        _lock(self._file)
        if kept and not self._read():
            self._write(kept)
        return None

    def _make(self) -> None:
        """Open the file, and make it if it is not there: for this user alone, and nobody else's."""
        folder = self.path.parent
        if self._private:
            make_private(folder)
        else:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        file = os.open(self.path, flags, 0o600)
        try:
            found = os.fstat(file)
            _check(file, found)
        except BaseException:
            os.close(file)
            raise
        self._file, self._identity = file, (found.st_dev, found.st_ino)

    def _read(self) -> bytes:
        """What was written last; empty if nothing was."""
        data = os.pread(self._file, _PAGE, 0)
        if not data or not data[0]:
            return b""
        if len(data) < _HEAD.size:
            return data
        size = _HEAD.size + _HEAD.unpack_from(data)[1]
        while len(data) < size:
            more = os.pread(self._file, min(size - len(data), 1 << 20), len(data))
            if not more:
                break
            data += more
        return data[:size]

    def _write(self, data: bytes) -> None:
        if os.pwrite(self._file, data, 0) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _decode(self, data: bytes) -> Slots:
        if not data:
            return Slots()
        slots = _decode(data, self._boot)
        if slots is None:
            _log.warning("The budget in %s was garbage; it begins anew", self.path)
            return Slots()
        if slots.free and slots.free[-1] > self._clock():  # another boot's, where boots have no names
            return Slots()
        return slots

    def _close(self) -> None:
        file, self._file = self._file, _UNKNOWN
        if file != _UNKNOWN:
            with suppress(OSError):
                os.close(file)


def _lock(file: int, *, patient: bool = True) -> None:
    """Lock it; not for ever, should the one that has it be stopped.

    :raises BusyError: it is locked, and nobody is to wait for that.
    :raises StoreError: it was locked all the time.
    """
    until = 0.0
    for attempt in range(1 << 20):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not patient:
                raise BusyError from None
            if attempt < _YIELDS:
                os.sched_yield()
                continue
        now = time.monotonic()
        until = until or now + _LONGEST_LOCKED
        if now > until:
            break
        time.sleep(_NAP)
    raise StoreError("another process has it locked and does not go on")


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return (0, 0)
    return found.st_dev, found.st_ino


def _check(file: int, found: os.stat_result) -> None:
    """See to it that a file is this user's alone, and has its room on the disk.

    :raises StoreError: it cannot be: somebody laid a link there, or has it.
    """
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
        raise StoreError("it is not a plain file of this user")
    if found.st_mode & 0o177:
        os.fchmod(file, 0o600)
    if found.st_size < _ROOM:
        _reserve(file)


def _reserve(file: int) -> None:
    """Take the room on the disk now.

    :raises OSError: there is none.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file, 0, _ROOM)
    except OSError as error:
        if error.errno not in (
            errno.EINVAL,
            errno.EOPNOTSUPP,
        ):  # this file system cannot; writing may go well
            raise


def _boot() -> bytes:
    """Which boot of the machine this is; empty where the system does not tell."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return bytes.fromhex(name.strip().replace("-", ""))[:16]
    except (OSError, ValueError):
        return bytes(16)


def _encode(slots: Slots, boot: bytes) -> bytes:
    now, before = slots.others
    body = b"".join(
        (
            _BODY.pack(
                boot,
                slots.limit,
                slots.interval,
                slots.not_before,
                slots.heard,
                slots.alone_until,
                slots.others_since,
                now,
                before,
                *_said(slots.budget),
                len(slots.free),
                len(slots.held),
            ),
            slots.free.tobytes(),
            slots.held.tobytes(),
            slots.since.tobytes(),
        )
    )
    return _HEAD.pack(_MAGIC, len(body), zlib.crc32(body)) + body


def _decode(data: bytes, boot: bytes) -> Slots | None:
    """Return the slots of a file: fresh ones of another boot's, None of garbage."""
    if len(data) < _HEAD.size + _BODY.size:
        return None
    magic, size, checksum = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if magic != _MAGIC or size != len(body) or zlib.crc32(body) != checksum:
        return None
    figures = _BODY.unpack_from(body)
    free, held = figures[-2:]
    end = _BODY.size + 8 * free
    last = end + 8 * held
    if size != last + 8 * held:
        return None
    if figures[0] != boot:
        return Slots()
    _, limit, interval, not_before, heard, alone_until, others_since, others, before = figures[:9]
    return Slots(
        limit,
        interval,
        1.0,
        array("d", body[_BODY.size : end]),
        array("q", body[end:last]),
        array("d", body[last:]),
        not_before,
        heard,
        alone_until,
        (others, before),
        others_since,
        _budget(figures[9:14]),
    )


# HubSpot says the same for many answers, and most of the time of reading and writing would go into this.
@lru_cache(maxsize=8)
def _said(budget: Budget) -> tuple[float, ...]:
    return tuple(_UNKNOWN if each is None else each for each in astuple(budget))


@lru_cache(maxsize=8)
def _budget(said: tuple[float, ...]) -> Budget:
    figures: Any = (None if each == _UNKNOWN else each for each in said)
    return Budget(*figures)
