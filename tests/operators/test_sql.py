"""A query as a source: rows of real databases are sent as rows of a list are, and no error shows what is in them."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_hubprefs.bulk.report.checkpoint import CheckpointError
from airflow_provider_hubprefs.bulk.source import kept as kept_rows
from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.kept import KeptRows
from airflow_provider_hubprefs.bulk.source.options import ReadOptions
from airflow_provider_hubprefs.bulk.source.reader import read_rows
from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from airflow_provider_hubprefs.operators._sql_text import query_of
from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)
from tests.conftest import DAGS
from tests.helpers import Store, outcomes, people, reported, writes

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.simulator import Simulator
    from tests.conftest import Run
    from tests.postgres import Database

    Context = dict[str, Any]
    Connect = Callable[[str], "Warehouse"]

QUERY = "SELECT * FROM consent ORDER BY n"
ENGINES = ("sqlite", "duckdb", "postgres", "psycopg2")
MARK = {"sqlite": "?", "duckdb": "?", "postgres": "%s", "psycopg2": "%s"}


class Warehouse:
    """A database that Airflow knows as the connection ``warehouse``."""

    def __init__(self, engine: str, place: Any) -> None:
        self.engine, self.place = engine, place

    def run(self, statement: str, rows: Any = None) -> None:
        if self.engine in {"postgres", "psycopg2"}:
            connection = self.place.connect()
        elif self.engine == "sqlite":
            connection = sqlite3.connect(self.place, isolation_level=None)
        else:
            duckdb = pytest.importorskip("duckdb")
            connection = duckdb.connect(str(self.place))
        with closing(connection):
            cursor = connection.cursor()
            cursor.execute(statement) if rows is None else cursor.executemany(statement, rows)

    def fill(self, addresses: list[str | None]) -> None:
        """A table of addresses, numbered from 0."""
        self.run("CREATE TABLE consent (n INTEGER, email TEXT)")
        mark = MARK[self.engine]
        if addresses:
            self.run(f"INSERT INTO consent VALUES ({mark}, {mark})", list(enumerate(addresses)))


@pytest.fixture
def connect(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Warehouse]:
    """Start a database, and have Airflow know it as the connection ``warehouse``."""

    def started(engine: str) -> Warehouse:
        if engine in {"postgres", "psycopg2"}:
            if engine == "psycopg2":
                from airflow.providers.postgres.hooks import postgres

                monkeypatch.setattr(postgres, "USE_PSYCOPG3", False, raising=False)
            return Warehouse(engine, request.getfixturevalue("warehouse"))
        pytest.importorskip(f"airflow.providers.{engine}")
        path = tmp_path / f"warehouse.{engine}"
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": engine, "host": str(path)}))
        return Warehouse(engine, path)

    return started


@pytest.fixture(params=ENGINES)
def any_warehouse(request: pytest.FixtureRequest, connect: Connect) -> Warehouse:
    return connect(request.param)


@pytest.fixture
def sqlite(connect: Connect) -> Warehouse:
    return connect("sqlite")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_rows, "AT_ONCE", 50)


@pytest.fixture(autouse=True)
def _connection(hubprefs_default: str) -> None:
    """HubSpot's."""


def opt_out(context: Context, sql: str = QUERY, **arguments: Any) -> dict[str, Any]:
    operator = HubPrefsBatchUnsubscribeOperator(
        task_id="opt_out", **{"sql": sql, "sql_conn_id": "warehouse", **arguments}
    )
    return operator.execute(context)  # type: ignore[arg-type]


