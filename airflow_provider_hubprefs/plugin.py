"""The plugin: Airflow finds it by the entry point group ``airflow.plugins``.

Every process of Airflow imports this module. Only the API server, or the webserver of Airflow 2.11, builds the pages.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.plugins_manager import AirflowPlugin

_TASK = "hubprefs/dags/{DAG_ID}/runs/{RUN_ID}/tasks/{TASK_ID}/{MAP_INDEX}/page"


class _Pages:
    """Built when they are first asked for; Airflow reads attributes of the class, so this is no property.

    :param of_airflow: 3: a FastAPI app; 2: a Flask blueprint.
    """

    def __init__(self, of_airflow: int) -> None:
        self._of_airflow = of_airflow

    def __get__(self, instance: object, owner: type) -> list[Any]:
        from airflow import __version__

        if int(__version__.partition(".")[0]) != self._of_airflow:
            return []
        try:
            if self._of_airflow == 2:
                from airflow_provider_hubprefs.ui.legacy import build_blueprint

                return [build_blueprint()]
            from airflow_provider_hubprefs.ui.app import build_app

            return [{"app": build_app(), "url_prefix": "/hubprefs", "name": "hubprefs"}]
        except Exception:  # it would keep Airflow's server from starting
            logging.getLogger(__name__).exception("hubprefs has no pages in Airflow's UI")
            return []


class HubPrefsPlugin(AirflowPlugin):
    """The provider's part of Airflow's UI: a tab of task instances, and a page of recent runs."""

    name = "hubprefs"
    fastapi_apps: Any = _Pages(3)
    flask_blueprints: Any = _Pages(2)
    external_views = [  # noqa: RUF012 - no leading slash: a path in [api] base_url is kept
        {
            "name": "HubSpot",
            "destination": "task_instance",
            "url_route": "hubprefs",
            "href": _TASK,
        },
        {
            "name": "HubSpot preferences",
            "destination": "nav",
            "category": "browse",
            "url_route": "hubprefs-recent",
            "href": "hubprefs/recent",
        },
    ]
