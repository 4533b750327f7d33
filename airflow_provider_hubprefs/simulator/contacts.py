"""Contacts in the CRM: searching them, and reading them with what their opt-out property was before.

Every subscriber of the portal has a contact here. ``hs_email_optout`` follows the portal-wide opt-out, and every
change of a subscriber is a change of the contact. The search looks at an index that is behind by the portal's
``indexing_seconds``, not for every change alike; reading by id is not.

What is served follows HubSpot's guide "Search the CRM" (2026-03) and its OpenAPI documents of CRM objects: five
filter groups, ten filters each, one sort, 200 results a page, none beyond the first 10,000 (a 400). That a batch
read with property history takes 50 inputs is what HubSpot's error for more says (activepieces#9359).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_hubprefs.simulator.bodies import Answer, invalid
from airflow_provider_hubprefs.simulator.clock import iso, milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from airflow_provider_hubprefs.simulator.call import Call
    from airflow_provider_hubprefs.simulator.portal import Portal

FIRST_ID = 1001
MOST_RESULTS = 10_000
MOST_A_PAGE = 200
MOST_INPUTS = 100
MOST_WITH_HISTORY = 50
_GROUPS, _FILTERS_A_GROUP = 5, 10
DEFAULT_PROPERTIES = ("createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname")
_DATES = ("createdate", "lastmodifieddate")
_NUMBERS = (*_DATES, "hs_object_id")
_KNOWN = (*DEFAULT_PROPERTIES, "hs_email_optout")

Value = str | int | None


class Version(NamedTuple):
    """A contact as it was from a moment on.

    :param at: in milliseconds since 1970.
    :param opted_out: ``hs_email_optout``; ``None`` where it was never set.
    :param indexed_at: when searches see it.
    """

    at: int
    opted_out: bool | None
    indexed_at: int


@dataclass(slots=True)
class Contact:
    """One contact, with all it ever was."""

    id: int
    email: str
    versions: list[Version] = field(default_factory=list)

    def indexed(self, now: int) -> Version | None:
        """Return what searches see of it at a time in milliseconds; ``None`` where that is nothing."""
        return next((version for version in reversed(self.versions) if version.indexed_at <= now), None)


class Contacts:
    """The portal's contacts, made of its subscribers when somebody first asks for one.

    :ivar touched: when something else of a contact was changed, by address.
    """

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._made: dict[str, Contact] | None = None
        self._numbered: list[Contact] = []
        self.touched: dict[str, list[int]] = {}

    def all(self) -> dict[str, Contact]:
        """Return the contacts by address, in the order of their ids."""
        for key in list(self._portal.operations):
            self._portal.history(key)  # makes visible what has ended by now
        if self._made is None:
            self._made = {}
            for key in list(self._portal.preferences):
                self.changed(key)
        return self._made

    def by_id(self, name: str) -> Contact | None:
        """Return a contact by its id as text."""
        self.all()
        place = int(name) - FIRST_ID if name.isdigit() else -1
        return self._numbered[place] if 0 <= place < len(self._numbered) else None

    def changed(self, key: str) -> None:
        """Take note of a subscriber's change."""
        if self._made is None:
            return
        contact = self._made.get(key)
        if contact is None:
            contact = self._made[key] = Contact(FIRST_ID + len(self._made), key)
            self._numbered.append(contact)
        contact.versions = self._versions(key)

    def touch(self, key: str) -> None:
        """Change something of a contact that has nothing to do with its preferences.

        :raises KeyError: when there is no such subscriber.
        """
        if key not in self._portal.preferences:
            raise KeyError(f"there is no subscriber {key!r} to touch")
        self.touched.setdefault(key, []).append(self._portal.clock.now_ms())
        self.changed(key)

    def _versions(self, key: str) -> list[Version]:
        opted_out: bool | None = None
        found = []
        for change in self._portal.preferences[key]:
            if change.subscription is None and change.brand is None:
                opted_out = True
            elif opted_out and change.status == "SUBSCRIBED" and change.subscription is not None:
                opted_out = not self._portal.settings.resubscribe_clears_opt_out
            found.append(self._version(key, change.at, opted_out))
        for at in self.touched.get(key, ()):
            before = [version for version in found if version.at <= at]
            found.append(self._version(key, at, before[-1].opted_out if before else None))
        return sorted(found, key=lambda version: version.at)

    def _version(self, key: str, at: int, opted_out: bool | None) -> Version:  # noqa: FBT001
        """Draw how long the index takes: always the same for the same change."""
        least, most = self._portal.settings.indexing_seconds
        drawn = zlib.crc32(f"{self._portal.seed}:{key}:{at}".encode()) / 2**32
        return Version(at, opted_out, at + int((least + (most - least) * drawn) * 1000))


