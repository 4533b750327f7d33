"""Check a built wheel: its files, its metadata, and that Airflow finds the provider in it; and the sdist beside it.

``python tests/check_wheel.py dist/*.whl dist/*.tar.gz``: the wheel is put into a virtual environment of its own. All
else comes from the environment this runs in, by links, except what is installed of this package there: by the
metadata of an editable install Airflow would find a provider that the wheel does not have.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from email.parser import BytesParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, DISTRIBUTION = "airflow_provider_hubprefs", "airflow-provider-hubprefs"
ENTRY_POINT = f"{PACKAGE}.get_provider_info:get_provider_info"
ENTRY_POINTS = {
    "apache_airflow_provider": {"provider_info": ENTRY_POINT},
    "airflow.plugins": {"hubprefs": f"{PACKAGE}.plugin:HubPrefsPlugin"},
    "console_scripts": {"hubprefs": f"{PACKAGE}.cli.main:main"},
}

NEEDED = {
    "py.typed": "type checkers would ignore its types",
    "bulk/page/page.html": "runs would leave no page",
    "ui/pages.html": "Airflow would show no page",
}
"""Files that are no modules, and what would be without them."""

DISCOVER = f"""
import json, sys
import {PACKAGE}
from importlib.metadata import distribution
from airflow.providers_manager import ProvidersManager

manager = ProvidersManager()
provider = manager.providers.get({DISTRIBUTION!r})
found = {{"provider": None, "path": sys.path, "package": {PACKAGE}.__file__}}
if provider is not None:
    ui = {{one.connection_type: one for one in manager.iter_connection_type_hook_ui_metadata()}}
    before = sorted(name for name in sys.modules if name.startswith("{PACKAGE}."))
    hook = manager.hooks["hubprefs"]
    found |= {{
        "provider": provider.version,
        "metadata": str(distribution({DISTRIBUTION!r}).locate_file("")),
        "form": "hubprefs" in ui and bool(ui["hubprefs"].field_behaviour),
        "before": before,
        "hook": hook and hook.hook_class_name,
        "name": hook and hook.hook_name,
        "testable": hook and hook.connection_testable,
        "hook_file": getattr(sys.modules.get("{PACKAGE}.hooks.hubprefs"), "__file__", ""),
        "loaded": [
            point.load().__module__
            for group in ("airflow.plugins", "console_scripts")
            for point in distribution({DISTRIBUTION!r}).entry_points.select(group=group)
        ],
    }}
