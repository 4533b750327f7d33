"""Notes every change of a list's subscribers that HubSpot shows: a watcher starts it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Asset, task
from airflow.sdk import AssetWatcher

from airflow_provider_hubprefs.triggers.changes import HubPrefsPreferenceChangeTrigger

FOLDER = os.environ["TEST_VIPS"]
trigger = HubPrefsPreferenceChangeTrigger(
    source=f"file://{FOLDER}/vips.csv", output=f"file://{FOLDER}/changes", poll_interval=1
)
changes = Asset("vip_changes", watchers=[AssetWatcher(name="vips", trigger=trigger)])

with DAG("hubprefs_vip_changes", schedule=[changes], max_active_runs=1):

    @task
    def note(triggering_asset_events: Any = None) -> None:
        """Copy the lists of the events into one file."""
        with (Path(FOLDER) / "noted.jsonl").open("a") as noted:
            for event in triggering_asset_events[changes]:
                payload = event.extra["payload"]
                rows = Path(payload["list"].removeprefix("file://")).read_text()
                assert rows.count("\n") == payload["count"]
                noted.write(rows)

    note()
