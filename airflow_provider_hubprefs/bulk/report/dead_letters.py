"""Rows that were not applied, one JSON object a line, in a file of the run's folder.

Object stores cannot append, and a worker may be killed at any time: letters are written in parts and put together
when the run ends. Parts have the name of the try that wrote them, so that no try writes to another's; the checkpoint
says which belong to the run, and how many lines they have. Letters of unconfirmed rows are in parts of their own: a
retry asks about these rows again, and drops their letters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from airflow_provider_hubprefs.bulk.report.outcome import ConservationError
from airflow_provider_hubprefs.storage import open_quietly, write_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.report.outcome import Outcome
    from airflow_provider_hubprefs.storage import Path

_MOST_HELD = 4000
"""Letters that are held before they are written, and those of one batch."""


class Letters(NamedTuple):
    """The dead letters of a run, of one kind.

    :param kind: ``final``, or ``open``: of rows that a retry asks about again.
    :param parts: by the try that wrote them, in this order: its name, and the number of lines of each part.
    :param held: lines that are in no part yet.
    """

    kind: str = "final"
    parts: tuple[tuple[str, tuple[int, ...]], ...] = ()
    held: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without the lines, which hold addresses."""
        return f"Letters(parts={self.parts}, {len(self.held)} held)"

    @property
    def full(self) -> bool:
        """Whether so much is held that it should be written."""
        return len(self.held) >= _MOST_HELD

    @property
    def written(self) -> int:
        """Number of lines in parts."""
        return sum(sum(lines) for _, lines in self.parts)

    def names(self) -> dict[str, int]:
        """Names of the parts, in order, and how many lines each has."""
        return {
            f"{writer}-{self.kind}-{number:06}": count
            for writer, lines in self.parts
            for number, count in enumerate(lines, 1)
        }

    def save(self) -> list[Any]:
        """The parts, in JSON."""
        return [[writer, list(lines)] for writer, lines in self.parts]

    def restored(self, saved: Iterable[Any]) -> Letters:
        """With the parts that :meth:`save` returned."""
        return Letters(self.kind, tuple((writer, tuple(lines)) for writer, lines in saved))


class DeadLetters:
    """Writes the file of dead letters.

    :param folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.assembled = False
        """Whether the file has the letters of this run, as far as it is."""

    def write(self, letters: Letters) -> Letters:
        """Write what is held as the next part; return the letters after that."""
        if not letters.held:
            return letters
        *before, (writer, lines) = letters.parts or (("", ()),)
        if writer != self._folder.writer:
            before, lines = [*letters.parts], ()
        after = letters.restored([*before, (self._folder.writer, (*lines, len(letters.held)))])
        *_, name = after.names()
        write_file(self._folder.part(name), (f"{line}\n".encode() for line in letters.held))
        return after

    def missing(self, *letters: Letters) -> int:
        """Return how many of the written lines are not there any more."""
        return sum(
            abs(lines - _lines(self._folder.part(name)))
            for one in letters
            for name, lines in one.names().items()
        )

    def assemble(self, *letters: Letters, expected: int) -> None:
        """Put the file together; where there are no letters, an earlier run's stay.

        :param expected: number of lines.
        :raises ConservationError: there are more, or fewer.
        """
        names = [name for one in letters for name in one.names()]
        found = 0

        def lines() -> Iterator[bytes]:
            nonlocal found
            for name in names:
                with open_quietly(self._folder.part(name), "rb") as part:
                    for line in iter(part.readline, b""):
                        found += 1
                        yield line
            if found != expected:
                raise ConservationError(f"{found} dead letters are there, {expected} rows were not applied")

        if expected or names:
            self._folder.write(self._folder.letters, lines())
            self.assembled = True


def _lines(path: Path) -> int:
    try:
        with open_quietly(path, "rb") as file:
            return sum(line.endswith(b"\n") for line in iter(file.readline, b""))
    except FileNotFoundError:
        return 0


def lines_of(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a line of JSON for each outcome."""
    return [
        msgspec.json.encode(
            {
                **({} if one.row.file is None else {"file": one.row.file}),
                "row": one.row.position,
                "subscriber": one.row.subscriber,
                **({} if one.row.wanted is None else one.row.wanted.cells()),
                "outcome": one.outcome,
                "category": one.category,
                "message": one.message,
                "correlation_id": one.correlation_id,
            }
        ).decode()
        for one in outcomes
    ]
