"""Rows that were not applied, one JSON object a line, in a file of the run's folder.

Letters of unconfirmed rows are in parts of their own: a retry asks about these rows again, and drops their letters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from airflow_provider_hubprefs.bulk.report.outcome import ConservationError
from airflow_provider_hubprefs.bulk.report.parts import Parts, RunLines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.report.outcome import Outcome

FINAL = RunLines("final")
OPEN = RunLines("open")
"""Of rows that a retry asks about again."""


def assemble(folder: RunFolder, *letters: RunLines, expected: int) -> bool:
    """Put the file together; where there are no letters, an earlier run's stay.

    :param expected: number of lines.
    :return: whether the file has the letters of this run, as far as it is.
    :raises ConservationError: there are more, or fewer.
    """

    def lines() -> Iterator[bytes]:
        found = 0
        for found, line in enumerate(Parts(folder).read(*letters), start=1):  # noqa: B007 - the last one counts
            yield line
        if found != expected:
            raise ConservationError(f"{found} dead letters are there, {expected} rows were not applied")

    if not expected and not any(one.parts for one in letters):
        return False
    folder.write(folder.letters, lines())
    return True


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
