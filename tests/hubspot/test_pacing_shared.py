"""A process whose store fails goes on with its share of the budget, says so once, and comes back."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from airflow_provider_hubprefs.hubspot.pacing import shared
from airflow_provider_hubprefs.hubspot.pacing.file import FileStore
from airflow_provider_hubprefs.hubspot.pacing.pacers import BusyError, Ticket
from airflow_provider_hubprefs.hubspot.pacing.shared import SharedPacer

from .conftest import Clock
from .pacing_workers import file_pacer, free_now, headers, learned, send
from .test_pacing_file import full_disk


@pytest.fixture
def pacer(tmp_path: Path, clock: Clock) -> SharedPacer:
    return file_pacer(tmp_path, clock=clock)


def test_a_store_that_fails_leaves_this_process_its_share_and_comes_back(
    tmp_path: Path, clock: Clock, pacer: SharedPacer, caplog: pytest.LogCaptureFixture
) -> None:
    others = [file_pacer(tmp_path, clock=clock) for _ in range(3)]
    name = tmp_path / "key.budget"
    learned(others[0], 100)
    for other in others:
        send(other)
    in_flight = send(pacer)

    with full_disk():
        pacer.done(in_flight, headers(100))
        assert free_now(pacer) == 0  # of the slots it may use it has used one, and the others may be in use
        clock.now += 14
        assert free_now(pacer) == 20  # a fifth: one share is for who comes meanwhile
        pacer.pause(0.0)
        assert pacer.budget.burst == 100
    (warning,) = caplog.records
    assert f"The budget in {name} cannot be shared" in warning.message
    assert "uses 1/5 of it (4 used it)" in warning.message
    caplog.clear()
    clock.now += 3

    assert pacer.wait(Ticket()) > 0
    assert pacer.budget.burst == 100
    assert [record.message for record in caplog.records] == [f"The budget in {name} is shared again"]


def test_without_blocking_a_store_that_failed_is_not_tried(
    clock: Clock, pacer: SharedPacer, caplog: pytest.LogCaptureFixture
) -> None:
    with full_disk():
        learned(pacer, 80)
    caplog.clear()
    assert pacer.wait(Ticket(), blocking=False) == 0
    clock.now += 3

    for _ in range(2):
        with pytest.raises(BusyError):
            pacer.wait(Ticket(), blocking=False)

    pacer.wait(Ticket())
    assert "is shared again" in caplog.text


def test_a_failure_at_the_answer_is_no_failure_of_the_call(pacer: SharedPacer) -> None:
    ticket = send(pacer)

    with full_disk():
        pacer.done(ticket, headers(10))
        pacer.pause(0.0)

        assert pacer.budget.burst == 10


def test_threads_whose_store_fails_at_the_same_time_warn_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    together, been_there = threading.Barrier(8), threading.local()

    def meeting() -> float:
        """The pacer's clock, where threads meet that have just found the store in order."""
        if not hasattr(been_there, "met"):
            been_there.met = True
            together.wait(20)
        return clock()

    pacer = SharedPacer(FileStore("key", folder=tmp_path, clock=clock), clock=meeting)
    threads = [threading.Thread(target=pacer.wait, args=(Ticket(),)) for _ in range(together.parties)]
    with full_disk():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(caplog.records) == 1


@pytest.mark.parametrize("back", [0.5, 100])
def test_a_clock_that_is_put_back_stops_no_process_for_long(
    tmp_path: Path, clock: Clock, back: float
) -> None:
    store_clock = Clock()
    pacer = SharedPacer(FileStore("key", folder=tmp_path, clock=store_clock), clock=clock)
    learned(pacer)
    store_clock.now -= back
    assert pacer.wait(Ticket()) <= 10
    clock.now, store_clock.now = clock.now + 15, store_clock.now + 15

    assert pacer.wait(Ticket()) == 0


def test_a_store_that_answered_slowly_is_asked_in_a_thread_for_a_while(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacer = learned(file_pacer(tmp_path, clock=clock))
    pread = os.pread

    def frozen(*arguments: int) -> bytes:
        time.sleep(0.06)
        return pread(*arguments)

    with monkeypatch.context() as disk:
        disk.setattr(os, "pread", frozen)
        assert pacer.wait(Ticket(), blocking=False) == 0
        with pytest.raises(BusyError):
            pacer.wait(Ticket(), blocking=False)
    assert pacer.wait(Ticket()) == 0
    monkeypatch.setattr(shared, "_THREADED_FOR", 0.0)
    pacer._threaded_until = 0.0

    assert pacer.wait(Ticket(), blocking=False) == 0


def test_while_a_thread_waits_for_the_disk_the_loop_does_not(tmp_path: Path, clock: Clock) -> None:
    store = FileStore("key", folder=tmp_path, clock=clock)
    SharedPacer(store, clock=clock).wait(Ticket())

    with store._lock, pytest.raises(BusyError):
        store.change(lambda data, _: data, blocking=False)
