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

import logging
from dataclasses import dataclass, field
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

LOOKS = 10
"""So often in a row a contact is looked for that HubSpot leaves out of its reads."""

_log = logging.getLogger(__name__)
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
    """A property's value from a time on (``ValueWithTimestamp``).

    :param source_type: what wrote it: INTEGRATION is an app, as recorded answers of HubSpot's show.
    :param source_id: of an app, its id.
    """

    DECISIVE = frozenset({"value", "timestamp"})

    value: str | None = None
    timestamp: DateTime | None = None
    source_type: str | None = None
    source_id: str | int | None = None


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
    def opted_out(self) -> bool:
        """Whether the property says so now, whatever its history."""
        return _true(self.properties.get(OPT_OUT))

    def opt_out(self) -> OptOut | None:
        """The contact's opt-out, with its time; None without one, or if it was taken back.

        The same value written again is not another opt-out.
        """
        versions = sorted(
            (self.history or {}).get(OPT_OUT) or (), key=lambda version: _milliseconds(version.timestamp)
        )
        address = self.properties.get("email")
        if not versions:
            return OptOut(self.id, address, self.modified) if self.opted_out else None
        since: PropertyVersion | None = None
        for version in versions:
            if not _true(version.value):
                since = None
            elif since is None:
                since = version
        if since is None:
            return None
        app = str(since.source_id) if since.source_type == "INTEGRATION" and since.source_id else None
        return OptOut(self.id, address, _milliseconds(since.timestamp), app)


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
    :param app: id of the app that wrote it; None: not an app, or HubSpot does not say.
    """

    contact_id: int
    subscriber: str | None
    at: int
    app: str | None = None

    def __repr__(self) -> str:
        return f"OptOut(contact_id={self.contact_id}, at={self.at})"


@dataclass(frozen=True, slots=True)
class Found:
    """The result of :func:`find_opt_outs`.

    :param opt_outs: of the contacts that were read.
    :param watermark: the last change of a contact that has opted out, as the index had it at the beginning, in
        milliseconds since 1970; 0 without such a contact. It stays before contacts that are still to be read.
    :param floor: contacts changed at this time or later were read.
    :param seen: the contacts found and read, by id, with the time of their last change.
    :param missed: the contacts found and not read, by id, with how often in a row that was so.
    """

    opt_outs: list[OptOut]
    watermark: int
    floor: int
    seen: dict[int, int]
    missed: dict[int, int] = field(default_factory=dict)


async def find_opt_outs(
    send: Callable[[Call[Contacts]], Awaitable[Contacts]],
    version: str,
    *,
    floor: int,
    seen: Mapping[int, int] | None = None,
    missed: Mapping[int, int] | None = None,
) -> Found:
    """Find all contacts that have opted out and were changed in some way at a time or after it.

    HubSpot may leave a contact out of a read (207, ``numErrors``), or read it as it was before the search. It is
    looked for :data:`LOOKS` times then, and given up: it may have been deleted.

    :param send: ``asend`` of a client.
    :param version: API version of the connection.
    :param floor: milliseconds since 1970.
    :param seen: contacts that are read again only if changed since, as :class:`Found` returned it before.
    :param missed: as :class:`Found` returned it before.
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
    unread = set(changed)
    for begin in range(0, len(changed), READ):
        read = await send(read_call(version, changed[begin : begin + READ]))
        for contact in read.results:
            if contact.id not in unread:
                continue
            if (opt_out := contact.opt_out()) is not None:
                opt_outs.append(opt_out)
            # Without one: was it taken back, or is the read, or its history, behind the search?
            if opt_out is not None or (
                contact.modified >= contacts[contact.id].modified and not contact.opted_out
            ):
                unread.discard(contact.id)
    looks = {one: (missed or {}).get(one, 0) + 1 for one in unread}
    missed = {one: number for one, number in looks.items() if number < LOOKS}
    if given_up := sorted(looks.keys() - missed.keys()):
        _log.warning(
            "%d contacts that have opted out could not be read %d times in a row, and are given up: were they deleted? "
            "Their ids: %s",
            len(given_up),
            LOOKS,
            ", ".join(map(str, given_up[:20])),
        )
    watermark = max((contact.modified for contact in newest.results), default=0)
    watermark = min([watermark, *(contacts[one].modified - 1 for one in missed)])
    read_now = {one.id: one.modified for one in contacts.values() if one.id not in missed}
    return Found(opt_outs, watermark, floor, read_now, missed)


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
