"""Files and tables that an export is written to."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.bulk.export.fields import STATUSES, Cell, TargetError, columns_of
from airflow_provider_hubprefs.bulk.export.files import FileTarget
from airflow_provider_hubprefs.bulk.export.table import TableTarget
from airflow_provider_hubprefs.bulk.source.formulas import escaped, unescaped
from airflow_provider_hubprefs.bulk.source.reader import read_rows
from airflow_provider_hubprefs.compat import ObjectStoragePath
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from tests.warehouses import Warehouse

ALL = columns_of(STATUSES, None, keys=True)
CONSENT = columns_of(
    STATUSES,
    {"subscriber": "email", "subscription_id": "list", "status": "status", "updated_at": "at"},
    keys=True,
)


def row(number: int, status: str = "SUBSCRIBED", **cells: Cell) -> list[Cell]:
    """The cells of one row."""
    made: dict[str, Cell] = {
        "subscriber": f"person-{number}@example.com",
        "subscription_id": 7,
        "subscription_name": "Zürich 🎿 \\N",
        "status": status,
        "legal_basis": None,
        "legal_basis_explanation": "said \"yes\"\n\tat the desk; 'quoted'",
        "source": "",
        "updated_at": "2026-11-26T04:00:00.123000Z",
        **cells,
    }
    return list(made.values())


ROWS = [row(1), row(2, "UNSUBSCRIBED", updated_at=None), row(3, subscription_id=8)]


# -- files ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A folder of a store."""
    if request.param == "memory":
        from airflow.sdk.io import attach
        from fsspec.implementations.memory import MemoryFileSystem

        attach("memory", fs=MemoryFileSystem())
        return ObjectStoragePath(f"memory://bucket{tmp_path}")
    return ObjectStoragePath(f"file://{tmp_path}")


def records_in(path: Any) -> list[dict[str, Any]]:
    """What is in a file, as other programs read it."""
    if path.name.endswith("jsonl"):
        return [json.loads(line) for line in path.read_bytes().splitlines()]
    if path.name.endswith("parquet"):
        from pyarrow import parquet

        with path.open("rb") as file:
            found = parquet.read_table(file)
        return [dict(one) for one in found.to_pylist()]
    return list(csv.DictReader(path.read_bytes().decode().splitlines(keepends=True)))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("rows", [ROWS, []], ids=["rows", "no rows"])
def test_a_file_has_all_rows_and_columns(folder: Any, ending: str, rows: list[list[Cell]]) -> None:
    target = FileTarget(folder / f"new/statuses.{ending}", ALL)
    target.check()
    assert not (folder / f"new/statuses.{ending}").exists()
    for _ in range(2):
        assert target.write(iter(rows)) == len(rows)
        found = records_in(folder / f"new/statuses.{ending}")
        if ending == "csv":
            expected = [["" if cell is None else str(cell) for cell in one] for one in rows]
            assert [list(one.values()) for one in found] == expected
        else:
            cells = [list(one.values()) for one in found]
            assert [one[:-1] for one in cells] == [one[:-1] for one in rows]
            assert [str(one[-1])[:10] for one in cells] == [str(one[-1])[:10] for one in rows]
    assert [path.name for path in (folder / "new").iterdir()] == [f"statuses.{ending}"]


def test_a_file_without_rows_still_says_its_columns(tmp_path: Path) -> None:
    from pyarrow import parquet

    for ending in ("csv", "parquet"):
        FileTarget(tmp_path / f"statuses.{ending}", CONSENT).write([])
    assert (tmp_path / "statuses.csv").read_text() == "email,list,status,at\n"
    schema = parquet.read_schema(tmp_path / "statuses.parquet")
    assert [str(kind) for kind in schema.types] == ["string", "int64", "string", "timestamp[ms, tz=UTC]"]


def test_a_file_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    FileTarget(tmp_path / "mine/statuses.csv", ALL).write(ROWS)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("mine", "mine/statuses.csv")]
    assert modes == [0o700, 0o600]


