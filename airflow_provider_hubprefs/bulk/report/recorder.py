"""What a run writes of every row besides its dead letters: a plan, an export, an audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow_provider_hubprefs.bulk.report.outcome import Outcome


class RowRecorder(Protocol):
    """Makes lines of outcomes, and a file of all lines. The run keeps the lines, each exactly once over all its tries.

    :cvar kind: names the lines' parts; letters only, and no other recorder's of the run.
    """

    kind: str

    def lines(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Return the lines of outcomes that are taken together, in the order of the source.

        Rows that were pending come when they have their outcome, and rows that were unconfirmed come again when a
        retry has asked about them.

        :return: text without line ends.
        """

    def finish(self, lines: Iterator[bytes], counts: Mapping[str, int], *, complete: bool) -> None:
        """Make the file, when a try ends.

        :param lines: all lines of the run so far, each with its end.
        :param counts: rows by outcome, as they are then.
        :param complete: whether the run is; otherwise a later try goes on.
        :raises OSError: the file cannot be written.
        """

    def reported(self) -> Mapping[str, Any]:
        """Return what the run's report says of this, in JSON and without an address: fields of its own."""