class TestTheRows:
    def test_of_every_database_are_a_source(
        self, hubspot: Simulator, context: Context, any_warehouse: Warehouse, tmp_path: Path
    ) -> None:
        names: list[str | None] = [*people(120), None, "no address", " PERSON-7@example.com "]
        any_warehouse.fill(names)
        summary = opt_out(
            context, f"{QUERY}; -- all", output=str(tmp_path), on_rejected="report", batch_size=1000
        )
        assert outcomes(summary) == {"changed": 120, "invalid": 2, "duplicate": 1}
        assert reported(summary)["source_names"] == ["sql of warehouse"]
        letters = [json.loads(line) for line in Path(summary["dead_letters"]).read_text().splitlines()]
        invalid = {letter["row"]: letter["message"] for letter in letters if letter["outcome"] == "invalid"}
        assert list(invalid) == [121, 122]
        assert invalid[121] == "the address is empty"

    def test_carry_what_is_wanted_in_columns_of_any_type(
        self, hubspot: Simulator, context: Context, warehouse: Database
    ) -> None:
        one, other, *_ = hubspot.subscription_ids
        warehouse.run(
            'CREATE TABLE consent (email varchar(80), "Type" numeric, opted_out boolean, basis text, at timestamptz, '
            "key uuid DEFAULT gen_random_uuid(), tags text[] DEFAULT '{a,b}', raw bytea DEFAULT 'x')"
        )
        warehouse.copy(
            'consent (email, "Type", opted_out, basis, at)',
            [
                ("a@example.com", one, True, None, "2026-01-01"),
                ("a@example.com", f"{other}.00", False, "CONSENT_WITH_NOTICE", None),
                ("b@example.com", one, None, "", "2026-01-01"),
                ("c@example.com", None, True, None, None),
                ("d@example.com", other, True, None, None),
            ],
        )
        summary = HubPrefsBatchSetStatusOperator(
            task_id="set",
            sql='SELECT * FROM consent WHERE email <> %(but)s ORDER BY email, "Type"',
            sql_conn_id="warehouse",
            sql_parameters={"but": "d@example.com"},
            subscription_column="TYPE",
            status_column="opted_out",
            legal_basis_column="basis",
            read_options={"status_values": {"true": "UNSUBSCRIBED", "false": "SUBSCRIBED"}},
            on_rejected="report",
        ).execute(context)  # type: ignore[arg-type]
        assert outcomes(summary) == {"changed": 2, "invalid": 2}
        assert summary["reasons"] == {"invalid: INVALID_STATUS": 1, "invalid: INVALID_SUBSCRIPTION": 1}
        assert hubspot.status_of("a@example.com", one) == "UNSUBSCRIBED"
        assert hubspot.status_of("a@example.com", other) == "SUBSCRIBED"

    @pytest.mark.parametrize("column", ["key", "tags", "raw", "n", "at", "big"])
    def test_with_an_address_that_is_no_text_are_invalid(
        self, hubspot: Simulator, context: Context, warehouse: Database, column: str
    ) -> None:
        typed = "gen_random_uuid() AS key, ARRAY['a'] AS tags, 'x'::bytea AS raw, 1 AS n, now() AS at, 1e30 AS big"
        summary = opt_out(context, f"SELECT {typed} ORDER BY 1", email_column=column, on_rejected="report")
        assert outcomes(summary) == {"invalid": 1}
        assert writes(hubspot) == 0

    def test_that_where_leaves_out_are_skipped(
        self, hubspot: Simulator, context: Context, sqlite: Warehouse, tmp_path: Path
    ) -> None:
        sqlite.fill([*people(5)])
        summary = opt_out(
            context, output=str(tmp_path), read_options={"where": {"N": [1, "3"]}}, email_column="Email"
        )
        assert (summary["changed"], reported(summary)["skipped"]) == (2, 3)

    def test_may_be_none(self, hubspot: Simulator, context: Context, any_warehouse: Warehouse) -> None:
        any_warehouse.fill([])
        assert opt_out(context)["read"] == 0
        with pytest.raises(
            HubPrefsFailException, match=r'no column is called "mail"\. There are: "n", "email"'
        ):
            opt_out(context, email_column="mail")

    def test_come_from_parameters_that_are_bound(
        self, hubspot: Simulator, context: Context, any_warehouse: Warehouse
    ) -> None:
        any_warehouse.fill([*people(3), "o'neill@example.com"])
        query = f"SELECT email FROM consent WHERE email = {MARK[any_warehouse.engine]} ORDER BY email"
        assert opt_out(context, query, sql_parameters=["o'neill@example.com"])["changed"] == 1
        assert opt_out(context, query, sql_parameters=("x' OR '1' = '1",))["read"] == 0
        assert hubspot.is_opted_out("o'neill@example.com")

    def test_are_the_whole_table_in_one_snapshot_and_nothing_is_written(
        self, hubspot: Simulator, context: Context, warehouse: Database
    ) -> None:
        warehouse.run("CREATE TABLE consent (n int, email text)")
        warehouse.run(
            "CREATE FUNCTION written() RETURNS text LANGUAGE sql AS "
            "$$ INSERT INTO consent VALUES (1, 'x@example.com') RETURNING email $$"
        )
        with pytest.raises(HubPrefsFailException, match=r"ReadOnlySqlTransaction, 25006"):
            opt_out(context, "SELECT written() AS email ORDER BY 1")
        assert warehouse.run("SELECT count(*) FROM consent") == [(0,)]
        assert warehouse.run(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ) == [(0,)]


