"""Tables of consents for round trips: what a table wants, what HubSpot has, and when the two are equal."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_hubprefs.bulk.export.fields import in_parts

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator

IN, OUT, NEITHER = "SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"
BASES = (
    *(
        "CONSENT_WITH_NOTICE",
        "LEGITIMATE_INTEREST_CLIENT",
        "LEGITIMATE_INTEREST_OTHER",
        "LEGITIMATE_INTEREST_PQL",
    ),
    *("NON_GDPR", "PERFORMANCE_OF_CONTRACT", "PROCESS_AND_STORE"),
)
EVERYTHING = "everything"
PORTAL: dict[str, Any] = {"limits": {"burst": 10_000}}
CREATE = (
    "CREATE TABLE consent (email TEXT, subscription TEXT, status TEXT, basis TEXT, explanation TEXT, "
    "since TIMESTAMP WITH TIME ZONE, PRIMARY KEY (email, subscription))"
)
QUERY = (
    "SELECT email, subscription, status, basis, explanation, since FROM consent "
    "ORDER BY CASE subscription WHEN 'everything' THEN 0 ELSE 1 END, email, subscription"
)
"""Opt-outs from everything come first: their actual statuses are read by requests of another kind."""
COLUMNS: dict[str, Any] = {
    "subscription_column": "subscription",
    "status_column": "status",
    "legal_basis_column": "basis",
    "legal_basis_explanation_column": "explanation",
    "effective_at_column": "since",
}
READINGS = ("batch_read", "batch_read_unsubscribe_all")
WRITINGS = ("batch_write", "batch_unsubscribe_all", "set_status", "unsubscribe_all")

Run = Callable[..., list[tuple[Any, ...]]]


class Consent(NamedTuple):
    """A row of the table."""

    email: str
    subscription: str
    status: str
    basis: str | None = None
    explanation: str | None = None
    since: datetime | None = None


def fill(run: Run, rows: Iterable[Consent]) -> None:
    """Make the table anew, of any database."""
    run("DROP TABLE IF EXISTS consent")
    run(CREATE)
    for some in in_parts(rows, 1000):
        values = ", ".join(f"({', '.join(map(_literal, row))})" for row in some)
        run(f"INSERT INTO consent VALUES {values}")


def _literal(cell: Any) -> str:
    if cell is None:
        return "NULL"
    text = cell.isoformat(sep=" ") if isinstance(cell, datetime) else str(cell)
    return "'" + text.replace("'", "''") + "'"


@dataclass
class Scene:
    """A table, and what HubSpot has when it is reconciled for the first time."""

    rows: list[Consent]
    subscribers: dict[str, Any]

    @property
    def reads(self) -> int:
        """So many requests read all that the table is about: 100 subscribers each, of each kind."""
        kinds = [
            {one.email for one in self.rows if (one.subscription == EVERYTHING) is wide}
            for wide in (True, False)
        ]
        return sum(ceil(len(kind) / 100) for kind in kinds)


def scene(ids: list[int], count: int, *, seed: int = 0) -> Scene:
    """Every kind of row, for people whom HubSpot knows otherwise, as they are wanted, or not at all."""
    chance = random.Random(seed)
    long_ago = datetime(2024, 1, 1, tzinfo=UTC)
    rows: list[Consent] = []
    known: dict[str, Any] = {}
    number = 0
    while len(rows) < count:
        email = f"person-{number}{chance.choice(['', '+news', '.o_hara'])}@example.com"
        number += 1
        since = chance.choice([None, long_ago + timedelta(seconds=chance.randrange(10**7))])
        wide = chance.random() < 0.1
        of = chance.sample(ids, chance.choice([1, 1, 2, 3]))
        has: dict[str, str] = {}
        if wide:
            rows.append(Consent(email, EVERYTHING, OUT, None, None, since))
        for one in of[: chance.choice([0, 1])] if wide else of:
            status = OUT if wide else chance.choices([IN, OUT, NEITHER], [5, 4, 1])[0]
            basis = chance.choice([*BASES, None]) if status == IN else None
            explanation = (
                chance.choice(["Asked 'us' at a fair; signed", "ja, gerne \u2714"]) if basis else None
            )
            spelled = chance.choice([status, status.lower(), status.title()])
            rows.append(Consent(email, str(one), spelled, basis, explanation, since))
            if status != NEITHER and chance.random() < 0.6:
                has[str(one)] = chance.choice([IN, OUT])
        if not any(one.status.upper() == NEITHER for one in rows[-len(of) :]) and chance.random() < 0.05:
            known[email] = {"opted_out": True}
        elif has:
            known[email] = {"statuses": has}
    for bystander in range(max(10, count // 100)):
        known[f"bystander-{bystander}@example.com"] = {"statuses": {str(ids[0]): chance.choice([IN, OUT])}}
    return Scene(rows, known)


def sent(hubspot: Simulator, endpoints: Iterable[str]) -> int:
    """How many requests of some kinds HubSpot has answered."""
    answers = hubspot.stats["answers"]
    return sum(sum(answers.get(one, {}).values()) for one in endpoints)


UNEQUAL = """
SELECT c.email, c.subscription, c.status, h.status
FROM consent c LEFT JOIN exported h ON h.subscriber = c.email AND CAST(h.subscription_id AS TEXT) = c.subscription
WHERE c.subscription <> 'everything' AND (h.status IS NULL OR h.status <> upper(c.status))
UNION ALL
SELECT c.email, c.subscription, c.status, 'not opted out' FROM consent c
WHERE c.subscription = 'everything'
  AND NOT EXISTS (SELECT 1 FROM exported h WHERE h.subscriber = c.email AND h.opted_out)
UNION ALL
SELECT h.subscriber, '', '', 'in no row' FROM exported h
WHERE NOT EXISTS (SELECT 1 FROM consent c WHERE c.email = h.subscriber)
UNION ALL
SELECT c.email, c.subscription, c.basis, h.legal_basis
FROM consent c JOIN exported h ON h.subscriber = c.email AND CAST(h.subscription_id AS TEXT) = c.subscription
WHERE h.status = 'SUBSCRIBED' AND h.source = 'Public status API'
  AND (h.legal_basis <> coalesce(c.basis, 'NON_GDPR') OR h.legal_basis IS NULL
       OR coalesce(h.legal_basis_explanation, '') <> coalesce(c.explanation, ''))
"""
"""Rows of the two tables that are not equal. They are where each wanted status is the exported one, each opt-out from
everything is exported as one, nobody else is, and what was subscribed has the wanted row's legal basis."""
