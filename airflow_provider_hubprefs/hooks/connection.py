"""From an Airflow connection to a client, and what such a client may do.

Apart from the hook, so that importing the hook costs nothing: HTTP libraries load when a task runs.
"""

from __future__ import annotations

import logging
from dataclasses import fields as fields_of
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.get_provider_info import CONNECTION_FIELDS
from airflow_provider_hubprefs.hubspot.auth import OAuthRefresh, StaticToken, token_info_call
from airflow_provider_hubprefs.hubspot.client import Client
from airflow_provider_hubprefs.hubspot.endpoints import DEFAULT_VERSION, ENDPOINTS
from airflow_provider_hubprefs.hubspot.errors import HubSpotError, SettingsError
from airflow_provider_hubprefs.hubspot.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_hubprefs.hubspot.auth import Auth

CONN_TYPE = "hubprefs"
_OAUTH_FIELDS = ("client_id", "client_secret", "refresh_token")
_log = logging.getLogger(__name__)


def extra_fields(connection: Connection) -> dict[str, Any]:
    """Fields of the connection's extra that are set, also under the long names of older forms.

    :raises SettingsError: the connection is of another type.
    """
    if connection.conn_type != CONN_TYPE:
        raise SettingsError(
            f"connection {connection.conn_id!r}: expected the type {CONN_TYPE!r}, got {connection.conn_type!r}"
        )
    prefix = f"extra__{CONN_TYPE}__"
    given = {name.removeprefix(prefix): value for name, value in connection.extra_dejson.items()}
    if unknown := sorted(set(given) - set(CONNECTION_FIELDS)):
        _log.warning(
            "connection %r: nobody reads %s in its extra; known fields: %s",
            connection.conn_id,
            ", ".join(unknown),
            ", ".join(CONNECTION_FIELDS),
        )
    return {name: value for name, value in given.items() if value not in (None, "")}


def client_from(
    connection: Connection,
    fields: Mapping[str, Any],
    *,
    api_version: str | None,
    mask: Callable[[str], None],
) -> Client:
    """Make the client of a connection.

    :param fields: of its extra, with overrides.
    :param api_version: overrides the connection's.
    :param mask: told of every secret, to have it masked in logs.
    :raises SettingsError: something cannot work; the text names it.
    """
    return Client(
        _auth(connection, fields, mask),
        version=str(api_version or fields.get("api_version") or DEFAULT_VERSION),
        host=_host(connection),
        settings=_settings(fields),
    )


def brand(value: object) -> int | None:
    """``businessUnitId`` from a form, a URI or a template.

    :raises SettingsError: no whole number.
    """
    if value is None or value == "":
        return None
    try:
        return int(str(value))
    except ValueError:
        raise SettingsError(f"business_unit_id: expected a whole number, got {value!r}") from None


def _auth(connection: Connection, fields: Mapping[str, Any], mask: Callable[[str], None]) -> Auth:
    token = connection.password
    given = [name for name in _OAUTH_FIELDS if fields.get(name)]
    if given == list(_OAUTH_FIELDS) and not token:
        mask(str(fields["client_secret"]))
        mask(str(fields["refresh_token"]))
        return OAuthRefresh(
            client_id=str(fields["client_id"]),
            client_secret=str(fields["client_secret"]),
            refresh_token=str(fields["refresh_token"]),
            version=str(fields.get("oauth_version") or DEFAULT_VERSION),
            on_token=mask,
        )
    if given or not token:
        got = ", ".join([*(["a token"] if token else []), *given]) or "neither"
        raise SettingsError(
            f"connection {connection.conn_id!r}: expected either a token in the password field or "
            f"all of {', '.join(_OAUTH_FIELDS)} in the extra; got {got}"
        )
    mask(token)
    return StaticToken(token)


def _host(connection: Connection) -> str | None:
    """Scheme, host and port, from wherever the connection's form or URI put them."""
    host = connection.host
    if not host:
        return None
    if "://" not in host and connection.schema:
        host = f"{connection.schema}://{host}"
    has_port = ":" in host.partition("://")[2].rpartition("]")[2] if "://" in host else ":" in host
    return f"{host}:{connection.port}" if connection.port and not has_port else host


def _settings(fields: Mapping[str, Any]) -> Settings:
    values: dict[str, Any] = {}
    for field in fields_of(Settings):
        if field.name in fields:
            try:
                values[field.name] = float(fields[field.name])
            except (TypeError, ValueError):
                raise SettingsError(f"{field.name}: expected a number, got {fields[field.name]!r}") from None
    return Settings(**values)


def describe_access(client: Client) -> str:
    """Read the definitions and what HubSpot says of the token; write nothing.

    :param client: of the connection under test.
    :return: portal, kind of token, missing scopes, budget left; no secret.
    :raises HubSpotError: the portal does not answer, or not to this token.
    """
    definitions = client.send(client.calls.get_definitions()).results
    active = sum(definition.is_active is not False for definition in definitions)
    portal, kind, scopes = _token(client)
    return " ".join(
        [
            f"Reached {f'portal {portal}' if portal else 'the portal'} with the API {client.calls.version}:",
            f"{len(definitions)} subscription types, {active} active.",
            f"Token: {kind}.",
            _missing_scopes(client.calls.contract, scopes),
            _budget(client),
        ]
    )


def _token(client: Client) -> tuple[int | None, str, Iterable[str] | None]:
    """Portal, kind and scopes. HubSpot tells them of private apps and OAuth apps; a service key keeps quiet."""
    if isinstance(client.auth, OAuthRefresh):
        return client.auth.hub_id, client.auth.kind, client.auth.scopes
    token = client.auth.token()
    if token is None:  # pragma: no cover - a static token always is there
        return None, client.auth.kind, None
    try:
        info = client.send(token_info_call(token))
    except HubSpotError:
        return None, client.auth.kind, None
    return info.hub_id, "private app", info.scopes


def _missing_scopes(contract: str, scopes: Iterable[str] | None) -> str:
    if scopes is None:
        return "Scopes: HubSpot does not tell for this token."
    held = set(scopes)
    missing: dict[str, list[str]] = {}
    for endpoint in ENDPOINTS[contract].values():
        if not any(alternative <= held for alternative in endpoint.scopes):
            needed = " or ".join(" and ".join(sorted(alternative)) for alternative in endpoint.scopes)
            missing.setdefault(needed, []).append(endpoint.name)
    if not missing:
        return "Scopes: all there."
    told = "; ".join(f"{needed} (for {', '.join(names)})" for needed, names in missing.items())
    hint = (
        " Batch scopes need Marketing Hub Enterprise; without them single calls are made."
        if "batch" in told
        else ""
    )
    return f"Scopes missing: {told}.{hint}"


def _budget(client: Client) -> str:
    said = client.pacer.budget
    if said.burst is None:
        return "Budget: HubSpot did not tell."
    burst = f"{said.burst} requests per {said.interval or 10:g} s"
    if said.daily is None:
        return f"Budget: {burst}; no daily figure for this kind of token."
    return f"Budget: {burst}, {said.daily_remaining} of {said.daily} left today."
