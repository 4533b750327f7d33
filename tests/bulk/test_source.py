"""Every row of a source comes out once, in order, flagged; a source that cannot be read says why."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.source import text as lines_module
from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.files import fingerprint_of
from airflow_provider_hubprefs.bulk.source.options import ReadOptions
from airflow_provider_hubprefs.bulk.source.reader import read_rows
from airflow_provider_hubprefs.bulk.source.row import Row, Wanted
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from tests.helpers import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JANE = "jane@example.com"
BOB = "bob@example.com"


def places(source: Any, **options: Any) -> list[tuple[int, str, str | None]]:
    return [(row.number, row.subscriber, row.problem) for row in read_rows(source, **options)]


def written(folder: Path, content: str | bytes, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


class TestIterables:
    def test_addresses_of_a_list_are_numbered_from_one(self) -> None:
        assert places([JANE, " BOB@example.com"]) == [(1, JANE, None), (2, BOB, None)]

    def test_a_generator_is_read_as_it_goes(self) -> None:
        taken = []

        def items() -> Iterator[str]:
            for number in range(1000):
                taken.append(number)
                yield f"p{number}@x.test"

        rows = read_rows(items())
        assert taken == []
        assert next(rows).subscriber == "p0@x.test"
        assert len(taken) <= 100

    def test_mappings_are_read_by_the_name_of_the_column_in_any_case(self) -> None:
        assert places([{"email": JANE}, {" EMail ": BOB}]) == [(1, JANE, None), (2, BOB, None)]
        assert places([{"mail": JANE}], columns=Columns(email="Mail")) == [(1, JANE, None)]

    @pytest.mark.parametrize(
        "item", [None, 3, b"x@y.test", {}, {"email": None}, {"email": 3}, "", "\ud800@x.test"]
    )
    def test_an_item_that_holds_no_address_is_an_invalid_row(self, item: Any) -> None:
        bad, good = read_rows([item, JANE])
        assert (bad.number, bad.problem) == (1, "invalid")
        assert bad.detail
        assert msgspec.json.encode(bad.subscriber)  # it can be written to a file of dead letters
        assert good == Row(2, JANE)

    @pytest.mark.parametrize(
        "source", [JANE, b"x", bytearray(b"x"), None, 7, {"email": JANE}, io.StringIO(JANE)]
    )
    def test_what_is_no_source_is_refused_before_anything_is_read(self, source: Any) -> None:
        with pytest.raises(SourceError, match="subscribers: expected a list") as caught:
            read_rows(source)
        assert "example" not in str(caught.value)

    def test_a_repetition_names_the_row_that_was_first(self) -> None:
        *_, last = read_rows([BOB, JANE, "JANE@Example.com "])
        assert last == Row(3, JANE, "duplicate", "first in row 2")

    def test_of_an_invalid_row_what_was_given_is_kept_up_to_a_length(self) -> None:
        short, long = read_rows([" Jane <jane@example.com>", "x" * 1_000_000])
        assert short.subscriber == "Jane <jane@example.com>"
        assert len(long.subscriber) == 254

    def test_a_row_shows_itself_masked(self) -> None:
        assert JANE not in repr(Row(1, JANE))
        assert "'j***@e***.com'" in repr(Row(1, JANE))


class TestCsv:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    def test_the_delimiter_is_found_out_from_the_header(self, tmp_path: Path, delimiter: str) -> None:
        text = f"id{delimiter} E-Mail {delimiter}name\n1{delimiter}{JANE}{delimiter}Jane, a;b|c\n"
        assert places(written(tmp_path, text), columns=Columns(email="e-mail")) == [(2, JANE, None)]

    def test_a_delimiter_can_be_given(self, tmp_path: Path) -> None:
        assert places(written(tmp_path, f"id~email\n1~{JANE}\n"), options=ReadOptions(delimiter="~")) == [
            (2, JANE, None)
        ]

    @pytest.mark.parametrize("delimiter", [7, ",,", '"', "\n"])
    def test_a_delimiter_that_can_be_none_is_refused(self, delimiter: str) -> None:
        with pytest.raises(ValidationError, match="delimiter: expected one character"):
            ReadOptions.of({"delimiter": delimiter, "format": "csv"})

    def test_numbers_are_lines_of_the_file_whatever_spans_lines_or_is_blank(self, tmp_path: Path) -> None:
        text = f'\ufeffname,email\r\n\r\n"Doe,\r\nJane",{JANE}\r\n   \r\n"B ""ob""","{BOB}"\r\n,\r\n'
        path = written(tmp_path, text)
        assert places(path) == [(3, JANE, None), (6, BOB, None), (7, "", "invalid")]

    def test_old_line_ends_and_a_missing_last_one_are_line_ends_too(self, tmp_path: Path) -> None:
        assert places(written(tmp_path, f"email\r{JANE}\r{BOB}")) == [(2, JANE, None), (3, BOB, None)]

    def test_a_row_with_too_few_columns_is_invalid_and_with_too_many_is_read(self, tmp_path: Path) -> None:
        path = written(tmp_path, f"id,email\n1\n2,{JANE},x,y\n")
        short, long = read_rows(path)
        assert (short.problem, short.detail) == ("invalid", "the address is in column 2; the row ends at 1")
        assert long == Row(3, JANE)

    def test_a_quote_that_is_never_closed_costs_one_row_only(self, tmp_path: Path) -> None:
        path = written(tmp_path, f'name,email\n"Doe, Jane,{JANE}\n' + f"Bob,{BOB}\n" + "x,a@x.test\n" * 3000)
        rows = list(read_rows(path))
        assert len(rows) == 3002
        assert [row.problem for row in rows[:3]] == ["invalid", None, None]
        assert [row.number for row in rows] == list(range(2, 3004))

    def test_an_address_that_swallowed_the_next_line_gives_it_back(self, tmp_path: Path) -> None:
        path = written(tmp_path, f'email,name\n"{JANE},Jane\n{BOB},"\nx@y.test,x\n')
        assert places(path) == [(2, f'"{JANE},Jane', "invalid"), (3, BOB, None), (4, "x@y.test", None)]

    def test_a_header_may_be_quoted_and_span_lines_but_swallows_no_row(self, tmp_path: Path) -> None:
        assert places(written(tmp_path, f'"first\nname","email"\nx,{JANE}\n')) == [(3, JANE, None)]
        with pytest.raises(SourceError, match="looks like data") as caught:
            places(written(tmp_path, f'email,"name\n{JANE},Jane\n{BOB},Bob",x\n'))
        assert "example" not in str(caught.value)

    def test_a_missing_column_is_answered_with_those_there_are(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r'no column is called "email".*"id", "mail"') as caught:
            places(written(tmp_path, f"id;mail\n1;{JANE}\n"))
        assert "email_column" in str(caught.value)

    def test_a_header_that_looks_like_data_is_not_shown(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="looks like data") as caught:
            places(written(tmp_path, f"secret,{JANE}\n"))
        assert "secret" not in str(caught.value)

    def test_two_columns_of_the_name_are_ambiguous_unless_one_is_spelt_exactly(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="2 columns"):
            places(written(tmp_path, f"Email,EMAIL\n{JANE},{BOB}\n"))
        assert places(written(tmp_path, f"Email,email\n{JANE},{BOB}\n")) == [(2, BOB, None)]

    def test_a_header_alone_is_a_source_without_rows(self, tmp_path: Path) -> None:
        assert places(written(tmp_path, "email,name\n")) == []

    @settings(
        max_examples=150 if LONG else 80,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        st.lists(
            st.tuples(st.text("ab,;\"\n\r '", max_size=6), st.sampled_from([JANE, BOB, "x", ""])), max_size=20
        ),
        st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    )
    def test_whatever_a_csv_writer_writes_every_record_comes_out_once_in_order(
        self, tmp_path: Path, records: list[tuple[str, str]], quoting: Any
    ) -> None:
        text = io.StringIO(newline="")
        writer = csv.writer(text, quoting=quoting)
        writer.writerows([("name", "email"), *records])
        rows = list(read_rows(written(tmp_path, text.getvalue())))
        assert [row.subscriber for row in rows] == [address for _, address in records]
        assert [row.number for row in rows] == sorted({row.number for row in rows})
        for row, (_, address) in zip(rows, records, strict=True):
            assert (row.problem == "invalid") == (address in ("x", ""))


