"""What ``run.py`` has done inside an environment of one version of Airflow.

It prints RESULT and JSON, among what Airflow prints. It imports nothing of the tests, which are not there.
"""

from __future__ import annotations

import io
import json
import pkgutil
import re
import sys
import warnings
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow import __version__ as airflow_version

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = "airflow_provider_hubprefs"
MAJOR, MINOR = (int(part) for part in airflow_version.split(".")[:2])
ROLES = ("nobody", "viewer", "admin")
PAGES = ("page", "fragment", "report.html", "report.json", "download")
WITHOUT_EXTRAS = {
    f"{PACKAGE}.hubspot.pacing.redis": "airflow-provider-hubprefs[redis]",
    f"{PACKAGE}.testing": "pip install pytest",
}
"""Modules that need what is not installed, and what their error names then."""
if MAJOR == 2:
    WITHOUT_EXTRAS[f"{PACKAGE}.ui.app"] = (
        "airflow.api_fastapi"  # of the other one's server, as the plugin knows
    )


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
        "features": features(),
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


def features() -> dict[str, Any]:
    """What some versions have, and others do without."""
    from airflow_provider_hubprefs import compat
    from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        operator: Any = HubPrefsBatchUnsubscribeOperator(task_id="any", subscribers=[])
        asset: Any = compat.Asset("hubspot://4711/subscriptions/007")
        misplaced = []
        for uri in ("hubspot://4711/subscriptions/jane@example.com", "hubspot:///opt-outs"):
            try:
                misplaced.append(compat.Asset(uri).uri)
            except UserWarning:  # 2.11 keeps it, and repeats it in a warning of its own
                continue
            except ValueError as error:
                misplaced += re.findall("jane.*", str(error))
    try:
        policy = import_module(f"{PACKAGE}.retry_policy").HubPrefsRetryPolicy.__name__
    except ImportError as error:
        policy = str(error)
    return {
        "lineage": operator.get_openlineage_facets_on_start(),
        "policy": policy,
        "policy of an operator": type(getattr(operator, "retry_policy", None)).__name__,
        "asset": asset.uri,
        "assets that are none": misplaced,
    }


def commands(output: str) -> dict[str, Any]:
    """What Airflow's own commands say of the provider.

    :param output: of ``airflow hubprefs definitions``, which asks the local HubSpot.
    """
    from airflow.cli.cli_parser import get_parser

    parser: Any = get_parser()

    def said(*arguments: str) -> str:
        with redirect_stdout(io.StringIO()) as text:
            try:
                args = parser.parse_args(arguments)
                args.func(args)
            except SystemExit as end:
                if end.code:
                    return f"exit code {end.code}"
        return text.getvalue()

    (provider,) = (
        one
        for one in json.loads(said("providers", "list", "--output", "json"))
        if one["package_name"] == "airflow-provider-hubprefs"
    )
    described = said("providers", "get", "airflow-provider-hubprefs", "--full", "--output", "json")
    (plugin,) = (one for one in json.loads(said("plugins", "--output", "json")) if one["name"] == "hubprefs")
    configured = said("config", "list", "--section", "hubprefs", "--defaults")
    return {
        "version": provider["version"],
        "described": "hubprefs_unsubscribe" in described,
        "plugin": sorted(key for key, value in plugin.items() if value and key not in {"name", "source"}),
        "links": sorted(set(re.findall(r"links\.(\w+Link)", said("providers", "links", "--output", "json")))),
        "notifications": "HubPrefsNotifier" in said("providers", "notifications", "--output", "json"),
        "config": re.findall(r"^(?:# )?(\w+) = ?$", configured, re.MULTILINE),
        "hubprefs": said("hubprefs", "definitions", "--output", output),
    }  # fmt: skip


