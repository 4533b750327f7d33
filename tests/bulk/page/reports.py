"""Reports to look at: what a run writes at its start, while it runs, and however it ends."""

from __future__ import annotations

from typing import Any

EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style><svg onload=alert(1)>",
)
"""Text that would run if it were not escaped."""


def history(rows: int, duration: float, *, points: int = 240, daily: int | None = 250_000) -> list[list[Any]]:
    """Of a run that slows down a little in its middle and pauses once."""
    found, done, requests = [], 0.0, 0.0
    weights = [0.0] + [1 - 0.25 * (0.4 < n / points < 0.55) - 0.05 * (n % 3) for n in range(1, points)]
    for number, weight in enumerate(weights):
        done += rows * weight / sum(weights)
        requests = done / 100
        left = None if daily is None else daily - round(requests)
        second = round(duration * number / max(1, points - 1), 1)
        found.append([second, round(done), round(requests), left, min(100, round(weight * 96))])
    return found


COMPLETE: dict[str, Any] = {
    "schema": 2,
    "state": "complete",
    "read": 1000,
    "changed": 888,
    "unchanged": 60,
    "rejected": 2,
    "invalid": 12,
    "duplicate": 38,
    "unconfirmed": 0,
    "skipped": 0,
    "multiline_records": 0,
    "reasons": {"invalid: INVALID_ADDRESS": 12, "rejected: VALIDATION_ERROR": 2},
    "complete": True,
    "incomplete_because": None,
    "tries": 1,
    "resent": 0,
    "operations": {"COMPLETE": 10},
    "started_at": "2026-11-26T02:00:03+00:00",
    "ended_at": "2026-11-26T02:00:09+00:00",
    "duration_seconds": 6.2,
    "requests": 14,
    "retries": 0,
    "throttled": 0,
    "waited_for_budget_seconds": 0.0,
    "latency_p50_ms": 412.0,
    "latency_p95_ms": 655.0,
    "budget_before": {"burst": 190, "interval": 10.0, "daily": 650_000, "daily_remaining": 612_040},
    "budget_after": {"burst": 190, "interval": 10.0, "daily": 650_000, "daily_remaining": 612_026},
    "source": "9d1c6b0f3f5e44c2",
    "dead_letters": "/data/hubprefs/suppression/scheduled__2026-11-26T02:00:00+00:00/opt_out/dead_letters.jsonl",
    "report": "/data/hubprefs/suppression/scheduled__2026-11-26T02:00:00+00:00/opt_out/report.json",
    "page": "/data/hubprefs/suppression/scheduled__2026-11-26T02:00:00+00:00/opt_out/report.html",
    "share": 1.0,
    "seconds_left": None,
    "history": [
        [0.0, 0, 1, 612_040, 1],
        [1.2, 200, 5, 612_036, 5],
        [2.2, 400, 7, 612_034, 7],
        [3.2, 600, 9, 612_032, 9],
        [4.3, 800, 11, 612_030, 11],
        [5.2, 970, 12, 612_029, 12],
        [6.2, 1000, 14, 612_026, 13],
    ],
    "run": {
        "dag_id": "suppression",
        "run_id": "scheduled__2026-11-26T02:00:00+00:00",
        "task_id": "opt_out",
        "map_index": None,
        "try_number": 1,
        "started_by": "schedule",
    },
    "write": "opt out of everything",
    "done": "opted out",
    "connection": "hubprefs_default",
    "portal": 12_345_678,
    "api_version": "2026-09",
    "provider_version": "0.1.0",
    "source_names": ["suppression.csv"],
    "source_files": 1,
}

