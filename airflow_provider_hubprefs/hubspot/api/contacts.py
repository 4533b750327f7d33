"""Contacts of HubSpot's CRM that have opted out, and when. No I/O.

HubSpot has no list of opt-outs, no webhook for them and no property with their time. But contacts can be searched by
``hs_email_optout`` and the time of their last change of any kind, and a property's history can be read by the
contact's id. :func:`find_opt_outs` combines the two.

The search has its own limits (HubSpot's guide "Search the CRM"): five requests a second for the whole account, 200
results a page, an error beyond 10,000 results, and an index that is seconds behind. So this module does not page:
each request asks for ids above the last one. That works beyond 10,000, and a contact that changes meanwhile is
neither missed nor moves others to another page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from pendulum import DateTime  # noqa: TC002 - msgspec reads the annotations

from airflow_provider_hubprefs.hubspot.api.calls import Call
from airflow_provider_hubprefs.hubspot.api.endpoints import Endpoint, dated
from airflow_provider_hubprefs.hubspot.api.models import Wire, decode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

OPT_OUT, MODIFIED, ID = "hs_email_optout", "lastmodifieddate", "hs_object_id"
PAGE = 200
"""Results of one search, HubSpot's most."""

READ = 50
"""Contacts of one read with history: "the maximum number of inputs supported in a batch request for property
histories is 50" (HubSpot's error for more)."""

_SCOPES = (frozenset({"crm.objects.contacts.read"}),)
SEARCH_CONTACTS = Endpoint(
    name="search_contacts",
    method="POST",
    path="/crm/objects/{version}/contacts/search",
    scopes=_SCOPES,
    search=True,
)
READ_CONTACTS = Endpoint(
    name="read_contacts",
    method="POST",
    path="/crm/objects/{version}/contacts/batch/read",
    scopes=_SCOPES,
)


class PropertyVersion(Wire, frozen=True, kw_only=True):
    """A property's value from a time on (``ValueWithTimestamp``)."""

    DECISIVE = frozenset({"value", "timestamp"})

    value: str | None = None
    timestamp: DateTime | None = None


class Contact(Wire, frozen=True, kw_only=True):
    """One contact (``SimplePublicObject``)."""

    DECISIVE = frozenset({"properties", "history"})

    id: int
    properties: dict[str, str | None] = msgspec.field(default_factory=dict)
    history: dict[str, list[PropertyVersion]] | None = msgspec.field(
        name="propertiesWithHistory", default=None
    )
    updated_at: DateTime

    def __repr__(self) -> str:
        return f"Contact(id={self.id}, ...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("id", self.id)]

    @property
    def modified(self) -> int:
        """Time of the last change, in milliseconds since 1970."""
        return _milliseconds(self.updated_at)

    @property
    def opted_out_at(self) -> int | None:
        """Time of the opt-out, in milliseconds since 1970; None without one, or if it was taken back.

        The same value written again is not another opt-out.
        """
        versions = sorted(
            (self.history or {}).get(OPT_OUT) or (), key=lambda version: _milliseconds(version.timestamp)
        )
        if not versions:
            return self.modified if _true(self.properties.get(OPT_OUT)) else None
        since = None
        for version in versions:
            if not _true(version.value):
                since = None
            elif since is None:
                since = _milliseconds(version.timestamp)
        return since


class Contacts(Wire, frozen=True, kw_only=True):
    """Answer to a search or a batch read.

    :param total: how many a search found in all.
    """

    DECISIVE = frozenset({"given"})

    total: int = 0
    given: list[Contact] | None = msgspec.field(name="results", default=None)

    @property
    def results(self) -> list[Contact]:
        """The contacts; empty also where HubSpot sent null or nothing."""
        return self.given or []


@dataclass(frozen=True, slots=True)
class OptOut:
    """One contact's opt-out from everything.

    :param subscriber: the contact's address; None for a contact without.
    :param at: in milliseconds since 1970.
    """

    contact_id: int
    subscriber: str | None
    at: int

    def __repr__(self) -> str:
        return f"OptOut(contact_id={self.contact_id}, at={self.at})"