def search(portal: Portal, call: Call) -> Answer:
    """Search contacts, in the index."""
    body = call.object("PublicObjectSearchRequest", [])
    limit = _whole(body, "limit", 10)
    if not 0 <= limit <= MOST_A_PAGE:
        raise invalid(f"Invalid limit {limit}: it must be at most {MOST_A_PAGE}")
    after = _whole(body, "after", 0)
    if after + limit > MOST_RESULTS:
        raise invalid("There was a problem with the request: results beyond 10000 cannot be paged to")
    fits = _any_group(_list(body, "filterGroups"))
    now = portal.clock.now_ms()
    found = [
        (contact, version)
        for contact in portal.contacts.all().values()
        if (version := contact.indexed(now)) is not None and fits(contact, version)
    ]
    _sort(found, _list(body, "sorts"))
    wanted = _properties(body)
    page = [_result(contact, version, wanted) for contact, version in found[after : after + limit]]
    answer: dict[str, Any] = {"total": len(found), "results": page}
    if after + limit < len(found):
        answer["paging"] = {"next": {"after": str(after + limit)}}
    return Answer(200, answer)


def batch_read(portal: Portal, call: Call) -> Answer:
    """Read contacts by id, with the history of properties where it is asked for. Unknown ids are left out, as 207."""
    body = call.object("BatchReadInputSimplePublicObjectId", ["inputs"])
    inputs, with_history = _list(body, "inputs"), _list(body, "propertiesWithHistory")
    most = MOST_WITH_HISTORY if with_history else MOST_INPUTS
    if len(inputs) > most:
        what = "for property histories " if with_history else ""
        raise invalid(f"The maximum number of inputs supported in a batch request {what}is {most}")
    wanted = _properties(body)
    rows, missing = [], []
    now = portal.clock.now_ms()
    for one in inputs:
        name = str(one.get("id")) if isinstance(one, dict) else str(one)
        contact = portal.contacts.by_id(name)
        if contact is None:
            missing.append(name)
            continue
        row = _result(contact, contact.versions[-1], wanted)
        if with_history:
            row["propertiesWithHistory"] = {
                name: list(_history(contact)) if name == "hs_email_optout" else [] for name in with_history
            }
        rows.append(row)
    answer = {"status": "COMPLETE", "results": rows, "startedAt": iso(now), "completedAt": iso(now)}
    if not missing:
        return Answer(200, answer)
    error = {
        "status": "error",
        "category": "OBJECT_NOT_FOUND",
        "message": "Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid.",
        "context": {"ids": missing},
    }
    return Answer(207, {**answer, "numErrors": 1, "errors": [error]})


def _result(contact: Contact, version: Version, wanted: Sequence[str]) -> dict[str, Any]:
    shown = {name: _shown(name, _value(contact, version, name)) for name in wanted if name in _KNOWN}
    return {
        "id": str(contact.id),
        "properties": shown,
        "createdAt": iso(contact.versions[0].at),
        "updatedAt": iso(version.at),
        "archived": False,
    }


def _history(contact: Contact) -> Iterator[dict[str, Any]]:
    """Yield what the opt-out property was, the latest first, as HubSpot lists it."""
    values: list[Version] = []
    for version in contact.versions:
        if version.opted_out is not None and (not values or values[-1].opted_out != version.opted_out):
            values.append(version)
    for version in reversed(values):
        value = "true" if version.opted_out else "false"
        yield {"value": value, "timestamp": iso(version.at), "sourceType": "EMAIL"}


def _value(contact: Contact, version: Version, name: str) -> Value:
    """A property as it is compared: times and ids are numbers."""
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


def _shown(name: str, value: Value) -> str | None:
    if isinstance(value, int):
        return iso(value) if name in _DATES else str(value)
    return value


# What is asked for ------------------------------------------------------------------------------------------


