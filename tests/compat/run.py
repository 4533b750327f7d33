"""Try the built wheel in each version of Airflow that it promises to work with.

``python tests/compat/run.py dist/*.whl dist/*.tar.gz``; ``make test-compat`` builds them first.

Each version has a virtual environment of its own below ``.compat``, with the dependencies of its time: a resolution
by date stands for Airflow's constraints file. The wheel must fit in without changing any of them. Then every module is
imported, the example DAGs and the README's are parsed, the main job runs, Airflow is asked for the connection's form
and by its own commands for the provider, its server for the pages of the main job by users with and without rights, and
tasks wait in a real triggerer. An environment that is complete is used again.

``VERSIONS="2.11.2 3.1.8"`` runs only some of them, ``VERSIONS="3.2.1@2026-04-25"`` another one by the packages of that
day, and ``COMPAT_PYTHON=3.13`` (or a path) takes another Python than this one. Of the sdist it is tried whether its
tests can be collected.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tarfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "airflow_provider_hubprefs"
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402 - the tests are found now
from rich.table import Table  # noqa: E402

from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken  # noqa: E402
from airflow_provider_hubprefs.hubspot.transport.client import Client  # noqa: E402
from tests.system.airflow_parts import free_port  # noqa: E402
from tests.system.processes import Processes, wait_for  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONNECTIONS = ("token", "oauth_1", "oauth_2", "oauth_3")
"""Of the waits. Each of an OAuth app refreshes its token in the triggerer, where the others look up theirs."""
HERE = Path(__file__).resolve().parent
HOME = Path(os.environ.get("COMPAT_HOME", ROOT / ".compat"))
UV = str(Path(sys.executable).with_name("uv"))
OUTCOMES = {"changed": 888, "unchanged": 60, "rejected": 2, "invalid": 12, "duplicate": 38, "unconfirmed": 0}
"""What becomes of the 1,000 rows of ``demo/contacts.csv``."""
RESULT = [*OUTCOMES, "read", "reasons", "complete", "incomplete_because", "dead_letters", "report"]
METRICS = {"requests", "rows.changed", "rows.invalid", "run.duration", "budget.remaining"}
"""Some of what StatsD hears of the main job."""
LINKS = ["Dead letters", "HubSpot settings", "Report"]
console = Console(highlight=False, soft_wrap=True)


class Version(NamedTuple):
    """A version of Airflow.

    :param airflow: the newest of its line.
    :param date: after its release: its dependencies are those of this day.
    :param newest_python: it works with.
    :param form: whether it draws the connection's own fields without more packages.
    """

    airflow: str
    date: str
    newest_python: tuple[int, int] = (3, 13)
    form: bool = True


VERSIONS = (
    Version("2.11.2", "2026-04-15", newest_python=(3, 12)),
    Version("3.1.8", "2026-04-15", form=False),
    Version("3.2.2", "2026-06-15"),
    Version("3.3.2", "2026-10-01"),
)


class CompatError(Exception):
    """What does not work in a version, in a sentence."""


class Environment:
    """The virtual environment of a version, and what is done in it."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self.asked_python = os.environ.get("COMPAT_PYTHON", "")
        self.folder = HOME / f"{version.airflow}{self.asked_python.replace('/', '-')}"
        self.python = self.folder / "venv" / "bin" / "python"
        self.pins = self.folder / "pins.txt"
        self.home = self.folder / "home"
        self.major = int(version.airflow.partition(".")[0])

    def make(self) -> str:
        """Install Airflow with the dependencies of its time, unless that is done."""
        if not self.pins.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            python = self.asked_python or ".".join(
                map(str, min(sys.version_info[:2], self.version.newest_python))
            )
            self._uv("venv", "--quiet", "--python", python, str(self.folder / "venv"))
            self._install(f"apache-airflow=={self.version.airflow}")
            frozen = self._freeze()
            self.pins.write_text("".join(f"{line}\n" for line in frozen))
        count = len(self.pins.read_text().splitlines())
        done = self.run([str(self.python), "-V"])
        return f"{done.split()[-1]}, {count} packages of {self.version.date}"

    def install(self, wheel: Path) -> str:
        """Install the wheel into it; nothing that was there may change."""
        pins = self.pins.read_text().splitlines()
        self._install(
            *(f"{wheel}[simulator]", "statsd"),
            *("--constraint", str(self.pins), "--reinstall-package", "airflow-provider-hubprefs"),
        )
        self._uv("pip", "check", "--python", str(self.python))
        now = self._freeze()
        if changed := sorted(set(pins) - set(now)):
            raise CompatError(f"changed: {', '.join(changed)}")
        names = {line.partition("=")[0].partition(" ")[0] for line in set(now) - set(pins)}
        added = sorted(names - {"statsd"})  # is Airflow's, for the metrics
        return f"no pin changed; added {', '.join(added)}"

    def imports(self) -> str:
        """Import every module; of what only some versions have, the others do without."""
        found = self._inside("imports")
        if not Path(found["file"]).is_relative_to(self.folder):
            raise CompatError(f"imported from {found['file']}, not from the wheel")
        for what in ("failed", "warned", "missing"):
            if found[what]:
                raise CompatError(f"{what}: {found[what]}")
        has_policies = self.version.airflow.startswith("3.3.")
        features: dict[str, Any] = {
            "lineage": None,
            "policy": "HubPrefsRetryPolicy"
            if has_policies
            else "HubPrefsRetryPolicy needs Airflow 3.3, which brought retry policies: leave retry_policy= out",
            "policy of an operator": "HubPrefsRetryPolicy" if has_policies else "NoneType",
            "asset": "hubspot://4711/subscriptions/7",
            "assets that are none": [],
        }
        expect(found["features"], features)
        return f"{found['modules']} modules"

    def parse(self) -> str:
        """Parse the example DAGs, those of the tests and the README; a snippet for Airflow 3 says so by its import."""
        folder = self.folder / "dags"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ROOT / "dags", folder, ignore=shutil.ignore_patterns("__pycache__"))
        wanted = {re.search(r"hubprefs_\w+", file.name)[0] for file in folder.glob("*.py")}  # type: ignore[index]
        for file in (ROOT / "tests" / "dags").glob("*.py"):
            shutil.copy(file, folder)
        blocks = re.findall(
            r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
        )
        for code in blocks:
            name = re.search(r'DAG\("(\w+)"', code)
            if name and not (self.major == 2 and "AssetWatcher" in code):
                (folder / f"readme_{name[1]}.py").write_text(code)
                wanted.add(name[1])
        found = self._inside("dags", str(folder))
        if found["errors"]:
            raise CompatError(f"import errors: {found['errors']}")
        if missing := wanted - set(found["dags"]):
            raise CompatError(f"no such DAG: {', '.join(sorted(missing))}")
        return f"{len(found['dags'])} DAGs"

    def form(self) -> str:
        """Ask Airflow for the connection's form."""
        found = self._inside("form")
        if not (found["testable"] and found["hook"] and "hidden_fields" in found["behaviour"]):
            raise CompatError(f"found {found}")
        if found["fields"] != (found["of"] if self.version.form else 0):
            raise CompatError(f"{found['fields']} of {found['of']} fields")
        return f"{found['fields']} fields" if self.version.form else "none (extra as JSON)"

    def main_job(self) -> str:
        """Run the example DAG of the main job on the demo's file."""
        self._new_home()
        with Processes() as processes, socket.socket(type=socket.SOCK_DGRAM) as statsd:
            statsd.bind(("127.0.0.1", 0))
            hubspot = self._simulator(processes, ROOT / "demo" / "portal.json")
            connection = {"conn_type": "hubprefs", "host": hubspot["url"], "password": hubspot["token"]}
            env = {
                "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
                "AIRFLOW__HUBPREFS__OUTPUT": str(self.home / "runs"),
                "AIRFLOW__METRICS__STATSD_ON": "True",
                "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
                "AIRFLOW__METRICS__STATSD_PORT": str(statsd.getsockname()[1]),
                "AIRFLOW_CONN_HUBPREFS_DEFAULT": json.dumps(connection),
            }
            self._airflow("db", "migrate")
            conf = json.dumps({"contacts": str(ROOT / "demo" / "contacts.csv")})
            self._airflow("dags", "test", "hubprefs_suppression", "--conf", conf, **env)
            measured = received(statsd)
        ((state,),) = self._rows("select state from dag_run")
        values: Any = self._rows("select value from xcom where task_id = 'opt_out' and key = 'return_value'")
        found: Any = values[0][0] if values else None
        while isinstance(found, str | bytes):
            found = json.loads(found)
        outcomes = {name: found[name] for name in OUTCOMES} if found else None
        if state != "success" or outcomes != OUTCOMES:
            raise CompatError(f"the run ended as {state} with {outcomes}; see {self.home}")
        expect(list(found), RESULT)
        pages = [Path(found["report"]).parent / name for name in ("report.html", "report.json")]
        if missing := [file.name for file in (*pages, Path(found["dead_letters"])) if not file.is_file()]:
            raise CompatError(f"not written: {', '.join(missing)}; see {self.home}")
        if missing := sorted(METRICS - measured):
            raise CompatError(f"not measured: {', '.join(missing)}; heard {sorted(measured)}")
        return "/".join(str(number) for number in OUTCOMES.values() if number)

    def commands(self) -> str:
        """Have Airflow list all there is of the provider, and use the console script."""
        file = self.home / "two.csv"
        file.write_text("email\nfirst@example.com\nsecond@example.com\n")
        with Processes() as processes:
            hubspot = self._simulator(processes, ROOT / "demo" / "portal.json")
            env = {"HUBPREFS_TOKEN": hubspot["token"], "HUBPREFS_HOST": hubspot["url"]}
            env["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "INFO"  # below, Airflow itself writes to standard output
            found = self._inside("commands", "json", **env)
            definitions = found.pop("hubprefs")
            script = str(self.python.with_name("hubprefs"))
            listed = self.run([script, "definitions", "--output", "json"], **env)
            self.run([script, "check"], **env)
            done = json.loads(
                self.run([script, "unsubscribe", str(file), "--yes", "--output", "json"], **env)
            )
        in_airflow = self.version.airflow >= "3.2"
        expect(definitions, listed if in_airflow else "exit code 2")
        expect((done["changed"], len(json.loads(listed)) > 1), (2, True))
        pages = ["flask_blueprints"] if self.major == 2 else ["external_views", "fastapi_apps"]
        wanted = {
            "version": re.findall(r"__version__ = \"(.+)\"", (PACKAGE / "__init__.py").read_text())[0],
            "described": True,
            "plugin": pages,
            "links": ["DeadLettersLink", "ReportLink", "SettingsLink"],
            "notifications": True,
            "config": ["output", "audit", "audit_key", "audit_addresses", "time_zone"],
        }
        expect(found, wanted)
        return "hubprefs, airflow hubprefs" if in_airflow else "hubprefs"

    def pages(self) -> str:
        """Ask Airflow's server for the pages of the main job, and follow its links."""
        ((run_id,),) = self._rows("select run_id from dag_run")
        found = self._inside(
            *("pages", "hubprefs_suppression", run_id, str(ROOT / "dags" / "hubprefs_suppression.py")),
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="False",
            AIRFLOW__HUBPREFS__OUTPUT=str(self.home / "runs"),
        )
        refused = {"anonymous": 302 if self.major == 2 else 401, "nobody": 403}  # 302: to the login
        pages = ["fragment", "page", "report.html", "report.json"]
        names = [*pages, "download"] if self.major == 2 else [*pages, "download", "recent"]
        wanted = {
            "statuses": {name: {**refused, "viewer": 200, "admin": 200} for name in names},
            "shown": [name for name in sorted(names) if name != "download"],
            "letters": OUTCOMES["rejected"] + OUTCOMES["invalid"],
            "addresses": [],
            "links": LINKS,
            "by link": 200,
        }
        wanted |= (
            {"fields": 12, "secret": ["client_secret", "refresh_token"]}
            if self.major == 2
            else {"views": ["nav", "task_instance"], "watcher": True}
        )
        expect({name: found[name] for name in wanted}, wanted)
        return f"{len(names)}, {len(LINKS)} links"

    def deferred(self) -> str:
        """Have tasks wait in a real triggerer: operators for what they wrote, sensors for what comes later."""
        self._new_home()
        portal = self.home / "portal.json"
        portal.write_text(json.dumps({"operations": {"seconds": 6}}))
        with Processes() as processes:
            hubspot = self._simulator(processes, portal)
            self._airflow("db", "migrate")
            self._connect(hubspot)
            try:
                self._start(processes)
                wait_while_alive(processes, "waiting sensors", self._waiting)
                with Client(StaticToken(hubspot["token"]), host=hubspot["url"]) as client:
                    for name in CONNECTIONS:
                        client.send(client.calls.unsubscribe_all(f"{name}.too@example.com"))
                wait_while_alive(processes, "the end of all tasks", self._ended)
                processes.check()
            except AssertionError as error:
                raise CompatError(f"{error}; tasks: {self._states()}; see {self.home}") from None
        if set(self._states().values()) != {"success"}:
            raise CompatError(f"tasks: {self._states()}; see {self.home}")
        logs = "".join(
            file.read_text(errors="replace") for file in self.home.rglob("*.log*") if file.is_file()
        )
        for text in (
            "out of order",
            "Trigger runner failed",
            "simulated-access-",
            "attached to a different loop",
        ):
            if text in logs:
                raise CompatError(f"{text!r} is in the logs; see {self.home}")
        return f"{len(self._states())} waits"

    def _start(self, processes: Processes) -> None:
        """Start the parts of Airflow; the API server first: a task that cannot reach it fails."""
        parts = {"scheduler": ["--skip-serve-logs"], "triggerer": ["--skip-serve-logs"]}
        if self.major > 2:
            parts = {"api-server": ["--port", self._port], **parts, "dag-processor": []}
        for part, arguments in parts.items():
            command = [str(self.python.with_name("airflow")), part, *arguments]
            processes.start(part, command, env=self._env(), log=self.home / f"{part}.log")
            if part == "api-server":
                wait_while_alive(processes, "the API server", self._answers)

    def _answers(self) -> bool:
        with suppress(OSError):
            return bool(urlopen(f"http://127.0.0.1:{self._port}/api/v2/version", timeout=30).status == 200)
        return False

    def _states(self) -> dict[str, str]:
        found = self._rows("select task_id, state from task_instance")
        return dict(found) or {"none": "yet"}

    def _waiting(self) -> bool:
        """Whether all sensors wait in the triggerer, and all writes have been made."""
        states = self._states()
        sensors = {state for name, state in states.items() if name.startswith("wait_")}
        writes = {state for name, state in states.items() if name.startswith("write_")}
        return sensors <= {"deferred", "failed"} and writes <= {"deferred", "success", "failed"}

    def _ended(self) -> bool:
        return set(self._states().values()) <= {"success", "failed", "upstream_failed"}

    def _connect(self, hubspot: dict[str, Any]) -> None:
        """Store the connections in Airflow's database: the triggerer asks its supervisor for them, then."""
        of_all = {"conn_type": "hubprefs", "host": hubspot["url"]}
        oauth = {
            "client_id": "simulated-client",
            "client_secret": "simulated-secret",
            "refresh_token": "simulated-refresh-token",
        }
        connections = {name: {**of_all, "extra": json.dumps(oauth)} for name in CONNECTIONS}
        connections["token"] = {**of_all, "password": hubspot["token"]}
        file = self.home / "connections.json"
        file.write_text(json.dumps(connections))
        self._airflow("connections", "import", str(file))

    def _simulator(self, processes: Processes, portal: Path) -> dict[str, Any]:
        """Start the local HubSpot of the wheel."""
        log = self.home / "hubspot.json"
        log.unlink(missing_ok=True)  # it is added to
        command = [str(self.python), "-m", "airflow_provider_hubprefs.simulator", "--portal", str(portal)]
        processes.start("hubspot", command, env=self._env(), log=log)

        def ready() -> Any:
            processes.check()
            with suppress(ValueError):
                return json.loads(log.read_text().splitlines()[0]) if log.read_text() else None

        found: dict[str, Any] = wait_for("the local HubSpot", ready, timeout=60)
        return found

    def _new_home(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()
        self._port = str(free_port())

    def _rows(self, query: str) -> list[Any]:
        """Ask Airflow's database; nothing while it is locked."""
        with suppress(sqlite3.OperationalError):
            uri = f"file:{self.home / 'airflow.db'}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=30)) as database:
                return database.execute(query).fetchall()
        return []

    def _inside(self, *arguments: str, **env: str) -> dict[str, Any]:
        self.home.mkdir(exist_ok=True)
        done = self.run([str(self.python), "-W", "ignore", str(HERE / "inside.py"), *arguments], **env)
        (result,) = re.findall(r"^RESULT (.+)$", done, re.MULTILINE)
        found: dict[str, Any] = json.loads(result)
        return found

    def _airflow(self, *arguments: str, **env: str) -> str:
        return self.run([str(self.python.with_name("airflow")), *arguments], **env)

    def _install(self, *what: str) -> None:
        self._uv(
            *(
                "pip",
                "install",
                "--quiet",
                "--python",
                str(self.python),
                "--exclude-newer",
                self.version.date,
            ),
            *what,
        )

    def _freeze(self) -> list[str]:
        done = self._uv("pip", "freeze", "--quiet", "--python", str(self.python))
        return [line for line in done.splitlines() if "==" in line or " @ " in line]

    def _uv(self, *arguments: str) -> str:
        return self.run([UV, *arguments])

    def run(self, command: list[str], **more: str) -> str:
        """Run a command in this environment; return what it prints.

        :raises CompatError: it fails.
        """
        where = self.home if self.home.exists() else HOME
        done = subprocess.run(
            command,
            env={**self._env(), **more},
            cwd=where,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        (self.folder / "last.log").write_text(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise CompatError(
                f"{Path(command[0]).name} {' '.join(command[1:4])}: {' '.join(said)}; see {self.folder}/last.log"
            )
        return done.stdout

    def _env(self) -> dict[str, str]:
        clean = {
            name: value
            for name, value in os.environ.items()
            if "AIRFLOW" not in name and not name.startswith(("PYTHON", "VIRTUAL_ENV", "COV"))
        }
        port = getattr(self, "_port", "8080")
        return {
            **clean,
            "PATH": f"{self.python.parent}{os.pathsep}{clean.get('PATH', '')}",  # Airflow 2 starts `airflow`
            "PYTHONSAFEPATH": "1",
            "COMPAT_CONNECTIONS": " ".join(CONNECTIONS),
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": port,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": "known to the parts of this Airflow alone",
            "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
            "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "SequentialExecutor" if self.major == 2 else "LocalExecutor",
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}?timeout=60",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        }


CHECKS: dict[str, Callable[[Environment], str]] = {
    "imports": Environment.imports,
    "DAGs": Environment.parse,
    "form": Environment.form,
    "main job": Environment.main_job,
    "commands": Environment.commands,
    "pages": Environment.pages,
    "deferred": Environment.deferred,
}


def version_named(name: str) -> Version:
    """Return a version by its number, or by ``number@date`` where it is none of those above."""
    airflow, _, date = name.partition("@")
    line = airflow.rpartition(".")[0]
    known = next(each for each in VERSIONS if each.airflow.rpartition(".")[0] == line)
    return known._replace(airflow=airflow, date=date or known.date)


def try_version(version: Version, wheel: Path) -> dict[str, str]:
    """Do all checks in one version; a check that fails does not stop those after it, but for the installation."""
    environment = Environment(version)
    found: dict[str, str] = {}
    steps: dict[str, Callable[[], str]] = {
        "Python, dependencies": environment.make,
        "wheel": lambda: environment.install(wheel),
        **{name: lambda check=check: check(environment) for name, check in CHECKS.items()},  # type: ignore[misc]
    }
    for name, step in steps.items():
        with timed(f"{version.airflow} {name}"):
            try:
                found[name] = step()
            except Exception as error:  # noqa: BLE001 - the others are tried as well
                found[name] = f"FAILED: {error}"
                console.print(f"  {found[name]}", markup=False)
                if name not in CHECKS:
                    break
    return found


def expect(found: object, wanted: object) -> None:
    """Compare.

    :raises CompatError: they differ.
    """
    if found != wanted:
        raise CompatError(f"expected {wanted}, found {found}")


def received(statsd: socket.socket) -> set[str]:
    """Names of what a socket has heard about HubSpot."""
    statsd.setblocking(False)
    found = b""
    with suppress(BlockingIOError):
        while True:
            found += statsd.recv(1 << 16) + b"\n"
    return set(re.findall(r"hubprefs\.([\w.]+)", found.decode()))


def wait_while_alive(processes: Processes, what: str, condition: Callable[[], bool]) -> None:
    """Wait until a condition holds.

    :raises AssertionError: it does not within 400 seconds, or a process has ended.
    """

    def alive_and_true() -> bool:
        processes.check()
        return condition()

    wait_for(what, alive_and_true, timeout=400)


def collected(sdist: Path) -> bool:
    """Whether pytest finds the tests of an unpacked sdist, and can import all of them."""
    folder = HOME / "sdist"
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd=unpacked,
        capture_output=True,
        text=True,
        check=False,
    )
    console.print(f"{sdist.name}: {(done.stdout.strip().splitlines() or ['nothing'])[-1]}", markup=False)
    return done.returncode == 0


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say what is done and how long it took."""
    start = time.monotonic()
    yield
    console.print(f"{what}: {time.monotonic() - start:.0f} s")


def main(arguments: list[str]) -> int:
    """Try all versions; return 1 where something failed."""
    if [Path(each).suffix for each in arguments if Path(each).is_file()] != [".whl", ".gz"]:
        console.print("expected one wheel and one sdist: python tests/compat/run.py dist/*.whl dist/*.tar.gz")
        return 2
    wheel, sdist = (Path(each).resolve() for each in arguments)
    chosen = [version_named(name) for name in os.environ.get("VERSIONS", "").split()]
    start = time.monotonic()
    HOME.mkdir(parents=True, exist_ok=True)
    results = {version.airflow: try_version(version, wheel) for version in chosen or VERSIONS}
    (HOME / "results.json").write_text(json.dumps(results, indent=1))
    names = ["Python, dependencies", "wheel", *CHECKS]
    table = Table("Airflow", *names, title="The wheel in each version of Airflow", title_justify="left")
    for airflow, found in results.items():
        table.add_row(airflow, *(found.get(name, "-") for name in names))
    Console(highlight=False, width=180).print(table)
    failed = [
        name for name, found in results.items() if any(text.startswith("FAILED") for text in found.values())
    ]
    if not chosen:
        with timed("sdist"):
            failed += [] if collected(sdist) else [sdist.name]
    console.print(f"{time.monotonic() - start:.0f} s in all; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
