"""Answers are read leniently, and nothing of theirs is lost or misread."""

from __future__ import annotations

import contextlib
import datetime
import json
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pendulum
import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hubprefs.hubspot.api.models import (
    BatchError,
    Definition,
    Operation,
    PreferenceLinks,
    Reply,
    StatusChange,
    SubscriberStatuses,
    SubscriberWideStatuses,
    SubscriptionStatus,
    WideStatus,
    decode,
)
from airflow_provider_hubprefs.hubspot.api.odd_answers import UNREADABLE

if TYPE_CHECKING:
    from pendulum import DateTime

STATUS = {"subscriberIdString": "jane@example.com", "subscriptionId": 7, "status": "SUBSCRIBED"}


def read_time(value: object) -> DateTime | None:
    row = {**STATUS, "timestamp": value}
    return decode(json.dumps(row).encode(), SubscriptionStatus).timestamp


def test_only_what_makes_a_row_a_row_is_needed() -> None:
    row = decode(json.dumps(STATUS).encode(), SubscriptionStatus)

    assert (row.subscriber, row.subscription_id, row.status) == ("jane@example.com", 7, "SUBSCRIBED")
    assert row.timestamp is None
    assert row.legal_basis is None


def test_unknown_fields_are_ignored_and_unknown_values_carried() -> None:
    body = {
        **STATUS,
        "status": "PAUSED",
        "legalBasis": "NEW",
        "setStatusSuccessReason": "X",
        "colour": {"a": [1]},
    }

    row = decode(json.dumps(body).encode(), SubscriptionStatus)

    assert (row.status, row.legal_basis, row.set_status_success_reason) == ("PAUSED", "NEW", "X")


@pytest.mark.parametrize("kind", [SubscriptionStatus, WideStatus, SubscriberStatuses, SubscriberWideStatuses])
def test_every_optional_field_may_be_null(kind: type[msgspec.Struct]) -> None:
    required = {"subscriberIdString": "jane@example.com", "subscriptionId": 7, "status": "X"}
    nulls = {field.encode_name: None for field in msgspec.structs.fields(kind)}

    row = decode(json.dumps({**nulls, **required}).encode(), kind)

    assert {getattr(row, field.name) for field in msgspec.structs.fields(kind) if not field.required} == {
        None
    }


@pytest.mark.parametrize(
    ("given_id", "expected"), [("1110685904", 1110685904), (1110685904, 1110685904), (2**62, 2**62)]
)
def test_identifiers_are_text_or_numbers(given_id: object, expected: int) -> None:
    body = json.dumps({"id": given_id, "name": "News"}).encode()

    assert decode(body, Definition).id == expected


@pytest.mark.parametrize(
    "body", ['{"status":"COMPLETE"}', '{"status":"COMPLETE","results":null,"errors":null}']
)
def test_no_results_are_an_empty_list(body: str) -> None:
    operation = decode(body.encode(), Operation[WideStatus])

    assert operation.results == []
    assert operation.errors == []
    assert operation.complete
    assert not operation.canceled


@pytest.mark.parametrize("status", ["SUCCESS", "PENDING", "PROCESSING", "CANCELED", "NEW"])
def test_only_complete_is_complete(status: str) -> None:
    operation = decode(json.dumps({"status": status}).encode(), Operation[WideStatus])

    assert operation.status == status
    assert not operation.complete
    assert operation.canceled == (status == "CANCELED")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-22T03:04:05.678Z", pendulum.datetime(2026, 11, 22, 3, 4, 5, 678000)),
        ("2026-11-22T03:04:05Z", pendulum.datetime(2026, 11, 22, 3, 4, 5)),
        ("2026-11-22T03:04:05.678123456Z", pendulum.datetime(2026, 11, 22, 3, 4, 5, 678123)),
        ("2026-11-22T03:04:05+02:00", pendulum.datetime(2026, 11, 22, 1, 4, 5)),
        ("2026-11-22T03:04:05", pendulum.datetime(2026, 11, 22, 3, 4, 5)),
        (1795316645678, pendulum.datetime(2026, 11, 22, 3, 4, 5, 678000)),
        (0, pendulum.datetime(1970, 1, 1)),
        (None, None),
    ],
)
def test_times_become_aware_and_utc(value: object, expected: DateTime | None) -> None:
    moment = read_time(value)

    assert moment == expected
    if moment is not None:
        assert isinstance(moment, pendulum.DateTime)
        assert moment.timezone_name == "UTC"
        assert moment.utcoffset() == datetime.timedelta(0)


@pytest.mark.parametrize(
    "value", ["jane@example.com", "", 1e18, -1e18, 10**30, True, [], {}, "0001-01-01T00:00:00+05:00"]
)
def test_what_is_no_time_is_none(value: object) -> None:
    assert read_time(value) is None


def test_what_cannot_be_read_is_said_without_its_value() -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        decode(b'{"id": "jane@example.com", "name": "News"}', Definition)

    assert "`$.id`" in str(caught.value)
    assert "jane" not in str(caught.value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=10), children, max_size=3)
    ),
    max_leaves=10,
)
members = st.sampled_from(
    ["status", "results", "errors", "numErrors", "startedAt", "links", "subscriberIdString"]
)


