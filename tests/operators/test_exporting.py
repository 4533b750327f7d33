"""What HubSpot has, in files and tables: statuses, opt-outs, definitions, links."""

from __future__ import annotations

import csv
import json
import logging
import stat
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.operators.export import (
    HubPrefsExportDefinitionsOperator,
    HubPrefsExportOptOutsOperator,
    HubPrefsExportStatusesOperator,
    HubPrefsGenerateLinksOperator,
)
from airflow_provider_hubprefs.simulator import Simulator
from tests.helpers import Store, outcomes, people, reported, writes
from tests.warehouses import Warehouse

pytestmark = pytest.mark.usefixtures("hubprefs_default")
Context = Any

JANE, BOB, ZOE = "jane@example.com", "bob@example.com", "+zoe@münchen.example"


@pytest.fixture
def newsletter(hubspot: Simulator) -> int:
    """A portal where Jane has subscribed, and Bob has opted out of everything."""
    one, two, *_ = hubspot.subscription_ids
    hubspot.load(
        {
            "limits": {"burst": 10_000, "search": 100},
            "subscribers": {
                JANE: {"statuses": {one: "SUBSCRIBED", two: "UNSUBSCRIBED"}},
                BOB: {"opted_out": True},
            },
        }
    )
    return one


def export(context: Context, folder: Path, **arguments: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"subscribers": [JANE, BOB, ZOE], "output": str(folder / "out"), **arguments}
    return HubPrefsExportStatusesOperator(task_id="export", **given).execute(context)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_status_of_each_subscriber_is_a_row(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path
) -> None:
    result = export(context, tmp_path, target=str(tmp_path / "statuses.jsonl"))
    ids = hubspot.subscription_ids
    found = lines_of(tmp_path / "statuses.jsonl")
    expected = [
        (address, number, hubspot.status_of(address, number))
        for address in (JANE, BOB, "+zoe@xn--mnchen-3ya.example")
        for number in ids
    ]
    assert [(one["subscriber"], one["subscription_id"], one["status"]) for one in found] == expected
    assert list(found[0]) == [
        *("subscriber", "subscription_id", "subscription_name", "status", "legal_basis"),
        *("legal_basis_explanation", "source", "updated_at"),
    ]
    assert outcomes(result) == {"unchanged": 3}
    assert (result["target"], result["rows"]) == (str(tmp_path / "statuses.jsonl"), 3 * len(ids))
    assert reported(result)["rows"] == 3 * len(ids)
    assert len(hubspot.requests) <= 3, "one read, and who the portal is"
    assert writes(hubspot) == 0


def test_wide_each_subscriber_is_a_row(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path
) -> None:
    export(context, tmp_path, target=str(tmp_path / "statuses.csv"), shape="wide")
    rows = list(csv.reader((tmp_path / "statuses.csv").open()))
    ids = sorted(hubspot.subscription_ids)
    assert rows[0] == ["subscriber", *(f"subscription_{number}" for number in ids)]
    assert rows[1] == [JANE, *(hubspot.status_of(JANE, number) for number in ids)]
    assert rows[2] == [BOB, *("UNSUBSCRIBED" for _ in ids)]
    assert [row[0] for row in rows[3:]] == ["'+zoe@xn--mnchen-3ya.example"]


@pytest.mark.parametrize("given", [list, tuple, dict], ids=["list", "tuple", "mapping"])
def test_only_some_subscriptions_are_written(
    newsletter: int, context: Context, tmp_path: Path, given: Any
) -> None:
    chosen = {str(newsletter): "newsletter"} if given is dict else given([newsletter])
    export(context, tmp_path, target=str(tmp_path / "long.jsonl"), subscriptions=chosen)
    assert {one["subscription_id"] for one in lines_of(tmp_path / "long.jsonl")} == {newsletter}
    wide = tmp_path / "wide.jsonl"
    export(context, tmp_path, target=str(wide), subscriptions=chosen, shape="wide", columns=None)
    column = "newsletter" if given is dict else f"subscription_{newsletter}"
    assert lines_of(wide)[0] == {"subscriber": JANE, column: "SUBSCRIBED"}


