"""Conservation, as a property: whatever the source and whatever goes wrong, every row has one, true outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.source import read_rows
from airflow_provider_hubprefs.simulator import Simulator

from .conftest import Done

ROWS = st.one_of(
    st.integers(0, 30).map(lambda number: f"person-{number}@example.com"),
    st.integers(0, 30).map(lambda number: f" Person-{number}@EXAMPLE.com "),
    st.integers(0, 9).map(lambda number: f"rejected-{number}@hubspot-rejects.example"),
    st.integers(0, 9).map(lambda number: f"missing-{number}@example.com"),
    st.sampled_from(["", "nobody", "two@@example.com", "a b@example.com", "@example.com"]),
)
FAULTS = st.sampled_from(
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 500},
        {"kind": "cloudflare"},
        {"kind": "burst", "retry_after": 0.01},
        {"kind": "drop"},
        {"kind": "drop", "applied": True},
        {"kind": "truncate"},
        {"kind": "fields", "missing": ["results"]},
        {"kind": "fields", "null": ["errors", "numErrors"]},
        {"kind": "text"},
    ]
)
PASSING = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=60, deadline=None, suppress_health_check=PASSING, derandomize=True)
@given(
    source=st.lists(ROWS, min_size=1, max_size=60),
    faults=st.lists(st.tuples(st.integers(1, 12), FAULTS), max_size=4),
    mode=st.sampled_from(["context", "no_context", "whole"]),
    missing_is_applied=st.booleans(),
    batch_size=st.integers(1, 25),
    concurrency=st.integers(1, 4),
)
def test_every_row_ends_in_exactly_one_outcome_and_hubspot_agrees(  # noqa: PLR0917 - hypothesis names them
    hubspot: Simulator,
    run: Callable[..., Done],
    source: list[str],
    faults: list[tuple[int, dict[str, Any]]],
    mode: str,
    missing_is_applied: bool,
    batch_size: int,
    concurrency: int,
) -> None:
    missing = {"addresses": [f"missing-{number}@example.com" for number in range(10)]}
    hubspot.clear_faults()
    hubspot.load({"batch_errors": mode, "missing": {**missing, "applied": missing_is_applied}})
    for nth, fault in faults:
        hubspot.fault(**fault, match={"nth": nth})
    done = run(source, batch_size=batch_size, concurrency=concurrency)
    rows = list(read_rows(source))
    if done.error is not None:
        assert "refused all" in str(done.error)  # nobody in the first batch whom HubSpot takes
        return
    assert done.summary["read"] == len(source) == sum(done.outcomes.values())
    lost = {one["subscriber"] for one in done.letters if one["outcome"] in {"rejected", "unconfirmed"}}
    for row in rows:
        if row.problem is None and row.subscriber not in lost:
            assert hubspot.is_opted_out(row.subscriber)
    for subscriber in done.of("rejected"):
        assert not hubspot.is_opted_out(subscriber)
        assert subscriber.startswith(("rejected-", "missing-"))
