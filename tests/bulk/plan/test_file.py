"""A plan's file: what was not made so is refused before a row of it is used, in any store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airflow_provider_hubprefs.bulk.plan.actions import Rules
from airflow_provider_hubprefs.bulk.plan.file import (
    PlanError,
    PlanFile,
    PlanRecorder,
    read_header,
)
from airflow_provider_hubprefs.bulk.plan.run import apply_plan
from airflow_provider_hubprefs.bulk.report.folder import RunFolder
from airflow_provider_hubprefs.bulk.report.outcome import Outcome
from airflow_provider_hubprefs.bulk.source.errors import UnavailableError
from airflow_provider_hubprefs.bulk.source.passed import SourceChangedError
from airflow_provider_hubprefs.bulk.source.row import Row, Wanted
from airflow_provider_hubprefs.hubspot.api.models import SubscriptionStatus, WideStatus
from tests.helpers import LONG, outcomes, people

from .conftest import Planner
from .test_run import ALLOWED, OUT, item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_hubprefs.hubspot.transport.client import Client
    from airflow_provider_hubprefs.simulator import Simulator

ABOUT = {"portal": 7, "api_version": "2026-09", "source": None, "arguments": {}}


def compared(
    number: int, *, subscription: int | None = 7, status: str = OUT, before: str = "SUBSCRIBED"
) -> Outcome:
    """A row that is to change, as a comparison has it."""
    name = f"person-{number}@example.com"
    wanted = Wanted(status=status, subscription_id=subscription, everything=subscription is None)
    actual: list[Any] = []
    if subscription is not None:
        actual = [SubscriptionStatus(subscriber=name, subscription_id=subscription, status=before)]
    elif before == OUT:
        actual = [WideStatus(subscriber=name, status=OUT)]
    return Outcome(Row(number, name, wanted=wanted), "changed", actual=actual)


def written(folder: Path, found: list[Outcome], rules: Rules | None = None, **more: Any) -> Path:
    """The file of a plan."""
    recorder = PlanRecorder(RunFolder(folder), rules or Rules(), about={**ABOUT, **more})
    lines = (f"{line}\n".encode() for line in recorder.lines(found))
    recorder.finish(lines, {"changed": len(found), "unchanged": 2}, complete=True)
    return Path(str(recorder.path))


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    found = [compared(number, subscription=None if number % 3 == 0 else 7) for number in range(1, 10)]
    return written(tmp_path, found)


def test_changes_come_in_the_order_that_needs_the_fewest_batches(plan: Path) -> None:
    file = PlanFile(plan)
    rows = list(file.rows())
    assert len(file) == len(rows) == 9
    assert [row.subscriber for row in rows] == [
        f"person-{number}@example.com" for number in (3, 6, 9, 1, 2, 4, 5, 7, 8)
    ]
    assert [row.number for row in rows] == [*range(2, 11)]
    assert [row.wanted and row.wanted.everything for row in rows] == [True] * 3 + [False] * 6
    assert read_header(plan) == file.header
    assert (file.header.rows, file.header.changes) == (11, 9)


EDITS: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "a line is gone": (lambda lines: lines[:-1], "was edited or cut short"),
    "a line was added": (lambda lines: [*lines, lines[-1]], "was edited or cut short"),
    "lines are in another order": (lambda lines: [lines[0], *reversed(lines[1:])], "was edited or cut short"),
    "an address": (lambda lines: [*lines[:-1], lines[-1].replace("person-8", "person-88")], "was edited or cut short"),
    "the last line end": (lambda lines: [*lines[:-1], lines[-1].rstrip("\n")], "was edited or cut short"),
    "a count in the header": (lambda lines: [lines[0].replace('"opt_out":3', '"opt_out":2'), *lines[1:]], "its header"),
    "a limit": (lambda lines: [lines[0].replace('"limit":0', '"limit":9', 1), *lines[1:]], "its header was edited"),
    "a field less": (lambda lines: [lines[0].replace('"guards"', '"guard"'), *lines[1:]], "its header was edited"),
    "the format": (lambda lines: [lines[0].replace('"format":1', '"format":2'), *lines[1:]], "is of format 2"),
    "no header": (lambda lines: lines[1:], "is no plan. Expected a file plan.jsonl"),
    "no JSON": (lambda lines: ["email,status\n", *lines[1:]], "is no plan"),
    "nothing": (lambda lines: [], "is no plan"),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITS)
def test_a_plan_that_is_not_as_it_was_made_is_refused_and_says_why(plan: Path, what: str) -> None:
    edit, why = EDITS[what]
    before = plan.read_text()
    plan.write_text("".join(edit(before.splitlines(keepends=True))))
    assert plan.read_text() != before
    with pytest.raises(PlanError, match=f"^plan 'plan.jsonl': {why}") as raised:
        PlanFile(plan)
    assert "@" not in str(raised.value)


def test_a_file_that_is_none_of_ours_does_not_fill_the_memory(plan: Path) -> None:
    plan.write_bytes(b"x" * ((1 << 24) + (1 << 21)))
    with pytest.raises(PlanError, match="is no plan"):
        PlanFile(plan)


def test_a_plan_that_is_not_there_may_come(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"^plan 'plan.jsonl': is not there"):
        PlanFile(tmp_path / "plan.jsonl")


def test_a_plan_that_is_replaced_while_it_is_read_ends_the_run(plan: Path, tmp_path: Path) -> None:
    file = PlanFile(plan)
    reading = file.rows()
    next(reading)
    list(reading)
    written(tmp_path, [compared(1)])
    with pytest.raises(SourceChangedError):
        list(file.rows())
    plan.write_text("one\ntwo\n")
    with pytest.raises(SourceChangedError):
        list(file.rows())


@pytest.mark.parametrize("portal", [8, None], ids=["another portal", "an unknown portal"])
def test_a_plan_of_another_portal_is_refused(plan: Path, portal: int | None) -> None:
    of = "of portal 8" if portal else "of an unknown portal"
    with pytest.raises(PlanError, match=rf"is of portal 7, and the connection {of}\. Make a new plan"):
        PlanFile(plan).check_portal(portal)
    PlanFile(plan).check_portal(7)


def test_so_it_is_against_hubspot(hubspot: Simulator, plan: Path, client_for: Callable[..., Client]) -> None:
    with pytest.raises(PlanError, match="is of portal 7, and the connection of portal 48120091"):
        apply_plan(client_for(), PlanFile(plan))
    assert [request for request in hubspot.requests if "statuses" in request.path] == []


def test_an_incomplete_comparison_leaves_no_plan(tmp_path: Path) -> None:
    recorder = PlanRecorder(RunFolder(tmp_path), Rules(), about=ABOUT)
    recorder.finish(iter([]), {}, complete=False)
    assert (recorder.header, list(tmp_path.iterdir())) == (None, [])


def test_an_object_store_keeps_it_as_well(hubspot: Simulator, planner: Planner, ids: list[int]) -> None:
    from airflow.sdk.io import attach
    from fsspec.implementations.memory import MemoryFileSystem

    from airflow_provider_hubprefs.compat import ObjectStoragePath

    attach("memory", fs=MemoryFileSystem())
    folder = RunFolder(ObjectStoragePath("memory://plans/run"))
    made = planner.plan([item(name, OUT, ids[0]) for name in people(250)], folder=folder)
    path = ObjectStoragePath("memory://plans/run/plan.jsonl")
    assert made.summary["plan"]["path"].endswith("plans/run/plan.jsonl")
    assert outcomes(planner.apply(PlanFile(path)).summary) == {"changed": 250}
    assert {hubspot.status_of(name, ids[0]) for name in people(250)} == {OUT}


def test_what_a_plan_prints_has_no_address(plan: Path) -> None:
    file = PlanFile(plan)
    printed = f"{file} {file.header} {list(file.rows())}"
    assert "@example.com" not in printed


def test_arguments_of_any_kind_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = written(
        tmp_path, [compared(1)], arguments={"columns": ("a", 1), "folder": Path("/x"), "share": 0.5}
    )
    assert PlanFile(path).header.arguments == {"columns": ["a", 1], "folder": "/x", "share": 0.5}


@pytest.mark.skipif(not LONG, reason="a minute, because every allocation is followed")
def test_many_lines_take_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    recorder = PlanRecorder(RunFolder(tmp_path), ALLOWED, about=ABOUT)
    line = recorder.lines([compared(1)])[0].encode() + b"\n"
    count = 200_000
    lines: Iterator[bytes] = (line.replace(b"person-1", b"person-%d" % at) for at in range(count))
    tracemalloc.start()
    recorder.finish(lines, {"changed": count}, complete=True)
    file = PlanFile(Path(str(recorder.path)))
    assert sum(1 for _ in file.rows()) == count
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 25_000_000, peak
    assert json.loads(msgspec.json.encode(file.header))["moves"][0]["rows"] == count
