"""A file in parts, each for a run of its own: told by size alone, so that it is not read twice.

A text file is split at byte positions. **Every line is in exactly one shard: the one in whose bytes it begins.** What
comes first in the file (the header) is read by every shard. A Parquet file is split between row groups.

A position may lie within a quoted field that has line breaks. A shard finds that out before it gives its first row,
see
:func:`~.csv_records.begins_within_quotes`, and says so.
"""

from __future__ import annotations

import codecs
import logging
import re
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import msgspec

from airflow_provider_hubprefs.bulk.csv_records import begins_within_quotes
from airflow_provider_hubprefs.bulk.lines import (
    LONGEST_LINE,
    SourceError,
    encoding_told_by,
    ends_of,
    is_packed,
    lines_of,
    name_of,
    version_of,
)
from airflow_provider_hubprefs.bulk.parquet import is_parquet, row_groups_of
from airflow_provider_hubprefs.hubspot.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.bulk.csv_records import Header
    from airflow_provider_hubprefs.bulk.lines import File, Lines
    from airflow_provider_hubprefs.bulk.storage import Path

_CHUNK = 1 << 16
_LINE_BREAK = re.compile(rb"\r\n|\n|\r")
_ESCAPES = b"\x1b$B~{"
"""Begin another character set in the encodings that have such things."""

_log = logging.getLogger(__name__)


class Shard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a file, and which version of the file it is a part of.

    :param number: from 1.
    :param of: how many there are.
    :param unit: what ``begin`` and ``end`` count.
    :param begin: first byte or row group.
    :param end: first byte or row group that is not part of it.
    :param rows_before: rows of the file before it, where that is known: in Parquet.
    :param size: of the file, in bytes.
    :param version: of the file: its ETag, or the time it was written.
    """

    number: int
    of: int
    unit: Literal["bytes", "row_groups"]
    begin: int
    end: int
    rows_before: int = 0
    size: int
    version: str


def shard_of(value: Any) -> Shard:
    """Read a shard from what a task got of another.

    :param value: as :func:`split` made it, turned into JSON types.
    :raises ValidationError: it is none.
    """
    if isinstance(value, Shard):
        return value
    try:
        return msgspec.convert(value, Shard)
    except msgspec.ValidationError as error:
        raise ValidationError(f"shard: expected one of those a split returns: {error}") from None


def split(file: File, shards: int, *, encoding: str | None = None) -> list[Shard]:
    """Split a file into about equal parts; into fewer, and the log says why, where it has not so many.

    :param shards: how many are wanted.
    :param encoding: of a text file, where it is declared.
    :raises SourceError: it cannot be read, or is empty.
    :raises ValidationError: ``shards`` is no number of at least 1.
    """
    if isinstance(shards, bool) or not isinstance(shards, int) or shards < 1:
        raise ValidationError(f"shards: expected a whole number of at least 1, got {shards!r}")
    head, _, size = ends_of(file, length=8)
    if not size:
        raise SourceError(
            f"{name_of(file)}: is empty. Expected at least one line; was it written to its end?"
        )
    version = version_of(file)
    if is_parquet(file, head):
        return _of_row_groups(file, row_groups_of(file), shards, size=size, version=version)
    if shards > 1 and (why := _why_not(head, encoding)):
        _log.warning("%s: one shard instead of %d: %s", name_of(file), shards, why)
        shards = 1
    shards = min(shards, size)
    marks = [size * number // shards for number in range(shards + 1)]
    return [
        Shard(number=n, of=shards, unit="bytes", begin=marks[n - 1], end=marks[n], size=size, version=version)
        for n in range(1, shards + 1)
    ]


def _why_not(head: bytes, encoding: str | None) -> str | None:
    """Say why a position in the file's bytes cannot be told to begin a line, or None."""
    if is_packed(head):
        return "it is compressed. Compress parts of it one by one, or not at all."
    encoding = encoding or encoding_told_by(head)
    if not _has_bytes_for_line_breaks(encoding):
        return f"in {ascii(encoding)[:40]} a line break may be part of something else. Save it as UTF-8."
    return None