@pytest.mark.parametrize("shape", ["long", "wide"])
def test_opt_outs_from_everything_take_one_request_more_for_each_batch(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path, shape: str
) -> None:
    rows = [*people(25), BOB]
    target = tmp_path / "statuses.jsonl"
    before = len(hubspot.requests)
    some = {"subscribers": rows, "batch_size": 10, "subscriptions": [newsletter], "shape": shape}
    result = export(context, tmp_path, target=str(target), opt_outs=True, **some)
    asked = [one.path for one in hubspot.requests[before:] if "/batch/" in one.path]
    assert len(asked) == 6
    found = {one["subscriber"]: one["opted_out"] for one in lines_of(target)}
    assert found == {**dict.fromkeys(people(25), False), BOB: True}
    assert outcomes(result) == {"unchanged": 26}
    assert writes(hubspot) == 0


def test_a_token_without_batch_scopes_takes_one_request_for_each_subscriber(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.tokens["starter"]}
    monkeypatch.setenv(
        "AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps({**connection, "extra": '{"budget_store": "process"}'})
    )
    target = tmp_path / "statuses.jsonl"
    export(context, tmp_path, target=str(target), opt_outs=True, subscriptions=[newsletter])
    assert [(one["status"], one["opted_out"]) for one in lines_of(target)] == [
        ("SUBSCRIBED", False),
        ("UNSUBSCRIBED", True),
        ("NOT_SPECIFIED", False),
    ]


def test_rows_that_cannot_be_read_are_accounted_for_and_the_others_are_there(
    newsletter: int, context: Context, tmp_path: Path
) -> None:
    target = tmp_path / "statuses.jsonl"
    given = {
        "subscribers": [JANE, "none", JANE.upper()],
        "target": str(target),
        "subscriptions": [newsletter],
    }
    with pytest.raises(HubPrefsFailException, match="of 3 rows, 1 invalid"):
        export(context, tmp_path, **given)
    assert [one["subscriber"] for one in lines_of(target)] == [JANE]
    result = export(context, tmp_path, on_rejected="report", **given)
    assert outcomes(result) == {"unchanged": 1, "invalid": 1, "duplicate": 1}
    assert result["rows"] == 1


def test_a_row_that_hubspot_does_not_show_fails_the_task_and_a_retry_asks_about_it_alone(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path
) -> None:
    hubspot.load({"limits": {"burst": 10_000}, "missing": {"addresses": [BOB]}})
    target = tmp_path / "statuses.jsonl"
    given = {"target": str(target), "subscriptions": [newsletter], "subscribers": [*people(5), BOB]}
    with pytest.raises(HubPrefsException, match="of 6 rows, 1 unconfirmed"):
        export(context, tmp_path, **given)
    assert [one["subscriber"] for one in lines_of(target)] == people(5)
    hubspot.load({"limits": {"burst": 10_000}})
    begin = len(hubspot.requests)
    result = export(context, tmp_path, **given)
    assert [one["subscriber"] for one in lines_of(target)] == [*people(5), BOB]
    assert outcomes(result) == {"unchanged": 6}
    assert [one.json()["inputs"] for one in hubspot.requests[begin:] if "/batch/" in one.path] == [[BOB]]


@pytest.mark.parametrize("any_warehouse", ["sqlite"], indirect=True)
def test_a_table_loses_no_row_of_a_subscriber_whom_hubspot_does_not_show(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path, any_warehouse: Warehouse
) -> None:
    given: dict[str, Any] = {"table": "consent", "target_conn_id": "warehouse", "create_table": True}
    given |= {"subscriptions": [newsletter], "on_missing": "delete"}
    export(context, tmp_path, **given, subscribers=[JANE, BOB, *people(2)])
    hubspot.load({"limits": {"burst": 10_000}, "missing": {"addresses": [BOB]}})
    with pytest.raises(HubPrefsException, match="1 unconfirmed"):
        export(context, tmp_path, **given, subscribers=[JANE, BOB], resume=False)
    assert [one[0] for one in any_warehouse.texts("SELECT subscriber FROM consent")] == [
        BOB,
        JANE,
        *people(2),
    ]
    export(context, tmp_path, **given, subscribers=[JANE], resume=False)
    assert any_warehouse.texts("SELECT subscriber, status FROM consent") == [(JANE, "NOT_SPECIFIED")]


