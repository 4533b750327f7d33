"""The files of a source: one, those of a list, of a folder or of a glob; and whether they are still the same.

What warehouses unload is read as one source: every file of a folder, at any depth, in the order of their names. Files
and folders whose names begin with ``_`` or ``.`` (``_SUCCESS``, ``_temporary``, ``.crc``) are left out, as Spark and
Arrow leave them out.
"""

from __future__ import annotations

import hashlib
import logging
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple, Self, TypeGuard

from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.stored import File, ends_of, name_of, shown, unreadable
from airflow_provider_hubprefs.hubspot.privacy import fingerprint

_WILDCARD = re.compile(r"[*?[]")
_LEFT_OUT = ("_", ".")
_ENDS = 1 << 16
_log = logging.getLogger(__name__)


def is_file(source: Any) -> TypeGuard[File]:
    """Whether this is a path, and no iterable of rows."""
    return hasattr(source, "open") and hasattr(source, "name")


class SourceFile(NamedTuple):
    """One file of a source.

    :param name: which of the files it is: its path below the folder that all of them share. None where the source is
        this file.
    :param size: in bytes, as it is stored; 0 where that is unknown (a pipe).
    :param version: its ETag or else the time it was written; empty where that is unknown.
    """

    name: str | None
    file: File
    size: int
    version: str


class Files:
    """The files of a source, in order.

    A list keeps its order; a folder and a glob are sorted by name. The files are looked up when they are first needed.
    From then on they must stay the same: every reading ends with an error if one was added, removed or written.

    :param given: a path of a file, of a folder, or with wildcards (``*``, ``**``, ``?``, ``[...]``); or several.
    """

    def __init__(self, given: File | Iterable[File]) -> None:
        self._given: Sequence[File] = [given] if is_file(given) else list(given)  # type: ignore[arg-type]
        self._files: list[SourceFile] = []
        self.bytes_read = 0
        """Of the latest reading, as the files are stored."""

    def found(self) -> Sequence[SourceFile]:
        """Return the files as they were when they were looked up first.

        :raises SourceError: no file is there.
        """
        if not self._files:
            self._files = _looked_up(self._given)
            if self._files[0].name is not None:
                names = [shown(str(one.name)) for one in self._files]
                _log.info("Reading %d files, from %s to %s", len(names), names[0], names[-1])
        return self._files

    def __iter__(self) -> Iterator[SourceFile]:
        """Yield each file to be read.

        :raises SourceError: no file is there, or the files are not what they were at first.
        """
        self._check()
        self.bytes_read = 0
        for each in self._files:
            yield each._replace(file=_Counted(each.file, self))
        self._check()

    def _check(self) -> None:
        if not self._files:
            self.found()
            return
        before = {one.name: one[2:] for one in self._files}
        now = {one.name: one[2:] for one in _looked_up(self._given)}
        if changed := [name for name in {**before, **now} if before.get(name) != now.get(name)]:
            name = name_of(self._given[0]) if changed[0] is None else shown(changed[0])
            raise SourceError(
                f"{name}: changed while it was read. What was sent until then was in the source. Run it again when "
                "nothing writes to it any more."
            )


def fingerprint_of(source: Any, *, key: str | bytes) -> str | None:
    """Return what differs when a file is added, removed or changed. Cheap, whatever the files' size.

    Made of each file's name, size, ETag or time, and its first and last 64 KiB.

    :param key: see :func:`~airflow_provider_hubprefs.hubspot.privacy.fingerprint`; a file may be one address long.
    :return: None for what is no file.
    :raises SourceError: a file is missing or cannot be read.
    """
    if not isinstance(source, Files):
        return fingerprint_of(Files(source), key=key) if is_file(source) else None
    digest = hashlib.blake2b()
    for name, file, _, version in source.found():
        head, tail, size = ends_of(file, length=_ENDS)
        digest.update(f"{name}\n{size} {version}\n".encode("utf-8", "surrogatepass") + head + tail)
    return fingerprint(digest.hexdigest(), key=key)


