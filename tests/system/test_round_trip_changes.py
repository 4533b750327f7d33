"""Whatever changes in a table and in HubSpot between two runs: after the next one both are as the rules say."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.simulator import Simulator
from tests.helpers import LONG, outcomes
from tests.postgres import Postgres
from tests.system.consents import BASES, EVERYTHING, IN, NEITHER, OUT, PORTAL, WRITINGS, Consent, fill, sent
from tests.system.test_round_trip import Task

Context = Any
ROWS = CHANGES = 1000 if LONG else 300
AGO = 100_000.0
"""Seconds: what changes in the test changes so long ago, one change a second, and so nothing of it is in the future."""

State = dict[tuple[str, int], tuple[str, datetime | None]]
"""By subscriber and subscription: a status, and since when HubSpot has it."""


class World:
    """A table and a HubSpot, which people change.

    :param chance: decides what they do.
    """

    def __init__(self, hubspot: Simulator, chance: random.Random) -> None:
        self.hubspot, self.chance = hubspot, chance
        self.ids = hubspot.subscription_ids
        self.rows: dict[tuple[str, str], Consent] = {}
        while len(self.rows) < ROWS:
            email = f"person-{len(self.rows)}@example.com"
            for one in chance.sample(self.ids, chance.choice([1, 2])):
                self._want(email, str(one))
        self.people = sorted({email for email, _ in self.rows})

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.hubspot.state.clock.now_ms() / 1000, UTC)

    def _want(self, email: str, subscription: str) -> None:
        """A row, with or without a legal basis and a time; times of some rows are those of an older change."""
        status = OUT if subscription == EVERYTHING else self.chance.choice([IN, IN, OUT, OUT, NEITHER])
        since = self.chance.choice([None, self.now, self.now, self.now - timedelta(seconds=300)])
        basis = self.chance.choice([None, *BASES]) if status == IN else None
        self.rows[email, subscription] = Consent(email, subscription, status, basis, None, since)

    def change(self) -> None:
        """One change on one of the two sides."""
        self.hubspot.advance(1)
        email, portal = self.chance.choice(self.people), self.hubspot.portal
        what = self.chance.random()
        if what < 0.45:
            self._want(*self.chance.choice([*self.rows]))
        elif what < 0.5:  # from single subscriptions to everything, or back
            mine = [key for key in self.rows if key[0] == email]
            was_wide = (email, EVERYTHING) in mine
            for key in mine:
                del self.rows[key]
            self._want(email, str(self.chance.choice(self.ids)) if was_wide else EVERYTHING)
        elif what < 0.95:
            number = self.chance.choice(self.ids)
            portal.set_status(email, portal.definitions[number], self.chance.choice([IN, OUT]))
        else:
            self.hubspot.opt_out(email)

    def state(self) -> State:
        found: State = {}
        for email in self.people:
            for number in self.ids:
                change = self.hubspot.portal.current(email, self.hubspot.portal.definitions[number])
                at = change and datetime.fromtimestamp(change.at / 1000, UTC)
                found[email, number] = (change.status if change else NEITHER, at)
        return found

    def opted_out(self) -> set[str]:
        return {email for email in self.people if self.hubspot.is_opted_out(email)}


def expected(row: Consent, had: str, had_since: datetime | None, *, allow: bool, keep: bool) -> str:
    """The rules: which status HubSpot has of a subscription when a row has met it."""
    if had == OUT and not (allow and row.status == IN and row.basis):
        return OUT  # an opt-out in HubSpot wins always, unless resubscribing is allowed and has a legal basis
    if keep and had_since is not None and row.since is not None and had_since > row.since:
        return had  # where both sides carry a time the newer wins
    if row.status == IN and not row.basis:
        return had  # a legal basis for every subscribe
    if row.status == NEITHER:
        return had  # nobody can take back what a person has said
    return row.status


@pytest.fixture(scope="module")
def quick() -> Iterator[Simulator]:
    """A HubSpot that is not reset between examples."""
    with Simulator(portal=PORTAL) as server:
        yield server


@pytest.mark.timeout(900)
@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate] if LONG else [Phase.explicit],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), allow=st.booleans(), keep=st.booleans())
@example(seed=0, allow=False, keep=True)
@example(seed=1, allow=True, keep=True)
@example(seed=2, allow=True, keep=False)
def test_changes_on_both_sides_converge(
    quick: Simulator,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    context: Context,
    *,
    seed: int,
    allow: bool,
    keep: bool,
) -> None:
    hubspot = quick
    connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token}
    connection["extra"] = '{"budget_store": "process"}'
    monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps(connection))
    database = postgres.new_database()
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", database.uri)
    task = Task(context, tmp_path_factory.mktemp("runs"))
    rules: dict[str, Any] = {
        "allow_resubscribe": allow,
        "on_newer_in_hubspot": "keep" if keep else "overwrite",
        "legal_basis": None,
        "report_only": ["legal_basis"],
        "on_rejected": "report",
    }
    hubspot.reset()
    hubspot.advance(-AGO)
    world = World(hubspot, random.Random(seed))
    fill(database.run, world.rows.values())
    task.reconcile(**rules)
    for _ in range(CHANGES):
        world.change()
    fill(database.run, world.rows.values())
    before, out = world.state(), world.opted_out()
    wanted = {key: status for key, (status, _) in before.items()}
    for (email, subscription), row in world.rows.items():
        if subscription != EVERYTHING:
            key = email, int(subscription)
            wanted[key] = expected(row, *before[key], allow=allow, keep=keep)
        elif email not in out:  # or else it is as wanted, whatever was subscribed again since
            out.add(email)
            wanted |= {(email, number): OUT for number in world.ids}

    result = task.reconcile(**rules)
    assert result["read"] == len(world.rows) == sum(outcomes(result).values())
    found = {key: status for key, (status, _) in world.state().items()}
    wrong = [
        (key, world.rows.get((key[0], str(key[1]))), before[key], found[key])
        for key in wanted
        if found[key] != wanted[key]
    ]
    assert not wrong, f"{len(wrong)} are wrong, such as {wrong[:3]}"
    assert world.opted_out() == out

    task.export()
    exported = database.run("SELECT subscriber, subscription_id, status, opted_out FROM exported")
    assert {(one, number): status for one, number, status, _ in exported} == wanted
    assert {one for one, _, _, opted_out in exported if opted_out} == out
    sent_before = sent(hubspot, WRITINGS)
    again = task.reconcile(**rules)
    assert (again["changes"], sent(hubspot, WRITINGS)) == (0, sent_before)
    postgres.drop(database)
