"""What is served where: one table of HubSpot's endpoints, with the scopes that each asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

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


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One operation of HubSpot's API.

    :param path: a pattern of the raw path; its group ``subscriber`` is an address, ``version`` an API version.
    :param scopes: alternatives; a token needs all scopes of any one of them. Without any, no token is needed.
    :param search: whether it has the CRM search's own limit, and none of the headers of the others.
    """

    name: str
    method: str
    path: str
    handler: Callable[[Portal, ApiCall], ApiAnswer]
    scopes: tuple[frozenset[str], ...] = ()
    search: bool = False


def _any_of(*scopes: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset({scope}) for scope in scopes)


_READS = _any_of(READ, READ_WRITE)
_WRITES = _any_of(WRITE, READ_WRITE)
_LINKS = (frozenset({READ, WRITE}), frozenset({READ_WRITE}))
_BATCH_READS, _BATCH_WRITES, _CONTACTS = _any_of(BATCH_READ), _any_of(BATCH_WRITE), _any_of(CONTACTS_READ)
_DATED = r"20(?:2[6-9]|[3-9][0-9])-0[39]"  # HubSpot has a version each March and September
_ROOT = f"/communication-preferences/(?P<version>v4|{_DATED})"
_BATCH = f"{_ROOT}/statuses/batch"
# `statuses/batch/unsubscribe-all` is never the opt-out of a subscriber called "batch", whatever the method.
_ONE = f"{_ROOT}/statuses/(?!batch/)(?P<subscriber>[^/]+)"
_CRM = f"/crm/objects/(?P<version>{_DATED})/contacts"

ROUTES: tuple[ApiRoute, ...] = (
    ApiRoute("definitions", "GET", f"{_ROOT}/definitions", preferences.definitions, _READS),
    ApiRoute("generate_links", "POST", f"{_ROOT}/links/generate", preferences.generate_links, _LINKS),
    ApiRoute("batch_read", "POST", f"{_BATCH}/read", preferences.batch_read, _BATCH_READS),
    ApiRoute("batch_write", "POST", f"{_BATCH}/write", preferences.batch_write, _BATCH_WRITES),
    ApiRoute(
        "batch_unsubscribe_all",
        "POST",
        f"{_BATCH}/unsubscribe-all",
        preferences.batch_unsubscribe_all,
        _BATCH_WRITES,
    ),
    ApiRoute(
        "batch_read_unsubscribe_all",
        "POST",
        f"{_BATCH}/unsubscribe-all/read",
        preferences.batch_read_unsubscribe_all,
        _BATCH_READS,
    ),
    ApiRoute("get_statuses", "GET", _ONE, preferences.get_statuses, _READS),
    ApiRoute("set_status", "POST", _ONE, preferences.set_status, _WRITES),
    ApiRoute(
        "get_unsubscribe_all", "GET", f"{_ONE}/unsubscribe-all", preferences.get_unsubscribe_all, _READS
    ),
    ApiRoute("unsubscribe_all", "POST", f"{_ONE}/unsubscribe-all", preferences.unsubscribe_all, _WRITES),
    ApiRoute("search_contacts", "POST", f"{_CRM}/search", contacts.search, _CONTACTS, search=True),
    ApiRoute("batch_read_contacts", "POST", f"{_CRM}/batch/read", contacts.batch_read, _CONTACTS),
    ApiRoute("oauth_token", "POST", f"/oauth/(?P<version>{_DATED})/token", account.refresh),
    ApiRoute("token_info", "POST", "/oauth/v2/private-apps/get/access-token-info", account.token_info),
)


def match(method: str, path: str) -> tuple[ApiRoute | None, dict[str, str]]:
    """Find the route for a raw path, and what the groups of its pattern hold; ``None`` where nothing is served.

    The raw path matters: an encoded ``/`` belongs to the address, a bare one ends it, and ``+`` is a plus.
    """
    for route in ROUTES:
        if route.method == method and (found := re.fullmatch(route.path, path)):
            return route, found.groupdict()
    return None, {}
