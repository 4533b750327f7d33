"""What the demo and the UI have in common: a local HubSpot, and processes that end with the one that started them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
GRACE = 3
"""Seconds that a process gets to end by itself."""
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TIED = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"
"""Asks Linux for SIGTERM (15) when the parent dies (PR_SET_PDEATHSIG, 1), then becomes the command."""
console = Console(highlight=False, soft_wrap=True)


class DemoError(Exception):
    """Why it cannot go on, in a sentence for the person who started it."""


def command(main: Callable[[], int]) -> NoReturn:
    """Run a command of this folder; a signal, or an error for the person who started it, ends all its processes."""
    for ending in ENDINGS:
        signal.signal(ending, end)
    try:
        sys.exit(main())
    except DemoError as error:
        console.print(f"[bold red]Not done:[/bold red] {escape(str(error))}")
        sys.exit(1)
    except KeyboardInterrupt as interrupt:
        console.print("\nStopped; nothing is left running.")
        sys.exit(128 + interrupt.args[0])


@contextmanager
def the_only_one(path: Path, what: str) -> Iterator[None]:
    """Refuse to wipe the folder of another one that is still running.

    :param path: what is locked as long as one runs.
    :param what: is running, for the error.
    :raises DemoError: another one is running.
    """
    held = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DemoError(f"{what} is running in this folder; wait for its end, or end it") from None
    finally:
        os.close(held)


def environment() -> dict[str, str]:
    """Return the environment for child processes: without settings of your own Airflow, and without your token.

    The token is looked for in every value, because ``make NAME=value`` passes its arguments on under several names.
    """
    token = os.environ.get("HUBPREFS_TOKEN", "").strip()
    return {
        name: value
        for name, value in os.environ.items()
        if "AIRFLOW" not in name and not (token and token in value)
    }


def own_airflow(home: Path, **settings: str) -> dict[str, str]:
    """Return the environment of an Airflow with a home of its own, and this repository's DAGs."""
    return {
        **environment(),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=60",
        **settings,
    }


@contextmanager
def airflow(arguments: list[str], *, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command of Airflow, whose output is added to a log, until the block ends."""
    command = [sys.executable, "-m", "airflow", *arguments]
    with (
        log.open("a") as output,
        child(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        yield process


@contextmanager
def simulator() -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run a local HubSpot in a process of its own, until the block ends; returns it, and what it says when ready."""
    command = [sys.executable, "-m", "airflow_provider_hubprefs.simulator", "--port", "0"]
    command += ["--portal", str(HERE / "portal.json")]
    with (
        tempfile.TemporaryFile("w+") as errors,
        child(
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            errors.seek(0)
            raise DemoError(f"the local HubSpot did not start. {errors.read()[-1000:]}")
        yield process, json.loads(line)


@contextmanager
def child(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a process in a group of its own; end the whole group when the block ends.

    On Linux it also ends when this process is killed.
    """
    tied = [sys.executable, "-c", TIED] if sys.platform == "linux" else []
    process = None
    try:
        with signals_held_back():
            process = subprocess.Popen([*tied, *command], text=True, start_new_session=True, **options)
        yield process
    finally:
        if process is not None:
            with process:
                end_group(process)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Hold signals back while a process is being started: until then there is nothing to end."""
    received: list[int] = []
    before = {ending: signal.signal(ending, lambda number, _: received.append(number)) for ending in ENDINGS}
    try:
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)
    for number in received:
        end(number, None)


def signal_all(processes: Iterable[subprocess.Popen[str]]) -> None:
    """Ask all processes and their groups to end."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def end_group(process: subprocess.Popen[str]) -> None:
    """End a process and all of its group: by SIGTERM, then by SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def end(number: int, frame: FrameType | None) -> None:
    """End the demo and all its processes; a second signal does not interrupt that."""
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt(number)
