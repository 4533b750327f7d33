"""Waiting for rows that HubSpot accepted and has not finished with, when all the others are done.

A run sends everything before it waits, so that one slow operation holds up nothing else, and a run that is deferred
needs no worker. The checkpoint keeps the places of pending rows in the source: a later try asks about them and does
not send them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_hubprefs.bulk.send.pipeline import Pipeline
    from airflow_provider_hubprefs.bulk.source.row import Row


class WaitEnd(Enum):
    """How a run's wait for pending rows ended."""

    COMPLETE = "every row has its outcome"
    GIVEN_UP = "pending rows are unconfirmed, for good"
    LEFT_TO_RETRY = "pending rows are unconfirmed in this try, and a later one resumes the wait"


PendingWait = Callable[[Sequence["Row"], Callable[[], None]], WaitEnd | None]
"""Waits until the operations of some pending rows, one of each of the latest batches, are over, or until a timeout.

It calls its second argument every second or so. It returns None when they may be over, or at once how the wait ended
where the timeout has passed. It may raise any exception: the run stops there, and a later one finds its pending rows in
the checkpoint. Where another process waits from then on, its attribute ``elsewhere`` is true.
"""


def wait_for_pending(
    pipeline: Pipeline,
    read: Callable[[], Iterable[Row]],
    wait: PendingWait | None,
    *,
    watched: Sequence[Row],
    save: Callable[[], None],
    tick: Callable[[], None],
) -> WaitEnd:
    """Wait until no row is pending, or until the timeout; pending rows are asked about before they are given up.

    :param read: reads the source from its beginning.
    :param wait: None: ask once about what an earlier try sent.
    :param watched: pending rows that were sent a moment ago; none where an earlier try sent them.
    :param save: writes checkpoint and report: called before each wait, after which another process may resume the run.
    :param tick: is called every few seconds of a wait.
    :raises HubSpotError: see :meth:`~.pipeline.Pipeline.send`.
    """
    if watched and wait is not None:
        save()
        wait(watched, tick)
    while watched := pipeline.ask_again(read()):
        if wait is None:
            return WaitEnd.GIVEN_UP
        save()
        if (end := wait(watched, tick)) is not None:
            return end
    return WaitEnd.COMPLETE
