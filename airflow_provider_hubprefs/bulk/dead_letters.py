"""Rows that were not applied, one JSON object a line, where the user wants them.

Object stores cannot append, and a worker may be killed at any time: letters are written in parts beside the
file, and put together at the end. A run that goes on knows how many parts are its own.
"""

from __future__ import annotations

from typing import IO, Any, Protocol, Self

_PART = 1 << 20
"""Characters held back at most."""


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
        self._held: list[str] = []
        self._size = 0
        self._parts = 0

    def add(self, line: str) -> None:
        """Take one letter.

        :param line: JSON, without the line's end.
        """
        self._held.append(line)
        self._size += len(line)
        if self._size >= _PART:
            self.flush()

    def flush(self) -> int:
        """Write what is held back; returns how many parts there are."""
        if self._held:
            self._parts += 1
            with self._part(self._parts).open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in self._held)
            self._held, self._size = [], 0
        return self._parts

    def begin(self) -> None:
        """Begin without letters; those of an earlier run must not be taken for this one's.

        Also the proof, before the first request, that the place can be written.
        """
        self.restore(0)
        with self._path.open("w", encoding="utf-8"):
            pass

    def restore(self, parts: int) -> None:
        """Go on behind so many parts; later ones belong to what will be done again."""
        self._held, self._size, self._parts = [], 0, parts
        number = parts + 1
        while (later := self._part(number)).exists():
            later.unlink()
            number += 1

    def assemble(self, *, keep_parts: bool) -> None:
        """Put the file together.

        :param keep_parts: the run ended early and may go on.
        """
        self.flush()
        parts = [self._part(number) for number in range(1, self._parts + 1)]
        with self._path.open("w", encoding="utf-8") as file:
            for part in parts:
                with part.open("r", encoding="utf-8") as letters:
                    while piece := letters.read(_PART):
                        file.write(piece)
        if not keep_parts:
            for part in parts:
                part.unlink()
            self._parts = 0

    def _part(self, number: int) -> Path:
        return self._path.parent / f"{self._path.name}.part-{number:06}"
