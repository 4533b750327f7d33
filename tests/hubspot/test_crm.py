"""Who has opted out and when, as HubSpot's CRM answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from airflow_provider_hubprefs.hubspot.api.calls import Call
from airflow_provider_hubprefs.hubspot.api.contacts import (
    Contact,
    Contacts,
    Found,
    OptOut,
    find_opt_outs,
    search_call,
)
from airflow_provider_hubprefs.hubspot.api.models import decode
from airflow_provider_hubprefs.hubspot.transport.client import Client, run

from .server import Server, json

T1, T2, T3 = "2027-01-15T08:00:00.000Z", "2027-01-15T08:00:01.500Z", "2027-01-15T08:00:02Z"
MS = 1_800_000_000_000


def contact(*history: tuple[str, str], **more: Any) -> Contact:
    versions = [{"value": value, "timestamp": at} for value, at in history]
    body = {"id": "7", "updatedAt": T3, "propertiesWithHistory": {"hs_email_optout": versions}, **more}
    return decode(msgspec.json.encode(body), Contact)


def at_of(one: Contact) -> int | None:
    opt_out = one.opt_out()
    return None if opt_out is None else opt_out.at


@pytest.mark.parametrize(
    ("history", "at"),
    [
        ([("true", T1)], MS),
        ([("true", T2), ("true", T1)], MS),
        ([("true", T3), ("false", T2), ("true", T1)], MS + 2000),
        ([("false", T2), ("true", T1)], None),
        ([("", T2), ("true", T1)], None),
    ],
)
def test_when_a_contact_opted_out(history: list[tuple[str, str]], at: int | None) -> None:
    assert at_of(contact(*history)) == at


def test_without_a_history_the_last_change_is_all_there_is() -> None:
    assert at_of(contact(properties={"hs_email_optout": "true"})) == MS + 2000
    assert at_of(contact(properties={"hs_email_optout": None})) is None
    bare = decode(b'{"id":"7","updatedAt":"2027-01-15T08:00:00Z"}', Contact)
    assert (at_of(bare), bare.modified) == (None, MS)


def test_what_is_printed_names_no_subscriber() -> None:
    opted_out = contact(("true", T1), properties={"email": "jane@example.com"})
    shown = f"{opted_out!r} {Contacts(given=[opted_out])!r} {OptOut(7, 'jane@example.com', MS)!r}"
    assert "jane" not in shown


@pytest.mark.parametrize(
    ("version", "path"),
    [
        ("v4", "/crm/objects/2026-09/contacts/search"),
        ("2026-03", "/crm/objects/2026-03/contacts/search"),
        ("2026-09", "/crm/objects/2026-09/contacts/search"),
    ],
)
def test_paths(version: str, path: str) -> None:
    assert search_call(version, floor=0).path == path


def row(number: int, modified: str = T1) -> dict[str, Any]:
    return {"id": str(number), "properties": {}, "updatedAt": modified}


def history_of(*numbers: int) -> dict[str, Any]:
    versions = {"hs_email_optout": [{"value": "true", "timestamp": T1}]}
    return {
        "results": [
            {
                **row(number),
                "properties": {"email": f"s{number}@x.example"},
                "propertiesWithHistory": versions,
            }
            for number in numbers
        ]
    }


def look(client: Client, **seen: Any) -> Found:
    async def send(call: Call[Any]) -> Any:
        return client.send(call)

    return run(find_opt_outs(send, "2026-09", floor=5, **seen))


def test_what_does_not_fit_on_a_page_is_asked_for_above_the_last_id(
    server: Server, client_of: Callable[..., Client]
) -> None:
    server.script = [
        json(200, {"total": 3, "results": [row(9, T2)]}),
        json(200, {"total": 3, "results": [row(3), row(5)]}),
        json(200, {"total": 1, "results": [row(9, T2)]}),
        json(207, history_of(9, 3, 5)),
    ]
    client = client_of(server)
    found = look(client)
    assert sorted(one.contact_id for one in found.opt_outs) == [3, 5, 9]
    assert (found.watermark, found.seen) == (MS + 1500, {9: MS + 1500, 3: MS, 5: MS})
    asked = [request.json for request in server.requests[:3]]
    above = [
        [one["value"] for one in body["filterGroups"][0]["filters"] if one["propertyName"] == "hs_object_id"]
        for body in asked
    ]
    assert above == [[], [], ["5"]]
    assert not any("after" in body for body in asked)


def test_who_was_looked_at_before_is_read_again_only_when_changed(
    server: Server, client_of: Callable[..., Client]
) -> None:
    server.script = [
        json(200, {"total": 2, "results": [row(9, T2), row(3)]}),
        json(200, history_of(9)),
    ]
    found = look(client_of(server), seen={9: MS, 3: MS})
    assert [one.contact_id for one in found.opt_outs] == [9]
    assert server.requests[1].json["inputs"] == [{"id": "9"}]


def test_a_result_that_goes_while_it_is_paged_ends_nothing_too_soon(
    server: Server, client_of: Callable[..., Client]
) -> None:
    server.script = [
        json(200, {"total": 2, "results": [row(9)]}),
        json(200, {"total": 2, "results": [row(3)]}),
        json(200, {"total": 0, "results": None}),
        json(200, history_of(9, 3)),
    ]
    found = look(client_of(server))
    assert len(found.opt_outs) == 2
