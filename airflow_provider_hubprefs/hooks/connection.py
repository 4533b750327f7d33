"""Makes a client from an Airflow connection, and describes what the connection can do.

The hook imports this module when a task runs, so that importing the hook loads no HTTP library.
"""

from __future__ import annotations

import asyncio
import json
import logging
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec

from airflow_provider_hubprefs import compat
from airflow_provider_hubprefs.arguments import is_absent
from airflow_provider_hubprefs.get_provider_info import CONNECTION_FIELDS
from airflow_provider_hubprefs.hubspot.api.endpoints import DEFAULT_VERSION, ENDPOINTS, READ, VERSIONS
from airflow_provider_hubprefs.hubspot.errors import (
    ConnectionFailedError,
    HubSpotError,
    MissingScopesError,
    NotFoundError,
    SettingsError,
)
from airflow_provider_hubprefs.hubspot.privacy import shown
from airflow_provider_hubprefs.hubspot.transport.auth import OAuthRefresh, StaticToken, token_info_call
from airflow_provider_hubprefs.hubspot.transport.host import DEFAULT_HOST
from airflow_provider_hubprefs.hubspot.transport.sender import Sender
from airflow_provider_hubprefs.hubspot.transport.settings import Settings, settings_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider_hubprefs.compat import Connection
    from airflow_provider_hubprefs.hubspot.api.models import Definition
    from airflow_provider_hubprefs.hubspot.transport.auth import Auth
    from airflow_provider_hubprefs.hubspot.transport.client import Client

C = TypeVar("C", bound=Sender)
CONN_TYPE = "hubprefs"
_OAUTH_FIELDS = ("client_id", "client_secret", "refresh_token")
_Brand = Annotated[int, msgspec.Meta(ge=0)]
TEST_SETTINGS = {"connect_timeout": 5, "read_timeout": 10, "retry_total": 5, "migrating_max_wait": 0}
"""Settings of a connection test: a person waits for it, and Airflow gives up after a minute."""

TEST_SECONDS = 18.0
"""Seconds after which a connection test is given up."""

_WRITES = ("unsubscribe_all",)
_BATCHES = ("batch_get_statuses", "batch_set_statuses")
"""Endpoints whose scopes are all that writing and batches need."""

_log = logging.getLogger(__name__)


def mask_secret(secret: str) -> None:
    """Airflow's, imported when it is used: the command line needs none with a token."""
    compat.mask_secret(secret)


def mask_locally(secret: str) -> None:
    """Airflow's, imported when it is used."""
    compat.mask_locally(secret)


