"""``python -m airflow_provider_hubprefs.simulator``: prints one JSON line when ready, serves until ended."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.simulator.faults import FaultError
from airflow_provider_hubprefs.simulator.settings import PortalError, read_document
from airflow_provider_hubprefs.simulator.state import State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

WRONG_USE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.

    :returns: the exit code: 0, or 2 when it cannot start as asked.
    """
    options = _parser().parse_args(arguments)
    try:
        # Only now: starlette and uvicorn are an extra, and without it there is a sentence, not a traceback.
        from airflow_provider_hubprefs.simulator.server import listen, make_server, url_of  # noqa: PLC0415

        portal = read_document(options.portal)
        limits = {
            name: value
            for name, value in (("burst", options.burst_limit), ("daily", options.daily_limit))
            if value is not None
        }
        if limits:
            portal["limits"] = {**portal.get("limits", {}), **limits}
        if options.operation_seconds is not None:
            portal["operations"] = {**portal.get("operations", {}), "seconds": options.operation_seconds}
        state = State(
            portal,
            seed=options.seed,
            fault_rate=options.fault_rate,
            fault_kinds=[kind for kind in options.fault_kinds.split(",") if kind.strip()],
            latency_ms=options.latency_ms,
            record=options.record,
        )
        for rule in json.loads(options.faults.read()) if options.faults else []:
            state.faults.add(rule)
        listener = listen(options.host, options.port)
    except (PortalError, FaultError, ModuleNotFoundError) as error:
        return _fail(str(error))
    except (OSError, OverflowError, ValueError) as error:
        return _fail(f"cannot start: {error}")
    server = make_server(state)

    def end(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    # Before uvicorn's own handlers are there, and after they are gone again, a signal must not be a traceback.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)
    ready = {"url": url_of(listener), "token": state.token.value, "subscription_ids": state.subscription_ids}
    print(json.dumps(ready), flush=True)  # noqa: T201 - the line is this command's answer
    server.run(sockets=[listener])
    return 0


def _fail(message: str) -> int:
    print(f"hubspot simulator: {message}", file=sys.stderr)  # noqa: T201 - a command speaks to its user
    return WRONG_USE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_hubprefs.simulator",
        description="A local HubSpot for communication preferences. When it is ready it prints one JSON line "
        "(url, token, subscription_ids), and it serves until it is ended (Ctrl-C, SIGTERM).",
        epilog="Its control endpoint is under /_simulator/: reset, portal, faults, requests, stats, "
        "subscribers, clock.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=0, help="port to listen on; 0, the default, takes a free one")
    add("--portal", metavar="FILE", help="JSON file with the portal; a realistic one if left out")
    add("--seed", type=int, default=0, help="same seed, same tokens, order and faults (%(default)s)")
    add("--burst-limit", type=int, metavar="N", help="requests per 10 seconds (190)")
    add("--daily-limit", type=int, metavar="N", help="requests per day (1000000)")
    add("--operation-seconds", type=float, metavar="S", help="how long writes take to COMPLETE (0)")
    add(
        "--latency-ms",
        type=float,
        default=0.0,
        metavar="MS",
        help="how long every answer takes (%(default)s)",
    )
    add("--fault-rate", type=float, default=0.0, metavar="SHARE", help="share of requests to go wrong (0.0)")
    add(
        "--fault-kinds",
        default="503",
        metavar="KINDS",
        help="HTTP statuses and kinds, such as 429,drop,drop-applied,truncate,cloudflare (%(default)s)",
    )
    add(
        "--faults",
        type=argparse.FileType("r", encoding="utf-8"),
        metavar="FILE",
        help="JSON file with a list of scripted faults",
    )
    add("--record", type=int, default=10_000, metavar="N", help="requests to remember (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
