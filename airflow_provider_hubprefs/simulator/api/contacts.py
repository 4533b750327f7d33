"""Contacts of the CRM: searching them, and reading them with the history of their opt-out.

What is served follows HubSpot's guide "Search the CRM" (2026-03) and its OpenAPI documents of CRM objects: five
filter groups, ten filters each, one sort, 200 results a page, a 400 for results beyond the first 10,000. Of
HubSpot's operators and sorts there are those that the package sends; others answer 400. A batch read with
property history takes 50 inputs: HubSpot's error for more says so (activepieces#9359).
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from airflow_provider_hubprefs.simulator.answers import ApiAnswer, invalid
from airflow_provider_hubprefs.simulator.portal.clock import iso

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_hubprefs.simulator.api.call import ApiCall
    from airflow_provider_hubprefs.simulator.portal.contacts import ContactVersion, PortalContact
    from airflow_provider_hubprefs.simulator.portal.portal import Portal

Property = Literal["createdate", "email", "hs_email_optout", "hs_object_id", "lastmodifieddate"]
MOST_INPUTS, MOST_WITH_HISTORY = 100, 50
_SHOWN_UNASKED = ("createdate", "email", "hs_object_id", "lastmodifieddate")
_OPERATORS = {"EQ": operator.eq, "GT": operator.gt, "GTE": operator.ge}


class _Filter(msgspec.Struct, rename="camel"):
    property_name: Property
    operator: Literal["EQ", "GT", "GTE"]
    value: str | int

    def __post_init__(self) -> None:
        if self.property_name not in ("email", "hs_email_optout"):
            self.value = int(self.value)  # an id, or milliseconds

    def fits(self, contact: PortalContact, version: ContactVersion) -> bool:
        value = _value(contact, version, self.property_name)
        return value is not None and bool(_OPERATORS[self.operator](value, self.value))


class _Filters(msgspec.Struct):
    filters: Annotated[list[_Filter], msgspec.Meta(max_length=10)]

    def fit(self, contact: PortalContact, version: ContactVersion) -> bool:
        return all(each.fits(contact, version) for each in self.filters)

    def least_id(self) -> int:
        """Return the id above which all matches lie."""
        above = [
            each for each in self.filters if (each.property_name, each.operator) == ("hs_object_id", "GT")
        ]
        return max((int(each.value) for each in above), default=0)


class _Sort(msgspec.Struct, rename="camel"):
    property_name: Literal["hs_object_id", "lastmodifieddate"]
    direction: Literal["ASCENDING", "DESCENDING"]

    def __post_init__(self) -> None:
        if (self.direction == "ASCENDING") != (self.property_name == "hs_object_id"):
            raise ValueError("expected hs_object_id ASCENDING or lastmodifieddate DESCENDING")


class PublicObjectSearchRequest(msgspec.Struct, rename="camel"):
    """The body of a search. A contact is found when all filters of any one group fit."""

    filter_groups: Annotated[list[_Filters], msgspec.Meta(max_length=5)] = []
    sorts: Annotated[list[_Sort], msgspec.Meta(max_length=1)] = []
    properties: list[str] = []
    limit: Annotated[int, msgspec.Meta(ge=0, le=200)] = 10
    after: Annotated[str, msgspec.Meta(pattern="^[0-9]{1,9}$")] = "0"


class _ObjectId(msgspec.Struct):
    id: str


class BatchReadInputSimplePublicObjectId(msgspec.Struct, rename="camel"):
    """The body of a batch read."""

    inputs: list[_ObjectId]
    properties: list[str] = []
    properties_with_history: list[str] = []


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
    groups = wanted.filter_groups
    now = portal.clock.now_ms()
    # A search that pages by id looks only at the contacts above the last one.
    found = [
        (contact, version)
        for contact in portal.contacts.above(min((group.least_id() for group in groups), default=0))
        if (version := contact.indexed(now)) is not None
        and (not groups or any(group.fit(contact, version) for group in groups))
    ]
    if wanted.sorts and wanted.sorts[0].property_name == "lastmodifieddate":
        found.sort(key=lambda pair: -pair[1].at)
    page = [_result(contact, version, wanted.properties) for contact, version in found[begin:end]]
    answer: dict[str, Any] = {"total": len(found), "results": page}
    if end < len(found):
        answer["paging"] = {"next": {"after": str(end)}}
    return ApiAnswer(200, answer)


def batch_read(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Read contacts by id, with the history of properties where that is asked for. Unknown ids make it a 207."""
    wanted = call.read(BatchReadInputSimplePublicObjectId)
    with_history = wanted.properties_with_history
    most = MOST_WITH_HISTORY if with_history else MOST_INPUTS
    if len(wanted.inputs) > most:
        what = "for property histories " if with_history else ""
        raise invalid(f"The maximum number of inputs supported in a batch request {what}is {most}")
    contacts = portal.contacts
    rows, missing = [], []
    for each in wanted.inputs:
        contact = contacts.by_id(each.id)
        if contact is None:
            missing.append(each.id)
            continue
        row = _result(contact, contact.versions[-1], wanted.properties)
        if with_history:
            row["propertiesWithHistory"] = {
                name: list(_history(contact)) if name == "hs_email_optout" else [] for name in with_history
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
    shown = {}
    for name in (*asked, "hs_object_id") if asked else _SHOWN_UNASKED:
        value = _value(contact, version, name)
        if isinstance(value, int):
            value = str(value) if name == "hs_object_id" else iso(value)
        shown[name] = value
    return {
        "id": str(contact.id),
        "properties": shown,
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
        value = "true" if version.opted_out else "false"
        yield {"value": value, "timestamp": iso(version.at), "sourceType": "EMAIL"}


def _value(contact: PortalContact, version: ContactVersion, name: str) -> str | int | None:
    """Return a property as it is compared: times and ids are numbers."""
    match name:
        case "hs_object_id":
            return contact.id
        case "email":
            return contact.email
        case "hs_email_optout":
            return None if version.opted_out is None else str(version.opted_out).lower()
        case "lastmodifieddate":
            return version.at
        case "createdate":
            return contact.versions[0].at
    return None
