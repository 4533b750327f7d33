"""The ASGI application: a request is matched, authenticated, counted, carried out and answered, or struck."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from airflow_provider_hubprefs.simulator import faults, oauth
from airflow_provider_hubprefs.simulator.bodies import (
    Answer,
    HubSpotError,
    burst_limit,
    daily_limit,
    missing_scopes,
    search_limit,
)
from airflow_provider_hubprefs.simulator.call import Call
from airflow_provider_hubprefs.simulator.clock import iso
from airflow_provider_hubprefs.simulator.control import control_routes
from airflow_provider_hubprefs.simulator.recorder import Recorded
from airflow_provider_hubprefs.simulator.routes import Endpoint, Match, match

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Message, Receive, Scope, Send

    from airflow_provider_hubprefs.simulator.faults import Fault
    from airflow_provider_hubprefs.simulator.oauth import Token
    from airflow_provider_hubprefs.simulator.state import State

_CHUNK = 64 * 1024


@dataclass(slots=True)
class Incoming:
    """A request that has arrived: what it is for, what was noted of it, and its secret."""

    found: Match
    recorded: Recorded
    body: bytes
    authorization: str
    correlation_id: str


class App:
    """HubSpot over ASGI.

    :param state: what is served; tests look at the same object.
    :ivar transports: the open connections by the client's address, so that a fault can cut one.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.transports: dict[tuple[str, int], asyncio.Transport] = {}
        self._control = control_routes(state)

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
                response = self._response(self._answer(incoming), incoming)
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
        recorded = Recorded(
            number=state.recorder.total + 1,
            time=iso(state.clock.now_ms()),
            method=request.method,
            path=raw_path.decode("ascii", "replace"),
            query=request.scope["query_string"].decode("ascii", "replace"),
            headers=headers,
            body=body.decode("utf-8", "replace"),
            token=name,
            endpoint=found.name,
            version=found.version,
        )
        state.recorder.add(recorded)
        return Incoming(found, recorded, body, authorization, state.correlation_id())

    # From a request to an answer --------------------------------------------------------------------

    def _answer(self, incoming: Incoming) -> Answer:
        """Carry a request out, and return HubSpot's answer with its headers."""
        token: Token | None = None
        state = self.state
        found = incoming.found
        try:
            if not found.name or found.allowed:
                raise _unserved(incoming)
            if found.endpoint is None:
                answer = self._other(incoming)
            else:
                token = state.tokens.authenticate(incoming.authorization)
                refusal = self._limited(token, found.endpoint, incoming.correlation_id)
                answer = refusal or self._carry_out(found.endpoint, incoming, token)
        except HubSpotError as error:
            answer = error.answer(incoming.correlation_id)
        if token is not None and not (found.endpoint and found.endpoint.search):
            answer.headers.update(state.limits.headers(token, state.clock.now()))
        answer.headers["X-HubSpot-Correlation-Id"] = incoming.correlation_id
        return answer

    def _limited(self, token: Token, endpoint: Endpoint, correlation_id: str) -> Answer | None:
        """Return the 429 for a token that has spent its budget, or an account that searches too often."""
        state = self.state
        now = state.clock.now()
        if endpoint.search:
            if state.limits.ask_search(now):
                return None
            return Answer(429, search_limit(correlation_id, state.portal.settings.portal_id))
        broken = state.limits.ask(token, now)
        if broken is None:
            return None
        settings = state.portal.settings
        headers = {}
        if broken == "daily":
            return Answer(429, daily_limit(correlation_id))
        if settings.limits.retry_after:
            headers["Retry-After"] = str(state.limits.retry_after(token, now))
        return Answer(429, burst_limit(correlation_id, settings.portal_id, token.group), headers)

    def _carry_out(self, endpoint: Endpoint, incoming: Incoming, token: Token) -> Answer:
        if not token.may(endpoint.scopes):
            raise missing_scopes(sorted(set().union(*endpoint.scopes)))
        query = dict(parse_qsl(incoming.recorded.query, keep_blank_values=True))
        call = Call(endpoint.name, incoming.found.version, incoming.found.address, query, incoming.body)
        return endpoint.handler(self.state.portal, call)

    def _other(self, incoming: Incoming) -> Answer:
        """Answer what is not about preferences: tokens and the account."""
        state = self.state
        settings = state.portal.settings
        if incoming.found.name == "oauth_token":
            return oauth.token_endpoint(
                settings,
                state.tokens,
                version=incoming.found.version,
                content_type=incoming.recorded.headers.get("content-type", ""),
                body=incoming.body,
            )
        if incoming.found.name == "token_info":
            return oauth.token_info(settings, state.tokens, incoming.body)
        state.tokens.authenticate(incoming.authorization)
        here = datetime.fromtimestamp(state.clock.now(), UTC).astimezone(ZoneInfo(settings.time_zone))
        return oauth.account_details(settings, here)

    # From an answer to the wire ---------------------------------------------------------------------

    def _response(self, answer: Answer, incoming: Incoming) -> Response:
        self.state.recorder.answered(incoming.recorded, answer.status)
        return _to_wire(answer)

    def _struck(self, fault: Fault, incoming: Incoming) -> Response:
        """Return what is sent for a request that something happens to."""
        kind = fault["kind"]
        incoming.recorded.fault = kind
        state = self.state
        made_up = faults.answer(
            fault, correlation_id=incoming.correlation_id, portal_id=state.portal.settings.portal_id
        )
        if made_up is not None:
            made_up.headers.setdefault("X-HubSpot-Correlation-Id", incoming.correlation_id)
            return self._response(made_up, incoming)
        if kind == "huge":
            status = fault.get("status", 200)
            state.recorder.answered(incoming.recorded, status)
            size = fault.get("bytes", 1024**3)
            return StreamingResponse(_padding(size), status, media_type="application/json")
        true = self._answer(incoming) if faults.applies(fault) else Answer(200)
        if kind == "fields":
            if not isinstance(true.body, bytes):
                true.body = faults.change_fields(fault, true.body)
            return self._response(true, incoming)
        state.recorder.answered(incoming.recorded, 0)
        return _Cut(self.transports, _to_wire(true) if kind == "truncate" else None)


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
        transport = self._transports.get((host, port))
        if transport is None:
            raise RuntimeError("this server does not tell its connections, so none can be cut")
        if self._response is not None:
            await self._response(scope, receive, send_half)
        transport.close()
        # The server takes an application that returns too soon for one that failed, and would answer 500.
        while (await receive())["type"] != "http.disconnect":
            pass


def _to_wire(answer: Answer) -> Response:
    return Response(answer.content(), answer.status, answer.headers, answer.media_type)


def _unserved(incoming: Incoming) -> HubSpotError:
    path, method = incoming.recorded.path, incoming.recorded.method
    if incoming.found.allowed:
        allowed = ", ".join(sorted(incoming.found.allowed))
        message = f"The method {method} is not allowed for {path}"
        return HubSpotError(405, "METHOD_NOT_ALLOWED", message, headers={"Allow": allowed})
    return HubSpotError(404, "OBJECT_NOT_FOUND", f"Unable to find {method} {path}")


def _padding(size: int) -> Iterator[bytes]:
    """Yield a JSON object of about so many bytes."""
    yield b'{"results":['
    chunk = b" " * _CHUNK
    for _ in range(max(1, size // _CHUNK)):
        yield chunk
    yield b"]}"