@given(st.dictionaries(members, json_values) | json_values)
def test_any_json_is_read_or_called_malformed(value: object) -> None:
    try:
        body = json.dumps(value).encode()
        decode(body, Operation[SubscriptionStatus])
    except msgspec.ValidationError as wrong:
        assert "`" in str(wrong)


@given(st.binary())
def test_any_bytes_are_read_or_called_no_json(body: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        decode(body, Operation[SubscriptionStatus])


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"links":' + b'{"a":' * 100_000])
def test_json_nested_without_end_is_called_no_json(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(body, Operation[SubscriptionStatus])


@pytest.mark.parametrize(
    ("context", "names"),
    [
        ({"emails": ["a@b.c", 1], "email": "d@e.f", "n": 3}, {"a@b.c", "d@e.f"}),
        (None, set()),
        ([], set()),
        ("text", set()),
    ],
)
def test_the_context_of_an_error_names_whom_it_is_about(context: object, names: set[str]) -> None:
    body = json.dumps({"status": 400, "id": 7, "category": None, "context": context}).encode()

    assert decode(body, BatchError).names() == names


def test_a_change_is_sent_with_its_channel_and_without_what_is_not_set() -> None:
    change = StatusChange(subscriber="a@b.c", subscription_id=7, status="UNSUBSCRIBED")

    assert change.wire() == {
        "channel": "EMAIL",
        "subscriberIdString": "a@b.c",
        "subscriptionId": 7,
        "statusState": "UNSUBSCRIBED",
    }


def test_printed_models_show_no_address() -> None:
    row = SubscriptionStatus(
        subscriber="jane@example.com", subscription_id=7, status="X", source="by Jane@Example.com"
    )
    error = BatchError(message="jane@example.com is wrong", context={"emails": ["jane@example.com"]})
    operation = Operation(status="COMPLETE", given_results=[row], given_errors=[error])

    for shown in (repr(operation), str(operation), f"{operation}", repr([row]), repr(error)):
        assert "jane@" not in shown.lower()
        assert "***@e***.com" in shown.lower()
    assert "subscription_id=7" in repr(operation)


def test_printed_links_show_no_link() -> None:
    links = PreferenceLinks(
        subscriber="jane@example.com",
        manage_preferences_url="https://x/SECRET",
        unsubscribe_all_url="https://x/SECRET",
    )

    assert "SECRET" not in repr(links)
    assert "jane" not in repr(links)


def test_a_printed_reply_shows_no_body() -> None:
    assert repr(Reply(200, {"a": "b"}, b"jane@example.com")) == "<Reply 200, 16 bytes>"


def test_models_can_be_pickled() -> None:
    row = SubscriptionStatus(
        subscriber="jane@example.com", subscription_id=7, status="X", timestamp=pendulum.now("UTC")
    )

    assert pickle.loads(pickle.dumps(row)) == row


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        (" 3.5 ", 3.5),
        ("0", 0.0),
        ("Sun, 22 Nov 2026 00:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 02:00:30 +0200", 30.0),
        ("Sat, 21 Nov 2026 00:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 00:00:30 -0000", None),
        ("Mon, 99 Foo 99999", None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("1_000", None),
        ("\u0661", None),
        ("9999999999", None),
        ("", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str, seconds: float | None) -> None:
    with time_machine.travel(datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC), tick=False):
        assert Reply(429, {"retry-after": header}).retry_after == seconds


@given(st.text())
def test_any_retry_after_is_a_sensible_number_or_nothing(header: str) -> None:
    seconds = Reply(429, {"retry-after": header}).retry_after

    assert seconds is None or 0 <= seconds < 1e12


def test_the_media_type_is_read_without_its_parameters() -> None:
    assert Reply(200, {"content-type": " Application/JSON; charset=x"}).content_type == "application/json"
    assert Reply(200).content_type == ""


def test_many_threads_may_read_the_first_answers_of_a_process_at_once() -> None:
    # In a process of its own, whose children have prepared no model yet.
    code = """
import os, sys, threading
from airflow_provider_hubprefs.hubspot.api.models import (
    Operation, StatusChange, SubscriberStatuses, SubscriberWideStatuses, decode)
KINDS = [Operation[StatusChange], Operation[SubscriberStatuses], Operation[SubscriberWideStatuses]]
BODY = b'{"status": "COMPLETE", "results": [], "startedAt": "2026-01-01T00:00:00Z"}'

def child():
    sys.setswitchinterval(1e-6)
    begin = threading.Barrier(12)
    def read(kind):
        begin.wait()
        decode(BODY, kind)
    threads = [threading.Thread(target=read, args=(KINDS[number % 3],)) for number in range(12)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    os._exit(0)

children = [os.fork() or child() for _ in range(24)]
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([0] * 24)


AT = "2026-11-22T03:04:05.678Z"


def row_of(subscriber: str, **odd: object) -> dict[str, object]:
    return {
        "channel": "EMAIL",
        "subscriberIdString": subscriber,
        "subscriptionId": 7,
        "status": "UNSUBSCRIBED",
        "timestamp": AT,
        **odd,
    }


def read(kind: Any, results: object, **more: object) -> Operation[Any]:
    body = {"status": "COMPLETE", "results": results, **more}
    found: Operation[Any] = decode(json.dumps(body).encode(), kind)
    return found


@pytest.mark.parametrize("odd", ["", {}, [], {"a": 1}, "soon", True, "0000-00-00"])
def test_what_nothing_decides_by_may_be_anything(odd: object) -> None:
    informative = ("channel", "source", "timestamp", "subscriptionName", "legalBasis", "businessUnitId")
    rows = [row_of("a@example.com", **dict.fromkeys(informative, odd)), row_of("b@example.com")]

    operation = read(
        Operation[SubscriptionStatus], rows, startedAt=odd, completedAt=odd, links=odd, numErrors=odd
    )

    assert [(row.subscriber, row.status, row.subscription_id) for row in operation.results] == [
        ("a@example.com", "UNSUBSCRIBED", 7),
        ("b@example.com", "UNSUBSCRIBED", 7),
    ]
    assert operation.complete


ODD_ROWS: dict[str, Any] = {
    "no status": {"status": None},
    "a status that is no word": {"status": {"name": "UNSUBSCRIBED"}},
    "no subscription": {"subscriptionId": None},
    "a subscription that is no number": {"subscriptionId": "news"},
    "a reason that is no word": {"setStatusSuccessReason": {"a": 1}},
    "no subscriber": {"subscriberIdString": None},
}


@pytest.mark.parametrize("odd", ODD_ROWS.values(), ids=ODD_ROWS)
def test_an_odd_row_says_nothing_and_hides_no_other(odd: dict[str, Any]) -> None:
    rows = [row_of("a@example.com"), row_of("odd@example.com", **odd), row_of("b@example.com")]
    flat = read(Operation[SubscriptionStatus], rows).results
    nested = read(
        Operation[SubscriberStatuses],
        [
            {"subscriberIdString": row["subscriberIdString"] or "odd@example.com", "statuses": [row]}
            for row in rows
        ],
    ).results

    assert [row.status for row in flat] == ["UNSUBSCRIBED", UNREADABLE, "UNSUBSCRIBED"]
    assert [row.subscriber for row in nested] == ["a@example.com", "odd@example.com", "b@example.com"]
    assert [one.status for row in nested for one in row.statuses] == [row.status for row in flat]


@pytest.mark.parametrize("odd", [None, 7, "x", [], {}, {"statuses": []}, {"subscriberIdString": None}])
def test_a_row_that_is_about_nobody_hides_no_other(odd: object) -> None:
    rows = [{"subscriberIdString": "a@example.com", "statuses": [row_of("a@example.com")]}, odd]

    found = read(Operation[SubscriberStatuses], rows).results

    assert [row.subscriber for row in found] == ["a@example.com", ""]


@pytest.mark.parametrize("odd", [{}, "x", [None], [7], 7])
def test_statuses_that_cannot_be_read_are_not_no_statuses(odd: object) -> None:
    (row,) = read(
        Operation[SubscriberStatuses], [{"subscriberIdString": "a@example.com", "statuses": odd}]
    ).results
    (wide,) = read(
        Operation[SubscriberWideStatuses], [{"subscriberIdString": "a@example.com", "wideStatuses": odd}]
    ).results

    assert [one.status for one in row.statuses] == [UNREADABLE]
    assert [one.status for one in wide.wide_statuses] == [UNREADABLE]


def test_an_opt_out_of_an_unreadable_brand_is_none() -> None:
    rows = [{**row_of("a@example.com"), "businessUnitId": "x", "wideStatusType": "BUSINESS_UNIT_WIDE"}]

    assert [row.status for row in read(Operation[WideStatus], rows).results] == [UNREADABLE]


def test_the_row_of_a_single_answer_that_names_nobody_is_about_who_was_asked() -> None:
    body = json.dumps({"status": "COMPLETE", "results": [row_of("x", subscriberIdString=None)]}).encode()

    (row,) = decode(body, Operation[SubscriptionStatus], subscriber="jane@example.com").results

    assert (row.subscriber, row.status) == ("jane@example.com", UNREADABLE)


def test_odd_errors_are_errors() -> None:
    errors = [None, {"message": {"a": 1}, "category": "X", "context": {"emails": ["a@example.com"]}}, "text"]

    found = read(Operation[WideStatus], [], errors=errors).errors

    assert [(error.category, error.names()) for error in found] == [
        (None, set()),
        ("X", {"a@example.com"}),
        (None, set()),
    ]
    with pytest.raises(msgspec.ValidationError, match="errors"):
        read(Operation[WideStatus], [], errors="none")


def test_milliseconds_may_be_text() -> None:
    assert read_time("1712121512345") == pendulum.datetime(2024, 4, 3, 5, 18, 32, 345000)
    assert read_time("20241122") == pendulum.datetime(2024, 11, 22)


def test_a_byte_order_mark_does_no_harm() -> None:
    assert decode(b'\xef\xbb\xbf{"status":"COMPLETE"}', Operation[WideStatus]).complete