def test_the_target_stays_as_it_was_where_a_try_ends_early_and_a_retry_reads_the_rest(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path
) -> None:
    target = tmp_path / "statuses.jsonl"
    target.write_text("of yesterday\n")
    given: dict[str, Any] = {"target": str(target), "subscriptions": [newsletter], "subscribers": people(40)}
    hubspot.fault("daily", match={"body_contains": "person-25@"}, times=1)
    with pytest.raises(HubPrefsException, match="day"):
        export(context, tmp_path, batch_size=10, **given)
    assert target.read_text() == "of yesterday\n"
    begin = len(hubspot.requests)
    export(context, tmp_path, batch_size=10, **given)
    assert [one["subscriber"] for one in lines_of(target)] == people(40)
    asked = [one.json()["inputs"] for one in hubspot.requests[begin:] if "/batch/" in one.path]
    assert people(10) not in asked


def test_no_rows_are_an_empty_target(newsletter: int, context: Context, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("email\n")
    target = tmp_path / "statuses.csv"
    result = export(
        context, tmp_path, subscribers=None, source=str(tmp_path / "people.csv"), target=str(target)
    )
    assert (result["read"], result["rows"]) == (0, 0)
    assert target.read_text().startswith("subscriber,subscription_id")


def test_a_table_is_the_same_after_the_task_has_run_again(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path, any_warehouse: Warehouse
) -> None:
    given: dict[str, Any] = {
        "table": "consent",
        "target_conn_id": "warehouse",
        "create_table": True,
        "subscribers": [*people(120), JANE, BOB],
        "columns": {
            "subscriber": "email",
            "subscription_id": "list",
            "status": "status",
            "updated_at": "since",
        },
    }
    query = "SELECT email, list, status FROM consent"
    expected = sorted(
        (address, str(number), hubspot.status_of(address, number))
        for address in given["subscribers"]
        for number in hubspot.subscription_ids
    )
    for _ in range(2):
        result = export(context, tmp_path, **given)
        assert any_warehouse.texts(query) == expected
        assert (result["target"], result["rows"]) == ("consent", len(expected))
    times = any_warehouse.texts("SELECT since FROM consent WHERE since IS NOT NULL")
    assert {str(one[0])[:2] for one in times} <= {"20"}


@pytest.mark.parametrize("any_warehouse", ["sqlite"], indirect=True)
def test_a_table_that_cannot_be_written_is_found_before_the_first_request(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path, any_warehouse: Warehouse
) -> None:
    begin = len(hubspot.requests)
    with pytest.raises(HubPrefsException, match="Expected a table consent that this connection may write"):
        export(context, tmp_path, table="consent", target_conn_id="warehouse")
    assert not [one for one in hubspot.requests[begin:] if "/read" in one.path]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "expected either target or table, got neither"),
        (
            {"target": "a.csv", "table": "t", "target_conn_id": "c"},
            "expected either target or table, got both",
        ),
        ({"table": "t"}, "expected table and target_conn_id together, got one"),
        (
            {"table": "t", "target_conn_id": "hubprefs_default"},
            "target_conn_id: expected a connection to a database, got connection 'hubprefs_default'",
        ),
        ({"target": "a.csv", "output": None}, "output: expected a folder, got none"),
        ({"target": "a.csv", "subscriptions": ["x"]}, "subscriptions: expected a whole number"),
        ({"target": "a.csv", "shape": "square"}, "shape: expected 'long' or 'wide'"),
        (
            {"target": "{folder}/out/a.csv", "source": "{folder}/out/", "subscribers": None},
            "target: expected another",
        ),
        (
            {"target": "{folder}/in/a.csv", "source": "{folder}/in/*.csv", "subscribers": None},
            "target: expected anot",
        ),
        (
            {"target": "{folder}/out/dag/run/export/report.json", "format": "jsonl"},
            "target: expected another place",
        ),
    ],
    ids=[
        *("neither", "both", "no connection", "no database", "no folder", "no id", "no shape"),
        *("in the source", "in the glob", "the report"),
    ],
)
def test_arguments_that_cannot_work_are_refused_before_a_request(
    hubspot: Simulator, context: Context, tmp_path: Path, arguments: dict[str, Any], text: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/people.csv").write_text(f"email\n{JANE}\n")
    given = {
        name: value.replace("{folder}", str(tmp_path)) if isinstance(value, str) else value
        for name, value in arguments.items()
    }
    if given.get("source", "").endswith("out/"):
        given["source"] = str(tmp_path)
        given["output"] = "/tmp/elsewhere-that-is-not-made"
    with pytest.raises(HubPrefsFailException, match=f"^{text}"):
        export(context, tmp_path, **given)
    assert not [one for one in hubspot.requests if "/read" in one.path]


@pytest.mark.parametrize("any_warehouse", ["postgres", "sqlite"], indirect=True)
def test_no_address_is_in_results_and_logs(
    newsletter: int,
    context: Context,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    any_warehouse: Warehouse,
) -> None:
    caplog.set_level(logging.DEBUG)
    any_warehouse.run("CREATE TABLE consent (subscriber BIGINT, subscription_id BIGINT, status TEXT)")
    columns = ["subscriber", "subscription_id", "status"]
    given = {"table": "consent", "target_conn_id": "warehouse", "columns": columns, "on_missing": "delete"}
    try:
        shown = json.dumps(export(context, tmp_path, **given))
    except HubPrefsException as error:
        shown = str(error)
        assert any_warehouse.kind != "sqlite"
    assert "jane" not in (shown + caplog.text + json.dumps(context["ti"].pushed)).lower()


# -- opt-outs ---------------------------------------------------------------------------------------------------


def opt_outs(context: Context, folder: Path, **arguments: Any) -> dict[str, Any]:
    given = {"output": str(folder / "out"), "target": str(folder / "opt-outs.jsonl"), **arguments}
    return HubPrefsExportOptOutsOperator(task_id="opt_outs", **given).execute(context)


def test_all_opted_out_contacts_are_rows(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path
) -> None:
    hubspot.opt_out(*people(3))
    for _ in range(2):
        assert opt_outs(context, tmp_path)["rows"] == 4
        found = lines_of(tmp_path / "opt-outs.jsonl")
        assert {one["subscriber"] for one in found} == {BOB, *people(3)}
        assert [one["opted_out_at"] for one in found] == sorted(one["opted_out_at"] for one in found)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["folder", "asset"])
