"""The way to HubSpot and back: what breaks on it, what must never go along."""

from __future__ import annotations

import datetime
import gzip
import ipaddress
import logging
import os
import socket
import socketserver
import ssl
import sys
import threading
import time
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any, NoReturn

import httpx
import pytest
import requests
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
    _SUPPRESS_INSTRUMENTATION_KEY,
    get_value,
)

from airflow_provider_hubprefs import __version__
from airflow_provider_hubprefs.hubspot.errors import (
    BudgetWaitError,
    BurstLimitError,
    ConnectionFailedError,
    HubSpotError,
    MalformedAnswerError,
    SettingsError,
    StoppedError,
    ValidationError,
)
from airflow_provider_hubprefs.hubspot.pacing.pacers import ProcessPacer
from airflow_provider_hubprefs.hubspot.transport import aio
from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
from airflow_provider_hubprefs.hubspot.transport.client import CAUSES, Client
from airflow_provider_hubprefs.hubspot.transport.no_answer import unanswered
from airflow_provider_hubprefs.hubspot.transport.settings import Settings

from . import server as answers
from .conftest import FOR_TASKS_ONLY, TOKEN, Clock
from .server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_hubprefs.hubspot.api.calls import Call

SUBSCRIBER = "jane.doe@example.com"
OK = answers.json(200, {"status": "COMPLETE"})
QUICK = Settings(retry_total=0)
MEGABYTE = 1_000_000


def ask(client: Client) -> Call[Any]:
    return client.calls.get_statuses(SUBSCRIBER)


