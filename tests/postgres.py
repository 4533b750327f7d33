"""A real PostgreSQL for the tests: one server for each process that runs tests, and an empty database for each test."""

from __future__ import annotations

import atexit
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

USER, PASSWORD = "consent", "pa55-word"
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "listen_addresses": "127.0.0.1",
    "timezone": "UTC",
}


@dataclass(frozen=True)
class Database:
    """A database of the server. Its user may do everything in it.

    :param name: of the database.
    """

    port: int
    name: str
    host: str = "127.0.0.1"
    user: str = USER
    password: str = PASSWORD

    @property
    def uri(self) -> str:
        """As Airflow's connections have it, and ``psycopg`` too."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.name}"

    def connect(self) -> Any:
        """A connection of psycopg 3; each statement is its own transaction."""
        import psycopg

        return psycopg.connect(self.uri, autocommit=True)

    def run(
        self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Execute one statement, and return its rows."""
        with closing(self.connect()) as connection:
            cursor = connection.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def copy(self, table: str, rows: Any) -> None:
        """Fill a table, by ``COPY``."""
        with (
            closing(self.connect()) as connection,
            connection.cursor().copy(f"COPY {table} FROM STDIN") as into,
        ):
            for row in rows:
                into.write_row(row)


class Postgres(Database):
    """The server, as its database ``postgres``."""

    def new_database(self) -> Database:
        """Create an empty database."""
        name = f"db_{secrets.token_hex(6)}"
        self.run(f"CREATE DATABASE {name}")
        return Database(self.port, name)

    def drop(self, database: Database) -> None:
        """Drop a database, and end the connections to it."""
        self.run(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs; Debian's are not on the PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    on_path = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    return next((path for path in [*reversed(debian), *on_path] if (path / "initdb").exists()), None)


def start(bin_folder: Path) -> Generator[Postgres, None, None]:
    """Start a server with its data in a temporary folder, and stop it in the end.

    PostgreSQL refuses to run as root: then it runs as the user ``postgres``, which Debian's package creates.
    """
    account: dict[str, Any] = {}
    if os.getuid() == 0:
        entry = pwd.getpwnam("postgres")
        account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    # Not in pytest's folder, which only its owner may enter; and short, because the path of a socket is limited.
    folder = Path(tempfile.mkdtemp(prefix="hubprefs-pg-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (password := folder / "password").write_text(PASSWORD)
    if account:
        for path in (folder, password):
            os.chown(path, account["user"], account["group"])
    create = [
        "--auth=scram-sha-256",
        f"--username={USER}",
        f"--pwfile={password}",
        "--no-sync",
        "--locale=C.UTF-8",
    ]
    data = folder / "data"
    subprocess.run(
        [bin_folder / "initdb", f"--pgdata={data}", "--encoding=UTF8", *create],
        **account,
        cwd=folder,
        check=True,
        capture_output=True,
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {**_SETTINGS, "port": port, "unix_socket_directories": folder}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [bin_folder / "postgres", "-D", data, *options], **account, cwd=folder, stdout=log, stderr=log
        )
    try:
        server = Postgres(port, "postgres")
        for _ in range(500):
            with suppress(Exception):
                server.run("SELECT 1")
                break
            if process.poll() is not None:
                break
            time.sleep(0.02)
        else:
            process.kill()
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
        yield server
    finally:
        process.send_signal(2)  # SIGINT: stop now, whoever is connected
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server; without one on this machine the test is skipped."""
    pytest.importorskip("psycopg", reason="needs psycopg: nothing was tested with PostgreSQL")
    found = programs()
    if found is None:
        pytest.skip("needs PostgreSQL (Debian's package postgresql): nothing was tested with it")
    if os.getuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip(
                "needs a user postgres, because PostgreSQL refuses to run as root: nothing was tested with it"
            )
    yield from start(found)


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    """An empty database in PostgreSQL."""
    made = postgres.new_database()
    yield made
    postgres.drop(made)


@pytest.fixture
def warehouse(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """An empty database in PostgreSQL that Airflow knows as the connection ``warehouse``."""
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", database.uri)
    return database
