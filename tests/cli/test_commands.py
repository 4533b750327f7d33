"""Commands that read, and the one that writes one status: answers, exit codes, credentials; no address in errors."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.bulk.page import reports
from tests.helpers import writes

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_hubprefs.simulator import Simulator

    from .conftest import Cli

JANE = "jane@example.com"
NEWSLETTER = 348211907
SET = ("set", JANE, "--subscription", NEWSLETTER, "--status")


def test_the_portals_subscriptions_are_the_same_in_every_format(cli: Cli) -> None:
    said = {name: cli("definitions", "-o", name) for name in ("json", "yaml", "plain", "table")}
    assert {one.code for one in said.values()} == {0}
    rows = json.loads(said["json"].out)
    assert rows == yaml.safe_load(said["yaml"].out)
    newsletter = {
        "id": NEWSLETTER,
        "name": "Monthly newsletter",
        "purpose": "Marketing",
        "active": True,
        "brand": 0,
    }
    assert newsletter in rows
    head, *lines = said["plain"].out.splitlines()
    assert head.split("\t") == list(newsletter)
    assert f"{NEWSLETTER}\tMonthly newsletter\tMarketing\tyes\t0" in lines
    assert len(lines) == len(rows) == 7
    assert f"│ {NEWSLETTER} │ Monthly newsletter " in said["table"].out
    assert cli("definitions").out == said["plain"].out


def test_a_subscribers_statuses_and_opt_outs_are_shown(cli: Cli, hubspot: Simulator) -> None:
    before = json.loads(cli("get", JANE, "-o", "json").out)
    hubspot.opt_out(JANE)
    after = json.loads(cli("get", "-", "-o", "json", stdin=f" {JANE.upper()}\n").out)
    assert list(after) == list(before) == ["subscriber", "opted_out", "opt_outs", "statuses"]
    assert (before["opted_out"], after["opted_out"]) == (False, True)
    assert before["opt_outs"] == []
    assert {one["status"] for one in after["statuses"]} == {"UNSUBSCRIBED"}
    assert set(after["statuses"][0]) == {"id", "name", "status", "legal_basis", "since"}
    assert f"{JANE}\tyes" in cli("get", JANE).out


def test_check_says_what_the_credentials_can_do_and_where_they_were(cli: Cli, hubspot: Simulator) -> None:
    ended = cli("check", "-o", "json")
    value = json.loads(ended.out)
    assert (ended.code, value["ok"], value["credentials"]) == (0, True, "HUBPREFS_TOKEN")
    assert str(hubspot.portal.settings.portal_id) in " ".join(value["says"])
    assert hubspot.token not in ended.out
    assert writes(hubspot) == 0


def test_the_budget_is_what_hubspots_headers_say(cli: Cli, hubspot: Simulator) -> None:
    body = {"portalId": 48120091, "timeZone": "Europe/Berlin"}
    hubspot.fault("answer", json=body, match={"path_contains": "account-info"})
    value = json.loads(cli("status", "-o", "json").out)
    assert (value["portal"], value["time_zone"], value["burst"]) == (48120091, "Europe/Berlin", 190)
    assert value["daily"] - 3 <= value["daily_remaining"] < value["daily"]
    assert "the day" in cli("status").out


def test_watching_looks_again_until_ctrl_c_which_is_no_error(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    ended = cli("status", "--watch", "--every", 7, "-o", "json")
    assert (ended.code, slept) == (0, [7, 7])
    first, second = map(json.loads, ended.out.splitlines())
    assert second["daily_remaining"] < first["daily_remaining"]


def test_a_report_shows_its_plan_its_target_and_its_audit_trail(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**reports.PLANNED, "dead_letters": None, "target": "table consent.statuses"}))
    said = cli("report", str(tmp_path)).out
    for line in (
        "to change\t1012",
        "as wanted\t98904",
        "Opt out of everything\t203\t190",
        "Rows in the source\t100000\t154770",
        "Monthly newsletter 348211907\tSUBSCRIBED\tUNSUBSCRIBED\t480",
        "max_shrink\ttripped\t35.4 %\tlimit 20 %\t\tSee whether",
        f"checksum\t{reports.PLAN['checksum']}",
        f"audit\t{reports.PLANNED['audit']}",
        f"audit_head\t{reports.PLANNED['audit_head']}",
        "target\ttable consent.statuses",
    ):
        assert f"\n{line}" in said
    assert "approved by" not in said
    assert "1,012 of 100,000 would change" in cli("report", str(tmp_path)).err
    path.write_text(json.dumps({**reports.COMPLETE, "dead_letters": None}))
    assert [
        word
        for word in ("to change", "audit", "target", "limit", "from")
        if word in cli("report", str(path)).out
    ] == []
    path.write_text(json.dumps({**reports.PLANNED, "plan": {"guards": "none"}}))
    assert "no report of a run" in cli("report", str(path)).err


def test_a_status_is_set(cli: Cli, hubspot: Simulator) -> None:
    ended = cli(*SET, "unsubscribed", "--yes", "-o", "json")
    assert ended.code == 0
    assert json.loads(ended.out)["outcome"] == "changed"
    assert hubspot.status_of(JANE, NEWSLETTER) == "UNSUBSCRIBED"
    assert json.loads(cli(*SET, "unsubscribed", "-y", "-o", "json").out)["outcome"] == "unchanged"


def test_without_yes_and_without_a_terminal_nothing_is_written(cli: Cli, hubspot: Simulator) -> None:
    ended = cli(*SET, "unsubscribed")
    assert ended.code == 2
    assert ended.is_one_line()
    assert "--yes" in ended.err
    assert "HUBPREFS_TOKEN" in ended.err
    assert hubspot.requests == []


def test_a_subscriber_who_has_unsubscribed_is_not_resubscribed(cli: Cli, hubspot: Simulator) -> None:
    cli(*SET, "unsubscribed", "--yes")
    ended = cli(*SET, "subscribed", "--yes")
    assert (ended.code, ended.is_one_line()) == (1, True)
    assert hubspot.status_of(JANE, NEWSLETTER) == "UNSUBSCRIBED"
    legal_basis = ("--legal-basis", "CONSENT_WITH_NOTICE", "--legal-basis-explanation", "asked for it")
    assert cli(*SET, "subscribed", "--yes", "--allow-resubscribe", *legal_basis).code == 0
    assert hubspot.status_of(JANE, NEWSLETTER) == "SUBSCRIBED"


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["nonsense"], 2, "invalid choice"),
        (["get"], 2, "required: subscriber"),
        (["get", "jane"], 2, "at sign"),
        (["get", JANE, "bob@example.org"], 2, "b***@e***.org"),
        (["status", "--every", "0"], 2, "--every"),
        (["check", "--token-file", "missing"], 2, "No such file"),
        (["check", "--token-file", "-", "--conn-id", "x"], 2, "expected one of"),
        (["get", "-", "--token-file", "-"], 2, "expected one '-'"),
        (["check", "--host", "https://evil.example"], 2, "host: expected HubSpot's"),
        (["check", "--api-version", "2025-09"], 2, "2025-09"),
        (["definitions", "--brand", "x"], 2, "business_unit_id"),
        (["set", JANE, "--subscription", "1", "--status", "UNSUBSCRIBED", "--yes"], 2, "Monthly newsletter"),
        (["check", "--conn-id", "missing"], 3, "AIRFLOW_CONN_MISSING"),
        (["report", "missing"], 2, "no report"),
        (["report", f"{JANE}.json"], 2, "j***@e***.json"),
        (["simulate", "--portal", "missing.json"], 2, "missing.json"),
    ],
    ids=lambda value: "-".join(map(str, value))[:60] if isinstance(value, list) else "",
)
def test_wrong_use_is_said_in_one_line_without_an_address(
    cli: Cli, argv: list[Any], code: int, says: str
) -> None:
    ended = cli(*argv)
    assert ended.code == code
    assert says in ended.err
    assert ended.err.count("\n") == 1
    assert JANE not in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"status": 503}, 4),
        ({"status": 401}, 3),
        ({"status": 403, "category": "MISSING_SCOPES"}, 3),
        ({"status": 400, "category": "VALIDATION_ERROR"}, 1),
    ],
    ids=["server", "credentials", "scopes", "refused"],
)
def test_the_exit_code_says_whose_turn_it_is(
    cli: Cli, hubspot: Simulator, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], code: int
) -> None:
    from airflow_provider_hubprefs.hubspot.transport.settings import Settings

    quick = Settings(retry_total=0)
    monkeypatch.setattr("airflow_provider_hubprefs.hubspot.transport.settings.settings_from", lambda _: quick)
    hubspot.fault("status", **fault, times=None)
    ended = cli("get", JANE)
    assert (ended.code, ended.is_one_line()) == (code, True)
    assert JANE not in ended.err
    assert ("with HUBPREFS_TOKEN: " in ended.err) == (code == 3)


def test_a_mistake_of_the_program_is_no_mistake_of_the_user(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "airflow_provider_hubprefs.cli.preferences.show", lambda *_: json.loads("{}")["missing"]
    )
    with pytest.raises(KeyError):
        cli("definitions")


def test_ctrl_c_ends_any_command_without_a_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def show(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("airflow_provider_hubprefs.cli.preferences.show", show)
    ended = cli("definitions")
    assert (ended.code, ended.is_one_line()) == (130, True)


def test_a_command_leaves_the_log_as_it_was(cli: Cli) -> None:
    logger = logging.getLogger("airflow_provider_hubprefs")
    before = (logger.level, [*logger.handlers])
    cli("definitions", "--verbose")
    assert (logger.level, logger.handlers) == before


def test_credentials_are_taken_from_a_flag_then_the_environment_then_the_default_connection(
    cli: Cli, hubspot: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hubprefs_default: str
) -> None:
    (tmp_path / "token").write_text(f"{hubspot.token}\n")

    def used(*argv: object, stdin: str = "") -> str:
        return str(json.loads(cli("check", "-o", "json", *argv, stdin=stdin).out)["credentials"])

    assert used("--conn-id", "hubprefs_default") == "the connection 'hubprefs_default'"
    assert used() == "HUBPREFS_TOKEN"
    monkeypatch.setenv("HUBPREFS_TOKEN", "pat-wrong")
    assert used("--token-file", "token") == "the token of --token-file"
    assert used("--token-file", "-", stdin=hubspot.token) == "the token of --token-file"
    assert cli("check").code == 3
    monkeypatch.delenv("HUBPREFS_TOKEN")
    assert used() == "the connection 'hubprefs_default'"
    assert cli("check", "--host", hubspot.url).code == 2
    monkeypatch.delenv("AIRFLOW_CONN_HUBPREFS_DEFAULT")
    ended = cli("check")
    assert (ended.code, ended.is_one_line()) == (3, True)
    for place in (
        "--token-file",
        "--conn-id",
        "HUBPREFS_TOKEN",
        "AIRFLOW_CONN_HUBPREFS_DEFAULT",
        "airflow hubprefs",
    ):
        assert place in ended.err


def test_a_token_never_goes_into_an_argument(cli: Cli) -> None:
    ended = cli("check", "--help")
    assert "--token " not in ended.out
    for code in ("0 done", "1 rows", "2 wrong", "3 no", "4 HubSpot", "130 Ctrl-C"):
        assert code in " ".join(ended.out.split())
    assert "history" in cli("get", "--help").out


def test_what_hubspot_says_cannot_control_the_terminal(cli: Cli, hubspot: Simulator) -> None:
    rude = {"id": "1", "name": "a\x1b[31mb\tc[red]", "isActive": True}
    answer = {"kind": "answer", "json": {"status": "COMPLETE", "results": [rude]}}
    hubspot.fault(**answer, times=2, match={"endpoint": "definitions"})  # type: ignore[arg-type]
    assert "1\ta [31mb c[red]\t\tyes\t" in cli("definitions").out
    assert "a [31mb c[red]" in cli("definitions", "-o", "table").out


def test_yaml_without_pyyaml_names_json(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "yaml", None)
    ended = cli("definitions", "-o", "yaml")
    assert (ended.code, ended.is_one_line()) == (2, True)
    assert "--output json" in ended.err


def test_airflow_runs_the_same_commands_with_the_same_exit_codes(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from argparse import ArgumentParser

    from airflow_provider_hubprefs.cli.definition import get_cli_commands

    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    (group,) = get_cli_commands()
    codes = {}
    for command in group.subcommands:
        if command.name in {"get", "definitions"}:
            parser = ArgumentParser()
            for argument in command.args:
                argument.add_to_parser(parser)
            with pytest.raises(SystemExit) as ended:
                command.func(parser.parse_args(["jane"] if command.name == "get" else []))
            codes[command.name] = ended.value.code
    assert codes == {"definitions": 0, "get": 2}
    assert "Monthly newsletter" in capsys.readouterr().out
