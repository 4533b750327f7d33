"""The command line against the local HubSpot: in this process, and in one of its own."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_hubprefs.simulator import Simulator

SCRIPT = "import sys; from airflow_provider_hubprefs.cli.main import main; sys.exit(main())"
"""What the console script does."""


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def is_one_line(self) -> bool:
        return self.err.count("\n") == 1 and self.err.startswith("hubprefs") and not self.out


Cli = Callable[..., Ended]


@pytest.fixture
def environment(hubspot: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The environment of a command whose token is in it; the working folder is empty."""
    import airflow.sdk  # noqa: F401 - as a whole: a command imports it as a library, which other tests cannot use

    for name in [name for name in os.environ if name.startswith("HUBPREFS_")]:
        monkeypatch.delenv(name)
    named = {
        "HUBPREFS_TOKEN": hubspot.token,
        "HUBPREFS_HOST": hubspot.url,
        "HUBPREFS_BUDGET_STORE": "process",
    }
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return {**os.environ, **named}


@pytest.fixture
def cli(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Run ``hubprefs`` in this process; nothing is a terminal."""
    from airflow_provider_hubprefs.cli.main import main

    def run(*argv: object, stdin: str = "") -> Ended:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsys.readouterr()
        try:
            code: Any = main([*map(str, argv)])
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return Ended(int(code), said.out, said.err)

    return run
