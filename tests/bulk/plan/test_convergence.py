"""For any wanted rows and any state of HubSpot: a plan that is applied leaves what the rules say, and nothing to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pendulum
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.plan.actions import LEGAL_BASIS_MISSING, Rules
from airflow_provider_hubprefs.bulk.report.outcome import HUBSPOT_WINS
from airflow_provider_hubprefs.simulator import Simulator
from tests.helpers import LONG, OUTCOMES

from .conftest import Planner
from .test_run import BASIS, IN, NEITHER, OUT, item

PORTAL = {"limits": {"burst": 1_000_000}}
TABLES = 20
"""Tables that are planned in one run, each with subscribers of its own."""

ROW = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from([IN, OUT, OUT, NEITHER]),
    st.sampled_from([0, 1, "everything"]),
    st.sampled_from([None, BASIS]),
    st.sampled_from([None, -60, 0, 60]),
)
STATE = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.just({"opted_out": True})
    | st.dictionaries(st.sampled_from([0, 1]), st.sampled_from([IN, OUT]), max_size=2),
)
RULES = st.builds(
    lambda allow, newer: Rules(
        allow_resubscribe=allow,
        on_newer_in_hubspot=newer,
        max_resubscribes=1000,
        report_only=frozenset({"legal_basis"}),
    ),
    st.booleans(),
    st.sampled_from(["keep", "overwrite"]),
)


def decidable(rows: list[tuple[Any, ...]]) -> bool:
    """Whether an opt-out decides wherever rows contradict each other."""
    wanted: dict[tuple[str, Any], set[str]] = {}
    for name, status, number, *_ in rows:
        wanted.setdefault((name, number), set()).add(status)
    return not any(len(found) > 1 and OUT not in found for key, found in wanted.items())


TABLE = st.tuples(st.lists(ROW, max_size=5).filter(decidable), STATE)


def statuses(hubspot: Simulator, names: set[str]) -> dict[tuple[str, Any], str]:
    """Everything that HubSpot has of these."""
    found: dict[tuple[str, Any], str] = {
        (name, number): hubspot.status_of(name, number)
        for name in names
        for number in hubspot.subscription_ids
    }
    return found | {(name, None): OUT if hubspot.is_opted_out(name) else NEITHER for name in names}


@pytest.fixture(scope="module")
def quick() -> Iterator[Simulator]:
    """A HubSpot that is not reset between examples."""
    with Simulator(portal=PORTAL) as server:
        yield server


@settings(
    max_examples=1000 // TABLES if LONG else 200 // TABLES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(tables=st.lists(TABLE, min_size=TABLES, max_size=TABLES), rules=RULES)
def test_it_converges_and_resubscribes_only_with_permission(
    quick: Simulator, quick_planner: Planner, tables: list[Any], rules: Rules
) -> None:
    hubspot, planner, ids = quick, quick_planner, quick.subscription_ids
    known, source, names = {}, [], set()
    now = pendulum.now("UTC")
    for at, (rows, state) in enumerate(tables):
        for name, one in state.items():
            known[f"{name}{at}@x.test"] = (
                one
                if "opted_out" in one
                else {"statuses": {str(ids[number]): status for number, status in one.items()}}
            )
        for name, status, number, basis, seconds in rows:
            which = number if number == "everything" else ids[number]
            since = None if seconds is None else now.add(seconds=seconds)
            source.append(item(f"{name}{at}@x.test", status, which, basis=basis, since=since))
        names |= {f"{name}{at}@x.test" for name in "ab"}
    hubspot.load({**PORTAL, "subscribers": known})
    before = statuses(hubspot, names)
    made = planner.plan(source, rules=rules, on_conflict="opt_out_wins")
    assert made.summary["read"] == len(source) == sum(made.summary[name] for name in OUTCOMES)
    assert statuses(hubspot, names) == before
    done = planner.apply(made)
    assert done.summary["rejected"] == done.summary["unconfirmed"] == 0

    planned = {
        (one["subscriber"], one["subscription_id"]): one for one in made.lines if one["action"] != "refused"
    }
    for (name, number), status in statuses(hubspot, names).items():
        line, was = planned.get((name, number)), before[name, number]
        if line is not None:
            assert status == line["status"]
        elif (name, None) in planned:
            assert status == OUT
        else:
            assert status == was
        if status == IN != was:
            assert line is not None
            assert line["legal_basis"]
            assert rules.allow_resubscribe or was != OUT
    again = planner.plan(source, rules=rules, on_conflict="opt_out_wins")
    assert again.summary["changed"] == 0
    assert {one["guard"] for one in again.lines} <= {
        *HUBSPOT_WINS,
        LEGAL_BASIS_MISSING,
        "INVALID_STATUS",
        "CONTRADICTED_BY_INVALID_ROW",
    }


@pytest.fixture
def quick_planner(quick: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planner]:
    from airflow_provider_hubprefs.hubspot.pacing.pacers import ProcessPacer
    from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
    from airflow_provider_hubprefs.hubspot.transport.client import Client
    from tests.bulk.conftest import SHORT_RETRIES

    client = Client(
        StaticToken(quick.token),
        version="2026-09",
        host=quick.url,
        settings=SHORT_RETRIES,
        pacer=ProcessPacer(),
    )
    yield Planner(lambda **_: client, lambda: tmp_path_factory.mktemp("run"))
    client.close()
