"""Where a run keeps files: what is used of a path, private files, and a small JSON value in a folder.

Files of the local file system can be read by their owner alone, and so can folders that are made for them. Other stores
have permissions of their own.
"""

from __future__ import annotations

import os
import pathlib
import posixpath
import re
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType


class File(Protocol):
    """What is used of an open file.

    No ``__iter__``: on Airflow 2.11 a file that an ``ObjectStoragePath`` opens has none, and mypy refuses a loop over
    this. Its lines are what :func:`lines_in` yields.
    """

    def read(self, size: int = -1, /) -> Any:
        """Read."""

    def write(self, data: Any, /) -> Any:
        """Write."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> object: ...


class Path(Protocol):
    """What is used of a path: ``pathlib.Path``, Airflow's ``ObjectStoragePath``, any of ``universal_pathlib``."""

    @property
    def name(self) -> str:
        """The last part."""

    @property
    def parent(self) -> Self:
        """The folder."""

    def __truediv__(self, other: str) -> Self: ...

    def open(self, *args: Any, **kwargs: Any) -> File:
        """Open the file."""

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - pathlib's signature
        """Delete the file."""

    def glob(self, pattern: str) -> Iterator[Self]:
        """Find what is in the folder."""

    def exists(self) -> bool:
        """Return whether there is a file."""


def local_path(path: Any) -> pathlib.Path | None:
    """Return where a path is in the local file system, absolute; None: it is in another store."""
    if (fs := getattr(path, "fs", None)) is None:
        return path.absolute() if isinstance(path, pathlib.Path) else None
    if _protocol(fs) != "file":
        return None
    return pathlib.Path(fs._strip_protocol(path.path)).absolute()  # expands ~, as open() does


def canonical(path: Any) -> tuple[str, str]:
    """Return the same for two paths of one file, however they are spelt: its store, and its place there.

    Connections do not count: two of them may lead to one store.
    """
    if (local := local_path(path)) is not None:
        return "file", os.path.realpath(local)
    fs = path.fs
    place = fs._strip_protocol(path.path)
    return _protocol(fs), posixpath.normpath("/" + place.lstrip("/"))


_USER = re.compile(r"^(\w[\w+.-]*://)[^/]*@")


def without_connection(place: str) -> str:
    """Return a path or URL without what stands before its host: Airflow's connection, or a user and password."""
    return _USER.sub(r"\1", place)


def is_whole(place: str) -> bool:
    """Whether a path or URL names the same place for processes that were started in different folders."""
    scheme, _, rest = place.rpartition("://")
    return scheme not in {"", "file", "local"} or rest.startswith(("/", "~"))


def is_in(place: str, folder: str) -> bool:
    """Whether a place in a store is a folder or in it; both as of :func:`canonical`."""
    return f"{place}/".startswith(folder.rstrip("/") + "/")


def open_quietly(path: Any, mode: str) -> File:
    """Open a file of a run's own. Airflow's paths would report it as a data set that the task has read or written."""
    fs = getattr(path, "fs", None)
    file: File = path.open(mode) if fs is None else fs.open(path.path, mode)
    return file


_AT_ONCE, _LONGEST = 1 << 20, 1 << 24


def lines_in(path: Any) -> Iterator[bytes]:
    """Yield the lines of a run's own file, each with its end; one of more than 16 MiB comes in pieces.

    Object stores give a line at a time slowly.

    :raises OSError: it cannot be read.
    """
    rest = b""
    with open_quietly(path, "rb") as file:
        while some := file.read(_AT_ONCE):
            *lines, rest = (rest + some).split(b"\n")
            for line in lines:
                yield line + b"\n"
            if len(rest) > _LONGEST:
                yield rest
                rest = b""
    if rest:
        yield rest


def json_in(path: Any) -> dict[str, Any] | None:
    """Return the JSON object in a run's own file; None: there is no such file, or no object in it."""
    try:
        with open_quietly(path, "rb") as file:
            found = msgspec.json.decode(file.read())
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def write_file(path: Path, content: Iterable[bytes]) -> None:
    """Write a file, readable by its owner alone; its folder is made where there is none.

    :raises OSError: it cannot be written.
    """
    try:
        opened = _opened(path)
    except FileNotFoundError:
        _make_folder(path)
        opened = _opened(path)
    with opened as file:
        for some in content:
            file.write(some)


def move(source: Path, target: Path) -> None:
    """Give a file the name of another in the same folder, which it replaces as a whole."""
    local, there = local_path(source), local_path(target)
    if local is not None and there is not None:
        local.replace(there)
    else:
        source.fs.cp_file(source.path, target.path)  # type: ignore[attr-defined]
        source.unlink()


def files_in(folder: Any) -> Iterator[Any]:
    """Yield what is in a folder; nothing where there is no folder."""
    if (fs := getattr(folder, "fs", None)) is not None:
        fs.invalidate_cache()  # clients remember what folders held
    try:
        yield from list(folder.iterdir())
    except FileNotFoundError:
        return


def _make_folder(path: Any) -> None:
    if (local := local_path(path)) is None:
        path.fs.makedirs(path.parent.path, exist_ok=True)
        return
    for folder in reversed(local.parents):
        folder.mkdir(mode=0o700, exist_ok=True)


def _opened(path: Path) -> File:
    if (local := local_path(path)) is None:
        return open_quietly(path, "wb")
    return open(local, "wb", opener=_private)


def _private(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)  # also where the file was there before
    return descriptor


def _protocol(fs: Any) -> str:
    known: str | tuple[str, ...] = fs.protocol
    return known if isinstance(known, str) else known[0]


class Place(Protocol):
    """Keeps one JSON object."""

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last; None: nothing was."""

    def save(self, value: dict[str, Any]) -> None:
        """Replace what was saved before."""

    def clear(self) -> None:
        """Delete what was saved."""


class ObjectPlace:
    """A :class:`Place` of two small files or objects, where Airflow has no task state store (before 3.3).

    They are written in turn, so that a worker killed while it writes one leaves the other whole.

    :param path: of the objects, without their ending.
    """

    def __init__(self, path: Path) -> None:
        self._slots = [path.parent / f"{path.name}.{number}" for number in (0, 1)]
        self._saved = 0

    def load(self) -> dict[str, Any] | None:
        """See :class:`Place`. An object that was cut off counts as missing."""
        found = [one for slot in self._slots if {"saved", "state"} <= set(one := json_in(slot) or {})]
        latest = max(found, key=lambda one: int(one["saved"]), default=None)
        if latest is None:
            return None
        self._saved = latest["saved"]
        value: dict[str, Any] = latest["state"]
        return value

    def save(self, value: dict[str, Any]) -> None:
        """See :class:`Place`."""
        self._saved += 1
        write_file(
            self._slots[self._saved % 2], [msgspec.json.encode({"saved": self._saved, "state": value})]
        )

    def clear(self) -> None:
        """See :class:`Place`."""
        for slot in self._slots:
            slot.unlink(missing_ok=True)
