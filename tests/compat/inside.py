"""What ``run.py`` has done inside an environment of one version of Airflow.

It prints RESULT and JSON, among what Airflow prints. It imports nothing of the tests, which are not there.
"""

from __future__ import annotations

import json
import pkgutil
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

PACKAGE = "airflow_provider_hubprefs"
WITHOUT_EXTRAS = {
    f"{PACKAGE}.hubspot.pacing.redis": "airflow-provider-hubprefs[redis]",
    f"{PACKAGE}.testing": "pip install pytest",
}
"""Modules that need what is not installed, and what their error names then."""


def imports() -> dict[str, Any]:
    """Import every module of the package."""
    package = import_module(PACKAGE)
    failed, warned = {}, []
    names = sorted(
        module.name for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}.", onerror=print)
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in names:
            if name.endswith(".__main__"):
                continue
            try:
                import_module(name)
            except Exception as error:  # noqa: BLE001 - named in the result
                if not (name in WITHOUT_EXTRAS and WITHOUT_EXTRAS[name] in str(error)):
                    failed[name] = f"{type(error).__name__}: {error}"
        warned = [str(one.message) for one in caught if PACKAGE in one.filename]
    compat = import_module(f"{PACKAGE}.compat")
    missing = [name for name in compat._PLACES if not hasattr(compat, name)]
    return {
        "modules": len(names),
        "failed": failed,
        "warned": warned,
        "missing": missing,
        "file": package.__file__,
    }


def form() -> dict[str, Any]:
    """What Airflow knows of the connection's form, and what the hook says of it."""
    from airflow.providers_manager import ProvidersManager

    from airflow_provider_hubprefs.get_provider_info import CONNECTION_FIELDS
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

    make: Any = ProvidersManager
    manager = make()
    info = manager.providers["airflow-provider-hubprefs"]
    drawn = set(manager.connection_form_widgets)
    if hasattr(manager, "iter_connection_type_hook_ui_metadata"):
        list(manager.iter_connection_type_hook_ui_metadata())
        drawn |= set(getattr(manager, "_connection_form_widgets_from_metadata", ()))
    fields = {name for name in drawn if name.startswith("extra__hubprefs__")}
    hook = manager.hooks["hubprefs"]
    behaviour = HubPrefsHook.get_ui_field_behaviour()
    return {
        "version": info.version,
        "hook": hook and hook.hook_name,
        "testable": bool(hook and hook.connection_testable),
        "fields": len(fields),
        "of": len(CONNECTION_FIELDS),
        "behaviour": sorted(behaviour),
    }


def dags(folder: str) -> dict[str, Any]:
    """Parse a folder of DAGs."""
    for module in ("airflow.dag_processing.dagbag", "airflow.models.dagbag"):
        try:
            bag = import_module(module).DagBag(folder)
            break
        except (ImportError, AttributeError):
            continue
    return {
        "dags": sorted(bag.dags),
        "errors": {Path(name).name: error for name, error in bag.import_errors.items()},
    }


if __name__ == "__main__":
    what = {"imports": imports, "form": form, "dags": dags}[sys.argv[1]]
    print("\nRESULT", json.dumps(what(*sys.argv[2:])), flush=True)  # type: ignore[operator]
