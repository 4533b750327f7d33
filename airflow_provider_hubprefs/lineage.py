"""Which data sets a task reads and writes: for OpenLineage, and for Airflow's own collector. No address, no request.

Read are the source's files, by OpenLineage's names for their store, without credentials, or the tables of a query; a
sensor reads what it asks about. Written is what :mod:`~airflow_provider_hubprefs.assets.hubspot` names; it is reported
when the task ends: only then its portal and brand are known.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_hubprefs.hubspot.api.calls import Call

_STATUSES = {"set_status", "batch_set_statuses"}
_OPT_OUTS = {"unsubscribe_all", "batch_unsubscribe_all"}
_MOST = 100
"""Data sets that a task reads, in one event."""
_SENT = ("changed", "unchanged", "unconfirmed")


def note(task: Any) -> None:
    """Report to Airflow's own collector what a task has written, when it ends."""
    if not task.only_reads and any(task._known.get(name) for name in _SENT):
        collect_output(task._hook, _name(task), portal=task._known.get("portal"))


def _name(task: Any) -> str:
    from airflow_provider_hubprefs.assets.hubspot import dataset_name

    brand = None
    with suppress(Exception):  # what is wrong with a connection is the task's to say
        brand = task._hook.business_unit_id
    return dataset_name(
        subscription_id=getattr(task, "subscription_id", None),
        every=getattr(task, "subscription_column", None) is not None,
        brand=brand,
    )


def lineage_of(task: Any, *, ended: bool = False) -> Any:
    """Return what OpenLineage's provider asks a task for; None where it is not installed.

    :param ended: whether the task has ended: only then it is known where it wrote.
    """
    try:
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.event_v2 import InputDataset, OutputDataset
        from openlineage.client.facet_v2 import (
            input_statistics_input_dataset,
            output_statistics_output_dataset,
        )
    except ImportError:
        return None
    from airflow_provider_hubprefs.assets.hubspot import namespace
    from airflow_provider_hubprefs.bulk.report.outcome import OUTCOMES

    known = task._known
    inputs = [InputDataset(namespace=store, name=name) for store, name in task.lineage_inputs()]
    if len(inputs) == 1 and "read" in known:
        statistics = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(rowCount=known["read"])
        inputs[0].inputFacets = {"inputStatistics": statistics}
    outcomes: dict[str, int] = {name: known[name] for name in OUTCOMES if name in known}
    facets = {"hubprefs_run": _run_facet(outcomes, known)} if outcomes else {}
    if not ended:
        return OperatorLineage(inputs=inputs, run_facets=facets)
    store, name = namespace(_portal(task._hook, known.get("portal"))), _name(task)
    if task.only_reads:
        outputs = [OutputDataset(namespace=where, name=one) for where, one in task._written_to]
        inputs.append(InputDataset(namespace=store, name=name))
        return OperatorLineage(inputs=inputs, outputs=outputs, run_facets=facets)
    output = OutputDataset(namespace=store, name=name)
    if outcomes:
        written = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=outcomes.get("changed", 0)
        )
        output.outputFacets = {"outputStatistics": written}
    return OperatorLineage(inputs=inputs, outputs=[output], run_facets=facets)


def collect_output(hook: Any, *names: str, portal: int | None = None) -> None:
    """Report what was written to Airflow's own collector, so that any task with the hook has lineage.

    Lineage must not fail a write that HubSpot has carried out.
    """
    with suppress(Exception):
        from airflow_provider_hubprefs.assets.hubspot import namespace
        from airflow_provider_hubprefs.compat import get_hook_lineage_collector

        collector: Any = get_hook_lineage_collector()
        add = getattr(collector, "add_output_asset", None) or collector.add_output_dataset
        for name in names:
            add(context=hook, uri=f"{namespace(_portal(hook, portal))}/{name}")


def collect_call(hook: Any, call: Call[Any]) -> None:
    """Report what one call has written, if it has."""
    from airflow_provider_hubprefs.assets.hubspot import dataset_name

    if call.endpoint.name in _STATUSES and call.body is not None:
        from msgspec import json

        body = json.decode(call.body)
        subscriptions = {one["subscriptionId"] for one in body.get("inputs", [body])}
        collect_output(hook, *(dataset_name(subscription_id=each) for each in sorted(subscriptions)))
    elif call.endpoint.name in _OPT_OUTS:
        brand = dict(parse_qsl(urlsplit(call.path).query)).get("businessUnitId")
        collect_output(hook, dataset_name(brand=brand))


def _portal(hook: Any, portal: int | None) -> int | str:
    """The portal's number, where it is known without a request, or the connection's id."""
    client = vars(hook).get("client")
    return portal or getattr(getattr(client, "auth", None), "hub_id", None) or hook.hubprefs_conn_id


def datasets_of(source: Any) -> Iterable[tuple[str, str]]:
    """Namespace and name of each of the source's places, each once; of what has wildcards, the folder above them.

    Of more than :data:`_MOST`, the folders of the first thousand: an event of 100,000 files helps no one.
    """
    from airflow_provider_hubprefs.compat import ObjectStoragePath
    from airflow_provider_hubprefs.hubspot.privacy import scrub
    from airflow_provider_hubprefs.storage import local_path

    found: dict[tuple[str, str], None] = {}
    given_all = [source] if isinstance(source, str) or hasattr(source, "open") else source
    for given in islice(given_all, 10 * _MOST):
        with suppress(ValueError, ImportError):  # of an unknown store
            path: Any = ObjectStoragePath(given)
            local = local_path(path) if path.protocol in {"", "file", "local"} else None
            store, name = (
                (f"{path.protocol}://{path.bucket}", path.key) if local is None else ("file", str(local))
            )
            if wild := next((at for at, letter in enumerate(name) if letter in "*?["), None):
                name = name[:wild].rpartition("/")[0]
            found[store, scrub(name)] = None
    if len(found) > _MOST:
        found = dict.fromkeys((store, name.rpartition("/")[0]) for store, name in found)
    return list(found)[:_MOST]


def _run_facet(outcomes: Mapping[str, int], known: Mapping[str, Any]) -> Any:
    from airflow_provider_hubprefs.hubspot.privacy import scrub

    report = known.get("report")
    return _facet_class()(
        outcomes=dict(outcomes),
        reasons=dict(known.get("reasons") or {}),
        report=scrub(report) if report else None,
    )


@cache
def _facet_class() -> Any:
    """The facet ``hubprefs_run``: rows by outcome, why rows were not applied, and where the report is."""
    import attrs
    from openlineage.client.facet_v2 import RunFacet

    fields = {"outcomes": attrs.field(), "reasons": attrs.field(), "report": attrs.field()}
    return attrs.make_class("HubPrefsRunFacet", fields, bases=(RunFacet,), kw_only=True)
