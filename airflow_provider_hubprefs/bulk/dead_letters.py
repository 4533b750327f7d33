"""Rows that were not applied, one JSON object a line, where the user wants them.

Object stores cannot append, and a worker may be killed at any time: letters are written in parts beside the
file, and put together at the end. Which parts are a run's own, its report knows.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

_PIECE = 1 << 20
"""Characters copied at once."""


class Path(Protocol):
    """What is used of a path, here or in an object store."""

    @property
    def name(self) -> str:
        """Without the folder."""

    @property
    def parent(self) -> Self:
        """The folder."""

    def __truediv__(self, other: str) -> Self: ...

    def open(self, *args: Any, **kwargs: Any) -> IO[Any]:
        """Open the file."""

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - pathlib's signature
        """Delete the file."""

    def exists(self) -> bool:
        """Tell whether there is one."""


class DeadLetters:
    """A file of dead letters that is being written.

    :param path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self) -> None:
        """Begin without letters; those of an earlier run must not be taken for this one's.

        Also the proof, before the first request, that the place can be written.
        """
        self.forget_after(0)
        with self._path.open("w", encoding="utf-8"):
            pass

    def write(self, number: int, lines: Iterable[str]) -> None:
        """Write one part, or replace it.

        :param number: from 1.
        :param lines: JSON, without the lines' ends.
        """
        with self._part(number).open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    def forget_after(self, parts: int) -> None:
        """Delete all parts but so many; the others belong to what will be done again."""
        number = parts + 1
        while (later := self._part(number)).exists():
            later.unlink()
            number += 1

    def assemble(self, parts: int) -> None:
        """Put the file together.

        :param parts: how many there are.
        """
        with self._path.open("w", encoding="utf-8") as file:
            for number in range(1, parts + 1):
                with self._part(number).open("r", encoding="utf-8") as letters:
                    while piece := letters.read(_PIECE):
                        file.write(piece)

    def _part(self, number: int) -> Path:
        return self._path.parent / f"{self._path.name}.part-{number:06}"