def extra_fields(connection: Connection) -> dict[str, Any]:
    """Fields of the connection's extra that are set.

    Airflow's ``extra_dejson`` reads an extra that is not JSON as empty: a brand would be lost.

    :raises SettingsError: the connection has another type, or its extra is not a JSON object.
    """
    name = f"connection {connection.conn_id!r}"
    if connection.conn_type != CONN_TYPE:
        raise SettingsError(
            f"{name}: expected the type {CONN_TYPE!r}, got {connection.conn_type!r}; "
            "change its type, or name another connection"
        )
    try:
        extra = json.loads(connection.extra or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise SettingsError(f"{name}: expected a JSON object in its extra, such as {{}}; got something else")
    fields = {field: value for field, value in extra.items() if value not in (None, "")}
    known = dict.fromkeys((*CONNECTION_FIELDS, *Settings.__struct_fields__))
    if unknown := sorted(set(fields) - set(known)):
        _log.warning(
            "%s: unknown fields in its extra: %s; known ones: %s", name, ", ".join(unknown), ", ".join(known)
        )
    return fields


def client_from(
    make: Callable[..., C],
    connection: Connection,
    fields: Mapping[str, Any],
    *,
    api_version: str | None,
    settings: Mapping[str, float],
    max_budget_share: float,
    budget_connection: Connection | None = None,
    in_loop: bool = False,
) -> C:
    """Make the client of a connection, and have its secrets masked in logs.

    :param make: the kind of client.
    :param fields: of the connection's extra.
    :param api_version: overrides the connection's.
    :param settings: override the connection's, which must be valid as well.
    :param max_budget_share: so much of the account's budget for this client, at most.
    :param budget_connection: of the Redis that keeps the budget, if ``budget_conn_id`` names one.
    :param in_loop: the client is for an event loop, such as the triggerer's. Then secrets are masked in this process
        only. Airflow's ``mask_secret`` sends them to the supervisor as well and waits for its answer; before 3.2.2
        another thread's message makes the triggerer read the answers of all others out of order, and it ends
        (apache/airflow#64620). The supervisor masks what it reads of a connection by itself.
    :raises SettingsError: something cannot work; the text names the connection and it.
    """
    mask = mask_locally if in_loop else mask_in_task
    # It loads Airflow, which a command with a token does not.
    from airflow_provider_hubprefs.telemetry import observer_for  # noqa: PLC0415

    version = fields.get("api_version") if is_absent(api_version) else api_version
    try:
        client = make(
            _auth(connection, fields, mask),
            version=str(DEFAULT_VERSION if is_absent(version) else version),
            host=_host(connection),
            settings=_settings(fields, settings),
            budget_store=_budget_store(fields, budget_connection, mask),
            max_budget_share=max_budget_share,
        )
    except SettingsError as error:
        raise SettingsError(f"connection {connection.conn_id!r}: {error}") from None
    client.observer = observer_for(connection.conn_id)
    return client


def _budget_store(
    fields: Mapping[str, Any], budget_connection: Connection | None, mask: Callable[[str], None]
) -> str:
    """Where the budget is kept.

    Airflow shows an extra field of this name in its UI and API, so a password has no place in it.

    :raises SettingsError: there is one, or the connection of the budget is none.
    """
    store = str(fields.get("budget_store") or "file").strip()
    with suppress(ValueError):  # opening the store raises the error
        place = urlsplit(store)
        secrets = [unquote(place.password or ""), *dict(parse_qsl(place.query)).get("password", "").split()]
        for secret in filter(None, secrets):
            mask(secret)
        if any(secrets):
            raise SettingsError(
                "budget_store: has a password, which Airflow shows to everybody who sees the connection; "
                "make a connection of the type redis and name it in budget_conn_id instead"
            )
    if budget_connection is None:
        return store
    if fields.get("budget_store"):
        raise SettingsError("expected one of budget_store and budget_conn_id, got both")
    return _redis_url(budget_connection, mask)


def _redis_url(connection: Connection, mask: Callable[[str], None]) -> str:
    """The URL of a connection of Airflow's type ``redis`` (``rediss`` with ``"ssl": true`` in its extra)."""
    if connection.conn_type not in {"redis", "rediss"}:
        raise SettingsError(
            f"budget_conn_id: expected a connection of the type redis, got {connection.conn_type!r}"
        )
    extra = connection.extra_dejson
    if connection.password:
        mask(connection.password)
    user, password, host = (
        quote(text or "", safe="") for text in (connection.login, connection.password, connection.host)
    )
    at = f"{user}:{password}@" if password else ""
    scheme = (
        "rediss" if connection.conn_type == "rediss" or str(extra.get("ssl")).lower() == "true" else "redis"
    )
    options = urlencode({name: value for name, value in extra.items() if name.startswith("ssl_") and value})
    database = extra.get("db") or connection.schema or 0
    place = f"{host or 'localhost'}:{connection.port or 6379}/{database}"
    return f"{scheme}://{at}{place}" + (f"?{options}" if options else "")


def brand(value: object) -> int | None:
    """``businessUnitId`` from an argument, a form, a URI or a template.

    :raises SettingsError: no whole number of at least 0.
    """
    if is_absent(value):
        return None
    try:
        return msgspec.convert(value.strip() if isinstance(value, str) else value, _Brand, strict=False)
    except msgspec.ValidationError:
        raise SettingsError(
            f"business_unit_id: expected a brand's whole number (0 is the account's own), got {shown(value)}"
        ) from None


def _auth(connection: Connection, fields: Mapping[str, Any], mask: Callable[[str], None]) -> Auth:
    token = connection.password
    for secret in (token, fields.get("client_secret"), fields.get("refresh_token")):
        if secret:
            mask(str(secret))
    given = [name for name in _OAUTH_FIELDS if fields.get(name)]
    if given == list(_OAUTH_FIELDS) and not token:
        return OAuthRefresh(
            client_id=str(fields["client_id"]),
            client_secret=str(fields["client_secret"]),
            refresh_token=str(fields["refresh_token"]),
            on_token=mask,
        )
    if token and not given:
        return StaticToken(token)
    got = [
        *(["a token"] if token else []),
        *given,
        *(["a login, which is not read"] if connection.login else []),
    ]
    raise SettingsError(
        f"expected either a token in the field Token (the password) or all of {', '.join(_OAUTH_FIELDS)} (OAuth); "
        f"got {', '.join(got) or 'neither'}"
    )


def _host(connection: Connection) -> str:
    """Scheme, host and port, as a connection's form, JSON or URI give them.

    Airflow's URI parser removes the port and an IPv6 address's brackets, and leaves the scheme before the host
    (``hubprefs://http://...``) or in ``schema`` (``hubprefs://.../http``).
    """
    if connection.schema and connection.schema.lower() not in {"http", "https"}:
        raise SettingsError(
            "schema (what stands behind the host in a URI): expected https or nothing, got something else; "
            "the API's path is not part of a connection"
        )
    scheme, _, host = (connection.host or DEFAULT_HOST).strip().rstrip("/").rpartition("://")
    if host == "::1":
        host = "[::1]"
    if connection.port and ":" not in host.rpartition("]")[2]:
        host = f"{host}:{connection.port}"
    return f"{scheme or connection.schema or 'https'}://{host}"


def _settings(fields: Mapping[str, Any], overrides: Mapping[str, Any]) -> Settings:
    names = Settings.__struct_fields__
    if unknown := sorted(set(overrides) - set(names)):
        raise SettingsError(f"settings: expected some of {', '.join(names)}; got {', '.join(unknown)}")
    return settings_from(overrides, defaults=settings_from(fields))


def mask_in_task(secret: str) -> None:
    """Have a secret masked in logs, here and in the supervisor; in an event loop, here only (see ``in_loop``)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        mask_secret(secret)
    else:
        mask_locally(secret)


def describe_in_time(client: Client, *, business_unit_id: int | None) -> tuple[bool, str]:
    """See :func:`describe_access`; it is given up after :data:`TEST_SECONDS`, whatever it waits for.

    Time-outs do not bound the look-up of a name, nor the attempts to reach each of its addresses.
    """
    answer: Future[tuple[bool, str]] = Future()

    def describe() -> None:
        try:
            with client:
                answer.set_result(describe_access(client, business_unit_id=business_unit_id))
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is awaited
            answer.set_exception(error)

    Thread(target=describe, name="hubprefs connection test", daemon=True).start()
    try:
        return answer.result(TEST_SECONDS)
    except TimeoutError:
        client.stop()
        raise ConnectionFailedError(
            f"{client.url} did not answer in {TEST_SECONDS:.0f} s, or the account's budget has no request left"
        ) from None


def describe_access(client: Client, *, business_unit_id: int | None) -> tuple[bool, str]:
    """Read the definitions and what HubSpot says of the token; write nothing.

    :param client: of the connection under test.
    :param business_unit_id: of that connection.
    :return: whether the token can read and, as far as HubSpot shows its scopes, write; and a line each of what it can
        and cannot do, of the portal, the token and the budget; no secret.
    :raises HubSpotError: the portal does not answer, or not to this token.
    """
    definitions: list[Definition] | None = None
    with suppress(MissingScopesError):
        definitions = client.send(client.calls.get_definitions()).results
    portal, kind, scopes = _token(client)
    write, batch = (_lacking(scopes, *names) for names in (_WRITES, _BATCHES))
    lines = [
        _can("read", READ if definitions is None else ""),
        _can("write", write, ", so nothing would be opted out"),
        _can("batch", batch, ", so each subscriber takes a request", " (Marketing Hub Enterprise has them)"),
        _portal(client, portal, business_unit_id, definitions),
        f"Token: {kind}.",
        _budget(client),
    ]
    return definitions is not None and not write, "\n".join(lines)


def _can(what: str, lacking: str | None, otherwise: str = "", where: str = "") -> str:
    if lacking is None:
        return (
            f"Can {what}: unknown, as HubSpot does not show this token's scopes, and the test writes nothing."
        )
    return f"Cannot {what}{otherwise}: grant the token {lacking}{where}." if lacking else f"Can {what}."


def _portal(
    client: Client, portal: int | None, business_unit_id: int | None, definitions: list[Definition] | None
) -> str:
    version = client.calls.version
    parts = [
        f"Portal {portal or 'of unknown id'}",
        *([] if business_unit_id is None else [f"brand {business_unit_id}"]),
        f"API {version}" + ("" if version in VERSIONS else f", used like {VERSIONS[-1]}"),
    ]
    if definitions is not None:
        active = sum(definition.is_active is not False for definition in definitions)
        parts.append(f"{len(definitions)} subscription types, {active} active")
    return f"{', '.join(parts)}."


def _token(client: Client) -> tuple[int | None, str, Iterable[str] | None]:
    """Portal, kind and scopes, as far as HubSpot shows them.

    To a client a service key looks like a private app's token (HubSpot's guide to service keys). A token that works
    but is unknown as either may be an OAuth access token: that has no daily figures, and ends within the hour.
    """
    auth = client.auth
    if isinstance(auth, OAuthRefresh):
        return auth.hub_id, auth.kind, auth.scopes
    try:
        info = client.send(token_info_call(auth.access_token))
    except NotFoundError:
        if client.pacer.budget.daily is None:
            return (
                None,
                "perhaps an OAuth access token, which expires soon; fill in the OAuth fields instead",
                None,
            )
        return None, "service key", None
    except HubSpotError:
        return None, auth.kind, None
    return info.hub_id, auth.kind, info.scopes


def _lacking(scopes: Iterable[str] | None, *endpoints: str) -> str | None:
    """The narrowest scopes that are missing for these endpoints, as text; None: HubSpot shows no scopes."""
    if scopes is None:
        return None
    held = set(scopes)
    wanted = [ENDPOINTS[name].scopes for name in endpoints]
    return " and ".join(
        " and ".join(sorted(each[0])) for each in wanted if not any(one <= held for one in each)
    )


def _budget(client: Client) -> str:
    said = client.pacer.budget
    if said.burst is None:
        return "Budget: HubSpot did not show it."
    burst = f"{said.burst} requests per {said.interval or 10:g} s"
    if said.daily is None:
        return f"Budget: {burst}; no daily figure for this kind of token."
    return f"Budget: {burst}, {said.daily_remaining or 0:,} of {said.daily:,} left today."
