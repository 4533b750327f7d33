"""What the answer to a batch read says of each subscriber."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airflow_provider_hubprefs.hubspot.api.answers import operations_by_subscriber
from airflow_provider_hubprefs.hubspot.api.models import Operation, SubscriberWideStatuses, WideStatus


class TestWhatABatchReadSays:
    """About a@ and b@; nothing was asked about c@."""

    @staticmethod
    def row(name: str) -> SubscriberWideStatuses:
        wide = [WideStatus(subscriber=f"{name}@x.com", status="UNSUBSCRIBED")]
        return SubscriberWideStatuses(subscriber=f"{name.upper()}@X.com", wide_statuses=wide)

    @pytest.mark.parametrize(
        ("status", "rows", "named", "said"),
        [
            ("COMPLETE", "ab", {}, {"a": "COMPLETE", "b": "COMPLETE"}),
            ("COMPLETE", "a", {}, {"a": "COMPLETE"}),
            ("COMPLETE", "ab", {"a": "CANCELED"}, {"a": "CANCELED", "b": "COMPLETE"}),
            ("COMPLETE", "b", {"a": "CANCELED"}, {"b": "COMPLETE"}),
            ("COMPLETE", "ab", {"a": "ODD"}, {"b": "COMPLETE"}),
            ("PENDING", "a", {}, {"a": "COMPLETE", "b": "PENDING"}),
            ("PROCESSING", "", {}, {"a": "PROCESSING", "b": "PROCESSING"}),
            ("PROCESSING", "a", {"a": "CANCELED"}, {"a": "CANCELED", "b": "PROCESSING"}),
            ("PENDING", "ab", {}, {}),
            ("PENDING", "a", {"b": "VALIDATION_ERROR"}, {}),
            ("NEW", "a", {}, {"a": "COMPLETE", "b": "NEW"}),
            ("CANCELED", "ab", {"a": "CANCELED", "b": "CANCELED"}, {"a": "CANCELED", "b": "CANCELED"}),
            ("CANCELED", "a", {}, {}),
            ("COMPLETE", "ab", {"c": "CANCELED"}, {}),
            ("PENDING", "a", {"c": "VALIDATION_ERROR"}, {}),
        ],
    )
    def test_of_each(self, status: str, rows: str, named: dict[str, str], said: dict[str, str]) -> None:
        errors = [
            {"category": category, "context": {"subscriberIdString": [f"{name}@x.com"]}}
            for name, category in named.items()
        ]
        answer: Operation[Any] = msgspec.convert({"status": status, "errors": errors}, Operation[Any])
        answer = msgspec.structs.replace(answer, given_results=[self.row(name) for name in rows])
        found = operations_by_subscriber(answer, ["a@x.com", "b@x.com"])
        assert {one[0]: operation.status for one, operation in found.items()} == said
        for one, operation in found.items():
            assert len(operation.results) == (one[0] in rows)
            assert len(operation.errors) == (said[one[0]] == "CANCELED")
