"""Parquet: only what is wanted is read, in bounded memory, and what is wrong with a file is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import parquet

from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.options import ReadOptions
from airflow_provider_hubprefs.bulk.source.reader import read_rows
from airflow_provider_hubprefs.bulk.source.row import Wanted

JANE, BOB = "jane@example.com", "bob@example.com"


def written(path: Any, columns: dict[str, Any], *, row_group_size: int = 2, **types: Any) -> Any:
    arrays = {
        name: (
            cells
            if isinstance(cells, pa.Array)
            else pa.array(cells).cast(types[name])
            if name in types
            else pa.array(cells)
        )
        for name, cells in columns.items()
    }
    with path.open("wb") as file:
        parquet.write_table(pa.table(arrays), file, row_group_size=row_group_size)
    return path


def places(source: Any, **how: Any) -> list[tuple[int, str, str | None]]:
    return [(row.number, row.subscriber, row.problem) for row in read_rows(source, **how)]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())),
        *(pa.binary(), pa.large_binary(), pa.binary_view()),
    ],
    ids=str,
)
def test_rows_are_numbered_by_their_position(tmp_path: Path, kind: Any) -> None:
    people = [JANE, None, " BOB@example.com", "", JANE]
    path = written(tmp_path / "people.parquet", {"n": range(5), "E-Mail": people}, **{"E-Mail": kind})
    assert places(path, columns=Columns(email="e-mail")) == [
        (1, JANE, None),
        (2, "", "invalid"),
        (3, BOB, None),
        (4, "", "invalid"),
        (5, JANE, "duplicate"),
    ]


def test_it_is_known_by_its_first_bytes_too(tmp_path: Path) -> None:
    assert places(written(tmp_path / "people", {"email": [JANE]})) == [(1, JANE, None)]


def test_from_an_object_store(tmp_path: Path) -> None:
    attach("memory", fs=MemoryFileSystem())
    path: Any = ObjectStoragePath("memory://hubprefs-parquet") / "people.parquet"
    assert places(written(path, {"email": [JANE, BOB, JANE]}))[2] == (3, JANE, "duplicate")


def test_other_columns_may_be_text_or_whole_numbers(tmp_path: Path) -> None:
    cells = {"email": [JANE, BOB], "what": ["subscribed", None], "which": [7, 8]}
    path = written(tmp_path / "people.parquet", cells, which=pa.int64())
    columns = Columns(status="What", subscription="which")
    rows = list(read_rows(path, columns=columns))
    assert rows[0].wanted == Wanted(status="SUBSCRIBED", subscription_id=7)
    assert (rows[1].problem, rows[1].category) == ("invalid", "INVALID_STATUS")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"name": [JANE]}, r'no column is called "email". There are: "name"'),
        ({"email": [1]}, r'column "email" is of type int64. Expected text'),
        ({"email": [{"a": 1}]}, r'column "email" is of type struct.*Expected text'),
        ({"Email": [JANE], "EMAIL": [JANE]}, r'2 columns are called "email"'),
    ],
)
def test_a_column_that_does_not_fit_is_named(tmp_path: Path, columns: Any, says: str) -> None:
    with pytest.raises(SourceError, match=says) as caught:
        places(written(tmp_path / "people.parquet", columns))
    assert "@" not in str(caught.value)


def test_another_column_of_a_type_that_does_not_fit_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "people.parquet", {"email": [JANE], "which": [[1]], "flag": [True]})
    with pytest.raises(SourceError, match=r'"which" is of type list.*Expected text or whole numbers'):
        places(path, columns=Columns(subscription="which"))
    with pytest.raises(SourceError, match=r'"flag" is of type bool. Expected text or whole numbers'):
        places(path, columns=Columns(status="flag"))
    with pytest.raises(SourceError, match='no column is called "what"'):
        places(path, columns=Columns(status="what"))


@pytest.mark.parametrize(
    "kind", [pa.decimal128(38, 0), pa.decimal128(38, 2), pa.float64(), pa.int32(), pa.uint64()]
)
def test_ids_are_whole_numbers_however_warehouses_keep_them(tmp_path: Path, kind: Any) -> None:
    path = written(tmp_path / "people.parquet", {"email": [JANE], "which": [348211900]}, which=kind)
    (row,) = read_rows(path, columns=Columns(subscription="which"))
    assert row.wanted == Wanted(subscription_id=348211900)
    assert places(path, options=ReadOptions.of({"where": {"which": 348211900}})) == [(1, JANE, None)]


def test_a_type_that_may_hold_another_value_is_refused(tmp_path: Path) -> None:
    """A short float has the id 348211904 for 348211900; bytes of a fixed length are no text."""
    types = {"which": pa.float32(), "flag": pa.binary(4)}
    path = written(
        tmp_path / "people.parquet", {"email": [JANE], "which": [348211904.0], "flag": [b"yes!"]}, **types
    )
    with pytest.raises(SourceError, match='"which" is of type float'):
        places(path, columns=Columns(subscription="which"))
    with pytest.raises(SourceError, match='"flag" is of type fixed_size_binary'):
        places(path, options=ReadOptions.of({"where": {"flag": "yes!"}}))


@pytest.mark.parametrize("kind", [pa.string(), pa.binary()], ids=str)
def test_where_compares_text_however_its_column_is_typed(tmp_path: Path, kind: Any) -> None:
    cells = {"email": [JANE, BOB], "flag": pa.array([b"yes", b"no"]).cast(kind)}
    assert places(
        written(tmp_path / "people.parquet", cells), options=ReadOptions.of({"where": {"flag": "yes"}})
    ) == [(1, JANE, None)]


@pytest.mark.parametrize("damage", ["none", "cut", "middle"])
def test_a_broken_file_is_an_error_of_the_source(tmp_path: Path, damage: str) -> None:
    path = written(tmp_path / "people.parquet", {"email": [f"p{n}@example.com" for n in range(5000)]})
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(
        {
            "none": b"email\njane@example.com\n",
            "cut": content[:half],
            "middle": content[:100] + b"\xff" * half + content[100 + half :],
        }[damage]
    )
    with pytest.raises(SourceError, match=r"'people.parquet': cannot be read as Parquet .*damaged"):
        places(path)


def test_bytes_that_are_not_utf8_matter_only_in_their_row(tmp_path: Path) -> None:
    raw = pa.array([b"b\xfcb@x.test", JANE.encode()], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    parquet.write_table(pa.table({"email": text}), tmp_path / "people.parquet")
    bad, good = read_rows(tmp_path / "people.parquet")
    assert "byte 2 of the address" in bad.detail
    assert (good.number, good.subscriber) == (2, JANE)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "people.parquet", {"email": [JANE]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SourceError, match=r"airflow-provider-hubprefs\[parquet\]"):
        places(path)


MEMORY = """
import resource, sys
from pathlib import Path
from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.options import ReadOptions
from airflow_provider_hubprefs.bulk.source.parquet import cells_of
from airflow_provider_hubprefs.bulk.source.stored import StoredFile
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for _ in cells_of(StoredFile(Path(sys.argv[1])), Columns(), ReadOptions()): pass
before = peak()
print(sum(1 for _ in cells_of(StoredFile(Path(sys.argv[2])), Columns(), ReadOptions())), peak() - before)
"""


def test_memory_does_not_depend_on_the_length_of_a_row_group(tmp_path: Path) -> None:
    rows = 1_500_000  # 50 MB of addresses in one row group
    emails = [f"person-number-{number}@mail.example.com" for number in range(rows)]
    small = written(tmp_path / "small.parquet", {"email": emails[:100_000]}, row_group_size=100_000)
    large = written(tmp_path / "large.parquet", {"email": emails}, row_group_size=rows)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(small), str(large)], capture_output=True, text=True, check=True
    )
    counted, grown = done.stdout.split()
    assert int(counted) == rows
    assert float(grown) < 8  # MB
