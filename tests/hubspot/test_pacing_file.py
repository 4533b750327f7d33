"""One budget for all processes of a machine, whatever happens to them and to the file it is kept in."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hubprefs.hubspot import pacing_file
from airflow_provider_hubprefs.hubspot.auth import StaticToken
from airflow_provider_hubprefs.hubspot.client import Client
from airflow_provider_hubprefs.hubspot.pacing import ProcessPacer, SteadyPacer, Ticket, pacer_for
from airflow_provider_hubprefs.hubspot.pacing_file import FilePacer, file_pacer
from airflow_provider_hubprefs.hubspot.pacing_slots import Budget, Slots
from airflow_provider_hubprefs.hubspot.private_folder import private_folder
from airflow_provider_hubprefs.simulator import Simulator

from .conftest import Clock

BURST, INTERVAL_MS = 20, 500

WORKER = """
import json, sys, threading
from airflow_provider_hubprefs.hubspot.auth import StaticToken
from airflow_provider_hubprefs.hubspot.client import Client
from airflow_provider_hubprefs.hubspot.pacing import pacer_for

url, token, store, key, threads, calls = json.loads(sys.argv[1])
with Client(StaticToken(token), host=url, pacer=pacer_for(store, key)) as client:
    print("ready", flush=True)
    sys.stdin.readline()

    def work():
        for _ in range(calls):
            client.send(client.calls.get_unsubscribe_all("jane@example.com"))

    running = [threading.Thread(target=work) for _ in range(threads)]
    [each.start() for each in running]
    [each.join() for each in running]
    print(json.dumps({"requests": client.usage.requests, "throttled": client.usage.throttled}))
"""


class Workers:
    """Processes of their own that send so many calls from so many threads each; they begin together."""

    def __init__(
        self, hubspot: Simulator, store: str, count: int, *, threads: int = 4, calls: int = 6
    ) -> None:
        argument = json.dumps([hubspot.url, hubspot.token, store, "key", threads, calls])
        self.running = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, argument],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        for each in self.running:
            assert each.stdout and each.stdout.readline() == "ready\n"
        for each in self.running:
            assert each.stdin
            each.stdin.write("\n")
            each.stdin.flush()

    def results(self) -> list[dict[str, int]]:
        found = []
        for each in self.running:
            told, error = each.communicate(timeout=120)
            assert (each.returncode, bool(told)) == (0, True), f"ended with {each.returncode}: {error}"
            found.append(json.loads(told))
        return found


@pytest.fixture
def busy_hubspot() -> Iterator[Simulator]:
    limits = {"burst": BURST, "interval_ms": INTERVAL_MS, "count_refused": True}
    with Simulator(portal={"limits": limits}, latency_ms=20) as hubspot:
        yield hubspot


def violations(hubspot: Simulator) -> int:
    return sum(app["violations"] for app in hubspot.stats["limits"]["apps"].values())


def headers(limit: int, **more: object) -> dict[str, str]:
    said = {"max": limit, "interval-milliseconds": 10_000, **more}
    return {f"x-hubspot-ratelimit-{name.replace('_', '-')}": str(value) for name, value in said.items()}


def learned(pacer: Any, limit: int = 10) -> Any:
    """A pacer whose first request has been answered."""
    ticket = Ticket()
    while (wait := pacer.wait(ticket)) > 0:
        time.sleep(wait)
    pacer.done(ticket, headers(limit))
    return pacer


def free_now(pacer: Any) -> int:
    count = 0
    while pacer.wait(Ticket()) == 0:
        count += 1
    return count


# Processes ------------------------------------------------------------------------------------------


def test_processes_and_their_threads_share_one_budget(busy_hubspot: Simulator, tmp_path: Path) -> None:
    results = Workers(busy_hubspot, tmp_path.as_uri(), 4).results()

    assert [result["requests"] for result in results] == [24] * 4
    assert violations(busy_hubspot) == 0
    assert {request.status for request in busy_hubspot.requests} == {200}


def test_processes_that_are_killed_take_nobodys_budget_with_them(
    busy_hubspot: Simulator, tmp_path: Path
) -> None:
    workers = Workers(busy_hubspot, tmp_path.as_uri(), 3, calls=8)
    while busy_hubspot.state.recorder.total < 30:
        time.sleep(0.005)
    killed = workers.running.pop()
    killed.send_signal(signal.SIGKILL)

    results = workers.results()

    assert killed.wait() == -signal.SIGKILL
    assert [result["requests"] for result in results] == [32] * 2
    assert violations(busy_hubspot) == 0


def test_the_limit_may_change_while_they_run(busy_hubspot: Simulator, tmp_path: Path) -> None:
    workers = Workers(busy_hubspot, tmp_path.as_uri(), 2, calls=20)
    while busy_hubspot.state.recorder.total < 30:
        time.sleep(0.005)
    busy_hubspot.state.token.burst = 40

    assert [result["requests"] for result in workers.results()] == [80] * 2
    assert violations(busy_hubspot) == 0
    assert busy_hubspot.stats["limits"]["apps"][busy_hubspot.state.token.app]["highest_in_window"] > BURST


def test_what_one_process_learns_the_others_know(tmp_path: Path) -> None:
    learned(FilePacer("key", folder=tmp_path), 190)
    code = f"""
