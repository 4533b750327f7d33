"""Audits: what was written is recorded, one record cannot be changed alone, and the first that was is named."""

from __future__ import annotations

import json
import random
import signal
import stat
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.audit.keys import AuditKeys
from airflow_provider_hubprefs.bulk.audit.recorder import ENDING, AuditRecorder
from airflow_provider_hubprefs.bulk.audit.records import Chain, Same
from airflow_provider_hubprefs.bulk.audit.verify import audits_at, records_of, verify_audit
from airflow_provider_hubprefs.bulk.report.folder import RunFolder
from airflow_provider_hubprefs.bulk.report.outcome import Outcome
from airflow_provider_hubprefs.bulk.source.row import Row, Wanted
from airflow_provider_hubprefs.hubspot.api.models import SubscriptionStatus, WideStatus
from airflow_provider_hubprefs.hubspot.errors import SettingsError
from tests.helpers import LONG

from .test_kills import people, workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_hubprefs.simulator import Simulator

KEYS = AuditKeys("a secret of the tests")
OTHER_KEYS = AuditKeys("a secret of a thief who has no key")
JANE = "jane@example.com"
OPT_OUT = Same(after="UNSUBSCRIBED")
Lines = list[bytes]


def recorder(folder: Path, same: Same = OPT_OUT, keys: AuditKeys = KEYS, **options: Any) -> AuditRecorder:
    about = {
        "dag_id": "d",
        "run_id": "r",
        "task_id": "t",
        "try_number": 1,
        "portal": 7,
        "started_by": "scheduled",
    }
    return AuditRecorder(RunFolder(folder), same, lambda: about, keys, **options)


def written(folder: Path, outcomes: list[Outcome], *, complete: bool = True, **options: Any) -> Path:
    """The audit of outcomes, in batches of three."""
    audit = recorder(folder, **options)
    lines = [line for at in range(0, len(outcomes), 3) for line in audit.lines(outcomes[at : at + 3])]
    audit.finish((f"{line}\n".encode() for line in lines), {"changed": len(outcomes)}, complete=complete)
    assert audit.path is not None
    return audit.path  # type: ignore[return-value]


def changed(count: int = 6) -> list[Outcome]:
    return [Outcome(Row(n, f"person-{n}@example.com"), "changed") for n in range(count)]


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def lines_of(path: Path) -> Lines:
    return path.read_bytes().splitlines(keepends=True)


def row_of(outcome: Outcome, tmp_path: Path, same: Same = OPT_OUT, **options: Any) -> dict[str, Any] | None:
    """What a file has of one row, besides its place in the chain."""
    found = records(written(tmp_path, [outcome], same=same, **options))[1:-1]
    dropped = ("previous", "hash", "subscriber")
    return {name: value for name, value in found[0].items() if name not in dropped} if found else None


def anew(lines: Lines) -> Lines:
    """The same records in another chain, as those can make it who may write the file."""
    chain = Chain()
    return [chain.add(line.partition(b',"previous"')[0] + b"}") for line in lines]


def forged(lines: Lines, *, after: int) -> Lines:
    """With a record more, whose hashes are right."""
    chain = Chain()
    chain.records, chain.head = after, lines[after - 1][-35:-3]
    return [*lines[:after], chain.add(b'{"subscriber":"0","outcome":"changed"}'), *lines[after:]]