def test_new_are_those_since_the_last_run_of_this_task(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path, place: str
) -> None:
    store, more = Store(), {}
    if place == "asset":
        from airflow_provider_hubprefs.compat import Asset

        more = {"outlets": [Asset("hubspot_opt_outs")], "output": None}
        context["asset_state_store"] = store
    expected: list[set[str]] = [{BOB}, set(people(3)), set(), set(people(2, start=3))]
    for number, new in enumerate(expected):
        hubspot.opt_out(*(new - {BOB}))
        context["ti"].run_id = f"run-{number}"
        result = opt_outs(context, tmp_path, mode="new", **more)
        found = [one["subscriber"] for one in lines_of(tmp_path / "opt-outs.jsonl")]
        assert (set(found), result["rows"]) == (new, len(new))
        hubspot.advance(3)
    assert bool(store) is (place == "asset")
    assert (tmp_path / "out/dag/%cursors/opt_outs").exists() is (place == "folder")
    assert "example.com" not in "".join(
        path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file()
    )


def test_each_task_has_a_cursor_of_its_own(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path
) -> None:
    for index in (-1, 0, 1):
        context["ti"].map_index = index
        assert opt_outs(context, tmp_path, mode="new")["rows"] == 1
        assert opt_outs(context, tmp_path, mode="new")["rows"] == 0


