"""The command ``status``: what the account may still spend, as HubSpot's headers say."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.cli.access import access_of
from airflow_provider_hubprefs.cli.errors import ExitCode, usage
from airflow_provider_hubprefs.cli.output import console, format_of, say, show

if TYPE_CHECKING:
    from argparse import Namespace

    from airflow_provider_hubprefs.hubspot.transport.client import Client


def status(args: Namespace) -> ExitCode:
    """Show the budget, once or again and again."""
    if not args.every > 0:
        usage("--every: expected seconds, more than 0")
    client = access_of(args).client
    account = _account(client)
    value = _look(client, account)
    if not args.watch:
        show(args, value, {"Budget": _rows(value)})
        return ExitCode.DONE
    with suppress(KeyboardInterrupt):  # that is how it ends
        while True:
            match format_of(args):
                case "json":  # one line each
                    say(json.dumps(value))
                case "table":
                    console().clear()
                    show(args, value, {f"Budget at {time.strftime('%H:%M:%S')}, Ctrl-C ends": _rows(value)})
                case _:
                    show(args, [value], {"": [value]})
            time.sleep(args.every)
            value = _look(client, account)
    return ExitCode.DONE


def _look(client: Client, account: dict[str, Any]) -> dict[str, Any]:
    from airflow_provider_hubprefs.hubspot.errors import MissingScopesError

    with suppress(MissingScopesError):  # the headers are there all the same
        client.send(client.calls.get_definitions())
    said = client.pacer.budget
    burst = {"burst": said.burst, "burst_remaining": said.burst_remaining, "burst_seconds": said.interval}
    return {**account, **burst, "daily": said.daily, "daily_remaining": said.daily_remaining}


def _rows(value: dict[str, Any]) -> list[dict[str, Any]]:
    day = f"the day, until midnight in {value['time_zone'] or 'the time zone of the account'}"
    figures = (
        (f"{value['burst_seconds'] or 10:g} seconds", value["burst_remaining"], value["burst"]),
        (day, value["daily_remaining"], value["daily"]),
    )
    return [
        {"requests of": what, "left": "not stated" if of is None else left, "of": of}
        for what, left, of in figures
    ]


def _account(client: Client) -> dict[str, Any]:
    """Portal and time zone, where HubSpot shows them to this token (its guide "Account information API")."""
    from airflow_provider_hubprefs.hubspot.api.calls import Call
    from airflow_provider_hubprefs.hubspot.api.endpoints import Endpoint, dated
    from airflow_provider_hubprefs.hubspot.errors import HubSpotError

    version = dated(client.calls.version)
    path = f"/account-info/{version}/details"
    endpoint = Endpoint(name="account_details", method="GET", path=path)
    found: dict[str, Any] = {}
    with suppress(HubSpotError):
        found = client.send(
            Call(
                endpoint=endpoint,
                version=version,
                path=path,
                body=None,
                read=lambda reply: msgspec.json.decode(reply.body, type=dict),
            )
        )
    return {"portal": found.get("portalId"), "time_zone": found.get("timeZone")}
