"""One file, a list, a glob or a folder: read as one source, in order, and every change of it is noticed."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import parquet

from airflow_provider_hubprefs.bulk.source import text
from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.errors import ContradictionError, SourceError
from airflow_provider_hubprefs.bulk.source.files import Files, fingerprint_of
from airflow_provider_hubprefs.bulk.source.reader import read_rows, reader_of
from airflow_provider_hubprefs.bulk.source.row import Row
from airflow_provider_hubprefs.bulk.source.size import SourceSize

A, B, C, D = (f"{name}@example.com" for name in "abcd")


@pytest.fixture(params=["pathlib", "file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    attach("memory", fs=MemoryFileSystem())
    kinds: dict[str, Callable[[], Any]] = {
        "pathlib": lambda: tmp_path / "unload",
        "file": lambda: ObjectStoragePath(f"file://{tmp_path}/unload"),
        "memory": lambda: ObjectStoragePath("memory://bucket/unload"),
    }
    found = kinds[request.param]()
    yield found
    MemoryFileSystem.store.clear()


def write(folder: Any, **files: Any) -> Any:
    for name, content in files.items():
        path = folder
        for part in name.replace("__", "/").replace("_csv", ".csv").split("/"):
            path = path / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def places(source: Any, **options: Any) -> list[tuple[str | None, int, str, str | None]]:
    rows = list(read_rows(source, **options))
    assert [row.number for row in rows] == sorted({row.number for row in rows})
    return [(row.file, row.position, row.subscriber, row.problem) for row in rows]


def test_a_folder_is_read_in_the_order_of_the_names_each_file_with_its_header(folder: Any) -> None:
    write(folder, p2_csv=f"name;EMAIL\n\nx;{B}\n", p1_csv=f"email,name\n{A},x\n", p10_csv=f"{C}\n")
    assert places(Files(folder)) == [
        ("p1.csv", 2, A, None),
        ("p10.csv", 1, C, None),
        ("p2.csv", 3, B, None),
    ]


def test_formats_and_compressions_may_differ(folder: Any, tmp_path: Path) -> None:
    table = tmp_path / "table"
    parquet.write_table(pa.table({"email": [C]}), table)
    packed = gzip.compress(f"email\n{A}\n".encode())
    write(folder, **{"1": packed, "2": f'{{"email": "{B}"}}\n', "3": table.read_bytes()})
    assert [row.subscriber for row in read_rows(Files(folder))] == [A, B, C]


def test_subfolders_are_read_and_what_warehouses_leave_beside_the_data_is_not(folder: Any) -> None:
    write(
        folder,
        day=f"email\n{A}\n",
        month=f"email\n{B}\n",
        _SUCCESS="",
        _temporary__part_csv="email\nnone@example.com\n",
        **{".part.csv.crc": b"\x00", "date=2026-01-01__part_csv": f"email\n{C}\n"},
    )
    assert [row.file for row in read_rows(Files(folder))] == ["date=2026-01-01/part.csv", "day", "month"]


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("part-*.csv", ["part-1.csv", "part-2.csv"]),
        ("part-?.csv", ["part-1.csv", "part-2.csv"]),
        ("part-[2-9]*", ["part-2.csv", "part-2.txt"]),
        ("*/part-*", ["part-3.csv"]),
        ("**/part-*.csv", ["deep/part-3.csv", "part-1.csv", "part-2.csv"]),
    ],
)
def test_a_glob_reads_what_matches(folder: Any, pattern: str, files: list[str]) -> None:
    names = ["part-1_csv", "part-2_csv", "part-2.txt", "other_csv", "deep__part-3_csv", "_part-9_csv"]
    write(folder, **dict.fromkeys(names, f"email\n{A}\n"))
    assert [row.file for row in read_rows(Files(folder / pattern))] == files


def test_a_list_keeps_its_order_and_reads_a_file_once(folder: Any) -> None:
    write(folder, x__1_csv=f"email\n{A}\n", y__1_csv=f"email\n{B}\n", y__2_csv=f"email\n{C}\n")
    files = Files([folder / "y" / "2.csv", folder / "x" / "1.csv", folder / "y" / "*.csv"])
    assert places(files) == [
        ("y/2.csv", 2, C, None),
        ("x/1.csv", 2, A, None),
        ("y/1.csv", 2, B, None),
    ]


def test_one_file_needs_no_name_and_may_have_wildcards_in_its_own(folder: Any) -> None:
    write(folder, **{"list [final]_csv": f"email\n{A}\n"})
    assert places(Files(folder / "list [final].csv")) == [(None, 2, A, None)]


def test_duplicates_are_found_across_files_and_name_file_and_row(folder: Any) -> None:
    write(folder, p1_csv=f"email\n{A}\n{B}\n", p2_csv=f"email\n\n{C}\n{B}\n", p3_csv=f"email\n{C}\n")
    details = [(row.file, row.position, row.detail) for row in read_rows(Files(folder)) if row.problem]
    assert details == [
        ("p2.csv", 4, "first in row 3 of 'p1.csv'"),
        ("p3.csv", 2, "first in row 3 of 'p2.csv'"),
    ]


def test_contradictions_are_found_across_files_and_name_file_and_row(folder: Any) -> None:
    columns = Columns(status="status")
    write(
        folder,
        p1_csv=f"email,status\n{A},SUBSCRIBED\n{B},SUBSCRIBED\n",
        p2_csv="email,status\n",
        p3_csv=f"status,email\nUNSUBSCRIBED,{A}\n",
    )
    with pytest.raises(ContradictionError, match=r"row 2 of 'p1.csv' and row 2 of 'p3.csv'\."):
        next(read_rows(Files(folder), columns=columns))
    rows = list(read_rows(Files(folder), columns=columns, on_conflict="last"))
    assert [(row.subscriber, row.detail) for row in rows] == [
        (A, "row 2 of 'p3.csv' counts"),
        (B, ""),
        (A, ""),
    ]


def test_a_file_without_the_column_is_named(folder: Any) -> None:
    write(folder, p1_csv=f"email\n{A}\n", p2_csv="name\nJane\n")
    with pytest.raises(SourceError, match=r"'p2.csv': no column is called \"email\""):
        list(read_rows(Files(folder)))


@pytest.mark.parametrize("empty", [b"", gzip.compress(b"", mtime=0), b"\n"])
def test_an_empty_file_among_others_has_no_rows(
    folder: Any, empty: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, p1_csv=empty, p2_csv=f"email\n{A}\n")
    with caplog.at_level(logging.WARNING):
        assert places(Files(folder)) == [("p2.csv", 2, A, None)]
    assert "'p1.csv'" in caplog.text
    write(folder, p2_csv=empty)
    with pytest.raises(SourceError, match="All files of the source are empty"):
        list(read_rows(Files(folder)))


@pytest.mark.parametrize(
    ("below", "named"), [("part-*.csv", "'unload/part-*.csv'"), (".", "'unload/'"), ("none/*", "'none/*'")]
)
def test_where_nothing_is_found_the_pattern_is_named(folder: Any, below: str, named: str) -> None:
    write(folder, _SUCCESS="")
    with pytest.raises(SourceError) as caught:
        list(read_rows(Files(folder if below == "." else folder / below)))
    assert str(caught.value).startswith(f"{named}: no files found")


def test_a_missing_file_of_a_list_is_named(folder: Any) -> None:
    write(folder, p1_csv=f"email\n{A}\n")
    files = Files([folder / "p1.csv", folder / "p2.csv"])
    for ask in (lambda: fingerprint_of(files, key="k"), lambda: SourceSize(files).rows_at_most()):
        with pytest.raises(SourceError, match=r"'p2.csv': there is no such file"):
            ask()


def test_an_empty_list_is_an_error() -> None:
    with pytest.raises(SourceError, match="the list is empty"):
        list(read_rows(Files([])))


def test_a_store_that_does_not_answer_is_an_error_and_leaves_no_file_out() -> None:
    class Gone:
        name, parts = "part-1.csv", ("bucket", "part-1.csv")

        def stat(self) -> Any:
            raise ConnectionResetError(104, "Connection reset by peer")

    class Bucket:
        name, parts, parent = "part-*", ("bucket", "part-*"), None

        def open(self, mode: str) -> Any:
            raise AssertionError

        def stat(self) -> Any:
            raise FileNotFoundError

        def glob(self, pattern: str) -> list[Gone]:
            return [Gone()]

    path: Any = Bucket()
    path.parent = type("Folder", (), {"name": "bucket", "parts": ("bucket",), "glob": path.glob})()
    with pytest.raises(SourceError, match=r"'bucket/part-\*': cannot be read .ConnectionResetError"):
        Files(path).found()


class TestChanges:
    @pytest.mark.parametrize("columns", [Columns(), Columns(status="status")])
    @pytest.mark.parametrize("what", ["added", "removed", "changed"])
    def test_are_noticed_when_the_source_has_been_read(
        self, folder: Any, what: str, columns: Columns
    ) -> None:
        text = "email,status\n{},UNSUBSCRIBED\n"
        many = "".join(f"person-{number}@example.com,UNSUBSCRIBED\n" for number in range(300))
        write(folder, p1_csv=text.format(A) + many, p2_csv=text.format(B))
        rows = read_rows(Files(folder), columns=columns)
        next(rows)
        change(folder, what, text.format(D) + "\n")
        with pytest.raises(SourceError, match=r"changed while it was read|'p2.csv': there is no such file"):
            list(rows)

    @pytest.mark.parametrize("what", ["added", "removed", "changed"])
    def test_are_noticed_between_two_readings(self, folder: Any, what: str) -> None:
        read = reader_of(Files(write(folder, p1_csv=f"email\n{A}\n", p2_csv=f"email\n{B}\n")))
        assert len(list(read())) == len(list(read())) == 2
        change(folder, what, f"email\n{D}\n\n")
        with pytest.raises(SourceError, match=r"'p[23].csv': changed while it was read"):
            next(read())

    @pytest.mark.parametrize("what", ["added", "removed", "changed", "renamed"])
    def test_change_the_fingerprint(self, folder: Any, what: str) -> None:
        write(folder, p1_csv=f"email\n{A}\n", p2_csv=f"email\n{B}\n")
        before = fingerprint_of(Files(folder), key="k")
        assert before == fingerprint_of(Files(folder), key="k")
        change(folder, what, f"email\n{D}\n\n")
        assert fingerprint_of(Files(folder), key="k") != before


def change(folder: Any, what: str, content: str) -> None:
    if what in {"removed", "renamed"}:
        (folder / "p2.csv").unlink()
    if what != "removed":
        write(folder, **{"p2_csv" if what == "changed" else "p3_csv": content})


def test_how_far_it_is_read_is_known_over_all_files(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_BUFFER", 1 << 13)
    texts = [
        "email\n" + "".join(f"p{part}-{number}@example.com\n" for number in range(1000)) for part in range(5)
    ]
    write(folder, **{f"p{part}_csv": text for part, text in enumerate(texts)})
    source_size = SourceSize(Files(folder))
    assert (source_size.rows_at_most() or 0) >= 5000
    shares = [
        source_size.share(at) or 0 for at, _ in enumerate(read_rows(source_size.source)) if at % 500 == 0
    ]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.3
    assert 0.4 < shares[5] < 0.8
    assert source_size.share(5000) == 1


def test_a_name_that_looks_like_an_address_is_masked_in_details_and_logs(
    folder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, **{f"{A}_csv": f"email\n{B}\n{B}\n", "z_csv": f"email\n{C}\n"})
    with caplog.at_level(logging.INFO):
        rows = list(read_rows(Files(folder)))
    assert rows[1].file == f"{A}.csv"
    assert A not in rows[1].detail
    assert A not in caplog.text
    assert "2 files" in caplog.text


def test_a_row_of_several_files_knows_its_position() -> None:
    assert Row(12, A, file="p2.csv", before=10).position == 2