LETTERS = [
    *(
        {
            "row": row,
            "subscriber": masked,
            "outcome": "invalid",
            "category": "INVALID_ADDRESS",
            "message": message,
        }
        for row, masked, message in [
            (24, "***", "an e-mail address must have an at sign"),
            (
                87,
                "j***@e***.com",
                "the part after the at sign has two dots in a row; is j***@e***.com meant?",
            ),
            (113, "***", "the address is empty"),
            (240, "m***@g***.com", "has a quotation mark in it"),
            (301, "***", "an e-mail address must have an at sign"),
            (355, "b***@e***.org", "has a space in it; is b***@e***.org meant?"),
            (402, "***", "the address is empty"),
            (518, "k***@w***.net", "the part before the at sign ends with a period"),
            (640, "***", "an e-mail address must have an at sign"),
            (702, "***", "the spreadsheet's error #N/A stands in the cell"),
            (811, "a***@e***.com", "has two at signs"),
            (950, "***", "an e-mail address must have an at sign"),
        ]
    ),
    *(
        {
            "row": row,
            "subscriber": masked,
            "outcome": "rejected",
            "category": "VALIDATION_ERROR",
            "message": "Email address is invalid",
            "correlation_id": "aeb5f871-7f07-4993-9211-075dc63e7cbf",
        }
        for row, masked in [(417, "p***@e***.com"), (903, "s***@t***.io")]
    ),
]

RUNNING: dict[str, Any] = {
    **COMPLETE,
    "state": "running",
    "complete": False,
    "read": 412_300,
    "changed": 391_020,
    "unchanged": 14_112,
    "rejected": 31,
    "invalid": 1204,
    "duplicate": 4933,
    "unconfirmed": 1000,
    "reasons": {
        "invalid: INVALID_ADDRESS": 1204,
        "unconfirmed: OPERATION_PENDING": 1000,
        "rejected: VALIDATION_ERROR": 31,
    },
    "share": 0.41,
    "seconds_left": 312,
    "duration_seconds": 217.4,
    "requests": 4123,
    "ended_at": "2026-11-26T02:03:41+00:00",
    "dead_letters": None,
    "history": history(412_300, 217.4),
    "source_names": [f"unload/2026/11/part-{number:04}.csv.gz" for number in range(20)],
    "source_files": 64,
}
WAITING = {
    **COMPLETE,
    "state": "waiting",
    "complete": False,
    "changed": 363,
    "unconfirmed": 525,
    "reasons": {"unconfirmed: OPERATION_PROCESSING": 525, **COMPLETE["reasons"]},
}
MILLION: dict[str, Any] = {
    **COMPLETE,
    "read": 1_000_000,
    "changed": 962_410,
    "unchanged": 21_033,
    "rejected": 1207,
    "invalid": 3011,
    "duplicate": 12_337,
    "unconfirmed": 2,
    "reasons": {
        "invalid: INVALID_ADDRESS": 3011,
        **{
            f"rejected: ODD_CATEGORY_{number:05}_{'X' * 60}": 1 + (number < 7) * (40 - number)
            for number in range(3000)
        },
        "rejected: VALIDATION_ERROR": 300,
        "unconfirmed: NOT_SEEN": 2,
    },
    "duration_seconds": 531.7,
    "requests": 10_144,
    "throttled": 3,
    "retries": 5,
    "tries": 2,
    "resent": 800,
    "ended_at": "2026-11-26T02:08:55+00:00",
    "history": history(1_000_000, 531.7),
    "source_names": RUNNING["source_names"],
    "source_files": 64,
    "run": {**COMPLETE["run"], "map_index": 3, "try_number": 2, "started_by": "manual, by ada"},
}
MANY_LETTERS = [
    {
        "file": f"unload/2026/11/part-{number % 64:04}.csv.gz",
        "row": 1000 + 37 * number,
        "subscriber": "j***@e***.com",
        "outcome": "rejected",
        "category": "VALIDATION_ERROR",
        "message": "Subscription 348211907 does not exist for the subscriber " + "and so on " * 20,
        "correlation_id": "aeb5f871-7f07-4993-9211-075dc63e7cbf",
    }
    for number in range(100)
]
ENDED_EARLY = {
    **COMPLETE,
    "state": "incomplete",
    "complete": False,
    "incomplete_because": "MissingScopesError",
    "read": 300,
    "changed": 281,
    "unchanged": 12,
    "rejected": 0,
    "invalid": 3,
    "duplicate": 4,
    "share": 0.3,
    "reasons": {"invalid: INVALID_ADDRESS": 3},
    "history": COMPLETE["history"][:3],
}
TINY = {
    **COMPLETE,
    "read": 1,
    "changed": 1,
    "unchanged": 0,
    "rejected": 0,
    "invalid": 0,
    "duplicate": 0,
    "reasons": {},
    "requests": 1,
    "dead_letters": None,
    "history": [],
    "source_names": [],
    "source_files": None,
    "duration_seconds": 0.4,
}
ONE_SUBSCRIBER: dict[str, Any] = {
    "run": COMPLETE["run"],
    "state": "complete",
    "write": "opt out of everything",
    "done": "opted out",
    "outcome": "changed",
}
SCHEMA_1 = {
    name: value
    for name, value in COMPLETE.items()
    if name
    not in {
        "state",
        "share",
        "seconds_left",
        "history",
        "run",
        "write",
        "done",
        "connection",
        "portal",
        "page",
    }
} | {"schema": 1}
EARLY_BUDGET = {
    **ENDED_EARLY,
    "incomplete_because": "the next requests, up to 40, are more than may be used: the account has 30 of its 250,000 "
    "left for today, and 5 % of them are left for others",
}