ALL = Columns("email", "status", "subscription", "basis", "why")
SAID = Wanted(
    status="SUBSCRIBED",
    subscription_id=7,
    legal_basis="CONSENT_WITH_NOTICE",
    legal_basis_explanation="Ticked, on paper",
)


class TestColumns:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            (
                "a.csv",
                f'why,STATUS,basis,Email,other,subscription\n"Ticked, on paper", subscribed ,'
                f"consent_with_notice,{JANE},x,7\n",
            ),
            (
                "a.jsonl",
                json.dumps(
                    {
                        "Email": JANE,
                        "status": "Subscribed",
                        "subscription": 7,
                        "basis": "CONSENT_WITH_NOTICE",
                        "why": " Ticked, on paper ",
                    }
                ),
            ),
        ],
    )
    def test_every_row_says_what_is_wanted_of_it(self, tmp_path: Path, name: str, text: str) -> None:
        (row,) = read_rows(written(tmp_path, text, name), columns=ALL)
        assert (row.subscriber, row.problem, row.wanted) == (JANE, None, SAID)

    def test_mappings_say_it_too_and_what_is_optional_may_be_missing(self) -> None:
        (row,) = read_rows([{"email": JANE, "status": "NOT_SPECIFIED", "subscription": "7"}], columns=ALL)
        assert row.wanted == Wanted(status="NOT_SPECIFIED", subscription_id=7)

    def test_only_what_has_a_column_is_read(self, tmp_path: Path) -> None:
        path = written(tmp_path, f"email,status,subscription\n{JANE},x,y\n")
        assert list(read_rows(path)) == [Row(2, JANE)]

    @pytest.mark.parametrize(
        ("cells", "category", "why"),
        [
            (",7,,", "INVALID_STATUS", "the status is empty"),
            (
                f"{BOB},7,,",
                "INVALID_STATUS",
                "the status is not one of SUBSCRIBED, UNSUBSCRIBED, NOT_SPECIFIED",
            ),
            ("SUBSCRIBED,,,", "INVALID_SUBSCRIPTION", "the subscription is empty"),
            ("SUBSCRIBED", "INVALID_SUBSCRIPTION", "the subscription is empty"),
            (f"SUBSCRIBED,{BOB},,", "INVALID_SUBSCRIPTION", "not a whole number"),
            ("SUBSCRIBED,7.5,,", "INVALID_SUBSCRIPTION", "not a whole number"),
            ("SUBSCRIBED,-7,,", "INVALID_SUBSCRIPTION", "not a whole number"),
            ("SUBSCRIBED,\u0667,,", "INVALID_SUBSCRIPTION", "not a whole number"),
            (f"SUBSCRIBED,{2**63},,", "INVALID_SUBSCRIPTION", "not a whole number"),
            (f"SUBSCRIBED,{'9' * 5000},,", "INVALID_SUBSCRIPTION", "not a whole number"),
            (f"SUBSCRIBED,7,{BOB},", "INVALID_LEGAL_BASIS", "not one of CONSENT_WITH_NOTICE"),
            ("SUBSCRIBED,7,,\udcff", "INVALID_LEGAL_BASIS", "encoding"),
        ],
    )
    def test_a_cell_that_cannot_be_read_makes_its_row_invalid_and_no_other(
        self, tmp_path: Path, cells: str, category: str, why: str
    ) -> None:
        text = f"email,status,subscription,basis,why\n{JANE},{cells}\n{JANE},UNSUBSCRIBED,7\n"
        path = written(tmp_path, text.encode(errors="surrogateescape"))
        bad, good = read_rows(path, columns=ALL)
        assert (bad.problem, bad.category, bad.subscriber) == ("invalid", category, JANE)
        assert why in bad.detail
        assert "@" not in bad.detail
        assert (good.problem, good.wanted) == (None, Wanted(status="UNSUBSCRIBED", subscription_id=7))

    def test_an_address_alone_says_nothing_where_something_is_asked(self) -> None:
        (row,) = read_rows([JANE], columns=Columns(status="status"))
        assert (row.problem, row.category) == ("invalid", "INVALID_STATUS")

    @pytest.mark.parametrize(("what", "called"), [("status", "state"), ("legal_basis", "x")])
    def test_a_missing_column_is_named_with_those_there_are(
        self, tmp_path: Path, what: str, called: str
    ) -> None:
        path = written(tmp_path, f"id;email\n1;{JANE}\n")
        with pytest.raises(SourceError, match=rf'"{called}".*"id", "email".*{what}_column='):
            list(read_rows(path, columns=Columns(**{what: called})))  # type: ignore[arg-type]

    def test_two_columns_of_one_name_are_ambiguous(self, tmp_path: Path) -> None:
        path = written(tmp_path, f"email,Status,STATUS\n{JANE},x,y\n")
        with pytest.raises(SourceError, match=r"2 columns.*holds the status"):
            list(read_rows(path, columns=Columns(status="status")))

    def test_one_address_a_line_has_no_columns(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="no columns, and status_column names one"):
            list(read_rows(written(tmp_path, f"{JANE}\n", "a.txt"), columns=Columns(status="status")))

    def test_a_status_that_swallowed_the_next_line_gives_it_back_and_an_explanation_keeps_it(
        self, tmp_path: Path
    ) -> None:
        text = f'email,status,why\n{JANE},"SUBSCRIBED\n{BOB},UNSUBSCRIBED,"no\nmore"\n'
        rows = list(
            read_rows(
                written(tmp_path, text), columns=Columns(status="status", legal_basis_explanation="why")
            )
        )
        assert [(row.number, row.problem) for row in rows] == [(2, "invalid"), (3, None)]
        assert rows[1].wanted == Wanted(status="UNSUBSCRIBED", legal_basis_explanation="no\nmore")

    def test_with_subscriptions_a_repetition_is_of_subscriber_and_subscription(self) -> None:
        items: Any = [{"email": JANE, "id": number} for number in (7, 8, "7", " 8")]
        rows = list(read_rows(items, columns=Columns(subscription="id")))
        assert [(row.problem, row.detail) for row in rows] == [
            (None, ""),
            (None, ""),
            ("duplicate", "first in row 1"),
            ("duplicate", "first in row 2"),
        ]

    def test_an_invalid_row_is_not_what_another_repeats(self) -> None:
        items: Any = [{"email": JANE, "id": "x"}, {"email": JANE, "id": 7}]
        assert [row.problem for row in read_rows(items, columns=Columns(subscription="id"))] == [
            "invalid",
            None,
        ]

    def test_a_row_with_an_explanation_shows_none_of_it(self) -> None:
        assert "Ticked" not in repr(Row(1, JANE, wanted=SAID))