def test_a_file_stays_as_it_was_where_writing_ends_early(folder: Any) -> None:
    target = FileTarget(folder / "statuses.csv", ALL)
    target.write(ROWS)
    before = (folder / "statuses.csv").read_bytes()

    def broken() -> Any:
        yield row(4)
        raise OSError(28, "No space left on device")

    with pytest.raises(TargetError, match=r"^the target statuses\.csv cannot be written: No space left"):
        target.write(broken())
    assert (folder / "statuses.csv").read_bytes() == before


@pytest.mark.parametrize("name", ["statuses.xlsx", "statuses"])
def test_an_unknown_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError, match=r"^target: expected a name that ends with \.csv"):
        FileTarget(tmp_path / name, ALL)
    FileTarget(tmp_path / name, ALL, "csv")


def test_a_folder_that_cannot_be_made_is_found_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TargetError, match=r"^the target statuses\.csv cannot be written: Not a directory"):
        FileTarget(tmp_path / "file/statuses.csv", ALL).check()


@pytest.mark.parametrize(
    "place", ["lists/statuses.csv", "lists", ".", "lists/../lists"], ids=["file", "folder", "above", "spelt"]
)
def test_a_target_among_the_source_or_the_runs_files_is_refused(tmp_path: Path, place: str) -> None:
    target = FileTarget(ObjectStoragePath(f"file://{tmp_path}/lists/statuses.csv"), ALL)
    target.check_apart_from([tmp_path / "list", tmp_path / "lists/statuses.csv.old"])
    with pytest.raises(ValidationError, match=r"^target: expected another place than the source's"):
        target.check_apart_from([tmp_path / place])


# -- formulas ---------------------------------------------------------------------------------------------------

SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: f"U+{ord(sign):04X}")
def test_a_spreadsheet_runs_no_cell_and_nothing_is_lost(sign: str) -> None:
    for cell in (f"{sign}1+1", f"'{sign}1", f"''{sign}", sign):
        assert escaped(cell)[0] == "'"
        assert unescaped(escaped(cell)) == cell


@pytest.mark.parametrize("cell", ["", "'", "jane@example.com", "o'neil@example.com", "'tis", "1-2"])
def test_other_cells_stay_as_they_are(cell: str) -> None:
    assert escaped(cell) == unescaped(cell) == cell


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_addresses_that_look_like_formulas_come_back_as_they_were(tmp_path: Path, ending: str) -> None:
    """Those that this package refuses in any source are named as they were, too: ``=`` is no part of an address."""
    addresses = ["+x@example.com", "-x@example.com", "o'neil@example.com", "=a@b.example", "'=a@b.example"]
    explained = "-- said so; =yes"
    path = tmp_path / f"statuses.{ending}"
    FileTarget(path, ALL).write([row(0, subscriber=one, source=explained) for one in addresses])
    if ending == "csv":
        assert [one[0] for one in csv.reader(path.open())][1:3] == ["'+x@example.com", "'-x@example.com"]
    from airflow_provider_hubprefs.bulk.source.columns import Columns

    columns = Columns(email="subscriber", legal_basis_explanation="source")
    found = list(read_rows(path, columns=columns))
    assert [one.subscriber for one in found] == addresses
    assert [one.problem for one in found] == [None, None, None, "invalid", "invalid"]
    assert {one.wanted.legal_basis_explanation for one in found if one.wanted} == {explained}


# -- tables -----------------------------------------------------------------------------------------------------

CREATE = 'CREATE TABLE consent (email VARCHAR(320), list BIGINT, status TEXT, "at" TIMESTAMP WITH TIME ZONE, note TEXT'
QUERY = "SELECT email, list, status, note FROM consent"


