"""``python -m airflow_provider_hubprefs.simulator``: prints one JSON line when ready, serves until ended."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.simulator.server.server import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable

WRONG_USE = 2


def main() -> int:
    """Serve until SIGTERM or SIGINT.

    :returns: the exit code: 0, or 2 when it cannot start as asked.
    """
    return serve(**vars(_parser().parse_args()))


def serve(
    *, burst_limit: int | None, announce: Callable[[Simulator], None] | None = None, **options: Any
) -> int:
    """Serve until SIGTERM or SIGINT.

    :param burst_limit: requests per 10 seconds; None: the portal's.
    :param announce: says that it is ready; by default one JSON line.
    :param options: of the simulator.
    :returns: the exit code: 0, or 2 when it cannot start as asked.
    """
    try:
        hubspot = Simulator(**options)
        if burst_limit is not None:
            hubspot.state.settings.limits.burst = burst_limit
            hubspot.reset()
        hubspot.listen()
    except (msgspec.MsgspecError, OSError, OverflowError) as error:
        print(f"hubspot simulator: {error}", file=sys.stderr)  # noqa: T201 - a command speaks to its user
        return WRONG_USE
    # Before uvicorn's own handlers are there, and after they are gone again, a signal must not be a traceback.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: hubspot.stop())
    (announce or _print_line)(hubspot)
    hubspot.serve()
    return 0


def ready(hubspot: Simulator) -> dict[str, Any]:
    """What a client needs to know."""
    return {"url": hubspot.url, "token": hubspot.token, "subscription_ids": hubspot.subscription_ids}


def _print_line(hubspot: Simulator) -> None:
    print(json.dumps(ready(hubspot)), flush=True)  # noqa: T201 - the line is this command's answer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_hubprefs.simulator",
        description="A local HubSpot for communication preferences. When it is ready it prints one JSON line "
        "(url, token, subscription_ids). It serves until it is ended (Ctrl-C, SIGTERM).",
        epilog="Its control endpoint is under /_simulator/: reset, faults, requests, stats, subscribers.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=0, help="port to listen on; 0, the default, takes a free one")
    add("--portal", metavar="FILE", help="JSON file with the portal; a realistic one if left out")
    add("--seed", type=int, default=0, help="the same seed gives the same tokens and order (%(default)s)")
    add("--burst-limit", type=int, metavar="N", help="requests per 10 seconds (190)")
    add("--latency-ms", type=float, default=0.0, metavar="MS", help="time of every answer (%(default)s)")
    add("--record", type=int, default=10_000, metavar="N", help="requests to remember (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
