"""The pages of a run on Airflow 2.11, which has no tabs: links lead to them."""

from __future__ import annotations

from typing import Any

from airflow_provider_hubprefs.links import PREFIX, REPORT
from airflow_provider_hubprefs.ui.pages import PAGES, download
from airflow_provider_hubprefs.ui.runs import TaskRun, tidy


def build_blueprint() -> Any:
    """Make the blueprint; each of its pages asks for the same rights as on Airflow 3."""
    from airflow.auth.managers.models.resource_details import DagAccessEntity
    from airflow.models import TaskInstance, XCom
    from airflow.utils.session import create_session
    from airflow.utils.state import State
    from airflow.www.auth import has_access_dag
    from flask import Blueprint, Response, abort

    def run_of(key: dict[str, Any]) -> TaskRun | None:
        with create_session() as session:
            found = session.query(TaskInstance.state, TaskInstance.operator).filter_by(**key).first()
            stored = session.query(XCom).filter_by(**key, key=REPORT).first()
            known = tidy(stored.value) if stored else None
        return found and TaskRun(key, found[0], found[1] or "", known, ended=found[0] in State.finished)

    def answer(make: Any, **key: Any) -> Response:
        content, status, headers = make(run_of(key))
        return Response(content, status, headers)

    views = Blueprint("hubprefs", __name__, url_prefix=PREFIX)
    where = "/dags/<dag_id>/runs/<run_id>/tasks/<task_id>/<int(signed=True):map_index>"
    may_read, may_read_logs = (
        has_access_dag("GET", entity) for entity in (DagAccessEntity.XCOM, DagAccessEntity.TASK_LOGS)
    )

    @views.get(f"{where}/<name>")
    @may_read
    def show(name: str, **key: Any) -> Response:
        return answer(PAGES[name], **key) if name in PAGES else abort(404)

    @views.get(f"{where}/download")
    @may_read
    @may_read_logs
    def letters(**key: Any) -> Response:
        return answer(download, **key)

    return views