print(json.dumps(found))
"""


class WheelError(Exception):
    """What is wrong with the wheel, in a sentence."""


def main(arguments: list[str]) -> int:
    if [Path(each).suffix for each in arguments if Path(each).is_file()] != [".whl", ".gz"]:
        expected = "python tests/check_wheel.py dist/*.whl dist/*.tar.gz"
        print(f"expected one wheel and one sdist: {expected}", file=sys.stderr)
        return 1
    wheel, sdist = (Path(each).resolve() for each in arguments)
    try:
        with zipfile.ZipFile(wheel) as archive:
            lines = [check_files(archive), check_metadata(archive)]
        with tempfile.TemporaryDirectory(prefix="hubprefs-wheel-") as folder:
            lines += check_discovery(wheel, Path(folder).resolve())
        lines.append(check_sdist(sdist))
    except WheelError as error:
        print(f"{wheel.name}, {sdist.name}: {error}", file=sys.stderr)
        return 1
    print(f"{wheel.name}:")
    for line in lines:
        print(f"  {line}")
    return 0


# -- what is in it ------------------------------------------------------------------------------------------


def check_files(archive: zipfile.ZipFile) -> str:
    """The package as it is in the sources, and nothing else."""
    names = {name for name in archive.namelist() if not name.endswith("/")}
    info = {name for name in names if ".dist-info/" in name}
    wanted = {path.relative_to(ROOT).as_posix() for path in sources()}
    if missing := sorted(wanted - names):
        raise WheelError(f"not in it: {', '.join(missing)}; see packages and package_data in setup.cfg")
    if unwanted := sorted(names - info - wanted):
        raise WheelError(
            f"in it, but not in the sources: {', '.join(unwanted)}; left over in build/? remove that folder"
        )
    for name, without in NEEDED.items():
        if f"{PACKAGE}/{name}" not in names:
            raise WheelError(f"{name} is not in it: {without}")
    for name in sorted(wanted):
        if archive.read(name) != (ROOT / name).read_bytes():
            raise WheelError(f"{name} is not what it is in the sources; build the wheel anew")
    packages = {str(Path(name).parent) for name in wanted if name.endswith("__init__.py")}
    return f"{len(wanted)} files in {len(packages)} packages, with {', '.join(NEEDED)}; no tests, no demo"


def sources() -> list[Path]:
    """Everything below the package but what a run leaves there."""
    found = (ROOT / PACKAGE).rglob("*")
    return [path for path in found if path.is_file() and "__pycache__" not in path.parts]


# -- what it says -------------------------------------------------------------------------------------------


def check_metadata(archive: zipfile.ZipFile) -> str:
    """License, Python, dependencies, extras and entry point, as setup.cfg has them."""
    metadata = BytesParser().parsebytes(archive.read(info_file(archive, "METADATA")))
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    expect("Name", metadata["Name"], DISTRIBUTION)
    expect("Requires-Python", metadata["Requires-Python"], "<3.14,>=3.11")
    classifiers = metadata.get_all("Classifier", [])
    for version in ("2", "3"):
        expect(
            f"Airflow {version} as a classifier",
            f"Framework :: Apache Airflow :: {version}" in classifiers,
            True,
        )
    urls = dict(one.split(", ", 1) for one in metadata.get_all("Project-URL", []))
    if not metadata["Author"] or not {"Changelog", "Documentation", "Issues", "Source"} <= set(urls):
        raise WheelError("its author or its project URLs are missing; see setup.cfg")
    license_ = metadata["License-Expression"] or metadata["License"]
    expect("License", license_, "Apache-2.0")
    if not any(name.endswith("/LICENSE") for name in archive.namelist()):
        raise WheelError("LICENSE is not in it; see license_files in setup.cfg")
    description = str(metadata.get_payload() or metadata["Description"] or "")
    if not description:
        raise WheelError("it has no long description; see long_description in setup.cfg")
    if dead := re.findall(r"\]\((?!https://|#)([^)]*)\)", description):
        raise WheelError(
            f"README.md: these links lead nowhere on PyPI, make them absolute: {', '.join(dead)}"
        )

    wanted = set(words(setup["options"]["install_requires"]))
    extras = {name: set(words(value)) for name, value in setup["options.extras_require"].items()}
    expect("Requires-Dist", required(metadata, None), wanted)
    expect("Provides-Extra", set(metadata.get_all("Provides-Extra", [])), set(extras))
    for name, needed in extras.items():
        expect(f"Requires-Dist of the extra {name}", required(metadata, name), needed)
    if not any(re.match(r"apache-airflow\b(?!-)", one) for one in wanted):
        raise WheelError("it does not depend on apache-airflow")

    points = configparser.ConfigParser()
    points.read_string(archive.read(info_file(archive, "entry_points.txt")).decode())
    groups = {group: dict(points[group]) for group in points.sections()}
    expect("entry points", groups, ENTRY_POINTS)
    return (
        f"Python {metadata['Requires-Python']}, {license_}, {len(wanted)} dependencies, "
        f"extras: {', '.join(sorted(extras)) or 'none'}, entry points: {', '.join(sorted(groups))}"
    )


def check_sdist(sdist: Path) -> str:
    """What `make test` and `make demo` need is in the sdist, too; see MANIFEST.in."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {path.relative_to(ROOT).as_posix() for path in sources()}
    for folder in ("tests", "dags", "demo", "docs", "benchmarks", "requirements", ".ci", ".github"):
        found = (ROOT / folder).rglob("*")
        kept = [
            path.relative_to(ROOT) for path in found if path.is_file() and "__pycache__" not in path.parts
        ]
        wanted |= {path.as_posix() for path in kept if not {".venv", "_build"} & {*path.parts}}
    wanted |= {
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "pyproject.toml",
        "setup.cfg",
    }
    if missing := sorted(wanted - names):
        raise WheelError(f"not in {sdist.name}: {', '.join(missing)}; see MANIFEST.in")
    return f"{sdist.name} has {len(wanted)} files: the package, its tests, DAGs, demo, docs and tools"