@pytest.fixture(params=[", PRIMARY KEY (email, list))", ")"], ids=["key", "no key"])
def consent(request: pytest.FixtureRequest, any_warehouse: Warehouse) -> Warehouse:
    """A table with one row of before, which has a note of the warehouse's own."""
    any_warehouse.run(CREATE + request.param)
    any_warehouse.run("INSERT INTO consent VALUES ('person-1@example.com', 7, 'NOT_SPECIFIED', NULL, 'ours')")
    any_warehouse.run("INSERT INTO consent VALUES ('of-before@example.com', 7, 'SUBSCRIBED', NULL, 'ours')")
    return any_warehouse


def test_a_table_has_each_row_once_however_often_it_is_written(
    consent: Warehouse, request: pytest.FixtureRequest
) -> None:
    """Rows of other keys stay; what the warehouse has in other columns stays where rows can be updated."""
    target = TableTarget(consent.hook, "consent", CONSENT)
    target.check()
    assert len(consent.run(QUERY)) == 2
    for _ in range(3):
        assert target.write(iter(ROWS)) == 3
        note = "ours" if "no key" not in request.node.name else None
        assert consent.texts(QUERY) == [
            ("of-before@example.com", "7", "SUBSCRIBED", "ours"),
            ("person-1@example.com", "7", "SUBSCRIBED", note),
            ("person-2@example.com", "7", "UNSUBSCRIBED", None),
            ("person-3@example.com", "8", "SUBSCRIBED", None),
        ]
    assert target.write([]) == 0
    assert len(consent.run(QUERY)) == 4
    times = consent.texts('SELECT "at" FROM consent WHERE "at" IS NOT NULL')
    assert len(times) == 2
    assert times[0][0] is not None
    assert times[0][0].startswith("2026-11-26") and "04:00:00.123" in times[0][0]


@pytest.mark.parametrize("rows", [ROWS[1:], []], ids=["rows", "no rows"])
def test_a_table_that_has_only_the_exports_rows_loses_the_others_together_with_the_new(
    consent: Warehouse, rows: list[list[Cell]]
) -> None:
    target = TableTarget(consent.hook, "consent", CONSENT, only=True)
    target.check()
    assert len(consent.run(QUERY)) == 2, "nothing is deleted to try it"
    for _ in range(2):
        target.write(rows)
        assert [one[0] for one in consent.texts(QUERY)] == [one[0] for one in rows]


def test_a_table_is_made_where_the_author_says_so(any_warehouse: Warehouse) -> None:
    missing = TableTarget(any_warehouse.hook, "consent", ALL)
    with pytest.raises(
        TargetError, match="Expected a table consent that this connection may write, with the"
    ):
        missing.check()
    target = TableTarget(any_warehouse.hook, "consent", ALL, create=True)
    target.check()
    for _ in range(2):
        target.write(ROWS)
    names = (
        "subscriber, subscription_id, subscription_name, status, legal_basis, legal_basis_explanation, source"
    )
    assert any_warehouse.texts(f"SELECT {names} FROM consent") == [
        tuple(None if cell is None else str(cell) for cell in one[:-1]) for one in ROWS
    ]


def test_a_table_stays_as_it_was_where_loading_it_ends_early(consent: Warehouse) -> None:
    def broken() -> Any:
        yield from (row(number) for number in range(2000))
        raise OSError("of the store")

    before = consent.texts(QUERY)
    with pytest.raises(OSError, match="of the store"):
        TableTarget(consent.hook, "consent", CONSENT, only=True).write(broken())
    assert consent.texts(QUERY) == before


@pytest.mark.parametrize(
    ("create", "cause"),
    [
        ('CREATE TABLE consent (email TEXT, status TEXT, "at" TEXT)', "list"),
        ("CREATE TABLE other (email TEXT)", "consent"),
    ],
    ids=["missing column", "missing table"],
)
def test_what_is_wrong_with_a_table_is_said_in_one_line_before_the_run(
    any_warehouse: Warehouse, create: str, cause: str
) -> None:
    any_warehouse.run(create)
    with pytest.raises(TargetError) as raised:
        TableTarget(any_warehouse.hook, "consent", CONSENT).check()
    text = str(raised.value)
    assert cause in text.partition(". Expected a table consent that this connection may write")[0]
    assert "\n" not in text
    assert raised.value.permanent or any_warehouse.kind == "sqlite"


