"""A query as a source beside the bare cursor of Airflow's hook, on PostgreSQL: rows a second, and memory.

``python benchmarks/sql.py`` starts a server of its own (Debian's package ``postgresql``) with a table of 1,000,000
rows; ``--help`` says how to take fewer. Both read the same query from a server-side cursor, in turns, because other
programs on the machine take their share of the time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if TYPE_CHECKING:
    from collections.abc import Callable

QUERY = "SELECT email, subscription_id, status, legal_basis, updated_at FROM consent ORDER BY email"
TABLE = """
CREATE TABLE consent AS SELECT
    'person-' || lpad(i::text, 9, '0') || '@example.com' AS email, (348211900 + i % 5)::bigint AS subscription_id,
    (ARRAY['SUBSCRIBED', 'UNSUBSCRIBED'])[1 + i % 2] AS status, 'LEGITIMATE_INTEREST_CLIENT' AS legal_basis,
    now() - i * interval '1 second' AS updated_at
FROM generate_series(1, {}) AS i
"""
CHUNK = 2000


def bare() -> int:
    """The hook's connection, a server-side cursor, ``fetchmany``; the rows are dropped."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    read = 0
    connection: Any = PostgresHook("warehouse").get_conn()
    with closing(connection), connection.cursor("bare") as cursor:
        cursor.execute(QUERY)
        while rows := cursor.fetchmany(CHUNK):
            read += len(rows)
    return read


def kept() -> Any:
    """What a run does before its first request."""
    from airflow_provider_hubprefs.operators._sql import rows_of_query

    return rows_of_query(QUERY, None, conn_id="warehouse", **_reading())


def to_rows() -> int:
    """The same, and every row checked, once, as a run reads it."""
    from airflow_provider_hubprefs.bulk.source.reader import read_rows

    reading = _reading()
    reading["columns"] = type(reading["columns"])(legal_basis="legal_basis", every_status="UNSUBSCRIBED")
    return sum(1 for _ in read_rows(kept(), **reading))


def _reading() -> dict[str, Any]:
    """All five columns are kept: that of the time, too."""
    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.bulk.source.options import ReadOptions

    columns = Columns(
        subscription="subscription_id",
        status="status",
        legal_basis="legal_basis",
        legal_basis_explanation="updated_at",
    )
    return {"columns": columns, "options": ReadOptions()}


WAYS: dict[str, Callable[[], Any]] = {"bare": bare, "kept": kept, "rows": to_rows}


def measure(way: str) -> None:
    """Print seconds, CPU seconds and the growth of memory of one way, in a process of its own."""
    import resource

    for module in (
        "airflow.providers.postgres.hooks.postgres",
        "airflow_provider_hubprefs.bulk.source.reader",
    ):
        import_module(module)  # no part of what is measured

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.perf_counter(), time.process_time()
    WAYS[way]()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(seconds, cpu, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def main() -> None:
    """Measure the ways in turns, and print the best of each: what else runs on the machine only adds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        measure(given.one)
        return
    from tests import postgres

    if (programs := postgres.programs()) is None:
        sys.exit("needs PostgreSQL: apt-get install postgresql")
    server = next(running := postgres.start(programs))
    with tempfile.TemporaryDirectory() as home:
        database = server.new_database()
        database.run(TABLE.format(given.rows))
        database.run("ALTER TABLE consent ADD PRIMARY KEY (email)")
        database.run("VACUUM ANALYZE consent")
        settings = {"AIRFLOW_HOME": home, "AIRFLOW_CONN_WAREHOUSE": database.uri}
        found: dict[str, list[list[float]]] = {way: [] for way in ["bare", *given.only]}
        for _ in range(given.times):
            for way, values in found.items():
                printed = subprocess.run(
                    [sys.executable, __file__, "--one", way],
                    env={**os.environ, **settings},
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
                values.append([float(value) for value in printed.splitlines()[-1].split()])
        print(f"{'':6}{'rows/s':>12}{'of bare':>9}{'CPU-s':>8}{'MB':>7}")
        first = min(seconds for seconds, _, _ in found["bare"])
        for way, values in found.items():
            seconds, cpu, memory = map(min, zip(*values, strict=True))
            print(f"{way:6}{given.rows / seconds:>12,.0f}{first / seconds:>9.0%}{cpu:>8.2f}{memory:>7.1f}")
    running.close()


if __name__ == "__main__":
    main()