# The records of six rows: 1 batch, 2 - 4, 5 batch, 6 - 8, 9 the end.
TAMPERED: dict[str, tuple[Callable[[Lines], Lines], int]] = {
    "a field": (lambda a: [*a[:3], a[3].replace(b"changed", b"rejected"), *a[4:]], 4),
    "a time": (lambda a: [a[0].replace(b'"at":"2', b'"at":"1'), *a[1:]], 1),
    "one space": (lambda a: [*a[:2], a[2].replace(b",", b", ", 1), *a[3:]], 3),
    "the hash": (lambda a: [*a[:2], a[2][:-35] + b"0" * 32 + a[2][-3:], *a[3:]], 3),
    "the previous hash": (lambda a: [*a[:2], a[2].replace(a[1][-35:-3], b"1" * 32), *a[3:]], 3),
    "a field and its hash": (lambda a: forged_field(a, 3), 5),
    "the count at the end": (lambda a: [*a[:8], a[8].replace(b'"records":8', b'"records":9')], 9),
    "first removed": (lambda a: a[1:], 1),
    "first three removed": (lambda a: a[4:], 1),
    "one removed": (lambda a: [*a[:3], *a[4:]], 4),
    "a batch removed": (lambda a: [*a[:4], *a[8:]], 5),
    "the end removed": (lambda a: a[:8], 9),
    "the tail removed": (lambda a: a[:5], 6),
    "two swapped": (lambda a: [*a[:2], a[3], a[2], *a[4:]], 3),
    "one twice": (lambda a: [*a[:4], a[3], *a[4:]], 5),
    "one added, right hash": (lambda a: forged(a, after=6), 8),
    "one added, wrong hash": (lambda a: [*a[:6], a[3][:-35] + b"0" * 32 + a[3][-3:], *a[6:]], 7),
    "one appended, right hash": (lambda a: forged(a, after=9), 10),
    "one appended, wrong hash": (lambda a: [*a, a[2]], 10),
    "cut in a line": (lambda a: [*a[:5], a[5][:40]], 6),
    "cut before the last byte": (lambda a: [*a[:8], a[8][:-1]], 9),
    "an empty line": (lambda a: [*a[:4], b"\n", *a[4:]], 5),
    "an empty line at the end": (lambda a: [*a, b"\n"], 10),
    "nothing left": (lambda a: [], 1),
    "no JSON": (lambda a: [b"\x00\xff\n"], 1),
    "Windows line ends": (lambda a: [line.replace(b"\n", b"\r\n") for line in a], 1),
    "a byte order mark": (lambda a: [b"\xef\xbb\xbf" + a[0], *a[1:]], 1),
    "another file behind": (lambda a: [*a, *anew(a)], 10),
    "another file in front of its end": (lambda a: [*a[:8], *a], 9),
    "made anew without the first batch": (lambda a: anew(a[4:]), 5),
    "made anew, one left out": (lambda a: anew([*a[:3], *a[4:]]), 8),
    "made anew, count corrected": (
        lambda a: anew([*a[:3], *a[4:8], a[8].replace(b'"records":8', b'"records":7')]),
        8,
    ),
    "made anew, first one no batch": (lambda a: anew(a[1:]), 1),
}


def forged_field(lines: Lines, at: int) -> Lines:
    """One record changed, with a hash that is right again."""
    chain = Chain()
    chain.head = lines[at - 1][-35:-3]
    body = lines[at].partition(b',"previous"')[0].replace(b"changed", b"rejected") + b"}"
    return [*lines[:at], chain.add(body), *lines[at + 1 :]]


@pytest.mark.parametrize(("tamper", "line"), TAMPERED.values(), ids=TAMPERED)
def test_the_first_record_that_was_tampered_with_is_named(
    tmp_path: Path, tamper: Callable[[Lines], Lines], line: int
) -> None:
    path = written(tmp_path, changed())
    assert verify_audit(path, KEYS) == {
        "path": str(path),
        "state": "proven",
        "line": None,
        "why": None,
        "complete": True,
        "records": 9,
        "head": records(path)[-1]["hash"],
        "confirmed_by": ["signature"],
    }
    before = lines_of(path)
    after = tamper(before)
    assert after != before
    path.write_bytes(b"".join(after))
    found = verify_audit(path, KEYS)
    assert (found["state"], found["line"], found["records"]) == ("altered", line, line - 1), found["why"]
    assert found["confirmed_by"] == []


