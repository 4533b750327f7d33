"""One budget for all processes of a machine, whatever happens to them and to the file it is kept in."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.hubspot.pacing import file as pacing_file
from airflow_provider_hubprefs.hubspot.pacing.file import FileStore, private_folder
from airflow_provider_hubprefs.hubspot.pacing.pacers import BusyError, Ticket
from airflow_provider_hubprefs.hubspot.pacing.shared import StoreError
from airflow_provider_hubprefs.hubspot.pacing.slots import Budget
from airflow_provider_hubprefs.hubspot.pacing.store import pacer_for
from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
from airflow_provider_hubprefs.hubspot.transport.client import Client
from airflow_provider_hubprefs.simulator import Simulator

from .conftest import Clock
from .pacing_workers import BURST, Workers, file_pacer, free_now, headers, learned, send, violations


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process has the file."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@contextmanager
def full_disk(room: int = 0) -> Iterator[None]:
    """A disk on which files have so many bytes at most."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(autouse=True)
def no_folder_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing_file, "_MEMORY", tmp_path / "none")


def unchanged(data: bytes, now: float) -> bytes:
    """An edit that leaves the bytes as they are."""
    return data


# Processes ------------------------------------------------------------------------------------------


def test_processes_and_their_threads_share_one_budget(busy_hubspot: Simulator, tmp_path: Path) -> None:
    results = Workers(busy_hubspot, tmp_path.as_uri(), 4).results()

    assert [result["requests"] for result in results] == [24] * 4
    assert violations(busy_hubspot) == 0
    assert {request.status for request in busy_hubspot.requests} == {200}


def test_a_killed_process_takes_no_budget_with_it_and_a_new_limit_is_followed(
    busy_hubspot: Simulator, tmp_path: Path
) -> None:
    workers = Workers(busy_hubspot, tmp_path.as_uri(), 3, calls=12)
    workers.have_sent(30)
    killed = workers.running.pop()
    killed.send_signal(signal.SIGKILL)
    workers.have_sent(50)
    busy_hubspot.state.token.burst = 2 * BURST

    results = workers.results()

    assert killed.wait() == -signal.SIGKILL
    assert [result["requests"] for result in results] == [48] * 2
    assert violations(busy_hubspot) == 0
    assert busy_hubspot.stats["limits"]["apps"][busy_hubspot.state.token.app]["highest_in_window"] > BURST


def test_a_file_truncated_while_in_use_kills_no_process(busy_hubspot: Simulator, tmp_path: Path) -> None:
    workers = Workers(busy_hubspot, tmp_path.as_uri(), 2)
    workers.have_sent(10)
    os.truncate(tmp_path / "key.budget", 0)

    assert [result["requests"] >= 24 for result in workers.results()] == [True] * 2