from pathlib import Path
from airflow_provider_hubprefs.hubspot.pacing import Ticket
from airflow_provider_hubprefs.hubspot.pacing_file import FilePacer
pacer = FilePacer("key", folder=Path({str(tmp_path)!r}))
print(pacer.budget.burst, sum(pacer.wait(Ticket()) == 0 for _ in range(200)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "190 189\n"


def test_a_fork_shares_the_budget_and_gives_back_nothing_of_its_parents(tmp_path: Path) -> None:
    pacer = learned(FilePacer("key", folder=tmp_path))
    held = [Ticket() for _ in range(3)]
    assert [pacer.wait(ticket) for ticket in held] == [0, 0, 0]

    if (child := os.fork()) == 0:
        for ticket in held:
            pacer.done(ticket, {})
        os._exit(free_now(pacer))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 6
    assert free_now(pacer) == 0


def test_a_fork_of_a_process_that_has_the_lock_can_go_on(tmp_path: Path) -> None:
    pacer = learned(FilePacer("key", folder=tmp_path))

    def fork(_: Slots) -> int:
        if (child := os.fork()) == 0:
            os._exit(0 if pacer._lock.acquire(blocking=False) else 1)
        return child

    assert os.waitstatus_to_exitcode(os.waitpid(pacer._change(fork), 0)[1]) == 0
    assert free_now(pacer) == 9


def test_two_credentials_share_nothing(tmp_path: Path) -> None:
    one, other = (learned(FilePacer(key, folder=tmp_path)) for key in ("one", "other"))

    assert free_now(one) == 9
    assert free_now(other) == 9
    assert free_now(FilePacer("one", folder=tmp_path)) == 0


def test_a_pause_and_the_daily_figures_are_everybodys(tmp_path: Path, clock: Clock) -> None:
    one, other = (FilePacer("key", folder=tmp_path, clock=clock) for _ in range(2))
    ticket = Ticket()
    one.wait(ticket)
    one.done(ticket, headers(10, daily=1000, daily_remaining=7, remaining=9))
    assert other.budget == Budget(10, 9, 10.0, 1000, 7)

    one.pause(4)

    assert other.wait(Ticket()) == 4


def test_slots_of_the_dead_come_back(tmp_path: Path, clock: Clock) -> None:
    dead, alive = (FilePacer("key", folder=tmp_path, clock=clock) for _ in range(2))
    learned(dead)
    assert free_now(dead) == 9
    clock.now += 41  # the lease, of the one it waited for too

    waiting = Ticket()
    assert alive.wait(waiting) == 10
    clock.now += 10
    assert alive.wait(waiting) == 0
    alive.done(waiting, headers(10))
    assert free_now(alive) == 9


# The file -------------------------------------------------------------------------------------------


def test_the_file_is_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pacer = learned(FilePacer("key"))

    assert pacer.path.parent == private_folder()
    assert pacer.path.stat().st_mode & 0o777 == 0o600
    assert pacer.path.parent.stat().st_mode & 0o777 == 0o700

    pacer.path.chmod(0o666)
    assert free_now(FilePacer("key")) == 9
    assert pacer.path.stat().st_mode & 0o777 == 0o600


def test_its_room_on_the_disk_is_taken_at_once(tmp_path: Path) -> None:
    pacer = learned(FilePacer("key", folder=tmp_path), 250)
    size = pacer.path.stat()

    assert size.st_blocks * 512 >= size.st_size
    assert size.st_size > 250 * 8 + 250 * 16  # all free, or all under way


def test_a_large_limit_fits_too(tmp_path: Path) -> None:
    pacer = learned(FilePacer("key", folder=tmp_path), 10_000)
    assert free_now(FilePacer("key", folder=tmp_path)) == 9_999
    assert free_now(pacer) == 0


GARBAGE: dict[str, Callable[[bytes], bytes]] = {
    "text": lambda _: b"once upon a time\n" * 1000,
    "one byte": lambda _: b"x",
    "of another version": lambda data: b"hubpref9" + data[8:],
    "a flipped bit": lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
    "cut off": lambda data: data[:60],
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_begins_anew_and_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, garbage: Callable[[bytes], bytes]
) -> None:
    pacer = learned(FilePacer("key", folder=tmp_path))
    pacer.path.write_bytes(garbage(pacer.path.read_bytes()))

    assert free_now(pacer) == 1  # one goes ahead
    assert free_now(FilePacer("key", folder=tmp_path)) == 0

    assert [record.message for record in caplog.records] == [
        f"The budget in {pacer.path} was garbage; it begins anew"
    ]


@pytest.mark.parametrize("content", [b"", bytes(20_000)])
def test_an_empty_file_is_a_new_one(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    pacer = learned(FilePacer("key", folder=tmp_path))
    pacer.path.write_bytes(content)

    assert free_now(pacer) == 1
    assert caplog.records == []


@given(st.binary(max_size=400), st.integers(0, 400))
def test_no_bytes_are_a_problem(noise: bytes, at: int) -> None:
    boot = bytes(16)
    slots = Slots(limit=20, held=Slots().held)
    slots.take(5.0, 7)
    data = pacing_file._encode(slots, boot)
    assert pacing_file._decode(data, boot) == slots
    damaged = data[:at] + noise + data[at + len(noise) :]
    assert pacing_file._decode(damaged, boot) == (slots if damaged == data else None)


def test_times_of_before_a_reboot_mean_nothing(tmp_path: Path, clock: Clock) -> None:
    pacer = FilePacer("key", folder=tmp_path, clock=clock)
    learned(pacer)
    pacer.pause(500)
    rebooted = FilePacer("key", folder=tmp_path, clock=clock)
    rebooted._boot = bytes(range(16))
    assert rebooted.wait(Ticket()) == 0

    clock.now += 1000
    untold = FilePacer("other", folder=tmp_path, clock=clock)
    learned(untold)
    clock.now = 5.0  # a system that does not name its boots
    assert FilePacer("other", folder=tmp_path, clock=clock).wait(Ticket()) == 0


@pytest.mark.parametrize("how", ["removed", "replaced", "folder removed"])
def test_a_file_that_is_removed_while_in_use_is_made_again_and_shared_again(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "budgets"
    one, other = (FilePacer("key", folder=folder) for _ in range(2))
    learned(one)
    held = Ticket()
    assert other.wait(held) == 0
    if how == "replaced":
        (tmp_path / "new").write_bytes(one.path.read_bytes())
        (tmp_path / "new").rename(one.path)
    else:
        one.path.unlink()
    if how == "folder removed":
        folder.rmdir()

    assert one.wait(Ticket()) == 0
    other.done(held, headers(10))
    assert free_now(other) + free_now(one) == 7  # nothing that was under way is forgotten


def test_a_file_truncated_while_in_use_kills_nobody(busy_hubspot: Simulator, tmp_path: Path) -> None:
    workers = Workers(busy_hubspot, tmp_path.as_uri(), 2)
    file = tmp_path / "key.budget"
    while busy_hubspot.state.recorder.total < 10:
        time.sleep(0.005)
    with file.open("r+b") as open_file:
        open_file.truncate(0)

    assert [result["requests"] >= 24 for result in workers.results()] == [True] * 2


@pytest.mark.parametrize("trap", ["symlink", "hard link", "directory", "pipe"])
def test_nothing_that_somebody_laid_there_is_written_to(
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
    pacer = file_pacer(tmp_path.as_uri(), "key")

    learned(pacer)

    assert victim.read_text() == "precious"
    assert free_now(pacer) == 9
    assert len(caplog.records) == 1


@pytest.mark.parametrize("trap", ["symlink", "others may write", "file"])
def test_a_shared_temporary_folder_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str, caplog: pytest.LogCaptureFixture
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

    learned(file_pacer("file", "key"))

    assert list(elsewhere.iterdir()) == []
    assert "only this user can write to" in caplog.text


# When it cannot be kept -------------------------------------------------------------------------------


def no_space(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_without_a_place_each_process_goes_on_by_itself_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    pacer = learned(pacer_for((tmp_path / "file" / "folder").as_uri(), "key"))

    assert free_now(pacer) == 9
    assert pacer.budget.burst == 10
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert "Not a directory" in caplog.text


def test_a_disk_that_is_full_from_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", no_space)

    assert free_now(learned(file_pacer(tmp_path.as_uri(), "key"))) == 9
    assert "No space left on device" in caplog.text


def test_a_disk_that_cannot_take_room_in_advance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> NoReturn:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)

    assert free_now(learned(FilePacer("key", folder=tmp_path))) == 9


def test_a_store_that_fails_leaves_this_process_its_part_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    others = [FilePacer("key", folder=tmp_path) for _ in range(3)]
    learned(others[0], 100)
    assert [other.wait(Ticket()) for other in others] == [0, 0, 0]
    store = FilePacer("key", folder=tmp_path)
    pacer = SteadyPacer(store, "the file")
    under_way = Ticket()
    assert pacer.wait(under_way) == 0

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", no_space)
        learned(pacer, 100)
        pacer.done(under_way, headers(100))
        assert free_now(pacer) == 24  # a quarter, and one was sent
        pacer.pause(0.0)
        assert pacer.budget.burst == 100
    caplog.clear()
    pacer._try_at = 0.0

    assert pacer.wait(Ticket()) == 0
    assert pacer.budget.burst == 100
    assert [record.message for record in caplog.records] == ["The budget in the file is shared again"]


def test_a_failure_at_the_answer_is_no_failure_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacer = SteadyPacer(FilePacer("key", folder=tmp_path), "the file")
    ticket = Ticket()
    assert pacer.wait(ticket) == 0
    monkeypatch.setattr(os, "pwrite", no_space)

    pacer.done(ticket, headers(10))
    pacer.pause(0.0)

    assert pacer.budget.burst == 10


def test_a_process_that_is_stopped_while_it_has_the_lock_stops_nobody_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pacing_file, "_LONGEST_LOCKED", 0.05)
    stopped = learned(FilePacer("key", folder=tmp_path))
    pacer = file_pacer(tmp_path.as_uri(), "key")
    assert stopped._change(lambda _: pacer.wait(Ticket())) == 0
    assert "does not go on" in caplog.text


def test_threads_of_a_process_whose_file_fails_warn_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pacer = SteadyPacer(FilePacer("key", folder=tmp_path), "the file")
    learned(pacer, 100)
    monkeypatch.setattr(os, "pwrite", no_space)
    threads = [threading.Thread(target=pacer.wait, args=(Ticket(),)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(caplog.records) == 1


# Which store ------------------------------------------------------------------------------------------


def test_a_store_is_chosen_by_its_name(tmp_path: Path) -> None:
    assert isinstance(pacer_for("process", "chosen"), ProcessPacer)
    assert isinstance(pacer_for(tmp_path.as_uri(), "chosen"), SteadyPacer)
    assert pacer_for(None, "chosen") is pacer_for("file", "chosen")
    assert pacer_for(tmp_path.as_uri(), "chosen") is not pacer_for("file", "chosen")
    assert pacer_for("process", "chosen") is not pacer_for("process", "other")
    spaced = tmp_path / "a folder"
    learned(pacer_for(spaced.as_uri(), "chosen"))
    assert (spaced / "chosen.budget").is_file()


@pytest.mark.parametrize(
    "store", ["postgres://x", "machine", "file://host/folder", "file:relative", "file:///x?y=1", "/tmp"]
)
def test_a_store_that_does_not_exist_is_refused(store: str) -> None:
    with pytest.raises(ValueError, match="budget_store: expected"):
        pacer_for(store, "key")


@pytest.mark.parametrize("key", ["", "../key", "a/b", "a" * 101, "ä"])
def test_a_key_that_is_no_files_name_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="key of a budget"):
        pacer_for("file", key)


def test_a_client_uses_it(hubspot: Simulator, tmp_path: Path) -> None:
    pacer = pacer_for(tmp_path.as_uri(), "client")
    with Client(StaticToken(hubspot.token), host=hubspot.url, pacer=pacer) as client:
        client.send(client.calls.get_definitions())
    assert pacer.budget.burst == 190
    assert pacer.budget.daily_remaining == 999_999
