"""Mirror opt-outs to a file as soon as HubSpot shows them, without a schedule. Airflow 3 only: it has asset watchers.

A watcher in the triggerer searches the portal's contacts once a minute, writes new opt-outs to a numbered list and
starts this DAG, which joins the lists in one file.

The environment of Airflow says where and how often, because watchers are made when this file is parsed:
``HUBPREFS_OPT_OUTS`` (a folder) and ``HUBPREFS_OPT_OUTS_EVERY`` (seconds).
"""

from __future__ import annotations

import os
from typing import Any

from airflow.providers.common.compat.sdk import DAG, AirflowFailException, Asset, task
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_hubprefs.triggers.opt_out import HubPrefsOptOutTrigger

FOLDER = os.environ.get("HUBPREFS_OPT_OUTS", "file:///tmp/hubprefs-opt-outs")
EVERY = float(os.environ.get("HUBPREFS_OPT_OUTS_EVERY", "60"))


def on_opt_out() -> None:
    """Define the DAG."""
    from airflow.sdk import AssetWatcher

    trigger = HubPrefsOptOutTrigger(output=FOLDER, poll_interval=EVERY)
    opt_outs = Asset("hubspot_opt_outs", watchers=[AssetWatcher(name="hubspot_contacts", trigger=trigger)])

    with DAG(
        "hubprefs_on_opt_out",
        schedule=[opt_outs],
        tags=["hubprefs"],
        max_active_runs=1,
        default_args={"retries": 2},
    ):

        @task(multiple_outputs=False)
        def mirror(triggering_asset_events: Any = None) -> dict[str, int]:
            """Join all lists up to the one of the event. It may run again, and makes up for a run that failed."""
            from airflow.providers.common.compat.sdk import ObjectStoragePath

            folder = ObjectStoragePath(FOLDER)
            last = max(event.extra["payload"]["number"] for event in triggering_asset_events[opt_outs])
            joined = b"".join(
                (folder / f"opt-outs-{number:08}.jsonl").read_bytes() for number in range(1, last + 1)
            )
            file = folder / "mirror.jsonl"
            if not file.exists() or file.stat().st_size < len(joined):  # a run of an older event adds nothing
                file.write_bytes(joined)
            return {"lists": last, "opt_outs": joined.count(b"\n")}

        mirror()


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
    on_opt_out()
else:
    needs_airflow_3()