def _looked_up(given: Sequence[File]) -> list[SourceFile]:
    _forget_listings(given)
    found: dict[str, tuple[File, int, str]] = {}
    several = len(given) > 1
    for path in given:
        status = _stat(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            matches, several = _below(path, "**/*", name=f"{path.name}/"), True
        elif status is None and (pattern := _pattern_in(path)):
            matches, several = _below(*pattern, name="/".join((pattern[0].name, pattern[1]))), True
        else:
            matches = [(path, status)]  # missing? Opening it says so
        for file, its in matches:
            found.setdefault(str(file), (file, *_size_and_version(its)))
    if not found:
        raise SourceError("The source has no files: the list is empty. Expected at least one path.")
    names: Sequence[str | None] = _names(list(found)) if several else [None]
    return [SourceFile(name, *one) for name, one in zip(names, found.values(), strict=True)]


def _forget_listings(given: Iterable[Any]) -> None:
    """Make stores look again: their clients remember what folders held, for as long as the process lives."""
    for store in {id(store): store for path in given if (store := getattr(path, "fs", None))}.values():
        store.invalidate_cache()


def _pattern_in(path: Any) -> tuple[Any, str] | None:
    """Split a path with wildcards into its folder and the pattern below; None for a path without."""
    parts = getattr(path, "parts", ())
    first = next((at for at, part in enumerate(parts) if _WILDCARD.search(part)), None)
    if first is None:
        return None
    folder = path
    for _ in parts[first:]:
        folder = folder.parent
    return folder, "/".join(parts[first:])


def _below(folder: Any, pattern: str, *, name: str) -> list[tuple[File, Any]]:
    """Find the files of a folder, sorted by name, each with its status.

    :param name: of what is looked for, for error texts.
    :raises SourceError: no file matches, or the folder cannot be read.
    """
    try:
        paths = sorted((path for path in folder.glob(pattern) if not _is_left_out(path, folder)), key=str)
        found = [(path, path.stat()) for path in paths]
    except Exception as error:
        raise unreadable(error, name=shown(name)) from error
    if files := [(path, status) for path, status in found if not stat.S_ISDIR(status.st_mode)]:
        return files
    raise SourceError(
        f"{shown(name)}: no files found. Check the path and the connection. Names that begin with _ or . are not read."
    )


def _is_left_out(path: Any, folder: Any) -> bool:
    below = path.parts[len(folder.parts) :]
    return any(part.startswith(_LEFT_OUT) for part in below)


def _names(paths: Sequence[str]) -> list[str]:
    """Paths below the folder that all of them share."""
    split = [path.split("/") for path in paths]
    levels = zip(*(parts[:-1] for parts in split), strict=False)
    shared = len(list(takewhile(lambda level: len(set(level)) == 1, levels)))
    return ["/".join(parts[shared:]) for parts in split]


def _stat(file: Any) -> Any:
    try:
        return file.stat() if hasattr(file, "stat") else None
    except (OSError, NotImplementedError):
        return None  # opening it says what is wrong
    except Exception as error:
        raise unreadable(error, name=name_of(file)) from error


def _size_and_version(status: Any) -> tuple[int, str]:
    if status is None or not stat.S_ISREG(status.st_mode):
        return 0, ""
    info = status if isinstance(status, Mapping) else status.as_info() if hasattr(status, "as_info") else {}
    return status.st_size or 0, str(info.get("ETag") or info.get("etag") or getattr(status, "st_mtime", ""))


class _Counted:
    """A file whose bytes are counted as they are read."""

    def __init__(self, file: File, files: Files) -> None:
        self._file = file
        self._files = files
        self.name = file.name

    def open(self, mode: str, /) -> Any:
        return _CountedStream(self._file.open(mode), self._files)


class _CountedStream:
    def __init__(self, stream: Any, files: Files) -> None:
        self._stream = stream
        self._files = files

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> Self:
        self._stream.__enter__()
        return self

    def __exit__(self, *error: object) -> Any:
        return self._stream.__exit__(*error)

    def read(self, *args: Any) -> Any:
        data = self._stream.read(*args)
        self._files.bytes_read += len(data)
        return data
