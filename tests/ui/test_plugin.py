"""The plugin in Airflow's processes: it costs nothing where it shows nothing, and never stops the API server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.test_imports import OWN, new_modules


def test_importing_it_loads_nothing() -> None:
    imported = f"from {OWN}.plugin import HubPrefsPlugin; HubPrefsPlugin(); HubPrefsPlugin.external_views"
    (found,) = new_modules(imported, on_top_of="import airflow.plugins_manager")
    assert found <= {OWN, f"{OWN}.plugin"}, sorted(found)


def test_airflow_finds_it_with_its_tab_its_page_and_its_app(app: Any) -> None:
    from airflow import plugins_manager

    assert [route.path for route in app.routes if "hubprefs" in str(route.path)] == ["/hubprefs"]
    (plugin,) = [
        one
        for one in plugins_manager.get_plugin_info(["name", "external_views"])
        if one["name"] == "hubprefs"
    ]
    views = plugin["external_views"]
    assert {(view["destination"], view["name"]) for view in views} == {
        ("task_instance", "HubSpot"),
        ("nav", "HubSpot preferences"),
    }
    for view in views:
        assert not view["href"].startswith("/")  # or a path in [api] base_url would be lost


def test_an_error_while_the_pages_are_built_leaves_the_server_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow_provider_hubprefs.plugin import HubPrefsPlugin

    monkeypatch.setattr("airflow_provider_hubprefs.ui.app.build_app", lambda: 1 / 0)
    assert HubPrefsPlugin.fastapi_apps == []
    assert "no pages in Airflow's UI" in caplog.text


def test_each_airflow_gets_the_pages_that_it_can_show() -> None:
    from airflow_provider_hubprefs.plugin import HubPrefsPlugin

    assert len(HubPrefsPlugin.fastapi_apps) == 1
    assert HubPrefsPlugin.flask_blueprints == []
