"""The lines of a file as a stream: opened, decompressed, decoded and numbered, one at a time."""

from __future__ import annotations

import codecs
import gzip
import io
from collections import deque
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_provider_hubprefs.bulk.source.errors import EmptyFileError, ParquetError, SourceError
from airflow_provider_hubprefs.bulk.source.stored import Readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_hubprefs.bulk.source.stored import StoredFile

LONGEST_LINE = 1 << 20
"""Characters of a line, and of a CSV record that spans lines: more is not held in memory."""

TOO_LONG = "(a line longer than the limit)\n"
"""Stands in for such a line; recognised by identity."""

WHY_TOO_LONG = f"the line is longer than {LONGEST_LINE:,} characters"

Raw: TypeAlias = tuple[int, str, str, Sequence[object]]
"""A row as it was found: its position, the text given as its address, what is wrong with the row (or ""), and the
cells of the other columns that are read (:meth:`~.columns.Columns.more`, then those of ``where``); without cells where
there are no such columns or the row cannot be taken apart."""

_BUFFER = 1 << 15
_ENCODINGS = {  # by byte order mark; the longer ones first, because they begin with the shorter ones
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_NO_TEXT = {
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"%PDF": "a PDF",
    b"Obj\x01": "an Avro file",
    b"ARROW1": "an Arrow file",
}
PARQUET = b"PAR1"
"""First and last bytes of a Parquet file."""

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"


class Lines:
    """Physical lines with their line ends. Lines that were taken can be put back.

    :param text: opened with ``newline=""``.
    :param name: of the file, for error texts.
    """

    def __init__(self, text: io.TextIOBase, *, name: str) -> None:
        self.name = name
        self.number = 0  # of the line yielded last
        self._text = text
        self._back: deque[str] = deque()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else self._read()
        if not line:
            raise StopIteration
        self.number += 1
        return line

    def put_back(self, lines: Iterable[str]) -> None:
        """Yield these lines once more, in this order; they must be the lines yielded last."""
        again = list(lines)
        self._back.extendleft(reversed(again))
        self.number -= len(again)

    def peek(self, count: int) -> list[str]:
        """Look at some of the next lines, blank ones too; they are given again."""
        lines = list(islice(self, count))
        self.put_back(lines)
        return lines

    def _read(self) -> str:
        try:
            line = self._text.readline(LONGEST_LINE + 1)
            if len(line) <= LONGEST_LINE:
                return line
            while line and not line.endswith(("\n", "\r")):
                line = self._text.readline(LONGEST_LINE)
        except UnicodeError as error:  # never with UTF-8: its undecodable bytes make one row invalid
            raise SourceError(
                f"{self.name}: after line {self.number} the text is not in the encoding it was opened with. "
                "Declare the right one (read_options={'encoding': ...}) or save the file as UTF-8."
            ) from error
        return TOO_LONG


@contextmanager
def lines_of(file: StoredFile, *, encoding: str | None) -> Iterator[Lines]:
    """Open a text file, compressed or not, and close it in the end.

    :param encoding: of the text where it has no byte order mark; UTF-8 when None. Bytes that are not UTF-8 come as
        lone surrogates (``surrogateescape``): one bad byte does not make the rest unreadable.
    :raises SourceError: it is missing, a directory, not accessible, empty, or no text.
    """
    name = file.label
    with file.open() as raw:
        stream = io.BufferedReader(raw, _BUFFER)
        head = stream.peek(8)[:8]
        if not head:
            raise EmptyFileError(f"{name}: is empty. Expected at least one line; was it written to its end?")
        if head.startswith((GZIP, ZSTD)):
            unpacked = (
                gzip.GzipFile(fileobj=stream) if head.startswith(GZIP) else _zstd(name).ZstdFile(stream)
            )
            stream = io.BufferedReader(Readable(unpacked, file))
            head = stream.peek(8)[:8]
        elif file.path.name.lower().endswith((".gz", ".zst")):
            raise SourceError(
                f"{name}: is named as compressed, but its content is not. It is damaged, or its store decompresses it "
                "already: then remove the ending from its name."
            )
        if head.startswith(PARQUET):
            raise ParquetError(f"{name}: is a Parquet file.")
        for magic, what in _NO_TEXT.items():
            if head.startswith(magic):
                raise SourceError(f"{name}: is {what}. Save it as CSV (UTF-8), JSON Lines or plain text.")
        yield Lines(_decoded(stream, head, encoding), name=name)


def _decoded(stream: Any, head: bytes, encoding: str | None) -> io.TextIOWrapper:
    marked = (known for order, known in _ENCODINGS.items() if head.startswith(order))
    encoding = next(marked, encoding or "utf-8")
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"  # the same, but a byte order mark is left out
    return io.TextIOWrapper(stream, encoding=encoding, errors="surrogateescape", newline="")


def _zstd(name: str) -> Any:
    for module in ("compression.zstd", "backports.zstd"):  # the former from Python 3.14 on
        with suppress(ImportError):
            return import_module(module)
    raise SourceError(
        f"{name}: is compressed with zstd, which needs Python 3.14 or the extra 'zstd': "
        "pip install 'airflow-provider-hubprefs[zstd]'. Or compress it with gzip."
    )
