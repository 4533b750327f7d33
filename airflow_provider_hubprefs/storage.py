"""Where a run keeps files: what is used of a path, and a small JSON value beside a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType


class File(Protocol):
    """What is used of an open file.

    No ``__iter__``: on Airflow 2.11 a file that an ``ObjectStoragePath`` opens has none, and mypy refuses a loop over
    this. Its lines are ``iter(file.readline, b"")``.
    """

    def read(self, size: int = -1, /) -> Any:
        """Read."""

    def readline(self) -> Any:
        """Read a line; at the end an empty one."""

    def write(self, data: Any, /) -> Any:
        """Write."""

    def writelines(self, lines: Iterable[Any], /) -> None:
        """Write lines."""

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
        found = [one for slot in self._slots if (one := _read(slot)) is not None]
        latest = max(found, key=lambda one: int(one["saved"]), default=None)
        if latest is None:
            return None
        self._saved = latest["saved"]
        value: dict[str, Any] = latest["state"]
        return value

    def save(self, value: dict[str, Any]) -> None:
        """See :class:`Place`."""
        self._saved += 1
        with self._slots[self._saved % 2].open("wb") as file:
            file.write(msgspec.json.encode({"saved": self._saved, "state": value}))

    def clear(self) -> None:
        """See :class:`Place`."""
        for slot in self._slots:
            slot.unlink(missing_ok=True)


def _read(slot: Path) -> Mapping[str, Any] | None:
    try:
        with slot.open("rb") as file:
            found = msgspec.json.decode(file.read())
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if isinstance(found, dict) and {"saved", "state"} <= set(found) else None
