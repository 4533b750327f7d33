"""A file in shards: every line in exactly one of them, wherever the file is cut."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from airflow_provider_hubprefs.bulk import shards as shards_module
from airflow_provider_hubprefs.bulk.shards import Part, Shard, path_of, shard_of, split, told_of
from airflow_provider_hubprefs.bulk.source import Columns, SourceError, read_rows
from airflow_provider_hubprefs.hubspot.errors import ValidationError

pytestmark = pytest.mark.usefixtures("small_chunks")
Told = list[tuple[int, str, bool]]
SPANS = "a record spans lines"


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Line breaks are looked for in so small pieces that their edges fall everywhere."""
    monkeypatch.setattr(shards_module, "_CHUNK", 3)


def written(folder: Path, content: bytes | str, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def told(source: Any, **how: Any) -> Told:
    """Rows, but for what only a whole file can tell: which of them are repetitions."""
    return [(row.number, row.subscriber, row.problem == "invalid") for row in read_rows(source, **how)]


def told_by_shards(path: Path, shards: int, *, encoding: str | None = None, **how: Any) -> Told:
    """Rows of all shards, numbered as those of the whole file."""
    found: Told = []
    offset = 0
    for shard in split(path, shards, encoding=encoding):
        part = Part(path, shard, encoding=encoding)
        rows = told(part, encoding=encoding, **how)
        assert part.length is not None
        if shard.unit == "row_groups":
            found += rows
        else:
            found += [(offset + number, *rest) for number, *rest in rows]  # type: ignore[misc]
            offset += part.length
    return found


LINE_BREAKS = st.sampled_from([b"\n", b"\r\n", b"\r"])
PIECES = st.sampled_from(
    [
        b"jane@example.com",
        b"b@x.test",
        b"nobody",
        b",",
        b'"',
        b'""',
        b" ",
        "ü".encode(),
        b"\n",
        b"\r\n",
        b"\r",
    ]
)
BODIES = st.lists(PIECES, max_size=40).map(b"".join)
HEADS = st.sampled_from(
    [b"email,name\n", b"\xef\xbb\xbfemail,name\r\n", b"\n\r\nname,email\r", b'"name",email\n', b"", b" \n"]
)
FAST = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FAST
@given(HEADS, BODIES, st.integers(1, 12), st.sampled_from(["list.csv", "list.txt", "list"]))
@example(b"email,name\n", b'jane@example.com,"a\nb@x.test,\nb"\nb@x.test,\n', 5, "list.csv")
@example(b"email,name\n", b'b@x.test,5" pipe\n' * 9, 7, "list.csv")
@example(b"email,name\r\n", b"b@x.test\r\n" * 9, 50, "list.csv")
@example(b"b@x.test\r", b"x\n\n,", 8, "list.txt")
def test_the_shards_together_have_every_row_of_the_file_once(
    tmp_path: Path, head: bytes, body: bytes, shards: int, name: str
) -> None:
    path = written(tmp_path, head + body, name)
    try:
        whole = told(path)
    except SourceError:
        with pytest.raises(SourceError):
            told_by_shards(path, shards)
        return
    try:
        by_shards = told_by_shards(path, shards)
    except SourceError as error:
        assert SPANS in str(error)
        assert b'"' in head + body
    else:
        assert by_shards == whole


@FAST
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"jane@example.com", b"b@x.test", b"nobody", b"", b'"bob@example.com"']),
            st.sampled_from([b"", b"Jane", b'"Doe, Jane"', b'"5"" pipe"', b'""', b'"said ""so"""']),
            LINE_BREAKS,
        ),
        max_size=20,
    ),
    st.integers(1, 12),
)
def test_ordinary_quotes_are_in_nobodys_way(
    tmp_path: Path, records: list[tuple[bytes, bytes, bytes]], shards: int
) -> None:
    body = b"".join(b"%s,%s%s" % record for record in records)
    path = written(tmp_path, b"email,name\n" + body)
    assert told_by_shards(path, shards) == told(path)


@FAST
@given(
    st.lists(st.sampled_from(["jane@example.com", "ü@ü.test", ""]), min_size=1, max_size=20),
    st.integers(1, 12),
)
def test_lines_of_json_and_declared_encodings_too(tmp_path: Path, people: list[str], shards: int) -> None:
    lines = "".join(f'{{"email": "{one}"}}\n' for one in people)
    path = written(tmp_path, lines, "list.jsonl")
    assert told_by_shards(path, shards) == told(path)
    path = written(tmp_path, ("email\n" + "\n".join(people)).encode("cp1252"))
    assert told_by_shards(path, shards, encoding="cp1252") == told(path, encoding="cp1252")


def test_a_record_that_spans_lines_is_noticed_before_the_first_row(tmp_path: Path) -> None:
    # Within the quoted field are 900 lines that look like rows.
    inside = "".join(f"person-{number}@example.com,x\n" for number in range(900))
    path = written(tmp_path, f'email,note\njane@example.com,"{inside}"\n' + "bob@example.com,\n" * 2000)
    third = split(path, 20)[2]
    rows = read_rows(Part(path, third))
    with pytest.raises(SourceError, match=f"{SPANS}.*without shards"):
        next(rows)


def test_a_header_that_spans_lines_is_an_error_in_every_shard(tmp_path: Path) -> None:
    path = written(tmp_path, 'email,"two\nlines"\n' + "jane@example.com,\n" * 10)
    for shard in split(path, 2):
        with pytest.raises(SourceError, match=SPANS):
            next(read_rows(Part(path, shard)))
    assert len(told(path)) == len(told_by_shards(path, 1)) == 10


