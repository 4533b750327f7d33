"""Tokens: which are taken, when they are renewed, and by whom."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from airflow_provider_hubprefs.hubspot.errors import (
    AuthenticationError,
    ForeignAnswerError,
    HubSpotError,
    MalformedAnswerError,
    ServerError,
    SettingsError,
)
from airflow_provider_hubprefs.hubspot.transport.auth import (
    OAuthRefresh,
    StaticToken,
    TokenAnswer,
    token_info_call,
)
from airflow_provider_hubprefs.hubspot.transport.settings import Settings

from . import server as answers
from .conftest import TOKEN, Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.hubspot.transport.client import Client

    from .server import Reaction, Request, Server

SECRETS: dict[str, Any] = {"client_id": "app-1", "client_secret": "s+cret/=&", "refresh_token": "refresh-1"}
OK = answers.json(200, {"status": "COMPLETE"})
EXPIRED = answers.error(401, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired.")


def tokens(number: int, **more: object) -> Reaction:
    said = {"token_type": "bearer", "access_token": f"access-{number}", "expires_in": 1800, **more}
    return answers.json(200, {"refresh_token": "refresh-1", **said})


def refreshes(server: Server) -> list[Request]:
    return [request for request in server.requests if request.target.startswith("/oauth/")]


def bearers(server: Server) -> list[str]:
    return [
        request.headers["authorization"] for request in server.requests if "authorization" in request.headers
    ]


@pytest.fixture
def app(clock: Clock) -> OAuthRefresh:
    return OAuthRefresh(**SECRETS, clock=clock)


@pytest.mark.parametrize(
    "token", ["", None, 7, "pat\n", " pat", "pat na1", "pat\x00", "pät", '"pat\t"', "pat\r\nHost: x"]
)
def test_a_token_that_cannot_be_one_is_refused_without_being_shown(token: Any) -> None:
    with pytest.raises(SettingsError, match=r"token \(the connection's password\): expected") as caught:
        StaticToken(token)

    assert "pat" not in str(caught.value)


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("value", ["", "line\nbreak"])
def test_every_secret_of_an_app_is_needed(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        OAuthRefresh(**{**SECRETS, name: value})


def test_no_printed_form_shows_a_secret(app: OAuthRefresh, client_of: Callable[..., Client]) -> None:
    app.accept(TokenAnswer(access_token="access-1", refresh_token="refresh-2"))
    call = app.refresh_call("v4")

    with client_of("http://127.0.0.1:1", auth=app) as client:
        shown = (
            f"{app!r} {call!r} {client!r} {StaticToken(TOKEN)!r} {token_info_call(TOKEN)!r} {client.usage!r}"
        )

    assert not [secret for secret in (*SECRETS.values(), "access-1", "refresh-2", TOKEN) if secret in shown]
    assert "access-1" not in repr(TokenAnswer(access_token="access-1"))


def test_a_static_token_is_sent_as_it_is_and_never_renewed(
    server: Server, client_of: Callable[..., Client]
) -> None:
    server.script += [OK, EXPIRED]
    client = client_of(server)

    client.send(client.calls.get_definitions())
    with pytest.raises(AuthenticationError, match="has expired or was revoked"):
        client.send(client.calls.get_definitions())

    assert bearers(server) == [f"Bearer {TOKEN}"] * 2


@pytest.mark.parametrize(
    ("version", "dated"), [("v4", "2026-09"), ("2026-03", "2026-03"), ("2026-09", "2026-09")]
)
def test_an_access_token_is_asked_for_by_a_form(
    version: str, dated: str, app: OAuthRefresh, server: Server, client_of: Callable[..., Client]
) -> None:
    server.script += [tokens(1), OK]
    client = client_of(server, auth=app, version=version)

    client.send(client.calls.get_definitions())

    asked, used = server.requests
    assert asked.line == f"POST /oauth/{dated}/token"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "authorization" not in asked.headers
    assert parse_qs(asked.body.decode(), strict_parsing=True) == {
        "grant_type": ["refresh_token"],
        **{name: [value] for name, value in SECRETS.items()},
    }
    assert used.headers["authorization"] == "Bearer access-1"


def test_an_access_token_is_used_until_shortly_before_its_end(
    app: OAuthRefresh, clock: Clock, server: Server, client_of: Callable[..., Client]
) -> None:
    server.script += [tokens(1), OK, OK, tokens(2), OK]
    client = client_of(server, auth=app)

    client.send(client.calls.get_definitions())
    clock.now += 1800 - 61
    client.send(client.calls.get_definitions())
    clock.now += 1
    client.send(client.calls.get_definitions())

    assert bearers(server) == ["Bearer access-1", "Bearer access-1", "Bearer access-2"]


def test_the_margin_of_a_short_lived_token_is_short(app: OAuthRefresh, clock: Clock) -> None:
    app.accept(TokenAnswer(access_token="access-1", expires_in=10))
    clock.now += 8.9
    assert app.token() == "access-1"
    clock.now += 0.2
    assert app.token() is None


def test_a_token_that_expired_in_the_middle_of_a_run_is_renewed_at_once(
    app: OAuthRefresh, clock: Clock, server: Server, client_of: Callable[..., Client]
) -> None:
    server.script += [tokens(1), EXPIRED, tokens(2), OK]
    client = client_of(server, auth=app)

    client.send(client.calls.get_definitions())

    assert bearers(server) == ["Bearer access-1", "Bearer access-2"]
    assert clock.waits == []


def test_a_fresh_token_that_hubspot_calls_expired_is_not_renewed_for_ever(
    app: OAuthRefresh, server: Server, client_of: Callable[..., Client]
) -> None:
    server.script += [tokens(1), EXPIRED, tokens(2), EXPIRED]
    client = client_of(server, auth=app)

    with pytest.raises(AuthenticationError, match="EXPIRED_AUTHENTICATION"):
        client.send(client.calls.get_definitions())

    assert len(refreshes(server)) == 2


REFUSED_TOKENS = {
    "expired": EXPIRED,
    "revoked": answers.error(401, "INVALID_AUTHENTICATION"),
    "another category": answers.error(401, "WHATEVER_COMES"),
    "empty": answers.answer(401),
    "HTML": answers.answer(401, b"<html>", content_type="text/html"),
    "JSON of a gateway": answers.json(401, {"message": "Unauthorized"}),
}


@pytest.mark.parametrize("refused", REFUSED_TOKENS.values(), ids=REFUSED_TOKENS)
def test_any_401_is_answered_by_one_new_token_and_the_second_is_final(
    refused: Reaction, app: OAuthRefresh, server: Server, client_of: Callable[..., Client]
) -> None:
    client = client_of(server, auth=app)

    server.script += [tokens(1), refused, tokens(2), OK]
    assert client.send(client.calls.get_definitions()).complete
    assert bearers(server) == ["Bearer access-1", "Bearer access-2"]

    server.script += [refused, tokens(3), refused]
    with pytest.raises(AuthenticationError) as caught:
        client.send(client.calls.get_definitions())
    assert len(refreshes(server)) == 3
    assert "password" not in str(caught.value)
    assert not server.script


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_page_instead_of_a_token_does_not_blame_the_credentials(
    status: int, app: OAuthRefresh, server: Server, client_of: Callable[..., Client]
) -> None:
    page = answers.answer(status, b"<html>", content_type="text/html")
    server.script += [page, tokens(1), OK]
    client = client_of(server, auth=app, settings=Settings(retry_total=5))

    if status == 400:
        with pytest.raises(ForeignAnswerError, match="A proxy or firewall before HubSpot") as caught:
            client.send(client.calls.get_definitions())
        assert not caught.value.permanent
        assert caught.value.not_applied
    else:
        assert client.send(client.calls.get_definitions()).complete


def test_a_replaced_refresh_token_is_logged_and_not_shown(
    app: OAuthRefresh, caplog: pytest.LogCaptureFixture
) -> None:
    app.accept(TokenAnswer(access_token="access-1", refresh_token="refresh-1"))
    assert caplog.text == ""
    app.accept(TokenAnswer(access_token="access-2", refresh_token="refresh-2"))
    assert "the one in the connection may be void" in caplog.text
    assert "refresh-" not in caplog.text


def test_a_refused_credential_is_named_by_its_kind(
    app: OAuthRefresh, server: Server, client_of: Callable[..., Client]
) -> None:
    server.script += [EXPIRED, tokens(1), EXPIRED, tokens(2), EXPIRED]

    with pytest.raises(AuthenticationError, match=r"field Token .* mistyped or cut off"):
        client_of(server).send(client_of(server).calls.get_definitions())
    with pytest.raises(AuthenticationError, match="client_id, client_secret and refresh_token") as caught:
        client_of(server, auth=app).send(client_of(server).calls.get_definitions())
    assert "password" not in str(caught.value)


def test_a_refresh_token_that_changes_is_used_from_then_on(
    app: OAuthRefresh, clock: Clock, server: Server, client_of: Callable[..., Client]
) -> None:
    server.script += [
        tokens(1, refresh_token="refresh-2"),
        OK,
        tokens(2, refresh_token=None),
        OK,
        tokens(3),
        OK,
    ]
    client = client_of(server, auth=app)

    for _ in range(3):
        client.send(client.calls.get_definitions())
        clock.now += 1800

    sent = [parse_qs(request.body.decode())["refresh_token"] for request in refreshes(server)]
    assert sent == [["refresh-1"], ["refresh-2"], ["refresh-2"]]
    assert app.identity() == "app-1 refresh-1"


def test_new_tokens_are_handed_over_for_masking(clock: Clock) -> None:
    masked: list[str] = []
    app = OAuthRefresh(**SECRETS, on_token=masked.append, clock=clock)

    app.accept(TokenAnswer(access_token="access-1", refresh_token="refresh-2", hub_id=7, scopes="a b"))

    assert masked == ["access-1", "refresh-2"]
    assert (app.hub_id, app.scopes) == (7, ("a", "b"))


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("BAD_REFRESH_TOKEN", "missing or unknown refresh token"),
        ("BAD_CLIENT_ID", "missing or unknown client id"),
    ],
)
def test_a_refusal_is_final_and_says_what_to_do(  # noqa: PLR0917 - pytest names them
    status: str,
    message: str,
    app: OAuthRefresh,
    clock: Clock,
    server: Server,
    client_of: Callable[..., Client],
) -> None:
    said = {"status": status, "message": message, "error": "invalid_grant", "error_description": message}
    server.script.append(answers.json(400, said))
    client = client_of(server, auth=app)

    with pytest.raises(
        AuthenticationError, match="check client_id, client_secret and refresh_token"
    ) as caught:
        client.send(client.calls.get_definitions())

    assert message in str(caught.value)
    assert caught.value.category == status
    assert caught.value.permanent
    assert len(server.requests) == 1
    assert clock.waits == []


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (answers.answer(503), ServerError),
        (answers.drop, HubSpotError),
        (answers.answer(429), HubSpotError),
        (answers.answer(200, b"<html>"), MalformedAnswerError),
    ],
)
def test_a_token_endpoint_that_fails_for_a_moment_is_asked_again(
    failure: Reaction,
    error: type[HubSpotError],
    app: OAuthRefresh,
    server: Server,
    client_of: Callable[..., Client],
) -> None:
    server.script += [failure, tokens(1), OK]
    client = client_of(server, auth=app)

    assert client.send(client.calls.get_definitions()).complete
    assert len(refreshes(server)) == 2
    assert len(server.requests) == 3


def test_a_token_endpoint_that_stays_away_is_given_up_in_time(
    app: OAuthRefresh, clock: Clock, server: Server, client_of: Callable[..., Client]
) -> None:
    server.otherwise = lambda _: answers.answer(503)
    client = client_of(server, auth=app)

    with pytest.raises(ServerError, match="refresh_token"):
        client.send(client.calls.get_definitions())

    assert 200 < sum(clock.waits) <= 300


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": "acc\nXYZ"},
        {"access_token": ""},
        {"access_token": "tökén"},
        {"access_token": "ok", "refresh_token": "a b"},
        {"refresh_token": "refresh-2"},
        {"access_token": 7},
        [],
    ],
)
def test_an_answer_without_a_usable_token_is_malformed_and_shows_nothing_of_it(
    answer: object, app: OAuthRefresh, server: Server, client_of: Callable[..., Client]
) -> None:
    server.script.append(answers.json(200, answer))
    client = client_of(server, auth=app)

    with pytest.raises(MalformedAnswerError) as caught:
        client.send(client.calls.get_definitions())

    assert not [part for part in ("acc\nXYZ", "XYZ", "tök", "a b", "refresh-2") if part in str(caught.value)]
    assert len(server.requests) == 1


@pytest.mark.parametrize("ends", [0, -5, "nan"])
def test_a_token_whose_time_is_over_from_the_start_is_an_error(
    ends: object, app: OAuthRefresh, server: Server, client_of: Callable[..., Client]
) -> None:
    server.script.append(tokens(1, expires_in=ends))
    client = client_of(server, auth=app)

    with pytest.raises(HubSpotError):
        client.send(client.calls.get_definitions())

    assert len(server.requests) == 1


class TokenServer:
    """Gives a token, or fails, once all sixteen threads have come for one."""

    def __init__(self, client: Client, failures: int = 0) -> None:
        self.failures = failures
        self.valid = 0
        self.queue = Queue(client)

    def __call__(self, request: Request) -> Reaction:
        if request.target.startswith("/oauth/"):
            self.queue.all_there.wait(10)
            self.failures -= 1
            if self.failures >= 0:
                return answers.answer(503)
            self.valid += 1
            return tokens(self.valid)
        return OK if request.headers["authorization"] == f"Bearer access-{self.valid}" else EXPIRED


class Queue:
    """The client's lock around its token, which counts who has come to it."""

    def __init__(self, client: Client) -> None:
        inner = getattr(client, "client", client)  # of the client for event loops
        self.lock, inner._token_lock = inner._token_lock, self
        self.came: list[None] = []
        self.all_there = threading.Event()

    async def __aenter__(self) -> None:
        self.came.append(None)
        if len(self.came) >= 16:
            self.all_there.set()
        await self.lock.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await self.lock.__aexit__(None, None, None)