@dataclass(frozen=True, slots=True)
class Found:
    """The result of :func:`find_opt_outs`.

    :param opt_outs: of the contacts that were read.
    :param watermark: the last change of a contact that has opted out, as the index had it at the beginning, in
        milliseconds since 1970; 0 without such a contact.
    :param floor: contacts changed at this time or later were read.
    :param seen: the contacts found, by id, with the time of their last change.
    """

    opt_outs: list[OptOut]
    watermark: int
    floor: int
    seen: dict[int, int]


async def find_opt_outs(
    send: Callable[[Call[Contacts]], Awaitable[Contacts]],
    version: str,
    *,
    floor: int,
    seen: Mapping[int, int] | None = None,
) -> Found:
    """Find all contacts that have opted out and were changed in some way at a time or after it.

    :param send: ``asend`` of a client.
    :param version: API version of the connection.
    :param floor: milliseconds since 1970.
    :param seen: contacts that are read again only if changed since, as :class:`Found` returned it before.
    """
    newest = await send(search_call(version, floor=floor, newest_first=True))
    contacts = {contact.id: contact for contact in newest.results}
    if newest.total > len(newest.results):
        page, last = newest, 0
        while page.total > len(page.results) or not last:
            page = await send(search_call(version, floor=floor, above=last))
            if not page.results:
                break
            contacts.update((contact.id, contact) for contact in page.results)
            last = page.results[-1].id
    known = seen or {}
    changed = [one.id for one in contacts.values() if known.get(one.id) != one.modified]
    opt_outs: list[OptOut] = []
    for begin in range(0, len(changed), READ):
        read = await send(read_call(version, changed[begin : begin + READ]))
        opt_outs += [
            OptOut(contact.id, contact.properties.get("email"), at)
            for contact in read.results
            if (at := contact.opted_out_at) is not None
        ]
    watermark = max((contact.modified for contact in newest.results), default=0)
    return Found(opt_outs, watermark, floor, {one.id: one.modified for one in contacts.values()})


def last_change_call(version: str) -> Call[Contacts]:
    """Ask for the contact, of those that have opted out, that was changed last."""
    return search_call(version, floor=0, newest_first=True, limit=1)


def search_call(
    version: str, *, floor: int, above: int = 0, newest_first: bool = False, limit: int = PAGE
) -> Call[Contacts]:
    """Ask for contacts that have opted out.

    :param floor: those changed at this time or later, in milliseconds since 1970.
    :param above: those with a larger id, the smallest ones first.
    :param newest_first: those changed last, instead.
    """
    order = (MODIFIED, "DESCENDING") if newest_first else (ID, "ASCENDING")
    filters = [
        {"propertyName": OPT_OUT, "operator": "EQ", "value": "true"},
        {"propertyName": MODIFIED, "operator": "GTE", "value": str(floor)},
    ]
    if above:
        filters.append({"propertyName": ID, "operator": "GT", "value": str(above)})
    body = {
        "filterGroups": [{"filters": filters}],
        "sorts": [{"propertyName": order[0], "direction": order[1]}],
        "properties": [OPT_OUT, MODIFIED],
        "limit": limit,
    }
    return _call(SEARCH_CONTACTS, version, body)


def read_call(version: str, ids: Sequence[int]) -> Call[Contacts]:
    """Read contacts with the history of their opt-out; contacts deleted meanwhile are missing.

    :param ids: at most :data:`READ`.
    """
    body = {
        "inputs": [{"id": str(one)} for one in ids],
        "properties": ["email", OPT_OUT],
        "propertiesWithHistory": [OPT_OUT],
    }
    return _call(READ_CONTACTS, version, body)


def _call(endpoint: Endpoint, version: str, body: dict[str, Any]) -> Call[Contacts]:
    return Call(
        endpoint=endpoint,
        version=dated(version),
        path=endpoint.path.replace("{version}", dated(version)),
        body=msgspec.json.encode(body),
        read=lambda reply: decode(reply.body, Contacts),
    )


def _true(value: str | None) -> bool:
    return (value or "").lower() == "true"


def _milliseconds(moment: DateTime | None) -> int:
    """A time in HubSpot's own precision."""
    return 0 if moment is None else round(moment.timestamp() * 1000)
