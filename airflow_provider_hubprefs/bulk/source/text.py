"""The lines of a file as a stream: opened, decompressed, decoded and numbered, one at a time."""

from __future__ import annotations

import codecs
import gzip
import io
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from airflow_provider_hubprefs.bulk.source.errors import EmptyFileError, ParquetError, SourceError
from airflow_provider_hubprefs.bulk.source.stored import (
    is_of_reading,
    kind_of,
    name_of,
    open_bytes,
    unreadable,
)
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_hubprefs.bulk.source.stored import File

LONGEST_LINE = 1 << 20
"""Characters of a line, and of a CSV record that spans lines: more is not held in memory."""

TOO_LONG = "(a line longer than the limit)\n"
"""Stands in for such a line; recognised by identity."""

WHY_TOO_LONG = f"the line is longer than {LONGEST_LINE:,} characters"

Raw: TypeAlias = tuple[int, str, str, Sequence[object]]
"""A row as it was found: its position, the text given as its address, what is wrong with the row (or ""), and the
cells of the other columns that are read (:meth:`~.columns.Columns.more`); without cells where there are no such columns
or the row has no address."""

_BUFFER = 1 << 18
_ENCODINGS = {  # by byte order mark; the longer ones first, because they begin with the shorter ones
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
}
_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


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

    def _read(self) -> str:
        try:
            line = self._text.readline(LONGEST_LINE + 1)
            if len(line) <= LONGEST_LINE:
                return line
            while line and not line.endswith(("\n", "\r")):
                line = self._text.readline(LONGEST_LINE)
        except (
            UnicodeError
        ) as error:  # never with UTF-8: its undecodable bytes are escaped, and make one row invalid
            raise SourceError(
                f"{self.name}: after line {self.number} the text is not in the encoding it was opened with. "
                "Declare the right one (encoding=...) or save the file as UTF-8."
            ) from error
        except Exception as error:
            if not is_of_reading(error):
                raise
            raise SourceError(
                f"{self.name}: cannot be read on after line {self.number} ({kind_of(error)}): the file is damaged "
                "or cut short, or its store stopped answering. Upload it again, or try again."
            ) from error
        return TOO_LONG


@contextmanager
def lines_of(file: File, *, encoding: str | None) -> Iterator[Lines]:
    """Open a text file, compressed or not, and close it in the end.

    :param encoding: of the text; UTF-8 when None, or what its byte order mark says. Bytes that are not UTF-8 come
        as lone surrogates (``surrogateescape``): one bad byte does not make the rest unreadable.
    :raises SourceError: it is missing, a directory, not accessible, empty, or no text.
    """
    name = name_of(file)
    with ExitStack() as stack:
        readable: Any = _Readable(stack.enter_context(open_bytes(file)))
        stream: io.BufferedReader = stack.enter_context(io.BufferedReader(readable, _BUFFER))
        head = _head(stream, name=name)
        if not head:
            raise EmptyFileError(f"{name}: is empty. Expected at least one line; was it written to its end?")
        packed = _unpacking(stream, head, file)
        if packed is not None:
            stream = stack.enter_context(packed)
            head = _head(stream, name=name)
        if head.startswith(_PARQUET):
            raise ParquetError(f"{name}: is a Parquet file. Leave format out, or set format='parquet'.")
        for magic, what in _NO_TEXT.items():
            if head.startswith(magic):
                raise SourceError(f"{name}: is {what}. Save it as CSV (UTF-8), JSON Lines or plain text.")
        yield Lines(_decoded(stream, head, encoding, name=name), name=name)


class _Readable(io.RawIOBase):
    """Adapts a store's file object, of which only ``read`` is used, to ``io``."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _head(stream: io.BufferedReader, *, name: str) -> bytes:
    try:
        return stream.peek(8)[:8]
    except Exception as error:
        if not is_of_reading(error):
            raise
        raise unreadable(error, name=name) from error


def _unpacking(stream: io.BufferedReader, head: bytes, file: File) -> io.BufferedReader | None:
    """Decompress by the first bytes; None where the file is not compressed. A name that says otherwise is an error."""
    name = name_of(file)
    if head.startswith(_GZIP):
        # GzipFile has all that is used of a BufferedReader: peek, read1 and close.
        return cast("io.BufferedReader", gzip.GzipFile(fileobj=stream))
    if head.startswith(_ZSTD):
        return cast("io.BufferedReader", _zstd(name).ZstdFile(stream))
    if file.name.lower().endswith((".gz", ".zst")):
        raise SourceError(
            f"{name}: is named as compressed, but its content is not. It is damaged, or its store decompresses it "
            "already: then remove the ending from its name."
        )
    return None


def _decoded(stream: io.BufferedReader, head: bytes, encoding: str | None, *, name: str) -> io.TextIOWrapper:
    if encoding is None:
        encoding = next((known for order, known in _ENCODINGS.items() if head.startswith(order)), "utf-8")
    try:
        if codecs.lookup(encoding).name == "utf-8":
            encoding = "utf-8-sig"  # the same, but a byte order mark is left out
        return io.TextIOWrapper(stream, encoding=encoding, errors="surrogateescape", newline="")
    except (LookupError, ValueError) as error:
        raise SourceError(
            f"{name}: encoding {ascii(scrub(encoding))[:40]} is not known to Python. Give one such as utf-8 or cp1252."
        ) from error


def _zstd(name: str) -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415  # Python 3.14
    except ImportError:
        try:
            from backports import zstd  # type: ignore[import-not-found,unused-ignore,no-redef]  # noqa: PLC0415
        except ImportError as error:
            raise SourceError(
                f"{name}: is compressed with zstd, which needs Python 3.14 or the extra 'zstd': "
                "pip install 'airflow-provider-hubprefs[zstd]'. Or compress it with gzip."
            ) from error
    return zstd
