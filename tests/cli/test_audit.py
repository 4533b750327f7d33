"""``hubprefs audit``: what scripts and compliance get of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.bulk.audit.verify import AuditResult
from tests.bulk.test_audit import changed, lines_of, written

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Cli

PERSON = "person-2@example.com"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__HUBPREFS__AUDIT_KEY", "a secret of the tests")


@pytest.fixture
def audits(tmp_path: Path) -> list[Path]:
    return [written(tmp_path / "runs" / name, changed(count)) for name, count in (("a", 6), ("b", 2))]


def test_audits_that_are_as_they_were_written_are_proven(cli: Cli, audits: list[Path]) -> None:
    ended = cli("audit", "verify", "runs", "--output", "json")
    found = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert [(one["state"], one["records"], one["complete"]) for one in found] == [
        ("proven", 9, True),
        ("proven", 4, True),
    ]
    assert set(found[0]) == set(AuditResult.__annotations__)
    assert cli("audit", "verify", "runs/a", "runs/b").out == cli("audit", "verify", "runs/*/*").out
    assert "proven" in cli("audit", "verify", audits[0], "-o", "table").out


def test_the_first_record_that_was_changed_is_named_and_scripts_see_it(cli: Cli, audits: list[Path]) -> None:
    lines = lines_of(audits[0])
    audits[0].write_bytes(b"".join([*lines[:2], *lines[3:]]))
    ended = cli("audit", "verify", "runs", "-o", "json")
    assert ended.code == 1
    assert [(one["state"], one["line"]) for one in json.loads(ended.out)] == [
        ("altered", 3),
        ("proven", None),
    ]
    said = f"hubprefs: altered: {audits[0].relative_to(audits[0].parents[2])}: record 3: "
    assert ended.err == said + "it was added or moved, or a record before it was removed\n"


def test_what_cannot_be_confirmed_is_not_proven(cli: Cli, audits: list[Path], monkeypatch: Any) -> None:
    monkeypatch.setenv("AIRFLOW__HUBPREFS__AUDIT_KEY", "another secret of the tests")
    ended = cli("audit", "verify", audits[1])
    assert ended.code == 1
    assert "unconfirmed: " in ended.err
    assert "no key signed it" in ended.err


def test_a_subscriber_is_found_and_never_named(cli: Cli, audits: list[Path]) -> None:
    ended = cli("audit", "find", f" {PERSON.upper()}", "runs", "-o", "json")
    (found,) = json.loads(ended.out)
    assert ended.code == 0
    assert {name: found[name] for name in ("line", "dag_id", "outcome", "after", "subscription")} == {
        "line": 4,
        "dag_id": "d",
        "outcome": "changed",
        "after": "UNSUBSCRIBED",
        "subscription": None,
    }
    assert found["path"].endswith(audits[0].name)
    assert PERSON not in ended.out + ended.err
    assert cli("audit", "find", "-", "runs", "-o", "json", stdin=f"{PERSON}\n").out == ended.out


def test_who_is_not_there_is_not_found(cli: Cli, audits: list[Path]) -> None:
    ended = cli("audit", "find", "person-9@example.com", *audits)
    assert (ended.code, ended.out.strip()) == (1, "")
    assert ended.err == "hubprefs: no record of this subscriber in 2 audits\n"


def test_what_is_found_in_an_altered_file_is_no_proof(cli: Cli, audits: list[Path]) -> None:
    audits[0].write_bytes(audits[0].read_bytes()[:-1])
    ended = cli("audit", "find", PERSON, "runs", "-o", "json")
    assert (ended.code, len(json.loads(ended.out))) == (1, 1)
    assert "altered" in ended.err


@pytest.mark.parametrize(
    ("argv", "key", "says"),
    [
        (["verify"], "a secret of the tests", "required: what"),
        (["check", "runs"], "a secret of the tests", "invalid choice"),
        (["verify", "none"], "a secret of the tests", "No such file"),
        (["verify", "."], "a secret of the tests", "no audits"),
        (["verify", "."], "hunter2", "at least 16 characters"),
        (["find", PERSON], "a secret of the tests", "no audits"),
        (["find", "jane", "one.audit.jsonl"], "a secret of the tests", "at sign"),
        (["find", PERSON, "one.audit.jsonl"], "", "no key"),
    ],
    ids=[
        "no path",
        "no action",
        "missing",
        "empty",
        "short key",
        "no path to find in",
        "no address",
        "no key",
    ],
)
def test_wrong_use_is_said_in_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, argv: list[str], key: str, says: str
) -> None:
    if argv[-1].endswith(".jsonl"):
        written(tmp_path, changed(1)).rename(tmp_path / argv[-1])
    monkeypatch.setenv("AIRFLOW__HUBPREFS__AUDIT_KEY", key)
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "")
    ended = cli("audit", *argv)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err.splitlines()[-1]
    assert PERSON not in ended.err
