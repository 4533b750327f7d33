"""The account's daily requests: whether a run can afford what it needs.

HubSpot's answers say in their headers how many of the day's requests are left. All private apps of the account share
them, and they come back at midnight in the account's time zone (HubSpot's usage guidelines). OAuth apps have no daily
figures.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.bulk.send.writes import SAMPLE_ROW
from airflow_provider_hubprefs.bulk.source.row import Row, Wanted
from airflow_provider_hubprefs.hubspot.errors import DailyLimitError, MissingScopesError, ValidationError

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.report.state import RunState
    from airflow_provider_hubprefs.bulk.send.row_caller import RowCaller
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.bulk.source.size import SourceSize

RESERVE = 0.05
"""Share of the daily limit that is left for others."""

SMALL = 20
"""A run of at most so many requests spends none on asking for the figures: its first answer brings them."""

_OVERTAKING = 64
"""So many requests can seem to come back where answers overtake one another; a new day brings back more."""

_SUBSCRIBED = Row(1, SAMPLE_ROW.subscriber, wanted=Wanted(status="SUBSCRIBED", subscription_id=1))
_RESET = "They come back at midnight in the account's time zone"
_log = logging.getLogger(__name__)


class BudgetError(DailyLimitError):
    """The account cannot afford the run, or the rest of it. A later try resumes it."""


class DailyBudget:
    """What a run may spend of the day's requests.

    :param exchange: sends the run's batches.
    :param write: what is wanted.
    :param report: how far the run is.
    :param source_size: of the source; None: unknown.
    :param verify: whether every batch is read back.
    :param reserve: share of the daily limit that is left for others.
    :param partial: whether the run may send a part of its rows.
    :raises ValidationError: the reserve is not a share.
    """

    def __init__(
        self,
        exchange: RowCaller,
        write: Write,
        report: RunState,
        *,
        source_size: SourceSize | None = None,
        batch_size: int,
        verify: bool = False,
        reserve: float = RESERVE,
        partial: bool = False,
    ) -> None:
        if isinstance(reserve, bool) or not isinstance(reserve, int | float) or not 0 <= reserve < 1:
            raise ValidationError(f"daily_reserve: expected at least 0 and less than 1, got {reserve!r}")
        reads = [write.read] if write.reads_first(SAMPLE_ROW) or write.reads_first(_SUBSCRIBED) else []
        self._pairs = [*reads, write.write, *([write.read] if verify else [])]
        self._exchange = exchange
        self._client = exchange.client
        self._report = report
        self._extent = source_size
        self._batch_size = batch_size
        self._share = reserve
        self._partial = partial
        self._rows: int | None = None
        self._daily = 0
        self._left: int | None = None
        self._counted = 0

    def needed(self, rows: int) -> int:
        """How many requests so many rows take at most; splitting batches and retries come on top."""
        batches = math.ceil(rows / self._batch_size)
        return sum(rows if self._exchange.goes_singly(pair) else batches for pair in self._pairs)

    def check_run(self) -> None:
        """Compare what the run needs with what the account has, before the first write; log both.

        :raises BudgetError: the account cannot afford all of it, and a part is not wanted.
        :raises SourceError: the source cannot be read.
        """
        if self._extent is None:
            return
        rows = self._extent.rows_at_most()
        if rows is not None and self.needed(self._rest_of(rows)) <= SMALL:
            self._rows = rows
            return
        known = self._available() is not None  # from some time ago, or from another process
        if not known:
            self._ask()
        available = self._available()
        if available is None:
            _log.info("HubSpot names no daily limit for this app: the run is not checked against one")
            return
        if rows is None or self.needed(self._rest_of(rows)) > available:
            rows = self._extent.rows_at_most(exactly=True)
        self._rows = rows
        if rows is None:
            return
        need = self.needed(self._rest_of(rows))
        _log.info("This run needs at most %s requests; %s", f"{need:,}", self._state())
        if need <= (self._ask() if known and need > available else available):
            return
        if not self._partial:
            raise self._error(need, "Nothing was sent")
        _log.warning("Only a part of the run can be sent today: it needs %s requests", f"{need:,}")

    def check_batch(self) -> None:
        """Check that the account can afford the next batch.

        :raises BudgetError: it cannot.
        """
        need = self.needed(self._batch_size)
        if not self.affords(1) and self._ask() < need:
            raise self._error(need, f"The run stopped after {self._report.rows_read:,} rows")

    def affords(self, batches: int) -> bool:
        """Whether the account can afford so many batches, as far as the latest answer says."""
        available = self._available()
        return available is None or available >= self.needed(self._batch_size) * batches

    def check_single_calls(self) -> None:
        """Check again when every subscriber takes a request from here on: the run needs more.

        :raises BudgetError: the account cannot afford it.
        """
        if self._available() is None:
            return
        whole = not self._partial and self._rows is not None
        need = self.needed(self._rest_of(self._rows or 0) if whole else self._batch_size)
        _log.info("One by one, this run needs at most %s requests; %s", f"{need:,}", self._state())
        if need > self._ask():
            raise BudgetError(
                f"one call per subscriber takes up to {need:,} requests: {self._state()}. {_RESET}. The batch scopes "
                "would need fewer",
                not_applied=True,
            )

    def _error(self, need: int, done: str) -> BudgetError:
        return BudgetError(
            f"the next requests, up to {need:,}, are more than may be used: {self._state()}. {_RESET}. {done}; a "
            "later try resumes there. on_insufficient_budget='partial' or a smaller daily_reserve sends more today",
            not_applied=True,
        )

    def _ask(self) -> float:
        """Send something cheap, for its answer's headers. Returns how many requests may be used."""
        try:
            self._client.send(self._client.calls.get_definitions())
        except MissingScopesError:
            pass  # the headers were there all the same
        except DailyLimitError:
            self._available()
            self._left = 0
            return -self._reserved
        self._left = None  # this answer is the newest
        available = self._available()
        return math.inf if available is None else available

    def _available(self) -> int | None:
        """How many requests may be used; None: HubSpot names no daily limit, or has not yet.

        The headers that came last may be those of an older answer: what this run has sent since counts, too.
        """
        said, requests = self._client.pacer.budget, self._client.usage.requests
        left, self._daily = said.daily_remaining, said.daily or 0
        if left is not None and self._left is not None and left <= self._left + _OVERTAKING:
            left = min(left, self._left - (requests - self._counted))
        self._left, self._counted = left, requests
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
