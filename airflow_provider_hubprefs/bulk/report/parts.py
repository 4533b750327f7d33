"""Lines that a run writes exactly once over all its tries: in parts, which are put together when a try ends.

Object stores cannot append, and a worker may be killed at any time. Parts have the name of the try that wrote them, so
that no try writes to another's; the checkpoint says which belong to the run, and how many lines they have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_hubprefs.storage import lines_in, write_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_hubprefs.bulk.report.folder import RunFolder

_MOST_HELD = 4000
"""Lines that are held before they are written, and those of one batch."""


class RunLines(NamedTuple):
    """The lines of a run, of one kind.

    :param kind: begins the names of their parts.
    :param parts: by the try that wrote them, in this order: its name, the number of its parts, and that of their lines.
    :param held: lines that are in no part yet.
    """

    kind: str
    parts: tuple[tuple[str, int, int], ...] = ()
    held: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without the lines, which hold addresses."""
        return f"RunLines({self.kind!r}, {self.parts}, {len(self.held)} held)"

    def with_held(self, lines: Iterable[str]) -> RunLines:
        """Return these lines and more."""
        return self._replace(held=(*self.held, *lines))

    @property
    def full(self) -> bool:
        """Whether so much is held that it should be written."""
        return len(self.held) >= _MOST_HELD

    @property
    def written(self) -> int:
        """Number of lines in parts."""
        return sum(lines for _, _, lines in self.parts)

    def names(self) -> list[str]:
        """Names of the parts, in order."""
        return [
            f"{writer}-{self.kind}-{number:06}"
            for writer, count, _ in self.parts
            for number in range(1, count + 1)
        ]

    def save(self) -> list[Any]:
        """The parts, in JSON."""
        return [list(one) for one in self.parts]

    def restored(self, saved: Iterable[Any]) -> RunLines:
        """With the parts that :meth:`save` returned."""
        return RunLines(self.kind, tuple((writer, count, lines) for writer, count, lines in saved))


class Parts:
    """Writes the parts of a run and reads them.

    :param folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def write(self, lines: RunLines) -> RunLines:
        """Write what is held as the next part; return the lines after that."""
        if not lines.held:
            return lines
        *before, (writer, count, written) = lines.parts or (("", 0, 0),)
        if writer != self._folder.writer:
            before, count, written = [*lines.parts], 0, 0
        after = lines.restored([*before, (self._folder.writer, count + 1, written + len(lines.held))])
        *_, name = after.names()
        write_file(self._folder.part(name), (f"{line}\n".encode() for line in lines.held))
        return after

    def missing(self, *lines: RunLines) -> int:
        """Return how many of the written lines are not there any more."""
        return sum(
            abs(one.written - sum(1 for line in self.read(one) if line.endswith(b"\n"))) for one in lines
        )

    def read(self, *lines: RunLines) -> Iterator[bytes]:
        """Yield the lines that were written, each with its end; a part that is gone has none."""
        for name in (name for one in lines for name in one.names()):
            try:
                yield from lines_in(self._folder.part(name))
            except FileNotFoundError:
                continue