@pytest.mark.parametrize("content", ["email\n", "email", "email\njane@example.com", "jane@example.com"])
def test_fewer_lines_than_shards(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, content)
    assert told_by_shards(path, 40) == told(path)
    assert len(split(path, 40)) == len(content) if len(content) < 40 else 40


def test_an_empty_file_and_one_that_is_missing_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is empty"):
        split(written(tmp_path, ""), 4)
    with pytest.raises(SourceError, match="no such file"):
        split(tmp_path / "none.csv", 4)


@pytest.mark.parametrize("shards", [0, -1, True, 1.5])
def test_a_number_of_shards_that_is_none_is_an_error(tmp_path: Path, shards: Any) -> None:
    with pytest.raises(ValidationError, match="shards: expected a whole number of at least 1"):
        split(written(tmp_path, "email\n"), shards)


TEXT = "email\njane@example.com\nü@x.test\n"


@pytest.mark.parametrize(
    ("content", "encoding", "says"),
    [
        (gzip.compress(TEXT.encode(), mtime=0), None, "compressed"),
        (TEXT.encode("utf-16"), None, "utf-16"),
        (TEXT.encode("utf-16-le"), "utf-16-le", "utf-16-le"),
        (TEXT.encode("utf-32"), None, "utf-32"),
        (TEXT.encode("shift_jis", "replace"), "shift_jis", "shift_jis"),
        (TEXT.encode("iso2022_jp", "replace"), "iso2022_jp", "iso2022_jp"),
        (TEXT.encode("hz", "replace"), "hz", "hz"),
        (TEXT.encode("utf-7"), "utf-7", "utf-7"),
        (TEXT.encode("cp500"), "cp500", "cp500"),
    ],
    ids=["gzip", "utf-16", "utf-16-le", "utf-32", "shift_jis", "iso2022_jp", "hz", "utf-7", "cp500"],
)
def test_what_cannot_be_cut_is_one_shard_and_the_log_says_why(
    tmp_path: Path, content: bytes, encoding: str | None, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, content)
    assert len(split(path, 4, encoding=encoding)) == 1
    assert "one shard instead of 4" in caplog.text
    assert says in caplog.text
    assert told_by_shards(path, 4, encoding=encoding) == told(path, encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1250", "ascii", "koi8-r"])
def test_encodings_of_one_byte_a_character_can_be_cut(tmp_path: Path, encoding: str) -> None:
    assert len(split(written(tmp_path, TEXT), 4, encoding=encoding)) == 4


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 12))
def test_parquet_is_cut_between_row_groups(tmp_path: Path, rows: int, row_group: int, shards: int) -> None:
    path = tmp_path / "list.parquet"
    table = pa.table({"email": pa.array([f"p{number}@x.test" for number in range(rows)], pa.string())})
    parquet.write_table(table, path, row_group_size=row_group)
    groups = -(-rows // row_group)
    made = split(path, shards)
    assert len(made) == max(1, min(shards, groups))
    assert told_by_shards(path, shards) == told(path)
    assert len(told(path)) == rows
    if groups >= shards:
        assert all(shard.begin < shard.end for shard in made)
        assert max(shard.end - shard.begin for shard in made) <= -(-groups // shards) + 1


def test_a_file_that_changed_since_it_was_split_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT)
    first, *_ = split(path, 2)
    os.utime(path, (1, 1))
    with pytest.raises(SourceError, match=r"'list.csv': has changed since it was split.*Clear the task"):
        next(read_rows(Part(path, first)))


def test_a_shard_goes_through_json(tmp_path: Path) -> None:
    (shard, _) = split(written(tmp_path, TEXT), 2)
    assert shard_of(told_of(shard)) == shard
    assert isinstance(told_of(shard)["version"], str)


@pytest.mark.parametrize("value", [None, 3, {}, {"number": 1}, "{{ x }}"])
def test_what_is_no_shard_is_named(value: Any) -> None:
    with pytest.raises(ValidationError, match="shard: expected one of those a split returns"):
        shard_of(value)


@pytest.mark.parametrize(
    ("name", "told_name"),
    [
        ("report.json", "report.shard-0003.json"),
        ("a.b.jsonl", "a.b.shard-0003.jsonl"),
        ("report", "report.shard-0003"),
        (".report", ".report.shard-0003"),
    ],
)
def test_every_shard_writes_to_places_of_its_own(tmp_path: Path, name: str, told_name: str) -> None:
    shard = Shard(number=3, of=4, unit="bytes", begin=0, end=1, size=1, version="")
    assert path_of(tmp_path / name, shard) == tmp_path / told_name


def test_no_shard_reads_more_than_its_part(tmp_path: Path) -> None:
    read = 0

    class Counted:
        def __init__(self, path: Path) -> None:
            self.name = path.name
            self.stat = path.stat
            self._path = path

        def open(self, mode: str) -> Any:
            class Stream:
                def __init__(self, file: Any) -> None:
                    self._file = file
                    self.seek = file.seek
                    self.close = file.close

                def read(self, length: int) -> bytes:
                    nonlocal read
                    data: bytes = self._file.read(length)
                    read += len(data)
                    return data

                def __enter__(self) -> Any:
                    return self

                def __exit__(self, *_: object) -> None:
                    self.close()

            return Stream(self._path.open(mode))

    path = written(tmp_path, "email\n" + "".join(f"person-{n}@example.com\n" for n in range(100_000)))
    file = Counted(path)
    shards = split(file, 4)
    assert read < 100
    columns = Columns()
    assert sum(1 for shard in shards for _ in read_rows(Part(file, shard), columns=columns)) == 100_000
    assert read < path.stat().st_size * 1.3