def _has_bytes_for_line_breaks(encoding: str) -> bool:
    """Whether the bytes 10 and 13 are line breaks wherever they are: in UTF-8, and where a byte is a character."""
    probe = bytes(range(256)) + _ESCAPES
    try:
        text = probe.decode(encoding, "replace")
    except (LookupError, ValueError):
        return False  # reading it will say what is wrong with the encoding
    breaks = [at for at, char in enumerate(text) if char in "\r\n"]
    return len(text) == len(probe) and breaks == [10, 13] and text[10] == "\n"


def _of_row_groups(file: File, rows: Sequence[int], shards: int, *, size: int, version: str) -> list[Shard]:
    """Share out row groups, so that the shards have about as many rows."""
    if len(rows) < shards:
        told = "one row group" if len(rows) == 1 else f"{len(rows)} row groups"
        _log.warning("%s: %d shards instead of %d: it has %s", name_of(file), len(rows) or 1, shards, told)
    shards = max(1, min(shards, len(rows)))
    total, marks, done = sum(rows), [0], 0
    for number, count in enumerate(rows):
        left = shards - len(marks)  # boundaries still to be set, and each takes a row group of its own
        enough = done + count / 2 > total * len(marks) / shards
        if left and number > marks[-1] and (enough or len(rows) - number == left):
            marks.append(number)
        done += count
    marks.append(len(rows))
    return [
        Shard(
            number=n,
            of=shards,
            unit="row_groups",
            begin=marks[n - 1],
            end=marks[n],
            rows_before=sum(rows[: marks[n - 1]]),
            size=size,
            version=version,
        )
        for n in range(1, shards + 1)
    ]


class Part:
    """One shard of a file, read as a file of its own: what comes first in the file, and its own lines.

    :param file: the whole.
    :param shard: which part of it.
    :param encoding: of a text file, where it is declared.
    """

    def __init__(self, file: File, shard: Shard, *, encoding: str | None = None) -> None:
        self.name = file.name
        self.whole = file
        self.shard = shard
        self.length: int | None = None
        """How many lines, or rows of a Parquet file, it has; known when it has been read to its end."""
        self._encoding = encoding

    def open(self, mode: str) -> Any:
        """Open it.

        :raises SourceError: the file is another than the one that was split.
        """
        self.check()
        stream = self.whole.open(mode)
        if self.shard.of == 1 or self.shard.unit == "row_groups":
            return stream
        return _Pieces(stream, self._pieces(stream))

    def told(self) -> dict[str, Any]:
        """What the summary of a run over it says of it; JSON."""
        return {**told_of(self.shard), "length": self.length}

    def check(self) -> None:
        """Compare the file with the one that was split.

        :raises SourceError: it is another, or cannot be read.
        """
        _, _, size = ends_of(self.whole, length=0)
        if (size, version_of(self.whole)) != (self.shard.size, self.shard.version):
            raise SourceError(
                f"{name_of(self)}: has changed since it was split: its {self.shard.of} shards would not fit "
                "together. Clear the task that splits it, and so all of them, to begin again."
            )

    def check_header(self, first: str) -> None:
        """Refuse a CSV header that goes on in the next line: the shards would not agree where it ends.

        :param first: line of the file that is not blank.
        :raises SourceError: it does.
        """
        if self.shard.of > 1 and first.count('"') % 2:
            raise self._spans_lines()

    def begin(self, lines: Lines, header: Header | None) -> None:
        """Number the lines from here on, behind what every shard reads, as the shard's own.

        :param lines: of this part, the file's first line that is not blank read.
        :param header: of a CSV file.
        :raises SourceError: it may begin within a record.
        """
        if self.shard.number == 1:
            return
        head, lines.number = lines.number, 0
        if header and self._begins_within_quotes(head, header):
            raise self._spans_lines()

    def _spans_lines(self) -> SourceError:
        where = (
            "in the header"
            if self.shard.number == 1
            else f"in the header or where shard {self.shard.number} begins"
        )
        return SourceError(
            f"{name_of(self)}: a record spans lines, or looks as if it did, {where}: a part of one must not be taken "
            "for a row. Run it without shards, or take the line breaks out of it."
        )

    def _begins_within_quotes(self, head: int, header: Header) -> bool:
        shard = msgspec.structs.replace(self.shard, end=self.shard.size)
        on_and_on = Part(self.whole, shard, encoding=self._encoding)
        with lines_of(on_and_on, encoding=self._encoding) as lines:
            for _ in range(head):
                next(lines)
            return begins_within_quotes(lines, header.delimiter)

    def _pieces(self, stream: Any) -> list[tuple[int, int] | bytes]:
        size = self.shard.size
        head = _end_of_head(stream, size, self._encoding)
        begin = _line_from(stream, max(self.shard.begin, head), size)
        end = _line_from(stream, max(self.shard.end, head), size)
        if self.shard.number == 1:
            return [(0, end)]
        stream.seek(head - 1)
        if stream.read(1) == b"\r":  # with a blank line behind it, it would be part of CR LF
            return [(0, head - 1), b"\n", (begin, end)]
        return [(0, head), (begin, end)]


