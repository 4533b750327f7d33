"""What is served where: one table of HubSpot's endpoints by version, with the scopes each asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from airflow_provider_hubprefs.simulator import contacts, legacy, preferences
from airflow_provider_hubprefs.simulator.definitions import (
    BATCH_READ,
    BATCH_WRITE,
    CONTACTS_READ,
    READ,
    READ_WRITE,
    WRITE,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.simulator.bodies import Answer
    from airflow_provider_hubprefs.simulator.call import Call
    from airflow_provider_hubprefs.simulator.portal import Portal

VERSIONS = ("v3", "v4", "2025-09", "2026-03", "2026-09")
DATED = VERSIONS[1:]
OAUTH_VERSIONS = ("v1", "v3", "2026-03", "2026-09")
ACCOUNT_VERSIONS = ("2026-03", "2026-09")
CRM_VERSIONS = ("v3", "2026-03", "2026-09")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of HubSpot's API.

    :param path: the segments after ``/communication-preferences/{version}``; ``None`` stands for the address.
    :param scopes: alternatives; a token needs all scopes of any one of them.
    :param search: whether it has the CRM search's own limit, and none of the headers of the others.
    """

    name: str
    method: str
    path: tuple[str | None, ...]
    versions: tuple[str, ...]
    scopes: tuple[frozenset[str], ...]
    handler: Callable[[Portal, Call], Answer]
    search: bool = False


def _either(*scopes: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset({scope}) for scope in scopes)


_READS = _either(READ, READ_WRITE)
_WRITES = _either(WRITE, READ_WRITE)
_LINKS = (frozenset({READ, WRITE}), frozenset({READ_WRITE}))
_BATCH = ("statuses", "batch")
_WIDE = "unsubscribe-all"

# The fixed paths come before those with an address and hide them: `statuses/batch/unsubscribe-all` is never the
# opt-out of a subscriber called "batch", whatever the method.
ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("definitions", "GET", ("definitions",), DATED, _READS, preferences.definitions),
    Endpoint("generate_links", "POST", ("links", "generate"), DATED, _LINKS, preferences.generate_links),
    Endpoint("batch_read", "POST", (*_BATCH, "read"), DATED, _either(BATCH_READ), preferences.batch_read),
    Endpoint("batch_write", "POST", (*_BATCH, "write"), DATED, _either(BATCH_WRITE), preferences.batch_write),
    Endpoint(
        "batch_unsubscribe_all",
        "POST",
        (*_BATCH, _WIDE),
        DATED,
        _either(BATCH_WRITE),
        preferences.batch_unsubscribe_all,
    ),
    Endpoint(
        "batch_read_unsubscribe_all",
        "POST",
        (*_BATCH, _WIDE, "read"),
        DATED,
        _either(BATCH_READ),
        preferences.batch_read_unsubscribe_all,
    ),
    Endpoint("get_statuses", "GET", ("statuses", None), DATED, _READS, preferences.get_statuses),
    Endpoint("set_status", "POST", ("statuses", None), DATED, _WRITES, preferences.set_status),
    Endpoint(
        "get_unsubscribe_all",
        "GET",
        ("statuses", None, _WIDE),
        DATED,
        _READS,
        preferences.get_unsubscribe_all,
    ),
    Endpoint(
        "unsubscribe_all", "POST", ("statuses", None, _WIDE), DATED, _WRITES, preferences.unsubscribe_all
    ),
    Endpoint("definitions", "GET", ("definitions",), ("v3",), _READS, legacy.definitions),
    Endpoint("get_status_v3", "GET", ("status", "email", None), ("v3",), _READS, legacy.get_status),
    Endpoint("subscribe", "POST", ("subscribe",), ("v3",), _WRITES, legacy.subscribe),
    Endpoint("unsubscribe", "POST", ("unsubscribe",), ("v3",), _WRITES, legacy.unsubscribe),
)

# Contacts, which the CRM has: their paths have the version in another place (HubSpot's guide "Search the CRM").
_CONTACTS = (
    Endpoint(
        "search_contacts",
        "POST",
        ("search",),
        CRM_VERSIONS,
        _either(CONTACTS_READ),
        contacts.search,
        search=True,
    ),
    Endpoint(
        "batch_read_contacts",
        "POST",
        ("batch", "read"),
        CRM_VERSIONS,
        _either(CONTACTS_READ),
        contacts.batch_read,
    ),
)
CRM: dict[tuple[str, ...], tuple[str, Endpoint]] = {
    (
        "crm",
        *(("v3", "objects") if version == "v3" else ("objects", version)),
        "contacts",
        *map(str, each.path),
    ): (
        version,
        each,
    )
    for version in CRM_VERSIONS
    for each in _CONTACTS
}

# Served beside the preferences, without a bearer token and outside its limits: name, method, path.
OTHERS: dict[tuple[str, ...], tuple[str, str]] = {
    **{("oauth", version, "token"): ("oauth_token", "POST") for version in OAUTH_VERSIONS},
    ("oauth", "v2", "private-apps", "get", "access-token-info"): ("token_info", "POST"),
    **{("account-info", version, "details"): ("account_details", "GET") for version in ACCOUNT_VERSIONS},
}


class Match(NamedTuple):
    """What a path leads to.

    :param allowed: the methods the path has, for a 405.
    """

    name: str = ""
    version: str = ""
    address: str = ""
    endpoint: Endpoint | None = None
    allowed: frozenset[str] = frozenset()


def match(method: str, raw_path: bytes) -> Match:
    """Find the endpoint for a raw path, in which an address is one percent-encoded segment.

    The raw path matters: an encoded ``/`` belongs to the address, a bare one ends it, and ``+`` is a plus.
    """
    try:
        segments = tuple(unquote_to_bytes(each).decode("utf-8") for each in raw_path.split(b"/")[1:])
    except UnicodeDecodeError:
        return Match()
    if segments in OTHERS:
        name, wanted = OTHERS[segments]
        return (
            Match(name, segments[1], allowed=frozenset({wanted}))
            if method != wanted
            else Match(name, segments[1])
        )
    if segments in CRM:
        version, crm = CRM[segments]
        if method != crm.method:
            return Match(version=version, allowed=frozenset({crm.method}))
        return Match(crm.name, version, endpoint=crm)
    if len(segments) < 3 or segments[0] != "communication-preferences":
        return Match()
    version, rest = segments[1], segments[2:]
    allowed: set[str] = set()
    fixed = False
    for endpoint in ENDPOINTS:
        address = _address(endpoint, rest) if version in endpoint.versions else None
        if address is None or (address and fixed):
            continue  # another path; or one read as an address although it is a fixed one
        if endpoint.method == method:
            return Match(endpoint.name, version, address, endpoint)
        allowed.add(endpoint.method)
        fixed = fixed or not address
    return Match(version=version, allowed=frozenset(allowed))


def _address(endpoint: Endpoint, rest: tuple[str, ...]) -> str | None:
    """Return the address a path holds (empty where it has none), or ``None`` when it is another path."""
    if len(rest) != len(endpoint.path):
        return None
    address = ""
    for wanted, found in zip(endpoint.path, rest, strict=True):
        if wanted is None:
            if not found:
                return None
            address = found
        elif wanted != found:
            return None
    return address
