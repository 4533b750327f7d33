"""The control endpoint: the simulator's own, beside what HubSpot has. It needs no token.

====================================== =====================================================================
``POST /_simulator/reset``             begin anew: the portal of the start, no faults, nothing received
``GET /_simulator/faults``             the rules, how often each was met and used
``POST /_simulator/faults``            add a rule, or a list of rules (see ``server/faults.py``)
``DELETE /_simulator/faults``          forget the rules
``GET /_simulator/requests``           the last requests (``?limit=100&endpoint=batch_write``), and how many in all
``GET /_simulator/stats``              requests per endpoint and status, 429s, most requests in any window
``GET /_simulator/subscribers``        counts: subscribers, opted out, changes, operations
``POST /_simulator/opt_outs``          ``{"subscribers": [...]}``: they opt out themselves, all at one moment
====================================== =====================================================================

A request that cannot be used is answered with a 400 that says what was expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response
from starlette.routing import Route, Router

from airflow_provider_hubprefs.simulator.server.faults import FaultError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from airflow_provider_hubprefs.simulator.server.state import SimulatorState

Rules = dict[str, Any] | list[dict[str, Any]]


class _OptOuts(msgspec.Struct, forbid_unknown_fields=True):
    subscribers: list[str]


class Control:
    """What the control endpoint does to a simulator: each method answers a request with a JSON value."""

    def __init__(self, state: SimulatorState) -> None:
        self._state = state

    def router(self) -> Router:
        """Return the application that serves ``/_simulator/``."""
        served: tuple[tuple[str, str, Callable[[Request, bytes], Any]], ...] = (
            ("POST", "reset", self._reset),
            ("GET", "faults", self._faults),
            ("POST", "faults", self._add_faults),
            ("DELETE", "faults", self._clear_faults),
            ("GET", "requests", self._requests),
            ("GET", "stats", lambda *_: self._state.stats()),
            ("GET", "subscribers", lambda *_: self._state.portal.counts()),
            ("POST", "opt_outs", self._opt_out),
        )
        routes = [
            Route(f"/_simulator/{path}", _answering(serve), methods=[method])
            for method, path, serve in served
        ]
        return Router(routes, redirect_slashes=False)

    def _reset(self, _: Request, __: bytes) -> Any:
        self._state.reset()
        return self._state.stats()

    def _faults(self, _: Request, __: bytes) -> Any:
        return self._state.faults.rules

    def _add_faults(self, request: Request, body: bytes) -> Any:
        given = msgspec.json.decode(body, type=Rules)
        for rule in given if isinstance(given, list) else [given]:
            self._state.faults.add(rule)
        return self._faults(request, body)

    def _clear_faults(self, _: Request, __: bytes) -> Any:
        self._state.faults.clear()
        return []

    def _requests(self, request: Request, _: bytes) -> Any:
        recorder = self._state.recorder
        endpoint = request.query_params.get("endpoint")
        kept = [each for each in recorder.kept if endpoint in (None, each.endpoint)]
        limit = int(request.query_params.get("limit", "100"))
        return {"total": recorder.total, "requests": kept[-limit:] if limit else []}

    def _opt_out(self, _: Request, body: bytes) -> Any:
        named = msgspec.json.decode(body, type=_OptOuts).subscribers
        self._state.portal.opt_out(named)
        return {"opted_out": len(named)}


def _answering(serve: Callable[[Request, bytes], Any]) -> Callable[[Request], Any]:
    async def served(request: Request) -> Response:
        try:
            status, value = 200, serve(request, await request.body())
        except (FaultError, msgspec.MsgspecError, ValueError) as error:
            status, value = 400, {"error": str(error)}
        return Response(msgspec.json.encode(value), status, media_type="application/json")

    return served
