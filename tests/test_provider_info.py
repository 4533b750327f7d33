"""What Airflow reads of the provider, and which modules it imports for that."""

from __future__ import annotations

import itertools
import json
import pkgutil
import re
import subprocess
import sys
from copy import deepcopy
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files
from inspect import getmembers, isclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import airflow_provider_hubprefs
from airflow_provider_hubprefs.get_provider_info import get_provider_info
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

if TYPE_CHECKING:
    from collections.abc import Iterator

# What Airflow 3.3 reads of a connection type. Its schema accepts other keys, and Airflow ignores them.
CONNECTION_TYPE = {"connection-type", "hook-class-name", "hook-name", "ui-field-behaviour", "conn-fields"}
UI_FIELD_BEHAVIOUR = {"hidden-fields", "relabeling", "placeholders"}
CONN_FIELD = {"label", "description", "schema"}
FIELD_SCHEMA = {"type", "section", "format", "minimum", "enum", "values_display", "examples"}
STANDARD_FIELDS = {"login", "password", "host", "port", "schema", "extra", "description"}
OAUTH = ("client_id", "client_secret", "refresh_token")
SECRETS = {"client_secret", "refresh_token"}
KINDS = ("hooks", "operators", "sensors", "triggers", "transfers")
# What else Airflow reads of each key, and this package may use.
URIS = {"schemes", "handler", "factory", "to_openlineage_converter"}
ENTRIES: dict[str, set[str]] = {
    "integrations": {"integration-name", "external-doc-url", "tags"},
    **{kind: {"integration-name", "python-modules"} for kind in KINDS},
    "connection-types": CONNECTION_TYPE,
    "asset-uris": URIS,
    "dataset-uris": URIS,
    "task-decorators": {"name", "class-name"},
}
NAMES = ("extra-links", "notifications", "cli")
CONFIG = {"description", "options"}
OPTION = {"description", "version_added", "type", "sensitive", "example", "default"}
TEXTS = {"package-name", "name", "description"}


def run(code: str) -> Any:
    """What a fresh interpreter prints as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def modules_below(package: str) -> set[str]:
    """Public modules of a part of the package; none where there is no such part yet."""
    try:
        part = import_module(f"airflow_provider_hubprefs.{package}")
    except ModuleNotFoundError:
        return set()
    found = pkgutil.walk_packages(part.__path__, f"{part.__name__}.")
    return {module.name for module in found if not module.ispkg}


def listed(info: dict[str, Any], kind: str) -> set[str]:
    return {module for entry in info.get(kind, []) for module in entry["python-modules"]}


def class_names(value: Any, key: str = "") -> Iterator[str]:
    """Every dotted name of a class or function, wherever it stands."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from class_names(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from class_names(inner, key)
    elif isinstance(value, str) and value.startswith("airflow_provider_hubprefs.") and "modules" not in key:
        yield value


@pytest.fixture(scope="module")
def info() -> dict[str, Any]:
    return get_provider_info()


@pytest.fixture(scope="module")
def connection_type(info: dict[str, Any]) -> dict[str, Any]:
    (only,) = info["connection-types"]
    return dict(only)


def test_it_is_what_the_entry_point_names() -> None:
    (found,) = [
        point
        for point in entry_points(group="apache_airflow_provider")
        if point.value.startswith("airflow_provider_hubprefs")
    ]
    assert found.value == "airflow_provider_hubprefs.get_provider_info:get_provider_info"
    assert found.load() is get_provider_info


def test_it_fits_airflow_s_schema_and_is_json(info: dict[str, Any]) -> None:
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(info, schema)
    assert set(info) <= set(schema["properties"])
    assert json.loads(json.dumps(info)) == info


def unread(info: dict[str, Any]) -> list[str]:
    """Keys at any level that Airflow does not read: misspelt ones, of which its schema and its log say nothing."""
    found = [key for key in info if key not in {*ENTRIES, *NAMES, *TEXTS, "config"}]
    for key, known in ENTRIES.items():
        found += [f"{key}.{inner}" for entry in info.get(key, []) for inner in set(entry) - known]
    for section, content in info.get("config", {}).items():
        found += [f"config.{section}.{inner}" for inner in set(content) - CONFIG]
        for option, described in content.get("options", {}).items():
            found += [f"config.{section}.{option}.{inner}" for inner in set(described) - OPTION]
    for entry in info.get("connection-types", []):
        behaviour, fields = entry.get("ui-field-behaviour", {}), entry.get("conn-fields", {})
        found += [f"ui-field-behaviour.{inner}" for inner in set(behaviour) - UI_FIELD_BEHAVIOUR]
        for name, field in fields.items():
            found += [f"conn-fields.{name}.{inner}" for inner in set(field) - CONN_FIELD]
            found += [f"conn-fields.{name}.schema.{inner}" for inner in set(field["schema"]) - FIELD_SCHEMA]
    return found


