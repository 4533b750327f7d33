"""The first dead letters, masked, from the beginning of a file of any size in any store."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.bulk.page.letters import clean, first_letters
from airflow_provider_hubprefs.bulk.report.dead_letters import lines_of
from airflow_provider_hubprefs.bulk.report.outcome import Outcome
from airflow_provider_hubprefs.bulk.source.row import Row, Wanted
from airflow_provider_hubprefs.hubspot.privacy import scrub


def letter(row: int = 1, **fields: Any) -> bytes:
    return json.dumps({"row": row, "subscriber": "jane@example.com", **fields}).encode() + b"\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dead_letters.jsonl"


def test_letters_of_a_run_are_masked(file: Path) -> None:
    wanted = Wanted(status="SUBSCRIBED", subscription_id=1, legal_basis_explanation="Jane Doe ticked a box")
    row = Row(7, "jane@example.com", wanted=wanted, file="eu/jane@example.com.csv")
    refused = Outcome(
        row, "rejected", "VALIDATION_ERROR", "jane@example.com is already unsubscribed", "c0ffee"
    )
    file.write_text("\n".join(lines_of([refused])) + "\n")
    assert first_letters(file) == [
        {
            "file": "e***@e***.csv",
            "row": 7,
            "subscriber": "j***@e***.com",
            "status": "SUBSCRIBED",
            "subscription_id": 1,
            "outcome": "rejected",
            "category": "VALIDATION_ERROR",
            "message": "j***@e***.com is already unsubscribed",
            "correlation_id": "c0ffee",
        }
    ]


@pytest.mark.parametrize(
    "given",
    ["Jane Doe", "jane@example.com, John Doe", "J <jane@example.com> D", "jane@doe", "jane@", "x@y.doe d", "", 7, None],
    ids=["name", "list", "brackets", "no-dot", "no-domain", "spaces", "empty", "number", "null"],
)  # fmt: skip
def test_of_text_that_is_no_address_nothing_is_left(file: Path, given: object) -> None:
    file.write_bytes(letter(subscriber=given))
    (found,) = first_letters(file)
    assert found["subscriber"] in {"***", "j***@d***", "***@***"}


def test_no_more_than_the_first_hundred_lines_are_looked_at(file: Path) -> None:
    file.write_bytes(b"".join(letter(number) for number in range(1, 3000)))
    assert [one["row"] for one in first_letters(file)] == list(range(1, 101))
    assert len(first_letters(file, 3)) == 3


def test_of_a_huge_file_only_the_beginning_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1, /) -> bytes:
            assert 0 < size < 1_000_000
            self.given += size
            return (letter() * (size // len(letter()) + 1))[:size]

    opened = Endless()

    class Huge:
        def open(self, mode: str) -> Endless:
            return opened

    assert len(first_letters(Huge())) == 100  # type: ignore[arg-type]
    assert opened.given < 1_000_000


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"[1]\n", b"7\n", b"null\n", b"{}\n", b'{"row":1}\n', b"text\n", b"\xff\xfe\n", b"[" * 9999 + b"\n"],
    ids=["none", "blank", "list", "number", "null", "empty", "no-subscriber", "text", "bytes", "deep"],
)  # fmt: skip
def test_lines_that_are_no_letter_are_left_out(file: Path, line: bytes) -> None:
    file.write_bytes(letter(1) + line + letter(2) + b'{"row": 3, "subscriber": "ja')
    assert [one["row"] for one in first_letters(file)] == [1, 2]


def test_where_there_is_no_file_there_are_no_letters(tmp_path: Path) -> None:
    assert first_letters(None) == []
    assert first_letters(tmp_path / "missing") == []
    assert first_letters(tmp_path) == []  # a folder


def test_letters_are_read_from_any_store(file: Path) -> None:
    from airflow_provider_hubprefs.compat import ObjectStoragePath

    file.write_bytes(letter(5))
    assert [one["row"] for one in first_letters(ObjectStoragePath(file.as_uri()))] == [5]


@pytest.mark.parametrize(
    "at", ["@", "%40", "%2540", "&#64;", "&#x40;", "&commat;", "\\u0040", "\\x40", "\uff20", "\ufe6b", "=40"]
)
def test_text_is_masked_as_everywhere_else_and_only_once(at: str) -> None:
    text = f"see jane{at}example.com, please"
    assert clean(text) == scrub(text) != text
    assert clean(clean(text)) == clean(text)
    assert clean("is (***@***.com) meant?") == "is (***@***.com) meant?"
    assert clean("jane***@example.com") == "j***@e***.com"


def test_text_is_one_line_and_not_long() -> None:
    assert clean(" a\n\tb ") == "a b"
    assert clean("x" * 1000, most=10) == "xxxxxxxxxx…"
    assert clean("s3://aws_default@bucket/a.csv") == "s3://bucket/a.csv"
