"""The plugin: Airflow finds it by the entry point group ``airflow.plugins``."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class HubPrefsPlugin(AirflowPlugin):
    """The provider's part of Airflow's UI."""

    name = "hubprefs"
