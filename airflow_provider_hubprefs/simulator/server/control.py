"""The control endpoint: the simulator's own, beside what HubSpot has. It needs no token.

====================================== =====================================================================
``POST /_simulator/reset``             begin anew: the portal of the start, no faults, nothing received
``POST /_simulator/faults``            add a rule (see ``server/faults.py``); returns all rules and their use
``DELETE /_simulator/faults``          forget the rules
``GET /_simulator/requests``           the last requests (``?limit=100&endpoint=batch_write``), and how many in all
``GET /_simulator/stats``              requests per endpoint and status, 429s, most requests in any window
``GET /_simulator/subscribers``        counts: subscribers, opted out
====================================== =====================================================================

A request that cannot be used is answered with a 400 that says what was expected; one by a name that is neither loopback
nor an address, or from a web page, with a 403.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from starlette.responses import Response
from starlette.routing import Route, Router

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from airflow_provider_hubprefs.simulator.server.state import SimulatorState


def control(state: SimulatorState) -> Router:
    """Return the application that serves ``/_simulator/``."""

    def reset(_: Request, __: bytes) -> Any:
        state.reset()
        return state.stats()

    def add_fault(_: Request, body: bytes) -> Any:
        state.faults.add(msgspec.json.decode(body, type=dict))
        return state.faults.rules

    def clear_faults(_: Request, __: bytes) -> Any:
        state.faults.clear()
        return state.faults.rules

    def requests(request: Request, _: bytes) -> Any:
        endpoint = request.query_params.get("endpoint")
        kept = [each for each in state.recorder.kept if endpoint in (None, each.endpoint)]
        limit = int(request.query_params.get("limit", "100"))
        return {"total": state.recorder.total, "requests": kept[-limit:]}

    routes = [
        Route("/_simulator/reset", _answering(reset), methods=["POST"]),
        Route("/_simulator/faults", _answering(add_fault), methods=["POST"]),
        Route("/_simulator/faults", _answering(clear_faults), methods=["DELETE"]),
        Route("/_simulator/requests", _answering(requests)),
        Route("/_simulator/stats", _answering(lambda *_: state.stats())),
        Route("/_simulator/subscribers", _answering(lambda *_: state.portal.counts())),
    ]
    return Router(routes, redirect_slashes=False)


def _from_here(request: Request) -> bool:
    """Return whether a program sent a request: a browser would name its page's host in ``Host`` or ``Origin``."""
    host, origin = request.url.hostname or "", request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return False
    try:
        return host == "localhost" or bool(ip_address(host))
    except ValueError:
        return False


def _answering(serve: Callable[[Request, bytes], Any]) -> Callable[[Request], Any]:
    """Return an endpoint that answers with a value, as JSON."""

    async def served(request: Request) -> Response:
        if not _from_here(request):
            return Response(b"The control endpoint serves this machine, and no web page.", 403)
        try:
            status, value = 200, serve(request, await request.body())
        except (msgspec.MsgspecError, ValueError) as error:
            status, value = 400, {"error": str(error)}
        return Response(msgspec.json.encode(value), status, media_type="application/json")

    return served
