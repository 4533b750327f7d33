"""Airflow plugin: a task's process writes down, when the task has succeeded, what it has used.

One JSON file a task in the folder ``HUBPREFS_USAGE``: CPU seconds, and the most memory it had, in MB.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin


@hookimpl
def on_task_instance_success(previous_state: Any, task_instance: Any) -> None:
    """Write what the task used: Airflow 3 calls this in the process that ran the task."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
    of = f"{task_instance.run_id}.{task_instance.task_id}.{task_instance.map_index}.json"
    used_now = {"cpu": used.ru_utime + used.ru_stime, "memory": peak}
    (Path(os.environ["HUBPREFS_USAGE"]) / of.replace("/", "_")).write_text(json.dumps(used_now))


class UsagePlugin(AirflowPlugin):
    """Registers the function above with Airflow."""

    name = "hubprefs_usage"
    listeners = [sys.modules[__name__]]  # noqa: RUF012 - Airflow declares it so
