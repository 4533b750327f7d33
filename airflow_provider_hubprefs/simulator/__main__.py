"""``python -m airflow_provider_hubprefs.simulator``: prints one JSON line when ready, serves until ended."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.simulator.portal.settings import read_settings

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
        # Only now: starlette and uvicorn are an extra, and without them there is a sentence, not a traceback.
        from airflow_provider_hubprefs.simulator.server import server as serving  # noqa: PLC0415
        from airflow_provider_hubprefs.simulator.server.state import SimulatorState  # noqa: PLC0415

        settings = read_settings(options.portal)
        if options.burst_limit is not None:
            settings.limits.burst = options.burst_limit
        state = SimulatorState(
            settings, seed=options.seed, latency_ms=options.latency_ms, record=options.record
        )
        listener = serving.listen(options.host, options.port)
    except (ModuleNotFoundError, OSError, OverflowError, ValueError) as error:
        print(f"hubspot simulator: {error}", file=sys.stderr)  # noqa: T201 - a command speaks to its user
        return WRONG_USE
    server = serving.make_server(state)

    def end(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    # Before uvicorn's own handlers are there, and after they are gone again, a signal must not be a traceback.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)
    ready = {
        "url": serving.url_of(listener),
        "token": state.token.value,
        "subscription_ids": state.subscription_ids,
    }
    print(json.dumps(ready), flush=True)  # noqa: T201 - the line is this command's answer
    server.run(sockets=[listener])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_hubprefs.simulator",
        description="A local HubSpot for communication preferences. When it is ready it prints one JSON line "
        "(url, token, subscription_ids). It serves until it is ended (Ctrl-C, SIGTERM).",
        epilog="Its control endpoint is under /_simulator/: reset, faults, requests, stats, subscribers, opt_outs.",
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
