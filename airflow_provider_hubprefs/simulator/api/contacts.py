"""Contacts of the CRM: searching them, and reading them with the history of their opt-out.

What is served follows HubSpot's guide "Search the CRM" (2026-03) and its OpenAPI documents of CRM objects: ten
filters, one sort, 200 results a page, a 400 for results beyond the first 10,000. Of HubSpot's filters and sorts
there are those that the package sends; others answer 400. A batch read with property history takes 50 inputs:
HubSpot's error for more says so (activepieces#9359).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from airflow_provider_hubprefs.simulator.answers import ApiAnswer, invalid
from airflow_provider_hubprefs.simulator.api.account import APP_ID
from airflow_provider_hubprefs.simulator.portal.clock import iso
from airflow_provider_hubprefs.simulator.portal.portal import API

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_hubprefs.simulator.api.call import ApiCall
    from airflow_provider_hubprefs.simulator.portal.contacts import ContactVersion, PortalContact
    from airflow_provider_hubprefs.simulator.portal.portal import Portal

MOST_WITH_HISTORY = 50
_FILTERS = {"hs_email_optout": "EQ", "lastmodifieddate": "GTE", "hs_object_id": "GT"}
_SORTS = {"lastmodifieddate": "DESCENDING", "hs_object_id": "ASCENDING"}


class _Filter(msgspec.Struct, rename="camel"):
    property_name: str
    operator: str
    value: str

    def __post_init__(self) -> None:
        if _FILTERS.get(self.property_name) != self.operator:
            raise ValueError(f"expected one of {_FILTERS}")
        if self.operator != "EQ":
            int(self.value)

    def fits(self, contact: PortalContact, version: ContactVersion) -> bool:
        match self.property_name:
            case "hs_object_id":
                return contact.id > int(self.value)
            case "lastmodifieddate":
                return version.at >= int(self.value)
        return version.opted_out is (self.value == "true")


class _Filters(msgspec.Struct):
    filters: Annotated[list[_Filter], msgspec.Meta(max_length=10)]


class _Sort(msgspec.Struct, rename="camel"):
    property_name: str
    direction: str

    def __post_init__(self) -> None:
        if _SORTS.get(self.property_name) != self.direction:
            raise ValueError(f"expected one of {_SORTS}")


class PublicObjectSearchRequest(msgspec.Struct, rename="camel"):
    """The body of a search. A contact is found when all filters of the one group fit."""

    filter_groups: Annotated[list[_Filters], msgspec.Meta(max_length=1)] = []
    sorts: Annotated[list[_Sort], msgspec.Meta(max_length=1)] = []
    properties: list[str] = []
    limit: Annotated[int, msgspec.Meta(ge=0, le=200)] = 10
    after: Annotated[str, msgspec.Meta(pattern="^[0-9]{1,9}$")] = "0"


class _ObjectId(msgspec.Struct):
    id: str


class BatchReadInputSimplePublicObjectId(msgspec.Struct, rename="camel"):
    """The body of a batch read; the history of the opt-out is the only one there is."""

    inputs: list[_ObjectId]
    properties: list[str]
    properties_with_history: list[Literal["hs_email_optout"]]


def search(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Search contacts, in the index."""
    limits = portal.settings.limits
    wanted = call.read(PublicObjectSearchRequest)
    begin = int(wanted.after)
    end = begin + min(wanted.limit, limits.search_page)
    if end > limits.search_results:
        raise invalid(
            f"There was a problem with the request: no paging beyond {limits.search_results} results"
        )
    filters = [each for group in wanted.filter_groups for each in group.filters]
    # A search that pages by id looks only at the contacts above the last one.
    above = max((int(each.value) for each in filters if each.property_name == "hs_object_id"), default=0)
    now = portal.clock.now_ms()
    found = [
        (contact, version)
        for contact in portal.contacts.above(above)
        if (version := contact.indexed(now)) and all(each.fits(contact, version) for each in filters)
    ]
    if wanted.sorts and wanted.sorts[0].property_name == "lastmodifieddate":
        found.sort(key=lambda pair: -pair[1].at)
    page = [_result(contact, version, wanted.properties) for contact, version in found[begin:end]]
    answer: dict[str, Any] = {"total": len(found), "results": page}
    if end < len(found):
        answer["paging"] = {"next": {"after": str(end)}}
    return ApiAnswer(200, answer)


def batch_read(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Read contacts by id, with the history of their opt-out. Unknown ids make it a 207."""
    wanted = call.read(BatchReadInputSimplePublicObjectId)
    if len(wanted.inputs) > MOST_WITH_HISTORY:
        raise invalid(
            "The maximum number of inputs supported in a batch request for property histories "
            f"is {MOST_WITH_HISTORY}"
        )
    rows, missing = [], []
    for each in wanted.inputs:
        contact = portal.contacts.by_id(each.id)
        if contact is None:
            missing.append(each.id)
            continue
        row = _result(contact, contact.versions[-1], wanted.properties)
        row["propertiesWithHistory"] = {
            name: list(_history(contact)) for name in wanted.properties_with_history
        }
        rows.append(row)
    now = iso(portal.clock.now_ms())
    answer = {"status": "COMPLETE", "results": rows, "startedAt": now, "completedAt": now}
    if not missing:
        return ApiAnswer(200, answer)
    error = {
        "status": "error",
        "category": "OBJECT_NOT_FOUND",
        "message": "Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid.",
        "context": {"ids": missing},
    }
    return ApiAnswer(207, {**answer, "numErrors": 1, "errors": [error]})


def _result(contact: PortalContact, version: ContactVersion, asked: list[str]) -> dict[str, Any]:
    known = {
        "email": contact.email,
        "hs_email_optout": _text(version),
        "lastmodifieddate": iso(version.at),
        "hs_object_id": str(contact.id),
    }
    return {
        "id": str(contact.id),
        "properties": {name: known.get(name) for name in (*asked, "hs_object_id")},
        "createdAt": iso(contact.versions[0].at),
        "updatedAt": iso(version.at),
        "archived": False,
    }


def _history(contact: PortalContact) -> Iterator[dict[str, Any]]:
    """Yield the values of the opt-out property, the latest first, as HubSpot lists them."""
    values: list[ContactVersion] = []
    for version in contact.versions:
        if version.opted_out is not None and (not values or values[-1].opted_out != version.opted_out):
            values.append(version)
    for version in reversed(values):
        source = {"sourceType": "EMAIL"}
        if version.source == API:
            source = {"sourceType": "INTEGRATION", "sourceId": str(APP_ID)}
        yield {"value": _text(version), "timestamp": iso(version.at), **source}


def _text(version: ContactVersion) -> str | None:
    return None if version.opted_out is None else str(version.opted_out).lower()
