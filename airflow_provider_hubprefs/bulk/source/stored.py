"""One file as it is stored: opened for its bytes, its ends, and what can go wrong with it."""

from __future__ import annotations

import io
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Iterator


class File(Protocol):
    """A file anywhere: ``pathlib.Path``, Airflow's ``ObjectStoragePath``, any path of ``universal_pathlib``."""

    @property
    def name(self) -> str:
        """Last part of its path."""

    def open(self, mode: str, /) -> Any:
        """Open it; only ``"rb"`` is asked for."""


def name_of(file: File) -> str:
    """Return the name of a file for error texts."""
    return shown(file.name)


def shown(name: str) -> str:
    """Return a file's name for error texts: short, and masked where it looks like an address."""
    return ascii(scrub(name)[:100])


@contextmanager
def open_bytes(file: File) -> Iterator[Any]:
    """Open a file as it is stored, and close it in the end.

    :raises SourceError: it is missing, a directory, or not accessible.
    """
    try:
        opened = file.open("rb")
    except FileNotFoundError as error:
        raise SourceError(
            f"{name_of(file)}: there is no such file. Check the path and the connection."
        ) from error
    except Exception as error:  # stores raise what their libraries raise
        raise unreadable(error, name=name_of(file)) from error
    with opened as stream:
        yield stream


def ends_of(file: File, *, length: int) -> tuple[bytes, bytes, int]:
    """Read the first and the last bytes of a file as it is stored, and its size, without reading all of it.

    :raises SourceError: it cannot be opened or read.
    """
    with open_bytes(file) as stream:
        try:
            head = stream.read(length)
            size = stream.seek(0, io.SEEK_END)
            stream.seek(max(0, size - length))
            return head, stream.read(length), size
        except OSError as error:
            raise unreadable(error, name=name_of(file)) from error


def unreadable(error: Exception, *, name: str) -> SourceError:
    """Return the error for a file that cannot be opened or read."""
    return SourceError(
        f"{name}: cannot be read ({kind_of(error)}). Is it damaged, or are the connection or its permissions wrong?"
    )


def is_of_reading(error: Exception) -> bool:
    """Whether an error is of the bytes or of their store; zstd's class is known only when that is installed."""
    return isinstance(error, OSError | EOFError | zlib.error) or type(error).__name__ == "ZstdError"


def kind_of(error: Exception) -> str:
    """Class of an error, and the system's words for it; never its text, which may name an address."""
    words = error.strerror if isinstance(error, OSError) and error.errno else None
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