def info_file(archive: zipfile.ZipFile, name: str) -> str:
    for found in archive.namelist():
        if re.fullmatch(rf"[^/]+\.dist-info/{re.escape(name)}", found):
            return found
    raise WheelError(f"{name} is not in it")


def words(value: str) -> list[str]:
    """Requirements, one a line, without the conditions behind them."""
    found = [line.partition(";")[0].strip() for line in value.splitlines() if line.strip()]
    return [str(Requirement(one)) for one in found]  # in the order that METADATA has


def required(metadata: Message, extra: str | None) -> set[str]:
    """Requirements of the distribution itself, or of one of its extras."""
    found: set[str] = set()
    for line in metadata.get_all("Requires-Dist", []):
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        named = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        if (named.group(1) if named else None) == extra:
            found.add(requirement)
    return found


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise WheelError(f"{what}: expected {wanted!r}, found {found!r}")


# -- what Airflow makes of it -------------------------------------------------------------------------------


def check_discovery(wheel: Path, folder: Path) -> list[str]:
    """Airflow's ProvidersManager and its command line list the provider, out of the wheel alone."""
    environment, elsewhere = folder / "environment", folder / "elsewhere"
    venv.create(environment, with_pip=False)
    elsewhere.mkdir()
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    installed = Path(
        sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)})
    )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    for one in Path(sysconfig.get_path("purelib")).iterdir():
        if not (one.suffix == ".pth" or PACKAGE in one.name or (installed / one.name).exists()):
            (installed / one.name).symlink_to(one)

    found: dict[str, Any] = json.loads(run(python, ["-c", DISCOVER], folder).splitlines()[-1])
    if not within(installed, found["package"]):
        raise WheelError(
            f"{PACKAGE} was imported from {found['package']}, not from the wheel: nothing is proven"
        )
    if str(ROOT) in found["path"]:
        raise WheelError(f"{ROOT} is on the path: nothing is proven")
    version = wheel.name.split("-")[1]
    expect("version of the provider that Airflow found", found["provider"], version)
    if not within(installed, found["metadata"]):
        raise WheelError(f"its metadata was read from {found['metadata']}, not from the wheel")
    expect("connection form known to Airflow", found["form"], True)
    expect(
        "modules imported before the hook was asked for", found["before"], [f"{PACKAGE}.get_provider_info"]
    )
    expect("hook", found["hook"], f"{PACKAGE}.hooks.hubprefs.HubPrefsHook")
    expect("connection test offered", found["testable"], True)
    if not within(installed, found["hook_file"]):
        raise WheelError(f"the hook was imported from {found['hook_file']}, not from the wheel")

    expect("plugin and console script", found["loaded"], [f"{PACKAGE}.plugin", f"{PACKAGE}.cli.main"])

    listed = json.loads(run(python, ["-m", "airflow", "providers", "list", "--output", "json"], folder))
    versions = [one["version"] for one in listed if one["package_name"] == DISTRIBUTION]
    expect("`airflow providers list`", versions, [version])
    return [
        f"Airflow lists the provider {DISTRIBUTION} {version}",
        f"connection type hubprefs ({found['name']}) with {found['hook']}",
    ]


def within(folder: Path, file: str) -> bool:
    return bool(file) and Path(file).resolve().is_relative_to(folder)


def run(python: Path, arguments: list[str], folder: Path) -> str:
    """What the new environment's interpreter prints; it gets no setting of this one's."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "COV"))
    }
    home = folder / "airflow"
    env |= {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    env["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
    done = subprocess.run(
        [str(python), "-I", "-W", "ignore", *arguments],
        cwd=folder / "elsewhere",
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode != 0:
        raise WheelError(f"`python {' '.join(arguments)[:40]}...` failed in its environment:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
