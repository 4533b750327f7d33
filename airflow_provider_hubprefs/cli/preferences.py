"""Commands about the portal and one subscriber: ``check``, ``definitions``, ``get``, ``set``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.cli.access import access_of
from airflow_provider_hubprefs.cli.errors import CommandError, ExitCode, usage
from airflow_provider_hubprefs.cli.output import confirm, show

if TYPE_CHECKING:
    from argparse import Namespace


def check(args: Namespace) -> ExitCode:
    """Say what the credentials can do, by reads only."""
    from airflow_provider_hubprefs.hooks.connection import TEST_SETTINGS, describe_in_time

    access = access_of(args, TEST_SETTINGS)
    enough, text = describe_in_time(access.client, business_unit_id=access.brand)
    said = text.splitlines()
    value = {"ok": enough, "credentials": args.credentials, "host": access.client.url, "says": said}
    lines = [*said, f"Credentials: {args.credentials}, for {access.client.url}."]
    show(args, value, {"": [{"check": line} for line in lines]})
    return ExitCode.DONE if enough else ExitCode.CREDENTIALS


def definitions(args: Namespace) -> ExitCode:
    """List the portal's subscriptions."""
    access = access_of(args)
    found = access.client.send(access.client.calls.get_definitions(business_unit_id=access.brand)).results
    rows = [
        {
            "id": one.id,
            "name": one.name,
            "purpose": one.purpose,
            "active": one.is_active is not False,
            "brand": one.business_unit_id,
        }
        for one in sorted(found, key=lambda one: (one.is_active is False, one.name))
    ]
    show(args, rows, {"Subscriptions": rows})
    return ExitCode.DONE


def get(args: Namespace) -> ExitCode:
    """Show a subscriber's statuses and opt-outs."""
    subscriber, access = _subscriber(args), access_of(args)
    calls, send = access.client.calls, access.client.send
    opt_outs = [
        {"brand": one.business_unit_id, "status": one.status, "since": _time(one.timestamp)}
        for one in send(calls.get_unsubscribe_all(subscriber, business_unit_id=access.brand)).results
    ]
    statuses = [
        {
            "id": one.subscription_id,
            "name": one.subscription_name,
            "status": one.status,
            "legal_basis": one.legal_basis,
            "since": _time(one.timestamp),
        }
        for one in send(calls.get_statuses(subscriber, business_unit_id=access.brand)).results
    ]
    opted_out = any(one["status"] == "UNSUBSCRIBED" for one in opt_outs)
    value = {"subscriber": subscriber, "opted_out": opted_out, "opt_outs": opt_outs, "statuses": statuses}
    summary = [{"subscriber": subscriber, "opted_out": opted_out}]
    show(args, value, {"": summary, "Opt-outs": opt_outs, "Statuses": statuses})
    return ExitCode.DONE


def set(args: Namespace) -> ExitCode:  # noqa: A001 - the command's name
    """Set a subscriber's status for one subscription, with the guards of the operators."""
    from airflow_provider_hubprefs.bulk.send.guards import permitted_definitions, unusable_subscription
    from airflow_provider_hubprefs.bulk.send.single import write_one
    from airflow_provider_hubprefs.bulk.send.writes import SetStatus

    subscriber, access = _subscriber(args), access_of(args)
    write = SetStatus(
        access.client.calls,
        subscription_id=args.subscription,
        status=args.status,
        legal_basis=args.legal_basis,
        legal_basis_explanation=args.legal_basis_explanation,
        allow_resubscribe=args.allow_resubscribe,
    )
    wanted = f"one subscriber's status for the subscription {args.subscription} to {args.status}"
    confirm(args, f"set {wanted}, with {args.credentials}")
    known = permitted_definitions(access.client)  # it names them, which HubSpot's refusals do not
    if known is not None and (error := unusable_subscription(known, args.subscription)) is not None:
        raise error
    outcome, _ = write_one(access.client, write, subscriber)
    value: dict[str, Any] = {"subscriber": subscriber, "subscription": args.subscription}
    value |= {"status": args.status, "outcome": outcome}
    show(args, value, {"": [value]})
    if outcome == "unconfirmed":
        text = (
            "unconfirmed: HubSpot accepted the write and does not show its effect; 'hubprefs get' asks again"
        )
        raise CommandError(text, ExitCode.NOT_APPLIED)
    return ExitCode.DONE


def _subscriber(args: Namespace) -> str:
    """The address, normalised.

    :raises ValidationError: it is none.
    :raises CommandError: both the address and the token would come from standard input.
    """
    from airflow_provider_hubprefs.arguments import normalised_subscriber

    if args.subscriber == args.token_file == "-":
        usage("expected one '-', got two: standard input cannot be the subscriber and the token")
    return normalised_subscriber(sys.stdin.readline() if args.subscriber == "-" else args.subscriber)


def _time(at: Any) -> str | None:
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"
