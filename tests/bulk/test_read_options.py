"""How a source is read: options by name, headers where they are, files of another form as one error, words as exports
have them."""

from __future__ import annotations

import json
import sqlite3
from collections import namedtuple
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.files import Files
from airflow_provider_hubprefs.bulk.source.options import ReadOptions
from airflow_provider_hubprefs.bulk.source.reader import read_rows
from airflow_provider_hubprefs.bulk.source.row import Counts, Wanted
from airflow_provider_hubprefs.hubspot.errors import ValidationError

if TYPE_CHECKING:
    from pathlib import Path

JANE, BOB, CY = "jane@example.com", "bob@example.com", "cy@example.com"


def written(folder: Path, content: str | bytes, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def sent(source: Any, columns: Columns | None = None, **options: Any) -> list[str]:
    """Addresses of the rows that can be sent; there are no others."""
    rows = list(read_rows(source, columns=columns or Columns(), options=ReadOptions.of(options)))
    assert [row.problem for row in rows] == [None] * len(rows), [row.detail for row in rows]
    return [row.subscriber for row in rows]


def refused(source: Any, columns: Columns | None = None, **options: Any) -> str:
    """The error that reading ends with, before its first row."""
    with pytest.raises(SourceError) as caught:
        next(read_rows(source, columns=columns or Columns(), options=ReadOptions.of(options)))
    assert not any(address in str(caught.value) for address in (JANE, BOB, CY))
    assert str(caught.value).isprintable()
    return str(caught.value)


class TestOptions:
    @pytest.mark.parametrize(
        "given", [None, "", "None", {}, "{}", {"encoding": None, "delimiter": "", "where": "None"}]
    )
    def test_what_is_empty_after_jinja_is_left_out(self, given: Any) -> None:
        assert ReadOptions.of(given) == ReadOptions()

    def test_texts_of_jinja_are_understood(self) -> None:
        given = {"header": " false", "skip_lines": "3", "delimiter": r"\t"}
        assert ReadOptions.of(given) == ReadOptions.of(json.dumps(given)) == ReadOptions.of(str(given))
        assert ReadOptions.of(given) == ReadOptions(header=False, skip_lines=3, delimiter="\t")

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            (7, "read_options: expected a mapping such as .*, got 7"),
            ("delimiter=;", "read_options: expected a mapping"),
            ("[1]", "read_options: expected a mapping"),
            ({"sep": ";"}, "read_options: expected format, .*, got 'sep'"),
            ({7: ";"}, "read_options: expected format, .*, got 7"),
            ({"format": "xlsx"}, "format: expected csv, lines, jsonl, parquet, got 'xlsx'"),
            ({"format": ["csv"]}, "format: expected csv"),
            ({"encoding": "klingon"}, "encoding: expected one that is known"),
            ({"delimiter": 5}, "delimiter: expected one character"),
            ({"header": "maybe"}, "header: expected True or False, got 'maybe'"),
            ({"skip_lines": -1}, "skip_lines: expected a whole number of lines, got -1"),
            ({"skip_lines": True}, "skip_lines: expected a whole number"),
            ({"skip_lines": 1.5}, "skip_lines: expected a whole number"),
            ({"where": ["x"]}, "where: expected columns and values"),
            ({"where": {"x": []}}, "where: x: expected a text, a number, or a list of them"),
            ({"where": {"x": {"y": 1}}}, "where: x: expected a text"),
            ({"status_values": {"TRUE": "OUT"}}, "status_values: TRUE: expected SUBSCRIBED, UNSUBSCRIBED"),
            ({"status_values": {"opted out": "SUBSCRIBED"}}, "expected UNSUBSCRIBED, as it says"),
            ({"status_values": {"1": "SUBSCRIBED", 1.0: "UNSUBSCRIBED"}}, "expected SUBSCRIBED, as it says"),
            ({"status_values": {"": "SUBSCRIBED"}}, "expected no SUBSCRIBED for an empty cell"),
            ({"format": "parquet", "encoding": "cp1252"}, "expected no encoding with format='parquet'"),
            ({"format": "jsonl", "delimiter": ";"}, "expected no delimiter with format='jsonl'"),
            ({"format": "lines", "where": {"x": 1}}, "expected no where with format='lines'"),
            ({"where": {"x": {JANE: 1}}}, r"where: x: .*\*\*\*"),
        ],
    )
    def test_what_cannot_be_is_refused_by_name(self, given: Any, text: str) -> None:
        with pytest.raises(ValidationError, match=text) as caught:
            ReadOptions.of(given)
        assert JANE not in str(caught.value)

    @pytest.mark.parametrize(
        ("columns", "options", "text"),
        [
            (Columns(), {"header": False}, "email_column: expected a column's number from 1"),
            (Columns("1", status="state"), {"header": False}, "status_column: expected a column's number"),
            (Columns("1"), {"header": False, "where": {"x": 1}}, "where: expected a column's number"),
            (Columns(), {"status_values": {"x": "UNSUBSCRIBED"}}, "status_values only with status_column"),
            (Columns(), {"encoding": "cp1252"}, "expected encoding only with source"),
            (Columns("mail"), {"format": "lines"}, "expected format only with source"),
        ],
    )
    def test_what_makes_no_sense_with_the_columns_or_the_source_is_refused_before_any_row(
        self, columns: Columns, options: dict[str, Any], text: str
    ) -> None:
        with pytest.raises(ValidationError, match=text):
            read_rows([JANE], columns=columns, options=ReadOptions.of(options))

    @pytest.mark.parametrize("columns", [Columns("mail"), Columns(status="status")])
    def test_one_address_a_line_has_no_columns(self, tmp_path: Path, columns: Columns) -> None:
        with pytest.raises(ValidationError, match="_column: expected none with format='lines'"):
            read_rows(tmp_path / "any", columns=columns, options=ReadOptions(format="lines"))