def failure(client: Client) -> HubSpotError:
    """The error of a call; neither it nor what caused it may name the address or the token."""
    with pytest.raises(HubSpotError) as caught:
        client.send(ask(client))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "jane" not in str(caught.value)
    assert TOKEN not in str(caught.value)
    return caught.value


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def self_signed(tmp_path: Path) -> Iterator[Server]:
    """A server whose certificate is self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with Server(tls=context) as running:
        yield running


# What breaks -----------------------------------------------------------------------------------------


def test_a_refused_connection_is_tried_again_until_the_time_is_over(
    closed_port: int, clock: Clock, client_of: Callable[..., Client]
) -> None:
    error = failure(client_of(f"http://127.0.0.1:{closed_port}"))

    assert isinstance(error, ConnectionFailedError)
    assert "no connection to http://127.0.0.1" in str(error)
    assert error.not_applied
    assert 200 < sum(clock.waits) <= 300


def test_a_call_whose_connection_was_refused_is_sent_when_the_server_is_back(
    server: Server, client_of: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script.append(OK)
    connect = socket.socket.connect
    refusals = [ConnectionRefusedError(), ConnectionRefusedError()]

    def refuse(self: socket.socket, address: Any) -> None:
        if refusals:
            raise refusals.pop()
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    client = client_of(server)

    assert client.send(ask(client)).complete
    assert refusals == []
    assert len(server.requests) == 1


def test_a_connection_that_ends_before_the_request_was_read_is_tried_again(
    server: Server, client_of: Callable[..., Client]
) -> None:
    server.drop_connections = 2
    server.script.append(OK)

    assert client_of(server).send(ask(client_of(server))).complete
    assert server.connections == 3


def test_a_server_that_says_nothing_is_given_up(server: Server, client_of: Callable[..., Client]) -> None:
    hung_up = threading.Event()
    server.script.append(lambda _: not hung_up.wait(10))

    error = failure(client_of(server, settings=Settings(read_timeout=0.2, retry_total=0)))
    hung_up.set()

    assert "did not answer in time" in str(error)
    assert error.retryable
    assert not error.not_applied


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Pad: ",
        b"HTTP/1.1 200 ",
    ],
)
def test_an_answer_that_drips_is_given_up_although_every_byte_is_in_time(
    head: bytes, server: Server, client_of: Callable[..., Client]
) -> None:
    server.script.append(answers.dripping(head, pause=0.05))
    began = time.monotonic()

    error = failure(
        client_of(server, settings=Settings(connect_timeout=0.5, read_timeout=0.5, retry_total=0))
    )

    assert time.monotonic() - began < 3

    assert "did not answer in time" in str(error)
    assert error.retryable


def test_a_name_that_cannot_be_looked_up_is_named_in_the_error(
    monkeypatch: pytest.MonkeyPatch, client_of: Callable[..., Client]
) -> None:
    def unknown(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    error = failure(client_of("api.hubapi.com", settings=QUICK))

    assert "https://api.hubapi.com cannot be looked up; check DNS" in str(error)
    assert error.retryable
    assert error.not_applied


def test_a_certificate_that_is_not_trusted_is_an_error_at_once(
    self_signed: Server, clock: Clock, client_of: Callable[..., Client]
) -> None:
    error = failure(client_of(self_signed))

    assert "no trusted TLS connection" in str(error)
    assert "REQUESTS_CA_BUNDLE" in str(error)
    assert clock.waits == []
    assert self_signed.requests == []


FAILED_HANDSHAKES = {
    "alert internal_error": b"\x15\x03\x03\x00\x02\x02\x50",
    "alert handshake_failure": b"\x15\x03\x03\x00\x02\x02\x28",
    "alert access_denied": b"\x15\x03\x03\x00\x02\x02\x31",
    "a balancer's plain answer": b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n",
    "closed": b"",
}


@pytest.mark.parametrize("said", FAILED_HANDSHAKES.values(), ids=FAILED_HANDSHAKES)
def test_a_handshake_that_fails_is_tried_again_and_was_never_applied(
    said: bytes, client_of: Callable[..., Client]
) -> None:
    greeted = 0

    class Greeter(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            nonlocal greeted
            greeted += 1
            self.request.recv(1000)
            self.request.sendall(said)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as listener:
        threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
        url = f"https://127.0.0.1:{listener.server_address[1]}"
        error = failure(client_of(url, settings=Settings(retry_total=3)))
        listener.shutdown()

    assert "no connection to" in str(error)
    assert (error.retryable, error.not_applied) == (True, True)
    assert greeted > 1


def test_a_connection_that_ends_while_tls_is_agreed_on_is_tried_again(
    server: Server, client_of: Callable[..., Client]
) -> None:
    server.drop_connections = 100
    error = failure(client_of(server.url.replace("http:", "https:"), settings=Settings(retry_total=5)))

    assert "broke before the answer was complete" in str(error) or "no connection to" in str(error)
    assert error.retryable
    assert server.connections > 1


def test_a_bundle_of_certificates_that_is_not_there_is_named_in_the_error(
    monkeypatch: pytest.MonkeyPatch, client_of: Callable[..., Client], clock: Clock
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/bundle.pem")

    assert "REQUESTS_CA_BUNDLE" in str(failure(client_of("api.hubapi.com")))
    assert clock.waits == []


@pytest.mark.parametrize(
    ("error", "kind", "retryable", "not_applied"),
    [
        (requests.exceptions.ConnectTimeout("x"), ConnectionFailedError, True, True),
        (requests.exceptions.ReadTimeout("x"), ConnectionFailedError, True, False),
        (requests.exceptions.InvalidURL("x"), SettingsError, False, False),
        (requests.exceptions.InvalidSchema("SOCKS"), SettingsError, False, False),
        (urllib3.exceptions.ProxySchemeUnknown("foo"), SettingsError, False, False),
        (zlib.error("x"), ConnectionFailedError, True, False),
        (urllib3.exceptions.ProtocolError("x", ConnectionResetError()), ConnectionFailedError, True, False),
        (
            requests.exceptions.SSLError(ssl.SSLCertVerificationError("x")),
            ConnectionFailedError,
            False,
            False,
        ),
        (requests.exceptions.SSLError(ssl.SSLEOFError("x")), ConnectionFailedError, True, False),
    ],
)
def test_every_kind_of_failure_says_whether_hubspot_can_have_acted(
    error: Exception, kind: type[HubSpotError], retryable: bool, not_applied: bool
) -> None:
    found = unanswered(error, CAUSES, what="get_statuses (v4)", url="https://api.hubapi.com")

    assert type(found) is kind
    assert (found.retryable, found.not_applied) == (retryable, not_applied)
    assert "get_statuses (v4)" in str(found)


@pytest.mark.parametrize(
    ("error", "kind", "retryable", "not_applied"),
    [
        (httpx.ConnectTimeout("x"), ConnectionFailedError, True, True),
        (httpx.ConnectError("x"), ConnectionFailedError, True, True),
        (httpx.ProxyError("x"), ConnectionFailedError, True, True),
        (httpx.ReadTimeout("x"), ConnectionFailedError, True, False),
        (httpx.WriteTimeout("x"), ConnectionFailedError, True, False),
        (TimeoutError(), ConnectionFailedError, True, False),
        (httpx.ReadError("x"), ConnectionFailedError, True, False),
        (httpx.RemoteProtocolError("x"), ConnectionFailedError, True, False),
        (httpx.UnsupportedProtocol("x"), SettingsError, False, False),
        (zlib.error("x"), ConnectionFailedError, True, False),
        (FileNotFoundError("x"), ConnectionFailedError, False, False),
        (ImportError("socksio"), SettingsError, False, False),
        (ValueError("x"), SettingsError, False, False),
    ],
)
def test_every_kind_of_failure_in_an_event_loop_says_it_too(
    error: Exception, kind: type[HubSpotError], retryable: bool, not_applied: bool
) -> None:
    found = unanswered(error, aio.CAUSES, what="get_statuses (v4)", url="https://api.hubapi.com")

    assert type(found) is kind
    assert (found.retryable, found.not_applied) == (retryable, not_applied)
    assert "get_statuses (v4)" in str(found)


# What is too much ------------------------------------------------------------------------------------


def memory_of(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HEADS = {
    "announced": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
    "unannounced": b"HTTP/1.1 200 OK\r\n\r\n",
    "of an error": b"HTTP/1.1 500 X\r\nContent-Length: 1000000000\r\n\r\n",
    "of a redirect": b"HTTP/1.1 302 X\r\nLocation: /x\r\nContent-Length: 1000000000\r\n\r\n",
    "in chunks": CHUNKED,
}


@pytest.mark.parametrize("head", HEADS)
def test_an_answer_of_a_gigabyte_is_refused_and_takes_no_memory(
    head: str, server: Server, client_of: Callable[..., Client]
) -> None:
    piece = b" " * 65_536
    if head == "in chunks":
        piece = b"10000\r\n" + piece + b"\r\n"
    server.script.append(answers.endless(HEADS[head], piece, most=1000 * MEGABYTE))
    client = client_of(server, settings=Settings(max_answer_bytes=MEGABYTE))
    errors: list[HubSpotError] = []

    memory = memory_of(lambda: errors.append(failure(client)))

    assert isinstance(errors[0], MalformedAnswerError)
    assert "longer than 1000000 bytes" in str(errors[0])
    assert not errors[0].retryable
    assert memory < 10 * MEGABYTE


def test_a_small_answer_that_unpacks_to_a_huge_one_is_refused_and_takes_no_memory(
    server: Server, client_of: Callable[..., Client]
) -> None:
    bomb = gzip.compress(gzip.compress(b" " * 200 * MEGABYTE, 6), 6)
    server.script += [
        answers.answer(200, gzip.compress(b" " * 50 * MEGABYTE, 6), content_encoding="gzip"),
        answers.answer(200, bomb, content_encoding="gzip, gzip"),
    ]
    client = client_of(server, settings=Settings(max_answer_bytes=MEGABYTE))

    def both() -> None:
        assert "longer than" in str(failure(client))
        assert "an encoding that was not asked for" in str(failure(client))

    assert memory_of(both) < 20 * MEGABYTE


def test_an_answer_is_unpacked(server: Server, client_of: Callable[..., Client]) -> None:
    body = gzip.compress(b'{"status": "COMPLETE", "results": ' + b" " * 300_000 + b"[]}")
    server.script.append(answers.answer(200, body, Content_ENCODING="gzip"))
    client = client_of(server)

    assert client.send(ask(client)).complete


def test_a_packed_answer_that_is_cut_off_or_garbage_is_retried(
    server: Server, client_of: Callable[..., Client]
) -> None:
    whole = gzip.compress(b'{"status": "COMPLETE"}')
    server.script += [
        answers.answer(200, b"garbage", content_encoding="gzip"),
        answers.answer(200, whole[:15], content_encoding="gzip"),
        OK,
    ]
    client = client_of(server)

    assert client.send(ask(client)).complete
    assert len(server.requests) == 3


def test_an_answer_in_chunks_is_put_together(server: Server, client_of: Callable[..., Client]) -> None:
    server.script.append(
        answers.raw(CHUNKED + b'4\r\n{"st\r\n6\r\natus":\r\n3\r\n"X"\r\n1\r\n}\r\n0\r\n\r\n')
    )
    client = client_of(server)

    assert client.send(ask(client)).status == "X"


def test_chunks_that_are_cut_off_are_retried(server: Server, client_of: Callable[..., Client]) -> None:
    server.script += [answers.raw(CHUNKED + b'4\r\n{"st\r\n'), OK]
    client = client_of(server)

    assert client.send(ask(client)).complete


# What goes along -------------------------------------------------------------------------------------


def test_requests_say_who_asks_and_what_they_take(server: Server, client_of: Callable[..., Client]) -> None:
    server.script += [OK, OK]
    client = client_of(server)

    client.send(ask(client))
    client.send(client.calls.batch_unsubscribe_all([SUBSCRIBER]))

    get, post = (request.headers for request in server.requests)
    assert get["user-agent"] == f"airflow-provider-hubprefs/{__version__}"
    assert get["accept"] == "application/json"
    assert get["authorization"] == f"Bearer {TOKEN}"
    assert "content-type" not in get
    assert post["content-type"] == "application/json"


def test_connections_are_kept_and_used_again(server: Server, client_of: Callable[..., Client]) -> None:
    server.script += [OK, answers.error(404), answers.answer(204), OK]
    client = client_of(server, settings=QUICK)

    client.send(ask(client))
    failure(client)
    failure(client)
    client.send(ask(client))

    assert server.connections == 1


def test_a_connection_with_the_rest_of_an_answer_on_it_is_not_used_again(
    server: Server, client_of: Callable[..., Client]
) -> None:
    server.script += [answers.answer(200, b" " * 2 * MEGABYTE), OK]
    client = client_of(server, settings=Settings(max_answer_bytes=MEGABYTE))

    failure(client)

    assert client.send(ask(client)).complete
    assert server.connections == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_token_follows_no_redirect(status: int, server: Server, client_of: Callable[..., Client]) -> None:
    with Server() as elsewhere:
        server.script.append(answers.answer(status, b"moved", location=f"{elsewhere.url}/x"))

        error = failure(client_of(server))

        assert elsewhere.requests == []
        assert elsewhere.connections == 0
    assert "redirects are never followed" in str(error)
    assert len(server.requests) == 1


def test_links_in_an_answer_are_not_followed(server: Server, client_of: Callable[..., Client]) -> None:
    with Server() as elsewhere:
        server.script.append(answers.json(200, {"status": "PENDING", "links": {"status": elsewhere.url}}))
        client = client_of(server)

        assert client.send(ask(client)).links == {"status": elsewhere.url}
        assert elsewhere.connections == 0


def test_cookies_are_not_kept(server: Server, client_of: Callable[..., Client]) -> None:
    server.script += [answers.json(200, {"status": "COMPLETE"}, set_cookie="__cf_bm=x; path=/"), OK]
    client = client_of(server)

    client.send(ask(client))
    client.send(ask(client))

    assert "cookie" not in server.requests[1].headers


def test_a_netrc_file_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server, client_of: Callable[..., Client]
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login other password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    server.script.append(OK)
    client = client_of(server)

    client.send(ask(client))

    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def proxied(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, url)
        monkeypatch.setenv(name.lower(), url)


def test_loopback_is_not_asked_for_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, server: Server, client_of: Callable[..., Client]
) -> None:
    server.script.append(OK)
    with Server() as proxy:
        proxied(monkeypatch, proxy.url)
        client = client_of(server)
        client.send(ask(client))

        assert proxy.connections == 0
    assert len(server.requests) == 1


def test_hubspot_is_asked_for_through_a_proxy_that_never_sees_the_token(
    monkeypatch: pytest.MonkeyPatch, server: Server, client_of: Callable[..., Client]
) -> None:
    server.otherwise = lambda _: answers.answer(407)
    proxied(monkeypatch, server.url.replace("://", "://user:proxy-secret@"))

    error = failure(client_of("api.hubapi.com", settings=QUICK))

    assert [request.line for request in server.requests] == ["CONNECT api.hubapi.com:443"]
    assert "Bearer" not in str(server.requests)
    assert "through the proxy" in str(error)
    assert "407" in str(error)
    assert "proxy-secret" not in str(error)
    assert error.not_applied


@pytest.mark.parametrize(("status", "again"), [(407, False), (403, True), (502, True)])
def test_a_login_that_the_proxy_refuses_is_not_tried_again(
    status: int,
    again: bool,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    client_of: Callable[..., Client],
) -> None:
    server.otherwise = lambda _: answers.answer(status)
    proxied(monkeypatch, server.url.replace("://", "://user:proxy-secret@"))

    failure(client_of("api.hubapi.com", settings=Settings(retry_total=3)))

    assert (len(server.requests) > 1) == again


@pytest.mark.parametrize("proxy", ["foo://127.0.0.1:1", "http://[", "socks5://127.0.0.1:1"])
def test_a_proxy_that_cannot_be_used_is_named_in_the_error(
    proxy: str, monkeypatch: pytest.MonkeyPatch, client_of: Callable[..., Client]
) -> None:
    proxied(monkeypatch, proxy)
    client = client_of("api.hubapi.com", settings=QUICK)

    error = str(failure(client)).lower()

    # httpx takes "[" for a proxy's name, and looks it up.
    assert "prox" in error or (proxy == "http://[" and hasattr(client, "aclose") and "dns" in error)


# Threads, budget, bookkeeping ------------------------------------------------------------------------


def test_one_client_serves_many_threads(server: Server, client_of: Callable[..., Client]) -> None:
    server.otherwise = lambda request: answers.json(
        200, {"status": request.target.split("/")[4].split("%")[0]}
    )
    client = client_of(server)
    wrong: list[object] = []

    def work(number: int) -> None:
        for step in range(20):
            status = client.send(client.calls.get_unsubscribe_all(f"{number}-{step}@example.com")).status
            if status != f"{number}-{step}":
                wrong.append(status)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert len(server.requests) == 160
    assert client.usage.requests == 160
    assert client.usage.retries == 0


def test_a_client_counts_what_it_spends(
    server: Server, clock: Clock, client_of: Callable[..., Client]
) -> None:
    server.script += [answers.answer(503), answers.answer(429), OK]
    client = client_of(server)

    client.send(ask(client))

    assert client.usage.requests == 3
    assert client.usage.retries == 2
    assert client.usage.throttled == 1
    assert client.usage.waited_for_budget == pytest.approx(sum(clock.waits[2:]))


def test_a_429_makes_all_clients_of_the_budget_pause(
    server: Server, clock: Clock, client_of: Callable[..., Client]
) -> None:
    pacer = ProcessPacer(limit=100, clock=clock)
    server.script += [answers.answer(429), OK]
    first = client_of(server, pacer=pacer, settings=QUICK)
    with pytest.raises(BurstLimitError):
        first.send(ask(first))

    second = client_of(server, pacer=pacer)
    second.send(ask(second))

    assert clock.waits == [10.0]


def test_no_429_stops_other_clients_for_longer_than_a_call_may_take(
    server: Server, clock: Clock, client_of: Callable[..., Client]
) -> None:
    server.script += [answers.answer(429, retry_after="86400"), OK]
    client = client_of(server, settings=Settings(retry_total=30))
    with pytest.raises(BurstLimitError):
        client.send(ask(client))

    client.send(ask(client))

    assert clock.waits == [30.0]


@FOR_TASKS_ONLY
def test_ctrl_c_while_waiting_for_the_budget_loses_no_slot(
    server: Server, clock: Clock, client_of: Callable[..., Client]
) -> None:
    server.script += [OK, OK]
    pacer = ProcessPacer(limit=1, interval=10, clock=clock)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    interrupted = client_of(server, pacer=pacer, sleep=interrupt)
    interrupted.send(ask(interrupted))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            interrupted.send(ask(interrupted))

    later = client_of(server, pacer=pacer)
    later.send(ask(later))
    assert clock.waits == [10.0]
    assert len(server.requests) == 2


@FOR_TASKS_ONLY
def test_ctrl_c_while_waiting_for_the_answer_loses_no_slot(
    server: Server, clock: Clock, client_of: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    pacer = ProcessPacer(limit=1, interval=10, clock=clock)
    client = client_of(server, pacer=pacer)

    def interrupt(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(requests.adapters.HTTPAdapter, "send", interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.send(ask(client))

    server.script.append(OK)
    client.send(ask(client))
    assert clock.waits == [10.0]


def test_every_retry_is_logged(
    server: Server, client_of: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    server.script += [answers.cloudflare(502), OK]
    client = client_of(server)

    with caplog.at_level(logging.INFO):
        client.send(ask(client))

    logged = [record.getMessage() for record in caplog.records if "hubprefs" in record.name]
    assert len(logged) == 1
    assert "HubSpot answered 502 to get_statuses (2026-09)" in logged[0]
    assert "not JSON [correlation id 8f-FRA]; attempt 1, next in" in logged[0]


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_a_signal_handler_may_stop_it_wherever_a_rest_has_come_to(seconds: float) -> None:
    def at(line: int, client: Client, ended: list[str]) -> int:
        """Rest, with a stop between two lines of whatever Python runs meanwhile; return how many lines it had."""
        seen = 0

        def trace(*_: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == line:
                sys.settrace(None)
                client.stop()
            return trace

        sys.settrace(trace)
        try:
            client.rest(seconds)
        except StoppedError:
            ended.append("stopped")
        finally:
            sys.settrace(None)
        return seen

    ended: list[str] = []
    for line in range(1, at(0, Client(StaticToken(TOKEN)), [])):
        arguments = (line, Client(StaticToken(TOKEN)), ended)
        rest = threading.Thread(target=at, args=arguments, daemon=True)  # who waits for itself never ends
        rest.start()
        rest.join(10)
        assert not rest.is_alive(), f"stopped after line {line}, it rests on"
    assert ended


@pytest.mark.parametrize(
    "key",
    [_SUPPRESS_INSTRUMENTATION_KEY, _SUPPRESS_HTTP_INSTRUMENTATION_KEY],
    ids=["all", "http"],
)
def test_no_span_of_an_http_library_names_the_path(
    key: str, server: Server, client_of: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instrumentations ask for these keys where they would begin a span: around the library's own ``send``."""
    asked: list[object] = []
    for library, method in ((requests.Session, "send"), (httpx.AsyncHTTPTransport, "handle_async_request")):
        original = getattr(library, method)

        def instrumented(*arguments: Any, _original: Any = original, **options: Any) -> Any:
            asked.append(get_value(key))
            return _original(*arguments, **options)

        monkeypatch.setattr(library, method, instrumented)
    server.script += [OK, answers.answer(503), OK]
    client = client_of(server)

    client.send(ask(client))
    client.send(ask(client))

    assert asked == [True] * 3
    assert get_value(key) is None


