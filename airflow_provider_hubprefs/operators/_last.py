"""What a task's last successful run came to: the next plan is compared with it.

It is kept in the folder for what runs leave, apart from every run: ``<output>/<dag>/%last/<task>.json``. Only counts
are in it. A plan that was not applied is not in it: its list was never approved, and may be the one that is cut
short.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_hubprefs.storage import Path

_FOLDER = "%last"
"""No run's: :func:`~.folder.name_of` gives no such name."""


class LastRun:
    """The last successful run of a task that plans.

    :param folder: of any of its runs.
    :param task: whose it is, with ``dag_id``, ``run_id``, ``task_id`` and ``map_index``.
    """

    def __init__(self, folder: Path, task: Mapping[str, Any]) -> None:
        from airflow_provider_hubprefs.bulk.report.folder import RunFolder, name_of

        of_dag = folder.parent.parent if task["map_index"] is None else folder.parent.parent.parent
        index = "" if task["map_index"] is None else f"[{task['map_index']}]"  # no task's id has a bracket
        self._folder = RunFolder(of_dag / _FOLDER)
        self.path = self._folder.path / f"{name_of(task['task_id'] + index)}.json"

    @classmethod
    def of_plan(cls, plan: Path) -> LastRun | None:
        """Return that of the task which made a plan; None: the plan lies elsewhere than where it was made.

        :param plan: path of its file; the report of the run that made it lies beside it. A task that would have applied
            it made it in a folder of its run's folder.
        """
        from airflow_provider_hubprefs.bulk.report.folder import name_of

        task = read_report(plan.parent).get("run") or {}
        if not {"dag_id", "run_id", "task_id", "map_index"} <= set(task):
            return None
        names = [name_of(task[one]) for one in ("dag_id", "run_id", "task_id")]
        names += [] if task["map_index"] is None else [str(task["map_index"])]
        for folder in (plan.parent, plan.parent.parent):
            if _last_names(folder, len(names)) == names:
                return cls(folder, task)
        return None

    def load(self) -> dict[str, Any] | None:
        """Return ``rows`` and ``actions`` of its plan, and ``at``, when that was made; None: there was no such run."""
        from airflow_provider_hubprefs.storage import json_in

        return json_in(self.path)

    def save(self, planned: Mapping[str, Any]) -> None:
        """Keep what a plan came to, which was applied.

        :param planned: fields of its header.
        :raises OSError: it cannot be written.
        """
        kept = {"rows": planned["rows"], "actions": planned["actions"], "at": planned["at"]}
        self._folder.write(self.path, [json.dumps(kept).encode()])


def _last_names(folder: Path, count: int) -> list[str]:
    found: list[str] = []
    for _ in range(count):
        found.insert(0, folder.name)
        folder = folder.parent
    return found


def read_report(folder: Path) -> dict[str, Any]:
    """Return the report in a run's folder; empty where there is none."""
    from airflow_provider_hubprefs.storage import json_in

    return json_in(folder / "report.json") or {}
