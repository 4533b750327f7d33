"""Runs a coroutine, and fails where it keeps its event loop from its other work.

What blocks is named by what it does, not by how long it took: on a busy machine everything takes long. Sleeping,
connecting or talking through a blocking socket and waiting for a file's lock in the loop's thread are errors at once;
so is computing for long (of the thread's own time) without a pause.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import socket
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
LONGEST = 0.05
"""Seconds of the loop's own thread; what others do to the machine meanwhile does not count."""


class LoopBlockedError(AssertionError):
    """Something kept the event loop waiting."""


def run_guarded(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a loop of its own.

    :raises LoopBlockedError: something blocked the loop, also where the coroutine swallowed the error.
    """
    import airflow.jobs.triggerer_job_runner  # noqa: F401 - a triggerer has loaded this long before

    here = threading.get_ident()
    blocked: list[str] = []

    def guarded(name: str, function: Callable[..., Any], *, when: Callable[..., bool]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if threading.get_ident() == here and when(*arguments):
                blocked.append(name)
                raise LoopBlockedError(name)
            return function(*arguments, **more)

        return call

    def blocking(one: Any, *_: Any) -> bool:
        return isinstance(one, socket.socket) and one.gettimeout() != 0

    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        if (took := time.thread_time() - began) >= LONGEST and threading.get_ident() == here:
            blocked.append(f"{took:.3f} s of computing in {handle!r}")

    with ExitStack() as patches:
        patches.enter_context(patch("time.sleep", guarded("time.sleep", time.sleep, when=lambda *_: True)))
        waits = lambda _, how: not how & (fcntl.LOCK_NB | fcntl.LOCK_UN)  # noqa: E731
        patches.enter_context(patch("fcntl.flock", guarded("flock", fcntl.flock, when=waits)))
        for name in ("connect", "connect_ex", "send", "sendall", "recv", "recv_into", "accept"):
            method = getattr(socket.socket, name)
            patches.enter_context(
                patch.object(socket.socket, name, guarded(f"socket.{name}", method, when=blocking))
            )
        patches.enter_context(patch.object(asyncio.Handle, "_run", timed))
        gc.disable()  # a collection of all that Airflow has loaded is no fault of the coroutine's
        patches.callback(gc.enable)
        result = asyncio.run(work)
    if blocked:
        raise LoopBlockedError("; ".join(blocked))
    return result
