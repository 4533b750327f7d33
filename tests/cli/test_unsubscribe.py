"""``hubprefs unsubscribe`` and ``report``: a run without a DAG, what it leaves, and how it goes on after Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import ANSWER_PENDING, LONG, outcomes, people, writes

from .conftest import SCRIPT

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator

    from .conftest import Cli

ROWS = ["email", "jane@example.com", "BOB@example.com", "jane@example.com", "no address"]


@pytest.fixture(autouse=True)
def list_csv(environment: dict[str, str], tmp_path: Path) -> Path:
    """``list.csv`` in the working folder."""
    (tmp_path / "list.csv").write_text("\n".join(ROWS) + "\n")
    return tmp_path / "list.csv"


def test_a_dry_run_counts_the_rows_and_needs_no_credentials(
    cli: Cli, hubspot: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HUBPREFS_TOKEN")
    ended = cli("unsubscribe", "list.csv", "--dry-run", "-o", "json")
    counts = {"read": 4, "to_send": 2, "invalid": 1, "duplicate": 1}
    assert json.loads(ended.out) == {**counts, "reasons": {"invalid: INVALID_ADDRESS": 1}}
    assert ended.code == 1
    assert hubspot.requests == []
    Path("list.csv").write_text("\n".join(ROWS[:3]))
    assert cli("unsubscribe", "list.csv", "--dry-run").code == 0


def test_everybody_is_opted_out_and_the_run_says_so_in_one_sentence(cli: Cli, hubspot: Simulator) -> None:
    ended = cli("unsubscribe", "list.csv", "--yes", "--output-folder", "out")
    (folder,) = Path("out").iterdir()
    assert re.fullmatch(r"list\.csv-\d{8}T\d{6}Z", folder.name)
    assert ended.code == 1
    assert ended.err == ""
    assert ended.out.startswith("2 of 4 opted out (2 new), 1 duplicate")
    assert f"1 not: 1 invalid -> {folder.absolute()}{os.sep}report." in ended.out
    assert all(map(hubspot.is_opted_out, ("jane@example.com", "bob@example.com")))
    assert {"report.json", "dead_letters.jsonl"} <= {file.name for file in folder.iterdir()}
    again = cli("unsubscribe", "list.csv", "--yes", "-o", "json")
    assert outcomes(json.loads(again.out)) == {"unchanged": 2, "invalid": 1, "duplicate": 1}
    assert "--output-folder" in again.err
    assert "@" not in ended.out + again.out + again.err


@pytest.mark.parametrize(
    ("text", "options", "read"),
    [
        ("jane@example.com\nbob@example.com\n", [], 2),
        ("email\njane@example.com\n", [], 1),
        (
            "x\nMail;Opted Out\njane@example.com;TRUE\nbob@example.com;FALSE\n",
            ["--column", "Mail", "--delimiter", ";", "--skip-lines", 1, "--where", "Opted Out=TRUE"],
            1,
        ),
        ("1,jane@example.com\n2,bob@example.com\n", ["--no-header", "--column", 2, "--format", "csv"], 2),
        ('{"email": "jane@example.com"}\n', ["--format", "jsonl", "--encoding", "utf-8"], 1),
    ],
    ids=["lines", "csv", "where", "no-header", "jsonl"],
)
def test_standard_input_is_read_as_a_file_is(
    cli: Cli, hubspot: Simulator, text: str, options: list[Any], read: int
) -> None:
    ended = cli("unsubscribe", "-", "--yes", "-o", "json", *options, stdin=text)
    assert (ended.code, outcomes(json.loads(ended.out))) == (0, {"changed": read}), ended.err
    assert hubspot.is_opted_out("jane@example.com")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "2 subscribers out of everything"),
        (["--brand", "7"], "2 subscribers out of the brand 7"),
        (["--yes", "--max-changes", "1"], "max_changes is 1"),
        (["--yes", "--column", "nope"], "nope"),
        (["--yes", "--where", "x"], "COLUMN=VALUE"),
        (["--yes", "--format", "parquet", "--delimiter", ";"], "delimiter"),
        (["--yes", "--output-folder", "list.csv"], "Not a directory"),
    ],
    ids=["asks", "brand", "max-changes", "column", "where", "format", "folder"],
)
def test_what_cannot_work_or_is_not_wanted_writes_nothing(
    cli: Cli, hubspot: Simulator, options: list[str], says: str
) -> None:
    ended = cli("unsubscribe", "list.csv", *options)
    assert (ended.code, writes(hubspot)) == (2, 0)
    assert says in ended.err
    assert ended.is_one_line()
    assert "@" not in ended.err


def test_a_source_that_would_include_the_runs_own_files_is_refused(cli: Cli, hubspot: Simulator) -> None:
    ended = cli("unsubscribe", Path.cwd(), "--yes", "--output-folder", "out")
    assert (ended.code, hubspot.requests) == (2, [])
    assert "overlap" in ended.err


def test_a_brand_is_opted_out_of(cli: Cli, hubspot: Simulator) -> None:
    assert cli("unsubscribe", "list.csv", "--yes", "--brand", 0).code == 1
    assert "businessUnitId=0" in hubspot.requests[-1].query


def test_what_hubspot_has_not_finished_is_asked_about_until_the_timeout(cli: Cli, hubspot: Simulator) -> None:
    hubspot.fault(**ANSWER_PENDING, times=None)
    ended = cli("unsubscribe", "list.csv", "--yes", "--timeout", 0, "-o", "json")
    assert (ended.code, outcomes(json.loads(ended.out))) == (
        1,
        {"unconfirmed": 2, "invalid": 1, "duplicate": 1},
    )


def test_a_report_is_shown_with_masked_letters(cli: Cli) -> None:
    Path("list.csv").write_text("email\nno.address.jane@example\njane@example.com\n")
    cli("unsubscribe", "list.csv", "--yes", "--output-folder", "out")
    (folder,) = Path("out").iterdir()
    value = json.loads(cli("report", folder, "-o", "json").out)
    (letter,) = value["dead_letters"]
    assert (letter["row"], letter["category"]) == (2, "INVALID_ADDRESS")
    assert value["report"]["read"] == 2
    shown = [cli("report", folder / "report.json", "-o", name) for name in ("table", "plain", "json", "yaml")]
    assert {one.code for one in shown} == {0}
    for one in shown:
        assert "INVALID_ADDRESS" in one.out
        assert "jane" not in one.out
    assert cli("report", f"file://{folder.absolute()}").out == cli("report", folder).out


@pytest.mark.parametrize(
    "content",
    ["[]", "{", '{"read": "many"}', '{"read": 1, "reasons": [1]}', '{"name": "another"}', "\xff"],
    ids=["list", "cut", "text", "reasons", "foreign", "bytes"],
)
def test_another_file_is_no_report(cli: Cli, content: str) -> None:
    Path("report.json").write_bytes(content.encode("latin-1"))
    ended = cli("report", "report.json")
    assert (ended.code, ended.is_one_line()) == (2, True)
    assert "no report of a run" in ended.err


@pytest.mark.parametrize(
    ("report", "says"),
    [
        ({"state": "running", "ended_at": "03:00"}, "Still running as of 03:00: 1 of 1"),
        ({"state": "waiting"}, "1 of 1"),
        (
            {"state": "incomplete", "incomplete_because": "ServerError", "error": "HubSpot: 500"},
            "Stopped early",
        ),
        ({"complete": True}, "1 of 1 applied (1 new)"),
    ],
    ids=["running", "waiting", "incomplete", "an older one"],
)
def test_a_report_says_how_the_run_stands(cli: Cli, report: dict[str, Any], says: str) -> None:
    Path("report.json").write_text(json.dumps({"read": 1, "changed": 1, **report}))
    ended = cli("report", "report.json", "-o", "table")
    assert ended.code == 0
    assert says in ended.err
    state = report.get("error") or report.get("state", "complete")
    assert state in ended.out


# -- in processes of their own ---------------------------------------------------------------------------------


def test_after_ctrl_c_the_same_command_goes_on(hubspot: Simulator, environment: dict[str, str]) -> None:
    Path("many.csv").write_text("\n".join(["email", *people(6000)]) + "\n")
    hubspot.fault("latency", ms=[300, 300], times=None)
    environment = {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", SCRIPT, "unsubscribe", "many.csv", "--yes", "--output-folder", "out"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            end = time.monotonic() + 60
            while writes(hubspot) < 3:
                assert time.monotonic() < end, "it sent nothing"
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    (folder,) = Path("out").iterdir()
    so_far = json.loads((folder / "report.json").read_text())
    assert process.returncode == 130, said
    assert 0 < so_far["read"] < 6000
    assert said.count("\n") == 1
    assert f"The same command again goes on there; so far: hubprefs report {folder.absolute()}" in said
    hubspot.clear_faults()
    before = writes(hubspot)
    done = subprocess.run(
        [*command, "-o", "json"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["read"], summary["tries"]) == (6000, 2)
    assert summary["changed"] + summary["unchanged"] == 6000
    assert writes(hubspot) - before < 60  # not from the first row
    assert list(Path("out").iterdir()) == [folder]


@pytest.mark.parametrize(
    "no_color", [True, False] if LONG else [True], ids=lambda no: "no-colours" if no else "colours"
)
def test_on_a_terminal_it_asks_and_shows_a_table(
    hubspot: Simulator, environment: dict[str, str], *, no_color: bool
) -> None:
    answer = b"y\r" if no_color else b"n\r"
    mine, its = pty.openpty()
    settings = {"TERM": "xterm-256color", "COLUMNS": "100", **({"NO_COLOR": "1"} if no_color else {})}
    command = [sys.executable, "-c", SCRIPT, "unsubscribe", "list.csv"]
    with subprocess.Popen(
        command, env={**environment, **settings}, stdin=its, stdout=its, stderr=its, start_new_session=True
    ) as process:
        os.close(its)
        said = b""
        answered = False
        while True:
            try:
                said += os.read(mine, 4096)
            except OSError:  # the other end is closed
                break
            if b"[y/N]" in said and not answered:
                answered = os.write(mine, answer) > 0
    os.close(mine)
    text = said.decode()
    assert "This will opt 2 subscribers out of everything, with HUBPREFS_TOKEN" in text
    assert process.returncode == 1
    assert ("│ changed" in text) == no_color
    assert ("2 of 4 opted out" in text) == no_color
    assert (writes(hubspot) > 0) == no_color
    assert (re.search(r"\x1b\[(?:3[0-7]|38;5;\d+)m", text) is None) == no_color
    assert "@" not in text