@pytest.mark.parametrize("any_warehouse", ["sqlite"], indirect=True)
def test_another_table_gets_all_opt_outs(
    newsletter: int,
    context: Context,
    tmp_path: Path,
    any_warehouse: Warehouse,
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = {"mode": "new", "target": None, "target_conn_id": "warehouse", "create_table": True}
    for table, rows in (("one", 1), ("one", 0), ("two", 1)):
        assert opt_outs(context, tmp_path, table=table, **given)["rows"] == rows
        assert [one[:2] for one in any_warehouse.texts(f"SELECT subscriber, app FROM {table}")] == [
            (BOB, None)
        ]
    assert "begins again with all opt-outs" in caplog.text


@pytest.mark.usefixtures("newsletter")
@pytest.mark.parametrize("any_warehouse", ["sqlite"], indirect=True)
def test_a_task_that_is_killed_between_table_and_cursor_leaves_the_same_rows(
    hubspot: Simulator,
    context: Context,
    tmp_path: Path,
    any_warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow_provider_hubprefs.storage import ObjectPlace

    given = {"mode": "new", "target": None, "table": "opted_out", "target_conn_id": "warehouse"}
    opt_outs(context, tmp_path, create_table=True, **given)
    hubspot.opt_out(*people(3))
    with monkeypatch.context() as patched:
        patched.setattr(ObjectPlace, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            opt_outs(context, tmp_path, **given)
    rows = any_warehouse.texts("SELECT contact_id, subscriber, opted_out_at FROM opted_out")
    assert {one[1] for one in rows} == {BOB, *people(3)}
    assert opt_outs(context, tmp_path, **given)["rows"] == 3
    assert any_warehouse.texts("SELECT contact_id, subscriber, opted_out_at FROM opted_out") == rows


@pytest.mark.parametrize("any_warehouse", ["sqlite"], indirect=True)
def test_contacts_that_have_come_back_leave_a_table_that_mirrors_the_portal(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path, any_warehouse: Warehouse
) -> None:
    given = {"target": None, "table": "opted_out", "target_conn_id": "warehouse", "create_table": True}
    for on_missing, expected in (("keep", 1), ("keep", 2), ("delete", 1)):
        opt_outs(context, tmp_path, on_missing=on_missing, **given)
        assert any_warehouse.run("SELECT count(*) FROM opted_out") == [(expected,)]
        hubspot.load({"limits": {"search": 100}, "subscribers": {"other@example.com": {"opted_out": True}}})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"mode": "new", "output": None}, "output: expected a folder for the cursor"),
        ({"mode": "new", "on_missing": "delete"}, "expected on_missing='delete' only with mode='all'"),
        ({"mode": "some"}, "mode: expected 'all' or 'new'"),
    ],
    ids=["no folder", "a part replaces all", "no mode"],
)
def test_arguments_of_opt_outs_that_cannot_work_are_refused(
    context: Context, tmp_path: Path, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(HubPrefsFailException, match=f"^{text}"):
        opt_outs(context, tmp_path, **arguments)


# -- definitions ------------------------------------------------------------------------------------------------


def test_definitions_are_rows_with_their_translations(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path
) -> None:
    target = tmp_path / "definitions.jsonl"
    result = HubPrefsExportDefinitionsOperator(task_id="export", target=str(target)).execute(context)
    found = lines_of(target)
    assert result == {"target": str(target), "rows": len(found)}
    own = {one["subscription_id"]: one for one in found if one["language"] == ""}
    assert set(own) >= set(hubspot.subscription_ids)
    assert own[newsletter]["is_active"] is True
    assert [one for one in found if one["language"]], "the portal has translations"


def test_a_table_of_definitions_is_the_same_after_the_task_has_run_again(
    newsletter: int, context: Context, any_warehouse: Warehouse
) -> None:
    query = "SELECT subscription_id, language, name, is_active, created_at FROM definitions"
    found = []
    for _ in range(2):
        HubPrefsExportDefinitionsOperator(
            task_id="export",
            table="definitions",
            target_conn_id="warehouse",
            create_table=True,
            on_missing="delete",
        ).execute(context)
        found.append(any_warehouse.texts(query))
    assert found[0] == found[1]
    assert len(found[0]) > 3


# -- links ------------------------------------------------------------------------------------------------------


def test_links_are_in_a_private_file_and_nowhere_else(
    hubspot: Simulator, newsletter: int, context: Context, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    target = tmp_path / "links.csv"
    rows = [*people(5), JANE, JANE, "no address", "rejected-1@hubspot-rejects.example"]
    result = HubPrefsGenerateLinksOperator(
        task_id="links",
        subscribers=rows,
        target=str(target),
        subscription_id=newsletter,
        language="de",
        on_rejected="report",
        output=str(tmp_path / "out"),
    ).execute(context)
    found = list(csv.DictReader(target.open()))
    assert [one["subscriber"] for one in found] == [*people(5), JANE]
    links = [one[name] for one in found for name in one if name.endswith("_url")]
    assert len(set(links)) == 18
    assert all(link.startswith("https://") for link in links)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert outcomes(result) == {"unchanged": 6, "rejected": 1, "invalid": 1, "duplicate": 1}
    assert result["rows"] == 6
    assert sum("/links/generate" in one.path for one in hubspot.requests) == 7
    elsewhere = caplog.text + json.dumps([result, context["ti"].pushed])
    elsewhere += "".join(path.read_text() for path in (tmp_path / "out").rglob("*.*"))
    assert not [link for link in links if link in elsewhere]
    assert "https://" not in json.dumps(result)


def test_links_do_not_go_to_a_table() -> None:
    with pytest.raises(Exception, match="table"):
        HubPrefsGenerateLinksOperator(task_id="links", subscribers=[JANE], table="t", target_conn_id="w")
