"""A HubSpot that only answers: every batch opt-out is a success, at once, and nothing is remembered.

For runs where the local HubSpot's own memory and time are in the way (10,000,000 rows). The rows it answers with
are byte for byte those of the local HubSpot, but for the address.
"""

from __future__ import annotations

import asyncio
import json
import sys

TOKEN = "pat-na1-00000000-0000-0000-0000-000000000000"  # noqa: S105 - no real token
_PATH = b"/statuses/batch/unsubscribe-all?"
_WHEN = "2026-11-22T06:00:00.000Z"
_NAMES = ("Marketing Information", "Customer Service Communication", "One to One")


def _row_parts() -> list[bytes]:
    """One subscriber's row, cut where the address goes."""
    statuses = [
        {
            "businessUnitId": 0,
            "channel": "EMAIL",
            "legalBasis": None,
            "legalBasisExplanation": None,
            "setStatusSuccessReason": "UNSUBSCRIBE_FROM_ALL_OCCURRED",
            "source": "Public status API",
            "status": "UNSUBSCRIBED",
            "subscriberIdString": "@",
            "subscriptionId": 348211900 + number,
            "subscriptionName": name,
            "timestamp": _WHEN,
        }
        for number, name in enumerate(_NAMES)
    ]
    row = {"subscriberIdString": "@", "statuses": statuses}
    return json.dumps(row, separators=(",", ":")).encode().split(b"@")


class Stub(asyncio.Protocol):
    """HTTP/1.1 with kept connections, as far as the contenders need it."""

    parts = _row_parts()

    def __init__(self) -> None:
        self.given = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for mypy
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer when the whole request is there."""
        self.given += data
        head, gap, body = self.given.partition(b"\r\n\r\n")
        if not gap:
            return
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        if len(body) >= length:
            self.given = b""
            self.transport.write(self.answer(head, body))

    def answer(self, head: bytes, body: bytes) -> bytes:
        """A success, with a row for every address where the query asks for them."""
        line = head.partition(b"\r\n")[0]
        rows = b""
        if _PATH in line and b"verbose=true" in line:
            rows = b",".join(address.join(self.parts) for address in body.split(b'"')[3::2])
        said = (
            b'{"completedAt":"%b","results":[%b],"startedAt":"%b","status":"COMPLETE"}'
            % (_WHEN.encode(), rows, _WHEN.encode())
        )  # fmt: skip
        kind = b"Content-Type: application/json;charset=utf-8"
        limits = (
            b"X-HubSpot-RateLimit-Max: 10000\r\nX-HubSpot-RateLimit-Remaining: 9999\r\n"
            b"X-HubSpot-RateLimit-Interval-Milliseconds: 1000"
        )
        return b"HTTP/1.1 200 OK\r\n%b\r\n%b\r\nContent-Length: %d\r\n\r\n%b" % (
            kind,
            limits,
            len(said),
            said,
        )


async def serve() -> None:
    """Serve until this process is ended; the first line of the output says where, as the simulator's does."""
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}", "token": TOKEN}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        sys.exit()
