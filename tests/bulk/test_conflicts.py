"""Rows that contradict each other: which of them count, and that nothing is written where that is undecided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.errors import ContradictionError, SourceError
from airflow_provider_hubprefs.bulk.source.reader import read_rows
from airflow_provider_hubprefs.bulk.source.row import Wanted
from tests.helpers import LONG

COLUMNS = Columns(status="status", subscription="id")
IN, OUT, NEITHER = "SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"


def items(*statuses: str, address: str = "jane@example.com", number: int = 7) -> list[dict[str, Any]]:
    return [{"email": address, "status": status, "id": number} for status in statuses]


def details(source: Any, on_conflict: Any, **options: Any) -> list[str]:
    rows = read_rows(source, columns=COLUMNS, on_conflict=on_conflict, **options)
    return [row.detail if row.problem else (row.wanted and row.wanted.status) or "" for row in rows]


@pytest.mark.parametrize(
    ("statuses", "on_conflict", "expected"),
    [
        ([IN, IN, IN], "error", [IN, "first in row 1", "first in row 1"]),
        ([OUT, OUT], "last", [OUT, "first in row 1"]),
        ([OUT, OUT], "opt_out_wins", [OUT, "first in row 1"]),
        ([OUT, IN], "last", ["row 2 counts", IN]),
        ([IN, OUT, IN], "last", ["row 3 counts", "row 3 counts", IN]),
        ([IN, OUT, OUT], "last", ["row 3 counts", "row 3 counts", OUT]),
        ([OUT, IN], "opt_out_wins", [OUT, "row 1 counts"]),
        ([IN, OUT, OUT, IN], "opt_out_wins", ["row 2 counts", OUT, "row 2 counts", "row 2 counts"]),
        ([IN, NEITHER, OUT], "opt_out_wins", ["row 3 counts", "row 3 counts", OUT]),
        ([NEITHER, IN], "last", ["row 2 counts", IN]),
    ],
)
def test_which_row_counts(statuses: list[str], on_conflict: str, expected: list[str]) -> None:
    assert details(items(*statuses), on_conflict) == expected


@pytest.mark.parametrize("on_conflict", ["error", "opt_out_wins"])
def test_where_it_cannot_be_said_the_rows_are_named_before_any_is_given(on_conflict: str) -> None:
    source = [
        *items(IN, NEITHER, IN),
        *items(OUT, OUT, address="bob@example.com"),
        *items(NEITHER, IN, number=8),
    ]
    rows = read_rows(source, columns=COLUMNS, on_conflict=on_conflict)  # type: ignore[arg-type]
    with pytest.raises(
        ContradictionError, match=r"2 times .*: row 1 and row 2; row 6 and row 7\. "
    ) as raised:
        next(rows)
    assert "on_conflict='last'" in str(raised.value)
    assert "example" not in str(raised.value)


def test_of_many_only_the_first_few_rows_are_named() -> None:
    source = [item for number in range(9) for item in items(IN, OUT, number=number)]
    with pytest.raises(ContradictionError, match=r"9 times .*; row 9 and row 10; \.\.\.\. Fix"):
        details(source, "error")


def test_another_subscription_contradicts_no_row() -> None:
    assert details([*items(IN), *items(OUT, number=8)], "error") == [IN, OUT]


UNREADABLE: list[dict[str, Any]] = [
    {"status": "unsubscribe"},
    {"status": ""},
    {"status": None},
    {"status": OUT, "id": "x"},
    {"status": IN, "basis": "x"},
]


@pytest.mark.parametrize("on_conflict", ["error", "last", "opt_out_wins"])
@pytest.mark.parametrize("row", UNREADABLE, ids=str)
@pytest.mark.parametrize("first", [True, False])
def test_a_row_that_cannot_be_read_keeps_its_subscriber_from_being_subscribed_by_another(
    on_conflict: Any, row: dict[str, Any], *, first: bool
) -> None:
    columns = Columns(status="status", subscription="id", legal_basis="basis")
    unreadable = {"email": " Jane@Example.com", "id": 7, **row}
    others = [*items(IN), *items(NEITHER, number=8), *items(OUT, number=9), *items(IN, address="bob@x.test")]
    source = [unreadable, *others] if first else [*others, unreadable]
    rows = list(read_rows(source, columns=columns, on_conflict=on_conflict))
    said = [found for found in rows if found.number != (1 if first else 5)]
    place = "row 1" if first else "row 5"
    assert [found.category for found in said] == ["CONTRADICTED_BY_INVALID_ROW"] * 2 + [None, None]
    assert [found.wanted and found.wanted.status for found in said] == [None, None, OUT, IN]
    assert said[0].detail == f"{place} is about the same subscriber, cannot be read and may be an opt-out"


def test_an_opt_out_needs_no_legal_basis_and_drops_one_that_cannot_be_read() -> None:
    columns = Columns(status="status", legal_basis="basis", legal_basis_explanation="why")
    bad = {"basis": "withdrawn by phone", "why": "\udcff"}
    (row,) = read_rows([{"email": "a@x.test", "status": "opted out", **bad}], columns=columns)
    assert (row.problem, row.wanted) == (None, Wanted(status=OUT))
    of_all = Columns(legal_basis="basis", every_status=OUT)
    assert next(read_rows([{"email": "a@x.test", **bad}], columns=of_all)).problem is None
    assert next(read_rows([{"email": "a@x.test", **bad}], columns=Columns(legal_basis="basis"))).problem


def test_without_a_column_of_subscriptions_the_subscriber_alone_decides() -> None:
    with pytest.raises(ContradictionError):
        list(read_rows([*items(IN), *items(OUT, number=8)], columns=Columns(status="status")))


def test_rows_that_agree_but_for_their_legal_basis_do_not_contradict_and_the_first_counts() -> None:
    columns = Columns(status="status", legal_basis="basis")
    source = [
        {"email": "a@x.test", "status": IN, "basis": basis} for basis in ("NON_GDPR", "PROCESS_AND_STORE")
    ]
    first, second = read_rows(source, columns=columns)
    assert (first.problem, first.wanted and first.wanted.legal_basis) == (None, "NON_GDPR")
    assert second.detail == "first in row 1"


def test_a_source_that_can_be_read_only_once_is_refused_at_once() -> None:
    with pytest.raises(SourceError, match=r"read twice.*only once"):
        read_rows(iter(items(IN)), columns=COLUMNS)
    assert next(read_rows(iter(items(IN)), columns=Columns(subscription="id"))).problem is None


def test_a_word_that_is_none_is_refused() -> None:
    with pytest.raises(SourceError, match="on_conflict: expected one of error, last, opt_out_wins"):
        read_rows([], on_conflict="first")  # type: ignore[arg-type]


def test_a_file_that_changes_after_the_first_reading_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    lines = [f"p{number}@x.test,SUBSCRIBED,7\n" for number in range(300)]
    path.write_text("".join(["email,status,id\n", *lines]))
    rows = read_rows(path, columns=COLUMNS)
    next(rows)
    path.write_text("".join(["email,status,id\n", *lines[:250], "new@x.test,SUBSCRIBED,7\n"]))
    with pytest.raises(SourceError, match=r"'people.csv': changed while it was read"):
        list(rows)


def test_so_is_a_list_that_changes_after_the_first_reading() -> None:
    source = [{"email": f"p{number}@x.test", "status": IN, "id": 7} for number in range(300)]
    rows = read_rows(source, columns=COLUMNS)
    next(rows)
    source[250]["email"] = "new@x.test"
    with pytest.raises(SourceError, match="source changed while it was read"):
        list(rows)


PEOPLE = st.tuples(
    st.sampled_from(["a@x.test", "B@x.test ", "b@x.test", "broken"]),
    st.sampled_from([IN, OUT, NEITHER, "?"]),
    st.sampled_from([7, 8]),
)


@settings(max_examples=300 if LONG else 100, deadline=None)
@given(st.lists(PEOPLE, max_size=30), st.sampled_from(["error", "last", "opt_out_wins"]))
def test_as_a_dict_would_decide_it(people: list[tuple[str, str, int]], on_conflict: Any) -> None:
    source = [{"email": address, "status": status, "id": number} for address, status, number in people]
    said: dict[tuple[str, int], list[str]] = {}
    for address, status, number in people:
        if address != "broken" and status != "?":
            said.setdefault((address.strip().lower(), number), []).append(status)
    undecided = [
        all_of
        for all_of in said.values()
        if len(set(all_of)) > 1
        and (on_conflict == "error" or (on_conflict == "opt_out_wins" and OUT not in all_of))
    ]
    if undecided:
        with pytest.raises(ContradictionError, match=f"^{len(undecided)} times"):
            details(source, on_conflict)
        return
    rows = list(read_rows(source, columns=COLUMNS, on_conflict=on_conflict))
    assert [row.number for row in rows] == list(range(1, len(people) + 1))
    unreadable = {address.strip().lower() for address, status, _ in people if status == "?"}
    sent = {
        (row.subscriber, row.wanted.subscription_id): row.wanted.status
        for row in rows
        if row.problem is None and row.wanted
    }
    assert len(sent) == sum(row.problem is None for row in rows)
    assert sent == {
        key: OUT if on_conflict == "opt_out_wins" and OUT in all_of else all_of[-1]
        for key, all_of in said.items()
        if key[0] not in unreadable
        or (OUT if on_conflict == "opt_out_wins" and OUT in all_of else all_of[-1]) == OUT
    }
