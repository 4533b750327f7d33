"""Exports as files of any store: CSV for people, JSON Lines and Parquet for programs."""

from __future__ import annotations

import csv
import io
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.bulk.export.fields import TargetError, in_parts
from airflow_provider_hubprefs.bulk.source.formulas import escaped
from airflow_provider_hubprefs.hubspot.errors import HubSpotError, ValidationError
from airflow_provider_hubprefs.hubspot.privacy import scrub, shown
from airflow_provider_hubprefs.storage import canonical, is_in, move, open_quietly, write_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_provider_hubprefs.bulk.export.fields import Cell, Column
    from airflow_provider_hubprefs.storage import File, Path

_ENDINGS = {"csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "parquet": "parquet", "pq": "parquet"}
_AT_ONCE = 10_000
"""Rows that are in memory together."""


class FileTarget:
    """A file that is replaced as a whole; on a local disk its owner alone can read it.

    :param path: of the file.
    :param columns: that it has.
    :param kind: ``csv``, ``jsonl`` or ``parquet``; None: the ending of its name says it.
    :raises ValidationError: the format is unknown.
    """

    def __init__(self, path: Path, columns: Sequence[Column], kind: str | None = None) -> None:
        self._path = path
        self._columns = columns
        # Sources leave names out that begin with "_". A later try takes the same one: nothing stays behind.
        self._part = path.parent / f"_part-{path.name}"
        found = kind or _ENDINGS.get(path.name.rpartition(".")[2].lower())
        if found not in _ENCODINGS:
            raise ValidationError(
                "target: expected a name that ends with .csv, .jsonl or .parquet, or format= one of these, got "
                f"{shown(path.name)}"
            )
        self._encode = _ENCODINGS[found]

    def check(self) -> None:
        """See :class:`~.fields.Target`."""
        self._write(())
        self._part.unlink(missing_ok=True)

    def check_apart_from(self, places: Iterable[Any]) -> None:
        """Refuse a target that is one of these files, or in one of these folders.

        :raises ValidationError: it is.
        """
        store, mine = canonical(self._path)
        for where, there in map(canonical, places):
            if where == store and is_in(mine, there):
                raise ValidationError(
                    "target: expected another place than the source's and the run's own files, got "
                    f"{shown(self._path.name)}"
                )

    def write(self, rows: Iterable[Sequence[Cell]], *, whole: bool = True) -> int:
        """See :class:`~.fields.Target`."""
        count = self._write(rows)
        with _errors_of(self._path):
            move(self._part, self._path)
        return count

    def _write(self, rows: Iterable[Sequence[Cell]]) -> int:
        count = 0

        def picked() -> Iterator[list[list[Cell]]]:
            nonlocal count
            for some in in_parts(rows, _AT_ONCE):
                count += len(some)
                yield [[row[column.at] for column in self._columns] for row in some]

        with _errors_of(self._path):
            write_file(self._part, ())  # private, where files have modes
            with open_quietly(self._part, "wb") as file:
                self._encode(file, self._columns, picked())
        return count


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turn what a store raises into one line."""
    try:
        yield
    except HubSpotError:
        raise
    except Exception as error:  # noqa: BLE001 - stores raise what their libraries raise
        said = getattr(error, "strerror", None) or scrub(str(error)).partition("\n")[0]
        raise TargetError(
            f"the target {scrub(path.name)} cannot be written: {said[:200] or type(error).__name__}"
        ) from None


def _csv(file: File, columns: Sequence[Column], rows: Iterable[list[list[Cell]]]) -> None:
    def write(some: Iterable[Iterable[Any]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(map(_cells_for_people, some))
        file.write(text.getvalue().encode())

    write([[column.name for column in columns]])
    for some in rows:
        write(some)


def _cells_for_people(row: Iterable[Any]) -> list[Any]:
    return [
        escaped(cell) if isinstance(cell, str) else str(cell).lower() if isinstance(cell, bool) else cell
        for cell in row
    ]


def _jsonl(file: File, columns: Sequence[Column], rows: Iterable[list[list[Cell]]]) -> None:
    names = [column.name for column in columns]
    encode = msgspec.json.Encoder().encode_lines
    for some in rows:
        file.write(encode([dict(zip(names, row, strict=True)) for row in some]))


def _parquet(file: File, columns: Sequence[Column], rows: Iterable[list[list[Cell]]]) -> None:
    try:
        import pyarrow as arrow  # noqa: PLC0415 - an extra, and 20 MB
        from pyarrow.parquet import ParquetWriter  # noqa: PLC0415
    except ImportError:
        raise TargetError(
            "a target in Parquet needs the extra 'parquet': pip install 'airflow-provider-hubprefs[parquet]'. Or name "
            "it .csv or .jsonl",
            permanent=True,
        ) from None
    kinds = {"text": arrow.string(), "whole": arrow.int64(), "flag": arrow.bool_()}
    kinds["time"] = arrow.timestamp("ms", tz="UTC")
    schema = arrow.schema([(column.name, kinds[column.field.kind]) for column in columns])
    with ParquetWriter(file, schema) as writer:
        for some in rows:
            cells = [
                [_time(cell) for cell in given] if column.field.kind == "time" else given
                for column, given in zip(columns, zip(*some, strict=True), strict=True)
            ]
            arrays = [arrow.array(given, type=kind) for given, kind in zip(cells, schema.types, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def _time(cell: Any) -> datetime | None:
    return None if cell is None else datetime.fromisoformat(cell)


_ENCODINGS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
