"""Mirrors opt-outs to a file the moment they appear in HubSpot: nobody schedules a DAG to look for them.

A watcher in the triggerer searches the portal's contacts once a minute, writes those that have opted out since as
a list, and starts this DAG, which appends the list to the mirror. Airflow 3 only: it is where assets have watchers.

Where lists and mirror are is in the environment of Airflow, as watchers are made when this file is read:
``HUBPREFS_OPT_OUTS`` (a folder) and ``HUBPREFS_OPT_OUTS_EVERY`` (seconds).
"""

from __future__ import annotations

import os
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Asset, task
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_hubprefs.triggers.opt_out import HubPrefsOptOutTrigger

FOLDER = os.environ.get("HUBPREFS_OPT_OUTS", "file:///tmp/hubprefs-opt-outs")
EVERY = float(os.environ.get("HUBPREFS_OPT_OUTS_EVERY", "60"))


def on_opt_out() -> None:
    """Define the DAG."""
    from airflow.sdk import AssetWatcher

    watcher = AssetWatcher(
        name="hubspot_contacts", trigger=HubPrefsOptOutTrigger(output=FOLDER, poll_interval=EVERY)
    )
    opt_outs = Asset("hubspot_opt_outs", watchers=[watcher])

    with DAG(
        "hubprefs_on_opt_out",
        schedule=[opt_outs],
        tags=["hubprefs"],
        max_active_runs=1,
        default_args={"retries": 2},
    ):

        @task
        def mirror(triggering_asset_events: Any = None) -> dict[str, int]:
            """Append what is not in the mirror yet, up to the list of the event: a run that failed is made up for."""
            import json

            from airflow.providers.common.compat.sdk import ObjectStoragePath

            folder = ObjectStoragePath(FOLDER)
            done, whole = folder / "mirrored.json", folder / "mirror.jsonl"
            state = json.loads(done.read_text()) if done.exists() else {"lists": 0, "bytes": 0}
            # What was written and not noted, by a task that was killed in between, is written again.
            mirrored = whole.read_bytes()[: state["bytes"]] if whole.exists() else b""
            last = max(event.extra["payload"]["number"] for event in triggering_asset_events[opt_outs])
            for number in range(state["lists"] + 1, last + 1):
                mirrored += (folder / f"opt-outs-{number:08}.jsonl").read_bytes()
            whole.write_bytes(mirrored)
            done.write_text(json.dumps({"lists": max(last, state["lists"]), "bytes": len(mirrored)}))
            return {"lists": max(0, last - state["lists"]), "opt_outs": mirrored.count(b"\n")}

        mirror()


if AIRFLOW_V_3_0_PLUS:
    on_opt_out()
