"""Rows whose operation HubSpot took and is not done with: waited for when all the others are through.

A run sends everything before it waits: what HubSpot takes its time for holds up nothing else, and whoever waits
needs no worker for it. The rows under way are kept by their places in the source, with the mark: a later try asks
about them rather than send them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from airflow_provider_hubprefs.bulk.outcome import OPERATION_PREFIX as UNDER_WAY
from airflow_provider_hubprefs.bulk.outcome import PENDING as OPEN
from airflow_provider_hubprefs.bulk.outcome import Outcome
from airflow_provider_hubprefs.hubspot.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow_provider_hubprefs.bulk.exchange import Answer
    from airflow_provider_hubprefs.bulk.row import Row
    from airflow_provider_hubprefs.bulk.runner import Runner
    from airflow_provider_hubprefs.bulk.state import RunState
    from airflow_provider_hubprefs.bulk.writes import Write

CANCELED = "CANCELED"


class Waiting(Protocol):
    """How a run waits, and for how long."""

    same_try: bool
    """Whether this goes on after a wait, and is no new try."""

    retried: bool
    """Whether a later try is to wait on for what this one waited for in vain."""

    def is_over(self) -> bool:
        """Whether it has taken too long."""

    def wait(self, rows: Sequence[Row]) -> None:
        """Wait until the operations of some rows are over, or for as long as it may take.

        :param rows: of the batches that were sent last, one of each.
        :raises BaseException: to stop here; whoever goes on finds the rows under way in the mark.
        """


def check_seconds(name: str, value: object) -> None:
    """Refuse what is no time to wait.

    :raises ValidationError: no number of more than 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValidationError(f"{name}: expected seconds, more than 0, got {value!r}")


def wait_out(
    runner: Runner,
    report: RunState,
    read: Callable[[], Iterable[Row]],
    waiting: Waiting | None,
    *,
    taken: Callable[[], None],
    mark: Callable[[], None],
) -> bool:
    """Wait until no row is under way any more, or it has taken too long.

    :param read: reads the source from its beginning.
    :param waiting: None: ask once about what an earlier try sent.
    :param taken: see :meth:`~.runner.Runner.run`.
    :param mark: called before each wait: it may be a long one, and somebody else may have to go on.
    :return: whether everything was asked that there was to ask, and not what the account could afford.
    """
    known = bool(runner.latest)  # what was sent a moment ago need not be asked about at once
    while report.tally.open:
        if not known and not runner.ask_again(read(), taken=taken):
            return False
        if not report.tally.open or waiting is None:
            break
        if not waiting.is_over():
            mark()
            waiting.wait(runner.latest)
        elif not known:
            break
        known = False
    return True


def outcomes_of(answer: Answer, write: Write, rows: Sequence[Row]) -> list[Outcome]:
    """What an answer to a reading says of rows that were under way; they may be so still.

    :param rows: all that are about a subscriber whom the call was about.
    """
    operation, found = answer.operation, answer.found()
    canceled = {
        name.lower() for error in operation.errors if error.category == CANCELED for name in error.names()
    }
    outcomes = []
    for row in rows:
        if operation.canceled or row.subscriber in canceled:
            outcome = Outcome(row, "rejected", CANCELED, "HubSpot canceled the operation")
        elif write.is_so(found.get(row.subscriber, ()), row):
            outcome = Outcome(row, "changed")
        elif operation.complete:
            text = "HubSpot was done with it, and reading it back did not show it"
            outcome = Outcome(row, "unconfirmed", "NOT_SEEN", text)
        else:
            outcome = Outcome(row, OPEN, f"{UNDER_WAY}{operation.status}")
        outcomes.append(outcome)
    return outcomes