class TestPlainLines:
    @pytest.mark.parametrize("name", ["list.txt", "list.csv", "list", "list.dat"])
    def test_one_address_a_line_needs_no_header(self, tmp_path: Path, name: str) -> None:
        path = written(tmp_path, f"\n{JANE}\n\n broken\n{BOB}", name)
        assert places(path) == [(2, JANE, None), (4, "broken", "invalid"), (5, BOB, None)]

    def test_a_txt_may_begin_with_an_invalid_address_or_be_a_table_after_all(self, tmp_path: Path) -> None:
        assert places(written(tmp_path, f"broken\n{JANE}\n", "a.txt")) == [
            (1, "broken", "invalid"),
            (2, JANE, None),
        ]
        assert places(written(tmp_path, f"id\temail\n1\t{JANE}\n", "a.txt")) == [(2, JANE, None)]


class TestJsonLines:
    def test_objects_and_strings_are_rows_and_what_is_neither_is_invalid(self, tmp_path: Path) -> None:
        text = "\n".join(
            [json.dumps({"email": JANE}), "", json.dumps(BOB), "{", "[1]", "{}", '"\\ud800@x.test"', "1"]
        )
        path = written(tmp_path, text, "list.jsonl")
        assert [(number, problem) for number, _, problem in places(path)] == [
            (1, None),
            (3, None),
            *((number, "invalid") for number in range(4, 9)),
        ]

    def test_it_is_known_by_ending_or_its_first_character(self, tmp_path: Path) -> None:
        for name in ("a.ndjson", "a.json", "a"):
            assert places(written(tmp_path, '{"Email": "x@y.test"}\n', name)) == [(1, "x@y.test", None)]

    def test_an_array_is_refused_with_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="one object a line"):
            places(written(tmp_path, f'[\n{{"email": "{JANE}"}}]', "a.json"))

    def test_nesting_without_end_is_an_invalid_row(self, tmp_path: Path) -> None:
        path = written(tmp_path, '"x@y.test"\n' + "[" * 100_000 + "\n" + f'"{JANE}"\n', "a.jsonl")
        assert [problem for _, _, problem in places(path)] == [None, "invalid", None]


