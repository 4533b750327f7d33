"""The pages that Airflow 3's API server serves for this package.

Every route asks for a logged-in user who may read the XComs of the DAG in its path; the parameter has to be called
``dag_id``, because Airflow looks for that name. FastAPI reads the annotations here, so they are no strings.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AssetDetails, DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException

from airflow_provider_hubprefs.ui.pages import PAGES, Answer, download, listed
from airflow_provider_hubprefs.ui.runs import TaskRun, recent_runs, run_of, watchers

_TASK = "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/{map_index}"
_XCOMS = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.XCOM))
_LOGS = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.TASK_LOGS))
_REFUSED = {
    401: "Please log in to Airflow, then load this page again.",
    403: "You may not see this. It takes the right to read this DAG's XComs; for dead letters that to read its logs.",
    404: "There is no such page.",
}


def _run(session: SessionDep, dag_id: str, run_id: str, task_id: str, map_index: str) -> TaskRun | None:
    index = (
        int(map_index) if re.fullmatch(r"[0-9]{1,9}", map_index) else -1
    )  # not mapped: "{MAP_INDEX}" as it is
    return run_of(session, {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": index})


def _route(make: Callable[[TaskRun | None], Answer]) -> Callable[..., Response]:
    def route(run: Annotated[TaskRun | None, Depends(_run)]) -> Response:
        return _response(make(run))

    return route


def _recent(user: GetUserDep, session: SessionDep) -> Response:
    """Recent runs of all DAGs that the user may read, budgets, and watchers of assets that the user may read."""
    manager = get_auth_manager()
    runs = recent_runs(session, manager.get_authorized_dag_ids(user=user, method="GET"))
    budgets: dict[str, TaskRun] = {}
    for run in runs:
        if run.known and run.known.get("budget"):
            budgets.setdefault(run.known.get("connection", ""), run)
    readable = [
        one
        for one in watchers(session)
        if manager.is_authorized_asset(method="GET", details=AssetDetails(id=str(one["id"])), user=user)
    ]
    return _response(listed(runs=runs, budgets=budgets, watchers=readable))


def _refuse(_: Request, error: Any) -> Response:
    text = _REFUSED.get(error.status_code, str(error.detail))
    return _response(listed(message=text, status=error.status_code))


def _fail(_: Request, error: Exception) -> Response:
    text = f"This page could not be made ({type(error).__name__}). The log of Airflow's API server says more."
    return _response(listed(message=text, status=500))


def _response(answer: Answer) -> Response:
    content, status, headers = answer
    if isinstance(content, str):
        return Response(content, status, headers)
    return StreamingResponse(content, status, headers)


def build_app() -> FastAPI:
    """Make the app."""
    handlers: Any = {HTTPException: _refuse, Exception: _fail}
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, exception_handlers=handlers)
    for name, make in PAGES.items():
        app.get(f"{_TASK}/{name}", dependencies=[_XCOMS])(_route(make))
    app.get(f"{_TASK}/download", dependencies=[_XCOMS, _LOGS])(_route(download))
    app.get("/recent", dependencies=[_XCOMS])(_recent)  # no DAG in the path: XComs of any
    return app