def _end_of_head(stream: Any, size: int, encoding: str | None) -> int:
    """Where the first line ends that is not blank."""
    codec = codecs.lookup(encoding or "utf-8").name.removesuffix("-sig")
    begin = 0
    while begin < size:
        end = _line_from(stream, begin + 1, size)
        stream.seek(begin)
        text = stream.read(min(end - begin, LONGEST_LINE)).decode(codec, "replace")
        if not (text if begin else text.removeprefix("\ufeff")).isspace():
            return end
        begin = end
    return size


def _line_from(stream: Any, position: int, size: int) -> int:
    """Where the first line begins that begins at this position or later; the file's size if there is none."""
    if position <= 0 or position >= size:
        return min(max(position, 0), size)
    position -= 1
    stream.seek(position)
    while chunk := stream.read(_CHUNK):
        if found := _LINE_BREAK.search(chunk):
            cut = found.group() == b"\r" and found.end() == len(chunk)
            return position + found.end() + (cut and stream.read(1) == b"\n")
        position += len(chunk)
    return size


class _Pieces:
    """Some stretches of a stream, one after the other.

    :param pieces: first byte and first byte behind it, or bytes to put there.
    """

    def __init__(self, stream: Any, pieces: Sequence[tuple[int, int] | bytes]) -> None:
        self._stream = stream
        self._pieces = deque(pieces)
        self._at: int | None = None  # where the stream is; None before a stretch is begun

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, length: int) -> bytes:
        """Read some bytes; none at the end.

        :raises EOFError: the stream is shorter than it was.
        """
        while self._pieces:
            piece = self._pieces[0]
            if isinstance(piece, bytes):
                return cast("bytes", self._pieces.popleft())
            begin, end = piece
            if self._at is None:
                self._at = self._stream.seek(begin)
            if self._at < end:
                data: bytes = self._stream.read(min(length, end - self._at))
                if not data:
                    raise EOFError
                self._at += len(data)
                return data
            self._pieces.popleft()
            self._at = None
        return b""


def path_of(path: Path, shard: Shard) -> Path:
    """Where a shard writes what all of them would write to one place: ``report.json`` -> ``report.shard-0003.json``."""
    stem, dot, ending = path.name.rpartition(".")
    name = (
        f"{stem}.shard-{shard.number:04}.{ending}" if dot and stem else f"{path.name}.shard-{shard.number:04}"
    )
    return path.parent / name


def told_of(shard: Shard) -> dict[str, Any]:
    """What a task tells another of a shard; JSON."""
    told: dict[str, Any] = msgspec.to_builtins(shard)
    return told
