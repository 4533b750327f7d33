"""What only the client of event loops can get wrong: blocking the loop, and being cancelled."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.hubspot.pacing.pacers import BusyError, ProcessPacer, SharePacer, Ticket
from airflow_provider_hubprefs.hubspot.pacing.store import pacer_for
from airflow_provider_hubprefs.hubspot.transport import aio
from airflow_provider_hubprefs.hubspot.transport.aio import AsyncClient
from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
from airflow_provider_hubprefs.hubspot.transport.settings import Settings
from tests.triggers.loop_guard import run_guarded

from . import server as answers
from .conftest import TOKEN, Clock
from .server import Server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from airflow_provider_hubprefs.hubspot.pacing.pacers import Pacer

OK = answers.json(200, {"status": "COMPLETE"})


def client_on(server: Server, pacer: Pacer, **more: Any) -> AsyncClient:
    return AsyncClient(StaticToken(TOKEN), host=server.url, pacer=pacer, **more)


async def ask(client: AsyncClient) -> Any:
    return await client.send(client.calls.get_statuses("jane@example.com"))


async def cancelled(work: asyncio.Task[Any]) -> bool:
    work.cancel()
    try:
        await work
    except asyncio.CancelledError:
        return True
    return False


class Recording(ProcessPacer):
    """A pacer that notes which thread asks it what.

    :param gate: `wait` returns once it is open.
    """

    def __init__(self, *, blocks: bool, gate: threading.Event | None = None) -> None:
        super().__init__(limit=10)
        self.blocks = blocks
        self.gate = gate
        self.asked: list[str] = []
        self.threads: set[int] = set()

    def wait(self, ticket: Ticket, *, blocking: bool = True) -> float:
        self._note("wait", blocking)
        if self.gate is not None:
            self.gate.wait(10)
        wait = super().wait(ticket)
        self.asked.append("waited")
        return wait

    def done(self, ticket: Ticket, headers: Mapping[str, str], *, blocking: bool = True) -> None:
        self._note("done", blocking)
        super().done(ticket, headers)

    def pause(self, seconds: float | None = None, *, blocking: bool = True) -> None:
        self._note("pause", blocking)
        super().pause(0)

    def _note(self, what: str, blocking: bool) -> None:
        if self.blocks and not blocking:
            raise BusyError
        self.asked.append(what)
        self.threads.add(threading.get_ident())


@pytest.mark.parametrize("blocks", [True, False])
def test_a_pacer_whose_store_may_block_is_asked_in_another_thread(server: Server, blocks: bool) -> None:
    pacer = Recording(blocks=blocks)
    server.script += [answers.answer(429), OK]

    async def main() -> None:
        async with client_on(server, pacer, settings=Settings(retry_first_wait=0.01)) as client:
            await ask(client)

    asyncio.run(main())

    assert set(pacer.asked) == {"wait", "waited", "done", "pause"}
    assert (threading.get_ident() in pacer.threads) is not blocks


def test_a_budget_in_a_file_is_asked_in_the_loop_unless_it_is_locked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that finds it locked waits in a thread, and goes on there with the same ticket."""
    pacer = SharePacer(pacer_for(f"file://{tmp_path}", "key"), 1.0)
    server.script += [OK] * 4
    in_threads: list[str] = []

    class Noting(ThreadPoolExecutor):
        def submit(self, function: Any, /, *arguments: Any, **more: Any) -> Any:
            in_threads.append(function.__name__)
            return super().submit(function, *arguments, **more)

    threads = Noting(1)
    monkeypatch.setattr(aio, "_budget_threads", lambda _: threads)

    async def main() -> None:
        async with client_on(server, pacer) as client:
            await ask(client)  # makes the file
            in_threads.clear()
            await ask(client)
            assert in_threads == []
            (file,) = tmp_path.iterdir()
            with file.open("rb") as other:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                asking = asyncio.create_task(ask(client))
                await asyncio.sleep(0.2)
                assert len(server.requests) == 2
            assert (await asking).complete
            assert in_threads == ["wait"]
            server.script[:] = [slowly]
            asking = asyncio.create_task(ask(client))
            while not asked.is_set():
                await asyncio.sleep(0.01)
            with file.open("rb") as other:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free.set()
                await asyncio.sleep(0.2)
                assert not asking.done()
            await asyncio.wait([asking])
            assert in_threads == ["wait", "done"]

    asked, free = threading.Event(), threading.Event()

    def slowly(connection: socket.socket) -> bool:
        asked.set()
        free.wait(10)
        return OK(connection)

    run_guarded(main())


