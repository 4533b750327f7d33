"""What the report of a run that makes or applies a plan says of it: counts, guards and what they found, no address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.plan.file import read_header, shown_plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow_provider_hubprefs.bulk.plan.file import PlanHeader
    from airflow_provider_hubprefs.bulk.report.outcome import Outcome
    from airflow_provider_hubprefs.storage import Path


class PlanReport:
    """Adds a plan to a run's report; see :class:`~.recorder.RowRecorder`. It comes after the one that makes the plan.

    :param path: of the plan's file.
    :param header: of a plan that is there; None: the run makes it.
    :param kept: whether the file stays.
    :param before: what the last run that was applied had planned: ``rows``, ``actions`` and ``at``; None: unknown.
    :param approved_by: who has approved it.
    """

    kind = "report"

    def __init__(
        self,
        path: Path,
        header: PlanHeader | None = None,
        *,
        kept: bool = True,
        before: Mapping[str, Any] | None = None,
        approved_by: str | None = None,
    ) -> None:
        self.header = header
        self._path = path
        self._kept = kept
        self._before = before
        self._approved_by = approved_by

    def lines(self, outcomes: Sequence[Outcome]) -> list[str]:
        """See :class:`~.recorder.RowRecorder`: none."""
        return []

    def finish(self, lines: Iterator[bytes], counts: Mapping[str, int], *, complete: bool) -> None:
        """See :class:`~.recorder.RowRecorder`: look at the plan that was just made."""
        if complete and self.header is None:
            self.header = read_header(self._path)

    def reported(self) -> dict[str, Any]:
        """See :class:`~.recorder.RowRecorder`."""
        if self.header is None:
            return {"plan": None}
        plan = shown_plan(self.header, self._path)
        before = None if self._before is None else dict(self._before)
        kept = {"path": plan["path"] if self._kept else None}
        return {"plan": {**plan, **kept, "before": before, "approved_by": self._approved_by}}
