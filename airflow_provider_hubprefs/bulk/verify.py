"""Reading back: how many subscribers have the preference that was wanted."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.bulk.exchange import Exchange
from airflow_provider_hubprefs.bulk.pipeline import BATCH_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_hubprefs.bulk.source import Row
    from airflow_provider_hubprefs.bulk.writes import Write
    from airflow_provider_hubprefs.hubspot.client import Client


def verify(
    client: Client, wanted: Write, rows: Iterable[Row], *, batch_size: int = BATCH_SIZE
) -> dict[str, int]:
    """Ask HubSpot for the preference of every valid row, and count. It writes nothing.

    :param wanted: the write whose effect is looked for.
    :param rows: see :func:`~.source.read_rows`; invalid rows and duplicates are passed over.
    :return: ``as_wanted``, ``otherwise`` and ``not_told`` (refused, or missing in HubSpot's answer).
    """
    exchange = Exchange(client)
    counts = {"as_wanted": 0, "otherwise": 0, "not_told": 0}
    valid = (row for row in rows if row.problem is None)
    while batch := list(islice(valid, batch_size)):
        actual, _ = exchange.actual(wanted.read, batch)
        for row in batch:
            statuses = actual.get(row.subscriber)
            if statuses is None:
                counts["not_told"] += 1
            else:
                counts["as_wanted" if wanted.matches(statuses, row) else "otherwise"] += 1
    return counts