def test_airflow_reads_every_key_of_it(info: dict[str, Any]) -> None:
    assert unread(info) == []


def everywhere(value: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary, at any level, but for those whose keys are names of this package's."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from everywhere(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from everywhere(inner)


def test_a_key_that_is_misspelt_anywhere_is_found() -> None:
    for number, _ in enumerate(everywhere(get_provider_info())):
        info = deepcopy(get_provider_info())
        level = list(everywhere(info))[number]
        named_by_us = [info["config"], *(one["options"] for one in info["config"].values())]
        named_by_us += [one["conn-fields"] for one in info["connection-types"]]
        meant_for_airflow = [one["ui-field-behaviour"] for one in info["connection-types"]]
        values = [one[key] for one in meant_for_airflow for key in ("relabeling", "placeholders")]
        fields = [field for one in info["connection-types"] for field in one["conn-fields"].values()]
        values += [field["schema"].get("values_display") for field in fields]
        if any(level is one for one in (*named_by_us, *values)):
            continue
        level["mispelt_key"] = "value"
        assert any("mispelt_key" in key for key in unread(info)), sorted(level)


def test_a_connection_type_has_no_key_that_airflow_would_ignore(connection_type: dict[str, Any]) -> None:
    assert set(connection_type) == CONNECTION_TYPE
    behaviour = connection_type["ui-field-behaviour"]
    assert set(behaviour) == UI_FIELD_BEHAVIOUR
    fields = connection_type["conn-fields"]
    for name, field in fields.items():
        assert set(field) == CONN_FIELD, name
        assert {"type"} <= set(field["schema"]) <= FIELD_SCHEMA, name
    assert set(behaviour["hidden-fields"]) <= STANDARD_FIELDS
    assert set(behaviour["relabeling"]) <= STANDARD_FIELDS
    assert set(behaviour["placeholders"]) <= STANDARD_FIELDS | set(fields)
    assert not set(behaviour["hidden-fields"]) & {*behaviour["relabeling"], *behaviour["placeholders"]}


def test_no_field_must_be_filled_in_and_secret_ones_are_marked(connection_type: dict[str, Any]) -> None:
    fields = connection_type["conn-fields"]
    assert [name for name, field in fields.items() if "null" not in field["schema"]["type"]] == []
    assert {name for name, field in fields.items() if field["schema"].get("format") == "password"} == SECRETS


def test_a_field_names_the_default_that_holds_when_it_is_empty_and_has_none_itself(
    connection_type: dict[str, Any],
) -> None:
    """The form writes a field's default into every connection, where it stays when a release has a better one."""
    from msgspec.structs import asdict

    from airflow_provider_hubprefs.hubspot.api.endpoints import DEFAULT_VERSION
    from airflow_provider_hubprefs.hubspot.transport.settings import Settings

    fields = connection_type["conn-fields"]
    assert [name for name, field in fields.items() if "default" in field["schema"]] == []
    real = {"api_version": DEFAULT_VERSION, **asdict(Settings())}
    said = {
        name: field["description"].removeprefix("Empty: ").split(". ")[0]
        for name, field in fields.items()
        if name in real
    }
    assert said == {
        name: value if isinstance(value, str) else f"{value:.0f}"
        for name, value in real.items()
        if name in said
    }


def test_what_a_field_offers_is_what_a_connection_may_have(connection_type: dict[str, Any]) -> None:
    from airflow_provider_hubprefs.hubspot.api.endpoints import (
        VERSIONS,
        UnknownVersionWarning,
        check_version,
    )

    fields = connection_type["conn-fields"]
    offered = fields["api_version"]["schema"]["enum"]
    later = [version for version in offered if version not in VERSIONS]
    assert sorted(set(offered) - set(later)) == sorted(VERSIONS)
    for version in later:
        with pytest.warns(UnknownVersionWarning):
            check_version(version)
        assert version in fields["api_version"]["schema"]["values_display"]
    assert {one.partition(":")[0] for one in fields["budget_store"]["schema"]["examples"]} == {
        "file",
        "process",
        "redis",
    }


def test_fields_that_belong_together_stand_together_and_those_few_people_need_come_last(
    connection_type: dict[str, Any],
) -> None:
    fields = connection_type["conn-fields"]
    sections = [field["schema"]["section"] for field in fields.values()]
    assert [one for one, _ in itertools.groupby(sections)] == list(dict.fromkeys(sections))
    for names in (OAUTH, ("budget_store", "budget_conn_id")):
        assert len({fields[name]["schema"]["section"] for name in names}) == 1
    assert all("all three" in fields[name]["description"] for name in OAUTH)
    assert [name for name in fields if name.endswith(("timeout", "total", "wait", "bytes"))] == list(fields)[
        -5:
    ]


def test_the_form_says_what_to_do_with_host_and_port(connection_type: dict[str, Any]) -> None:
    """Airflow draws host, password and port in this order, whatever a provider says."""
    behaviour = connection_type["ui-field-behaviour"]
    assert behaviour["relabeling"]["password"] == "Token"
    assert "leave empty" in behaviour["relabeling"]["host"]
    assert "443" in behaviour["placeholders"]["port"]
    assert "Bad Request" in behaviour["placeholders"]["port"]


def resolved(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def test_every_class_named_exists_and_every_module_named_imports(info: dict[str, Any]) -> None:
    assert {name: resolved(name) for name in class_names(info)}
    for kind in KINDS:
        for module in listed(info, kind):
            import_module(module)


def test_what_is_named_is_what_its_key_says(info: dict[str, Any]) -> None:
    from airflow.sdk import BaseHook, BaseNotifier, BaseOperatorLink

    named = {entry["hook-class-name"]: BaseHook for entry in info["connection-types"]}
    named |= dict.fromkeys(info.get("extra-links", []), BaseOperatorLink)
    named |= dict.fromkeys(info.get("notifications", []), BaseNotifier)
    assert [name for name, base in named.items() if not issubclass(resolved(name), base)] == []
    functions = [entry["class-name"] for entry in info.get("task-decorators", [])] + info.get("cli", [])
    for uris in (*info["asset-uris"], *info["dataset-uris"]):
        functions += [name for key, name in uris.items() if key != "schemes"]
    assert [name for name in functions if not callable(resolved(name)) or isclass(resolved(name))] == []


def test_every_link_and_notifier_of_the_package_is_listed(info: dict[str, Any]) -> None:
    """One that is not is shown by no task, or not found in Airflow's list of them."""
    from airflow.sdk import BaseNotifier, BaseOperatorLink

    for key, base, modules in (
        ("extra-links", BaseOperatorLink, {"airflow_provider_hubprefs.links"}),
        ("notifications", BaseNotifier, modules_below("notifications")),
    ):
        offered = {
            f"{each.__module__}.{name}"
            for module in modules
            for name, each in own_classes(import_module(module))
            if issubclass(each, base) and not name.startswith("_")
        }
        assert set(info.get(key, [])) == offered, key


def test_every_decorator_of_the_package_is_listed(info: dict[str, Any]) -> None:
    offered = {
        f"{module}.{name}"
        for module in modules_below("decorators")
        for name in dir(import_module(module))
        if name.endswith("_task") and not name.startswith("_")
    }
    listed_here = {entry["class-name"] for entry in info.get("task-decorators", [])}
    assert offered <= listed_here


@pytest.mark.parametrize("kind", KINDS)
def test_every_module_with_something_for_airflow_is_listed(info: dict[str, Any], kind: str) -> None:
    ending = {"hooks": "Hook", "operators": "Operator", "sensors": "Sensor", "triggers": "Trigger"}
    offering = {
        module
        for module in modules_below(kind)
        if not module.rpartition(".")[2].startswith("_")
        and any(
            name.endswith(ending.get(kind, "Operator")) and not name.startswith("_")
            for name, _ in own_classes(import_module(module))
        )
    }
    assert listed(info, kind) == offering
    assert bool(offering) == (kind in info)


def own_classes(module: ModuleType) -> list[tuple[str, Any]]:
    return [(name, each) for name, each in getmembers(module, isclass) if each.__module__ == module.__name__]


def test_every_entry_belongs_to_an_integration_that_is_described(info: dict[str, Any]) -> None:
    described = {integration["integration-name"] for integration in info["integrations"]}
    used = {entry["integration-name"] for kind in KINDS for entry in info.get(kind, [])}
    assert used == described


def test_the_hook_says_the_same_of_itself(connection_type: dict[str, Any]) -> None:
    assert connection_type["connection-type"] == HubPrefsHook.conn_type
    assert connection_type["hook-name"] == HubPrefsHook.hook_name
    assert connection_type["hook-class-name"] == f"{HubPrefsHook.__module__}.{HubPrefsHook.__qualname__}"
    assert HubPrefsHook.conn_name_attr == "hubprefs_conn_id"
    by_keyword: dict[str, Any] = {HubPrefsHook.conn_name_attr: "other"}
    assert HubPrefsHook(**by_keyword).hubprefs_conn_id == "other"
    assert HubPrefsHook().hubprefs_conn_id == HubPrefsHook.default_conn_name == "hubprefs_default"


def test_older_airflows_are_shown_the_same_form(
    connection_type: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their form is made of WTForms, which is not installed with later ones; a stand-in keeps the arguments."""

    class Field:
        def __init__(self, label: str, description: str) -> None:
            self.given = {"label": label, "description": description}

    class PasswordField(Field):
        pass

    wtforms = ModuleType("wtforms")
    wtforms.__dict__.update(StringField=Field, PasswordField=PasswordField)
    monkeypatch.setitem(sys.modules, "wtforms", wtforms)
    widgets = HubPrefsHook.get_connection_form_widgets()
    expected = {
        name: {
            "label": field["label"],
            "description": field["description"],
        }
        for name, field in connection_type["conn-fields"].items()
    }
    assert {name: widget.given for name, widget in widgets.items()} == expected
    assert {name for name, widget in widgets.items() if isinstance(widget, PasswordField)} == SECRETS

    behaviour = HubPrefsHook.get_ui_field_behaviour()
    schema = files("airflow").joinpath("customized_form_field_behaviours.schema.json")
    jsonschema.validate(behaviour, json.loads(schema.read_text(encoding="utf-8")))
    assert behaviour["hidden_fields"] == connection_type["ui-field-behaviour"]["hidden-fields"]


def test_every_option_that_the_code_reads_is_described_with_its_default(info: dict[str, Any]) -> None:
    options = info["config"]["hubprefs"]["options"]
    read = set()
    for source in Path(airflow_provider_hubprefs.__file__).parent.rglob("*.py"):
        read |= set(
            re.findall(r"""conf\.get\w*\(\s*"hubprefs",\s*"(\w+)\"""", source.read_text(encoding="utf-8"))
        )
    assert read == set(options)
    for name, option in options.items():
        assert set(option) - {"sensitive"} == {
            "description",
            "version_added",
            "type",
            "example",
            "default",
        }, name


# -- in interpreters of their own -----------------------------------------------------------------------------


def test_describing_the_provider_imports_nothing() -> None:
    code = """
import json, sys, typing
before = set(sys.modules)
from airflow_provider_hubprefs.get_provider_info import get_provider_info
get_provider_info()
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    assert run(code) == ["airflow_provider_hubprefs", "airflow_provider_hubprefs.get_provider_info"]


def test_airflow_finds_the_provider_and_draws_its_form_without_importing_the_hook() -> None:
    code = """
import json, sys
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
provider = manager.providers["airflow-provider-hubprefs"]
ui = {meta.connection_type: meta for meta in manager.iter_connection_type_hook_ui_metadata()}
widgets = {
    name: widget
    for name, widget in manager._connection_form_widgets_from_metadata.items()
    if name.startswith("extra__hubprefs__")
}
print(json.dumps({
    "version": provider.version,
    "name": ui["hubprefs"].hook_name,
    "hook": ui["hubprefs"].hook_class_name,
    "behaviour": ui["hubprefs"].field_behaviour,
    "sensitive": sorted(name for name, widget in widgets.items() if widget.is_sensitive),
    "fields": sorted(widget.field_name for widget in widgets.values()),
    "titles": [widget.field["schema"]["title"] for widget in widgets.values()],
    "imported": sorted(name for name in sys.modules if name.startswith("airflow_provider_hubprefs")),
    "links": sorted(name for name in manager.extra_links_class_names if "hubprefs" in name),
}))
"""
    found = run(code)
    (described,) = get_provider_info()["connection-types"]
    fields = described["conn-fields"]
    assert found["version"] == airflow_provider_hubprefs.__version__
    assert found["name"] == "HubSpot Communication Preferences"
    assert found["hook"] == described["hook-class-name"]
    assert found["fields"] == sorted(fields)
    assert found["titles"] == [field["label"] for field in fields.values()]
    assert found["sensitive"] == sorted(f"extra__hubprefs__{name}" for name in SECRETS)
    assert found["behaviour"]["hidden_fields"] == ["login", "schema"]
    assert found["imported"] == ["airflow_provider_hubprefs", "airflow_provider_hubprefs.get_provider_info"]


def test_airflow_config_list_shows_the_section_with_its_defaults() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "config", "list", "--section", "hubprefs", "--defaults"],
        capture_output=True,
        text=True,
        check=False,
    )
    (described,) = get_provider_info()["config"].values()
    assert "[hubprefs]" in done.stdout, done.stderr
    for name, option in described["options"].items():
        assert re.search(rf"^#? ?{name} = ?{re.escape(option['default'])}$", done.stdout, re.MULTILINE), (
            done.stdout
        )
