"""Who sees what: every route asks for a logged-in user with the rights for the DAG in its path."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hubprefs.ui.app import build_app
from tests.ui.conftest import KEY, PAGE

ROUTES = [str(getattr(route, "path", "")) for route in build_app().routes]
EXPECTED = {
    None: 401,
    "nobody": 403,
    "other-dag": 403,
    "no-logs": 200,
    "no-xcoms": 403,
    "viewer": 200,
    "admin": 200,
}


def address(route: str) -> str:
    return "/hubprefs" + route.format(
        **{**KEY, "run_id": KEY["run_id"].replace("+", "%2B"), "map_index": "{MAP_INDEX}"}
    )


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.rpartition("/")[2])
def test_each_user_gets_what_is_theirs(client: Any, route: str) -> None:
    for user, usually in EXPECTED.items():
        expected = usually
        if user in {"other-dag", "no-xcoms"} and "{dag_id}" not in route:
            expected = 200  # a list, of other DAGs
        if user == "no-logs" and route.endswith("/download"):
            expected = 403
        for more in ("", "?dag_id=other"):
            reply = client(user).get(address(route) + more)
            assert reply.status_code == expected, (user, more)
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            assert reply.headers["Cache-Control"] == "no-store"
            assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
            if expected != 200 or user in {"other-dag", "no-xcoms"}:
                for secret in ("7,891", "7891", KEY["task_id"], "secret.person"):
                    assert secret not in reply.text, (user, more)


def test_there_are_as_many_routes_as_are_known_here() -> None:
    names = ["page", "fragment", "report.html", "report.json", "download"]
    assert [route.rpartition("/")[2] for route in ROUTES] == [*names, "recent"]


def test_the_list_has_only_runs_of_dags_that_the_user_may_read(client: Any, run: Any, record: Any) -> None:
    record(dag_id="other", known={"state": "complete", "read": 5, "changed": 5})
    both, one = (client(user).get("/hubprefs/recent").text for user in ("viewer", "other-dag"))
    assert "mine · opt_out" in both
    assert "other · opt_out" in both
    assert "mine" not in one
    assert "other · opt_out" in one


def test_a_dag_without_its_xcoms_hides_no_run_of_another(
    client: Any, record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_hubprefs.ui.runs.MOST", 3)
    record(dag_id="other", known={"state": "complete"})
    for number in range(4):  # newer ones
        record(run_id=f"run_{number}", known={"state": "complete"})
    assert "other · opt_out" in client("no-xcoms").get("/hubprefs/recent").text


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    "path",
    [
        "dags/other%2F..%2Fmine", "dags/other/../mine", "dags/other/%2e%2e/mine", "dags/other%252F..%252Fmine",
        "dags/%2e/mine", "dags//mine", "dags/mine%00", "dags/~", "dags/mine%0a", "dags/Mine", "dags/m%C4%B1ne",
        "dags/%6dine",
    ],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("name", ["page", "download"])
def test_no_spelling_of_a_path_leads_to_a_dag_of_others(client: Any, path: str, name: str) -> None:
    rest = PAGE.partition("/mine")[2]
    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        reply = client("other-dag").request(method, f"/hubprefs/{path}{rest}{name}")
        for secret in ("7,891", "secret.person", "hubprefs_default"):
            assert secret not in reply.text
        assert "access-control-allow-origin" not in reply.headers


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    "index", ["-1", "{MAP_INDEX}", "0", "007", "-2", "9" * 30, "%D9%A1", "1e3", "%20"], ids=ascii
)
def test_a_map_index_may_be_anything(client: Any, index: str) -> None:
    reply = client("viewer").get(PAGE.replace("{MAP_INDEX}", index) + "page")
    assert reply.status_code == 200


def test_another_task_of_the_same_author_leads_to_no_run_of_anothers_dag(
    client: Any, run: Any, record: Any
) -> None:
    record(dag_id="other", known={"folder": str(run), "state": "complete"})
    page = client("other-dag").get(PAGE.replace("mine", "other") + "page")
    assert page.status_code == 200
    assert "and nothing else" in page.text
    assert "7,891" not in page.text
    assert client("other-dag").get(PAGE.replace("mine", "other") + "download").status_code == 404


def test_a_token_of_nobody_is_refused(client: Any, run: Any) -> None:
    browser = client()
    browser.cookies.set("_token", "e30.e30.e30")
    assert browser.get(PAGE + "page").status_code in {401, 403}