@st.composite
def edits(draw: st.DrawFn, content: bytes) -> bytes:
    """Other bytes: some replaced, removed, added, or taken from elsewhere."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + draw(st.sampled_from([1, 40, 2000])))))
        source = draw(st.integers(0, len(content)))
        new = draw(st.one_of(st.binary(max_size=3), st.just(content[source : source + end - start])))
        content = content[:start] + new + content[end:]
    return content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_whatever_is_edited_the_first_line_that_differs_is_named(tmp_path: Path, data: st.DataObject) -> None:
    original = next(tmp_path.glob(f"*{ENDING}"), None) or written(tmp_path, changed())
    before = original.read_bytes()
    after = data.draw(edits(before))
    path = tmp_path / "edited"
    path.write_bytes(after)
    found = verify_audit(path, KEYS)
    if after == before:
        assert found["state"] == "proven"
        return
    assert found["state"] == "altered"
    line = found["line"] or 0
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    # Python's lines end at more than "\n" in nothing that JSON writes; what was edited in may have such ends.
    new = [one + b"\n" for one in after.split(b"\n")[:-1]] + [one for one in [after.split(b"\n")[-1]] if one]
    same = next((at for at, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), None)
    assert line == 1 + (min(len(old), len(new)) if same is None else same)


def test_who_can_write_the_file_can_make_the_chain_anew_but_has_no_key(tmp_path: Path) -> None:
    path = written(tmp_path, changed())
    lines = lines_of(path)
    head = records(path)[-1]["hash"]
    thief = Chain()
    made = [thief.add(line.partition(b',"previous"')[0] + b"}") for line in [lines[0], *lines[2:8]]]
    path.write_bytes(b"".join([*made, thief.close({}, OTHER_KEYS, complete=True)]))
    assert verify_audit(path, KEYS)["state"] == "unconfirmed"
    assert verify_audit(path)["state"] == "unconfirmed"
    assert verify_audit(path, OTHER_KEYS)["state"] == "proven"
    report = {"audit": f"s3://elsewhere/{path.name}", "audit_head": head}
    (tmp_path / "report.json").write_text(json.dumps(report))
    found = verify_audit(path)
    assert (found["state"], found["line"]) == ("altered", 8)
    path.write_bytes(b"".join(lines))
    assert verify_audit(path)["confirmed_by"] == ["report"]
    assert verify_audit(path, KEYS)["confirmed_by"] == ["signature", "report"]
    (tmp_path / "report.json").write_text(json.dumps({**report, "audit": "another.audit.jsonl"}))
    assert verify_audit(path)["confirmed_by"] == []


def test_without_a_key_the_number_of_records_still_counts(tmp_path: Path) -> None:
    path = written(tmp_path, changed())
    lines = lines_of(path)
    path.write_bytes(b"".join(anew([*lines[:3], *lines[4:]])))
    found = verify_audit(path)
    assert (found["state"], found["line"]) == ("altered", 8)


def test_a_complete_run_cannot_be_passed_off_as_one_that_stopped_early(tmp_path: Path) -> None:
    path = written(tmp_path, changed())
    lines = lines_of(path)
    chain = Chain()
    cut = [chain.add(line.partition(b',"previous"')[0] + b"}") for line in lines[:4]]
    end = json.loads(lines[-1])
    body = {name: end[name] for name in ("record", "complete", "records", "rows", "key", "signature")}
    body |= {"complete": False, "records": 4}
    path.write_bytes(b"".join([*cut, chain.add(json.dumps(body, separators=(",", ":")).encode())]))
    found = verify_audit(path, KEYS)
    assert (found["state"], found["line"], found["why"]) == (
        "altered",
        5,
        "it was forged: its signature or its number of records is wrong",
    )


def test_a_run_that_goes_on_says_so_and_begins_with_the_same_records(tmp_path: Path) -> None:
    folder, all_lines = RunFolder(tmp_path), []
    heads = []
    for rows, complete in ((changed(3), False), ([], False), (changed(5), True)):
        audit = AuditRecorder(folder, OPT_OUT, lambda: {"dag_id": "d"}, KEYS)
        all_lines += [f"{line}\n".encode() for line in audit.lines(rows)]
        audit.finish(iter(all_lines), {}, complete=complete)
        (path,) = tmp_path.glob("*")
        found = verify_audit(path, KEYS)
        assert (found["state"], found["complete"], found["head"]) == ("proven", complete, audit.head)
        heads.append(lines_of(path)[:-1])
    assert heads[0] == heads[1] == heads[2][: len(heads[0])]
    assert len(heads[2]) == 4 + 6


def test_nothing_recorded_makes_no_file_until_the_run_is_complete(tmp_path: Path) -> None:
    audit = recorder(tmp_path)
    assert audit.lines([Outcome(Row(1, "no address", problem="invalid"), "invalid")]) == []
    audit.finish(iter(()), {"invalid": 1}, complete=False)
    assert [*tmp_path.iterdir()] == []
    audit.finish(iter(()), {"invalid": 1}, complete=True)
    assert audit.path is not None
    batch, end = records(audit.path)  # type: ignore[arg-type]
    assert (batch["record"], end["records"], end["rows"]) == ("batch", 1, {"invalid": 1})
    assert verify_audit(audit.path, KEYS)["state"] == "proven"


NEWS = Wanted(
    status="SUBSCRIBED", subscription_id=5, legal_basis="OTHER", legal_basis_explanation=f"by {JANE}"
)


def shown(*statuses: str, number: int = 5) -> list[SubscriptionStatus]:
    return [
        SubscriptionStatus(subscriber=JANE, subscription_id=number + at, status=s)
        for at, s in enumerate(statuses)
    ]


def opted_out(kind: str | None, brand: int | None = None, status: str = "UNSUBSCRIBED") -> list[WideStatus]:
    return [WideStatus(subscriber=JANE, status=status, wide_status_type=kind, business_unit_id=brand)]


RECORDED: dict[str, tuple[Outcome, Same, dict[str, Any] | None]] = {
    "opted out": (Outcome(Row(1, JANE), "changed"), OPT_OUT, {"outcome": "changed"}),
    "opted out before": (Outcome(Row(1, JANE), "unchanged"), OPT_OUT, {"outcome": "unchanged"}),
    "seen to be opted out": (
        Outcome(Row(1, JANE), "unchanged", actual=opted_out("PORTAL_WIDE")),
        OPT_OUT,
        None,
    ),
    "of another brand": (
        Outcome(Row(1, JANE), "unchanged", actual=opted_out("BUSINESS_UNIT_WIDE", 3)),
        Same(after="UNSUBSCRIBED", brand=4),
        {"outcome": "unchanged", "before": ["BUSINESS_UNIT_WIDE 3"]},
    ),
    "no opt-out before": (
        Outcome(Row(1, JANE), "changed", actual=opted_out("PORTAL_WIDE", status="SUBSCRIBED")),
        OPT_OUT,
        {"outcome": "changed", "before": []},
    ),
    "row of everything": (
        Outcome(Row(1, JANE, wanted=Wanted(status="UNSUBSCRIBED")), "changed", actual=[]),
        Same(),
        {"outcome": "changed", "before": [], "after": "UNSUBSCRIBED"},
    ),
    "what the row says": (
        Outcome(Row(1, JANE, wanted=NEWS), "changed", actual=shown("UNSUBSCRIBED", "SUBSCRIBED")),
        Same(),
        {
            "outcome": "changed",
            "subscription": 5,
            "before": "UNSUBSCRIBED",
            "after": "SUBSCRIBED",
            "legal_basis": "OTHER",
            "explanation": "by j***@e***.com",
        },
    ),
    "what all say": (
        Outcome(Row(1, JANE), "changed", actual=[]),
        Same(5, "SUBSCRIBED", "OTHER", "asked for it"),
        {"outcome": "changed", "before": "NOT_SPECIFIED"},
    ),
    "seen as wanted": (
        Outcome(Row(1, JANE), "unchanged", actual=shown("SUBSCRIBED")),
        Same(5, "SUBSCRIBED"),
        None,
    ),
    "written for nothing": (
        Outcome(Row(1, JANE), "unchanged", actual=shown("NOT_SPECIFIED")),
        Same(5, "SUBSCRIBED"),
        {"outcome": "unchanged", "before": "NOT_SPECIFIED"},
    ),
    "not shown": (
        Outcome(Row(1, JANE), "unconfirmed", "STATUS_UNKNOWN", actual=shown("SUBSCRIBED", number=9)),
        Same(5, "SUBSCRIBED"),
        {"outcome": "unconfirmed", "category": "STATUS_UNKNOWN"},
    ),
    "rejected": (
        Outcome(Row(1, JANE), "rejected", f"of {JANE}", f"no {JANE}", "9f3c"),
        OPT_OUT,
        {"outcome": "rejected", "category": "of j***@e***.com", "correlation_id": "9f3c"},
    ),
    "duplicate": (Outcome(Row(1, JANE, problem="duplicate"), "duplicate"), OPT_OUT, None),
    "invalid": (Outcome(Row(1, "jane", problem="invalid"), "invalid"), OPT_OUT, None),
}


@pytest.mark.parametrize(("outcome", "same", "expected"), RECORDED.values(), ids=RECORDED)
def test_a_record_has_what_was_written_or_was_to_be(
    tmp_path: Path, outcome: Outcome, same: Same, expected: dict[str, Any] | None
) -> None:
    assert row_of(outcome, tmp_path, same) == expected
    (path,) = tmp_path.iterdir()
    assert JANE not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_addresses_are_recorded_where_that_is_asked_for(tmp_path: Path) -> None:
    found = row_of(Outcome(Row(1, JANE), "changed"), tmp_path, addresses=True)
    assert found == {"outcome": "changed", "address": JANE}


def test_what_all_rows_want_is_read_from_the_write() -> None:
    set_one = {
        "write": "batch_set_statuses",
        "status": "SUBSCRIBED",
        "subscription_id": 5,
        "legal_basis": "OTHER",
    }
    by_row = {"write": "batch_set_statuses", "status": None, "subscription_id": None, "legal_basis": None}
    opt_out = {"write": "batch_unsubscribe_all", "business_unit_id": 3}
    assert Same.of(set_one) == Same(5, "SUBSCRIBED", "OTHER")
    assert Same.of({**set_one, "legal_basis_explanation": JANE}).explanation == "j***@e***.com"
    assert Same.of(opt_out) == Same(after="UNSUBSCRIBED", brand=3)
    assert Same.of({"statuses": by_row, "opt_outs": opt_out}) == Same(brand=3)


def test_a_subscriber_is_found_by_any_key_that_was_in_use(tmp_path: Path) -> None:
    first = written(tmp_path / "a", changed(4))
    new = AuditKeys("the latest secret, a secret of the tests")
    second = written(tmp_path / "b", changed(2), keys=new, same=Same(5, "SUBSCRIBED", "OTHER"))
    assert KEYS.id != new.id
    found = [one for path in (first, second) for one in records_of(path, "person-1@example.com", new)]
    assert [(one["line"], one["key"], one["after"]) for one in found] == [
        (3, KEYS.id, "UNSUBSCRIBED"),
        (3, new.id, "SUBSCRIBED"),
    ]
    assert found[1]["legal_basis"] == "OTHER"
    assert [(one["dag_id"], one["started_by"], one["try_number"]) for one in found] == [
        ("d", "scheduled", 1)
    ] * 2
    assert [one["line"] for one in records_of(first, "person-3@example.com", new)] == [6]
    assert [*records_of(second, "person-1@example.com", KEYS)] == []
    assert [*records_of(first, "person-9@example.com", new)] == []
    assert verify_audit(first, new)["state"] == verify_audit(second, new)["state"] == "proven"


def test_without_a_key_nothing_is_signed_and_nothing_found(tmp_path: Path) -> None:
    keys = AuditKeys()
    path = written(tmp_path, changed(2), keys=keys)
    assert (records(path)[0]["key"], records(path)[-1]["signature"]) == (None, None)
    assert verify_audit(path, keys)["state"] == "unconfirmed"
    assert [*records_of(path, "person-1@example.com", keys)] == []


@pytest.mark.parametrize("secret", ["short", "long enough to be one, short"], ids=["one", "the second"])
def test_a_secret_that_can_be_guessed_is_refused(secret: str) -> None:
    with pytest.raises(SettingsError, match="audit_key: expected secrets of at least 16") as error:
        AuditKeys(secret)
    assert "short," not in str(error.value)
    assert "enough" not in repr(AuditKeys("long enough to be one"))


def test_copies_of_all_runs_stand_beside_each_other(tmp_path: Path) -> None:
    for run in range(2):
        for part in (changed(3), changed(4)):
            written(tmp_path / str(run), part, copies=tmp_path / "all")
    copies = audits_at(tmp_path / "all")
    assert len(copies) == 4
    assert {one.parent.name for one in copies} == {"7"}
    assert all(one.name[10:17] == "-d-r-t-" for one in copies)
    originals = {one.read_bytes() for one in audits_at(tmp_path) if one not in copies}
    assert {one.read_bytes() for one in copies} == originals
    assert audits_at(tmp_path / "all" / "7" / "*-d-*") == copies
    assert audits_at(copies[0]) == [copies[0]]
    assert audits_at(tmp_path / "all" / "7" / "*.csv") == []


def test_a_run_that_is_killed_and_resumed_leaves_one_chain(hubspot: Simulator, tmp_path: Path) -> None:
    hubspot.load({"limits": {"burst": 10_000}})
    hubspot.fault("latency", ms=[1, 20], times=None)
    taken, _ = people(tmp_path)
    chance = random.Random(3)
    with workers(hubspot, tmp_path, 0.0, audit=True) as start:
        for _ in range(10 if LONG else 4):
            assert start(chance.randint(5, 20)) == -signal.SIGKILL
            assert audits_at(tmp_path) == []
        assert start(None) == 0
    (path,) = audits_at(tmp_path)
    found = verify_audit(path, KEYS)
    assert (found["state"], found["complete"]) == ("proven", True)
    assert found["confirmed_by"] == ["signature", "report"]
    rows = [one for one in records(path) if "subscriber" in one]
    assert len({one["subscriber"] for one in rows}) == len(rows)
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(rows) == report["changed"] + report["unchanged"] + report["rejected"]
    assert sum(one["outcome"] != "rejected" for one in rows) == len(taken)
    assert len({one["id"] for one in records(path) if one.get("record") == "batch"}) > 1
    assert all(one["hash"] == other["previous"] for one, other in pairwise(records(path)))
    assert "@" not in path.read_text()
