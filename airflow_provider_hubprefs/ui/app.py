"""The pages that Airflow 3's API server serves for this package.

Every route asks for a logged-in user who may read the XComs of the DAG in its path; the parameter has to be called
``dag_id``, because Airflow looks for that name. FastAPI reads the annotations here, so they are no strings.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import (
    AssetDetails,
    DagAccessEntity,
    DagDetails,
)
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.dag import DagModel
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
    403: "You may not see this. It takes the right to read this DAG's XComs, and for dead letters the right to read "
    "its task logs as well. An administrator of this Airflow can grant them.",
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
    """Recent runs of DAGs whose XComs the user may read, budgets, and watchers of assets that the user may read."""
    manager = get_auth_manager()
    readable_dags = set(manager.get_authorized_dag_ids(user=user, method="GET"))
    runs, asked = recent_runs(session, readable_dags), set[str]()
    while (
        new := {run.key["dag_id"] for run in runs} - asked
    ):  # few DAGs have runs: no other's rights are asked for
        asked |= new
        if refused := _without_right_to_xcoms(user, session, new):
            readable_dags -= refused
            runs = recent_runs(session, readable_dags)
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


def _without_right_to_xcoms(user: Any, session: Any, dag_ids: set[str]) -> set[str]:
    """Ask as the other routes do: where DAGs belong to teams, with their teams."""
    teams_of: Any = getattr(DagModel, "get_dag_id_to_team_name_mapping", None)  # of late versions
    teams = teams_of(list(dag_ids), session=session) if teams_of else {}
    may_read = partial(
        get_auth_manager().is_authorized_dag, method="GET", access_entity=DagAccessEntity.XCOM, user=user
    )
    details = (
        DagDetails(id=each, **({"team_name": team} if (team := teams.get(each)) else {})) for each in dag_ids
    )
    return {one.id for one in details if one.id and not may_read(details=one)}


def _refuse(_: Request, error: Any) -> Response:
    text = _REFUSED.get(error.status_code, str(error.detail))
    content, status, headers = listed(message=text, status=error.status_code)
    return _response((content, status, {**headers, **(error.headers or {})}))


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
