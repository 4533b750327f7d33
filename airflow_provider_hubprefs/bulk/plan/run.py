"""Make a plan, and apply one: both are bulk runs, with all that these have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.plan.apply import Application
from airflow_provider_hubprefs.bulk.plan.file import PlanRecorder
from airflow_provider_hubprefs.bulk.plan.guards import stop_if_tripped
from airflow_provider_hubprefs.bulk.report.checkpoint import portal_of
from airflow_provider_hubprefs.bulk.send.run import run_bulk
from airflow_provider_hubprefs.bulk.source.size import SourceSize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider_hubprefs.bulk.plan.compare import Comparison
    from airflow_provider_hubprefs.bulk.plan.file import PlanFile
    from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.source.row import Row
    from airflow_provider_hubprefs.hubspot.transport.client import Client


def make_plan(
    client: Client,
    comparison: Comparison,
    read: Callable[[], Iterable[Row]],
    *,
    folder: RunFolder,
    checkpoint: Checkpoint | None = None,
    source_digest: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    previous_rows: int | None = None,
    **run: Any,
) -> dict[str, Any]:
    """Compare all rows of a source with HubSpot, and write what differs to the plan's file; write nothing to HubSpot.

    A guard that tripped is in the plan and ends nothing.

    :param read: reads all of the source, with the comparison's ``row_check`` as its check.
    :param source_digest: of the source, for the header.
    :param arguments: how the source is read, for the header; no address. The comparison's own come on top.
    :param previous_rows: rows of the source in the last successful run; None: unknown.
    :param run: see :func:`~.send.run.run_bulk`.
    :return: the run's summary, in which *changed* rows are to change; with ``plan``, which has the path of the file,
        its checksum, counts and guards; None where the run is not complete.
    :raises HubSpotError: see :func:`~.send.run.run_bulk`.
    """
    recorder = PlanRecorder(
        folder,
        comparison.rules,
        about={
            "portal": portal_of(client, checkpoint),
            "api_version": client.calls.version,
            "source": source_digest,
            "arguments": {**(arguments or {}), **comparison.arguments()},
        },
        names=lambda: comparison.check.names,
        brand=comparison.brand,
        previous_rows=previous_rows,
    )
    return run_bulk(
        client,
        comparison,
        comparison.filled(read),
        folder=folder,
        checkpoint=checkpoint,
        recorders=[recorder, *run.pop("recorders", ())],
        **run,
    )


def apply_plan(
    client: Client,
    plan: PlanFile,
    *,
    approved: bool = False,
    checkpoint: Checkpoint | None = None,
    **run: Any,
) -> dict[str, Any]:
    """Write what a plan wants, as far as HubSpot still has what it had; a plan that is applied already is unchanged.

    :param approved: whether a person permits it although a guard tripped.
    :param checkpoint: of a run whose arguments are those of :class:`~.apply.Application`.
    :param run: see :func:`~.send.run.run_bulk`.
    :return: the run's summary.
    :raises GuardError: a guard stops the plan.
    :raises PlanError: the plan is of another portal.
    :raises HubSpotError: see :func:`~.send.run.run_bulk`.
    """
    if not approved:
        stop_if_tripped(plan.header.guards)
    plan.check_portal(portal_of(client, checkpoint))
    write = Application(client.calls, plan.header)
    return run_bulk(
        client,
        write,
        lambda: plan.rows(write.row_check),
        source_size=SourceSize(plan),
        checkpoint=checkpoint,
        **run,
    )
