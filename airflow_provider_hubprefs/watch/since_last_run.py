"""The portal's opted-out contacts: all of them, or those since the last run, as its cursor says."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.hubspot.api.contacts import find_opt_outs
from airflow_provider_hubprefs.hubspot.transport.client import run
from airflow_provider_hubprefs.watch.opt_outs import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_hubprefs.hubspot.transport.client import Client
    from airflow_provider_hubprefs.storage import Place

OVERLAP = 600_000
"""Milliseconds that HubSpot's index may lag behind: so far before its last change the next run begins."""

_log = logging.getLogger(__name__)


def export_opt_outs(
    client: Client,
    write: Callable[[Iterable[list[Any]]], int],
    place: Place | None,
    identity: dict[str, Any],
) -> int:
    """Write opt-outs, oldest first, and then move the cursor. Return how many.

    A task that is killed in between finds them again: so a table, which has one row for each contact, ends up the same.

    :param write: takes the rows and returns how many they are.
    :param place: of the cursor; None: all opt-outs.
    :param identity: whose opt-outs they are, and where they go; a cursor of others is not used.
    """
    cursor = (None if place is None else place.load()) or {}
    if cursor and cursor.get("identity") != identity:
        _log.warning(
            "The last run was of another connection or table: this one begins again with all opt-outs"
        )
        cursor = {}
    floor, known = cursor.get("floor", 0), {tuple(one) for one in cursor.get("recent", ())}
    missed = {int(contact): looks for contact, looks in cursor.get("missed", {}).items()}
    found = run(find_opt_outs(client.asend, client.calls.version, floor=floor, missed=missed))
    new = [one for one in found.opt_outs if one.at >= floor and (one.contact_id, one.at) not in known]
    new.sort(key=lambda one: (one.at, one.contact_id))
    count = write([one.contact_id, one.subscriber, iso(one.at), one.app] for one in new)
    if place is not None:
        after = max(floor, found.watermark - OVERLAP)
        recent = known | {(one.contact_id, one.at) for one in new}
        place.save(
            {
                "identity": identity,
                "floor": after,
                "recent": sorted(one for one in recent if one[1] >= after),
                "missed": {str(contact): looks for contact, looks in found.missed.items()},
            }
        )
    return count
