"""What is served where: one table of HubSpot's endpoints, with the scopes that each asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from airflow_provider_hubprefs.simulator.api import account, contacts, preferences
from airflow_provider_hubprefs.simulator.portal.definitions import (
    BATCH_READ,
    BATCH_WRITE,
    CONTACTS_READ,
    READ,
    READ_WRITE,
    WRITE,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.simulator.answers import ApiAnswer
    from airflow_provider_hubprefs.simulator.api.call import ApiCall
    from airflow_provider_hubprefs.simulator.portal.portal import Portal

_DATED = r"2026-0[39]|202[7-9]-0[39]|20[3-9]\d-0[39]"  # HubSpot has one each March and September
PREFERENCES = re.compile(rf"v4|{_DATED}", re.ASCII)
OAUTH = re.compile(rf"v[13]|{_DATED}", re.ASCII)
DATED = re.compile(_DATED, re.ASCII)


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One operation of HubSpot's API.

    :param path: its segments; ``{version}`` is any that ``versions`` matches, ``{subscriber}`` an address.
    :param scopes: alternatives; a token needs all scopes of any one of them. Without any, none is needed.
    :param search: whether it has the CRM search's own limit, and none of the headers of the others.
    """

    name: str
    method: str
    path: tuple[str, ...]
    handler: Callable[[Portal, ApiCall], ApiAnswer]
    scopes: tuple[frozenset[str], ...] = ()
    versions: re.Pattern[str] = PREFERENCES
    search: bool = False

    def parameters(self, segments: tuple[str, ...]) -> dict[str, str] | None:
        """Return what the variable segments of a path hold, or ``None`` when it is another path."""
        if len(segments) != len(self.path):
            return None
        found = {}
        for wanted, segment in zip(self.path, segments, strict=True):
            if wanted == "{subscriber}" and segment:
                found["subscriber"] = segment
            elif wanted == "{version}" and self.versions.fullmatch(segment):
                found["version"] = segment
            elif wanted.startswith("{") or wanted != segment:
                return None
        return found


def _any_of(*scopes: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset({scope}) for scope in scopes)


_READS = _any_of(READ, READ_WRITE)
_WRITES = _any_of(WRITE, READ_WRITE)
_LINKS = (frozenset({READ, WRITE}), frozenset({READ_WRITE}))
_BATCH_READS, _BATCH_WRITES, _CONTACTS = _any_of(BATCH_READ), _any_of(BATCH_WRITE), _any_of(CONTACTS_READ)
_ROOT = ("communication-preferences", "{version}")
_BATCH = (*_ROOT, "statuses", "batch")
_ONE = (*_ROOT, "statuses", "{subscriber}")
_WIDE = "unsubscribe-all"

# The fixed paths come before those with an address and hide them: `statuses/batch/unsubscribe-all` is never the
# opt-out of a subscriber called "batch", whatever the method.
ROUTES: tuple[ApiRoute, ...] = (
    ApiRoute("definitions", "GET", (*_ROOT, "definitions"), preferences.definitions, _READS),
    ApiRoute("generate_links", "POST", (*_ROOT, "links", "generate"), preferences.generate_links, _LINKS),
    ApiRoute("batch_read", "POST", (*_BATCH, "read"), preferences.batch_read, _BATCH_READS),
    ApiRoute("batch_write", "POST", (*_BATCH, "write"), preferences.batch_write, _BATCH_WRITES),
    ApiRoute(
        "batch_unsubscribe_all", "POST", (*_BATCH, _WIDE), preferences.batch_unsubscribe_all, _BATCH_WRITES
    ),
    ApiRoute(
        "batch_read_unsubscribe_all",
        "POST",
        (*_BATCH, _WIDE, "read"),
        preferences.batch_read_unsubscribe_all,
        _BATCH_READS,
    ),
    ApiRoute("get_statuses", "GET", _ONE, preferences.get_statuses, _READS),
    ApiRoute("set_status", "POST", _ONE, preferences.set_status, _WRITES),
    ApiRoute("get_unsubscribe_all", "GET", (*_ONE, _WIDE), preferences.get_unsubscribe_all, _READS),
    ApiRoute("unsubscribe_all", "POST", (*_ONE, _WIDE), preferences.unsubscribe_all, _WRITES),
    *(
        ApiRoute(name, "POST", (*root, "contacts", *path), handler, _CONTACTS, DATED, search)
        for root in (("crm", "v3", "objects"), ("crm", "objects", "{version}"))
        for name, path, handler, search in (
            ("search_contacts", ("search",), contacts.search, True),
            ("batch_read_contacts", ("batch", "read"), contacts.batch_read, False),
        )
    ),
    ApiRoute("oauth_token", "POST", ("oauth", "{version}", "token"), account.refresh, versions=OAUTH),
    ApiRoute(
        "token_info", "POST", ("oauth", "v2", "private-apps", "get", "access-token-info"), account.token_info
    ),
)


class RouteMatch(NamedTuple):
    """Where a path leads.

    :param route: ``None`` where nothing is served.
    :param allowed: the methods the path has, for a 405.
    """

    route: ApiRoute | None = None
    version: str = ""
    address: str = ""
    allowed: frozenset[str] = frozenset()


def match(method: str, raw_path: bytes) -> RouteMatch:
    """Find the route for a raw path, in which an address is one percent-encoded segment.

    The raw path matters: an encoded ``/`` belongs to the address, a bare one ends it, and ``+`` is a plus.
    """
    try:
        segments = tuple(unquote_to_bytes(each).decode("utf-8") for each in raw_path.split(b"/")[1:])
    except UnicodeDecodeError:
        return RouteMatch()
    allowed: set[str] = set()
    fixed = False
    for route in ROUTES:
        found = route.parameters(segments)
        if found is None or (fixed and "subscriber" in found):
            continue
        if route.method == method:
            return RouteMatch(route, found.get("version", ""), found.get("subscriber", ""))
        allowed.add(route.method)
        fixed = fixed or "subscriber" not in found
    return RouteMatch(allowed=frozenset(allowed))
