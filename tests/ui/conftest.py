"""A real API server's app with real users, and runs in its database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY: dict[str, Any] = {
    "dag_id": "mine",
    "run_id": "manual__2026-11-25T10:00:00+00:00",
    "task_id": "opt_out",
    "map_index": -1,
}
PAGE = "/hubprefs/dags/mine/runs/manual__2026-11-25T10:00:00%2B00:00/tasks/opt_out/{MAP_INDEX}/"
FOLDER = "mine/manual__2026-11-25T10%3A00%3A00%2B00%3A00/opt_out"
ROLES = {
    "nobody": "",
    "other-dag": "viewer",
    "no-logs": "viewer",
    "no-xcoms": "viewer",
    "viewer": "viewer",
    "admin": "admin",
}


@pytest.fixture(scope="session")
def app(airflow_db: Path) -> Iterator[Any]:
    """The app of Airflow's API server, with its auth manager and plugins as it finds them, without its own API."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "tests.ui.auth.AuthManagerByDag")
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "of the tests" * 10)
        from airflow.api_fastapi.app import init_auth_manager, init_plugins
        from fastapi import FastAPI

        app = FastAPI()
        init_auth_manager(app)
        init_plugins(app)
        yield app


@pytest.fixture
def client(app: Any) -> Callable[..., Any]:
    """A browser of a user; without a name, of one who has not logged in."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    def of(user: str | None = None) -> TestClient:
        found = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
        if user is not None:
            known = SimpleAuthManagerUser(username=user, role=ROLES[user] or None)
            found.cookies.set("_token", get_auth_manager().generate_jwt(known))
        return found

    return of


@pytest.fixture
def session(airflow_db: Path) -> Iterator[Any]:
    """Airflow's database; what is added is gone afterwards."""
    from airflow.models.asset import AssetModel
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session

    with create_session() as session:
        yield session
        session.rollback()
        for model in (DagRun, DagModel, AssetModel, Trigger):
            session.query(model).delete()


@pytest.fixture
def record(session: Any) -> Callable[..., None]:
    """Add a task instance, and the XCom that it pushed, to the database."""
    return lambda *runs, **one: add_runs(session, runs or [one])


def add_runs(session: Any, runs: Any) -> None:
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.types import DagRunType
    from sqlalchemy import insert, select

    if session.get(DagBundleModel, "tests") is None:
        session.add(DagBundleModel(name="tests"))
        session.flush()
    ids: dict[tuple[str, str], int] = {}
    tis, xcoms = [], []
    for one in runs:
        given = {
            **KEY,
            "state": "success",
            "operator": "HubPrefsBatchUnsubscribeOperator",
            "xcoms": {},
            **one,
        }
        key = {name: given[name] for name in KEY}
        if session.get(DagModel, key["dag_id"]) is None:
            session.add(DagModel(dag_id=key["dag_id"], bundle_name="tests"))  # type: ignore[no-untyped-call]
            session.flush()
        of_run = key["dag_id"], key["run_id"]
        if of_run not in ids:
            where = (DagRun.dag_id == of_run[0], DagRun.run_id == of_run[1])
            found = session.scalar(select(DagRun.id).where(*where))
            if found is None:
                run = DagRun(dag_id=of_run[0], run_id=of_run[1], run_type=DagRunType.MANUAL)
                session.add(run)
                session.flush()
                found = run.id
            ids[of_run] = found
        tis.append(
            {
                **key,
                "state": given["state"],
                "operator": given["operator"],
                "pool": "default_pool",
                "id": _id(),
            }
        )
        values = {**given["xcoms"], **({"hubprefs_report": given["known"]} if "known" in given else {})}
        for name, value in values.items():
            xcoms.append({**key, "dag_run_id": ids[of_run], "key": name, "value": value})
    session.execute(insert(TaskInstance.__table__), tis)
    if xcoms:
        session.execute(insert(XComModel.__table__), xcoms)
    session.commit()


def many_runs(count: int, *, xcoms: int = 0, dags: int = 20) -> list[dict[str, Any]]:
    """Runs of several DAGs, each with a report's XCom and some others."""
    known = {
        name: REPORT[name]
        for name in ("state", "read", "changed", "unchanged", "rejected", "invalid", "portal")
    }
    budget = {"daily": 1000, "daily_remaining": 900}
    return [
        {
            "dag_id": f"dag_{number % dags}",
            "run_id": f"run_{number}",
            "known": {
                **known,
                "folder": f"s3://bucket/{number}",
                "connection": f"c{number % 3}",
                "budget": budget,
            },
            "xcoms": {f"other_{one}": {"value": one} for one in range(xcoms)},
        }
        for number in range(count)
    ]


def _id() -> Any:
    from uuid6 import uuid7

    return uuid7()


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configured folder."""
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setenv("AIRFLOW__HUBPREFS__OUTPUT", str(folder))
    return folder


REPORT: dict[str, Any] = {
    "schema": 2, "state": "complete", "complete": True, "incomplete_because": None, "write": "opt out of everything",
    "read": 7891, "changed": 7779, "unchanged": 60, "rejected": 2, "invalid": 12, "duplicate": 38, "unconfirmed": 0,
    "reasons": {"invalid: INVALID_ADDRESS": 12, "rejected: VALIDATION_ERROR": 2}, "connection": "hubprefs_default",
    "portal": 4711, "budget_after": {"daily": 1000, "daily_remaining": 900}, "history": [], "source_names": ["a.csv"],
}  # fmt: skip


@pytest.fixture
def run(record: Any, output: Path) -> Path:
    """A run with report and dead letters; returns its folder."""
    folder = output / FOLDER
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(REPORT))
    letter = {"row": 2, "subscriber": "secret.person@example.com", "outcome": "rejected", "category": "X"}
    (folder / "dead_letters.jsonl").write_text(json.dumps(letter) + "\n")
    record(
        known={"folder": str(folder), "connection": "hubprefs_default", "portal": None, "state": "running"}
    )
    return folder
