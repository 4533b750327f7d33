"""The account's daily requests: whether a run can afford what it needs.

HubSpot's answers say in their headers how many of the day's requests are left. All private apps of the account share
them, and they come back at midnight in the account's time zone (HubSpot's usage guidelines). OAuth apps have no daily
figures.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.bulk.report.words import counted
from airflow_provider_hubprefs.hubspot.errors import DailyLimitError, MissingScopesError, ValidationError
from airflow_provider_hubprefs.hubspot.privacy import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.bulk.report.state import RunState
    from airflow_provider_hubprefs.bulk.send.row_caller import RowCaller
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.bulk.source.size import SourceSize
    from airflow_provider_hubprefs.hubspot.pacing.slots import Budget

RESERVE = 0.05
"""Share of the daily limit that is left for others."""

SMALL = 20
"""A run of at most so many requests spends none on asking for the figures: its first answer brings them."""

_RESET = (
    "Run it again (clear the task) after midnight in the account's time zone, which HubSpot shows in Settings > "
    "Account Defaults"
)
_log = logging.getLogger(__name__)


class BudgetError(DailyLimitError):
    """The account cannot afford the run, or the rest of it. A later try resumes it."""


class DailyBudget:
    """What a run may spend of the day's requests, as far as the latest answer says.

    :param caller: sends the run's batches.
    :param write: what is wanted.
    :param state: how far the run is.
    :param source_size: of the source; None: unknown.
    :param count: reads the source and says how many rows can be sent; None where it can be read only once.
    :param verify: whether every batch is read back.
    :param reserve: share of the daily limit that is left for others.
    :param partial: whether the run may send a part of its rows.
    :raises ValidationError: the reserve is not a share.
    """

    def __init__(
        self,
        caller: RowCaller,
        write: Write,
        state: RunState,
        *,
        source_size: SourceSize | None = None,
        count: Callable[[], int | None] = lambda: None,
        batch_size: int,
        verify: bool = False,
        reserve: float = RESERVE,
        partial: bool = False,
    ) -> None:
        if isinstance(reserve, bool) or not isinstance(reserve, int | float) or not 0 <= reserve < 1:
            raise ValidationError(f"daily_reserve: expected at least 0 and less than 1, got {shown(reserve)}")
        self._pairs = [*write.pairs(), *([write.read] if verify else [])]
        self._caller = caller
        self._client = caller.client
        self._state = state
        self._source_size = source_size
        self._count = count
        self._batch_size = batch_size
        self._share = reserve
        self._partial = partial
        self._rows: int | None = None

    def needed(self, rows: int) -> int:
        """How many requests so many rows take at most; splitting batches and retries come on top."""
        batches = math.ceil(rows / self._batch_size)
        return sum(rows if self._caller.goes_singly(pair) else batches for pair in self._pairs)

    def check_run(self) -> None:
        """Compare what the run needs with what the account has, before the first write; log both.

        :raises BudgetError: the account cannot afford all of it, and a part is not wanted.
        :raises SourceError: the source cannot be read.
        """
        if self._source_size is None:
            return
        self._rows = self._source_size.rows_at_most()
        if self._rows is not None and self._needed_from_here(self._rows) <= SMALL:
            return
        available = self._ask()
        if available == math.inf:
            _log.info("HubSpot names no daily limit for this app: the run is not checked against one")
            return
        if self._rows is not None and self._needed_from_here(self._rows) <= available:
            _log.info("The account can afford this run (%s): %s", self._normally(), self._account())
            return
        exact = self._count()
        self._rows = self._rows if exact is None else exact
        if self._rows is None:
            return
        need = self._needed_from_here(self._rows)
        _log.info("This run needs %s requests; %s", f"{need:,}", self._account())
        if need <= available:
            return
        if not self._partial:
            raise self._error(need, "Nothing was sent")
        _log.warning("Only a part of the run can be sent today: it needs %s requests", f"{need:,}")

    def _normally(self) -> str:
        """What the run needs, in words."""
        need = self._needed_from_here(self._rows or 0)
        if self._source_size is not None and self._source_size.rows:
            return f"{counted(need, 'request')}, more where batches are split or retried"
        return f"some {math.ceil(need / 3):,} requests, at most {need:,}"  # rows have some 21 bytes and more

    def check_batch(self) -> None:
        """Check that the account can afford the next batch; once rows take single calls, all of the run.

        :raises BudgetError: it cannot.
        """
        need, hint = self.needed(self._batch_size), ""
        if any(map(self._caller.goes_singly, self._pairs)):
            hint = " One call per subscriber takes many; the batch scopes would need fewer."
            if not self._partial and self._rows is not None:
                need = self._needed_from_here(self._rows)
        if self._available() < need and self._ask() < need:
            raise self._error(need, f"The run stopped after {self._state.rows_read:,} rows", hint)

    def affords(self, batches: int) -> bool:
        """Whether the account can afford so many batches."""
        return self._available() >= self.needed(self._batch_size) * batches

    def _error(self, need: int, done: str, hint: str = "") -> BudgetError:
        return BudgetError(
            f"too few of the day's requests are left: this takes up to {need:,}, and {self._account()}. {_RESET}. "
            f"{done}; a later try resumes there.{hint} on_insufficient_budget='partial' or a smaller daily_reserve "
            "sends more today",
            not_applied=True,
        )

    def _ask(self) -> float:
        """Send something cheap, for its answer's headers; return how many requests may be used.

        :raises DailyLimitError: none is left.
        """
        with suppress(MissingScopesError):  # the headers are there all the same
            self._client.send(self._client.calls.get_definitions())
        return self._available()

    def _available(self) -> float:
        """How many requests may be used; infinite where HubSpot names no daily limit, or has not yet."""
        budget = self._client.pacer.budget
        left = budget.daily_remaining
        return math.inf if left is None else left - self._reserved(budget)

    def _reserved(self, budget: Budget) -> int:
        return math.ceil(round((budget.daily or 0) * self._share, 6))

    def _account(self) -> str:
        budget = self._client.pacer.budget
        return (
            f"the account has {budget.daily_remaining or 0:,} of its {budget.daily or 0:,} requests of the day left, "
            f"and {self._reserved(budget):,} of them are reserved for others"
        )

    def _needed_from_here(self, rows: int) -> int:
        """How many requests the rest of a run of so many rows takes at most."""
        return self.needed(max(0, rows - self._state.tally.sendable))