def sixteen(client: Client) -> list[object]:
    """Send from sixteen threads at once."""
    ready = threading.Barrier(16)
    results: list[object] = []

    def work() -> None:
        ready.wait()
        try:
            results.append(client.send(client.calls.get_definitions()).status)
        except HubSpotError as error:
            results.append(type(error))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_sixteen_threads_one_renews_the_token(
    app: OAuthRefresh, server: Server, client_of: Callable[..., Client]
) -> None:
    client = client_of(server, auth=app)
    server.otherwise = issuer = TokenServer(client)

    assert sixteen(client) == ["COMPLETE"] * 16
    assert len(refreshes(server)) == 1

    issuer.valid += 1  # the token is revoked in the middle of the run
    assert sixteen(client) == ["COMPLETE"] * 16
    assert len(refreshes(server)) == 2


def test_sixteen_threads_share_a_failed_renewal(
    app: OAuthRefresh, server: Server, client_of: Callable[..., Client]
) -> None:
    client = client_of(server, auth=app, sleep=lambda seconds: time.sleep(seconds / 100))
    server.otherwise = TokenServer(client, failures=1)

    assert sixteen(client) == ["COMPLETE"] * 16
    assert len(refreshes(server)) == 2
    assert client.usage.retries <= 16  # a thread that comes late shares the second renewal


def test_a_private_apps_token_can_be_asked_about(server: Server, client_of: Callable[..., Client]) -> None:
    server.script.append(answers.json(200, {"hubId": 7, "userId": 8, "appId": 9, "scopes": ["a"], "new": 1}))
    client = client_of(server)

    info = client.send(token_info_call(TOKEN))

    assert (info.hub_id, info.scopes) == (7, ["a"])
    assert server.lines == ["POST /oauth/v2/private-apps/get/access-token-info"]
    assert server.requests[0].json == {"tokenKey": TOKEN}
    assert client.usage.requests == 0
