"""The account's requests of a day: whether a run can afford what it needs, and what it does when it cannot.

HubSpot says in the headers of every answer how many of the day's requests are left; they are shared by all of the
account's private apps and come back at midnight in the account's time zone (HubSpot's usage guidelines). OAuth
apps have no daily figures.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Literal, get_args

from airflow_provider_hubprefs.bulk.row import Row, Wanted
from airflow_provider_hubprefs.bulk.writes import SOMEBODY
from airflow_provider_hubprefs.hubspot.errors import DailyLimitError, MissingScopesError, ValidationError

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.exchange import Exchange
    from airflow_provider_hubprefs.bulk.extent import Extent
    from airflow_provider_hubprefs.bulk.state import RunState
    from airflow_provider_hubprefs.bulk.writes import Write

OnInsufficient = Literal["fail", "wait", "partial"]

RESERVE = 0.05
"""Share of the daily limit that is left for others."""

LOOK_EVERY = 180.0
"""Seconds between two looks while waiting; each costs a request."""

SMALL = 20
"""A run of so few requests does not spend another one on looking: its first answer tells."""

_OVERTAKING = 64
"""Requests that answers which overtake one another can seem to bring back; a new day brings more."""

_SUBSCRIBED = Row(1, SOMEBODY.subscriber, wanted=Wanted(status="SUBSCRIBED", subscription_id=1))
_RESET = "They come back at midnight in the account's time zone"
_log = logging.getLogger(__name__)


class BudgetError(DailyLimitError):
    """The account cannot afford the run, or what is left of it. A later try goes on where this one stopped."""


class DailyBudget:
    """What a run may spend of the day's requests.

    :param exchange: with the portal.
    :param write: what is wanted.
    :param report: how far the run is.
    :param extent: of the source; None where nobody knows.
    :param verify: whether every batch is read back.
    :param reserve: share of the daily limit that is left for others.
    :param on_insufficient: ``fail``; ``wait`` until there is enough; ``partial``: send what can be afforded.
    :raises ValidationError: a reserve or a word that cannot be.
    """

    def __init__(
        self,
        exchange: Exchange,
        write: Write,
        report: RunState,
        *,
        extent: Extent | None = None,
        batch_size: int,
        verify: bool = False,
        reserve: float = RESERVE,
        on_insufficient: OnInsufficient = "fail",
    ) -> None:
        if isinstance(reserve, bool) or not isinstance(reserve, int | float) or not 0 <= reserve < 1:
            raise ValidationError(f"daily_reserve: expected at least 0 and less than 1, got {reserve!r}")
        if on_insufficient not in get_args(OnInsufficient):
            raise ValidationError(
                f"on_insufficient_budget: expected 'fail', 'wait' or 'partial', got {on_insufficient!r}"
            )
        looks = [write.read] if write.look_first(SOMEBODY) or write.look_first(_SUBSCRIBED) else []
        self._pairs = [*looks, write.write, *([write.read] if verify else [])]
        self._exchange = exchange
        self._client = exchange.client
        self._report = report
        self._extent = extent
        self._batch_size = batch_size
        self._share = reserve
        self.on_insufficient = on_insufficient
        self._rows: int | None = None
        self._daily = 0
        self._left: int | None = None
        self._refusals = 0
        exchange.fell_back = self._judge_again

    def needed(self, rows: int) -> int:
        """How many requests so many rows take at most, but for splitting batches and repetitions."""
        batches = math.ceil(rows / self._batch_size)
        return sum(rows if self._exchange.goes_singly(pair) else batches for pair in self._pairs)

    def judge(self) -> None:
        """Say how many requests the run needs, before its first write.

        :raises BudgetError: the account cannot afford it, and nobody wants to wait or to send a part of it.
        :raises SourceError: the source cannot be read.
        """
        if self._extent is None:
            return
        rows = self._extent.rows_at_most()
        if rows is not None and self.needed(self._rest_of(rows)) <= SMALL:
            self._rows = rows
            return
        heard = self._available() is not None  # some time ago, or from another process
        if not heard:
            self._look()
        available = self._available()
        if available is None:
            _log.info("HubSpot names no daily limit for this app: the run goes on without looking at one")
            return
        if rows is None or self.needed(self._rest_of(rows)) > available:
            rows = self._extent.rows_at_most(exactly=True)
        self._rows = rows
        if rows is None:
            return
        need = self.needed(self._rest_of(rows))
        _log.info("This run needs at most %s requests; %s", f"{need:,}", self._state())
        if need > (self._look() if heard and need > available else available):
            self._insufficient(need, "Nothing was sent")

    def has(self, under_way: int) -> bool:
        """See :class:`~.runner.Allowance`."""
        self._refusals = 0
        available = self._available()
        return available is None or available >= self.needed(self._batch_size) * (under_way + 1)

    def more(self, error: DailyLimitError | None = None) -> bool:
        """See :class:`~.runner.Allowance`."""
        if error is not None:
            return self._more_after(error)
        need = self.needed(self._batch_size)
        if self._look() >= need:
            return True
        self._insufficient(need, f"The run stopped after {self._report.rows_read:,} rows")
        return self.on_insufficient == "wait"

    def _more_after(self, error: DailyLimitError) -> bool:
        """HubSpot refused, or there is not enough for going on one by one."""
        if self.on_insufficient == "fail":
            raise error
        if self.on_insufficient == "partial":
            self._report.incomplete_because = str(error)
            return False
        # What HubSpot refuses although it says there is enough is asked for again, but not at once.
        self._pause(min(2.0**self._refusals, LOOK_EVERY))
        self._refusals += 1
        need = self._worth_waiting_for()
        if self._look() < need:
            self._wait(need)
        return True

    def _insufficient(self, need: int, done: str) -> None:
        text = (
            f"the next requests, up to {need:,}, are more than may be used: {self._state()}. {_RESET}. {done}"
        )
        if self.on_insufficient == "fail":
            raise BudgetError(
                f"{text}; a later try goes on from there. Or set on_insufficient_budget='wait' or 'partial', or a "
                "smaller daily_reserve",
                not_applied=True,
            )
        if self.on_insufficient == "wait":
            self._wait(self._worth_waiting_for())
        else:
            self._report.incomplete_because = text
            _log.warning("Only a part of the run can be sent today: %s", text)

    def _judge_again(self) -> None:
        """From here on every subscriber takes a request: another need.

        :raises BudgetError: it is too much; whoever takes the batch then asks for :meth:`more`.
        """
        if self._available() is None:
            return
        whole = self.on_insufficient != "partial" and self._rows is not None
        need = self.needed(self._rest_of(self._rows or 0) if whole else self._batch_size)
        _log.info("One by one, this run needs at most %s requests; %s", f"{need:,}", self._state())
        if need > self._look():
            raise BudgetError(
                f"one call per subscriber takes up to {need:,} requests: {self._state()}. {_RESET}. The batch scopes "
                "would need fewer",
                not_applied=True,
            )

    def _worth_waiting_for(self) -> int:
        """All of the rest, if a day has so many; otherwise enough to begin with."""
        rest = self.needed(self._rest_of(self._rows)) if self._rows is not None else 0
        return rest if 0 < rest <= self._daily - self._reserved else self.needed(self._batch_size)

    def _wait(self, need: int) -> None:
        """Wait until so many requests may be used.

        :raises StoppedError: the task is being killed.
        """
        available: float = self._available() or 0
        while available < need:
            _log.info(
                "Waiting for the account's next day: %s requests are needed, %s may be used; looking every %d s",
                f"{need:,}",
                f"{max(0, available):,}",
                LOOK_EVERY,
            )
            self._pause(LOOK_EVERY)
            available = self._look()

    def _pause(self, seconds: float) -> None:
        self._client.rest(seconds)

    def _look(self) -> float:
        """Ask for anything cheap: the headers tell. Returns how many requests may be used."""
        try:
            self._client.send(self._client.calls.get_definitions())
        except MissingScopesError:
            pass  # the headers were there all the same
        except DailyLimitError:
            self._available()
            self._left = 0
            return -self._reserved
        available = self._available()
        return math.inf if available is None else available

    def _available(self) -> int | None:
        """How many requests may be used; None where HubSpot names no daily limit, or none yet."""
        said = self._client.pacer.budget
        left, self._daily = said.daily_remaining, said.daily or 0
        if left is None or self._left is None or not self._left < left <= self._left + _OVERTAKING:
            self._left = left
        return None if self._left is None else self._left - self._reserved

    @property
    def _reserved(self) -> int:
        return math.ceil(round(self._daily * self._share, 6))

    def _state(self) -> str:
        return (
            f"the account has {self._left or 0:,} of its {self._daily:,} requests of the day left, and "
            f"{self._reserved:,} of them are reserved for others"
        )

    def _rest_of(self, rows: int) -> int:
        return max(0, rows - self._report.rows_read)
