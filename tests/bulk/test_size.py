"""How many rows a source has at most, and which share of it was read."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from airflow_provider_hubprefs.bulk.source import text as module
from airflow_provider_hubprefs.bulk.source.reader import read_rows
from airflow_provider_hubprefs.bulk.source.size import SourceSize
from tests.helpers import people


def written(folder: Path, addresses: list[str], *, packed: bool = False) -> Path:
    text = "\n".join(["email", *addresses]).encode()
    path = folder / ("people.csv.gz" if packed else "people.csv")
    path.write_bytes(gzip.compress(text, 1) if packed else text)
    return path


def shares(source_size: SourceSize, *, every: int) -> Iterator[float]:
    for row, _ in zip(count(), read_rows(source_size.source), strict=False):
        if row % every == 0:
            yield source_size.share(row) or 0


def test_a_list_knows_its_length() -> None:
    source_size = SourceSize(people(4))
    assert source_size.rows_at_most() == 4
    assert [source_size.share(rows) for rows in (0, 1, 4)] == [0, 0.25, 1]


def test_a_generator_knows_nothing() -> None:
    source_size = SourceSize(one for one in people(4))
    assert source_size.rows_at_most() is None
    assert not source_size.can_be_read_again
    assert source_size.share(2) is None


def test_a_file_knows_a_bound_without_being_read(tmp_path: Path) -> None:
    source_size = SourceSize(written(tmp_path, people(5000)))
    assert (source_size.rows_at_most() or 0) >= 5000
    assert source_size.can_be_read_again


def test_a_compressed_file_knows_nothing_without_being_read(tmp_path: Path) -> None:
    source_size = SourceSize(written(tmp_path, people(5000), packed=True))
    assert source_size.rows_at_most() is None


@pytest.mark.parametrize("packed", [False, True])
def test_a_files_share_is_that_of_its_bytes(
    tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BUFFER", 1 << 13)
    source_size = SourceSize(
        written(tmp_path, [f"{hash(one)}-{one}" for one in people(10_000)], packed=packed)
    )
    assert source_size.share(0) is None
    found = list(shares(source_size, every=500))
    assert found == sorted(found)
    assert 0 < found[0] < 0.2
    assert 0.4 < found[len(found) // 2] < 0.7
    assert source_size.share(10_000) == 1


def test_a_parquet_file_knows_its_rows_and_the_share_of_them(tmp_path: Path) -> None:
    path = tmp_path / "people.parquet"
    table = pa.table({"email": people(1000), "other": [f"{number}" * 100 for number in range(1000)]})
    parquet.write_table(table, path, row_group_size=100)
    source_size = SourceSize(path)
    assert source_size.rows_at_most() == 1000
    assert len(list(read_rows(source_size.source))) == 1000
    assert source_size.share(500) == 0.5
