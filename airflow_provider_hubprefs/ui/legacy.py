"""The pages of a run on Airflow 2.11, which has no tabs: links lead to them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from airflow_provider_hubprefs.links import PREFIX, REPORT
from airflow_provider_hubprefs.ui.pages import PAGES, download
from airflow_provider_hubprefs.ui.runs import TaskRun, tidy


def build_blueprint() -> Any:
    """Make the blueprint; each of its pages asks for the same rights as on Airflow 3."""
    from airflow.models import TaskInstance, XCom
    from airflow.utils.session import create_session
    from airflow.utils.state import State

    flask: Any = import_module("flask")
    has_access_dag = import_module("airflow.www.auth").has_access_dag
    entities = import_module("airflow.auth.managers.models.resource_details").DagAccessEntity

    def run_of(key: dict[str, Any]) -> TaskRun | None:
        with create_session() as session:
            found = session.query(TaskInstance.state, TaskInstance.operator).filter_by(**key).first()
            stored = session.query(XCom).filter_by(**key, key=REPORT).first()
            known = tidy(stored.value) if stored else None
        return found and TaskRun(key, found[0], found[1] or "", known, ended=found[0] in State.finished)

    def answer(make: Any, **key: Any) -> Any:
        content, status, headers = make(run_of(key))
        return flask.Response(content, status, headers)

    def show(name: str, **key: Any) -> Any:
        return answer(PAGES[name], **key) if name in PAGES else flask.abort(404)

    def letters(**key: Any) -> Any:
        return answer(download, **key)

    views: Any = flask.Blueprint("hubprefs", __name__, url_prefix=PREFIX)
    where = "/dags/<dag_id>/runs/<run_id>/tasks/<task_id>/<int(signed=True):map_index>"
    may_read, may_read_logs = (
        has_access_dag("GET", entity) for entity in (entities.XCOM, entities.TASK_LOGS)
    )
    views.add_url_rule(f"{where}/<name>", "show", may_read(show))
    views.add_url_rule(f"{where}/download", "letters", may_read(may_read_logs(letters)))
    return views