def _any_group(groups: Iterable[Any]) -> Callable[[Contact, Version], bool]:
    """Return what tells whether a contact fits any of the groups; without one, all do."""
    made = [_all_filters(group) for group in groups]
    if len(made) > _GROUPS:
        raise invalid(f"Too many filter groups: at most {_GROUPS}")
    return lambda contact, version: not made or any(each(contact, version) for each in made)


def _all_filters(group: Any) -> Callable[[Contact, Version], bool]:
    filters = group.get("filters") if isinstance(group, dict) else None
    if not isinstance(filters, list) or len(filters) > _FILTERS_A_GROUP:
        raise invalid(f"A filter group has a list of at most {_FILTERS_A_GROUP} filters")
    made = [_filter(one) for one in filters]
    return lambda contact, version: all(each(contact, version) for each in made)


def _filter(one: Any) -> Callable[[Contact, Version], bool]:
    if not isinstance(one, dict) or one.get("propertyName") not in _KNOWN:
        name = one.get("propertyName") if isinstance(one, dict) else one
        raise invalid(f"There was a problem with the request: the property {name!r} does not exist")
    name, operator = one["propertyName"], one.get("operator")
    if operator in ("HAS_PROPERTY", "NOT_HAS_PROPERTY"):
        return lambda contact, version: (_value(contact, version, name) is None) == operator.startswith("NOT")
    if operator in ("IN", "NOT_IN"):
        several = {_given(name, value) for value in _list(one, "values")}
        return lambda contact, version: (_value(contact, version, name) in several) == (operator == "IN")
    low = _given(name, one.get("value"))
    high = _given(name, one.get("highValue")) if operator == "BETWEEN" else low
    compare = _COMPARE.get(str(operator))
    if compare is None:
        raise invalid(f"Invalid operator {operator!r} for the property {name}")

    def fits(contact: Contact, version: Version) -> bool:
        value = _value(contact, version, name)
        return value is not None and compare(value, low, high)

    return fits


_COMPARE: dict[str, Callable[[Any, Any, Any], bool]] = {
    "EQ": lambda value, low, _: value == low,
    "NEQ": lambda value, low, _: value != low,
    "LT": lambda value, low, _: value < low,
    "LTE": lambda value, low, _: value <= low,
    "GT": lambda value, low, _: value > low,
    "GTE": lambda value, low, _: value >= low,
    "BETWEEN": lambda value, low, high: low <= value <= high,
}


def _given(name: str, value: Any) -> str | int:
    """A value of a filter; times come as epoch milliseconds or as ISO 8601."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(int(value))
    if not isinstance(value, str):
        raise invalid(f"There was a problem with the request: a filter of {name} has no value")
    if name not in _NUMBERS:
        return value.lower()
    try:
        return int(value) if value.lstrip("-").isdigit() else milliseconds(value)
    except ValueError:
        raise invalid(f"There was a problem with the request: {value!r} is no value of {name}") from None


def _sort(found: list[tuple[Contact, Version]], sorts: list[Any]) -> None:
    if len(sorts) > 1:
        raise invalid("Only one sort is supported")
    for one in sorts:
        name = one.get("propertyName") if isinstance(one, dict) else one
        if name not in _KNOWN:
            raise invalid(f"There was a problem with the request: the property {name!r} does not exist")
        descending = isinstance(one, dict) and one.get("direction") == "DESCENDING"
        found.sort(key=_by(str(name)), reverse=descending)


def _by(name: str) -> Callable[[tuple[Contact, Version]], tuple[bool, Any]]:
    """Return where a contact stands among others, by one of its properties; without a value it comes last."""

    def place(pair: tuple[Contact, Version]) -> tuple[bool, Any]:
        value = _value(*pair, name)
        return (value is None, 0 if value is None else value)

    return place


def _properties(body: dict[str, Any]) -> Sequence[str]:
    given = [name for name in _list(body, "properties") if isinstance(name, str)]
    return (
        [*given, *(name for name in ("hs_object_id",) if name not in given)] if given else DEFAULT_PROPERTIES
    )


def _list(body: dict[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if value is not None and not isinstance(value, list):
        raise invalid(f"Invalid input JSON: {name} must be a list")
    return value or []


def _whole(body: dict[str, Any], name: str, default: int) -> int:
    value = body.get(name)
    if value is None or value == "":
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise invalid(f"Invalid input JSON: {name} must be a whole number") from None
