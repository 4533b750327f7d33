"""A server over loopback that answers as a test says: for what no well-behaved server does.

A :data:`Reaction` writes to the connection and says whether it stays open. The functions below make them.
"""

from __future__ import annotations

import contextlib
import json as jsonlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

Reaction = Callable[[socket.socket], bool]
CLOSE, KEEP = False, True


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as it came over the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return jsonlib.loads(self.body)

    @property
    def line(self) -> str:
        return f"{self.method} {self.target}"


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Reaction:
    """A whole answer; ``retry_after="3"`` becomes ``retry-after: 3``."""
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return lambda connection: _send(connection, head + (b"" if status in {204, 304} else body), KEEP)


def json(status: int, body: object, **headers: str) -> Reaction:
    headers = {"content-type": "application/json;charset=utf-8", **headers}
    return answer(status, jsonlib.dumps(body).encode(), **headers)


def error(status: int, category: str = "VALIDATION_ERROR", message: str = "No.", **headers: str) -> Reaction:
    """HubSpot's error body."""
    said = {"status": "error", "message": message, "correlationId": "c-1", "category": category}
    return json(status, said, **headers)


def cloudflare(status: int) -> Reaction:
    page = b"<!DOCTYPE html><html><head><title>hubapi.com | 5xx</title></head></html>"
    return answer(status, page, content_type="text/html; charset=UTF-8", cf_ray="8f-FRA")


def raw(data: bytes) -> Reaction:
    """These bytes, and no more."""
    return lambda connection: _send(connection, data, CLOSE)


def drop(connection: socket.socket) -> bool:
    """The request was read; then the connection ends without an answer."""
    return CLOSE


def truncated(body: bytes, *, missing: int = 10) -> Reaction:
    return raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(body) + missing) + body)


def endless(head: bytes, piece: bytes, most: int) -> Reaction:
    """A body that goes on until the client hangs up, or ``most`` bytes are sent."""

    def send(connection: socket.socket) -> bool:
        connection.sendall(head)
        sent = 0
        while sent < most:
            connection.sendall(piece)
            sent += len(piece)
        return CLOSE

    return send


def dripping(head: bytes, pause: float) -> Reaction:
    """One byte after the other, each soon enough for a read timeout."""

    def send(connection: socket.socket) -> bool:
        connection.sendall(head)
        while True:
            connection.sendall(b" ")
            time.sleep(pause)

    return send


def _send(connection: socket.socket, data: bytes, keep: bool) -> bool:
    connection.sendall(data)
    return keep


@dataclass
class Server:
    """Answers with ``script``, one reaction after the other; then with ``otherwise``."""

    tls: ssl.SSLContext | None = None
    script: list[Reaction] = field(default_factory=list)
    otherwise: Callable[[Request], Reaction] | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    drop_connections: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):  # the client hung up: some tests are about that
                    outer._serve(self)

        class Listener(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 128
            block_on_close = False

        self._listener = Listener(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()

    @property
    def port(self) -> int:
        return int(self._listener.server_address[1])

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def lines(self) -> list[str]:
        return [request.line for request in self.requests]

    def _serve(self, handler: socketserver.StreamRequestHandler) -> None:
        with self._lock:
            self.connections += 1
            number = self.connections
            dropped = self.drop_connections > 0
            self.drop_connections -= dropped
        if dropped:
            return
        connection = handler.connection
        if self.tls:
            connection = self.tls.wrap_socket(connection, server_side=True)
        with connection, connection.makefile("rb") as reader:
            while (request := _read(reader, number)) is not None:
                with self._lock:
                    self.requests.append(request)
                    reaction = self.script.pop(0) if self.script else None
                if reaction is None:
                    if self.otherwise is None:
                        reaction = error(500, "TEST", "one request more than the script has answers")
                    else:
                        reaction = self.otherwise(request)
                if not reaction(connection):
                    return


def _read(reader: Any, connection: int) -> Request | None:
    line = reader.readline().decode("latin-1").split()
    if len(line) != 3:
        return None
    headers: dict[str, str] = {}
    while (header := reader.readline().decode("latin-1").strip()) != "":
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", "0")))
    return Request(method=line[0], target=line[1], headers=headers, body=body, connection=connection)