PLAN: dict[str, Any] = {
    "path": "/data/hubprefs/reconcile/scheduled__2026-11-26T02:00:00+00:00/plan/plan.jsonl",
    "checksum": "5f1d7a84e7b0c1f6c3d2b9a0e8f4d5c6b7a8091a2b3c4d5e6f708192a3b4c5d6",
    "rows": 100_000,
    "changes": 1012,
    "actions": {
        "opt_out": 203,
        "unsubscribe": 511,
        "subscribe": 290,
        "resubscribe": 8,
        "unchanged": 98_904,
        "refused": 84,
    },
    "subscriptions": [
        {"id": None, "name": None, "from": "NOT_SPECIFIED", "to": "UNSUBSCRIBED", "rows": 203},
        {
            "id": 348211907,
            "name": "Monthly newsletter",
            "from": "SUBSCRIBED",
            "to": "UNSUBSCRIBED",
            "rows": 480,
        },
        {
            "id": 348211907,
            "name": "Monthly newsletter",
            "from": "NOT_SPECIFIED",
            "to": "SUBSCRIBED",
            "rows": 271,
        },
        {
            "id": 348211907,
            "name": "Monthly newsletter",
            "from": "UNSUBSCRIBED",
            "to": "SUBSCRIBED",
            "rows": 8,
        },
        {
            "id": 348211911,
            "name": "<script>alert(1)</script>",
            "from": "SUBSCRIBED",
            "to": "UNSUBSCRIBED",
            "rows": 31,
        },
        {"id": 348211915, "name": None, "from": "NOT_SPECIFIED", "to": "SUBSCRIBED", "rows": 19},
    ],
    "guards": [
        {"name": "max_changes", "limit": 5000, "found": 1012, "tripped": False, "examples": [], "remedy": ""},
        {
            "name": "max_resubscribes",
            "limit": 0,
            "found": 8,
            "tripped": True,
            "examples": ["j***@e***.com", "m***@g***.com", "b***@e***.org"],
            "remedy": "Look at these rows. If there are new consents, approve the plan or raise max_resubscribes.",
        },
        {
            "name": "max_shrink",
            "limit": 0.2,
            "found": 0.354,
            "tripped": True,
            "examples": [],
            "remedy": "See whether the list is whole. If it is, approve the plan or raise max_shrink.",
        },
        {"name": "legal_basis", "limit": 0, "found": 0, "tripped": False, "examples": [], "remedy": ""},
        {"name": "subscriptions", "limit": None, "found": 0, "tripped": False, "examples": [], "remedy": ""},
    ],
    "before": {
        "actions": {
            "opt_out": 190,
            "unsubscribe": 498,
            "subscribe": 302,
            "unchanged": 153_700,
            "refused": 80,
        },
        "rows": 154_770,
        "at": "2026-11-25T02:04:10+00:00",
    },
    "approved_by": None,
}
PLANNED: dict[str, Any] = {
    **COMPLETE,
    "kind": "plan",
    "write": "compare with HubSpot",
    "done": "compared",
    "read": 100_000,
    "changed": 1012,
    "unchanged": 98_904,
    "rejected": 76,
    "invalid": 8,
    "duplicate": 0,
    "reasons": {
        "rejected: OPTED_OUT_IN_HUBSPOT": 51,
        "rejected: NEWER_IN_HUBSPOT": 19,
        "invalid: INVALID_ADDRESS": 8,
        "rejected: LEGAL_BASIS_MISSING": 6,
    },
    "requests": 1004,
    "duration_seconds": 53.2,
    "history": history(100_000, 53.2),
    "plan": PLAN,
    "audit": "/data/hubprefs/reconcile/scheduled__2026-11-26T02:00:00+00:00/plan/audit.jsonl",
    "audit_head": "b7a8091a2b3c4d5e6f708192a3b4c5d65f1d7a84e7b0c1f6c3d2b9a0e8f4d5c6",
}
BY_RULE: dict[str, Any] = {
    **PLANNED,
    "rejected": 70,
    "invalid": 0,
    "unchanged": 98_918,
    "dead_letters": None,
    "reasons": {"rejected: OPTED_OUT_IN_HUBSPOT": 51, "rejected: NEWER_IN_HUBSPOT": 19},
    "plan": {**PLAN, "guards": PLAN["guards"][:1], "before": None},
}
"""A plan in which nothing is wrong: the rules leave some rows to HubSpot."""
APPLIED: dict[str, Any] = {
    **COMPLETE,
    "kind": "write",
    "write": "apply a plan",
    "done": "as planned",
    "read": 1012,
    "changed": 990,
    "unchanged": 18,
    "rejected": 4,
    "invalid": 0,
    "duplicate": 0,
    "reasons": {"rejected: CHANGED_IN_HUBSPOT": 4},
    "plan": {**PLAN, "approved_by": "ada"},
}
EXPORTED: dict[str, Any] = {
    **COMPLETE,
    "kind": "read",
    "write": "read the statuses",
    "done": "read",
    "changed": 0,
    "unchanged": 1000,
    "rejected": 0,
    "invalid": 0,
    "duplicate": 0,
    "reasons": {},
    "dead_letters": None,
    "target": "table consent.statuses of connection warehouse",
}

ALL: dict[str, tuple[dict[str, Any] | None, list[dict[str, Any]]]] = {
    "complete": (COMPLETE, LETTERS),
    "running": (RUNNING, LETTERS[:3]),
    "waiting": (WAITING, []),
    "million": (MILLION, MANY_LETTERS),
    "ended-early": (ENDED_EARLY, LETTERS[:3]),
    "no-budget": (EARLY_BUDGET, []),
    "tiny": (TINY, []),
    "no-rows": ({**TINY, "read": 0, "changed": 0}, []),
    "one-subscriber": (ONE_SUBSCRIBER, []),
    "one-unconfirmed": ({**ONE_SUBSCRIBER, "outcome": "unconfirmed", "category": "OPERATION_PENDING"}, []),
    "schema-1": (SCHEMA_1, []),
    "empty": ({}, []),
    "none": (None, []),
    "planned": (PLANNED, LETTERS[:8]),
    "by-rule": (BY_RULE, []),
    "applied": (APPLIED, []),
    "exported": (EXPORTED, []),
}
