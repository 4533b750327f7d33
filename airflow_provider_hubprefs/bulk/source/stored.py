"""One file of a source as it is stored: opened for its bytes, its ends, and what can go wrong with it."""

from __future__ import annotations

import io
import stat
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.source.errors import SourceError, UnavailableError
from airflow_provider_hubprefs.hubspot.privacy import mask_paths_logged_by, scrub
from airflow_provider_hubprefs.storage import open_quietly, without_connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_hubprefs.storage import Path


_LOGGERS = ("fsspec.local", "fsspec.memory", "s3fs", "gcsfs", "adlfs")
"""Of stores; they log names of files at level DEBUG."""


class StoredFile:
    """One file of a source.

    :param path: of the file; only its ``name`` and ``open("rb")`` are used.
    :param name: which of the files it is: its path below the folder that all of them share. None where the source is
        this file.
    :param status: what ``stat`` says of it; None where that is unknown.
    """

    def __init__(self, path: Path, *, name: str | None = None, status: Any = None) -> None:
        self.path = path
        self.name = name
        self.label = shown(path.name if name is None else name)
        """Its name for error texts."""
        self.size, self.version = _size_and_version(status)
        """Bytes, 0 where that is unknown (a pipe); and what differs once it is written: size and ETag, or time."""
        self.before = sys.maxsize
        """Rows of the source before it, once it is read."""
        self.bytes_read = 0

    @contextmanager
    def open(self) -> Iterator[io.RawIOBase]:
        """Open it, and close it in the end.

        :raises SourceError: it is missing, a directory, or not accessible; reading it may raise that, too.
        """
        try:
            place = without_connection(str(self.path))
            if scrub(place) == place:
                opened = self.path.open("rb")
            else:  # an address in the name would be in Airflow's lineage, and in what stores log
                mask_paths_logged_by(*_LOGGERS)
                opened = open_quietly(self.path, "rb")
        except FileNotFoundError as error:
            raise UnavailableError(
                f"{self.label}: there is no such file: {whole(self.path)}. {where_to_look(self.path)}"
            ) from error
        except Exception as error:  # stores raise what their libraries raise
            raise unreadable(error, label=self.label) from error
        with opened as stream:
            yield _Stored(stream, self)

    def ends(self, *, length: int) -> tuple[bytes, bytes, int]:
        """Read its first and its last bytes, and its size.

        :raises SourceError: it cannot be opened or read.
        """
        with self.open() as stream:
            head = stream.read(length) or b""
            size = stream.seek(0, io.SEEK_END)
            stream.seek(max(0, size - length))
            return head, stream.read(length) or b"", size


class Readable(io.RawIOBase):
    """Adapts a stream to ``io``; whatever goes wrong with it is an error of the file."""

    def __init__(self, stream: Any, file: StoredFile) -> None:
        self._stream = stream
        self._file = file

    def readable(self) -> bool:
        """See :class:`io.RawIOBase`."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """See :class:`io.RawIOBase`."""
        data = self._call("read", len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _call(self, method: str, *arguments: int) -> Any:
        try:
            return getattr(self._stream, method)(*arguments)
        except SourceError:
            raise
        except Exception as error:
            raise unreadable(error, label=self._file.label) from error


class _Stored(Readable):
    """The bytes of a file; those that are read are counted."""

    def readinto(self, buffer: Any, /) -> int:
        read = super().readinto(buffer)
        self._file.bytes_read += read
        return read

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return int(self._call("seek", offset, whence))

    def tell(self) -> int:
        return int(self._call("tell"))


def shown(name: str) -> str:
    """Return a file's name for error texts: short, and masked where it looks like an address."""
    return ascii(scrub(name)[:100])


def whole(path: Any) -> str:
    """Return a whole path for error texts, each part masked where it looks like an address."""
    protocol = getattr(path, "protocol", "")
    absolute = getattr(path, "absolute", None)
    text = str(absolute() if absolute else path)
    if protocol not in {"", "file", "local"}:
        text = f"{protocol}://{path.path}"  # as text it would show the connection like an address
    return ascii("/".join(map(scrub, text.split("/"))))[:300]


def where_to_look(path: Any) -> str:
    """Return what to do about a path where nothing is, for error texts."""
    if getattr(path, "protocol", "") in {"", "file", "local"}:
        return "Check the path on the worker; a relative one starts in the folder in which the worker was started."
    conn_id = getattr(path, "conn_id", None)
    named = f"connection {conn_id!r}" if conn_id else "connection"
    return f"Check the path, and the {named} of its store (not HubSpot's)."


def unreadable(error: Exception, *, label: str) -> SourceError:
    """Return the error for a file that cannot be read.

    It names the class of the cause and the system's words for it; never its text, which may name an address.
    """
    cause = type(error).__name__
    if isinstance(error, OSError) and error.errno:
        cause = f"{cause}: {error.strerror}"
    return UnavailableError(
        f"{label}: cannot be read ({cause}). Is it damaged or cut short, or are the connection or its permissions "
        "wrong? Upload it again, or try again."
    )


_VERSIONS = ("etag", "generation", "contentmd5", "md5hash", "md5", "crc32c", "checksum", "versionid")
"""What stores call a file's version or digest, in lower case and without separators."""

_TIMES = (
    *("mtime", "lastmodified", "modified", "modify", "modificationtime", "lastwritetime", "contenttime"),
    *("modifiedtime", "timemodified", "updated", "modifiedat", "updatedat", "created"),
)
"""What they call the time it was written at; the first of these counts."""


def _size_and_version(status: Any) -> tuple[int, str]:
    """Read what a store says of a file.

    :param status: what ``stat`` gives: ``ObjectStoragePath``'s is the mapping that the store's client made, others
        have it behind ``as_info``, and ``pathlib``'s has attributes alone.
    """
    if status is None or not stat.S_ISREG(status.st_mode):
        return 0, ""
    info = status if isinstance(status, Mapping) else status.as_info() if hasattr(status, "as_info") else {}
    known = {_folded(name): value for name, value in info.items() if value is not None}
    versions = [known[name] for name in _VERSIONS if name in known]
    time = next((known[name] for name in _TIMES if name in known), None) or getattr(status, "st_mtime_ns", "")
    return status.st_size or 0, f"{status.st_size} {versions} {time}"


def _folded(name: object) -> str:
    return str(name).replace("_", "").replace("-", "").lower()