class TestBytes:
    def test_a_byte_that_is_not_utf8_matters_only_in_the_address(self, tmp_path: Path) -> None:
        path = written(tmp_path, b"email,name\nb\xfcb@x.test,B\njane@example.com,M\xfcller\n")
        bad, good = read_rows(path)
        assert bad.problem == "invalid"
        assert "byte 2 of the address" in bad.detail
        assert "encoding" in bad.detail
        assert good == Row(3, JANE)

    def test_an_encoding_can_be_declared(self, tmp_path: Path) -> None:
        path = written(tmp_path, "email\njürgen@x.test\n".encode("cp1252"))
        assert places(path, options=ReadOptions(encoding="cp1252")) == [(2, "jürgen@x.test", None)]
        for unknown in ("klingon", "rot13", "utf\0", 8):
            with pytest.raises(ValidationError, match="encoding: expected one that is known to Python"):
                ReadOptions.of({"encoding": unknown})

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
    def test_a_byte_order_mark_decides_the_encoding(self, tmp_path: Path, encoding: str) -> None:
        assert places(written(tmp_path, f"email\n{JANE}\n".encode(encoding))) == [(2, JANE, None)]

    def test_utf16_without_its_mark_is_named(self, tmp_path: Path) -> None:
        path = written(tmp_path, f"email\n{JANE}\n".encode("utf-16-le"))
        with pytest.raises(SourceError, match=r"NUL bytes.*UTF-16"):
            places(path)
        assert places(path, options=ReadOptions(encoding="utf-16-le")) == [(2, JANE, None)]

    def test_text_that_ends_within_a_character_of_a_declared_encoding_is_an_error(
        self, tmp_path: Path
    ) -> None:
        path = written(tmp_path, f"email\n{JANE}\n".encode("utf-16")[:-1])
        with pytest.raises(SourceError, match="encoding"):
            places(path)

    def test_a_nul_makes_its_row_invalid_and_no_other(self, tmp_path: Path) -> None:
        path = written(tmp_path, f"email,x\nja\0ne@x.test,\n{JANE},\0\n")
        assert [problem for _, _, problem in places(path)] == ["invalid", None]

    @pytest.mark.parametrize(
        ("name", "text"), [("a.csv", "email,x\n{}\n{}\n"), ("a.txt", "x@y.test\n{}\n{}\n")]
    )
    def test_a_line_too_long_to_hold_is_one_invalid_row(self, tmp_path: Path, name: str, text: str) -> None:
        rows = list(read_rows(written(tmp_path, text.format("x" * 3_000_000, JANE), name)))
        assert rows[-2].problem == "invalid"
        assert "1,048,576" in rows[-2].detail
        assert rows[-1] == Row(3, JANE)

    def test_a_line_too_long_within_quotes_or_of_json_is_one_too(self, tmp_path: Path) -> None:
        path = written(tmp_path, 'name,email\n"open\n' + "x" * 2_000_000 + f"\n,{JANE}\n")
        assert [(n, p) for n, _, p in places(path)] == [(2, "invalid"), (3, "invalid"), (4, None)]
        path = written(tmp_path, '"x@y.test"\n' + "x" * 2_000_000 + f'\n"{JANE}"\n', "a.jsonl")
        assert [(n, p) for n, _, p in places(path)] == [(1, None), (2, "invalid"), (3, None)]

    def test_a_file_of_one_endless_line_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="line 1 is longer than 1,048,576"):
            places(written(tmp_path, f"{JANE}," * 600_000))

    @pytest.mark.parametrize("name", ["list.csv.gz", "list.csv", "LIST.CSV.GZ"])
    def test_gzip_is_known_by_its_first_bytes(self, tmp_path: Path, name: str) -> None:
        path = written(tmp_path, gzip.compress(f"email\n{JANE}\n".encode()), name)
        assert places(path) == [(2, JANE, None)]

    def test_a_gzip_that_is_cut_short_gives_its_rows_and_then_an_error(self, tmp_path: Path) -> None:
        packed = gzip.compress("".join(f"a{n}@x.test\n" for n in range(20_000)).encode())
        rows = read_rows(written(tmp_path, packed[: len(packed) // 2], "a.txt.gz"))
        assert next(rows).subscriber == "a0@x.test"
        with pytest.raises(SourceError, match=r"cannot be read .EOFError.*cut short"):
            list(rows)

    def test_a_gzip_with_damage_or_none_at_all_is_an_error(self, tmp_path: Path) -> None:
        packed = bytearray(gzip.compress(b"email\n" + b"a@x.test\n" * 50))
        packed[-6] ^= 0xFF  # of the checksum
        with pytest.raises(SourceError, match="damaged"):
            places(written(tmp_path, bytes(packed), "a.csv.gz"))
        with pytest.raises(SourceError, match="named as compressed"):
            places(written(tmp_path, f"email\n{JANE}\n", "a.csv.gz"))

    def test_zstd_without_its_library_names_the_extra(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in ("compression", "backports"):
            monkeypatch.setitem(__import__("sys").modules, module, None)
        with pytest.raises(SourceError, match=r"airflow-provider-hubprefs\[zstd\]"):
            places(written(tmp_path, b"\x28\xb5\x2f\xfd\x00\x00", "a.csv.zst"))

    @pytest.mark.parametrize(
        "magic", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"BZh9", b"\xfd7zXZ\0", b"%PDF-1.7"]
    )
    def test_a_file_that_is_no_text_is_named_for_what_it_is(self, tmp_path: Path, magic: bytes) -> None:
        with pytest.raises(SourceError, match="Save it as CSV"):
            places(written(tmp_path, magic + b"......"))


class TestFiles:
    @pytest.mark.parametrize(("content", "says"), [("", "is empty"), ("\n \r\n", "only blank lines")])
    def test_an_empty_file_is_an_error(self, tmp_path: Path, content: str, says: str) -> None:
        with pytest.raises(SourceError, match=f"'list.csv'.*{says}"):
            places(written(tmp_path, content))

    def test_a_missing_file_and_a_directory_are_errors(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r"'none.csv': there is no such file"):
            places(tmp_path / "none.csv")
        with pytest.raises(SourceError, match="no files found"):
            places(tmp_path)

    def test_a_name_that_looks_like_an_address_is_masked(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError) as caught:
            places(tmp_path / f"{JANE}.csv")
        assert JANE not in str(caught.value)

    def test_what_a_stores_library_raises_is_an_error_of_the_source(self) -> None:
        class Store:
            name = "list.csv"

            def open(self, mode: str) -> Any:
                raise RuntimeError("no credentials for jane@example.com")

        with pytest.raises(SourceError, match=r"cannot be read .RuntimeError") as caught:
            places(Store())
        assert JANE not in str(caught.value)

    @pytest.mark.parametrize("scheme", ["file", "memory"])
    def test_airflows_object_storage_is_read_like_any_file(self, tmp_path: Path, scheme: str) -> None:
        attach("memory", fs=MemoryFileSystem())
        folder: Any = ObjectStoragePath(
            f"file://{tmp_path}" if scheme == "file" else "memory://hubprefs-tests"
        )
        path = folder / "list.csv.gz"
        with path.open("wb") as file:
            file.write(gzip.compress(f"email\n{JANE}\n{BOB}\n".encode()))
        assert places(path) == [(2, JANE, None), (3, BOB, None)]
        assert fingerprint_of(path, key="k")
        with pytest.raises(SourceError, match="no such file"):
            places(folder / "other.csv")

    def test_a_file_is_closed_when_reading_stops_early(self, tmp_path: Path) -> None:
        opened: list[Any] = []

        class Watched:
            name = "list.csv"

            def open(self, mode: str) -> Any:
                opened.append(io.BytesIO(f"email\n{JANE}\n{BOB}\n".encode()))
                return opened[-1]

        file: Any = Watched()
        rows: Any = read_rows(file)
        next(rows)
        rows.close()
        assert opened[0].closed

    @pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "list.txt"])
    def test_a_file_that_changes_while_it_is_read_is_named_at_its_end(
        self, tmp_path: Path, name: str
    ) -> None:
        header = {"list.csv": "email\n", "list.jsonl": "", "list.txt": ""}[name]
        quote = '"' if name.endswith("jsonl") else ""
        lines = [f"{quote}p{number}@x.test{quote}\n" for number in range(300)]
        path = written(tmp_path, header + "".join(lines), name)
        rows = read_rows(path)
        assert next(rows).subscriber == "p0@x.test"
        written(tmp_path, header + "".join(lines[1:]), name)
        with pytest.raises(SourceError, match=f"'{name}': changed while it was read"):
            list(rows)

    def test_so_is_an_object_of_a_store_that_has_another_etag_at_the_end(self) -> None:
        class Stat:
            st_size, st_mode = 30, 0o100644

            def __init__(self, tag: str) -> None:
                self.tag = tag

            def as_info(self) -> dict[str, str]:
                return {"ETag": self.tag}

        class Object:
            name = "list.csv"
            tags = iter(["one", "two"])

            def open(self, mode: str) -> Any:
                return io.BytesIO(f"email\n{JANE}\n".encode())

            def stat(self) -> Stat:
                return Stat(next(self.tags))

        file: Any = Object()
        rows = read_rows(file)
        assert next(rows).subscriber == JANE
        with pytest.raises(SourceError, match="changed while it was read"):
            next(rows)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
    def test_a_pipe_changes_by_being_read_and_that_is_no_error(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_text, args=(f"{JANE}\n{BOB}\n",))
        writer.start()
        assert [row.subscriber for row in read_rows(pipe)] == [JANE, BOB]
        writer.join()

    @pytest.mark.parametrize("columns", [Columns(), Columns(status="status")])
    def test_a_field_of_100_mb_is_one_invalid_row_and_is_never_held(self, columns: Columns) -> None:
        class Long:
            name = "list.csv"

            def open(self, mode: str) -> Any:
                return Endless(
                    [f"email,status\n{JANE},SUBSCRIBED\n".encode(), f",\n{BOB},SUBSCRIBED\n".encode()]
                )

        class Endless(io.RawIOBase):
            def __init__(self, ends: list[bytes]) -> None:
                self.ends, self.left = ends, 100 << 20

            def read(self, size: int = -1) -> bytes:
                if len(self.ends) == 2 or not self.left:
                    return self.ends.pop(0) if self.ends else b""
                piece = b"x" * min(size, self.left)
                self.left -= len(piece)
                return piece

        long: Any = Long()
        tracemalloc.start()
        rows = [(row.number, row.problem) for row in read_rows(long, columns=columns)]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert rows == [(2, None), (3, "invalid"), (4, None)]
        assert peak < 20 << 20


class TestFingerprint:
    def test_it_changes_with_the_file_and_the_key_only(self, tmp_path: Path) -> None:
        path = written(tmp_path, f"email\n{JANE}\n")
        before = fingerprint_of(path, key="k")
        assert before == fingerprint_of(path, key="k")
        assert before != fingerprint_of(path, key="other")
        written(tmp_path, f"email\n{BOB}\n")
        assert before != fingerprint_of(path, key="k")

    def test_only_a_file_has_one_and_a_missing_one_is_an_error(self, tmp_path: Path) -> None:
        assert fingerprint_of([JANE], key="k") is None
        with pytest.raises(SourceError, match="no such file"):
            fingerprint_of(tmp_path / "none", key="k")


ADDRESSES = st.sampled_from(
    [JANE, BOB, " JANE@EXAMPLE.COM ", "a@x.test", "broken", "", "Jane <jane@x.test>", "ü@ü.de"]
)


@settings(max_examples=300 if LONG else 100, deadline=None)
@given(st.lists(ADDRESSES, max_size=40))
def test_every_row_in_comes_out_exactly_once_in_order(items: list[str]) -> None:
    rows = list(read_rows(items))
    assert [row.number for row in rows] == list(range(1, len(items) + 1))
    usable = [row.subscriber for row in rows if row.problem is None]
    assert len(usable) == len(set(usable))
    for row, item in zip(rows, items, strict=True):
        if row.problem == "invalid":
            assert row.subscriber == item.strip()
        else:
            assert row.subscriber in usable


PARTS = st.sampled_from(
    [
        b"email",
        b"\n",
        b"\r\n",
        b",",
        b";",
        b'"',
        b"jane@example.com",
        b"{",
        b'{"email":"a@x.test"}',
        b"\xff\xfe",
        b"\0",
        b"status",
        b"subscription",
        b"UNSUBSCRIBED",
        b"7",
        b'{"email":"a@x.test","status":"SUBSCRIBED","subscription":"7"}',
    ]
)


@settings(
    max_examples=300 if LONG else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.lists(st.one_of(PARTS, st.binary(max_size=3)), max_size=25).map(b"".join),
        st.binary(max_size=40).map(gzip.compress),
    ),
    st.sampled_from(["a.csv", "a.txt", "a.jsonl", "a", "a.csv.gz"]),
    st.sampled_from([None, "utf-8", "cp1252", "utf-16", "shift_jis"]),
)
@pytest.mark.parametrize("columns", [Columns(), ALL, Columns(status="status", subscription="subscription")])
@example(b"email\n\xed\xa0\x80@x.test", "a.csv", None)
@example(b'"', "a.csv", None)
def test_arbitrary_bytes_give_rows_or_a_source_error_that_shows_no_address(
    tmp_path: Path, columns: Columns, content: bytes, name: str, encoding: str | None
) -> None:
    try:
        rows = list(
            read_rows(
                written(tmp_path, content, name), columns=columns, options=ReadOptions(encoding=encoding)
            )
        )
    except SourceError as error:
        assert not re.search(r"[^\s@]@|@[^\s@]", str(error))
        assert str(error).isprintable()
    else:
        numbers = [row.number for row in rows]
        assert numbers == sorted(set(numbers))
        for row in rows:
            assert msgspec.json.encode(row)
            assert "@" not in row.detail


def test_an_error_of_our_own_is_not_taken_for_one_of_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lines_module, "LONGEST_LINE", None)
    with pytest.raises(TypeError):
        places(written(tmp_path, "email\n"))
