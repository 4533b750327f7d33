"""How fast an export loads a table of PostgreSQL, beside the hook's own bulk insert.

    python benchmarks/export.py [--rows 200000]

It starts a PostgreSQL of its own (Debian's package), with the settings of a test: without fsync, for both. Each way
loads the same rows into an empty table with the same primary key: ``TableTarget``, which keeps all rows in one
transaction and tries the table first; and ``PostgresHook.insert_rows``, which commits every 1,000 rows, also with
``replace=True``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from airflow_provider_hubprefs.bulk.export.fields import STATUSES, columns_of
from airflow_provider_hubprefs.bulk.export.table import TableTarget
from tests.postgres import programs, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES = [one.name for one in STATUSES]


def rows(count: int) -> Iterator[list[Any]]:
    """Yield the cells of statuses as HubSpot shows them."""
    for number in range(count):
        yield [
            f"person-{number // 5}@example.com",
            348211907 + number % 5,
            "Marketing Information",
            "SUBSCRIBED",
            "CONSENT_WITH_NOTICE",
            "ticked the box at the desk",
            "Public status API",
            "2026-11-26T04:00:00.123Z",
        ]


def main() -> None:
    """Load the same rows in each way, and print rows a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if (found := programs()) is None:
        raise SystemExit("needs PostgreSQL: Debian's package postgresql")
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"  # a line for each 1,000 rows
    servers: Any = start(found)
    with contextlib.closing(servers):
        server = next(servers)
        os.environ["AIRFLOW_CONN_WAREHOUSE"] = server.uri
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        hook: Any = PostgresHook(postgres_conn_id="warehouse")
        count = arguments.rows
        key = ["subscriber", "subscription_id"]
        ways: dict[str, Callable[[], Any]] = {
            "export": lambda: TableTarget(hook, "consent", columns_of(STATUSES, None, keys=True)).write(
                rows(count)
            ),
            "insert_rows": lambda: hook.insert_rows("consent", rows(count), target_fields=NAMES),
            "insert_rows, replace=True": lambda: hook.insert_rows(
                "consent", rows(count), target_fields=NAMES, replace=True, replace_index=key
            ),
        }
        best: dict[str, float] = {}
        for _ in range(arguments.rounds):
            for name, load in ways.items():
                server.run("DROP TABLE IF EXISTS consent")
                server.run(
                    "CREATE TABLE consent (subscriber TEXT, subscription_id BIGINT, subscription_name TEXT, "
                    "status TEXT, legal_basis TEXT, legal_basis_explanation TEXT, source TEXT, updated_at TIMESTAMPTZ, "
                    "PRIMARY KEY (subscriber, subscription_id))"
                )
                begin = time.perf_counter()
                load()
                best[name] = max(best.get(name, 0), count / (time.perf_counter() - begin))
                if server.run("SELECT count(*) FROM consent") != [(count,)]:
                    raise SystemExit(f"{name}: not all rows are there")
        for name, speed in best.items():
            print(f"{name:28} {speed:10,.0f} rows/s  {speed / best['insert_rows']:6.0%} of insert_rows")


if __name__ == "__main__":
    main()
