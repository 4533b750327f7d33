"""The control endpoint: the simulator's own, beside what HubSpot has. It needs no token.

====================================== =====================================================================
``POST /_simulator/reset``             begin anew: the portal of the start, no scripted faults, nothing received
``GET /_simulator/portal``             tokens by name, OAuth client, definitions, brands, limits, number of subscribers
``POST /_simulator/portal``            load another portal (the document of :mod:`settings`); 400 names what is wrong
``POST /_simulator/faults``            add a rule, or a list of rules (see :mod:`faults`); 400 names what is wrong
``GET /_simulator/faults``             the rules, how often each was met and used
``DELETE /_simulator/faults``          forget the rules
``GET /_simulator/requests``           the last requests (``?limit=100&endpoint=batch_write``), and how many in all
``GET /_simulator/stats``              requests per endpoint and status, 429s, most requests in any window
``GET /_simulator/subscribers``        counts: subscribers, opted out, changes, operations
``GET /_simulator/subscribers/{a}``    one subscriber: status per subscription, opt-outs, operation, history
``POST /_simulator/opt_outs``          ``{"subscribers": [...]}``: they opt out themselves, all at one moment
``POST /_simulator/contacts``          ``{"subscribers": [...]}``: something else of their contacts changes
``POST /_simulator/clock``             ``{"advance": seconds}``: move the simulated time forward
====================================== =====================================================================
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response
from starlette.routing import Route, Router

from airflow_provider_hubprefs.simulator.clock import iso
from airflow_provider_hubprefs.simulator.faults import FaultError
from airflow_provider_hubprefs.simulator.portal import describe
from airflow_provider_hubprefs.simulator.settings import PortalError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from airflow_provider_hubprefs.simulator.state import State


def control_routes(state: State) -> Router:
    """Return the application that serves ``/_simulator/``."""

    async def reset(_: Request) -> Response:
        state.reset()
        return _json(_portal(state))

    async def get_portal(_: Request) -> Response:
        return _json(_portal(state))

    async def load_portal(request: Request) -> Response:
        state.load(await _object(request))
        return _json(_portal(state))

    async def add_faults(request: Request) -> Response:
        decoded = _decode(await request.body())
        for rule in decoded if isinstance(decoded, list) else [decoded]:
            if not isinstance(rule, dict):
                raise FaultError("a rule is an object, or a list of them")
            state.faults.add(rule)
        return _json(_rules(state))

    async def get_faults(_: Request) -> Response:
        return _json(_rules(state))

    async def clear_faults(_: Request) -> Response:
        state.faults.clear()
        return _json([])

    async def requests(request: Request) -> Response:
        limit = request.query_params.get("limit", "100")
        endpoint = request.query_params.get("endpoint")
        if not limit.isdigit():
            raise FaultError("limit: expected a whole number")
        kept = [each for each in state.recorder.kept if endpoint in (None, each.endpoint)]
        shown = kept[-int(limit) :] if int(limit) else []
        return _json({"total": state.recorder.total, "requests": [each.as_dict() for each in shown]})

    async def stats(_: Request) -> Response:
        return _json(state.stats())

    async def subscribers(_: Request) -> Response:
        return _json(state.portal.counts())

    async def subscriber(request: Request) -> Response:
        return _json(subscriber_of(state, request.path_params["address"]))

    async def opt_out(request: Request) -> Response:
        named = _subscribers(await _object(request))
        state.portal.opt_out(named)
        return _json({"opted_out": len(named)})

    async def touch(request: Request) -> Response:
        named = _subscribers(await _object(request))
        try:
            for each in named:
                state.portal.contacts.touch(each.lower())
        except KeyError as error:
            raise FaultError(str(error)) from error
        return _json({"touched": len(named)})

    async def clock(request: Request) -> Response:
        seconds = (await _object(request)).get("advance")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or seconds < 0:
            raise FaultError("advance: expected a number of seconds")
        state.clock.advance(seconds)
        return _json({"now": iso(state.clock.now_ms())})

    return Router(
        [
            Route("/_simulator/reset", _guarded(reset), methods=["POST"]),
            Route("/_simulator/portal", _guarded(get_portal), methods=["GET"]),
            Route("/_simulator/portal", _guarded(load_portal), methods=["POST"]),
            Route("/_simulator/faults", _guarded(get_faults), methods=["GET"]),
            Route("/_simulator/faults", _guarded(add_faults), methods=["POST"]),
            Route("/_simulator/faults", _guarded(clear_faults), methods=["DELETE"]),
            Route("/_simulator/requests", _guarded(requests), methods=["GET"]),
            Route("/_simulator/stats", _guarded(stats), methods=["GET"]),
            Route("/_simulator/subscribers", _guarded(subscribers), methods=["GET"]),
            Route("/_simulator/subscribers/{address:path}", _guarded(subscriber), methods=["GET"]),
            Route("/_simulator/opt_outs", _guarded(opt_out), methods=["POST"]),
            Route("/_simulator/contacts", _guarded(touch), methods=["POST"]),
            Route("/_simulator/clock", _guarded(clock), methods=["POST"]),
        ],
        redirect_slashes=False,
    )


def subscriber_of(state: State, address: str) -> dict[str, Any]:
    """Return all that is known of a subscriber; one that was never seen has no history."""
    portal = state.portal
    key = address.lower()
    return {
        "subscriber": key,
        "statuses": {str(each.number): portal.status(key, each) for each in portal.active},
        "opt_outs": [describe(change) for change in portal.opt_outs(key).values()],
        "operation": portal.operation_status(key),
        "history": [describe(change) for change in portal.history(key)],
    }


def _portal(state: State) -> dict[str, Any]:
    settings = state.portal.settings
    return {
        "portal_id": settings.portal_id,
        "tier": settings.tier,
        "token": state.token.value,
        "tokens": {name: asdict(token) for name, token in state.tokens.by_name.items()},
        "oauth": settings.oauth,
        "subscription_ids": state.subscription_ids,
        "definitions": [each.body for each in settings.definitions.values()],
        "brands": settings.brands,
        "limits": asdict(settings.limits),
        "subscribers": len(state.portal.preferences),
    }


def _rules(state: State) -> list[dict[str, Any]]:
    return [asdict(rule) for rule in state.faults.rules]


def _guarded(serve: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Turn what is wrong with a request into a 400 that says so."""

    async def served(request: Request) -> Response:
        try:
            return await serve(request)
        except (FaultError, PortalError, msgspec.DecodeError) as error:
            return _json({"error": str(error)}, 400)

    return served


async def _object(request: Request) -> dict[str, Any]:
    decoded = _decode(await request.body())
    if not isinstance(decoded, dict):
        raise FaultError("expected a JSON object")
    return decoded


def _subscribers(body: dict[str, Any]) -> list[str]:
    named = body.get("subscribers")
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise FaultError("subscribers: expected a list of addresses")
    return named


def _decode(body: bytes) -> Any:
    return msgspec.json.decode(body)


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
