"""The ten endpoints of the API, its versions, and how an address becomes part of a path.

The table follows HubSpot's OpenAPI documents: v4, 2026-03 and 2026-09 offer the same operations.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from airflow_provider_hubprefs.hubspot.errors import SettingsError, ValidationError
from airflow_provider_hubprefs.hubspot.privacy import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSIONS = ("v4", "2026-03", "2026-09")
DEFAULT_VERSION = VERSIONS[-1]

READ = "communication_preferences.read"
WRITE = "communication_preferences.write"
READ_WRITE = "communication_preferences.read_write"
BATCH_READ = "communication_preferences.statuses.batch.read"
BATCH_WRITE = "communication_preferences.statuses.batch.write"

Scopes = tuple[frozenset[str], ...]
"""Alternatives: any one set is enough, and of that set every scope is needed."""

_READS: Scopes = (frozenset({READ}), frozenset({READ_WRITE}))
_WRITES: Scopes = (frozenset({WRITE}), frozenset({READ_WRITE}))
_LINKS: Scopes = (frozenset({READ, WRITE}), frozenset({READ_WRITE}))
_BATCH_READS: Scopes = (frozenset({BATCH_READ}),)
_BATCH_WRITES: Scopes = (frozenset({BATCH_WRITE}),)


class UnknownVersionWarning(UserWarning):
    """An API version newer than this package; it is used like the newest known one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One operation of the API.

    :param name: what it is called here; also the hook's method.
    :param path: below ``/communication-preferences/{version}/``, or absolute for HubSpot's other APIs.
    :param scopes: alternatives, see :data:`Scopes`.
    :param paced: whether it counts against the account's burst limit.
    :param search: whether it has the CRM search's limit instead, see :func:`~.store.search_pacer`.
    """

    name: str
    method: str
    path: str
    scopes: Scopes = ()
    paced: bool = True
    search: bool = False


_STATUSES = "statuses/{subscriberIdString}"
_ALL = (
    Endpoint(name="get_definitions", method="GET", path="definitions", scopes=_READS),
    Endpoint(name="generate_links", method="POST", path="links/generate", scopes=_LINKS),
    Endpoint(name="get_statuses", method="GET", path=_STATUSES, scopes=_READS),
    Endpoint(name="set_status", method="POST", path=_STATUSES, scopes=_WRITES),
    Endpoint(name="get_unsubscribe_all", method="GET", path=f"{_STATUSES}/unsubscribe-all", scopes=_READS),
    Endpoint(name="unsubscribe_all", method="POST", path=f"{_STATUSES}/unsubscribe-all", scopes=_WRITES),
    Endpoint(name="batch_get_statuses", method="POST", path="statuses/batch/read", scopes=_BATCH_READS),
    Endpoint(name="batch_set_statuses", method="POST", path="statuses/batch/write", scopes=_BATCH_WRITES),
    Endpoint(
        name="batch_unsubscribe_all",
        method="POST",
        path="statuses/batch/unsubscribe-all",
        scopes=_BATCH_WRITES,
    ),
    Endpoint(
        name="batch_get_unsubscribe_all",
        method="POST",
        path="statuses/batch/unsubscribe-all/read",
        scopes=_BATCH_READS,
    ),
)

ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType({endpoint.name: endpoint for endpoint in _ALL})
"""All of them, by name."""

_DATED = re.compile(r"\d{4}-(03|09)", re.ASCII)


def check_version(version: str) -> None:
    """Check an API version.

    HubSpot publishes a version each March and September, so far with the same ten operations. A version newer than
    this package is therefore used like the newest known one, with a warning.

    :param version: ``v4`` or ``YYYY-MM``.
    :raises SettingsError: a version that HubSpot has ended, or that cannot exist.
    """
    if version in VERSIONS:
        return
    if not (isinstance(version, str) and _DATED.fullmatch(version) and version > VERSIONS[-1]):
        raise SettingsError(
            f"api_version: {shown(version)} is not supported; expected {', '.join(VERSIONS)} or a later YYYY-MM "
            "(HubSpot publishes one each March and September)"
        )
    warnings.warn(
        f"api_version {version!r} is newer than this release; it is used like {VERSIONS[-1]}. "
        "Check for a newer airflow-provider-hubprefs.",
        UnknownVersionWarning,
        stacklevel=3,
    )


def dated(version: str) -> str:
    """The version for HubSpot's other APIs, which have no v4.

    :param version: that :func:`check_version` accepts.
    """
    return DEFAULT_VERSION if version == "v4" else version


def path_of(endpoint: Endpoint, *, version: str, subscriber: str | None = None) -> str:
    """Absolute path of an endpoint, the address in it percent-encoded to the last character.

    :param endpoint: which.
    :param version: for the URL; it may be newer than the newest known one.
    :param subscriber: the address, for paths that have one.
    :raises ValidationError: not an address, so that it could change the path's meaning (``..``).
    """
    path = endpoint.path
    if not path.startswith("/"):
        path = f"/communication-preferences/{version}/{path}"
    if "{" not in path:
        return path
    encoded = quote(check_subscriber(subscriber), safe="")
    return re.sub(r"\{\w+\}", lambda _: encoded, path)


_PLAIN = re.compile(r"[!-~]+@[!-?A-~]+", re.ASCII)
"""Nearly every address; only others are examined more closely."""


def check_subscriber(subscriber: object) -> str:
    """Refuse what cannot be an address; HubSpot decides about the rest.

    :return: the address as it was given.
    :raises ValidationError: without the value in its text.
    """
    if not isinstance(subscriber, str):
        raise ValidationError(f"subscriber: expected text, got {type(subscriber).__name__}")
    if _PLAIN.fullmatch(subscriber):
        return subscriber
    local, at, domain = subscriber.rpartition("@")
    sendable = subscriber.isascii() or not any("\ud800" <= one <= "\udfff" for one in subscriber)
    if not (at and local and domain and sendable) or subscriber != subscriber.strip():
        raise ValidationError(
            "subscriber: expected an e-mail address such as name@example.com, "
            f"got {len(subscriber)} other characters"
        )
    return subscriber


def query_of(values: Mapping[str, object]) -> str:
    """Query string, with a question mark before it, of the values that are not None; empty without any.

    :param values: by HubSpot's parameter names.
    """
    given = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in values.items()
        if value is not None
    }
    return f"?{urlencode(given)}" if given else ""
