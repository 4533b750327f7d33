"""Processes of system tests: each in a group of its own, all of them ended at the end of a block."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ENDS_WITHIN = 15
"""Seconds that a process has to end after SIGTERM."""
_TIED = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"
"""Asks Linux for SIGTERM (15) when the parent dies (PR_SET_PDEATHSIG, 1), then becomes the command."""


class Processes:
    """Starts processes, and ends all of them when the block is left, also by an exception.

    On Linux they also end when this process is killed.
    """

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in self.running.values():
                signal_group(process.pid, number)
            deadline = time.monotonic() + ENDS_WITHIN
            for process in self.running.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.1, deadline - time.monotonic()))

    def start(self, name: str, command: list[str], *, env: Mapping[str, str], log: Path) -> None:
        """Start a process; its output is added to ``log``."""
        tied = [sys.executable, "-c", _TIED] if sys.platform == "linux" else []
        with log.open("ab") as output:
            self.running[name] = subprocess.Popen(
                [*tied, *command],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Fail when one of them has ended."""
        for name, process in self.running.items():
            assert process.poll() is None, f"{name} ended with {process.returncode}"


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group, if there still is one."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def processes_with(text: str) -> list[str]:
    """Command lines of the processes with a text in their environment or command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if folder.name != str(os.getpid()) and text.encode() in command + environment:
            found.append(f"{folder.name}: {command.replace(bytes(1), b' ').decode(errors='replace')}")
    return found


def none_is_left(text: str) -> bool:
    """Whether all processes with a text have ended; those just killed get a moment."""
    return bool(wait_for(f"the end of processes with {text}", lambda: not processes_with(text), timeout=15))


def wait_for(what: str, condition: Callable[[], Any], *, timeout: float, every: float = 0.3) -> Any:
    """Wait until a condition holds, and return what it gave; fail after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {timeout} s in vain for {what}"
        time.sleep(every)
    return found