def test_cancelled_while_waiting_for_the_budget_gives_the_place_back(server: Server) -> None:
    pacer = ProcessPacer(limit=1, interval=10, clock=Clock())
    server.script += [OK, OK]

    async def main() -> None:
        async with client_on(server, pacer) as client:
            await ask(client)
            waiting = asyncio.create_task(ask(client))
            await asyncio.sleep(0.05)
            assert await cancelled(waiting)

    asyncio.run(main())
    # Only the answered request's slot is in use: a client that asks now is promised the next one.
    assert pacer.wait(Ticket()) == 10
    assert len(server.requests) == 1


def test_cancelled_while_waiting_for_the_answer_gives_the_place_back(server: Server) -> None:
    pacer = Recording(blocks=True)
    hung_up = threading.Event()
    server.script += [lambda _: not hung_up.wait(10), OK]

    async def main() -> None:
        async with client_on(server, pacer) as client:
            asking = asyncio.create_task(ask(client))
            while not server.requests:
                await asyncio.sleep(0.01)
            assert await cancelled(asking)
            assert pacer.asked == ["wait", "waited", "done"]
            hung_up.set()
            assert (await ask(client)).complete

    asyncio.run(main())
    assert server.connections == 2  # the first one's answer may still come: it is not used again


def test_cancelled_while_the_pacer_is_asked_gives_back_what_was_promised_meanwhile(server: Server) -> None:
    gate = threading.Event()
    pacer = Recording(blocks=True, gate=gate)

    async def main() -> None:
        async with client_on(server, pacer) as client:
            asking = asyncio.create_task(ask(client))
            while not pacer.asked:
                await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.sleep(0.05)
            asking.cancel()  # twice
            gate.set()
            assert await cancelled(asking)

    asyncio.run(main())
    assert pacer.asked == ["wait", "waited", "done"]
    assert server.requests == []


def test_cancelled_while_the_token_is_renewed_leaves_the_others_to_renew_it(server: Server) -> None:
    from airflow_provider_hubprefs.hubspot.transport.auth import OAuthRefresh

    hung_up = threading.Event()
    tokens = answers.json(200, {"access_token": "access-1", "expires_in": 1800})
    server.script += [lambda _: not hung_up.wait(10), tokens, OK]
    auth = OAuthRefresh(client_id="a", client_secret="b", refresh_token="c")

    async def main() -> None:
        async with AsyncClient(auth, host=server.url) as client:
            first = asyncio.create_task(ask(client))
            while not server.requests:
                await asyncio.sleep(0.01)
            second = asyncio.create_task(ask(client))
            await asyncio.sleep(0.05)
            assert await cancelled(first)
            hung_up.set()
            assert (await second).complete

    asyncio.run(main())
    assert [line.split("?")[0].rpartition("/")[2] for line in server.lines[:2]] == ["token", "token"]


def test_a_redirect_to_nowhere_is_a_redirect(server: Server) -> None:
    server.script.append(answers.answer(302, location="http://["))

    async def main() -> None:
        async with client_on(server, ProcessPacer()) as client:
            with pytest.raises(Exception, match="redirects are never followed"):
                await ask(client)

    asyncio.run(main())


def test_a_client_that_sent_nothing_can_be_closed(server: Server) -> None:
    async def main() -> None:
        async with client_on(server, ProcessPacer()):
            pass

    asyncio.run(main())
    assert server.connections == 0
