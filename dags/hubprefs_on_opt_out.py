"""Mirror opt-outs to a folder as soon as HubSpot shows them, without a schedule. Airflow 3 only: it has asset watchers.

A watcher in the triggerer searches the portal's contacts once a minute, writes new opt-outs to a numbered list and
starts this DAG, which copies each list into the folder ``mirror``: one object for each list, which is never written
again once it is whole. Triggered by hand, or by an event that names no list, it copies what is missing, or skips.

The environment of Airflow says where and how often, because watchers are made when this file is parsed:
``HUBPREFS_OPT_OUTS`` (a folder) and ``HUBPREFS_OPT_OUTS_EVERY`` (seconds).
"""

from __future__ import annotations

import os
from typing import Any

from airflow.providers.common.compat.sdk import DAG, AirflowFailException, AirflowSkipException, Asset, task
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_hubprefs.triggers.opt_out import HubPrefsOptOutTrigger

FOLDER = os.environ.get("HUBPREFS_OPT_OUTS", "file:///tmp/hubprefs-opt-outs")
EVERY = float(os.environ.get("HUBPREFS_OPT_OUTS_EVERY", "60"))


def on_opt_out() -> DAG:
    """Define the DAG."""
    from airflow.sdk import AssetWatcher

    # [START howto_trigger_hubprefs_opt_out]
    trigger = HubPrefsOptOutTrigger(output=FOLDER, poll_interval=EVERY)
    opt_outs = Asset("hubspot_opt_outs", watchers=[AssetWatcher(name="hubspot_contacts", trigger=trigger)])
    # [END howto_trigger_hubprefs_opt_out]

    with DAG(
        "hubprefs_on_opt_out",
        description="Mirror opt-outs from HubSpot to a folder as soon as HubSpot shows them",
        schedule=[opt_outs],
        tags=["hubprefs", "example"],
        max_active_runs=1,
        default_args={"retries": 2},
        doc_md=__doc__,
    ) as dag:

        @task(multiple_outputs=False)
        def mirror(triggering_asset_events: Any = None) -> dict[str, int]:
            """Copy the lists that are not in the mirror, or not whole, because a worker was killed."""
            from airflow.providers.common.compat.sdk import ObjectStoragePath

            folder = ObjectStoragePath(FOLDER)
            copies = folder / "mirror"
            copies.mkdir(parents=True, exist_ok=True)
            events = triggering_asset_events[opt_outs] if triggering_asset_events else []
            payloads = [(event.extra or {}).get("payload") or {} for event in events]
            # A later list than an event has named may still be written to.
            last = max((one["number"] for one in payloads if "number" in one), default=None)
            copied = rows = 0
            for found in sorted(folder.glob("opt-outs-*.jsonl"), key=lambda path: path.name):
                number = int(found.name.removesuffix(".jsonl").rpartition("-")[2])
                copy = copies / found.name
                whole = copy.exists() and copy.stat().st_size == found.stat().st_size
                if whole or (last is not None and number > last):
                    continue
                content = found.read_bytes()
                copy.write_bytes(content)
                copied, rows = copied + 1, rows + content.count(b"\n")
            if not copied:
                raise AirflowSkipException(f"the mirror of {FOLDER} has all lists already")
            return {"lists": copied, "opt_outs": rows}

        mirror()
    return dag


def needs_airflow_3() -> None:
    """Define a DAG of the same name that says why it does nothing."""
    with DAG("hubprefs_on_opt_out", schedule=None, tags=["hubprefs"], doc_md=__doc__):

        @task
        def no_watchers() -> None:
            """Fail with the reason."""
            raise AirflowFailException(
                "Airflow 2 has no asset watchers: this DAG needs Airflow 3.1 or later. On Airflow 2 call "
                "HubPrefsHook().find_opt_outs(since) in a task of a scheduled DAG"
            )

        no_watchers()


if AIRFLOW_V_3_0_PLUS:
    dag = on_opt_out()
else:
    needs_airflow_3()
