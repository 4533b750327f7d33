"""What a command works with: credentials from a flag, the environment or a connection; paths that the user typed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.cli.errors import CommandError, ExitCode, usage

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    from airflow_provider_hubprefs.hubspot.transport.client import Client


@dataclass(frozen=True)
class Access:
    """A portal, and the brand that commands use."""

    client: Client
    brand: int | None


def access_of(args: Namespace, settings: Mapping[str, float] | None = None) -> Access:
    """Find the credentials, note in ``args`` where they were, and make a client.

    A token needs no Airflow, which is not imported then.

    :param settings: of the client, instead of the usual ones.
    :raises CommandError: there are none; the text says where they were looked for.
    :raises SettingsError: they cannot work.
    """
    if args.token_file and args.conn_id:
        usage("expected one of --token-file and --conn-id, got both")
    if args.token_file:
        args.credentials = "the token of --token-file"
        token = sys.stdin.readline() if args.token_file == "-" else Path(args.token_file).read_text()  # noqa: S105
        return _by_token(args, token.strip(), settings or {})
    if not args.conn_id and (token := os.environ.get("HUBPREFS_TOKEN", "")):
        args.credentials = "HUBPREFS_TOKEN"
        return _by_token(args, token, settings or {})
    if args.host:
        usage("--host goes with a token (--token-file, HUBPREFS_TOKEN); a connection has a host of its own")
    return _by_connection(args, args.conn_id or "hubprefs_default", settings or {})


def _by_token(args: Namespace, token: str, settings: Mapping[str, float]) -> Access:
    from airflow_provider_hubprefs.hooks.connection import brand
    from airflow_provider_hubprefs.hubspot.api.endpoints import DEFAULT_VERSION
    from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
    from airflow_provider_hubprefs.hubspot.transport.client import Client
    from airflow_provider_hubprefs.hubspot.transport.settings import settings_from

    said = os.environ.get
    client = Client(
        StaticToken(token),
        version=args.api_version or said("HUBPREFS_API_VERSION") or DEFAULT_VERSION,
        host=args.host or said("HUBPREFS_HOST"),
        settings=settings_from(settings),
        budget_store=said("HUBPREFS_BUDGET_STORE") or "file",
    )
    return Access(client, brand(args.brand or said("HUBPREFS_BRAND")))


def _by_connection(args: Namespace, name: str, settings: Mapping[str, float]) -> Access:
    use_airflow_as_library()
    from airflow_provider_hubprefs.compat import AirflowNotFoundException
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

    args.credentials = f"the connection {name!r}"
    hook = HubPrefsHook(name, args.api_version, business_unit_id=args.brand, settings=settings)
    try:
        return Access(hook.client, hook.business_unit_id)
    except AirflowNotFoundException:
        args.credentials = None
        others = "--token-file and --conn-id are not given, HUBPREFS_TOKEN is not set, and "
        text = f"no credentials: {'' if args.conn_id else others}the connection {name!r} is not in "
        text += (
            f"AIRFLOW_CONN_{name.upper()}, a secrets backend, or Airflow's database ('airflow hubprefs' only)"
        )
        raise CommandError(text, ExitCode.CREDENTIALS) from None


def use_airflow_as_library() -> None:
    """Have Airflow make no home and open no database, unless it is there already."""
    if "airflow" not in sys.modules:
        os.environ.setdefault("_AIRFLOW__AS_LIBRARY", "1")


def path_of(text: str) -> Any:
    """A path of the local file system, which needs no Airflow, or in a store that Airflow knows.

    :raises SourceError: the provider of its store is not installed.
    """
    if "://" not in text:
        return Path(text).expanduser()
    from airflow_provider_hubprefs.operators._files import path_at

    return path_at(text)
