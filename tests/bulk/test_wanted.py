"""What a row can want besides a status of one subscription: an opt-out from everything, and since when it is wanted."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pendulum
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.report.dead_letters import lines_of
from airflow_provider_hubprefs.bulk.report.outcome import Outcome
from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.errors import ContradictionError, SourceError
from airflow_provider_hubprefs.bulk.source.reader import read_rows
from airflow_provider_hubprefs.bulk.source.row import Row, Wanted
from tests.helpers import LONG

COLUMNS = Columns(
    status="status", subscription="id", effective_at="since", legal_basis="basis", everything_allowed=True
)
IN, OUT, NEITHER = "SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"
TEN = pendulum.datetime(2026, 1, 5, 10)


def item(status: str, number: Any, *, since: Any = None, address: str = "jane@example.com") -> dict[str, Any]:
    return {"email": address, "status": status, "id": number, "since": since}


def rows(*items: dict[str, Any], columns: Columns = COLUMNS, on_conflict: Any = "error") -> list[Row]:
    return list(read_rows(list(items), columns=columns, on_conflict=on_conflict))


# Since when -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        "2026-01-05T10:00:00Z",
        " 2026-01-05 10:00:00 ",
        "2026-01-05 10:00:00+00",
        "2026-01-05 10:00:00 UTC",
        "2026-01-05T12:00:00.000000+02:00",
        datetime.datetime(2026, 1, 5, 10),  # noqa: DTZ001 - a database without time zones
        datetime.datetime(2026, 1, 5, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=-5))),
        TEN,
    ],
    ids=str,
)
def test_a_time_is_read_from_text_and_from_times_and_is_utc_without_a_zone(cell: Any) -> None:
    (row,) = rows(item(OUT, 7, since=cell))
    assert row.problem is None
    assert row.wanted == Wanted(status=OUT, subscription_id=7, effective_at=TEN)


def test_a_day_is_its_beginning() -> None:
    for day in ("2026-01-05", "20260105", datetime.date(2026, 1, 5)):
        (row,) = rows(item(IN, 7, since=day))
        assert row.wanted and row.wanted.effective_at == pendulum.datetime(2026, 1, 5)


@pytest.mark.parametrize("cell", [None, "", "  ", float("nan")], ids=str)
def test_a_time_may_be_missing(cell: Any) -> None:
    (row,) = rows(item(IN, 7, since=cell))
    assert row.problem is None
    assert row.wanted == Wanted(status=IN, subscription_id=7)


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("yesterday", "is none"),
        ("05/01/2026", "is none"),
        ("2026-13-01", "is none"),
        ("jane@example.com", "is none"),
        ("0001-01-01T00:00:00+14:00", "is none"),
        (1767607200, "is a number"),
        ("1767607200000", "is a number"),
        (1.5, "is a number"),
        (Decimal(1767607200), "is a number"),
        (True, "is a number"),
    ],
    ids=str,
)
def test_a_time_that_cannot_be_read_is_invalid_and_so_is_a_number(cell: Any, why: str) -> None:
    (row,) = rows(item(IN, 7, since=cell))
    assert (row.problem, row.category) == ("invalid", "INVALID_TIME")
    assert why in row.detail and "2026-11-22T10:00:00Z" in row.detail
    assert "@" not in row.detail


def test_an_opt_out_of_a_time_that_cannot_be_read_keeps_its_subscriber_from_being_subscribed() -> None:
    first, second = rows(item(OUT, 7, since="?"), item(IN, 8))
    assert [first.category, second.category] == ["INVALID_TIME", "CONTRADICTED_BY_INVALID_ROW"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_parquet_has_times_of_any_unit(tmp_path: Path, unit: str, zone: str | None) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    moments = [TEN.in_timezone("UTC") + datetime.timedelta(0), None]
    table = pyarrow.table(
        {
            "email": ["a@x.test", "b@x.test"],
            "status": [OUT, OUT],
            "id": [7, 7],
            "basis": [None, None],
            "since": pyarrow.array([int(TEN.timestamp()) * 10**9 + 1, None], pyarrow.timestamp("ns", "UTC"))
            .cast(pyarrow.timestamp(unit, "UTC"), safe=False)
            .cast(pyarrow.timestamp(unit, zone)),
        }
    )
    parquet.write_table(table, tmp_path / "wanted.parquet")
    found = list(read_rows(tmp_path / "wanted.parquet", columns=COLUMNS))
    assert [row.wanted and row.wanted.effective_at for row in found] == [moments[0], None]


def test_a_column_of_floats_is_no_column_of_times(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = Columns(effective_at="since")
    parquet.write_table(pyarrow.table({"email": ["a@x.test"], "since": [1.5]}), tmp_path / "wanted.parquet")
    with pytest.raises(SourceError, match=r"since.*Expected text, dates or times"):
        list(read_rows(tmp_path / "wanted.parquet", columns=columns))


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wanted.csv"
    path.write_text("email,when\na@x.test,2026-01-05\n")
    with pytest.raises(SourceError, match=r'"since".*"when".*effective_at_column='):
        list(read_rows(path, columns=Columns(effective_at="since")))


# Everything -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["everything", " Everything", "ALL", "all\u200b"])
def test_a_subscription_that_says_everything_is_an_opt_out_from_all_of_them(cell: str) -> None:
    (row,) = rows(item(OUT, cell))
    assert row.problem is None
    assert row.wanted == Wanted(status=OUT, everything=True)


@pytest.mark.parametrize("status", [IN, NEITHER])
def test_nothing_else_can_be_wanted_of_everything(status: str) -> None:
    (row,) = rows(item(status, "everything"))
    assert (row.problem, row.category) == ("invalid", "INVALID_STATUS")
    same = Columns(subscription="id", every_status=status, everything_allowed=True)
    (row,) = rows(item("", "everything"), columns=same)
    assert row.category == "INVALID_STATUS"


def test_where_it_is_not_allowed_it_is_no_subscription() -> None:
    (row,) = rows(item(OUT, "everything"), columns=Columns(status="status", subscription="id"))
    assert row.category == "INVALID_SUBSCRIPTION"


def test_an_empty_subscription_is_not_everything() -> None:
    assert [row.category for row in rows(item(OUT, ""), item(OUT, None))] == ["INVALID_SUBSCRIPTION"] * 2


def test_a_dead_letter_says_it_as_the_source_did_and_can_be_sent_again() -> None:
    given = [
        item(OUT, "all", since="2026-01-05T10:00:00Z"),
        item(IN, 7, address="b@x.test", since=TEN),
        item(IN, 7, address="c@x.test"),
    ]
    first = rows(*given)
    letters = [json.loads(line) for line in lines_of(Outcome(row, "rejected", "X") for row in first)]
    assert [one["subscription_id"] for one in letters] == ["everything", 7, 7]
    assert [one.get("effective_at") for one in letters] == ["2026-01-05T10:00:00Z"] * 2 + [None]
    columns = Columns(
        email="subscriber",
        status="status",
        subscription="subscription_id",
        effective_at="effective_at",
        everything_allowed=True,
    )
    assert [row.wanted for row in rows(*letters, columns=columns)] == [row.wanted for row in first]


# Contradictions -------------------------------------------------------------------------------------


def details(*items: dict[str, Any], on_conflict: Any) -> list[str]:
    found = rows(*items, on_conflict=on_conflict)
    return [row.detail if row.problem else (row.wanted and row.wanted.status) or "" for row in found]


@pytest.mark.parametrize("status", [IN, NEITHER])
@pytest.mark.parametrize("everything_first", [True, False])
def test_everything_contradicts_another_status_of_one_subscription(
    status: str, *, everything_first: bool
) -> None:
    both = [item(OUT, "all"), item(status, 7)]
    source = [*(both if everything_first else reversed(both)), item(OUT, 8), item(IN, 7, address="b@x.test")]
    with pytest.raises(ContradictionError, match="1 times rows contradict each other: an opt-out") as raised:
        details(*source, on_conflict="error")
    assert ("row 1 and row 2. " if everything_first else "row 2 and row 1. ") in str(raised.value)
    assert "example" not in str(raised.value)
    place = "row 1" if everything_first else "row 2"
    counts = [OUT, f"{place} opts out of everything and counts"]
    expected = [*(counts if everything_first else reversed(counts)), OUT, IN]
    assert details(*source, on_conflict="opt_out_wins") == expected


def test_the_last_row_counts_where_it_opts_out_of_everything_and_nothing_later_takes_that_back() -> None:
    assert details(item(IN, 7), item(OUT, "all"), on_conflict="last") == [
        "row 2 opts out of everything and counts",
        OUT,
    ]
    with pytest.raises(ContradictionError, match=r"row 1 and row 2\. .*on_conflict='opt_out_wins'"):
        details(item(OUT, "all"), item(IN, 7), on_conflict="last")


def test_an_opt_out_of_one_subscription_agrees_with_one_of_everything() -> None:
    assert details(item(OUT, 7), item(OUT, "all"), item(OUT, "everything"), on_conflict="error") == [
        OUT,
        OUT,
        "first in row 2",
    ]


PEOPLE = st.tuples(
    st.sampled_from(["a@x.test", "b@x.test"]),
    st.sampled_from([IN, OUT, NEITHER]),
    st.sampled_from([7, 8, "all"]),
)


@settings(max_examples=300 if LONG else 100, deadline=None)
@given(st.lists(PEOPLE, max_size=12), st.sampled_from(["error", "last", "opt_out_wins"]))
def test_no_order_of_rows_subscribes_whom_another_row_opts_out_of_everything(
    people: list[tuple[str, str, Any]], on_conflict: Any
) -> None:
    source = [item(status, number, address=address) for address, status, number in people]
    try:
        found = rows(*source, on_conflict=on_conflict)
    except ContradictionError:
        return
    assert len(found) == len(people)
    counting = [(row.subscriber, row.wanted) for row in found if row.problem is None and row.wanted]
    opted_out = {address for address, wanted in counting if wanted.everything}
    assert opted_out == {address for address, status, number in people if (status, number) == (OUT, "all")}
    assert not [one for one in counting if one[0] in opted_out and one[1].status != OUT]
