"""The ASGI application: a request is matched, authenticated, counted and carried out, or struck by a fault."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from airflow_provider_hubprefs.simulator.answers import (
    ApiAnswer,
    ApiError,
    limit_reached,
    missing_scopes,
    not_found,
)
from airflow_provider_hubprefs.simulator.api.call import ApiCall
from airflow_provider_hubprefs.simulator.api.routes import match
from airflow_provider_hubprefs.simulator.portal.clock import iso
from airflow_provider_hubprefs.simulator.server.control import control
from airflow_provider_hubprefs.simulator.server.recorder import RecordedRequest, without_secrets

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from airflow_provider_hubprefs.simulator.api.routes import ApiRoute
    from airflow_provider_hubprefs.simulator.server.faults import Fault
    from airflow_provider_hubprefs.simulator.server.state import SimulatorState


class SimulatorApp:
    """HubSpot over ASGI.

    :param state: what is served.
    """

    def __init__(self, state: SimulatorState) -> None:
        self._state = state
        self._control = control(state)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"].startswith("/_simulator/"):
            await self._control(scope, receive, send)
            return
        with suppress(ClientDisconnect):
            request = Request(scope, receive)
            exchange = _Exchange(self._state, request, await request.body())
            wait, fault = self._state.faults.strike(exchange.recorded)
            if wait:
                await asyncio.sleep(wait)
            answer = exchange.answer(fault)
            response = Response(answer.content(), answer.status, answer.headers, answer.media_type)
            if fault is None or not fault.cuts:
                await response(scope, receive, send)
                return
            if fault.kind == "truncate":
                await response(scope, receive, _half(send))
            await _cut(receive, send)


class _Exchange:
    """One request that has arrived, and its answer."""

    def __init__(self, state: SimulatorState, request: Request, body: bytes) -> None:
        path = request.scope["raw_path"].decode("ascii", "replace")
        self._state = state
        self._route, found = match(request.method, path)
        self._call = ApiCall(unquote(found.get("subscriber", "")), dict(request.query_params), body)
        self._correlation_id = state.correlation_id()
        headers = dict(request.headers)
        scheme, _, value = headers.get("authorization", "").partition(" ")
        self._token = state.tokens.find(value.strip()) if scheme.lower() == "bearer" else None
        if scheme:
            headers["authorization"] = self._token.name if self._token else "unknown"
        self.recorded = RecordedRequest(
            time=iso(state.clock.now_ms()),
            method=request.method,
            path=path,
            query=request.scope["query_string"].decode("ascii", "replace"),
            headers=headers,
            body=without_secrets(body.decode("utf-8", "replace")),
            token=headers.get("authorization", ""),
            endpoint=self._route.name if self._route else "",
            version=found.get("version", ""),
        )
        state.recorder.add(self.recorded)

    def answer(self, fault: Fault | None) -> ApiAnswer:
        """Return what is answered, and note its status."""
        if fault is None:
            answer = self._true_answer()
        else:
            self.recorded.fault = fault.kind
            self._state.portal.opt_out(fault.addresses)
            true = self._true_answer() if fault.carried_out else ApiAnswer(200)
            answer = fault.answer(true, self._correlation_id)
        answer.headers.setdefault("X-HubSpot-Correlation-Id", self._correlation_id)
        self._state.recorder.answered(self.recorded, 0 if fault and fault.cuts else answer.status)
        return answer

    def _true_answer(self) -> ApiAnswer:
        """Carry the request out, and return HubSpot's answer."""
        headers: dict[str, str] = {}
        try:
            if self._route is None:
                raise not_found(f"Unable to find {self.recorded.method} {self.recorded.path}")
            answer = self._limited(self._route, headers) if self._route.scopes else None
            if answer is None:
                answer = self._route.handler(self._state.portal, self._call)
        except ApiError as error:
            answer = error.answer(self._correlation_id)
        answer.headers.update(headers)
        return answer

    def _limited(self, route: ApiRoute, headers: dict[str, str]) -> ApiAnswer | None:
        """Return the 429 for a token that has spent its budget, or an account that searches too often.

        :param headers: gets what the answer says about the budget.
        :raises ApiError: 401, 403 for the token.
        """
        token = self._state.tokens.authenticate(self._token)
        limits, now = self._state.limits, self._state.clock.now()
        if route.search:
            broken = limits.broken_by_search(now)
        else:
            broken = limits.broken_by(token, now)
            headers |= limits.headers(token, now)
        if broken is not None:
            return limit_reached(broken, self._correlation_id)
        if not token.may(route.scopes):
            raise missing_scopes(sorted(set().union(*route.scopes)))
        return None


def _half(send: Send) -> Send:
    """Send half of a body, and not its end."""

    async def send_half(message: Message) -> None:
        if message["type"] == "http.response.body":
            half = message["body"][: len(message["body"]) // 2]
            message = {**message, "body": half, "more_body": True}
        await send(message)

    return send_half


async def _cut(receive: Receive, send: Any) -> None:
    """End the connection. ASGI has no message for that: ``send`` is a method of uvicorn's, which has it."""
    send.__self__.transport.close()
    # The server takes an application that returns too soon for one that failed, and would answer 500.
    while (await receive())["type"] != "http.disconnect":
        pass
