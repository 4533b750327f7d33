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
from bisect import bisect_left
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypeGuard

from airflow_provider_hubprefs.bulk.source.errors import SourceError, UnavailableError
from airflow_provider_hubprefs.bulk.source.stored import StoredFile, shown, unreadable, where_to_look, whole
from airflow_provider_hubprefs.hubspot.privacy import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_provider_hubprefs.storage import Path

_WILDCARD = re.compile(r"[*?[]")
_LEFT_OUT = ("_", ".")
_ENDS = 1 << 16
_log = logging.getLogger(__name__)


def is_file(source: Any) -> TypeGuard[Path]:
    """Whether this is a path, and no iterable of rows."""
    return hasattr(source, "open") and hasattr(source, "name")


def files_of(source: Any) -> Any:
    """Return the files that a path stands for; what is no path stays as it is."""
    return Files(source) if is_file(source) else source


class Files:
    """The files of a source, in order.

    A list keeps its order; a folder and a glob are sorted by name. The files are looked up when they are first needed.
    From then on they must stay the same: every reading ends with an error if one was added, removed or written.

    :param given: a path of a file, of a folder, or with wildcards (``*``, ``**``, ``?``, ``[...]``); or several.
    """

    def __init__(self, given: Path | Iterable[Path]) -> None:
        self.given: Sequence[Path] = [given] if is_file(given) else list(given)  # type: ignore[arg-type]
        self._files: list[StoredFile] = []

    def found(self) -> Sequence[StoredFile]:
        """Return the files as they were when they were looked up first.

        :raises SourceError: no file is there.
        """
        if not self._files:
            self._files = _looked_up(self.given)
            if self._files[0].name is not None:
                first, last = self._files[0].label, self._files[-1].label
                _log.info("Reading %d files, from %s to %s", len(self._files), first, last)
        return self._files

    def __iter__(self) -> Iterator[StoredFile]:
        """Yield each file to be read.

        :raises SourceError: no file is there, or the files are not what they were at first.
        """
        self._check()
        for file in self._files:
            file.bytes_read = 0
        yield from self._files
        self._check()

    def place_of(self, number: int) -> str:
        """Return where the row of a number is, for error texts: row 7, or row 7 of 'part-2.csv'."""
        file = self._files[bisect_left(self._files, number, key=lambda file: file.before) - 1]
        row = f"row {number - file.before}"
        return row if file.name is None else f"{row} of {file.label}"

    def _check(self) -> None:
        if not self._files:
            self.found()
            return
        now = _looked_up(self.given)
        versions = [{file.name: file.version for file in files} for files in (self._files, now)]
        for file in (*self._files, *now):
            if len({each.get(file.name) for each in versions}) == 2:
                raise UnavailableError(
                    f"{file.label}: changed while it was read. What was sent until then was in the source. Run it "
                    "again when nothing writes to it any more."
                )


def fingerprint_of(source: Any, *, key: str | bytes) -> str | None:
    """Return what differs when a file is added, removed or changed. Cheap, whatever the files' size.

    Made of each file's name, size, ETag or time, and its first and last 64 KiB.

    :param key: see :func:`~airflow_provider_hubprefs.hubspot.privacy.fingerprint`; a file may be one address long.
    :return: None for what is no file.
    :raises SourceError: a file is missing or cannot be read.
    """
    files = files_of(source)
    if not isinstance(files, Files):
        return None
    digest = hashlib.blake2b()
    for file in files.found():
        head, tail, size = file.ends(length=_ENDS)
        digest.update(f"{file.name}\n{size} {file.version}\n".encode("utf-8", "surrogatepass") + head + tail)
    return fingerprint(digest.hexdigest(), key=key)


def _looked_up(given: Sequence[Path]) -> list[StoredFile]:
    found: dict[str, tuple[Path, Any]] = {}
    several = len(given) > 1
    for path in given:
        if store := getattr(path, "fs", None):
            store.invalidate_cache()  # clients remember what folders held, for as long as the process lives
        status = _stat(path)
        matches = [(path, status)]  # missing? Opening it says so
        if status is not None and stat.S_ISDIR(status.st_mode):
            matches, several = _below(path, "**/*", name=f"{path.name}/"), True
        elif status is None and (pattern := pattern_in(path)):
            matches, several = _below(*pattern, name="/".join((pattern[0].name, pattern[1]))), True
        for match in matches:
            found.setdefault(str(match[0]), match)
    if not found:
        raise SourceError("The source has no files: the list is empty. Expected at least one path.")
    names: Sequence[str | None] = _names(list(found)) if several else [None]
    return [
        StoredFile(path, name=name, status=status)
        for name, (path, status) in zip(names, found.values(), strict=True)
    ]


def pattern_in(path: Any) -> tuple[Any, str] | None:
    """Split a path with wildcards into its folder and the pattern below; None for a path without."""
    parts = getattr(path, "parts", ())
    first = next((at for at, part in enumerate(parts) if _WILDCARD.search(part)), None)
    if first is None:
        return None
    folder = path
    for _ in parts[first:]:
        folder = folder.parent
    return folder, "/".join(parts[first:])


def _below(folder: Any, pattern: str, *, name: str) -> list[tuple[Path, Any]]:
    """Find the files of a folder, sorted by name, each with its status.

    :param name: of what is looked for, for error texts.
    :raises SourceError: no file matches, or the folder cannot be read.
    """
    try:
        paths = sorted((path for path in folder.glob(pattern) if not _is_left_out(path, folder)), key=str)
        found = [(path, path.stat()) for path in paths]
    except Exception as error:
        raise unreadable(error, label=shown(name)) from error
    if files := [(path, status) for path, status in found if not stat.S_ISDIR(status.st_mode)]:
        return files
    raise UnavailableError(
        f"{shown(name)}: no files found in {whole(folder)}. {where_to_look(folder)} Names "
        "that begin with _ or . are not read."
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
        raise unreadable(error, label=shown(file.name)) from error
