"""How long the page of recent runs takes: 200 runs out of 2,000, with 20,000 XComs, in Airflow's own app.

``python benchmarks/ui.py``; it makes a database of its own, and prints the median of 20 answers, and the
CPU time, which does not depend on what else the machine does.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
HOME = tempfile.TemporaryDirectory(prefix="hubprefs-benchmark-")
os.environ.update(
    {
        "AIRFLOW_HOME": HOME.name,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME.name}/airflow.db",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "benchmark:viewer",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
)


def main() -> None:
    """Fill the database, ask for the page, print the times."""
    from airflow.api_fastapi.app import get_auth_manager, init_auth_manager, init_plugins
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from tests.ui.conftest import add_runs, many_runs

    initdb()
    with create_session() as session:
        add_runs(session, many_runs(2_000, xcoms=9))
    app = FastAPI()
    init_auth_manager(app)
    init_plugins(app)
    client = TestClient(app)
    user = SimpleAuthManagerUser(username="benchmark", role="viewer")
    client.cookies.set("_token", get_auth_manager().generate_jwt(user))
    times, busy = [], []
    for _ in range(20):
        begin, cpu = time.perf_counter(), time.process_time()
        reply = client.get("/hubprefs/recent")
        times.append(1000 * (time.perf_counter() - begin))
        busy.append(1000 * (time.process_time() - cpu))
        reply.raise_for_status()
    rows = reply.text.count("<tr><td><a ")
    print(
        f"{rows} runs: median {statistics.median(times):.0f} ms, fastest {min(times):.0f} ms, "
        f"CPU {statistics.median(busy):.0f} ms"
    )


if __name__ == "__main__":
    main()
