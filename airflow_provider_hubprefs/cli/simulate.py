"""The command ``simulate``: a local HubSpot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.cli.errors import ExitCode, usage
from airflow_provider_hubprefs.cli.output import format_of, note, say, show

if TYPE_CHECKING:
    from argparse import Namespace

    from airflow_provider_hubprefs.simulator import Simulator


def simulate(args: Namespace) -> ExitCode:
    """Serve until Ctrl-C or SIGTERM."""
    try:
        from airflow_provider_hubprefs.simulator.__main__ import ready, serve
    except ModuleNotFoundError as error:
        usage(str(error))

    def announce(hubspot: Simulator) -> None:
        value = ready(hubspot)
        if format_of(args) in {"json", "plain"}:
            say(json.dumps(value))
            return
        named = {"HUBPREFS_HOST": hubspot.url, "HUBPREFS_TOKEN": hubspot.token}
        show(
            args, value, {"A local HubSpot": [{"environment": name, "value": named[name]} for name in named]}
        )
        note("In another terminal set these two, and try: hubprefs definitions. Ctrl-C ends it.")

    names = ("host", "port", "portal", "seed", "burst_limit", "latency_ms")
    return ExitCode(serve(announce=announce, **{name: getattr(args, name) for name in names}))
