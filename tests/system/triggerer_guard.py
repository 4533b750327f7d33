"""Watches the event loop of a triggerer, and writes to a file each call and each callback that blocks it.

A link to it is ``airflow_local_settings.py`` in the ``config`` folder of a test's AIRFLOW_HOME: Airflow imports it.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

__all__: list[str] = []  # Airflow takes the rest for settings

OURS = "airflow_provider_hubprefs"
LONG = 0.05
"""Seconds of computing without a pause."""


def watch(file: int) -> None:
    """Write down, line by line, what blocks any event loop of this process, and of those it forks.

    :param file: descriptor, opened for appending.
    """
    calls: list[tuple[Any, str, Callable[..., bool]]] = [
        (time, "sleep", lambda *_: True),
        (fcntl, "flock", lambda _, how: not how & (fcntl.LOCK_NB | fcntl.LOCK_UN)),
    ]
    calls += [
        (socket.socket, name, lambda one, *_: one.gettimeout() != 0)
        for name in ("connect", "connect_ex", "send", "sendall", "recv", "recv_into", "accept")
    ]
    for owner, name, blocks in calls:
        setattr(owner, name, _watched(file, name, getattr(owner, name), blocks))
    asyncio.Handle._run = _timed(file, asyncio.Handle._run)  # type: ignore[method-assign,assignment]
    _note(file, what="watching", ours=False)


def _watched(
    file: int, name: str, function: Callable[..., Any], blocks: Callable[..., bool]
) -> Callable[..., Any]:
    def call(*arguments: Any, **more: Any) -> Any:
        if asyncio._get_running_loop() is not None and blocks(*arguments):
            where = traceback.format_stack()
            _note(file, what=name, ours=any(OURS in line for line in where), where=where[-8:])
        return function(*arguments, **more)

    return call


def _timed(file: int, run: Callable[[asyncio.Handle], None]) -> Callable[[asyncio.Handle], None]:
    """Note callbacks that compute for long, by CPU time: by the clock everything takes long on a busy machine."""
    collecting = 0.0

    def collection(phase: str, _: object) -> None:
        nonlocal collecting
        collecting += -time.thread_time() if phase == "start" else time.thread_time()

    def timed(handle: asyncio.Handle) -> None:
        nonlocal collecting
        began, collecting = time.thread_time(), 0.0
        run(handle)
        if (took := time.thread_time() - began - collecting) >= LONG:
            callback = getattr(handle, "_callback", None)
            target = repr(getattr(callback, "__self__", callback))
            ours = OURS in target or "run_trigger" in target
            _note(file, what="computing", ours=ours, seconds=round(took, 3), where=target)

    gc.callbacks.append(collection)  # of all objects that Airflow has loaded: no trigger is the cause
    return timed


def _note(file: int, **what: Any) -> None:
    os.write(file, (json.dumps(what) + "\n").encode())


if "triggerer" in sys.argv and "TEST_GUARD" in os.environ:
    watch(os.open(os.environ["TEST_GUARD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT))
