"""Files as people have them, which other tools and an earlier version of this one misread or lost rows of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from airflow_provider_hubprefs.exceptions import HubPrefsFailException
from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)
from tests.helpers import outcomes

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_hubprefs.simulator import Simulator

pytestmark = pytest.mark.usefixtures("hubprefs_default")

TITLE = "Unsubscribed contacts as of 2026-11-01\r\n\r\nEmail,Name\r\nbob@example.com,Bob\r\n"
NBSP = "Email\u00a0Address,Name\r\nbob@example.com\u00a0,N\r\n"
ELSEWHERE = "E-Mail,Erstellt\u00a0am\r\nbob@example.com,2026\r\n"
UNICODE = "Email Address\tUnsubscribed\r\nbob@example.com\t2026-01-02\r\n".encode("utf-16")
FLAGS = (
    "email,Do Not Email\r\na@example.com,TRUE\r\nb@example.com,1\r\nc@example.com,yes\r\nd@example.com,0\r\n"
)
SOME = (
    "Email,Portal Bounce,Portal Unsubscribe,Portal Spam Report,Global Bounce\r\n"
    "bob@example.com,,TRUE,,\r\nb@example.com,MAILBOX_FULL,,,\r\n"
)
FAR_APART = [f"p{at}@example.com,r{at}" for at in range(900)]
FAR_APART[400] = "bob@example.com,r400"
FAR_APART[0], FAR_APART[899] = 'p0@example.com,"too many', 'p899@example.com,r899"'
DAMAGED = (
    "email\r\no\u2019neil@example.com\r\n\u201ccy@example.com\r\nmary\u2013jane@example.com\r\n"
    "'bob@example.com\r\n%20ann@example.com\r\nm\ufffdller@example.com\r\n"
)
PRETTY = """{
  "results": [
    {"id": "1", "properties": {"email": "u1@example.com"}},
    {"id": "2", "properties": {"email": "u2@example.com"}}
  ]
}
"""


@pytest.mark.parametrize(
    ("name", "content", "arguments", "expected"),
    [
        ("address-typography.csv", DAMAGED, {}, {"invalid": 6}),
        (
            "quote-ditto.csv",
            'Company,Email,Note\r\nAcme,ed@example.com,"\r\nBeta,bob@example.com,"\r\nCeta,gil@example.com,x\r\n',
            {},
            {"changed": 3},
        ),
        (
            "quote-free-text.csv",
            'Email,Reason\r\nkim@example.com,"too many mails\r\nlee@example.com,none\r\nbob@example.com,he said '
            'stop"\r\nnat@example.com,x\r\n',
            {},
            {"changed": 4},
        ),
        ("quote-900-rows.csv", "Email,Reason\n" + "\n".join(FAR_APART), {}, {"changed": 900}),
        ("first-line-sep.csv", "sep=;\r\nemail;name\r\nbob@example.com;Ann\r\n", {}, {"changed": 1}),
        ("semicolon-table.txt", "sep=;\r\nemail;name\r\nbob@example.com;Ann\r\n", {}, {"changed": 1}),
        ("title-line.csv", TITLE, {}, r"Line 3 has it: .*'skip_lines': 2"),
        ("title-line.csv", TITLE, {"read_options": {"skip_lines": 2}}, {"changed": 1}),
        ("header-nbsp.csv", NBSP, {}, r'There are: "Email\\u00a0Address", "Name"'),
        ("header-nbsp.csv", NBSP, {"email_column": "email address"}, {"changed": 1}),
        ("header-nbsp-elsewhere.csv", ELSEWHERE, {}, r'There are: "E-Mail", "Erstellt\\u00a0am"'),
        ("header-nbsp-elsewhere.csv", ELSEWHERE, {"email_column": "E-Mail"}, {"changed": 1}),
        ("header-zero-width.csv", "\u200bemail,Name\r\nbob@example.com\u200b,N\r\n", {}, {"changed": 1}),
        ("unicode-text.txt", UNICODE, {}, 'There are: "Email Address", "Unsubscribed"'),
        ("unicode-text.txt", UNICODE, {"email_column": "Emial"}, 'no column is called "Emial"'),
        ("unicode-text.txt", UNICODE, {"email_column": "Email Address"}, {"changed": 1}),
        ("one-object-over-lines.json", PRETTY, {}, "its first line is no whole JSON object"),
        (
            "space-before-quote.csv",
            'Name,Email\r\n"Bob", "bob@example.com"\r\n"Doe, Ann", "ann@example.com"\r\n',
            {},
            {"changed": 2},
        ),
        (
            "space-before-quote-header.csv",
            '"Name", "Email"\r\n"Bob, Jr.", "bob@example.com"\r\n',
            {},
            {"changed": 1},
        ),
        (
            "some-rows-only.csv",
            SOME,
            {"read_options": {"where": {"Portal Unsubscribe": True}}},
            {"changed": 1},
        ),
        ("status-booleans.csv", FLAGS, {"status_column": "Do Not Email"}, {"invalid": 4}),
        (
            "status-booleans.csv",
            FLAGS,
            {
                "status_column": "Do Not Email",
                "read_options": {
                    "status_values": {
                        **dict.fromkeys(["TRUE", 1, "yes"], "UNSUBSCRIBED"),
                        "0": "NOT_SPECIFIED",
                    }
                },
            },
            {"changed": 3, "unchanged": 1},
        ),
        (
            "status-labels.csv",
            "Email,Status\r\na@example.com,Subscribed\r\nb@example.com,Unsubscribed\r\nc@example.com,Not specified\r\n"
            "d@example.com,Opted in\r\ne@example.com,Opted out\r\nf@example.com,Not opted in or out\r\n",
            {"status_column": "Status"},
            {"changed": 4, "unchanged": 2},
        ),
        (
            "float-ids.csv",
            "email,sub\na@example.com,348211900.0\nb@example.com,\n",
            {"status": "UNSUBSCRIBED", "subscription_column": "sub"},
            {"changed": 1, "invalid": 1},
        ),
        (
            "float-ids.parquet",
            pa.table({"email": ["a@example.com", "b@example.com"], "sub": [348211900.0, None]}),
            {"status": "UNSUBSCRIBED", "subscription_column": "sub"},
            {"changed": 1, "invalid": 1},
        ),
    ],
)
def test_every_row_is_applied_or_named_or_the_file_is_one_error(  # noqa: PLR0917 - fixtures
    hubspot: Simulator, context: Any, tmp_path: Path, name: str, content: Any, arguments: Any, expected: Any
) -> None:
    path = tmp_path / name
    if isinstance(content, pa.Table):
        parquet.write_table(content, path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    arguments = {"task_id": "carry_out", "source": str(path), "on_rejected": "report", **arguments}
    sets = {"status", "status_column"} & set(arguments)
    if sets and "subscription_column" not in arguments:
        arguments["subscription_id"] = hubspot.subscription_ids[0]
    operator: Any = HubPrefsBatchSetStatusOperator if sets else HubPrefsBatchUnsubscribeOperator
    if isinstance(expected, str):
        with pytest.raises(HubPrefsFailException, match=expected):
            operator(**arguments).execute(context)
        assert hubspot.requests == []
    else:
        assert outcomes(operator(**arguments).execute(context)) == expected
        assert hubspot.is_opted_out("bob@example.com") == (not sets and "changed" in expected)