def pages(dag_id: str, run_id: str, folder: str) -> dict[str, Any]:
    """What the server answers about the main job's task, by who asks; and what leads there.

    :param folder: of the DAG's file.
    """
    where = f"/hubprefs/dags/{dag_id}/runs/{quote(run_id, safe='')}/tasks/opt_out/-1/"
    paths = {name: where + name for name in PAGES} | ({"recent": "/hubprefs/recent"} if MAJOR > 2 else {})
    clients = (_of_airflow_2 if MAJOR == 2 else _of_airflow_3)()
    if MAJOR > 2:
        _add_watcher()
    answers = {name: {who: get(path) for who, get in clients.items()} for name, path in paths.items()}
    admin = clients["admin"]
    found: dict[str, Any] = {
        "statuses": {name: {who: one[0] for who, one in each.items()} for name, each in answers.items()},
        "shown": sorted(name for name, each in answers.items() if "888" in each["admin"][1]),
        "letters": len(answers["download"]["admin"][1].splitlines()),
        "addresses": [name for name in paths if name != "download" and "@example" in answers[name]["admin"][1]],
    }  # fmt: skip
    if MAJOR == 2:
        from airflow.models import DagBag, TaskInstance
        from airflow.utils.session import create_session

        make: Any = DagBag
        task = make(folder).get_dag(dag_id).get_task("opt_out")
        with create_session() as session:
            ti = session.query(TaskInstance).filter_by(dag_id=dag_id, task_id="opt_out").one()
            links = {name: task.get_extra_links(ti, name) for name in task.extra_links}
        form = admin("/connection/add")[1]
        fields = dict(re.findall(r'<input[^>]* name="extra__hubprefs__(\w+)"[^>]* type="(\w+)"', form))
        found |= {
            "fields": len(fields),
            "secret": [name for name, kind in fields.items() if kind == "password"],
        }
    else:
        ti_path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/opt_out"
        status, text = admin(f"{ti_path}/links")
        links = json.loads(text)["extra_links"] if status == 200 else {"status": status}
        (plugin,) = (
            one for one in json.loads(admin("/api/v2/plugins")[1])["plugins"] if one["name"] == "hubprefs"
        )
        found["views"] = sorted(view["destination"] for view in plugin["external_views"])
        found["watcher"] = "watched_by_compat" in answers["recent"]["admin"][1]
    downloads = links.get("Dead letters") or ""
    path = urlsplit(downloads).path
    return {
        **found,
        "links": sorted(links),
        "by link": admin("/" + path.lstrip("/"))[0],
        "link": links.get("Report"),
    }


def _add_watcher() -> None:
    """Store an asset with a watcher, as parsing a DAG would; before 3.2 a watcher's name is not stored."""
    from airflow.models import asset as models
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(models.AssetModel).filter_by(name="watched_by_compat").delete()
        asset: Any = models.AssetModel(name="watched_by_compat", uri="hubspot://1/opt-outs", group="asset")
        trigger = Trigger(classpath=f"{PACKAGE}.triggers.opt_out.HubPrefsOptOutTrigger", kwargs={})
        session.add_all([asset, trigger])
        session.flush()
        if hasattr(models, "AssetWatcherModel"):
            watcher = models.AssetWatcherModel(name="any", asset_id=asset.id, trigger_id=trigger.id)
            session.add(watcher)
        else:
            asset.triggers.append(trigger)


def _of_airflow_3() -> dict[str, Callable[[str], tuple[int, str]]]:
    """The API server, and what gets an address of it: without a login, and in each role."""
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    app = create_app(apps="core")

    def client(role: str | None) -> Callable[[str], tuple[int, str]]:
        browser: Any = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
        if role is not None:
            user = SimpleAuthManagerUser(username=role, role=None if role == "nobody" else role)
            browser.cookies.set("_token", get_auth_manager().generate_jwt(user))

        def get(path: str) -> tuple[int, str]:
            answer = browser.get(path)
            return answer.status_code, answer.text

        return get

    return {"anonymous": client(None), **{role: client(role) for role in ROLES}}


def _of_airflow_2() -> dict[str, Callable[[str], tuple[int, str]]]:
    """The same of the webserver, with users of Flask-AppBuilder."""
    create_app = import_module("airflow.www.app").create_app
    app = create_app(testing=True)
    app.config["WTF_CSRF_ENABLED"] = False
    users = app.appbuilder.sm

    def client(role: str | None) -> Callable[[str], tuple[int, str]]:
        browser = app.test_client()
        if role is not None:
            named = users.find_role({"nobody": "Public"}.get(role, role.title()))
            with app.app_context():
                users.add_user(role, role, role, f"{role}@localhost", named, password=role)
            browser.post("/login/", data={"username": role, "password": role})

        def get(path: str) -> tuple[int, str]:
            answer = browser.get(path)
            return answer.status_code, answer.get_data(as_text=True)

        return get

    return {"anonymous": client(None), **{role: client(role) for role in ROLES}}


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
    what = {each.__name__: each for each in (imports, form, dags, commands, pages)}[sys.argv[1]]
    print("\nRESULT", json.dumps(what(*sys.argv[2:])), flush=True)