def test_an_error_of_hubspots_about_an_address_with_spaces_shows_no_part_of_it(
    server: Server, client_of: Callable[..., Client]
) -> None:
    server.script += [answers.error(400, message="jane doe@example.com is not a valid email address")]
    client = client_of(server)

    with pytest.raises(ValidationError) as caught:
        client.send(client.calls.get_statuses("jane doe@example.com"))

    assert "jane" not in str(caught.value)


@FOR_TASKS_ONLY
def test_no_frame_of_an_error_holds_the_token(server: Server, client_of: Callable[..., Client]) -> None:
    server.script.append(answers.answer(503))

    client = client_of(server, settings=QUICK)
    call = ask(client)
    with pytest.raises(HubSpotError) as caught:
        client.send(call)

    frames = [entry.frame.f_locals for entry in caught.traceback]
    assert len(frames) > 5
    held = repr([value for local in frames[1:] for value in local.values()])
    assert TOKEN not in held
    assert "jane" not in held


# Processes -------------------------------------------------------------------------------------------


def test_a_client_used_before_a_fork_is_right_in_every_process(server: Server) -> None:
    """The answer says who was asked about; two children and their parent ask at once, and 20 times each."""
    server.otherwise = lambda request: answers.json(
        200, {"status": request.target.split("/")[4].split("%")[0]}
    )
    client = Client(StaticToken(TOKEN), host=server.url, pacer=ProcessPacer(limit=1000))

    def right(name: str) -> int:
        return sum(
            client.send(client.calls.get_statuses(f"{name}-{number}@example.com")).status
            == f"{name}-{number}"
            for number in range(20)
        )

    assert right("before") == 20
    children = []
    client._usage_lock.acquire()  # as if another thread were counting
    for name in ("first", "second"):
        if not (pid := os.fork()):
            os._exit(right(name))
        children.append(pid)
    client._usage_lock.release()
    assert right("parent") == 20
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [20, 20]
    client.close()


