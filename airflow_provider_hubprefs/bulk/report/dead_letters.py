"""Rows that were not applied, one JSON object a line, in a file that the user named.

Object stores cannot append, and a worker may be killed at any time: letters are written in parts beside the file
and put together when the run ends. The run's state says which parts belong to it.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_hubprefs.bulk.report.outcome import Outcome
    from airflow_provider_hubprefs.storage import Path

_MOST_HELD = 4000
"""Letters that are held before they are written, and those of one batch."""


class Letters(NamedTuple):
    """The dead letters of a run.

    :param parts: number of parts that are written.
    :param held: lines that are in none of them yet.
    """

    parts: int = 0
    held: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without the lines, which hold addresses."""
        return f"Letters(parts={self.parts}, {len(self.held)} held)"

    @property
    def full(self) -> bool:
        """Whether so much is held that it should be written."""
        return len(self.held) >= _MOST_HELD


class DeadLetters:
    """Writes the file of dead letters.

    :param path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self) -> None:
        """Write an empty file and delete what an earlier run left.

        Called before the first request, it also proves that the path can be written.

        :raises OSError: it cannot.
        """
        self.forget_after(0)
        with self._path.open("w", encoding="utf-8"):
            pass

    def write(self, letters: Letters) -> Letters:
        """Write what is held as the next part, or replace that part; return the letters after that."""
        if not letters.held:
            return letters
        with self._part(letters.parts + 1).open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in letters.held)
        return Letters(letters.parts + 1)

    def forget_after(self, parts: int) -> None:
        """Delete the parts after so many: they are of rows that will be sent again."""
        number = parts + 1
        while (later := self._part(number)).exists():
            later.unlink()
            number += 1

    def assemble(self, parts: int) -> None:
        """Put the file together from so many parts."""
        with self._path.open("w", encoding="utf-8") as file:
            for number in range(1, parts + 1):
                with self._part(number).open("r", encoding="utf-8") as part:
                    shutil.copyfileobj(part, file)

    def _part(self, number: int) -> Path:
        return self._path.parent / f"{self._path.name}.part-{number:06}"


def lines_of(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a line of JSON for each outcome."""
    return [
        msgspec.json.encode(
            {
                **({} if one.row.file is None else {"file": one.row.file}),
                "row": one.row.position,
                "subscriber": one.row.subscriber,
                "outcome": one.outcome,
                "category": one.category,
                "message": one.message,
                "correlation_id": one.correlation_id,
            }
        ).decode()
        for one in outcomes
    ]