def test_values_of_another_type_fail_once_and_name_no_address(any_warehouse: Warehouse) -> None:
    if any_warehouse.kind == "sqlite":
        pytest.skip("SQLite's columns take any type")
    any_warehouse.run('CREATE TABLE consent (email BIGINT, list BIGINT, status TEXT, "at" TEXT)')
    with pytest.raises(TargetError) as raised:
        TableTarget(any_warehouse.hook, "consent", CONSENT).write(ROWS)
    assert raised.value.permanent
    assert "person-1" not in str(raised.value)
    assert "***@e***.com" in str(raised.value)
    assert any_warehouse.run("SELECT count(*) FROM consent") == [(0,)]


def test_a_table_that_the_user_may_not_write_is_found_before_the_run(
    warehouse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_hubprefs.compat import BaseHook

    warehouse.run(f"{CREATE})")
    warehouse.run("DROP ROLE IF EXISTS reader")
    warehouse.run("CREATE ROLE reader LOGIN PASSWORD 'reader'")
    warehouse.run("GRANT SELECT ON consent TO reader")
    monkeypatch.setenv(
        "AIRFLOW_CONN_READER",
        warehouse.uri.replace(f"{warehouse.user}:{warehouse.password}", "reader:reader"),
    )
    connection: Any = BaseHook.get_connection("reader")
    hook = connection.get_hook()
    with pytest.raises(
        TargetError, match=r"^permission denied for table consent\. Expected a table"
    ) as raised:
        TableTarget(hook, "consent", CONSENT).check()
    assert raised.value.permanent
    warehouse.run("DROP OWNED BY reader")


def test_a_database_that_does_not_answer_may_answer_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    from airflow_provider_hubprefs.compat import BaseHook

    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgresql://u:pa55@127.0.0.1:1/none")
    connection: Any = BaseHook.get_connection("warehouse")
    target = TableTarget(connection.get_hook(), "consent", CONSENT)
    with pytest.raises(
        TargetError, match=r"^table consent: its database cannot be reached \(OperationalError\)"
    ) as raised:
        target.check()
    assert not raised.value.permanent
    assert "pa55" not in str(raised.value)


@pytest.mark.parametrize("table", ["consent; DROP TABLE x", "", "a.b.c.d", "1st", "a..b", "a b"])
def test_what_is_no_name_of_a_table_is_refused(any_warehouse: Warehouse, table: str) -> None:
    with pytest.raises(ValidationError, match=r"^table: expected a name such as schema\."):
        TableTarget(any_warehouse.hook, table, CONSENT)


def test_names_that_need_quotes_are_quoted(any_warehouse: Warehouse) -> None:
    columns = columns_of(
        STATUSES, {"subscriber": "E-Mail", "subscription_id": "list", "status": "user"}, keys=True
    )
    schema = {"postgres": "public", "sqlite": "main", "duckdb": "main"}[any_warehouse.kind]
    target = TableTarget(any_warehouse.hook, f'{schema}."my consent"', columns, create=True, only=True)
    for _ in range(2):
        target.write(ROWS)
    assert len(any_warehouse.run('SELECT "E-Mail", "user" FROM "my consent"')) == 3


# -- columns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "keys", "text"),
    [
        ("subscriber", False, "expected names of fields"),
        (["subscriber", "e-mail"], False, "expected some of subscriber, subscription_id"),
        ({"subscriber": ""}, False, "expected some of subscriber"),
        (["subscriber", "status"], True, "expected subscription_id among them"),
        ({"subscriber": "a", "status": "A"}, False, "expected each name once, got a, A"),
    ],
    ids=["text", "unknown", "no name", "no key", "twice"],
)
def test_columns_that_cannot_work_are_refused(chosen: Any, keys: bool, text: str) -> None:
    with pytest.raises(ValidationError, match=f"^columns: {text}"):
        columns_of(STATUSES, chosen, keys=keys)
