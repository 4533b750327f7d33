"""The ASGI application: a request is matched, authenticated, counted and carried out, or struck by a fault."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from airflow_provider_hubprefs.simulator.answers import (
    ApiAnswer,
    ApiError,
    limit_reached,
    missing_scopes,
    not_found,
)
from airflow_provider_hubprefs.simulator.api.call import ApiCall
from airflow_provider_hubprefs.simulator.api.routes import ApiRoute, RouteMatch, match
from airflow_provider_hubprefs.simulator.portal.clock import iso
from airflow_provider_hubprefs.simulator.server.control import Control
from airflow_provider_hubprefs.simulator.server.recorder import RecordedRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Message, Receive, Scope, Send

    from airflow_provider_hubprefs.simulator.portal.tokens import AccessToken
    from airflow_provider_hubprefs.simulator.server.faults import Fault
    from airflow_provider_hubprefs.simulator.server.state import SimulatorState

_CHUNK = 64 * 1024


@dataclass(slots=True)
class Incoming:
    """A request that has arrived: where it leads, what is recorded of it, and its secret."""

    found: RouteMatch
    recorded: RecordedRequest
    body: bytes
    authorization: str
    correlation_id: str


class SimulatorApp:
    """HubSpot over ASGI.

    :param state: what is served.
    :ivar transports: the open connections by the client's address, so that a fault can cut one.
    """

    def __init__(self, state: SimulatorState) -> None:
        self.state = state
        self.transports: dict[tuple[str, int], asyncio.Transport] = {}
        self._control = Control(state).router()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"the simulator speaks http, not {scope['type']}")
        if scope["path"].startswith("/_simulator/"):
            await self._control(scope, receive, send)
            return
        with suppress(ClientDisconnect):
            incoming = await self._receive(Request(scope, receive))
            wait, fault = self.state.faults.strike(incoming.recorded)
            if wait:
                await asyncio.sleep(wait)
            if fault is None:
                response: Response = self._response(self._answer(incoming), incoming)
            else:
                response = self._struck(fault, incoming)
            await response(scope, receive, send)

    async def _receive(self, request: Request) -> Incoming:
        body = await request.body()
        raw_path: bytes = request.scope["raw_path"]
        found = match(request.method, raw_path)
        headers = {name.lower(): value for name, value in request.headers.items()}
        authorization = headers.get("authorization", "")
        state = self.state
        name = state.tokens.name_of(authorization) if authorization else ""
        if authorization:
            headers["authorization"] = name
        recorded = RecordedRequest(
            number=state.recorder.total + 1,
            time=iso(state.clock.now_ms()),
            method=request.method,
            path=raw_path.decode("ascii", "replace"),
            query=request.scope["query_string"].decode("ascii", "replace"),
            headers=headers,
            body=body.decode("utf-8", "replace"),
            token=name,
            endpoint=found.route.name if found.route else "",
            version=found.version,
        )
        state.recorder.add(recorded)
        return Incoming(found, recorded, body, authorization, state.correlation_id())

    # From a request to an answer --------------------------------------------------------------------

    def _answer(self, incoming: Incoming) -> ApiAnswer:
        """Carry a request out, and return HubSpot's answer with its headers."""
        token: AccessToken | None = None
        state = self.state
        route = incoming.found.route
        try:
            if route is None:
                raise _unserved(incoming)
            if route.scopes:
                token = state.tokens.authenticate(incoming.authorization)
            answer = self._limited(token, route, incoming) or self._carry_out(route, token, incoming)
        except ApiError as error:
            answer = error.answer(incoming.correlation_id)
        if token is not None and not (route and route.search):
            answer.headers.update(state.limits.headers(token, state.clock.now()))
        answer.headers["X-HubSpot-Correlation-Id"] = incoming.correlation_id
        return answer

    def _limited(self, token: AccessToken | None, route: ApiRoute, incoming: Incoming) -> ApiAnswer | None:
        """Return the 429 for a token that has spent its budget, or an account that searches too often."""
        if token is None:
            return None
        limits, now = self.state.limits, self.state.clock.now()
        broken = limits.broken_by_search(now) if route.search else limits.broken_by(token, now)
        if broken is None:
            return None
        portal_id = self.state.portal.settings.portal_id
        return limit_reached(broken, incoming.correlation_id, portal_id, group=token.group)

    def _carry_out(self, route: ApiRoute, token: AccessToken | None, incoming: Incoming) -> ApiAnswer:
        if token is not None and not token.may(route.scopes):
            raise missing_scopes(sorted(set().union(*route.scopes)))
        call = ApiCall(
            version=incoming.found.version,
            address=incoming.found.address,
            query=dict(parse_qsl(incoming.recorded.query, keep_blank_values=True)),
            content_type=incoming.recorded.headers.get("content-type", ""),
            body=incoming.body,
        )
        return route.handler(self.state.portal, call)

    # From an answer to the wire ---------------------------------------------------------------------

    def _response(self, answer: ApiAnswer, incoming: Incoming) -> Response:
        self.state.recorder.answered(incoming.recorded, answer.status)
        return _to_wire(answer)

    def _struck(self, fault: Fault, incoming: Incoming) -> Response:
        """Return what is sent for a request that a fault strikes."""
        incoming.recorded.fault = fault.kind
        made_up = fault.answer(incoming.correlation_id, self.state.portal.settings.portal_id)
        if made_up is not None:
            made_up.headers.setdefault("X-HubSpot-Correlation-Id", incoming.correlation_id)
            return self._response(made_up, incoming)
        if fault.kind == "huge":
            status = fault.status or 200
            self.state.recorder.answered(incoming.recorded, status)
            return StreamingResponse(_padding(fault.bytes), status, media_type="application/json")
        true = self._answer(incoming) if fault.carried_out else ApiAnswer(200)
        if fault.kind == "fields":
            if not isinstance(true.body, bytes):
                true.body = fault.changed(true.body)
            return self._response(true, incoming)
        self.state.recorder.answered(incoming.recorded, 0)
        return _Cut(self.transports, _to_wire(true) if fault.kind == "truncate" else None)


class _Cut(Response):
    """The end of a connection: before anything is sent, or in the middle of a response's body."""

    def __init__(
        self, transports: dict[tuple[str, int], asyncio.Transport], response: Response | None
    ) -> None:
        self._transports = transports
        self._response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_half(message: Message) -> None:
            if message["type"] == "http.response.body":
                half = message["body"][: len(message["body"]) // 2]
                message = {**message, "body": half, "more_body": True}
            await send(message)

        host, port = scope["client"]
        transport = self._transports[host, port]
        if self._response is not None:
            await self._response(scope, receive, send_half)
        transport.close()
        # The server takes an application that returns too soon for one that failed, and would answer 500.
        while (await receive())["type"] != "http.disconnect":
            pass


def _to_wire(answer: ApiAnswer) -> Response:
    return Response(answer.content(), answer.status, answer.headers, answer.media_type)


def _unserved(incoming: Incoming) -> ApiError:
    path, method = incoming.recorded.path, incoming.recorded.method
    if incoming.found.allowed:
        allowed = ", ".join(sorted(incoming.found.allowed))
        message = f"The method {method} is not allowed for {path}"
        return ApiError(405, "METHOD_NOT_ALLOWED", message, headers={"Allow": allowed})
    return not_found(f"Unable to find {method} {path}")


def _padding(size: int) -> Iterator[bytes]:
    """Yield a JSON object of about so many bytes."""
    yield b'{"results":['
    chunk = b" " * _CHUNK
    for _ in range(max(1, size // _CHUNK)):
        yield chunk
    yield b"]}"