class TestTheText:
    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT email FROM t ORDER BY email",
            "select email from t order\n/* by */ by email;\n-- the end",
            "WITH x AS (SELECT 1 AS email) SELECT email FROM x UNION SELECT 2 ORDER BY 1",
            "(SELECT 1) ORDER BY 1",
            "VALUES (1), (2) ORDER BY 1",
            "FROM t ORDER BY ALL",
            "SELECT email FROM t WHERE tags @> ARRAY['x'] AND email LIKE '%@example.com' ORDER BY email",
            "SELECT a, ';' FROM t WHERE b = 'it''s -- no comment' ORDER BY a",
            "SELECT replace(a, 'x', 'y') FROM t ORDER BY a FOR UPDATE",
        ],
        ids=[
            "plain",
            "comments",
            "with",
            "parentheses",
            "values",
            "from",
            "at signs",
            "quotes",
            "for update",
        ],
    )
    def test_of_a_query_with_an_order_is_taken(self, sql: str) -> None:
        checked = query_of(sql, conn_id="x", parameters=None, ordered_because="Because.")
        assert checked == sql.partition(";\n")[0]

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT email FROM t",
            "SELECT email FROM t -- ORDER BY email",
            "SELECT email FROM t /* ORDER BY email */",
            "SELECT email FROM (SELECT email FROM t ORDER BY email) AS x",
            "SELECT row_number() OVER (ORDER BY email), email FROM t",
            "SELECT 'ORDER BY x', \"order by\", $$ ORDER BY x $$, order_by FROM t",
            "SELECT string_agg(email, ',' ORDER BY email) FROM t GROUP BY email",
        ],
        ids=["none", "comment", "block comment", "subquery", "window", "quoted", "aggregate"],
    )
    def test_without_an_order_of_its_own_cannot_be_resumed(self, sql: str) -> None:
        with pytest.raises(
            ValidationError, match=r"sql: expected ORDER BY a unique key, got no order\. Because"
        ):
            query_of(sql, conn_id="x", parameters=None, ordered_because="Because.")
        assert query_of(sql, conn_id="x", parameters=None) == sql

    @pytest.mark.parametrize(
        ("sql", "says"),
        [
            ("UPDATE t SET a = 1 RETURNING email", "only reads .*, got UPDATE"),
            ("WITH x AS (SELECT 1) DELETE FROM t", "only reads .*, got DELETE"),
            ("TRUNCATE t", "got TRUNCATE"),
            ("-- nothing", "got none"),
            ("jane", "got none"),
            ("SELECT 1; DROP TABLE t", "expected one query, got several statements"),
            (
                "SELECT * FROM t WHERE email = 'jane@example.com'",
                "an address in its text, which Airflow stores",
            ),
            ("SELECT 1 -- for jane@example.com\n", "an address in its text"),
        ],
        ids=["update", "delete", "truncate", "comment", "name", "two", "address", "address in a comment"],
    )
    def test_of_what_is_no_query_is_refused(self, sql: str, says: str) -> None:
        with pytest.raises(ValidationError, match=says) as refused:
            query_of(sql, conn_id="x", parameters=None)
        assert "jane" not in str(refused.value)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ({"sql": None, "sql_conn_id": None}, "expected one of subscribers, source and sql, got none"),
            ({"source": "x.csv"}, "expected one of subscribers, source and sql, got source and sql"),
            ({"subscribers": []}, "got subscribers and sql"),
            ({"sql_conn_id": None}, "expected sql_conn_id with sql, got nothing"),
            ({"sql": "", "subscribers": []}, "expected sql with sql_conn_id, got nothing"),
            (
                {"sql": None, "sql_conn_id": None, "subscribers": [], "sql_parameters": [1]},
                "sql_parameters: expected sql",
            ),
            ({"sql_parameters": "jane@example.com"}, "sql_parameters: expected a list or a mapping, got str"),
            ({"sql": ["SELECT 1"]}, "sql: expected a text"),
            (
                {"sql": "SELECT email FROM consent"},
                "got no order. A retry, or the task after a wait .* set resume=False",
            ),
            ({"sql": "SELECT email FROM consent", "resume": False, "deferrable": True}, "got no order"),
            (
                {"read_options": {"delimiter": ";"}},
                r"read_options: expected delimiter only with source \(files\)",
            ),
        ],
        ids=[
            *(
                "no source",
                "file too",
                "list too",
                "no connection",
                "no query",
                "parameters alone",
                "parameters as text",
            ),
            *("list", "no order", "no order in a wait", "delimiter"),
        ],
    )
    def test_and_what_belongs_to_it_are_checked_before_anything_else(
        self, hubspot: Simulator, context: Context, arguments: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(HubPrefsFailException, match=says) as refused:
            opt_out(context, **{"sql": QUERY, **arguments})
        assert "jane" not in str(refused.value)
        assert hubspot.requests == []

    def test_needs_no_order_where_nothing_resumes(self, context: Context, sqlite: Warehouse) -> None:
        sqlite.fill([*people(3)])
        assert opt_out(context, "SELECT email FROM consent", resume=False)["changed"] == 3


SECRET, JANE = "s3cret", "jane@example.com"


class TestWhatFails:
    @pytest.mark.parametrize(
        "case",
        [
            (
                "SELECT email FROM consents WHERE email <> 's3cret' ORDER BY 1",
                r"Undefined?Table.*42P01.*relation consents",
            ),
            (
                "SELECT emial FROM consent WHERE email <> 's3cret' ORDER BY 1",
                r"UndefinedColumn, 42703, column emial",
            ),
            ("SELECT email FORM consent WHERE email <> 's3cret' ORDER BY 1", r"SyntaxError, 42601\)"),
            ("SELECT email FROM consent WHERE n = 's3cret' ORDER BY 1", r"InvalidTextRepresentation, 22P02"),
            ("SELECT email FROM consent WHERE n = %s ORDER BY 1", r"SyntaxError, 42601|ProgrammingError"),
            (
                "SELECT email, 1 / (n - 250 + (random() * 0)::int) AS x FROM consent ORDER BY n",
                r"after 200 rows \(DivisionByZero, 22012\)",
            ),
            ("SELECT email, n AS email FROM consent ORDER BY n", 'sql: 2 columns are called "email"'),
        ],
        ids=["table", "column", "syntax", "literal", "parameter", "value", "two columns"],
    )
    @pytest.mark.parametrize("engine", ["postgres", "psycopg2"])
    def test_for_good_fails_the_task_at_once(
        self, hubspot: Simulator, context: Context, connect: Connect, engine: str, case: tuple[str, str]
    ) -> None:
        sql, says = case
        warehouse = connect(engine)
        warehouse.fill([])
        warehouse.run(
            "INSERT INTO consent SELECT i, 'person-' || i || '@example.com' FROM generate_series(1, 300) i"
        )
        with pytest.raises(HubPrefsFailException, match=says) as failed:
            opt_out(context, sql)
        assert_says_nothing(failed.value)
        assert hubspot.requests == []

    @pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
    @pytest.mark.parametrize(
        "case",
        [
            (
                "SELECT email FROM consents WHERE email <> 's3cret' ORDER BY 1",
                r"\(\w+, (SQLITE_ERROR, )?table consents\)",
            ),
            (
                "SELECT emial FROM consent WHERE email <> 's3cret' ORDER BY 1",
                r"\(\w+, (SQLITE_ERROR, )?column emial\)",
            ),
            ("SELECT email FORM consent WHERE email <> 's3cret' ORDER BY 1", r"\(\w+(, SQLITE_\w+)?\)"),
            ("SELECT email FROM consent WHERE n = ? ORDER BY 1", r"Correct sql or sql_parameters"),
        ],
        ids=["table", "column", "syntax", "parameter"],
    )
    def test_in_a_local_database_too(
        self, context: Context, connect: Connect, engine: str, case: tuple[str, str]
    ) -> None:
        sql, says = case
        connect(engine).fill([*people(3)])
        with pytest.raises(HubPrefsFailException, match=says) as failed:
            opt_out(context, sql)
        assert_says_nothing(failed.value)

    def test_in_the_middle_sends_nothing_and_a_retry_begins_the_query_again(
        self, hubspot: Simulator, context: Context, warehouse: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The server ends its own process when the cursor comes to a row."""
        context["task_state_store"] = Store()
        warehouse.run(
            "CREATE TABLE consent AS SELECT i AS n, 'person-' || i || '@example.com' AS email, "
            "true AS lost FROM generate_series(1, 500) i"
        )
        sql = (
            "SELECT email, CASE WHEN n = 400 AND lost THEN pg_terminate_backend(pg_backend_pid()) END AS x "
            "FROM consent ORDER BY n"
        )
        with pytest.raises(
            HubPrefsException, match=r"interrupted after [34]\d0 rows \((AdminShutdown, 57P01|Oper)"
        ) as lost:
            opt_out(context, sql)
        assert not isinstance(lost.value, HubPrefsFailException)
        assert_says_nothing(lost.value)
        assert hubspot.requests == []
        warehouse.run("UPDATE consent SET lost = false")
        assert opt_out(context, sql, batch_size=1000)["changed"] == 500
        assert "example.com" not in caplog.text

    @pytest.mark.parametrize("engine", ["postgres", "psycopg2"])
    def test_to_log_in_names_no_password(
        self,
        hubspot: Simulator,
        context: Context,
        warehouse: Database,
        monkeypatch: pytest.MonkeyPatch,
        engine: str,
    ) -> None:
        if engine == "psycopg2":
            from airflow.providers.postgres.hooks import postgres

            monkeypatch.setattr(postgres, "USE_PSYCOPG3", False, raising=False)
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse.uri.replace(warehouse.password, SECRET))
        with pytest.raises(
            HubPrefsFailException, match=r"'warehouse' cannot be opened .*password refused"
        ) as failed:
            opt_out(context)
        assert_says_nothing(failed.value)
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", f"postgres://me:{SECRET}@127.0.0.1:9/db")
        with pytest.raises(
            HubPrefsException, match=r"'warehouse' cannot be opened \(OperationalError\)"
        ) as refused:
            opt_out(context)
        assert not isinstance(refused.value, HubPrefsFailException)
        assert_says_nothing(refused.value)
        assert hubspot.requests == []

    @pytest.mark.parametrize(
        ("uri", "says"),
        [
            (None, "sql_conn_id: Airflow has no connection 'warehouse'"),
            (
                "hubprefs://:token@api.hubapi.com",
                "expected a connection to a database, got connection 'warehouse' of type",
            ),
            ("nothing://", "the provider of connection 'warehouse' of type 'nothing' is not installed"),
        ],
        ids=["missing", "another kind", "unknown"],
    )
    @pytest.mark.usefixtures("airflow_db")
    def test_to_be_a_connection_to_a_database(
        self, context: Context, monkeypatch: pytest.MonkeyPatch, uri: str | None, says: str
    ) -> None:
        if uri is not None:
            monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", uri)
        with pytest.raises(HubPrefsFailException, match=says):
            opt_out(context)

    @pytest.mark.parametrize("module", ["sqlparse", "airflow.providers.common.sql.hooks.sql"])
    def test_without_the_provider_says_what_to_install(
        self, context: Context, sqlite: Warehouse, monkeypatch: pytest.MonkeyPatch, module: str
    ) -> None:
        sqlite.fill([])
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(HubPrefsFailException, match=r"Install 'airflow-provider-hubprefs\[sql\]'"):
            opt_out(context)


def assert_says_nothing(error: BaseException) -> None:
    """One line, and nothing of the query's values, of an address or of a password in it."""
    assert "\n" not in str(error)
    for word in (SECRET, "@", "LINE", "pa55"):
        assert word not in str(error)
    assert error.__cause__ is None


class TestARetry:
    def test_resumes_where_the_query_gives_the_same_rows(
        self, hubspot: Simulator, context: Context, any_warehouse: Warehouse, tmp_path: Path
    ) -> None:
        hubspot.load({"limits": {"burst": 10_000}})
        context["task_state_store"] = store = Store()
        any_warehouse.fill([*people(300)])
        hubspot.fault("daily", match={"body_contains": "person-150@"})
        with pytest.raises(HubPrefsException, match="midnight"):
            opt_out(context, output=str(tmp_path))
        assert "@" not in json.dumps(store)
        sent = writes(hubspot)
        any_warehouse.run("UPDATE consent SET email = 'new@example.com' WHERE n = 299")
        with pytest.raises(
            HubPrefsFailException, match=r"The result of the query .* changed since"
        ) as failed:
            opt_out(context, output=str(tmp_path))
        assert isinstance(failed.value.error, CheckpointError)
        assert "file" not in str(failed.value)
        assert writes(hubspot) == sent
        any_warehouse.run("UPDATE consent SET email = 'person-299@example.com' WHERE n = 299")
        summary = opt_out(context, output=str(tmp_path))
        assert (summary["read"], reported(summary)["tries"]) == (300, 2)
        assert hubspot.is_opted_out("person-299@example.com")

    def test_of_a_query_of_contradicting_rows_reads_them_twice(
        self, hubspot: Simulator, context: Context, sqlite: Warehouse
    ) -> None:
        sqlite.run("CREATE TABLE consent (email, status)")
        sqlite.run(
            "INSERT INTO consent VALUES (?, ?)",
            [(name, status) for name in people(60) for status in ("SUBSCRIBED", "UNSUBSCRIBED")],
        )
        operator = HubPrefsBatchSetStatusOperator(
            task_id="set",
            sql="SELECT * FROM consent ORDER BY email, status",
            sql_conn_id="warehouse",
            subscription_id=hubspot.subscription_ids[0],
            status_column="status",
        )
        with pytest.raises(
            HubPrefsFailException, match=r"60 times rows contradict each other: .* row 1 and row 2;"
        ):
            operator.execute(context)  # type: ignore[arg-type]


def test_a_query_is_a_template_and_its_parameters_show_nowhere(
    run_dag: Callable[..., Run], hubspot: Simulator, sqlite: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is a template; a template and a result as parameters, by name; mapped, too."""
    sqlite.fill([*people(6)])
    run = run_dag("hubprefs_sql", file=DAGS / "hubprefs_sql.py")
    assert run.state == "success"
    opted_out = [number for number in range(6) if hubspot.is_opted_out(f"person-{number}@example.com")]
    assert opted_out == [0, 2, 3, 5]
    for task_id, index in (("file", -1), ("mapped", 0)):
        fields = run.rendered(task_id, map_index=index)
        assert fields["sql_parameters"] == "<private>"
        assert "@" not in json.dumps(fields)
    assert run.rendered("file")["sql"].startswith("-- The subscribers of all who")
    assert run.rendered("file")["sql_conn_id"] == "warehouse"
    assert "example.com" not in caplog.text


@pytest.mark.parametrize("given", [[JANE, 7], {"who": JANE, "day": "{{ ds }}"}], ids=["list", "mapping"])
def test_parameters_are_not_in_a_serialized_dag(given: Any) -> None:
    with DAG("parameters", schedule=None) as dag:
        HubPrefsBatchUnsubscribeOperator(task_id="t", sql=QUERY, sql_conn_id="x", sql_parameters=given)
    written = json.dumps(DagSerialization.to_dict(dag), default=str)
    assert JANE not in written
    assert "<private>" in written
    assert ("{{ ds }}" in written) == isinstance(given, dict)


@pytest.mark.parametrize("given", [[JANE], {"who": JANE}], ids=["list", "mapping"])
def test_parameters_that_airflow_would_store_with_the_dag_are_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="sql_parameters: an address in partial"):
        HubPrefsBatchUnsubscribeOperator.partial(task_id="t", sql=QUERY, sql_parameters=given)
    HubPrefsBatchUnsubscribeOperator.partial(task_id="t", sql_parameters=[1, "2026-01-01"]).expand(
        sql=[QUERY]
    )


class TestKeptRows:
    def test_are_not_in_memory_and_not_readable_on_the_disk(self) -> None:
        row = ("jane@example.com", 1, "x" * 100)
        tracemalloc.start()
        try:
            kept = KeptRows.table(["email", "n", "x"], ([row] * 2000 for _ in range(100)), name="")
            read = sum(1 for _ in kept)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert read == len(kept) == 200_000
        assert peak < 4_000_000
        size = os.fstat(kept._file.fileno()).st_size
        assert size > 20_000_000
        assert b"jane" not in os.pread(kept._file.fileno(), size, 0)

    def test_are_read_by_several_at_a_time(self) -> None:
        kept = KeptRows.table(["n"], ([(at,)] for at in range(10)), name="")
        one, other = iter(kept), iter(kept)
        assert [next(one), next(one), next(other), next(one)] == [(0,), (1,), (0,), (2,)]
        assert kept[3:5] == [(3,), (4,)]

    @pytest.mark.parametrize(
        "value",
        [2**70, "half \udc80", {"a": {1}}, b"x", 1.5, None, True, object],
        ids=["large", "surrogate", "nested", "bytes", "float", "null", "bool", "class"],
    )
    def test_hold_any_value(self, value: Any) -> None:
        kept = KeptRows.table(["email", "x"], [[("a@example.com", value)]], name="")
        rows = list(read_rows(kept, columns=Columns(legal_basis_explanation="x"), options=ReadOptions()))
        assert [row.subscriber for row in rows] == ["a@example.com"]
        assert [row[0] for row in kept] == ["a@example.com"]


def test_the_tables_of_a_query_are_in_the_lineage(warehouse: Database) -> None:
    pytest.importorskip("airflow.providers.openlineage")
    warehouse.run("CREATE TABLE consent (email text)")
    operator = HubPrefsBatchUnsubscribeOperator(
        task_id="t", sql="SELECT email FROM consent JOIN crm.people USING (email)", sql_conn_id="warehouse"
    )
    store = f"postgres://127.0.0.1:{warehouse.port}"
    names = [f"{warehouse.name}.public.consent", f"{warehouse.name}.crm.people"]
    assert sorted(operator.lineage_inputs()) == sorted((store, name) for name in names)
    operator.sql_conn_id = "missing"
    assert operator.lineage_inputs() == []