@FOR_TASKS_ONLY
def test_more_threads_than_connections_are_no_reason_for_warnings(
    server: Server, client_of: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    together = threading.Barrier(48)
    server.otherwise = lambda _: lambda connection: bool(together.wait(20) or True) and OK(connection)
    client = client_of(server)
    threads = [threading.Thread(target=client.send, args=(ask(client),)) for _ in range(48)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(server.requests) == 48
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", b'{"status":"COMPLETE"}'),
        ("x-gzip", gzip.compress(b'{"status":"COMPLETE"}')),
        ("deflate", zlib.compress(b'{"status":"COMPLETE"}')),
    ],
    ids=["no name", "x-gzip", "deflate"],
)
def test_an_answer_repacked_on_the_way_is_read(
    encoding: str, body: bytes, server: Server, client_of: Callable[..., Client]
) -> None:
    server.script.append(answers.answer(200, body, content_encoding=encoding))

    assert client_of(server).send(ask(client_of(server))).complete


# Time ------------------------------------------------------------------------------------------------


def test_waiting_for_the_budget_counts(
    server: Server, clock: Clock, client_of: Callable[..., Client]
) -> None:
    pacer = ProcessPacer(limit=1000, clock=clock)
    settings = Settings(retry_total=3)

    def rest(connection: socket.socket) -> bool:
        pacer.pause(15)
        return answers.answer(503)(connection)

    server.script += [rest, OK]
    began = clock.now
    with pytest.raises(BudgetWaitError, match="retry_total"):
        client_of(server, pacer=pacer, settings=settings).send(ask(client_of(server)))
    assert clock.now - began <= 3
    assert len(server.requests) == 1

    pacer.pause(3600)
    began = clock.now
    error = failure(client_of(server, pacer=pacer, settings=settings))
    assert isinstance(error, BudgetWaitError)
    assert (error.retryable, error.not_applied, error.permanent) == (True, True, False)
    assert clock.now - began <= 13
    assert len(server.requests) == 1


@pytest.mark.parametrize("then", [answers.answer(503), answers.drop, answers.answer(429, retry_after="1")])
def test_after_a_migration_other_failures_still_have_their_retries(
    then: answers.Reaction, server: Server, clock: Clock, client_of: Callable[..., Client]
) -> None:
    server.script += [answers.error(477, retry_after="600"), then, then, OK]
    client = client_of(server)

    assert client.send(ask(client)).complete
    assert clock.now > 1600


@pytest.mark.parametrize("interval", ["3600000", "60001", "9" * 12])
def test_one_absurd_interval_stops_no_request(
    interval: str, server: Server, clock: Clock, client_of: Callable[..., Client]
) -> None:
    absurd = {
        "x_hubspot_ratelimit_max": "1",
        "x_hubspot_ratelimit_remaining": "0",
        "x_hubspot_ratelimit_interval_milliseconds": interval,
    }
    server.script += [answers.json(200, {"status": "COMPLETE"}, **absurd), OK, OK]
    client = client_of(server)
    began = clock.now

    for _ in range(3):
        client.send(ask(client))

    assert clock.now - began < 11
