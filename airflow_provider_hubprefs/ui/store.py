"""The files of a run, read by the API server: nothing outside of ``[hubprefs] output``, whatever an XCom says.

The author of a DAG writes its XComs. So an XCom never says what is opened. Its folder only counts if it is, letter by
letter, below the configured one, and ends with DAG, run, task and map index as the address of the page has them, for
which the user's rights were checked. Below a local folder no symbolic link is followed.
"""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import Future
from threading import BoundedSemaphore, Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_hubprefs.bulk.page.letters import clean
from airflow_provider_hubprefs.bulk.report.folder import name_of
from airflow_provider_hubprefs.compat import ObjectStoragePath, conf
from airflow_provider_hubprefs.storage import is_whole, local_path, without_connection

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

LARGEST = 5_000_000
"""Bytes of a report that are read, at most; one of a million rows has fewer than 100,000."""


LONGEST = 10.0
"""Seconds that a page waits for a store."""

_waits = BoundedSemaphore(8)
"""For stores, at the same time: all pages of Airflow's API server share 40 threads, and a tab asks every 2 seconds."""


class UnreadableError(Exception):
    """A file cannot be shown; the text says which store it is in, and what to do."""


def in_time(read: Callable[[], Result]) -> Result:
    """Read from a store in a thread of its own, so that a store that does not answer keeps none of the API server's.

    :raises UnreadableError: it takes longer than :data:`LONGEST`, or too many such reads have not ended.
    """
    waits = _waits
    if not waits.acquire(timeout=1):
        raise UnreadableError("The store of [hubprefs] output is slow, and too many pages wait for it")
    found: Future[Result] = Future()

    def work() -> None:
        try:
            found.set_result(read())
        except BaseException as error:  # noqa: BLE001 - the page says it
            found.set_exception(error)
        finally:
            waits.release()

    Thread(target=work, name="hubprefs-store", daemon=True).start()
    try:
        return found.result(LONGEST)
    except TimeoutError:
        raise UnreadableError(
            f"The store of [hubprefs] output has not answered in {LONGEST:.0f} seconds"
        ) from None


def tail_of(key: dict[str, Any]) -> list[str]:
    """Names of the folders that are a task instance's own: those that the run's folder ends with."""
    names = [name_of(key[name]) for name in ("dag_id", "run_id", "task_id")]
    return names if key["map_index"] < 0 else [*names, str(key["map_index"])]


class TaskFiles:
    """The files of one task instance's run.

    :param folder: where they are, as the XCom says.
    :param key: of the task instance: ``dag_id``, ``run_id``, ``task_id``, ``map_index``.
    :raises UnreadableError: the folder is not below the configured one, or is another task's.
    """

    def __init__(self, folder: str, key: dict[str, Any]) -> None:
        try:
            configured, tail = conf.get("hubprefs", "output", fallback=""), tail_of(key)
        except Exception as error:
            raise UnreadableError(
                f"[hubprefs] output of Airflow's configuration cannot be read: {type(error).__name__}"
            ) from error
        if not configured:
            raise UnreadableError(
                f"The API server does not read {_shown(folder)}: set [hubprefs] output, for it and the workers alike, "
                "to a folder or bucket that both can reach"
            )
        try:
            root = ObjectStoragePath(configured)
            self._local = local_path(root)
        except Exception as error:
            raise UnreadableError(f"{_shown(configured)} cannot be opened: {type(error).__name__}") from error
        self.name = _shown(configured)
        self._root = root
        if self._local is not None and not is_whole(configured):
            raise UnreadableError(
                f"[hubprefs] output ({self.name}) is relative, and the API server was started in another folder than "
                "the workers: write the whole path"
            )
        folder = without_connection(folder)
        begin = without_connection(str(root if self._local is None else self._local)).rstrip("/") + "/"
        self._parts = folder[len(begin) :].split("/") if folder.startswith(begin) else []
        odd = {"", ".", ".."} & set(self._parts) or any("\\" in part or "\0" in part for part in self._parts)
        if odd or self._parts[-len(tail) :] != tail:
            raise UnreadableError(
                f"The report is in {_shown(folder)}. The API server reads this task's folder below [hubprefs] output "
                f"({self.name}) and nothing else"
            )

    def report(self) -> dict[str, Any] | None:
        """Return the run's report; None: there is none yet.

        :raises UnreadableError: it cannot be read, or is no report.
        """
        try:
            with self.open("report.json") as file:
                content = file.read(LARGEST + 1)
        except FileNotFoundError:
            return None
        if len(content) > LARGEST:
            raise UnreadableError(f"The report in {self.name} is larger than {LARGEST:,} bytes")
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UnreadableError(
                f"The report in {self.name} is not one: it is being replaced, or was changed"
            )
        return found

    def path(self, name: str) -> Any:
        """Return a file as what is used of a path: it can be opened."""
        return SimpleNamespace(name=name, open=lambda *_, **__: self.open(name))

    def open(self, name: str) -> Any:
        """Open a file of the run.

        :raises FileNotFoundError: there is none.
        :raises UnreadableError: it cannot be read.
        """
        try:
            if self._local is not None:
                return _opened_below(self._local, [*self._parts, name])
            path = self._root
            for part in (*self._parts, name):
                path /= part
            path.fs.invalidate_cache()  # clients remember what was not there
            return path.open("rb")  # type: ignore[no-untyped-call]
        except FileNotFoundError:
            if self._local is None or self._local.is_dir():
                raise
            raise UnreadableError(
                f"The API server cannot read {self.name}: it has no such folder. The workers' disk is not its own: set "
                "[hubprefs] output to a shared volume or an object store"
            ) from None
        except Exception as error:
            why = error.strerror if isinstance(error, OSError) else None
            why = clean(why) if isinstance(why, str) and why else type(error).__name__
            raise UnreadableError(f"The API server cannot read {self.name}: {why}") from error


def _opened_below(root: os.PathLike[str], parts: list[str]) -> Any:
    """Open a regular file step by step from a folder, without following a link."""
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        found = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(found).st_mode):  # a pipe would be waited for
        os.close(found)
        raise PermissionError(0, "not a file")
    return os.fdopen(found, "rb")


def _shown(place: str) -> str:
    """A path or URL for people: without user, password, query, addresses and what else of it may be secret."""
    return clean(without_connection(place[:500]).partition("?")[0].partition("#")[0])