def test_what_one_process_learns_the_others_know(tmp_path: Path) -> None:
    learned(file_pacer(tmp_path), 190)
    code = f"""
from airflow_provider_hubprefs.hubspot.pacing.pacers import Ticket
from airflow_provider_hubprefs.hubspot.pacing.store import pacer_for
pacer = pacer_for({tmp_path.as_uri()!r}, "key")
print(pacer.budget.burst, sum(pacer.wait(Ticket()) == 0 for _ in range(200)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "190 189\n"


def test_a_fork_shares_the_budget_and_gives_back_nothing_of_its_parents(tmp_path: Path) -> None:
    pacer = learned(file_pacer(tmp_path))
    held = [send(pacer) for _ in range(3)]

    if (child := os.fork()) == 0:
        for ticket in held:
            pacer.done(ticket, {})
        os._exit(free_now(pacer))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 6
    assert free_now(pacer) == 0


def test_a_fork_of_a_process_that_has_the_lock_can_go_on(tmp_path: Path) -> None:
    children: list[int] = []

    class Forking(Clock):
        """Forks when it is looked at next: while the file is locked."""

        armed = False

        def __call__(self) -> float:
            if self.armed:
                self.armed = False
                if (child := os.fork()) == 0:
                    signal.alarm(20)  # a child that waits for its parent's lock would wait for ever
                    os._exit(free_now(pacer))
                children.append(child)
            return self.now

    clock = Forking()
    pacer = learned(file_pacer(tmp_path, clock=clock))
    ticket = send(pacer)

    clock.armed = True
    pacer.done(ticket, {})

    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 8
    assert free_now(pacer) == 0


def test_two_credentials_share_nothing(tmp_path: Path) -> None:
    one, other = (learned(file_pacer(tmp_path, key)) for key in ("one", "other"))

    assert free_now(one) == 9
    assert free_now(other) == 9
    assert free_now(file_pacer(tmp_path, "one")) == 0


def test_a_pause_and_the_daily_figures_are_for_all(tmp_path: Path, clock: Clock) -> None:
    one, other = (file_pacer(tmp_path, clock=clock) for _ in range(2))
    one.done(send(one), headers(10, daily=1000, daily_remaining=7, remaining=9))
    assert other.budget == Budget(10, 9, 10.0, 1000, 7)

    one.pause(4)

    assert other.wait(Ticket()) == 4


def test_slots_of_a_dead_process_come_back(tmp_path: Path, clock: Clock) -> None:
    dead, alive = (file_pacer(tmp_path, clock=clock) for _ in range(2))
    learned(dead)
    assert free_now(dead) == 9
    clock.now += 41  # the lease, and that of the slot that it waited for

    waiting = Ticket()
    assert alive.wait(waiting) == 10
    clock.now += 10
    assert alive.wait(waiting) == 0
    alive.done(waiting, headers(10))
    assert free_now(alive) == 9


def test_a_folder_that_is_lost_or_closed_in_a_burst_costs_no_429(
    busy_hubspot: Simulator, tmp_path: Path
) -> None:
    folder = tmp_path / "budgets"
    workers = Workers(busy_hubspot, folder.as_uri(), 4, calls=12)
    workers.have_sent(30)
    shutil.rmtree(folder)
    folder.touch()  # nothing can be opened there
    workers.have_sent(60)
    folder.unlink()
    workers.have_sent(100)
    (folder / "key.budget").unlink(missing_ok=True)

    assert [result["throttled"] for result in workers.results()] == [0] * 4
    assert violations(busy_hubspot) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two users")
@pytest.mark.parametrize(("mode", "group"), [(0o1777, False), (0o2770, True)])
def test_users_share_a_budget_in_a_folder_that_they_may_all_write_to(mode: int, group: bool) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as outer:
        Path(outer).chmod(0o755)
        folder = Path(outer) / "budgets"
        folder.mkdir()
        os.chown(folder, 0, 4242)
        folder.chmod(mode)
        found = []
        for user in (65534, 1):
            if (child := os.fork()) == 0:
                with suppress(BaseException):
                    os.setgroups([4242] if group else [])
                    os.setgid(user)
                    os.setuid(user)
                    pacer = file_pacer(folder)
                    os._exit(free_now(pacer if user == 1 else learned(pacer)))
                os._exit(99)
            found.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    assert found == [9, 0]


def test_another_machine_in_the_same_folder_is_noticed_and_said_once(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = (file_pacer(tmp_path, clock=clock) for _ in range(2))
    learned(here, 80)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(pacing_file, "_boot", lambda: b"B" * 16)
        assert there.wait(Ticket()) == 0
        there.done(Ticket(), headers(80))
        clock.now += 5
        assert free_now(there) <= 10

    assert free_now(here) == 79
    (warning,) = caplog.records
    assert "another machine uses this folder" in warning.message
    assert "budget_conn_id" in warning.message


def test_without_a_temporary_folder_a_process_warns_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)

    learned(pacer_for("file", "no folder"))

    assert "No usable temporary directory found" in caplog.text


# The lock -------------------------------------------------------------------------------------------


def test_without_blocking_a_locked_file_is_an_error_and_asking_again_goes_on(
    tmp_path: Path, clock: Clock
) -> None:
    pacer = file_pacer(tmp_path, clock=clock)
    with pytest.raises(BusyError):
        pacer.wait(Ticket(), blocking=False)  # opening a file may take its time, too
    learned(pacer)
    ticket = Ticket()

    with locked(tmp_path / "key.budget"), pytest.raises(BusyError):
        pacer.wait(ticket, blocking=False)
    assert pacer.wait(ticket, blocking=False) == 0
    with locked(tmp_path / "key.budget"):
        with pytest.raises(BusyError):
            pacer.done(ticket, headers(10), blocking=False)
        with pytest.raises(BusyError):
            pacer.pause(blocking=False)
    pacer.done(ticket, headers(10), blocking=False)

    clock.now += 10
    assert free_now(pacer) == 10  # every slot came back, and once


def test_a_process_that_is_stopped_while_it_has_the_lock_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing_file, "_LONGEST_LOCKED", 0.05)
    pacer = learned(file_pacer(tmp_path))
    store = FileStore("key", folder=tmp_path)

    with locked(store.path), pytest.raises(StoreError, match="another process keeps it locked"):
        store.change(unchanged, blocking=True)

    assert free_now(pacer) == 9


# The file -------------------------------------------------------------------------------------------


def test_the_file_is_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    learned(file_pacer())
    path = private_folder() / "key.budget"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700

    path.chmod(0o666)
    assert free_now(file_pacer()) == 9
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_grows_with_the_limit_and_may_be_larger_than_what_is_in_it(tmp_path: Path) -> None:
    pacer = learned(file_pacer(tmp_path), 1000)
    assert free_now(file_pacer(tmp_path)) == 999
    pacer.done(Ticket(), headers(10))
    assert file_pacer(tmp_path).budget.burst == 10


GARBAGE: dict[str, Callable[[bytes], bytes]] = {
    "text": lambda _: b"once upon a time\n" * 1000,
    "one byte": lambda _: b"x",
    "zeros": lambda _: bytes(5000),
    "a flipped bit": lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
    "cut off": lambda data: data[:60],
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_a_damaged_file_begins_anew_and_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, garbage: Callable[[bytes], bytes]
) -> None:
    pacer = learned(file_pacer(tmp_path))
    path = tmp_path / "key.budget"
    path.write_bytes(garbage(path.read_bytes()))

    assert free_now(pacer) == 0  # its own request counts; the other slots are for those who come
    assert free_now(file_pacer(tmp_path)) == 0

    assert [record.message for record in caplog.records] == [
        f"The budget in {path} was damaged and begins anew"
    ]


def test_an_empty_file_is_a_new_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pacer = learned(file_pacer(tmp_path))
    (tmp_path / "key.budget").write_bytes(b"")

    assert free_now(pacer) == 0
    assert caplog.records == []


@settings(deadline=None)
@given(st.binary(max_size=400), st.integers(0, 400))
def test_whatever_bytes_are_in_it_are_noticed(noise: bytes, at: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        learned(file_pacer(Path(folder)), 20)
        path = Path(folder) / "key.budget"
        whole = path.read_bytes()
        damaged = whole[:at] + noise + whole[at + len(noise) :]
        path.write_bytes(damaged)

        unharmed = damaged.startswith(whole)
        assert file_pacer(Path(folder)).budget == (Budget(burst=20, interval=10.0) if unharmed else Budget())


def test_times_of_before_a_reboot_mean_nothing(tmp_path: Path, clock: Clock) -> None:
    learned(file_pacer(tmp_path, clock=clock)).pause(500)
    first = file_pacer(tmp_path, "first", clock)
    send(first)  # the machine went down before the first answer came
    clock.now = 5.0

    assert file_pacer(tmp_path, clock=clock).wait(Ticket()) == 0
    assert file_pacer(tmp_path, "first", clock).wait(Ticket()) == 0


@pytest.mark.parametrize("how", ["removed", "replaced", "folder removed"])
def test_a_file_that_is_removed_while_in_use_is_made_again_and_shared_again(
    tmp_path: Path, how: str, clock: Clock
) -> None:
    folder = tmp_path / "budgets"
    path = folder / "key.budget"
    one, other = (file_pacer(folder, clock=clock) for _ in range(2))
    learned(one)
    before = send(other)
    if how == "replaced":
        (tmp_path / "new").touch()
        (tmp_path / "new").rename(path)
    else:
        path.unlink()
    if how == "folder removed":
        folder.rmdir()

    assert free_now(one) == 0  # what the file forgot counts, and the rest is reserved for others
    other.done(before, headers(10, remaining=8))
    assert free_now(other) == 0
    clock.now += 15

    assert free_now(other) + free_now(one) == 10 - 2  # each has promised one that it waits for
    assert path.stat().st_size > 0


@pytest.mark.parametrize("trap", ["symlink", "hard link", "directory", "pipe"])
def test_nothing_that_another_user_laid_there_is_written_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trap: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "key.budget"
    if trap == "symlink":
        path.symlink_to(victim)
    elif trap == "hard link":
        path.hardlink_to(victim)
    elif trap == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    pacer = pacer_for(tmp_path.as_uri(), "key")

    learned(pacer, 80)

    assert victim.read_text() == "precious"
    assert free_now(pacer) == 9
    assert len(caplog.records) == 1


@pytest.mark.parametrize("trap", ["symlink", "others may write", "file"])
def test_a_shared_temporary_folder_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if trap == "symlink":
        private_folder().symlink_to(elsewhere)
    elif trap == "file":
        private_folder().touch()
    else:
        private_folder().mkdir()
        private_folder().chmod(0o777)

    with pytest.raises(StoreError, match=r"only this user can write to|File exists"):
        FileStore("key").change(unchanged, blocking=True)

    assert list(elsewhere.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match="Not a directory"):
        FileStore("key", folder=tmp_path / "file" / "folder").change(unchanged, blocking=True)


def test_a_full_disk_is_an_error_of_the_store_and_what_it_left_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileStore("key", folder=tmp_path)
    with full_disk(), pytest.raises(StoreError, match=os.strerror(errno.EFBIG)):
        store.change(lambda *_: bytes(100), blocking=True)
    with full_disk(room=50), pytest.raises(StoreError, match=os.strerror(errno.ENOSPC)):
        store.change(lambda *_: bytes(100), blocking=True)  # half of it is written

    assert file_pacer(tmp_path).wait(Ticket()) == 0
    assert "was damaged and begins anew" in caplog.text


def test_a_client_uses_it(hubspot: Simulator, tmp_path: Path) -> None:
    pacer = pacer_for(tmp_path.as_uri(), "client")
    with Client(StaticToken(hubspot.token), host=hubspot.url, pacer=pacer) as client:
        client.send(client.calls.get_definitions())
    assert pacer.budget.burst == 190
    assert pacer.budget.daily_remaining == 999_999