class TestWhatIsTheHeader:
    @pytest.mark.parametrize(
        "content",
        [
            "sep=;\nemail;name\n{}; Jane, of X\n",
            '"sep=,"\r\nname,email\r\nx,{}\r\n',
            "\ufeffSEP=|\nemail|name\n{}|x\n",
            "\ufeffsep=\t\nname\temail\nx\t{}\n",
            "\nsep=~\nname~email\nx~{}\n",
        ],
    )
    @pytest.mark.parametrize("name", ["a.csv", "a.txt", "a"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_sep_names_the_delimiter(self, tmp_path: Path, content: str, name: str, encoding: str) -> None:
        text = content.format(JANE)
        data = (text.lstrip("\ufeff") if encoding == "utf-16" else text).encode(encoding)
        assert sent(written(tmp_path, data, name)) == [JANE]

    @pytest.mark.parametrize(
        "before", ["Unsubscribed on 2026-11-01\n\n", "Report;by\n", 'By jane "JD\n', f"For {JANE}\n"]
    )
    @pytest.mark.parametrize("name", ["a.csv", "a.txt"])
    def test_lines_before_it_are_named_with_how_to_skip_them(
        self, tmp_path: Path, before: str, name: str
    ) -> None:
        path = written(tmp_path, f"{before}Name;Email\nx;{BOB}\n", name)
        lines = before.count("\n")
        said = refused(path)
        assert f"Line {lines + 1} has it" in said
        assert f"read_options={{'skip_lines': {lines}}}" in said
        rows = list(read_rows(path, options=ReadOptions(skip_lines=lines)))
        assert [(row.number, row.subscriber) for row in rows] == [(lines + 2, BOB)]

    def test_skipping_all_lines_leaves_an_empty_file(self, tmp_path: Path) -> None:
        assert "has only blank lines" in refused(written(tmp_path, f"email\n{JANE}\n"), skip_lines=2)

    @pytest.mark.parametrize("char", "\u00a0\u200b\ufeff\u00ad\u200e\u202e\u3000\u2060\ufe0f")
    def test_invisible_characters_of_names_do_not_matter_and_hide_no_list(
        self, tmp_path: Path, char: str
    ) -> None:
        within = "" if char.isspace() else char
        path = written(tmp_path, f"{char}E-{within}Mail{char},Created{char}at\nx@y.test,1\n")
        assert sent(path, Columns("e-mail")) == ["x@y.test"]
        assert "There are: " in refused(path)
        assert "Created" in refused(path)
        spaced = written(tmp_path, f"Email{char if char.isspace() else within + ' '}Address\nx@y.test\n")
        assert sent(spaced, Columns("email address")) == ["x@y.test"]
        assert sent([{f"{char}Email{char}": JANE}]) == [JANE]

    def test_a_header_in_another_encoding_is_listed_with_what_to_declare(self, tmp_path: Path) -> None:
        said = refused(written(tmp_path, f"Pr\u00e9nom,Courriel\nJ,{JANE}\n".encode("cp1252")))
        assert '"Courriel"' in said
        assert "encoding" in said

    def test_a_column_in_another_encoding_is_so_whatever_it_is_for(self, tmp_path: Path) -> None:
        path = written(tmp_path, f"email;D\u00e9sabonn\u00e9\n{JANE};oui\n".encode("cp1252"))
        assert "encoding" in refused(path, where={"D\u00e9sabonn\u00e9": "oui"})
        assert "encoding" in refused(path, Columns(status="D\u00e9sabonn\u00e9"))

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
    @pytest.mark.parametrize("declared", ["utf-8", "utf-16-le", "cp1252"])
    def test_a_byte_order_mark_counts_more_than_the_encoding_that_is_declared(
        self, tmp_path: Path, encoding: str, declared: str
    ) -> None:
        """Files of one folder have one declaration; a mark begins no text in any other encoding."""
        for name, text in (("a.csv", f"email,n\n{JANE},\u00fc\n"), ("a.jsonl", f'{{"email": "{JANE}"}}\n')):
            assert sent(written(tmp_path, text.encode(encoding), name), encoding=declared) == [JANE]

    @pytest.mark.parametrize(
        "content",
        [
            f'"Name", "Email"\n"Bob, Jr.", "{BOB}"\n',
            f'Name,Email\n"Bob" , "{BOB}"\n',
            f'Name; "Email" \n "Bob; Jr." ;  "{BOB}"\n',
            f' "Email" , "Name"\n "{BOB}" , "a ""b"" , c"\n',
        ],
    )
    def test_spaces_around_quotes_are_none(self, tmp_path: Path, content: str) -> None:
        assert sent(written(tmp_path, content)) == [BOB]

    def test_a_line_within_one_pair_of_quotes_is_called_so(self, tmp_path: Path) -> None:
        said = refused(written(tmp_path, f'"name,email"\n"Bob,{BOB}"\n'))
        assert "whole line 1 is within one pair of quotes" in said
        (row,) = read_rows(written(tmp_path, f'name,email\n"Bob,{BOB}"\n'))
        assert (row.subscriber, row.problem) == (f"Bob,{BOB}", "invalid")
        assert row.detail == "the whole line is within one pair of quotes, so it is one cell"

    @pytest.mark.parametrize("name", ["part-0001", "part.csv", "part.txt", "part.csv.0"])
    @pytest.mark.parametrize("delimiter", [",", "\t", "|", ";"])
    def test_without_one_columns_are_numbers(self, tmp_path: Path, name: str, delimiter: str) -> None:
        text = f'7{delimiter}{JANE}{delimiter}opted out\n8{delimiter}{BOB}{delimiter}"Unsubscribed"\n'
        columns = Columns("2", status="3", subscription="1")
        rows = list(
            read_rows(written(tmp_path, text, name), columns=columns, options=ReadOptions(header=False))
        )
        assert [(row.number, row.subscriber, row.wanted) for row in rows] == [
            (1, JANE, Wanted(status="UNSUBSCRIBED", subscription_id=7)),
            (2, BOB, Wanted(status="UNSUBSCRIBED", subscription_id=8)),
        ]
        assert "there is no column 4 (email)" in refused(
            written(tmp_path, text, name), Columns("4"), header=False
        )
        assert sent(written(tmp_path, f"{JANE}\n", name), Columns("1"), header=False) == [JANE]


class TestAFileOfAnotherForm:
    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            ("a.txt", f"E-Mail\tSince\n{JANE}\t2026\n", 'There are: "E-Mail", "Since"'),
            ("a.txt", f"E-Mail\tSince\n{JANE}\t2026\n".encode("utf-16"), 'There are: "E-Mail", "Since"'),
            ("a.txt", f"{JANE};Jane\n{BOB};Bob\n", "looks like data"),
            ("a.txt", "5f4dcc3b\n1d7ed2a9\n", "none of its first 2 lines is an address"),
            ("a.txt", f"email\n{JANE}\n".encode("utf-16-le"), "NUL bytes"),
            ("a.txt", f"email\n{JANE}\n".encode("utf-16-be"), "NUL bytes"),
            ("a.jsonl", f'{{"email": "{JANE}"}}\n'.encode("utf-16-le"), "NUL bytes"),
            ("a.json", f'[{{"email": "{JANE}"}}]', "is a JSON array"),
            ("a", f'{{\n  "email": "{JANE}"\n}}\n', "its first line is no whole JSON object"),
            (
                "a.json",
                f'{{"results": [\n  {{"email": "{JANE}"}}\n]}}',
                "its first line is no whole JSON object",
            ),
            ("a.txt", f'[\n{{"email": "{JANE}"}}\n]', "is a JSON array"),
            ("a.txt", f'{{\n"email": "{JANE}"\n}}\n', "its first line is no whole JSON object"),
            ("a.txt", f"<html>\n<p>{JANE}</p>\n", "none of its first 2 lines is an address"),
            ("a.txt", f'"{JANE}"\n"{BOB}"\n', "email_column='1'"),
            ("a.txt", f"{JANE}, {BOB}\n", "Of each row only one address is read"),
            ("a.jsonl", f"{{'email': '{JANE}'}}\n", "its first line is no whole JSON object"),
            (
                "a.jsonl",
                f'{{"email": "{JANE}"}}{{"email": "{BOB}"}}\n',
                "its first line is no whole JSON object",
            ),
            ("a.avro", b"Obj\x01\x04\x14avro.codec", "is an Avro file"),
            ("a.feather", b"ARROW1\x00\x00\xff", "is an Arrow file"),
            ("a.jsonl", f"email\n{JANE}\n", "none of its first 2 lines is JSON"),
            (
                "a.json",
                f'{{"results": [{{"email": "{JANE}"}}]}}',
                r'no column is called "email". There are: "results"',
            ),
            ("a.jsonl", f'{{"mail": "{JANE}"}}\n' * 3, 'no column is called "email". There are: "mail"'),
        ],
    )
    def test_is_one_error(self, tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
        assert says in refused(written(tmp_path, content, name))

    def test_a_column_that_is_asked_for_is_not_looked_for_in_vain(self, tmp_path: Path) -> None:
        path = written(tmp_path, f"Address\n{JANE}\n", "a.txt")
        assert "email_column names one" in refused(path, Columns("Mail"))
        assert 'no column is called "state"' in refused([{"email": JANE}], Columns(status="state"))
        assert 'no column is called "mail"' in refused([{"email": JANE}, {"email": BOB}], Columns("mail"))

    def test_a_format_can_be_declared_whatever_the_name_says(self, tmp_path: Path) -> None:
        assert sent(written(tmp_path, f"{JANE}\n{BOB}\n", "a.jsonl"), format="lines") == [JANE, BOB]
        assert sent(written(tmp_path, f'"{JANE}"\n', "a.txt"), format="jsonl") == [JANE]
        assert sent(written(tmp_path, f"email\n{JANE}\n", "a.json"), format="csv") == [JANE]
        table = written(tmp_path, b"", "a.bin")
        parquet.write_table(pa.table({"email": [JANE]}), table)
        assert sent(table, format="parquet") == [JANE]
        assert "is a Parquet file" in refused(table, format="csv")
        assert "whose columns have names" in refused(table, skip_lines=1)

    def test_json_as_python_writes_it_is_read(self, tmp_path: Path) -> None:
        lines = [json.dumps({"email": JANE, "n": float("nan")}), f'{{"email": "{BOB}", "n": "\\ud83d"}}']
        path = written(tmp_path, "\n".join(lines), "a.jsonl")
        assert sent(path) == [JANE, BOB]

    def test_a_byte_of_another_encoding_matters_in_json_only_where_it_is(self, tmp_path: Path) -> None:
        content = f'{{"email": "m\u00fcller@x.test"}}\n{{"email": "{JANE}", "n": "\u00fc"}}\n'.encode(
            "cp1252"
        )
        bad, good = read_rows(written(tmp_path, content, "a.jsonl"))
        assert "byte 2 of the address is not in the file's encoding" in bad.detail
        assert (good.subscriber, good.problem) == (JANE, None)

    def test_one_damaged_line_is_one_row_as_before(self, tmp_path: Path) -> None:
        path = written(tmp_path, f'{{"email": "x\n{{"email": "{JANE}"}}\n', "a.jsonl")
        assert [row.problem for row in read_rows(path)] == ["invalid", None]
        path = written(tmp_path, f"no address\n{JANE}\n", "a.txt")
        assert [row.problem for row in read_rows(path)] == ["invalid", None]


FLAGS = [True, "TRUE ", "1", "yes", False, "no", None, "", 1, 1.0, 0]
YES = [0, 1, 2, 3, 8, 9]


class TestOnlySomeRows:
    def table(self, folder: Path, kind: str) -> Any:
        rows = [{"email": f"p{at}@x.test", "Opted Out": flag} for at, flag in enumerate(FLAGS)]
        if kind == "mappings":
            return rows
        if kind == "jsonl":
            return written(folder, "\n".join(map(json.dumps, rows)), "a.jsonl")
        lines = [f"{row['email']},{'' if row['Opted Out'] is None else row['Opted Out']}" for row in rows]
        return written(folder, "\n".join(["email,OPTED OUT", *lines]))

    @pytest.mark.parametrize("kind", ["mappings", "jsonl", "csv"])
    def test_rows_without_one_of_the_values_are_counted_and_left_out(self, tmp_path: Path, kind: str) -> None:
        options = ReadOptions.of({"where": {"opted out": ["true", 1, "YES"]}})
        counts = Counts()
        rows = list(read_rows(self.table(tmp_path, kind), options=options, counts=counts))
        assert [row.subscriber for row in rows] == [f"p{at}@x.test" for at in YES]
        assert counts.skipped == len(FLAGS) - len(YES)

    @pytest.mark.parametrize(
        ("values", "wanted"),
        [
            (pa.array([True, False, None]), True),
            (pa.array([1.0, 0.0, None]), "1"),
            (pa.array(["Yes", "no", None]).dictionary_encode(), "yes "),
            (pa.array([7, 8, None]), ["7.0", 9]),
        ],
    )
    def test_parquet_too(self, tmp_path: Path, values: Any, wanted: Any) -> None:
        path = tmp_path / "a.parquet"
        parquet.write_table(pa.table({"email": [JANE, BOB, CY], "flag": values}), path)
        assert sent(path, where={"Flag": wanted}) == [JANE]
        assert sent(path, where={"flag": ""}) == [CY]

    def test_several_columns_must_all_match_also_one_that_is_read_anyway(self, tmp_path: Path) -> None:
        path = written(
            tmp_path, f"email,status,sub,x\n{JANE},opted out,7,a\n{BOB},opted out,8,a\n{CY},opted in,7,a\n"
        )
        columns = Columns(status="status", subscription="sub")
        assert sent(path, columns, where={"status": "Opted out", "sub": 7, "x": "A"}) == [JANE]

    def test_rows_that_are_left_out_repeat_and_contradict_none(self) -> None:
        people = [
            {"email": JANE, "status": status, "x": x} for status, x in (("no word", 0), ("opted in", 1))
        ]
        assert sent(people, Columns(status="status"), where={"x": 1}) == [JANE]

    def test_a_column_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        assert '"flag". There are: "email"' in refused(
            written(tmp_path, f"email\n{JANE}\n"), where={"flag": 1}
        )
        assert "where names one" in refused(written(tmp_path, f"{JANE}\n"), where={"flag": 1})
        for source in ([{"email": JANE}], written(tmp_path, f'{{"email": "{JANE}"}}', "a.jsonl")):
            assert 'no row has a field "flag"' in refused(source, where={"flag": 1})

    def test_a_file_without_a_field_is_none_without_rows_of_the_others(self, tmp_path: Path) -> None:
        written(tmp_path, f'{{"email": "{JANE}"}}\n', "1.jsonl")  # some warehouses leave out what is null
        written(tmp_path, f'{{"email": "{BOB}", "flag": true, "state": "opted out"}}\n', "2.jsonl")
        assert sent(Files(tmp_path), Columns(status="state"), where={"flag": True}) == [BOB]

    def test_a_row_that_cannot_be_taken_apart_is_not_left_out(self, tmp_path: Path) -> None:
        path = written(tmp_path, f'email,flag\n{JANE},1\n"{BOB},1\n')
        assert [row.problem for row in read_rows(path, options=ReadOptions.of({"where": {"flag": 1}}))] == [
            None,
            "invalid",
        ]


class TestWordsAndNumbers:
    @pytest.mark.parametrize(
        ("word", "status"),
        [
            ("Opted out", "UNSUBSCRIBED"),
            (" OPTED_OUT", "UNSUBSCRIBED"),
            ("opted-in", "SUBSCRIBED"),
            ("Subscribed", "SUBSCRIBED"),
            ("Not\u00a0specified ", "NOT_SPECIFIED"),
            ("Unsubscribed  from all email", "UNSUBSCRIBED"),
            ("Not opted in or out", "NOT_SPECIFIED"),
            ("not subscribed", None),  # of API v3: opted out, or neither
            ("NOT_SUBSCRIBED", None),
            ("unsubscribe", None),
            ("true", None),
            (True, None),
            (1, None),
        ],
    )
    def test_hubspots_labels_are_read_and_nothing_else_is_guessed(
        self, word: Any, status: str | None
    ) -> None:
        (row,) = read_rows([{"email": JANE, "status": word}], columns=Columns(status="status"))
        assert (row.wanted and row.wanted.status) == status
        assert (row.category == "INVALID_STATUS") == (status is None)

    def test_the_author_says_what_other_words_mean(self, tmp_path: Path) -> None:
        values = {"TRUE": "unsubscribed", 1: "UNSUBSCRIBED", "": "NOT_SPECIFIED"}
        options = ReadOptions.of({"status_values": values})
        columns = Columns(status="status")
        people = [
            {"email": f"p{at}@x.test", "status": word}
            for at, word in enumerate([True, "true", 1.0, "1", None])
        ]
        path = tmp_path / "a.parquet"
        parquet.write_table(pa.table({"email": [JANE, BOB], "status": [True, None]}), path)
        for source, last in ((people, 5), (path, 2)):
            rows = list(read_rows(source, columns=columns, options=options))
            said = [row.wanted and row.wanted.status for row in rows]
            assert said == ["UNSUBSCRIBED"] * (last - 1) + ["NOT_SPECIFIED"]

    @pytest.mark.parametrize("cell", ["123.0", " 123.000 ", 123, 123.0, "123"])
    def test_a_whole_number_is_one_however_it_is_written(self, cell: Any) -> None:
        (row,) = read_rows([{"email": JANE, "id": cell}], columns=Columns(subscription="id"))
        assert row.wanted == Wanted(subscription_id=123)

    @pytest.mark.parametrize(
        "cell",
        [
            123.5,
            "123.5",
            float("nan"),
            float("inf"),
            1e30,
            "1e30",
            "1.0.0",
            ".0",
            True,
            -1.0,
            "-1.0",
            2.0**60,
        ],
    )
    def test_and_no_other_is(self, cell: Any) -> None:
        (row,) = read_rows([{"email": JANE, "id": cell}], columns=Columns(subscription="id"))
        assert row.category == "INVALID_SUBSCRIPTION"

    def test_a_column_with_a_gap_is_one_of_floats_in_parquet(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        parquet.write_table(pa.table({"email": [JANE, BOB], "id": [348211900.0, None]}), path)
        first, second = read_rows(path, columns=Columns(subscription="id"))
        assert first.wanted == Wanted(subscription_id=348211900)
        assert second.detail == "the subscription is empty"


Person = namedtuple("Person", ["Email", "status"])


def of_sqlite() -> list[Any]:
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    return database.execute(f"SELECT '{JANE}' AS EMAIL, 'opted out' AS status").fetchall()


class Mapped(tuple[str, str]):
    """A row of SQLAlchemy: a tuple with its values by name."""

    @property
    def _mapping(self) -> dict[str, str]:
        return dict(zip(("email", "status"), self, strict=True))


class TestRowsOfADatabase:
    @pytest.mark.parametrize(
        "rows",
        [[Person(JANE, "opted out")], of_sqlite(), [Mapped((JANE, "opted out"))]],
        ids=["named", "sqlite", "sql"],
    )
    def test_named_rows_are_read_by_name(self, rows: Any) -> None:
        (row,) = read_rows(rows, columns=Columns(status="Status"))
        assert (row.subscriber, row.wanted) == (JANE, Wanted(status="UNSUBSCRIBED"))

    @pytest.mark.parametrize("kind", [tuple, list])
    def test_rows_without_names_are_read_by_position(self, kind: Any) -> None:
        people = [kind(one) for one in ((7, JANE, "x"), (8, BOB, "y"), (9, CY, "x"))]
        assert sent(people, Columns("2", subscription="1"), header=False, where={"3": "X"}) == [JANE, CY]
        assert "read_options={'header': False}" in refused(people)
        assert "read_options={'header': False}" in refused([kind((JANE, "Jane")), kind((BOB, "Bob"))])

    def test_a_row_that_is_too_short_is_invalid_and_no_other(self) -> None:
        rows = read_rows([(1,), (2, JANE)], columns=Columns("2"), options=ReadOptions(header=False))
        assert [row.problem for row in rows] == ["invalid", None]

    def test_lists_of_addresses_or_mappings_are_one_list(self) -> None:
        assert sent([[JANE, BOB], [], [CY]]) == [JANE, BOB, CY]
        assert sent(([JANE], ["x@y.test"])) == [JANE, "x@y.test"]
        assert sent([[{"email": JANE}], [{"email": BOB}, CY]]) == [JANE, BOB, CY]
        rows = list(read_rows([[JANE, "broken"], [BOB]]))
        assert [(row.number, row.problem) for row in rows] == [(1, None), (2, "invalid"), (3, None)]

    def test_a_data_frame_is_refused_with_what_to_give(self) -> None:
        with pytest.raises(SourceError, match="to_dict"):
            read_rows(pa.table({"email": [JANE]}))
